//! What every store of files promises, and what a node gets through its context.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::path::PathBuf;
use std::sync::Arc;

use flowmill_engine::value::File;
use flowmill_nodes::files::{FileError, FileStore, FolderFiles, MemoryFiles, TenantFolders};

fn folder(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&folder);
    folder
}

fn about(name: &str) -> File {
    File { kind: "document".into(), filename: Some(name.into()), ..File::default() }
}

fn stores(name: &str) -> [Arc<dyn FileStore>; 5] {
    let tenants = TenantFolders::new(folder(name).join("t"), "default".into());
    [
        tenants.of_tenant(&"acme".into()).unwrap(),
        Arc::new(tenants),
        Arc::new(MemoryFiles::default()),
        Arc::new(FolderFiles::new(folder(name).join("given"), folder(name))),
        Arc::new(FolderFiles::new(folder(name).join("d/given"), folder(name).join("d")).durable()),
    ]
}

#[tokio::test]
async fn what_is_put_can_be_opened() {
    for store in stores("open") {
        let file = store.put(b"content".to_vec(), about("a.txt")).await.unwrap();
        assert_eq!((file.filename.as_deref(), file.size_bytes), (Some("a.txt"), 7));
        assert_eq!(store.open(&file, 7).await.unwrap(), b"content");
        let again = store.put(b"content".to_vec(), about("a.txt")).await.unwrap();
        assert_eq!(again.related_id, file.related_id, "the same content is kept once");
        let other = store.put(b"other".to_vec(), about("a.txt")).await.unwrap();
        assert_ne!(other.related_id, file.related_id);
        assert_eq!(store.open(&other, 7).await.unwrap(), b"other");
        assert_eq!(store.open(&again, 7).await.unwrap(), b"content");
    }
}

#[tokio::test]
async fn what_is_too_large_or_unknown_is_refused() {
    for store in stores("refuse") {
        let file = store.put(b"content".to_vec(), about("a.txt")).await.unwrap();
        let error = store.open(&file, 6).await.unwrap_err();
        assert_eq!(error.to_string(), "the file a.txt is larger than 6 bytes");
        let nameless = store.open(&about("a.txt"), 6).await.unwrap_err();
        assert!(matches!(nameless, FileError::Nowhere { .. }), "{nameless:?}");
        for id in ["0".repeat(64), "../open".to_owned(), "/etc/passwd".to_owned(), String::new()] {
            let file = File { related_id: Some(id.as_str().into()), ..about("a.txt") };
            let error = store.open(&file, 6).await.unwrap_err();
            assert_eq!(error, FileError::Unknown { id });
        }
    }
}

#[tokio::test]
async fn memory_has_an_end() {
    let store = MemoryFiles::bounded(10);
    store.put(vec![0; 6], about("a")).await.unwrap();
    store.put(vec![0; 6], about("the same")).await.unwrap();
    let error = store.put(vec![1; 6], about("b")).await.unwrap_err();
    assert!(matches!(error, FileError::Full { .. }), "{error:?}");
}

#[tokio::test]
async fn no_tenant_opens_the_files_of_another() {
    let folder = folder("tenants");
    let store = TenantFolders::new(&folder, "default".into());
    let of = |tenant: &str| store.of_tenant(&tenant.into()).unwrap();
    let mut kept = Vec::new();
    for tenant in ["default", "acme", "other"] {
        let file = of(tenant).put(tenant.as_bytes().to_vec(), about("a.txt")).await.unwrap();
        assert_eq!(file.related_id.as_deref(), Some("a.txt"), "each has names of its own");
        kept.push((tenant, file));
    }
    // another process finds them
    for (tenant, file) in &kept {
        let again = TenantFolders::new(&folder, "default".into());
        let again = again.of_tenant(&(*tenant).into()).unwrap();
        assert_eq!(again.open(file, 9).await.unwrap(), tenant.as_bytes());
    }
    let only = of("acme").put(b"more".to_vec(), about("b.txt")).await.unwrap();
    for tenant in ["default", "other", "nobody"] {
        let error = of(tenant).open(&only, 9).await.unwrap_err();
        assert!(matches!(error, FileError::Unknown { .. }), "{tenant}: {error:?}");
    }
    for id in [".tenants/acme/b.txt", "acme/b.txt", "../acme/b.txt"] {
        let file = File { related_id: Some(id.into()), ..about("b.txt") };
        assert!(of("default").open(&file, 9).await.is_err(), "{id}");
        assert!(of("other").open(&file, 9).await.is_err(), "{id}");
    }
}

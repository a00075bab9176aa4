//! What every store of files promises, and what a node gets through its context.

use std::path::PathBuf;
use std::sync::Arc;

use flowmill_engine::value::File;
use flowmill_nodes::files::{FileError, FileStore, FolderFiles, MemoryFiles};

fn folder(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&folder);
    folder
}

fn about(name: &str) -> File {
    File { kind: "document".into(), filename: Some(name.into()), ..File::default() }
}

fn stores(name: &str) -> [Arc<dyn FileStore>; 3] {
    [
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

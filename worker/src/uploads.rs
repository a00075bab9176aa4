//! Files that were uploaded, as nodes open them: what is known of them, and their content, lie in
//! the store that all share.

use std::fmt;
use std::sync::Arc;

use flowmill_engine::value::{File, Name};
use flowmill_infra::contents::Contents;
use flowmill_infra::payloads::PayloadError;
use flowmill_nodes::files::{FileError, FileStore, LOCAL_FILE, shown};
use futures::future::BoxFuture;

/// Opens files that a tenant uploaded; all others lie where they lay.
pub struct UploadedFiles<S> {
    store: Arc<S>,
    /// Whose are opened; before that is known, none.
    tenant: Option<Name>,
    others: Arc<dyn FileStore>,
}

impl<S> UploadedFiles<S> {
    /// Those of a store, whose of them a tenant's nodes see; what nodes produce goes to the others.
    pub fn new(store: Arc<S>, others: Arc<dyn FileStore>) -> Self {
        Self { store, tenant: None, others }
    }
}

impl<S> fmt::Debug for UploadedFiles<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UploadedFiles").field("others", &self.others).finish_non_exhaustive()
    }
}

impl<S: Contents> UploadedFiles<S> {
    async fn find(&self, file: &File, most_bytes: u64) -> Result<Vec<u8>, FileError> {
        let id = file.related_id.clone().or_else(|| file.id.clone());
        let id = id.ok_or_else(|| FileError::Nowhere { name: shown(file) })?;
        let unknown = || FileError::Unknown { id: id.to_string() };
        let away = |why: String| FileError::Unavailable { name: shown(file), why };
        let tenant = self.tenant.as_ref().ok_or_else(unknown)?;
        let found = self.store.uploads(tenant, std::slice::from_ref(&id)).await;
        let found = found.map_err(|error| away(error.to_string()))?;
        let upload = found.into_iter().next().ok_or_else(unknown)?;
        if upload.bytes > most_bytes {
            return Err(FileError::TooLarge { name: shown(file), most_bytes });
        }
        let owner = upload.owner(tenant);
        match self.store.content().get(&owner, upload.digest).await {
            Ok(content) => Ok(content),
            Err(PayloadError::Lost { .. }) => Err(unknown()),
            Err(error @ PayloadError::Damaged { .. }) => {
                Err(FileError::Disk { what: shown(file), error: error.to_string() })
            }
            Err(PayloadError::Full(why) | PayloadError::Unavailable(why)) => Err(away(why)),
        }
    }
}

impl<S: Contents> FileStore for UploadedFiles<S> {
    fn put(&self, content: Vec<u8>, about: File) -> BoxFuture<'_, Result<File, FileError>> {
        self.others.put(content, about)
    }

    fn open<'a>(
        &'a self,
        file: &'a File,
        most_bytes: u64,
    ) -> BoxFuture<'a, Result<Vec<u8>, FileError>> {
        if &*file.transfer_method == LOCAL_FILE {
            Box::pin(self.find(file, most_bytes))
        } else {
            self.others.open(file, most_bytes)
        }
    }

    fn of_tenant(&self, tenant: &Name) -> Option<Arc<dyn FileStore>> {
        let others = self.others.of_tenant(tenant).unwrap_or_else(|| self.others.clone());
        Some(Arc::new(Self { store: self.store.clone(), tenant: Some(tenant.clone()), others }))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use flowmill_engine::time::Time;
    use flowmill_infra::contents::Upload;
    use flowmill_infra::memory::SharedStore;
    use flowmill_infra::payloads::Payload;
    use flowmill_nodes::files::MemoryFiles;

    use super::*;

    #[tokio::test]
    async fn a_tenants_nodes_open_what_it_uploaded_and_nothing_else() {
        let store = Arc::new(SharedStore::new(1, Duration::from_secs(10)));
        let acme = Name::from("acme");
        let payload = Payload::of(b"All is well.".to_vec());
        let upload = Upload {
            id: "u".into(),
            name: "a.txt".into(),
            extension: Some(".txt".into()),
            mime_type: "text/plain".into(),
            bytes: 12,
            digest: payload.digest(),
            uploaded_at: Time(7),
            used_at: Time(7),
        };
        store.content().put(&upload.owner(&acme), &payload).await.unwrap();
        store.keep_upload(&acme, &upload).await.unwrap();
        let files = UploadedFiles::new(store, Arc::new(MemoryFiles::default()));
        let file = File {
            transfer_method: LOCAL_FILE.into(),
            related_id: Some("u".into()),
            ..File::default()
        };
        let opened = async |tenant: &str| {
            let theirs = files.of_tenant(&tenant.into()).unwrap();
            theirs.open(&file, 100).await
        };
        assert_eq!(opened("acme").await.unwrap(), b"All is well.");
        let unknown = FileError::Unknown { id: "u".to_owned() };
        assert_eq!(opened("other").await.unwrap_err(), unknown);
        assert_eq!(files.open(&file, 100).await.unwrap_err(), unknown, "it is nobody's");
    }
}

//! The content of files. A variable only describes a file ([`File`]); what is in it lies in a
//! [`FileStore`], or at an address from which it is fetched when a node needs it.

mod folder;
mod memory;
mod tenants;

use std::fmt::Debug;
use std::sync::Arc;

use flowmill_engine::error::ErrorClass;
use flowmill_engine::value::{File, Name};
use futures::future::BoxFuture;

use crate::http_request::client::HttpError;
use crate::http_request::mime::guess_type;

pub use folder::{FolderFiles, address_of};
pub use memory::MemoryFiles;
pub use tenants::TenantFolders;

/// How a file lies at an address, in Dify's word for it; all others lie in a store.
pub const REMOTE_URL: &str = "remote_url";

/// How a file came that was given with the inputs, in Dify's word for it.
pub const LOCAL_FILE: &str = "local_file";

/// Keeps the content of files: what people upload, and what nodes produce.
pub trait FileStore: Debug + Send + Sync {
    /// Keeps content; `about` says what is known of it. Gives the file with its id, size and
    /// address. The same content under the same name is kept once, so an attempt may be repeated.
    fn put(&self, content: Vec<u8>, about: File) -> BoxFuture<'_, Result<File, FileError>>;

    /// The whole content of a file that is kept here. A larger one than `most_bytes` is refused
    /// before it is read.
    fn open<'a>(
        &'a self,
        file: &'a File,
        most_bytes: u64,
    ) -> BoxFuture<'a, Result<Vec<u8>, FileError>>;

    /// The store as the nodes of a tenant see it. None: it is the same for all.
    fn of_tenant(&self, tenant: &Name) -> Option<Arc<dyn FileStore>> {
        let _ = tenant;
        None
    }
}

/// Why the content of a file is not to be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    /// Nothing says where it is.
    #[error("the file {name} has neither an id nor an address")]
    Nowhere {
        /// The file.
        name: String,
    },
    /// The store does not know it.
    #[error("no file {id} is kept here")]
    Unknown {
        /// Its id.
        id: String,
    },
    /// It is larger than allowed.
    #[error("the file {name} is larger than {most_bytes} bytes")]
    TooLarge {
        /// The file.
        name: String,
        /// What is allowed.
        most_bytes: u64,
    },
    /// The store is full.
    #[error("no room for {name}: files of at most {most_bytes} bytes are kept at a time")]
    Full {
        /// The file.
        name: String,
        /// What fits.
        most_bytes: u64,
    },
    /// The disk failed.
    #[error("{what}: {error}")]
    Disk {
        /// What was tried.
        what: String,
        /// What went wrong.
        error: String,
    },
    /// The store cannot be reached: try later.
    #[error("the file {name} cannot be had at present: {why}")]
    Unavailable {
        /// The file.
        name: String,
        /// What went wrong.
        why: String,
    },
    /// It could not be fetched.
    #[error("{}", .0.message)]
    Fetch(HttpError),
    /// Its address answered with an error.
    #[error("the address answered with status {status}")]
    Status {
        /// The answer's status.
        status: u16,
    },
}

impl FileError {
    /// What kind of failure it is.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Nowhere { .. } | Self::Unknown { .. } | Self::TooLarge { .. } => {
                ErrorClass::Invalid
            }
            Self::Full { .. } | Self::Disk { .. } => ErrorClass::Internal,
            Self::Fetch(error) => error.class,
            Self::Status { status: 429 } => ErrorClass::RateLimited,
            Self::Unavailable { .. } | Self::Status { status: 500.. } => ErrorClass::Transient,
            Self::Status { .. } => ErrorClass::Invalid,
        }
    }
}

/// The media type that a file's name tells, as Python guesses it.
pub fn media_type_of(filename: &str) -> &'static str {
    guess_type(filename).unwrap_or("application/octet-stream")
}

/// A file's name for messages.
pub fn shown(file: &File) -> String {
    let name = file.filename.as_ref().or(file.related_id.as_ref()).or(file.address());
    name.map_or_else(|| "without a name".to_owned(), ToString::to_string)
}

/// The id under which a store keeps a file.
fn id_of(file: &File) -> Result<&str, FileError> {
    let id = file.related_id.as_deref().or(file.id.as_deref());
    id.ok_or_else(|| FileError::Nowhere { name: shown(file) })
}

/// The id of content: its SHA-256.
fn id_for(content: &[u8]) -> String {
    use sha2::Digest as _;
    use std::fmt::Write as _;

    let mut id = String::with_capacity(64);
    for byte in sha2::Sha256::digest(content) {
        // writing to text cannot fail
        let _ = write!(id, "{byte:02x}");
    }
    id
}

/// What is known of a file once its content is kept.
fn described(about: File, id: &str, bytes: usize) -> File {
    File {
        id: about.id.or_else(|| Some(id.into())),
        related_id: Some(id.into()),
        size_bytes: i64::try_from(bytes).unwrap_or(i64::MAX),
        ..about
    }
}

//! Flowmill's own knowledge bases: documents are cut into passages, kept, and found again by their
//! words, by vectors of a model, or by both.
//!
//! [`chunk`], [`words`], [`score`] and [`filter`] are pure. [`shelf::Shelf`] is the port to the
//! rows, with an adapter for `SQLite` and one for `PostgreSQL`. [`Store`] is what nodes and people
//! ask: it knows the models. It makes no text itself; what a file says, its caller tells.

pub mod chunk;
pub mod filter;
#[cfg(feature = "postgres")]
mod postgres;
pub mod score;
pub mod shelf;
#[cfg(feature = "sqlite")]
mod sqlite;
mod store;
pub mod words;

use std::sync::Arc;

use flowmill_services::models::Models;

use shelf::Shelf;
pub use store::{Answer, Base, Entry, Model, Settings, Store};

/// Why there is no store at an address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The address is none.
    #[error(
        "{url} says no place for knowledge bases: write sqlite:FILE, a file's name, or \
         postgres://user:password@host:port/database"
    )]
    Address {
        /// What was given, as far as it may be shown.
        url: String,
    },
    /// This build cannot.
    #[error("this build of flowmill keeps no knowledge bases in {what}: build it with {feature}")]
    NotBuilt {
        /// In what.
        what: &'static str,
        /// What it needs.
        feature: &'static str,
    },
}

/// The store at an address: `sqlite:FILE`, the name of a file, or `postgres://…`. Nothing is
/// connected to, or made, before it is needed.
///
/// # Errors
/// [`OpenError`].
pub fn open(url: &str, models: Arc<dyn Models>) -> Result<Store, OpenError> {
    Ok(Store::new(shelf(url)?, models))
}

fn shelf(url: &str) -> Result<Arc<dyn Shelf>, OpenError> {
    match url.split_once("://") {
        Some(("postgres" | "postgresql", _)) => postgres_shelf(url),
        // what stands before may hold a password
        Some((scheme, _)) => Err(OpenError::Address { url: format!("{scheme}://…") }),
        None => match url.strip_prefix("sqlite:").unwrap_or(url) {
            "" => Err(OpenError::Address { url: format!("{url:?}") }),
            file => sqlite_shelf(file),
        },
    }
}

#[cfg(feature = "sqlite")]
#[expect(clippy::unnecessary_wraps, reason = "a build without it refuses")]
fn sqlite_shelf(file: &str) -> Result<Arc<dyn Shelf>, OpenError> {
    Ok(Arc::new(sqlite::SqliteShelf::new(file)))
}

#[cfg(not(feature = "sqlite"))]
fn sqlite_shelf(_: &str) -> Result<Arc<dyn Shelf>, OpenError> {
    Err(OpenError::NotBuilt { what: "a file", feature: "--features store" })
}

#[cfg(feature = "postgres")]
fn postgres_shelf(url: &str) -> Result<Arc<dyn Shelf>, OpenError> {
    let shelf = postgres::PostgresShelf::new(url);
    shelf.map(|shelf| Arc::new(shelf) as Arc<dyn Shelf>)
}

#[cfg(not(feature = "postgres"))]
fn postgres_shelf(_: &str) -> Result<Arc<dyn Shelf>, OpenError> {
    Err(OpenError::NotBuilt { what: "PostgreSQL", feature: "--features cluster" })
}

//! The one way out: every connection that this project makes on behalf of a workflow goes through
//! [`Client`].
//!
//! Workflows hold addresses that others wrote, so an address is only connected to after it was
//! checked. A host is resolved once per connection, what it resolves to is checked, and the
//! connection goes to an address that passed: a name that resolves otherwise a moment later
//! changes nothing. Redirects are not followed here; who follows them sends another request,
//! which is checked as the first.
//!
//! Through a proxy the proxy resolves: literal addresses are still checked here, names cannot be.

mod address;
#[cfg(feature = "http")]
mod client;
mod policy;
#[cfg(feature = "http")]
mod resolve;
mod watch;

pub use address::{Class, classify, literal};
#[cfg(feature = "http")]
pub(crate) use client::chain;
#[cfg(feature = "http")]
pub use client::{Call, Client, Options, SendError, install_tls_provider};
pub use policy::{AllowRule, Denied, InvalidRule, OutboundPolicy};
#[cfg(feature = "http")]
pub use resolve::{Resolver, SystemResolver};
pub use watch::{OutboundWatch, Sent};

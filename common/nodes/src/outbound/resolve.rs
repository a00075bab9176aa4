//! From a host's name to addresses that may be connected to.

use std::fmt::Debug;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use futures::future::BoxFuture;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::policy::OutboundPolicy;

/// Looks up hosts.
pub trait Resolver: Debug + Send + Sync {
    /// All addresses of a host, the preferred ones first.
    fn resolve<'a>(&'a self, host: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>>;
}

/// The system's own.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemResolver;

impl Resolver for SystemResolver {
    fn resolve<'a>(&'a self, host: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        Box::pin(async move {
            let found = tokio::net::lookup_host((host, 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        })
    }
}

/// Resolves for connections to one port, and gives only the addresses that may be connected to.
#[derive(Clone, Debug)]
pub(super) struct Guard {
    pub(super) resolver: Arc<dyn Resolver>,
    pub(super) policy: Arc<OutboundPolicy>,
    pub(super) port: u16,
}

impl Guard {
    async fn addresses(
        self,
        host: String,
    ) -> Result<Addrs, Box<dyn std::error::Error + Send + Sync>> {
        let mut allowed = Vec::new();
        let mut denied = None;
        for address in self.resolver.resolve(&host).await? {
            match self.policy.check(&host, address, self.port) {
                // the port is the address's own
                Ok(()) => allowed.push(SocketAddr::new(address, 0)),
                Err(refusal) => denied = denied.or(Some(refusal)),
            }
        }
        match denied {
            _ if !allowed.is_empty() => Ok(Box::new(allowed.into_iter())),
            Some(denied) => Err(Box::new(denied)),
            None => Err("No address associated with hostname".into()),
        }
    }
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(self.clone().addresses(name.as_str().to_owned()))
    }
}

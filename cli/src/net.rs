//! What the nodes of a run may reach: the options that say so.

use flowmill_nodes::outbound::{AllowRule, Options, OutboundPolicy};

#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Network")]
pub(crate) struct Net {
    /// Let nodes reach what is refused otherwise: `localhost:8080`, `*.intra.example`,
    /// `10.1.0.0/16`. May be repeated.
    #[arg(long = "allow-net", value_name = "HOST|NETWORK[:PORT]")]
    allow: Vec<AllowRule>,
    /// Let nodes reach private, loopback and link-local addresses; never a cloud's metadata.
    #[arg(long)]
    allow_private_network: bool,
    /// Send requests through this proxy. It looks up the hosts, so only literal addresses are
    /// checked here.
    #[arg(long, value_name = "URL")]
    proxy: Option<String>,
}

impl Net {
    /// Those that were given.
    #[cfg(feature = "store")]
    pub(crate) fn given(&self) -> impl Iterator<Item = &'static str> {
        let Self { allow, allow_private_network, proxy } = self;
        let given = [
            (!allow.is_empty(), "--allow-net"),
            (*allow_private_network, "--allow-private-network"),
            (proxy.is_some(), "--proxy"),
        ];
        given.into_iter().filter(|(is_given, _)| *is_given).map(|(_, flag)| flag)
    }

    /// The way out.
    pub(crate) fn reach(&self) -> Options {
        let policy = OutboundPolicy {
            allow: self.allow.clone(),
            allow_private: self.allow_private_network,
            unchecked: false,
        };
        Options {
            policy,
            http_proxy: self.proxy.clone(),
            https_proxy: self.proxy.clone(),
            ..Options::default()
        }
    }
}

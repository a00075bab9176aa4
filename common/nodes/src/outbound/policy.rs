//! What may be connected to. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use super::address::{Class, classify, literal};

/// Which addresses may be connected to: all public ones, and what is allowed here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OutboundPolicy {
    /// What is allowed whatever it leads to.
    pub allow: Vec<AllowRule>,
    /// Whether private, loopback, link-local and carriers' addresses are allowed. Metadata
    /// services never are by this.
    pub allow_private: bool,
    /// Whether nothing is checked at all.
    pub unchecked: bool,
}

/// Something that is allowed: `example.com`, `*.example.com`, `10.1.0.0/16`, `::1`, each also with
/// a port: `localhost:8080`, `[::1]:8080`, `10.1.0.0/16:443`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowRule {
    target: Target,
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Target {
    /// A host by its name, in lower case; what it resolves to does not matter.
    Host(String),
    /// All hosts whose names end so: `.example.com`.
    Under(String),
    /// The addresses that share the first so many bits.
    Network(IpAddr, u8),
}

/// Why a connection is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.text())]
pub struct Denied {
    /// The host as it was written.
    pub host: String,
    /// The address it leads to.
    pub address: IpAddr,
    /// What that is.
    pub class: Class,
}

/// What is no rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is neither a host, an address nor a network: write example.com, *.example.com, \
     10.0.0.5 or 10.0.0.0/8, with :PORT if it is for one port only ([::1]:8080)"
)]
pub struct InvalidRule(pub String);

impl OutboundPolicy {
    /// Nothing is checked.
    pub fn unchecked() -> Self {
        Self { unchecked: true, ..Self::default() }
    }

    /// Whether the port makes a difference.
    pub fn has_ports(&self) -> bool {
        self.allow.iter().any(|rule| rule.port.is_some())
    }

    /// Whether a connection to one address of a host may be made.
    pub fn check(&self, host: &str, address: IpAddr, port: u16) -> Result<(), Denied> {
        let address = address.to_canonical();
        let class = classify(address);
        let allowed = match class {
            _ if self.unchecked => true,
            Class::Public => true,
            Class::Private | Class::Loopback | Class::LinkLocal | Class::Shared => {
                self.allow_private
            }
            Class::Metadata
            | Class::Multicast
            | Class::Unspecified
            | Class::Documentation
            | Class::Reserved => false,
        };
        if allowed || self.allow.iter().any(|rule| rule.covers(host, address, port)) {
            return Ok(());
        }
        Err(Denied { host: host.to_owned(), address, class })
    }

    /// The same for a host that is an address itself; names pass, as they are checked when they
    /// are resolved.
    pub fn check_literal(&self, host: &str, port: u16) -> Result<(), Denied> {
        literal(host).map_or(Ok(()), |address| self.check(host, address, port))
    }
}

impl AllowRule {
    fn covers(&self, host: &str, address: IpAddr, port: u16) -> bool {
        let host = host.strip_suffix('.').unwrap_or(host);
        let is_covered = match &self.target {
            Target::Host(name) => host.eq_ignore_ascii_case(name),
            Target::Under(suffix) => host.to_ascii_lowercase().ends_with(&**suffix),
            Target::Network(network, prefix) => contains(*network, *prefix, address),
        };
        is_covered && self.port.is_none_or(|only| only == port)
    }
}

fn contains(network: IpAddr, prefix: u8, address: IpAddr) -> bool {
    match (network, address) {
        (IpAddr::V4(network), IpAddr::V4(address)) => {
            let differ = network.to_bits() ^ address.to_bits();
            differ.checked_shr(32 - u32::from(prefix)).unwrap_or(0) == 0
        }
        (IpAddr::V6(network), IpAddr::V6(address)) => {
            let differ = network.to_bits() ^ address.to_bits();
            differ.checked_shr(128 - u32::from(prefix)).unwrap_or(0) == 0
        }
        _ => false,
    }
}

impl FromStr for AllowRule {
    type Err = InvalidRule;

    fn from_str(text: &str) -> Result<Self, InvalidRule> {
        let invalid = || InvalidRule(text.to_owned());
        let (target, port) = split_port(text).ok_or_else(invalid)?;
        let target = target_of(target).ok_or_else(invalid)?;
        Ok(Self { target, port })
    }
}

/// An IPv6 address has a port only after brackets.
fn split_port(text: &str) -> Option<(&str, Option<u16>)> {
    if let Some(rest) = text.strip_prefix('[') {
        let (inner, port) = rest.split_once(']')?;
        return match port {
            "" => Some((inner, None)),
            port => Some((inner, Some(port.strip_prefix(':')?.parse().ok()?))),
        };
    }
    match text.split_once(':') {
        Some((target, port)) if !port.contains(':') => Some((target, Some(port.parse().ok()?))),
        _ => Some((text, None)),
    }
}

fn target_of(text: &str) -> Option<Target> {
    if let Some((address, prefix)) = text.split_once('/') {
        let address: IpAddr = address.parse().ok()?;
        let width = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.parse().ok().filter(|prefix| *prefix <= width)?;
        return Some(Target::Network(address, prefix));
    }
    match literal(text).map(|address| address.to_canonical()) {
        Some(address @ IpAddr::V4(_)) => return Some(Target::Network(address, 32)),
        Some(address @ IpAddr::V6(_)) => return Some(Target::Network(address, 128)),
        None => {}
    }
    let (name, is_suffix) = match text.strip_prefix("*.") {
        Some(name) => (name, true),
        None => (text, false),
    };
    let is_letter = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
    let name = name.strip_suffix('.').unwrap_or(name).to_lowercase();
    if name.is_empty() || name.starts_with('.') || !name.chars().all(is_letter) {
        return None;
    }
    Some(if is_suffix { Target::Under(format!(".{name}")) } else { Target::Host(name) })
}

impl Denied {
    fn text(&self) -> String {
        let Self { host, address, class } = self;
        let is_itself = literal(host) == Some(*address) && host.contains(&address.to_string());
        let what = if is_itself {
            format!("{address} is {class}")
        } else {
            format!("{host} leads to {address}, {class}")
        };
        let shown = match address {
            IpAddr::V4(_) => address.to_string(),
            IpAddr::V6(_) => format!("[{address}]"),
        };
        let rule = if literal(host).is_some() { &shown } else { host };
        let switch = match class {
            Class::Private | Class::Loopback | Class::LinkLocal | Class::Shared => {
                " or --allow-private-network"
            }
            _ => "",
        };
        format!("{what}: --allow-net {rule}{switch} would allow it")
    }
}

/// For rules made in code.
impl From<IpAddr> for AllowRule {
    fn from(address: IpAddr) -> Self {
        let width = if address.is_ipv4() { Ipv4Addr::BITS } else { Ipv6Addr::BITS };
        let prefix = u8::try_from(width).unwrap_or(u8::MAX);
        Self { target: Target::Network(address, prefix), port: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(rules: &[&str]) -> OutboundPolicy {
        let allow = rules.iter().map(|rule| rule.parse().unwrap()).collect();
        OutboundPolicy { allow, ..OutboundPolicy::default() }
    }

    fn check(policy: &OutboundPolicy, host: &str, address: &str, port: u16) -> bool {
        policy.check(host, address.parse().unwrap(), port).is_ok()
    }

    #[test]
    fn only_public_addresses_pass_unless_said_otherwise() {
        let default = OutboundPolicy::default();
        assert!(check(&default, "h", "8.8.8.8", 80) && check(&default, "h", "2606:4700::1", 80));
        for address in ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "::ffff:10.0.0.1"] {
            assert!(!check(&default, "h", address, 80), "{address}");
            assert!(check(&OutboundPolicy::unchecked(), "h", address, 80), "{address}");
        }
        let private = OutboundPolicy { allow_private: true, ..OutboundPolicy::default() };
        for address in ["127.0.0.1", "10.0.0.1", "169.254.0.1", "100.64.0.1", "::1", "fd12::1"] {
            assert!(check(&private, "h", address, 80), "{address}");
        }
        for address in ["169.254.169.254", "fd00:ec2::254", "0.0.0.0", "224.0.0.1", "240.0.0.1"] {
            assert!(!check(&private, "h", address, 80), "{address}");
        }
    }

    #[test]
    fn rules_name_hosts_networks_and_ports() {
        let cases = [
            ("db.local", "DB.local.", "10.0.0.1", 1, true),
            ("db.local", "x.db.local", "10.0.0.1", 1, false),
            ("*.local", "x.db.local", "10.0.0.1", 1, true),
            ("*.local", "local", "10.0.0.1", 1, false),
            ("*.local", "xlocal", "10.0.0.1", 1, false),
            ("db.local:5", "db.local", "10.0.0.1", 5, true),
            ("db.local:5", "db.local", "10.0.0.1", 6, false),
            ("10.0.0.0/8", "h", "10.9.9.9", 1, true),
            ("10.0.0.0/8", "h", "::ffff:10.9.9.9", 1, true),
            ("10.0.0.0/8", "h", "192.168.0.1", 1, false),
            ("10.0.0.0/8:443", "h", "10.9.9.9", 443, true),
            ("10.0.0.0/8:443", "h", "10.9.9.9", 80, false),
            ("0.0.0.0/0", "h", "127.0.0.1", 80, true),
            ("127.1", "h", "127.0.0.1", 80, true),
            ("127.0.0.1", "h", "127.0.0.2", 80, false),
            ("::1", "h", "::1", 80, true),
            ("[::1]:80", "h", "::1", 80, true),
            ("[::1]:80", "h", "::1", 81, false),
            ("[fd00::/8]:80", "h", "fd00::1", 80, true),
            ("fd00::/8", "h", "fe80::1", 80, false),
            ("::/0", "h", "127.0.0.1", 80, false),
            // what the address is said to be allows nothing by itself
            ("10.0.0.1", "10.0.0.1", "127.0.0.1", 80, false),
        ];
        for (rule, host, address, port, wanted) in cases {
            let policy = policy(&[rule]);
            assert_eq!(check(&policy, host, address, port), wanted, "{rule} {host} {address}");
        }
        let wrong = [
            "",
            "*",
            "a b",
            "10.0.0.0/33",
            "::/129",
            "h:",
            "h:x",
            "h:70000",
            "[::1",
            "[::1]80",
            "http://h",
            "*.",
        ];
        for rule in wrong {
            assert!(rule.parse::<AllowRule>().is_err(), "{rule}");
        }
    }

    #[test]
    fn a_refusal_says_what_was_refused_and_what_allows_it() {
        let text = |host: &str, address: &str| {
            let denied = OutboundPolicy::default().check(host, address.parse().unwrap(), 80);
            denied.unwrap_err().to_string()
        };
        assert_eq!(
            text("127.0.0.1", "127.0.0.1"),
            "127.0.0.1 is a loopback address: --allow-net 127.0.0.1 or --allow-private-network \
             would allow it"
        );
        assert_eq!(
            text("intra.example", "10.0.0.1"),
            "intra.example leads to 10.0.0.1, a private address: --allow-net intra.example or \
             --allow-private-network would allow it"
        );
        assert_eq!(
            text("2852039166", "169.254.169.254"),
            "2852039166 leads to 169.254.169.254, the address of a cloud's metadata service: \
             --allow-net 169.254.169.254 would allow it"
        );
        assert!(text("[::1]", "::1").contains("--allow-net [::1] or"), "{}", text("[::1]", "::1"));
    }
}

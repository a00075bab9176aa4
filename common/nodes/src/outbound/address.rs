//! Addresses: how they may be written, and what lies behind them. Pure.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What an address leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Anybody's machine.
    Public,
    /// A private network (RFC 1918, unique local and site-local addresses).
    Private,
    /// This machine.
    Loopback,
    /// This link.
    LinkLocal,
    /// Where a cloud tells a machine its secrets.
    Metadata,
    /// A carrier's own network (RFC 6598).
    Shared,
    /// Many machines.
    Multicast,
    /// No address at all; systems take it for this machine.
    Unspecified,
    /// For documents only.
    Documentation,
    /// Anything else that is no public address.
    Reserved,
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Public => "a public address",
            Self::Private => "a private address",
            Self::Loopback => "a loopback address",
            Self::LinkLocal => "a link-local address",
            Self::Metadata => "the address of a cloud's metadata service",
            Self::Shared => "an address of a carrier's own network",
            Self::Multicast => "a multicast address",
            Self::Unspecified => "an unspecified address",
            Self::Documentation => "an address for documentation",
            Self::Reserved => "a reserved address",
        })
    }
}

/// Metadata services: most clouds; containers and pods at Amazon; Alibaba; Oracle; Azure.
const METADATA: [Ipv4Addr; 6] = [
    Ipv4Addr::new(169, 254, 169, 254),
    Ipv4Addr::new(169, 254, 170, 2),
    Ipv4Addr::new(169, 254, 170, 23),
    Ipv4Addr::new(100, 100, 100, 200),
    Ipv4Addr::new(192, 0, 0, 192),
    Ipv4Addr::new(168, 63, 129, 16),
];

/// Amazon's for machines and for pods; Google's.
const METADATA_6: [Ipv6Addr; 3] = [
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23),
    Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),
];

const NETWORKS: [(u32, u8, Class); 17] = [
    (0x0000_0000, 8, Class::Unspecified),
    (0x0a00_0000, 8, Class::Private),
    (0x6440_0000, 10, Class::Shared),
    (0x7f00_0000, 8, Class::Loopback),
    (0xa9fe_0000, 16, Class::LinkLocal),
    (0xac10_0000, 12, Class::Private),
    (0xc000_0000, 24, Class::Reserved),
    (0xc000_0200, 24, Class::Documentation),
    // relays from IPv4 to IPv6
    (0xc058_6300, 24, Class::Reserved),
    (0xc0a8_0000, 16, Class::Private),
    // for measurements
    (0xc612_0000, 15, Class::Reserved),
    (0xc633_6400, 24, Class::Documentation),
    (0xcb00_7100, 24, Class::Documentation),
    (0xe9fc_0000, 24, Class::Documentation),
    (0xe000_0000, 4, Class::Multicast),
    (0xf000_0000, 4, Class::Reserved),
    (0xffff_ffff, 32, Class::Reserved),
];

/// The first that fits counts.
const NETWORKS_6: [(u128, u8, Class); 15] = [
    (0, 128, Class::Unspecified),
    (1, 128, Class::Loopback),
    (0xfe80 << 112, 10, Class::LinkLocal),
    (0xfec0 << 112, 10, Class::Private),
    (0xfc00 << 112, 7, Class::Private),
    (0xff00 << 112, 8, Class::Multicast),
    (0x2001_0db8 << 96, 32, Class::Documentation),
    (0x3fff << 112, 20, Class::Documentation),
    // addresses that hold others are looked into
    (0x2001_0000 << 96, 32, Class::Public),
    (0x0064_ff9b << 96, 96, Class::Public),
    (0, 96, Class::Public),
    (0xffff << 32, 96, Class::Public),
    (0xffff << 48, 96, Class::Public),
    // special purposes, none of them a server's
    (0x2001_0000 << 96, 23, Class::Reserved),
    (0x2000 << 112, 3, Class::Public),
];

/// What an address leads to. An IPv6 address that holds IPv4 addresses leads to what they do.
pub fn classify(address: IpAddr) -> Class {
    match address.to_canonical() {
        IpAddr::V4(address) => classify_4(address),
        IpAddr::V6(address) => classify_6(address),
    }
}

fn classify_4(address: Ipv4Addr) -> Class {
    if METADATA.contains(&address) {
        return Class::Metadata;
    }
    let bits = address.to_bits();
    let fits = |(network, prefix, _): &&(u32, u8, Class)| (bits ^ network) >> (32 - prefix) == 0;
    NETWORKS.iter().find(fits).map_or(Class::Public, |(.., class)| *class)
}

fn classify_6(address: Ipv6Addr) -> Class {
    if METADATA_6.contains(&address) {
        return Class::Metadata;
    }
    let bits = address.to_bits();
    let fits = |(network, prefix, _): &&(u128, u8, Class)| (bits ^ network) >> (128 - prefix) == 0;
    let class = NETWORKS_6.iter().find(fits).map_or(Class::Reserved, |(.., class)| *class);
    if class != Class::Public {
        return class;
    }
    let inner = embedded(address).map(classify_4);
    inner.into_iter().find(|class| *class != Class::Public).unwrap_or(Class::Public)
}

/// The IPv4 addresses that an IPv6 address may stand for.
fn embedded(address: Ipv6Addr) -> impl Iterator<Item = Ipv4Addr> {
    let [one, two, three, four, five, six, high, low] = address.segments();
    let of = |high: u16, low: u16| Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low));
    let found = match [one, two, three, four, five, six] {
        // compatible; mapped; translated; NAT64
        [0, 0, 0, 0, 0, 0 | 0xffff] | [0, 0, 0, 0, 0xffff, 0] | [0x64, 0xff9b, 0, 0, 0, 0] => {
            [Some(of(high, low)), None]
        }
        // 6to4
        [0x2002, ..] => [Some(of(two, three)), None],
        // Teredo: the server, and the client with all bits turned
        [0x2001, 0, ..] => [Some(of(three, four)), Some(of(!high, !low))],
        // ISATAP
        [.., 0 | 0x200, 0x5efe] => [Some(of(high, low)), None],
        _ => [None, None],
    };
    found.into_iter().flatten()
}

/// The address that a host stands for without being looked up, however it is written: `127.1`,
/// `0x7f.0.0.1`, `017700000001`, `2130706433`, `[::1]`, `fe80::1%eth0`.
pub fn literal(host: &str) -> Option<IpAddr> {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if bare.contains(':') {
        let (address, _zone) = bare.split_once('%').unwrap_or((bare, ""));
        return address.parse().ok().map(IpAddr::V6);
    }
    let bare = bare.strip_suffix('.').unwrap_or(bare);
    literal_4(bare).map(IpAddr::V4)
}

/// As C's `inet_aton` reads addresses: one to four numbers, the last of which fills what is left.
fn literal_4(text: &str) -> Option<Ipv4Addr> {
    let numbers: Vec<u64> = text.split('.').map(number).collect::<Option<_>>()?;
    let (last, firsts) = numbers.split_last()?;
    let count = u32::try_from(firsts.len()).ok().filter(|count| *count < 4)?;
    let mut bits: u64 = 0;
    for first in firsts {
        bits = bits << 8 | Some(*first).filter(|first| *first < 256)?;
    }
    let width = 8 * (4 - count);
    let bits = bits << width | Some(*last).filter(|last| *last < 1 << width)?;
    u32::try_from(bits).ok().map(Ipv4Addr::from_bits)
}

/// Decimal, `0` octal or `0x` hexadecimal.
fn number(text: &str) -> Option<u64> {
    let hexadecimal = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
    let (digits, radix) = match (hexadecimal, text.strip_prefix('0')) {
        // what stands for nothing, for some
        (Some(""), _) => return Some(0),
        (Some(digits), _) => (digits, 16),
        (None, Some(digits)) if !digits.is_empty() => (digits, 8),
        _ => (text, 10),
    };
    let signed = digits.starts_with(['+', '-']);
    u64::from_str_radix(digits, radix).ok().filter(|_| !signed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_however_they_are_written() {
        for host in [
            "127.0.0.1",
            "127.1",
            "127.0.1",
            "2130706433",
            "0x7f000001",
            "0X7F.1",
            "017700000001",
            "0177.0.0.01",
            "127.0x0.0.1",
            "127.0.0.1.",
            "[::ffff:127.0.0.1]",
            "::ffff:7f00:1",
        ] {
            let found = literal(host).unwrap_or_else(|| panic!("{host} is an address"));
            assert_eq!(found.to_canonical(), IpAddr::V4(Ipv4Addr::LOCALHOST), "{host}");
        }
        for host in ["[::1]", "::1", "0:0:0:0:0:0:0:1", "[::1%25lo]", "::1%lo"] {
            assert_eq!(literal(host), Some(IpAddr::V6(Ipv6Addr::LOCALHOST)), "{host}");
        }
        assert_eq!(literal("0"), Some(IpAddr::V4(Ipv4Addr::UNSPECIFIED)));
        assert_eq!(literal("1.2.3"), Some(IpAddr::V4(Ipv4Addr::new(1, 2, 0, 3))));
        for host in [
            "",
            ".",
            "localhost",
            "256.0.0.1",
            "1.2.3.4.5",
            "127..1",
            "09.1",
            "4294967296",
            "1.2.3.256",
            "+1",
            "0x+1",
            "::g",
            "127.0.0.1..",
            "a.1",
            "1.-1",
        ] {
            assert_eq!(literal(host), None, "{host}");
        }
    }

    #[test]
    fn every_address_has_a_class() {
        let cases = [
            (
                Class::Public,
                "8.8.8.8 1.1.1.1 172.32.0.1 172.15.0.1 192.169.0.1 100.128.0.1 11.0.0.0 9.255.255.255",
            ),
            (
                Class::Private,
                "10.0.0.1 10.255.255.255 172.16.0.1 172.31.255.255 192.168.1.1 fc00::1 fd12::1 fec0::1",
            ),
            (Class::Loopback, "127.0.0.1 127.255.255.255 ::1"),
            (Class::LinkLocal, "169.254.0.1 fe80::1 febf::1"),
            (
                Class::Metadata,
                "169.254.169.254 169.254.170.2 100.100.100.200 192.0.0.192 168.63.129.16 fd00:ec2::254 fd20:ce::254",
            ),
            (Class::Shared, "100.64.0.1 100.127.255.255"),
            (Class::Multicast, "224.0.0.1 239.255.255.255 ff02::1"),
            (Class::Unspecified, "0.0.0.0 0.1.2.3 ::"),
            (Class::Documentation, "192.0.2.1 198.51.100.1 203.0.113.1 2001:db8::1 3fff::1"),
            (
                Class::Reserved,
                "192.0.0.1 192.88.99.1 198.18.0.1 198.19.0.1 240.0.0.1 255.255.255.255 100::1 2001:10::1 2001:20::1 5f00::1 4000::1 64:ff9b:1::1",
            ),
            (Class::Public, "2606:4700::1 2a00:1450::1"),
            // the same within IPv6 addresses
            (
                Class::Loopback,
                "::ffff:127.0.0.1 ::127.0.0.1 ::ffff:0:127.0.0.1 64:ff9b::127.0.0.1 2002:7f00:1::1 2a00::5efe:7f00:1 2a00::200:5efe:127.0.0.1",
            ),
            (Class::Metadata, "::ffff:169.254.169.254 64:ff9b::169.254.169.254 2002:a9fe:a9fe::"),
            // Teredo: a private server; a private client behind a public one
            (Class::Private, "2001:0:a00:1:0:0:f7f7:f7f7 2001:0:808:808:0:0:f5ff:fffe"),
            (
                Class::Public,
                "::ffff:8.8.8.8 64:ff9b::8.8.8.8 2002:808:808::1 2001:0:808:808:0:0:f7f7:f7f7",
            ),
        ];
        for (class, addresses) in cases {
            for address in addresses.split(' ') {
                assert_eq!(classify(address.parse().unwrap()), class, "{address}");
            }
        }
    }
}

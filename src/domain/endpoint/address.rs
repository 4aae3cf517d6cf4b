//! The network addresses that a webhook may be sent to.
//!
//! Anyone who can choose a webhook URL can make the sender call any address that it can reach:
//! cloud metadata, internal services, the sender itself (server-side request forgery, SSRF). Calls
//! therefore go to public addresses only, unless the application allows more.
//!
//! For IPv6, public means IANA's global unicast space, `2000::/3`: the rest is special today or may
//! become so. Excluded from it, and from IPv4, are the ranges that the IANA special-purpose
//! registries (RFC 6890) do not call globally reachable. An IPv4 address embedded in an IPv6 one is
//! judged as itself where the system or a translator forwards to it, and refused elsewhere.

use std::fmt;
// The types only: `std::net` could do I/O, which nothing here does.
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A range of addresses in CIDR notation, such as `10.0.0.0/8` or `fd00::/8`.
///
/// A single address is a range of one.
///
/// ```
/// use actix_webhooks::AddressRange;
///
/// let range: AddressRange = "10.1.0.0/16".parse()?;
/// assert!(range.contains("10.1.2.3".parse()?));
/// assert!(!range.contains("10.2.0.1".parse()?));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AddressRange {
    first: IpAddr,
    prefix: u8,
}

/// A text that is not a range of addresses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a range of addresses; write it like 10.0.0.0/8 or fd00::/8, with no bits set beyond the prefix"
)]
pub struct InvalidAddressRange(String);

impl AddressRange {
    /// Returns the loopback ranges, `127.0.0.0/8` and `::1`, for development and tests.
    pub const fn loopback() -> [Self; 2] {
        [v4([127, 0, 0, 0], 8), v6([0, 0, 0, 0, 0, 0, 0, 1], 128)]
    }

    /// Returns `true` if `address` is in the range.
    ///
    /// An IPv4 address inside an IPv6 one (`::ffff:0:0/96`) counts as the IPv4 address.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.first, address.to_canonical()) {
            (IpAddr::V4(first), IpAddr::V4(address)) => {
                let shift = 32 - u32::from(self.prefix);
                let network = |address: Ipv4Addr| address.to_bits().checked_shr(shift).unwrap_or(0);
                network(first) == network(address)
            }
            (IpAddr::V6(first), IpAddr::V6(address)) => {
                let shift = 128 - u32::from(self.prefix);
                let network = |address: Ipv6Addr| address.to_bits().checked_shr(shift).unwrap_or(0);
                network(first) == network(address)
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

impl FromStr for AddressRange {
    type Err = InvalidAddressRange;

    fn from_str(text: &str) -> Result<Self, InvalidAddressRange> {
        let invalid = || InvalidAddressRange(text.chars().take(64).collect());
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let first: IpAddr = address.parse().map_err(|_| invalid())?;
        let longest = if first.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                digits.parse().map_err(|_| invalid())?
            }
            Some(_) => return Err(invalid()),
            None => longest,
        };
        let beyond = match first {
            IpAddr::V4(first) => first.to_bits().checked_shl(prefix.into()).unwrap_or(0) != 0,
            IpAddr::V6(first) => first.to_bits().checked_shl(prefix.into()).unwrap_or(0) != 0,
        };
        // A mapped range would never match, because `contains` unwraps addresses first.
        if prefix > longest || beyond || first.to_canonical() != first {
            return Err(invalid());
        }
        Ok(Self { first, prefix })
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.prefix)
    }
}

impl Serialize for AddressRange {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for AddressRange {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Returns `true` if a call may go to `address`: a range allows it, or it is public and not one of
/// the calling machine's `own`.
///
/// Behind NAT64 the embedded address is the one called. `64:ff9b::/96` is therefore judged by the
/// embedded address alone, like a mapped address: naming `10.0.0.0/8` opens `64:ff9b::10.0.0.1`,
/// naming `64:ff9b::/96` does not. For `64:ff9b:1::/48` only the application knows which translator
/// answers, so both must be allowed.
pub(crate) fn is_allowed(address: IpAddr, allowed: &[AddressRange], own: &[IpAddr]) -> bool {
    let address = address.to_canonical();
    let named = allowed.iter().any(|range| range.contains(address));
    let inside = |address| is_allowed(IpAddr::V4(last_four(address)), allowed, own);
    match address {
        IpAddr::V6(v6) if NAT64.contains(address) => inside(v6),
        IpAddr::V6(v6) if LOCAL_NAT64.contains(address) => named && inside(v6),
        IpAddr::V4(_) | IpAddr::V6(_) => named || (is_public(address) && !is_own(address, own)),
    }
}

fn is_own(address: IpAddr, own: &[IpAddr]) -> bool {
    own.iter().any(|own| own.to_canonical() == address)
}

fn is_public(address: IpAddr) -> bool {
    let special = SPECIAL.iter().any(|range| range.contains(address));
    !special && (address.is_ipv4() || GLOBAL_UNICAST.contains(address))
}

/// Returns the IPv4 address in the last 32 bits of an IPv6 one (RFC 6052 §2.2).
fn last_four(address: Ipv6Addr) -> Ipv4Addr {
    let [.., a, b, c, d] = address.octets();
    Ipv4Addr::new(a, b, c, d)
}

const fn v4(first: [u8; 4], prefix: u8) -> AddressRange {
    AddressRange {
        first: IpAddr::V4(Ipv4Addr::from_octets(first)),
        prefix,
    }
}

const fn v6(first: [u16; 8], prefix: u8) -> AddressRange {
    AddressRange {
        first: IpAddr::V6(Ipv6Addr::from_segments(first)),
        prefix,
    }
}

/// NAT64, well-known prefix (RFC 6052): a host without IPv4 sees IPv4-only receivers at these
/// addresses.
const NAT64: AddressRange = v6([0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 96);

/// NAT64, local-use prefix (RFC 8215).
const LOCAL_NAT64: AddressRange = v6([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48);

/// The IPv6 space handed out as global unicast (RFC 4291 §2.4; IANA's IPv6 address space registry).
const GLOBAL_UNICAST: AddressRange = v6([0x2000, 0, 0, 0, 0, 0, 0, 0], 3);

/// The parts of IPv4 and of IPv6 global unicast that are not the public Internet.
const SPECIAL: [AddressRange; 20] = [
    v4([0, 0, 0, 0], 8),        // this network
    v4([10, 0, 0, 0], 8),       // private
    v4([100, 64, 0, 0], 10),    // carrier-grade NAT
    v4([127, 0, 0, 0], 8),      // loopback
    v4([168, 63, 129, 16], 32), // Azure's host agent (WireServer), in public space
    v4([169, 254, 0, 0], 16),   // link-local, cloud metadata
    v4([172, 16, 0, 0], 12),    // private
    v4([192, 0, 0, 0], 24),     // protocol assignments
    v4([192, 0, 2, 0], 24),     // documentation
    v4([192, 88, 99, 0], 24),   // 6to4 relay
    v4([192, 168, 0, 0], 16),   // private
    v4([198, 18, 0, 0], 15),    // benchmarking
    v4([198, 51, 100, 0], 24),  // documentation
    v4([203, 0, 113, 0], 24),   // documentation
    v4([224, 0, 0, 0], 4),      // multicast
    v4([240, 0, 0, 0], 4),      // reserved, and broadcast
    // Protocol assignments: Teredo, benchmarking, ORCHID. The globally reachable ones among them
    // are anycast for protocols other than HTTP.
    v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 23),
    v6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32), // documentation
    v6([0x2002, 0, 0, 0, 0, 0, 0, 0], 16),     // 6to4
    v6([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20),     // documentation
];

#[cfg(test)]
mod tests {
    use super::*;

    /// Judges for a machine that has no addresses of its own.
    fn is_allowed(address: IpAddr, allowed: &[AddressRange]) -> bool {
        super::is_allowed(address, allowed, &[])
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn range(text: &str) -> AddressRange {
        text.parse().unwrap()
    }

    /// The first and last address of each range, and the public ones next to it.
    #[test]
    fn every_special_range_is_closed_from_edge_to_edge_and_no_further() {
        let cases = [
            ("0.0.0.0", "0.255.255.255", None, Some("1.0.0.0")),
            (
                "10.0.0.0",
                "10.255.255.255",
                Some("9.255.255.255"),
                Some("11.0.0.0"),
            ),
            (
                "100.64.0.0",
                "100.127.255.255",
                Some("100.63.255.255"),
                Some("100.128.0.0"),
            ),
            (
                "127.0.0.0",
                "127.255.255.255",
                Some("126.255.255.255"),
                Some("128.0.0.0"),
            ),
            (
                "168.63.129.16",
                "168.63.129.16",
                Some("168.63.129.15"),
                Some("168.63.129.17"),
            ),
            (
                "169.254.0.0",
                "169.254.255.255",
                Some("169.253.255.255"),
                Some("169.255.0.0"),
            ),
            (
                "172.16.0.0",
                "172.31.255.255",
                Some("172.15.255.255"),
                Some("172.32.0.0"),
            ),
            (
                "192.0.0.0",
                "192.0.0.255",
                Some("191.255.255.255"),
                Some("192.0.1.0"),
            ),
            (
                "192.0.2.0",
                "192.0.2.255",
                Some("192.0.1.255"),
                Some("192.0.3.0"),
            ),
            (
                "192.88.99.0",
                "192.88.99.255",
                Some("192.88.98.255"),
                Some("192.88.100.0"),
            ),
            (
                "192.168.0.0",
                "192.168.255.255",
                Some("192.167.255.255"),
                Some("192.169.0.0"),
            ),
            (
                "198.18.0.0",
                "198.19.255.255",
                Some("198.17.255.255"),
                Some("198.20.0.0"),
            ),
            (
                "198.51.100.0",
                "198.51.100.255",
                Some("198.51.99.255"),
                Some("198.51.101.0"),
            ),
            (
                "203.0.113.0",
                "203.0.113.255",
                Some("203.0.112.255"),
                Some("203.0.114.0"),
            ),
            (
                "224.0.0.0",
                "255.255.255.255",
                Some("223.255.255.255"),
                None,
            ),
            (
                "::",
                "1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
                None,
                Some("2000::"),
            ),
            (
                "2001::",
                "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff",
                Some("2000:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
                Some("2001:200::"),
            ),
            (
                "2001:db8::",
                "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff",
                Some("2001:db7:ffff:ffff:ffff:ffff:ffff:ffff"),
                Some("2001:db9::"),
            ),
            (
                "2002::",
                "2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
                Some("2001:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
                Some("2003::"),
            ),
            (
                "3fff::",
                "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff",
                Some("3ffe:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
                Some("3fff:1000::"),
            ),
            (
                "4000::",
                "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
                Some("3fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
                None,
            ),
        ];
        for (first, last, before, after) in cases {
            for closed in [first, last] {
                assert!(!is_allowed(ip(closed), &[]), "{closed}");
            }
            for open in [before, after].into_iter().flatten() {
                assert!(is_allowed(ip(open), &[]), "{open}");
            }
        }
        for public in ["1.1.1.1", "93.184.216.34", "2606:4700::1111", "2a00::1"] {
            assert!(is_allowed(ip(public), &[]), "{public}");
        }
        // Listed in the registry, but globally reachable: announced like any other prefix.
        for public in [
            "192.31.196.1",
            "192.52.193.1",
            "192.175.48.1",
            "2620:4f:8000::1",
        ] {
            assert!(is_allowed(ip(public), &[]), "{public}");
        }
    }

    /// Addresses outside global unicast are refused even if no registry describes them.
    #[test]
    fn ipv6_outside_of_global_unicast_is_refused() {
        for outside in [
            "::",
            "::1",
            "::7f00:1",
            "::ffff:0:808:808",
            "64:ff9b:0:0:0:1::",
            "64:ff9b:1::808:808",
            "64:ff9b:2::",
            "100::1",
            "100:0:0:1::1",
            "1fff::1",
            "4000::1",
            "5f00::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe00::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!is_allowed(ip(outside), &[]), "{outside}");
        }
        assert!(is_allowed(ip("4000::1"), &[range("4000::/3")]));
    }

    /// Azure serves each of its machines, at a public address, data that only that machine may see.
    #[test]
    fn the_host_agent_in_public_space_is_refused_in_every_form_unless_named() {
        for form in [
            "168.63.129.16",
            "::ffff:168.63.129.16",
            "64:ff9b::168.63.129.16",
        ] {
            assert!(!is_allowed(ip(form), &[]), "{form}");
            assert!(is_allowed(ip(form), &[range("168.63.129.16")]), "{form}");
        }
        assert!(!is_allowed(
            ip("::168.63.129.16"),
            &[range("168.63.129.16")]
        ));
    }

    #[test]
    fn an_ipv4_address_inside_an_ipv6_one_is_judged_as_itself() {
        assert!(!is_allowed(ip("::ffff:127.0.0.1"), &[]));
        assert!(!is_allowed(ip("::ffff:a9fe:a9fe"), &[]));
        assert!(is_allowed(ip("::ffff:8.8.8.8"), &[]));
        assert!(is_allowed(ip("::ffff:10.0.0.1"), &[range("10.0.0.0/8")]));
    }

    /// A host behind NAT64 sees IPv4-only receivers at these addresses, and at no others.
    #[test]
    fn behind_nat64_the_address_inside_is_judged() {
        let (nat64, private) = (range("64:ff9b::/96"), range("10.0.0.0/8"));
        assert!(is_allowed(ip("64:ff9b::8.8.8.8"), &[]));
        assert!(is_allowed(ip("64:ff9b::8.8.8.8"), &[nat64]));
        for inside in ["10.0.0.1", "127.0.0.1", "169.254.169.254", "0.0.0.0"] {
            let address = ip(&format!("64:ff9b::{inside}"));
            assert!(!is_allowed(address, &[]), "{address}");
            assert!(
                !is_allowed(address, &[nat64]),
                "{address}: naming the way is not enough"
            );
        }
        assert!(is_allowed(ip("64:ff9b::10.0.0.1"), &[private]));
    }

    #[test]
    fn behind_a_local_nat64_both_addresses_must_be_allowed() {
        let (nat64, private) = (range("64:ff9b:1::/48"), range("10.0.0.0/8"));
        assert!(!is_allowed(ip("64:ff9b:1::8.8.8.8"), &[]));
        assert!(is_allowed(ip("64:ff9b:1::8.8.8.8"), &[nat64]));
        assert!(!is_allowed(ip("64:ff9b:1::10.0.0.1"), &[nat64]));
        assert!(!is_allowed(ip("64:ff9b:1::10.0.0.1"), &[private]));
        assert!(is_allowed(ip("64:ff9b:1::10.0.0.1"), &[nat64, private]));
    }

    #[test]
    fn this_machines_own_addresses_are_refused_unless_named() {
        let own = [ip("9.9.9.9"), ip("2620:fe::9"), ip("10.0.0.1")];
        let named = [range("9.9.9.9"), range("2620:fe::/48")];
        for address in [
            "9.9.9.9",
            "::ffff:9.9.9.9",
            "64:ff9b::9.9.9.9",
            "2620:fe::9",
        ] {
            assert!(!super::is_allowed(ip(address), &[], &own), "{address}");
            assert!(super::is_allowed(ip(address), &named, &own), "{address}");
        }
        let neighbours = ["9.9.9.8", "2620:fe::8"];
        for neighbour in neighbours {
            assert!(super::is_allowed(ip(neighbour), &[], &own), "{neighbour}");
        }
        let private = range("10.0.0.0/8");
        assert!(super::is_allowed(ip("10.0.0.1"), &[private], &own));
    }

    #[test]
    fn what_is_allowed_opens_its_own_range_only() {
        let allowed = [range("10.1.0.0/16")];
        assert!(is_allowed(ip("10.1.255.255"), &allowed));
        assert!(!is_allowed(ip("10.2.0.0"), &allowed));
        assert!(!is_allowed(ip("127.0.0.1"), &allowed));
        assert!(
            AddressRange::loopback()
                .iter()
                .any(|range| range.contains(ip("::1")))
        );
        assert!(is_allowed(ip("192.168.0.7"), &[range("0.0.0.0/0")]));
        assert!(is_allowed(ip("fd00::1"), &[range("::/0")]));
    }

    #[test]
    fn a_range_is_read_as_it_is_written_and_nothing_else() {
        for text in [
            "10.0.0.0/8",
            "0.0.0.0/0",
            "fd00::/8",
            "::1/128",
            "1.2.3.4/32",
        ] {
            assert_eq!(range(text).to_string(), text);
            let json = serde_json::to_string(&range(text)).unwrap();
            assert_eq!(
                serde_json::from_str::<AddressRange>(&json).unwrap(),
                range(text)
            );
        }
        assert_eq!(range("1.2.3.4"), range("1.2.3.4/32"));
        for bad in [
            "",
            "10.0.0.0/33",
            "10.0.0.1/8",
            "fd00::/129",
            "10.0.0/8",
            "10.0.0.0/-1",
            "10.0.0.0/+8",
            "10.0.0.0/",
            "::ffff:10.0.0.0/104",
            "a/8",
        ] {
            assert!(bad.parse::<AddressRange>().is_err(), "{bad}");
        }
    }
}

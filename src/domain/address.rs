//! Which network addresses a webhook may be sent to.
//!
//! Whoever may choose a webhook URL may have the sender call any address that the sender can reach: cloud metadata, internal services, itself
//! (server-side request forgery). So a call goes to public addresses only, unless the application allows more. The ranges are those of the IANA
//! special-purpose registries (RFC 6890) and those that carry an IPv4 address inside an IPv6 one.

use std::fmt;
// The types only: `std::net` could do I/O, which nothing here does.
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A range of addresses in CIDR notation, such as `10.0.0.0/8` or `fd00::/8`; a single address is a range of one.
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
    /// Returns the ranges of this very machine: `127.0.0.0/8` and `::1`. For development and tests.
    pub const fn loopback() -> [Self; 2] {
        [v4([127, 0, 0, 0], 8), v6([0, 0, 0, 0, 0, 0, 0, 1], 128)]
    }

    /// Says whether an address is in the range. An IPv4 address inside an IPv6 one (`::ffff:0:0/96`) counts as the IPv4 address.
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
        // A mapped range would never contain anything: addresses are unwrapped first.
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

/// Says whether a call may go to an address: it is public, or one of the ranges allows it.
pub(crate) fn is_allowed(address: IpAddr, allowed: &[AddressRange]) -> bool {
    let address = address.to_canonical();
    let named = allowed.iter().any(|range| range.contains(address));
    let carried = match address {
        IpAddr::V6(address) if is_nat64(address) => Some(last_four(address)),
        IpAddr::V4(_) | IpAddr::V6(_) => None,
    };
    match carried {
        // The translator sends it on to the address inside, so that both must be allowed.
        Some(inside) => named && is_allowed(IpAddr::V4(inside), allowed),
        None => named || !SPECIAL.iter().any(|range| range.contains(address)),
    }
}

fn is_nat64(address: Ipv6Addr) -> bool {
    NAT64
        .iter()
        .any(|range| range.contains(IpAddr::V6(address)))
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

/// NAT64, well-known (RFC 6052) and local (RFC 8215).
const NAT64: [AddressRange; 2] = [
    v6([0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 96),
    v6([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48),
];

/// What is not the public Internet.
const SPECIAL: [AddressRange; 31] = [
    v4([0, 0, 0, 0], 8),                   // this network
    v4([10, 0, 0, 0], 8),                  // private
    v4([100, 64, 0, 0], 10),               // carrier-grade NAT
    v4([127, 0, 0, 0], 8),                 // loopback
    v4([169, 254, 0, 0], 16),              // link-local, cloud metadata
    v4([172, 16, 0, 0], 12),               // private
    v4([192, 0, 0, 0], 24),                // protocol assignments
    v4([192, 0, 2, 0], 24),                // documentation
    v4([192, 88, 99, 0], 24),              // 6to4 relay
    v4([192, 168, 0, 0], 16),              // private
    v4([198, 18, 0, 0], 15),               // benchmarking
    v4([198, 51, 100, 0], 24),             // documentation
    v4([203, 0, 113, 0], 24),              // documentation
    v4([224, 0, 0, 0], 4),                 // multicast
    v4([240, 0, 0, 0], 4),                 // reserved, and broadcast
    v6([0, 0, 0, 0, 0, 0, 0, 0], 96),      // unspecified, loopback, v4-compatible
    v6([0, 0, 0, 0, 0xffff, 0, 0, 0], 96), // translated IPv4 (RFC 2765)
    NAT64[0],
    NAT64[1],
    v6([0x100, 0, 0, 0, 0, 0, 0, 0], 64),      // discard only
    v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 32),     // Teredo
    v6([0x2001, 2, 0, 0, 0, 0, 0, 0], 48),     // benchmarking
    v6([0x2001, 0x10, 0, 0, 0, 0, 0, 0], 28),  // ORCHID, deprecated
    v6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32), // documentation
    v6([0x2002, 0, 0, 0, 0, 0, 0, 0], 16),     // 6to4
    v6([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20),     // documentation
    v6([0x5f00, 0, 0, 0, 0, 0, 0, 0], 16),     // segment routing
    v6([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7),      // unique local
    v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10),     // link-local
    v6([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10),     // site-local
    v6([0xff00, 0, 0, 0, 0, 0, 0, 0], 8),      // multicast
];

#[cfg(test)]
mod tests {
    use super::*;

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
            ("::", "::2", None, None),
            ("::1", "::1", None, None),
            ("::102:304", "::fffe:ffff", None, None),
            (
                "64:ff9b::",
                "64:ff9b::ffff:ffff",
                None,
                Some("64:ff9b::1:0:0"),
            ),
            (
                "64:ff9b:1::",
                "64:ff9b:1:ffff:ffff:ffff:ffff:ffff",
                Some("64:ff9b:0:ffff:ffff:ffff:ffff:ffff"),
                Some("64:ff9b:2::"),
            ),
            (
                "100::",
                "100::ffff:ffff:ffff:ffff",
                Some("ff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
                Some("100:0:0:1::"),
            ),
            (
                "2001::",
                "2001:0:ffff:ffff:ffff:ffff:ffff:ffff",
                Some("2000:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
                Some("2001:1::"),
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
                "5f00::",
                "5f00:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
                Some("5eff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
                Some("5f01::"),
            ),
            (
                "fc00::",
                "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
                Some("fbff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
                Some("fe00::"),
            ),
            (
                "fe80::",
                "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
                Some("fe7f:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
                None,
            ),
            (
                "fec0::",
                "feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
                None,
                None,
            ),
            (
                "ff00::",
                "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
                None,
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
    }

    #[test]
    fn an_ipv4_address_inside_an_ipv6_one_is_judged_as_itself() {
        assert!(!is_allowed(ip("::ffff:127.0.0.1"), &[]));
        assert!(!is_allowed(ip("::ffff:a9fe:a9fe"), &[]));
        assert!(is_allowed(ip("::ffff:8.8.8.8"), &[]));
        assert!(is_allowed(ip("::ffff:10.0.0.1"), &[range("10.0.0.0/8")]));
    }

    #[test]
    fn behind_nat64_both_addresses_must_be_allowed() {
        let nat64 = range("64:ff9b::/96");
        assert!(!is_allowed(ip("64:ff9b::8.8.8.8"), &[]));
        assert!(is_allowed(ip("64:ff9b::8.8.8.8"), &[nat64]));
        assert!(!is_allowed(ip("64:ff9b::10.0.0.1"), &[nat64]));
        assert!(is_allowed(
            ip("64:ff9b::10.0.0.1"),
            &[nat64, range("10.0.0.0/8")]
        ));
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

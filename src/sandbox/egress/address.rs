//! Where an address leads: to the public network, into a private one, or where no step may ever go.
//!
//! Sources: the IANA special-purpose address registries (RFC 6890), RFC 6052 and 8215 (NAT64), RFC 3056 (6to4),
//! RFC 5214 (ISATAP), and the metadata services that clouds document.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::domain::ContactDenial;

/// Where an address leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leads {
    /// To the public network.
    Public,
    /// Into a private one, which opens only where the platform says so.
    Private,
    /// Where nobody may go, listed or not.
    Never(ContactDenial),
}

use ContactDenial::{Broadcast, LinkLocal, Loopback, Metadata, Multicast, Reserved, Unspecified};
use Leads::{Never, Private, Public};

/// Metadata services outside the link-local range: Alibaba, Azure's host, Oracle.
const METADATA_4: [Ipv4Addr; 3] =
    [Ipv4Addr::new(100, 100, 100, 200), Ipv4Addr::new(168, 63, 129, 16), Ipv4Addr::new(192, 0, 0, 192)];
/// Metadata services in private ranges of version 6, as prefixes: AWS, Google, Scaleway, Oracle.
const METADATA_6: [(Ipv6Addr, u32); 4] = [
    (Ipv6Addr::new(0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0xfd20, 0x00ce, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0xfd00, 0x0042, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0xfd00, 0x00c1, 0, 0, 0, 0, 0, 0), 32),
];

/// Ranges of version 4 in the order they are looked at, with where they lead.
const RANGES_4: [(Ipv4Addr, u32, Leads); 19] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8, Never(Unspecified)),
    (Ipv4Addr::new(127, 0, 0, 0), 8, Never(Loopback)),
    // Where instances and pods get the rights of the machine; the rest of the range is the link's.
    (Ipv4Addr::new(169, 254, 169, 254), 32, Never(Metadata)),
    (Ipv4Addr::new(169, 254, 170, 0), 24, Never(Metadata)),
    (Ipv4Addr::new(169, 254, 0, 0), 16, Never(LinkLocal)),
    (Ipv4Addr::new(10, 0, 0, 0), 8, Private),
    (Ipv4Addr::new(172, 16, 0, 0), 12, Private),
    (Ipv4Addr::new(192, 168, 0, 0), 16, Private),
    (Ipv4Addr::new(100, 64, 0, 0), 10, Private),
    (Ipv4Addr::new(198, 18, 0, 0), 15, Private),
    (Ipv4Addr::new(192, 0, 0, 0), 24, Never(Reserved)),
    (Ipv4Addr::new(192, 0, 2, 0), 24, Never(Reserved)),
    (Ipv4Addr::new(192, 88, 99, 0), 24, Never(Reserved)),
    (Ipv4Addr::new(198, 51, 100, 0), 24, Never(Reserved)),
    (Ipv4Addr::new(203, 0, 113, 0), 24, Never(Reserved)),
    (Ipv4Addr::new(224, 0, 0, 0), 4, Never(Multicast)),
    (Ipv4Addr::new(255, 255, 255, 255), 32, Never(Broadcast)),
    (Ipv4Addr::new(240, 0, 0, 0), 4, Never(Reserved)),
    (Ipv4Addr::new(0, 0, 0, 0), 0, Public),
];

/// Ranges of version 6 that are told apart once the forms that hold an address of version 4 are unwrapped.
const RANGES_6: [(Ipv6Addr, u32, Leads); 11] = [
    (Ipv6Addr::UNSPECIFIED, 128, Never(Unspecified)),
    (Ipv6Addr::LOCALHOST, 128, Never(Loopback)),
    (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10, Never(LinkLocal)),
    (Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8, Never(Multicast)),
    (Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7, Private),
    // Teredo, which holds an address that is hidden, benchmarks, ORCHIDs and other protocols.
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23, Never(Reserved)),
    (Ipv6Addr::new(0x2001, 0x0db8, 0, 0, 0, 0, 0, 0), 32, Never(Reserved)),
    (Ipv6Addr::new(0x3ffe, 0, 0, 0, 0, 0, 0, 0), 16, Never(Reserved)),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20, Never(Reserved)),
    (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3, Public),
    // What was never given out: compatible and translated forms, local NAT64, discard, site-local and the rest.
    (Ipv6Addr::UNSPECIFIED, 0, Never(Reserved)),
];

/// The address that a connection to this one goes to: one of version 4 that is written as one of version 6 is
/// that of version 4.
pub(super) fn plain(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

/// Says where an address leads. One that holds another leads where that one does.
pub(super) fn leads(address: IpAddr) -> Leads {
    match plain(address) {
        IpAddr::V4(address) => leads_4(address),
        IpAddr::V6(address) => leads_6(address),
    }
}

fn leads_4(address: Ipv4Addr) -> Leads {
    if METADATA_4.contains(&address) {
        return Never(Metadata);
    }
    let within = |range: Ipv4Addr, length: u32| {
        let mask = u32::MAX.checked_shl(32 - length).unwrap_or(0);
        address.to_bits() & mask == range.to_bits()
    };
    RANGES_4
        .iter()
        .find(|(range, length, _)| within(*range, *length))
        .map_or(Never(Reserved), |found| found.2)
}

fn leads_6(address: Ipv6Addr) -> Leads {
    let within = |range: Ipv6Addr, length: u32| {
        let mask = u128::MAX.checked_shl(128 - length).unwrap_or(0);
        address.to_bits() & mask == range.to_bits()
    };
    if METADATA_6.iter().any(|(range, length)| within(*range, *length)) {
        return Never(Metadata);
    }
    let [a, b, c, d, e, f, g, h] = address.segments();
    let pair = |high: u16, low: u16| Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low));
    match (a, b) {
        // NAT64 by its well-known prefix.
        (0x64, 0xff9b) if [c, d, e, f] == [0; 4] => return leads_4(pair(g, h)),
        // 6to4: a relay takes it to this address.
        (0x2002, _) => return leads_4(pair(b, c)),
        _ => {}
    }
    // ISATAP: a router takes it to this address.
    if matches!(e, 0 | 0x200) && f == 0x5efe && leads_4(pair(g, h)) != Public {
        return leads_4(pair(g, h));
    }
    RANGES_6
        .iter()
        .find(|(range, length, _)| within(*range, *length))
        .map_or(Never(Reserved), |found| found.2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(addresses: &str, want: Leads) {
        for address in addresses.split_whitespace() {
            assert_eq!(leads(address.parse().unwrap()), want, "{address}");
        }
    }

    #[test]
    fn the_public_network_is_open() {
        check("1.1.1.1 8.8.8.8 93.184.216.34 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0", Public);
        check("172.15.255.255 172.32.0.0 192.167.255.255 192.169.0.0 198.17.255.255 198.20.0.0", Public);
        check("126.255.255.255 128.0.0.0 169.253.255.255 169.255.0.0 223.255.255.255 1.0.0.0", Public);
        check("168.63.129.15 168.63.129.17 192.0.1.0 192.0.3.0 198.51.101.1 203.0.114.0", Public);
        check("2606:4700::1111 2001:200::1 2a00:1450:4001::1 2400:: 3fff:1000::", Public);
    }

    #[test]
    fn private_ranges_are_told_apart() {
        check("10.0.0.0 10.255.255.255 172.16.0.0 172.31.255.255 192.168.0.1 192.168.255.255", Private);
        check("100.64.0.0 100.127.255.255 198.18.0.1 198.19.255.255", Private);
        check("fc00:: fd12:3456:789a::1 fdff:ffff::", Private);
    }

    #[test]
    fn nobody_goes_to_the_machine_or_its_link() {
        check("127.0.0.1 127.0.0.0 127.255.255.255 ::1", Never(Loopback));
        check("0.0.0.0 0.1.2.3 ::", Never(Unspecified));
        check("169.254.0.1 169.254.169.253 169.254.255.255 fe80::1 febf::", Never(LinkLocal));
        check("169.254.169.254 169.254.170.2 169.254.170.23", Never(Metadata));
        check("100.100.100.200 168.63.129.16 192.0.0.192", Never(Metadata));
        check("fd00:ec2::254 fd00:ec2::23 fd20:ce::254 fd00:42::42 fd00:c1::a9fe:a9fe", Never(Metadata));
        check("224.0.0.1 239.255.255.255 ff02::1 ff0e::1", Never(Multicast));
        check("255.255.255.255", Never(Broadcast));
        check(
            "240.0.0.1 255.255.255.254 192.0.0.8 192.0.2.1 198.51.100.7 203.0.113.9 192.88.99.1",
            Never(Reserved),
        );
        check(
            "2001:db8::1 3fff::1 3ffe::1 2001::1 2001:0:4136:e378:8000:63bf:3fff:fdd2 2001:20::1",
            Never(Reserved),
        );
        check("fec0::1 feff::1 100::1 4000::1 5f00::1 64:ff9b:1::7f00:1 64:ff9c::1 1::1", Never(Reserved));
    }

    /// Every form that holds an address leads where that address does.
    #[test]
    fn forms_that_hold_an_address_are_unwrapped() {
        for (inner, want) in [
            ("127.0.0.1", Never(Loopback)),
            ("169.254.169.254", Never(Metadata)),
            ("10.1.2.3", Private),
            ("0.0.0.0", Never(Unspecified)),
            ("255.255.255.255", Never(Broadcast)),
            ("93.184.216.34", Public),
        ] {
            let address: Ipv4Addr = inner.parse().unwrap();
            let [high, low] = [(address.to_bits() >> 16) as u16, (address.to_bits() & 0xffff) as u16];
            check(&format!("::ffff:{inner} 64:ff9b::{inner} 2002:{high:x}:{low:x}::1"), want);
            if want != Public {
                check(&format!("2606:4700::5efe:{inner} 2606:4700::200:5efe:{inner}"), want);
                check(&format!("2002:{high:x}:{low:x}:ffff:ffff:ffff:ffff:ffff"), want);
            }
        }
        // Compatible and translated forms are no way for anybody.
        check("::127.0.0.1 ::93.184.216.34 ::ffff:0:127.0.0.1 ::ffff:0:93.184.216.34", Never(Reserved));
        assert_eq!(plain("::ffff:10.1.2.3".parse().unwrap()), "10.1.2.3".parse::<IpAddr>().unwrap());
        assert_eq!(plain("64:ff9b::a01:203".parse().unwrap()), "64:ff9b::a01:203".parse::<IpAddr>().unwrap());
    }

    proptest::proptest! {
        /// The mapped form of an address never leads elsewhere than the address.
        #[test]
        fn mapped_forms_change_nothing(bits: u32) {
            let address = Ipv4Addr::from_bits(bits);
            proptest::prop_assert_eq!(leads(address.into()), leads(address.to_ipv6_mapped().into()));
        }
    }
}

//! Reads the kernel's routing messages (rtnetlink(7)): only what a [`NetEvent`] needs, so that
//! nothing else in them can be wrong.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::net::IpAddr;

use super::NetEvent;
use crate::VirtualAddress;
use crate::announce::Mac;

const NEW_LINK: u16 = 16;
const DEL_LINK: u16 = 17;
const NEW_ADDRESS: u16 = 20;
const DEL_ADDRESS: u16 = 21;
const NEW_ROUTE: u16 = 24;
const DEL_ROUTE: u16 = 25;

const HEADER_LEN: usize = 16;
const ALIGN: usize = 4;

/// `AF_UNSPEC`: messages of a bridge about its ports come as links, too, with `AF_BRIDGE`.
const UNSPECIFIED: u8 = 0;
const IFF_UP: u32 = 0x1;
const IFF_RUNNING: u32 = 0x40;
const IFF_LOWER_UP: u32 = 0x1_0000;
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
/// The upper two bits of an attribute's type are flags.
const ATTRIBUTE_TYPE: u16 = 0x3fff;

/// What a message means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Decoded {
    Event(NetEvent),
    /// A route changed; which one does not matter.
    Routes,
}

/// Calls `tell` for each message in `datagram` that means something here.
pub(super) fn decode(mut datagram: &[u8], mut tell: impl FnMut(Decoded)) {
    while let Some((kind, body, rest)) = message(datagram) {
        datagram = rest;
        let decoded = match kind {
            NEW_LINK | DEL_LINK => link(kind, body).map(Decoded::Event),
            NEW_ADDRESS | DEL_ADDRESS => address(kind, body).map(Decoded::Event),
            NEW_ROUTE | DEL_ROUTE => Some(Decoded::Routes),
            _ => None,
        };
        decoded.into_iter().for_each(&mut tell);
    }
}

/// The first message's type and body, and what follows it.
fn message(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let [l0, l1, l2, l3, t0, t1, ..] = *bytes.first_chunk::<HEADER_LEN>()?;
    let len = usize::try_from(u32::from_ne_bytes([l0, l1, l2, l3])).ok()?;
    let body = bytes.get(HEADER_LEN..len)?;
    let rest = bytes.get(len.checked_next_multiple_of(ALIGN)?..).unwrap_or_default();
    Some((u16::from_ne_bytes([t0, t1]), body, rest))
}

/// `struct ifinfomsg` and its attributes.
fn link(kind: u16, body: &[u8]) -> Option<NetEvent> {
    let (header, attributes) = body.split_first_chunk::<16>()?;
    let [family, _, _, _, i0, i1, i2, i3, f0, f1, f2, f3, ..] = *header;
    if family != UNSPECIFIED {
        return None;
    }
    let index = u32::from_ne_bytes([i0, i1, i2, i3]);
    let flags = u32::from_ne_bytes([f0, f1, f2, f3]);
    let name = attribute(attributes, IFLA_IFNAME)?;
    let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
    let name = String::from_utf8_lossy(name).into_owned();
    if kind == DEL_LINK {
        return Some(NetEvent::LinkGone { index, name });
    }
    let mac = attribute(attributes, IFLA_ADDRESS).and_then(|mac| <[u8; 6]>::try_from(mac).ok());
    Some(NetEvent::Link {
        index,
        name,
        mac: Mac::new(mac.unwrap_or_default()),
        up: flags & IFF_UP != 0,
        running: flags & IFF_RUNNING != 0 && flags & IFF_LOWER_UP != 0,
    })
}

/// `struct ifaddrmsg` and its attributes.
fn address(kind: u16, body: &[u8]) -> Option<NetEvent> {
    let (header, attributes) = body.split_first_chunk::<8>()?;
    let [_, prefix_len, _, _, i0, i1, i2, i3] = *header;
    let index = u32::from_ne_bytes([i0, i1, i2, i3]);
    // On point-to-point links `IFA_ADDRESS` is the other end's.
    let ip = attribute(attributes, IFA_LOCAL).or_else(|| attribute(attributes, IFA_ADDRESS))?;
    let ip: IpAddr = match ip.len() {
        4 => <[u8; 4]>::try_from(ip).ok()?.into(),
        _ => <[u8; 16]>::try_from(ip).ok()?.into(),
    };
    let address = VirtualAddress::new(ip, prefix_len).ok()?;
    if kind == DEL_ADDRESS {
        return Some(NetEvent::AddressRemoved { index, address });
    }
    Some(NetEvent::AddressAdded { index, address })
}

/// The value of the first attribute of this type.
fn attribute(mut bytes: &[u8], wanted: u16) -> Option<&[u8]> {
    loop {
        let [l0, l1, t0, t1] = *bytes.first_chunk::<4>()?;
        let len = usize::from(u16::from_ne_bytes([l0, l1]));
        let value = bytes.get(4..len)?;
        if u16::from_ne_bytes([t0, t1]) & ATTRIBUTE_TYPE == wanted {
            return Some(value);
        }
        bytes = bytes.get(len.checked_next_multiple_of(ALIGN)?..)?;
    }
}

#[cfg(test)]
#[expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "the messages are made here, and small"
)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn padded(mut bytes: Vec<u8>) -> Vec<u8> {
        bytes.resize(bytes.len().next_multiple_of(ALIGN), 0);
        bytes
    }

    fn attr(kind: u16, value: &[u8]) -> Vec<u8> {
        let len = u16::try_from(value.len() + 4).expect("short");
        padded([&len.to_ne_bytes()[..], &kind.to_ne_bytes(), value].concat())
    }

    fn msg(kind: u16, body: &[u8]) -> Vec<u8> {
        let len = u32::try_from(body.len() + HEADER_LEN).expect("short");
        padded([&len.to_ne_bytes()[..], &kind.to_ne_bytes(), &[0; 10], body].concat())
    }

    fn link_msg(kind: u16, family: u8, index: u32, flags: u32) -> Vec<u8> {
        let header = [&[family, 0, 1, 0][..], &index.to_ne_bytes(), &flags.to_ne_bytes(), &[0; 4]];
        let name = attr(IFLA_IFNAME, b"eth0\0");
        let mac = attr(IFLA_ADDRESS, &[2, 0, 0, 0, 0, 7]);
        msg(kind, &[header.concat(), attr(99, &[1, 2, 3]), mac, name].concat())
    }

    fn all(datagram: &[u8]) -> Vec<Decoded> {
        let mut all = Vec::new();
        decode(datagram, |decoded| all.push(decoded));
        all
    }

    #[test]
    fn all_messages_of_a_datagram_are_read() {
        let running = IFF_UP | IFF_RUNNING | IFF_LOWER_UP;
        let ifaddr = [&[2, 24, 0, 0][..], &9u32.to_ne_bytes(), &attr(IFA_LOCAL, &[192, 0, 2, 1])];
        let datagram = [
            link_msg(NEW_LINK, 0, 7, running),
            msg(NEW_ROUTE, &[1]),
            msg(DEL_ADDRESS, &ifaddr.concat()),
            link_msg(DEL_LINK, 0, 7, 0),
        ];
        let link = |up, running| NetEvent::Link {
            index: 7,
            name: "eth0".into(),
            mac: Mac::new([2, 0, 0, 0, 0, 7]),
            up,
            running,
        };
        let address = "192.0.2.1/24".parse().expect("an address");
        assert_eq!(
            all(&datagram.concat()),
            [
                Decoded::Event(link(true, true)),
                Decoded::Routes,
                Decoded::Event(NetEvent::AddressRemoved { index: 9, address }),
                Decoded::Event(NetEvent::LinkGone { index: 7, name: "eth0".into() }),
            ]
        );
        let no_carrier = all(&link_msg(NEW_LINK, 0, 7, IFF_UP));
        assert_eq!(no_carrier, [Decoded::Event(link(true, false))]);
    }

    #[test]
    fn a_port_that_leaves_its_bridge_is_not_a_link_that_is_gone() {
        const BRIDGE: u8 = 7;
        assert_eq!(all(&link_msg(DEL_LINK, BRIDGE, 7, 0)), []);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_to_their_end(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _is_no_panic = all(&bytes);
        }

        #[test]
        fn a_damaged_message_is_read_without_a_panic(
            at in 0usize..64, byte: u8, cut in 0usize..64,
        ) {
            let mut message = link_msg(NEW_LINK, 0, 7, IFF_UP);
            let at = at % message.len();
            message[at] = byte;
            message.truncate(message.len() - cut.min(message.len()));
            prop_assert!(all(&message).len() <= 1);
        }
    }
}

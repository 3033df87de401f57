//! Links, addresses, neighbours and routes of one network namespace, through its netlink socket.
//!
//! A socket belongs to the namespace in which it was opened, whichever thread uses it later.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "the enums are of the netlink crates: not exhaustive, with dozens of variants"
)]

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::sync::{Mutex, PoisonError};

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage,
    NetlinkPayload,
};
use netlink_packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage};
use netlink_packet_route::link::{
    BridgePortState, BridgeStpState, InfoBridge, InfoBridgePort, InfoData, InfoKind, InfoPortData,
    InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage, State,
};
use netlink_packet_route::neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use rustix::io::Errno;

use crate::InterfaceAddress;

/// A link of the namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) index: u32,
    pub(crate) name: String,
    pub(crate) mac: Vec<u8>,
}

/// What to make of a veth pair: one end here, a port of a bridge; the other in another namespace.
#[derive(Debug)]
pub(crate) struct VethPair<'a> {
    pub(crate) port: &'a str,
    pub(crate) port_mac: [u8; 6],
    pub(crate) bridge: u32,
    pub(crate) far_name: &'a str,
    pub(crate) far_mac: [u8; 6],
    pub(crate) far_namespace: BorrowedFd<'a>,
}

/// A netlink socket that asks and waits for the answer.
#[derive(Debug)]
pub(crate) struct Netlink(Mutex<Conversation>);

#[derive(Debug)]
struct Conversation {
    socket: Socket,
    sequence: u32,
}

impl Netlink {
    /// Opens one in the calling thread's namespace.
    pub(crate) fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self(Mutex::new(Conversation { socket, sequence: 0 })))
    }

    pub(crate) fn add_bridge(&self, name: &str, mac: [u8; 6]) -> io::Result<u32> {
        let options = vec![
            InfoBridge::StpState(BridgeStpState::Disabled),
            InfoBridge::ForwardDelay(0),
            InfoBridge::MulticastSnooping(false),
        ];
        let mut link = named(name, mac);
        link.attributes.push(LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Bridge),
            LinkInfo::Data(InfoData::Bridge(options)),
        ]));
        self.create(RouteNetlinkMessage::NewLink(link))?;
        self.link(name).map(|link| link.index)
    }

    /// Makes the pair and returns the index of the end that is here.
    pub(crate) fn add_veth(&self, pair: &VethPair<'_>) -> io::Result<u32> {
        let mut far = named(pair.far_name, pair.far_mac);
        // The kernel makes it before the two know each other: it can come up only afterwards.
        far.header.flags = LinkFlags::empty();
        far.header.change_mask = LinkFlags::empty();
        far.attributes.push(LinkAttribute::NetNsFd(pair.far_namespace.as_raw_fd()));
        let mut link = named(pair.port, pair.port_mac);
        link.attributes.push(LinkAttribute::Controller(pair.bridge));
        link.attributes.push(LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(far))),
        ]));
        self.create(RouteNetlinkMessage::NewLink(link))?;
        self.link(pair.port).map(|link| link.index)
    }

    pub(crate) fn delete_link(&self, index: u32) -> io::Result<()> {
        let mut link = LinkMessage::default();
        link.header.index = index;
        self.ask(RouteNetlinkMessage::DelLink(link), 0).map(drop)
    }

    pub(crate) fn set_up(&self, index: u32, up: bool) -> io::Result<()> {
        let mut link = LinkMessage::default();
        link.header.index = index;
        link.header.flags = if up { LinkFlags::Up } else { LinkFlags::empty() };
        link.header.change_mask = LinkFlags::Up;
        self.ask(RouteNetlinkMessage::SetLink(link), 0).map(drop)
    }

    /// Makes the link a port of `bridge`; 0 for none.
    pub(crate) fn set_bridge(&self, index: u32, bridge: u32) -> io::Result<()> {
        let mut link = LinkMessage::default();
        link.header.index = index;
        link.attributes.push(LinkAttribute::Controller(bridge));
        self.ask(RouteNetlinkMessage::SetLink(link), 0).map(drop)
    }

    pub(crate) fn link(&self, name: &str) -> io::Result<Link> {
        let mut question = LinkMessage::default();
        question.attributes.push(LinkAttribute::IfName(name.to_owned()));
        let answers = self.ask(RouteNetlinkMessage::GetLink(question), 0)?;
        answers.iter().find_map(as_link).ok_or_else(|| Errno::NODEV.into())
    }

    /// Whether frames pass: the link is up and, if it is a port of a bridge, forwards. A kernel
    /// gets there a moment after its cable is plugged in, on a busy machine later. `None`: it was
    /// switched off, so none are to pass.
    pub(crate) fn is_forwarding(&self, index: u32) -> io::Result<Option<bool>> {
        let mut question = LinkMessage::default();
        question.header.index = index;
        let answers = self.ask(RouteNetlinkMessage::GetLink(question), 0)?;
        let message = answers.iter().find_map(|answer| match answer {
            RouteNetlinkMessage::NewLink(message) => Some(message),
            _ => None,
        });
        let on = message.filter(|message| message.header.flags.contains(LinkFlags::Up));
        Ok(on.map(|message| message.attributes.iter().all(passes)))
    }

    pub(crate) fn links(&self) -> io::Result<Vec<Link>> {
        let question = RouteNetlinkMessage::GetLink(LinkMessage::default());
        Ok(self.ask(question, NLM_F_DUMP)?.iter().filter_map(as_link).collect())
    }

    pub(crate) fn add_address(&self, index: u32, address: InterfaceAddress) -> io::Result<()> {
        self.create(RouteNetlinkMessage::NewAddress(address_message(index, address)))
    }

    pub(crate) fn remove_address(&self, index: u32, address: InterfaceAddress) -> io::Result<()> {
        let message = RouteNetlinkMessage::DelAddress(address_message(index, address));
        self.ask(message, 0).map(drop)
    }

    /// All addresses, with the index of their link.
    pub(crate) fn addresses(&self) -> io::Result<Vec<(u32, InterfaceAddress)>> {
        let question = RouteNetlinkMessage::GetAddress(AddressMessage::default());
        let answers = self.ask(question, NLM_F_DUMP)?;
        Ok(answers.iter().filter_map(AddressChange::of).map(|a| (a.index, a.address)).collect())
    }

    /// The link-layer address that the kernel believes `ip` has.
    pub(crate) fn neighbour(&self, ip: IpAddr) -> io::Result<Option<[u8; 6]>> {
        let all = self.neighbours()?;
        Ok(all.iter().filter(|n| destination(n) == Some(ip)).find_map(|neighbour| {
            neighbour.attributes.iter().find_map(|attribute| match attribute {
                NeighbourAttribute::LinkLayerAddress(mac) => mac.as_slice().try_into().ok(),
                _ => None,
            })
        }))
    }

    /// Makes the kernel forget the link-layer addresses of all neighbours, or of one.
    pub(crate) fn forget_neighbours(&self, only: Option<IpAddr>) -> io::Result<()> {
        for neighbour in self.neighbours()? {
            if only.is_some() && destination(&neighbour) != only {
                continue;
            }
            match self.ask(RouteNetlinkMessage::DelNeighbour(neighbour), 0) {
                Err(error) if error.raw_os_error() != Some(Errno::NOENT.raw_os_error()) => {
                    return Err(error);
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn neighbours(&self) -> io::Result<Vec<NeighbourMessage>> {
        let question = RouteNetlinkMessage::GetNeighbour(NeighbourMessage::default());
        let answers = self.ask(question, NLM_F_DUMP)?;
        let only_arp = |answer| match answer {
            RouteNetlinkMessage::NewNeighbour(n) if destination(&n)?.is_multicast() => None,
            RouteNetlinkMessage::NewNeighbour(n) => Some(n),
            _ => None,
        };
        Ok(answers.into_iter().filter_map(only_arp).collect())
    }

    pub(crate) fn add_route(&self, to: InterfaceAddress, via: IpAddr) -> io::Result<()> {
        let mut route = RouteMessage::default();
        route.header.address_family = family(to.ip());
        route.header.destination_prefix_length = to.prefix_len();
        route.header.table = RouteHeader::RT_TABLE_MAIN;
        route.header.protocol = RouteProtocol::Static;
        route.header.scope = RouteScope::Universe;
        route.header.kind = RouteType::Unicast;
        if to.prefix_len() > 0 {
            route.attributes.push(RouteAttribute::Destination(RouteAddress::from(to.ip())));
        }
        route.attributes.push(RouteAttribute::Gateway(RouteAddress::from(via)));
        self.create(RouteNetlinkMessage::NewRoute(route))
    }

    fn create(&self, message: RouteNetlinkMessage) -> io::Result<()> {
        self.ask(message, NLM_F_CREATE | NLM_F_EXCL).map(drop)
    }

    /// Sends one message and collects the answers until the kernel says that there are no more.
    fn ask(
        &self,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> io::Result<Vec<RouteNetlinkMessage>> {
        let mut conversation = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        conversation.sequence = conversation.sequence.wrapping_add(1);
        let sequence = conversation.sequence;
        let flags = if flags & NLM_F_DUMP == NLM_F_DUMP { flags } else { flags | NLM_F_ACK };
        send(&conversation.socket, message, flags, sequence)?;
        let mut answers = Vec::new();
        loop {
            let (bytes, _) = conversation.socket.recv_from_full()?;
            for message in messages(&bytes) {
                let message = message?;
                if message.header.sequence_number != sequence {
                    continue; // the rest of an answer whose reading failed
                }
                match message.payload {
                    NetlinkPayload::Done(_) => return Ok(answers),
                    NetlinkPayload::Error(error) if error.code.is_none() => return Ok(answers),
                    NetlinkPayload::Error(error) => return Err(error.to_io()),
                    NetlinkPayload::InnerMessage(answer) => answers.push(answer),
                    _ => {}
                }
            }
        }
    }
}

/// Sends one message.
pub(crate) fn send(
    socket: &Socket,
    message: RouteNetlinkMessage,
    flags: u16,
    sequence: u32,
) -> io::Result<()> {
    let mut packet =
        NetlinkMessage::new(NetlinkHeader::default(), NetlinkPayload::InnerMessage(message));
    packet.header.flags = flags | NLM_F_REQUEST;
    packet.header.sequence_number = sequence;
    packet.finalize();
    let mut bytes = vec![0; packet.buffer_len()];
    packet.serialize(&mut bytes);
    socket.send(&bytes, 0).map(drop)
}

/// The messages of one datagram.
pub(crate) fn messages(
    mut bytes: &[u8],
) -> impl Iterator<Item = io::Result<NetlinkMessage<RouteNetlinkMessage>>> {
    std::iter::from_fn(move || {
        if bytes.len() < 16 {
            return None;
        }
        let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(bytes);
        // Messages start at multiples of four bytes.
        let len = bytes.first_chunk().map_or(0, |len| u32::from_ne_bytes(*len) as usize);
        bytes = bytes.get(len.max(16).next_multiple_of(4)..).unwrap_or_default();
        Some(message.map_err(io::Error::other))
    })
}

/// An address that came, is there, or went.
#[derive(Debug)]
pub(crate) struct AddressChange {
    pub(crate) index: u32,
    pub(crate) address: InterfaceAddress,
    pub(crate) there: bool,
}

impl AddressChange {
    pub(crate) fn of(message: &RouteNetlinkMessage) -> Option<Self> {
        let (message, there) = match message {
            RouteNetlinkMessage::NewAddress(message) => (message, true),
            RouteNetlinkMessage::DelAddress(message) => (message, false),
            _ => return None,
        };
        // On point-to-point links ADDRESS is the other side's, and LOCAL ours.
        let local = message.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Local(ip) => Some(*ip),
            _ => None,
        });
        let either = message.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Address(ip) => Some(*ip),
            _ => None,
        });
        let address = InterfaceAddress::new(local.or(either)?, message.header.prefix_len).ok()?;
        Some(Self { index: message.header.index, address, there })
    }
}

/// The question for all addresses, whose answers an [`AddressChange`] each.
pub(crate) fn all_addresses() -> RouteNetlinkMessage {
    RouteNetlinkMessage::GetAddress(AddressMessage::default())
}

fn named(name: &str, mac: [u8; 6]) -> LinkMessage {
    let mut link = LinkMessage::default();
    link.header.flags = LinkFlags::Up;
    link.header.change_mask = LinkFlags::Up;
    link.attributes.push(LinkAttribute::IfName(name.to_owned()));
    link.attributes.push(LinkAttribute::Address(mac.to_vec()));
    link
}

/// Whether this attribute of a link has nothing against frames.
fn passes(attribute: &LinkAttribute) -> bool {
    let is_open = |part: &InfoBridgePort| match part {
        InfoBridgePort::State(state) => *state == BridgePortState::Forwarding,
        _ => true,
    };
    match attribute {
        LinkAttribute::OperState(state) => *state == State::Up,
        LinkAttribute::LinkInfo(parts) => parts.iter().all(|part| match part {
            LinkInfo::PortData(InfoPortData::BridgePort(parts)) => parts.iter().all(is_open),
            _ => true,
        }),
        _ => true,
    }
}

fn as_link(message: &RouteNetlinkMessage) -> Option<Link> {
    let RouteNetlinkMessage::NewLink(message) = message else { return None };
    let mut link = Link { index: message.header.index, name: String::new(), mac: Vec::new() };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::Address(mac) => link.mac.clone_from(mac),
            _ => {}
        }
    }
    Some(link)
}

fn address_message(index: u32, address: InterfaceAddress) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = family(address.ip());
    message.header.prefix_len = address.prefix_len();
    message.header.index = index;
    if address.ip().is_ipv6() {
        message.header.flags = AddressHeaderFlags::Nodad;
    }
    message.attributes.push(AddressAttribute::Local(address.ip()));
    message.attributes.push(AddressAttribute::Address(address.ip()));
    message
}

fn destination(neighbour: &NeighbourMessage) -> Option<IpAddr> {
    neighbour.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::Destination(NeighbourAddress::Inet(ip)) => Some(IpAddr::V4(*ip)),
        NeighbourAttribute::Destination(NeighbourAddress::Inet6(ip)) => Some(IpAddr::V6(*ip)),
        _ => None,
    })
}

const fn family(ip: IpAddr) -> AddressFamily {
    match ip {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    }
}

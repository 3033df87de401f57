//! What the members of a mesh say to each other, as bytes: our own format, version 1.
//!
//! All integers are big-endian; a name is its length in one byte and its text; a list is its length
//! in one byte and its items. Decoding never panics and never takes more memory than the datagram.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ha_core::id::{Incarnation, NodeName, ViewId};

/// The version of the format, the first byte of every message.
const VERSION: u8 = 1;
/// The most members of a mesh: everybody speaks to everybody, and a heartbeat names all of them.
pub const MAX_MEMBERS: usize = 64;
/// The most links.
pub const MAX_LINKS: usize = 2;
/// The longest message: [`MAX_MEMBERS`] members with the longest names fit.
pub const MAX_MESSAGE: usize = 48 * 1024;

/// What a member tells the others, every interval: all that it knows.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "a message: both ends must know all of it")]
pub struct Message {
    /// Who says it.
    pub from: NodeName,
    /// In which life.
    pub incarnation: Incarnation,
    /// When, by the sender's own clock, in nanoseconds; others say it back.
    pub sent: u64,
    /// Whether the sender leaves.
    pub leaves: bool,
    /// Where the sender listens, one for each link.
    pub addresses: Vec<SocketAddr>,
    /// The view in force at the sender.
    pub installed: ViewId,
    /// The view that the sender has agreed to last.
    pub agreed: Proposal,
    /// Whom the sender knows, itself not included.
    pub roster: Vec<Entry>,
}

/// A view that is proposed: its number, and its members with their lives, in the order of names.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "a message: both ends must know all of it")]
pub struct Proposal {
    /// The number.
    pub id: ViewId,
    /// The members.
    pub members: Arc<[(NodeName, Incarnation)]>,
}

/// What the sender of a [`Message`] knows of another node.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "a message: both ends must know all of it")]
pub struct Entry {
    /// Who.
    pub name: NodeName,
    /// In which life.
    pub incarnation: Incarnation,
    /// Whether that life ended in order, or was confirmed to be off.
    pub gone: bool,
    /// Whether it said goodbye in that life.
    pub left: bool,
    /// Whether the sender hears it, and is heard by it.
    pub hears: bool,
    /// `sent` of the last message heard from it; 0 for none.
    pub heard: u64,
    /// `sent` of the message up to which the sender vouches for it as a member of its view.
    pub vouched: u64,
    /// The last view that it is known to have agreed to.
    pub agreed: ViewId,
    /// Where it listens, one for each link.
    pub addresses: Vec<SocketAddr>,
}

/// Why bytes are no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// A field cannot have that value, or bytes follow the end.
    #[error("cannot read a message: a field has a value that is not allowed")]
    Malformed,
    /// The bytes end too soon.
    #[error("cannot read a message: it is cut short")]
    Truncated,
    /// Another version of the format.
    #[error("cannot read a message of version {0}: this program speaks version {VERSION}")]
    Version(u8),
}

impl Message {
    /// The message as bytes. Lists that are too long for the format are cut.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(256);
        out.push(VERSION);
        out.push(u8::from(self.leaves));
        put_name(&mut out, &self.from);
        put_u64(&mut out, self.incarnation.get());
        put_u64(&mut out, self.sent);
        put_addresses(&mut out, &self.addresses);
        put_u64(&mut out, self.installed.get());
        put_u64(&mut out, self.agreed.id.get());
        put_len(&mut out, self.agreed.members.len(), MAX_MEMBERS);
        for (name, incarnation) in self.agreed.members.iter().take(MAX_MEMBERS) {
            put_name(&mut out, name);
            put_u64(&mut out, incarnation.get());
        }
        put_len(&mut out, self.roster.len(), MAX_MEMBERS);
        for entry in self.roster.iter().take(MAX_MEMBERS) {
            put_name(&mut out, &entry.name);
            put_u64(&mut out, entry.incarnation.get());
            out.push(u8::from(entry.gone) | u8::from(entry.hears) << 1 | u8::from(entry.left) << 2);
            put_u64(&mut out, entry.heard);
            put_u64(&mut out, entry.vouched);
            put_u64(&mut out, entry.agreed.get());
            put_addresses(&mut out, &entry.addresses);
        }
        out
    }

    /// Reads a message.
    ///
    /// # Errors
    ///
    /// [`WireError`] for anything that [`encode`](Self::encode) does not make.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        if bytes.len() > MAX_MESSAGE {
            return Err(WireError::Malformed);
        }
        let mut reader = Reader(bytes);
        let version = reader.byte()?;
        if version != VERSION {
            return Err(WireError::Version(version));
        }
        let message = Self {
            leaves: reader.flags(1)? == 1,
            from: reader.name()?,
            incarnation: Incarnation::new(reader.u64()?),
            sent: reader.u64()?,
            addresses: reader.addresses()?,
            installed: ViewId::new(reader.u64()?),
            agreed: Proposal { id: ViewId::new(reader.u64()?), members: reader.members()?.into() },
            roster: reader.roster()?,
        };
        if reader.0.is_empty() { Ok(message) } else { Err(WireError::Malformed) }
    }
}

fn put_u64(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(&value.to_be_bytes());
}

fn put_len(out: &mut Vec<u8>, len: usize, most: usize) {
    out.push(u8::try_from(len.min(most)).unwrap_or_default());
}

fn put_name(out: &mut Vec<u8>, name: &NodeName) {
    let text = name.as_str().as_bytes();
    put_len(out, text.len(), 255);
    out.extend_from_slice(text);
}

fn put_addresses(out: &mut Vec<u8>, addresses: &[SocketAddr]) {
    put_len(out, addresses.len(), MAX_LINKS);
    for address in addresses.iter().take(MAX_LINKS) {
        match address.ip() {
            IpAddr::V4(ip) => {
                out.push(4);
                out.extend_from_slice(&ip.octets());
            }
            IpAddr::V6(ip) => {
                out.push(6);
                out.extend_from_slice(&ip.octets());
            }
        }
        out.extend_from_slice(&address.port().to_be_bytes());
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], WireError> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(WireError::Truncated)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let (taken, rest) = self.0.split_first_chunk::<N>().ok_or(WireError::Truncated)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn byte(&mut self) -> Result<u8, WireError> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn u64(&mut self) -> Result<u64, WireError> {
        self.array().map(u64::from_be_bytes)
    }

    /// A byte of which only these bits may be set.
    fn flags(&mut self, allowed: u8) -> Result<u8, WireError> {
        let flags = self.byte()?;
        if flags & !allowed == 0 { Ok(flags) } else { Err(WireError::Malformed) }
    }

    fn len(&mut self, most: usize) -> Result<usize, WireError> {
        let len = usize::from(self.byte()?);
        if len <= most { Ok(len) } else { Err(WireError::Malformed) }
    }

    fn name(&mut self) -> Result<NodeName, WireError> {
        let len = self.len(255)?;
        let text = std::str::from_utf8(self.take(len)?).map_err(|_| WireError::Malformed)?;
        NodeName::new(text).map_err(|_| WireError::Malformed)
    }

    fn addresses(&mut self) -> Result<Vec<SocketAddr>, WireError> {
        let len = self.len(MAX_LINKS)?;
        (0..len).map(|_| self.address()).collect()
    }

    fn address(&mut self) -> Result<SocketAddr, WireError> {
        let ip: IpAddr = match self.byte()? {
            4 => self.array::<4>()?.into(),
            6 => self.array::<16>()?.into(),
            _ => return Err(WireError::Malformed),
        };
        Ok(SocketAddr::new(ip, u16::from_be_bytes(self.array()?)))
    }

    /// Members in growing order, so that one view has one form.
    fn members(&mut self) -> Result<Vec<(NodeName, Incarnation)>, WireError> {
        let mut members: Vec<(NodeName, Incarnation)> = Vec::new();
        for _ in 0..self.len(MAX_MEMBERS)? {
            let member = (self.name()?, Incarnation::new(self.u64()?));
            if members.last().is_some_and(|last| last.0 >= member.0) {
                return Err(WireError::Malformed);
            }
            members.push(member);
        }
        Ok(members)
    }

    fn roster(&mut self) -> Result<Vec<Entry>, WireError> {
        let mut roster = Vec::new();
        for _ in 0..self.len(MAX_MEMBERS)? {
            let (name, incarnation) = (self.name()?, Incarnation::new(self.u64()?));
            let flags = self.flags(7)?;
            roster.push(Entry {
                name,
                incarnation,
                gone: flags & 1 != 0,
                hears: flags & 2 != 0,
                left: flags & 4 != 0,
                heard: self.u64()?,
                vouched: self.u64()?,
                agreed: ViewId::new(self.u64()?),
                addresses: self.addresses()?,
            });
        }
        Ok(roster)
    }
}

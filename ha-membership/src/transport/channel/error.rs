//! What can go wrong with a channel.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use ha_core::effect::Effect;
use ha_core::id::NodeName;

use super::{MAX_MESSAGE_LEN, Topic};

/// Channels cannot start.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: give an address of this computer and a free TCP port")]
#[non_exhaustive]
pub struct ChannelError {
    /// The address.
    pub address: SocketAddr,
    /// The kernel's error.
    #[source]
    pub source: io::Error,
}

/// A topic cannot be served.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot serve topic {topic}: another handler of this node does; choose another number")]
#[non_exhaustive]
pub struct ServeError {
    /// The topic.
    pub topic: Topic,
}

/// A call has no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// Too many calls to this member have no answer yet.
    #[error("cannot call {to}: {calls} calls have no answer yet; wait for some of them")]
    Busy {
        /// Who was called.
        to: NodeName,
        /// How many wait.
        calls: usize,
    },
    /// The connection broke when the request had been sent.
    #[error(
        "cannot tell what {to} did: the connection broke before its answer came; \
         ask it before calling again"
    )]
    Lost {
        /// Who was called.
        to: NodeName,
    },
    /// No answer came in time.
    #[error("cannot wait longer for {to}: no answer in {limit:?}; check that it is up")]
    NoAnswer {
        /// Who was called.
        to: NodeName,
        /// The limit of the call.
        limit: Duration,
        /// Whether the request had been sent.
        sent: bool,
    },
    /// The member serves no such topic.
    #[error("cannot call {to}: it does not serve topic {topic}; check that it has started")]
    NotServed {
        /// Who was called.
        to: NodeName,
        /// The topic.
        topic: Topic,
    },
    /// The member, or what listens at its address, refuses.
    #[error(
        "cannot call {to}: {address} refused the handshake; check that both have the same key, \
         and each the other's name among its peers"
    )]
    Refused {
        /// Who was called.
        to: NodeName,
        /// Where.
        address: SocketAddr,
    },
    /// The request is too large.
    #[error("cannot call {to}: the request has {len} bytes, at most {MAX_MESSAGE_LEN}; split it")]
    TooLarge {
        /// Who was called.
        to: NodeName,
        /// The size of the request.
        len: usize,
    },
    /// There is no such member.
    #[error("cannot call {to}: it is not among the peers; add its name and address")]
    UnknownPeer {
        /// Who was called.
        to: NodeName,
    },
    /// Nobody listens there.
    #[error("cannot reach {to} at {address}: check that it is up and that the address is right")]
    Unreachable {
        /// Who was called.
        to: NodeName,
        /// Where.
        address: SocketAddr,
        /// The kernel's error.
        #[source]
        source: io::Error,
    },
    /// The member speaks another version.
    #[error(
        "cannot call {to}: it speaks version {theirs} of the channel, this node {ours}; \
         bring both to one version"
    )]
    Version {
        /// Who was called.
        to: NodeName,
        /// Its version.
        theirs: u8,
        /// Ours.
        ours: u8,
    },
}

impl CallError {
    /// Whether the request may have been handled all the same.
    #[must_use]
    pub const fn effect(&self) -> Effect {
        match self {
            Self::Busy { .. }
            | Self::NoAnswer { sent: false, .. }
            | Self::NotServed { .. }
            | Self::Refused { .. }
            | Self::TooLarge { .. }
            | Self::UnknownPeer { .. }
            | Self::Unreachable { .. }
            | Self::Version { .. } => Effect::None,
            Self::Lost { .. } | Self::NoAnswer { sent: true, .. } => Effect::Unknown,
        }
    }
}

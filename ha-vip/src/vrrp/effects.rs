//! What goes into a virtual router and what comes out of it.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::config::RouterConfig;
use super::wire::Reject;
use crate::track::Standing;

/// What can happen to a virtual router.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Input {
    /// The addresses could not be put on the interface: step back and let another one serve.
    AcquireFailed,
    /// Go on with another configuration of the same virtual router, in the state it is in.
    Configure(Box<RouterConfig>),
    /// Its group takes over: all members have waited in vain.
    GroupActive,
    /// Its group steps back: another member had to yield.
    GroupBackup,
    /// Give the addresses to another router and stay back until [`Input::Resume`] (switchover).
    HandOver,
    /// A frame was heard on the link: what is silent there is really silent.
    LinkProven,
    /// Nothing has been heard on the link yet: it may have a carrier and let nothing through.
    LinkUnproven,
    /// A packet of protocol 112 came in.
    Packet(Packet),
    /// A detector, such as a BFD session, says that this neighbour is gone.
    PeerLost(IpAddr),
    /// A packet was not let through to the router, and why: it is counted.
    Refused(IpAddr, Reject),
    /// End a hand-over: compete again by priority.
    Resume,
    /// What the trackers say together.
    Standing(Standing),
    /// Begin (RFC 9568, section 6.4.1).
    Start,
    /// Let go of the addresses and end (RFC 9568, sections 6.4.2 and 6.4.3).
    Stop,
}

/// A received packet of protocol 112.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "the parts of an IP packet that VRRP looks at")]
pub struct Packet {
    /// Who sent it.
    pub source: IpAddr,
    /// To which address: the group, or ours.
    pub destination: IpAddr,
    /// Its TTL or hop limit.
    pub hop_limit: u8,
    /// What follows the IP header.
    pub message: Vec<u8>,
}

/// A packet of protocol 112 where it was received, not copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "the parts of an IP packet that VRRP looks at")]
pub struct Heard<'a> {
    /// Who sent it.
    pub source: IpAddr,
    /// To which address: the group, or ours.
    pub destination: IpAddr,
    /// Its TTL or hop limit.
    pub hop_limit: u8,
    /// What follows the IP header.
    pub message: &'a [u8],
}

impl Packet {
    /// The packet as it is heard.
    #[must_use]
    pub fn as_heard(&self) -> Heard<'_> {
        Heard {
            source: self.source,
            destination: self.destination,
            hop_limit: self.hop_limit,
            message: &self.message,
        }
    }
}

/// Where a message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a driver that misses a way loses messages")]
pub enum Destination {
    /// To VRRP's group, out of the router's interface.
    Group,
    /// To one neighbour, out of the router's interface.
    Peer(IpAddr),
    /// To one host by whatever way there is: the router's own link is lost.
    Routed(IpAddr),
}

/// What a virtual router wants done, and what it says.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a driver that ignores an effect loses an action")]
pub enum Output {
    /// Put the addresses on the interface; answer [`Input::AcquireFailed`] if that fails.
    Acquire,
    /// Tell the neighbours that the addresses are here: one gratuitous ARP or unsolicited
    /// neighbour advertisement for each, after the addresses are there.
    Announce,
    /// A fact, for people and logs.
    Event(RouterEvent),
    /// Take the addresses off the interface.
    Release,
    /// Send this VRRP message, with TTL or hop limit 255.
    Send(Destination, Vec<u8>),
}

/// A fact that a virtual router tells.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RouterEvent {
    /// A live router of our number names other addresses; told once for each change. Its adverts
    /// count all the same: a mismatch must not make two routers active.
    AddressesDiffer {
        /// The other router.
        from: IpAddr,
        /// What it serves.
        theirs: Vec<IpAddr>,
    },
    /// A packet was dropped.
    Rejected {
        /// Its sender.
        from: IpAddr,
        /// Why.
        why: Reject,
    },
    /// Another router is active together with this one; the lower one yields. Told once for each
    /// rival while this router is active.
    Rival {
        /// The other router.
        from: IpAddr,
        /// Its priority.
        priority: u8,
    },
    /// The rival was heard the last time `lasted` after the first: the split is over.
    RivalGone {
        /// The other router.
        from: IpAddr,
        /// From its first advert to its last one, or to this router's yielding.
        lasted: Duration,
    },
    /// The priority changed, by what the trackers say.
    PriorityChanged {
        /// Before.
        from: u8,
        /// After.
        to: u8,
    },
    /// A backup has heard of another active router than before.
    Follows {
        /// The active router.
        active: IpAddr,
        /// Its priority.
        priority: u8,
    },
    /// Another router than before would be the heir of this active one; `None`: nobody of its kin
    /// offers itself any more.
    Heir(Option<IpAddr>),
    /// The timer of the active router ran out, and this one does not take over yet.
    HeldBack {
        /// Why not.
        by: HeldBack,
    },
    /// The state changed.
    StateChanged {
        /// Before.
        from: StateName,
        /// After.
        to: StateName,
        /// Why.
        reason: Reason,
    },
}

/// Why a backup whose active router is silent does not take over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HeldBack {
    /// Other members of its group still hear their active routers.
    Group,
    /// Nothing at all was heard on its link.
    Link,
    /// Not all of its trackers have spoken yet.
    Trackers,
}

impl fmt::Display for HeldBack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Group => "other members of its group still hear their active routers",
            Self::Link => "nothing at all was heard on its link yet",
            Self::Trackers => "not all of its trackers have spoken yet",
        })
    }
}

/// The states by name (RFC 9568, section 6.3), and the two that this implementation adds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(clippy::exhaustive_enums, reason = "whoever shows a state must show each")]
pub enum StateName {
    /// Serves the addresses ("master" before RFC 9568).
    Active,
    /// Waits for the active router's silence.
    Backup,
    /// Cannot serve: a tracker says so, or the addresses could not be held.
    Fault,
    /// Has not started, or has ended.
    Initialize,
    /// Said goodbye and still serves until a successor is heard.
    Leaving,
}

impl StateName {
    /// The state's name in lower case.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Backup => "backup",
            Self::Fault => "fault",
            Self::Initialize => "initialize",
            Self::Leaving => "leaving",
        }
    }

    /// Whether the addresses are, or should be, on the interface.
    #[must_use]
    pub const fn holds(self) -> bool {
        matches!(self, Self::Active | Self::Leaving)
    }
}

impl fmt::Display for StateName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Why the state changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// The addresses could not be put on the interface.
    AcquireFailed,
    /// The active router was silent for the active-down interval.
    ActiveSilent,
    /// The active router said that it stops.
    ActiveStopped,
    /// A tracker says that this node cannot serve.
    Faulty,
    /// Its group did, and it follows.
    Group,
    /// A person or program asked for a hand-over.
    HandOver,
    /// The active router named it its heir.
    Heir,
    /// A router of higher priority (or equal priority and higher address) is active.
    HigherPriority,
    /// Another router was active already, and this one does not preempt.
    NotPreempting,
    /// The router owns the addresses.
    Owner,
    /// A detector says that the active router's host is gone.
    PeerLost,
    /// The active router has a lower priority.
    Preempts,
    /// The trackers say that this node can serve again.
    Recovered,
    /// The time to try again has come.
    Retry,
    /// It was started.
    Started,
    /// It was stopped.
    Stopped,
    /// The successor serves.
    SuccessorServes,
    /// No successor was heard in time.
    NoSuccessor,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::AcquireFailed => "the addresses could not be put on the interface",
            Self::ActiveSilent => "the active router was silent",
            Self::ActiveStopped => "the active router stopped",
            Self::Faulty => "a tracker says that this node cannot serve",
            Self::Group => "its group did",
            Self::HandOver => "hand-over asked for",
            Self::Heir => "the active router named it its heir",
            Self::HigherPriority => "a router of higher priority is active",
            Self::NotPreempting => "another router was active already",
            Self::Owner => "owns the addresses",
            Self::PeerLost => "a detector says that the active router is gone",
            Self::Preempts => "the active router has a lower priority",
            Self::Recovered => "the trackers say that this node can serve again",
            Self::Retry => "time to try again",
            Self::Started => "started",
            Self::Stopped => "stopped",
            Self::SuccessorServes => "the successor serves",
            Self::NoSuccessor => "no successor was heard",
        })
    }
}

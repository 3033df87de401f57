//! What goes into a virtual router and what comes out of it.

use std::fmt;
use std::net::IpAddr;

use super::wire::Reject;

/// What can happen to a virtual router.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Input {
    /// The addresses could not be put on the interface: step back and let another one serve.
    AcquireFailed,
    /// Give the addresses to another router and stay back until [`Input::Resume`] (switchover).
    HandOver,
    /// A packet of protocol 112 came in.
    Packet(Packet),
    /// End a hand-over: compete again by priority.
    Resume,
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
    /// Send this VRRP message to the group, with TTL or hop limit 255.
    Send(Vec<u8>),
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

/// The states by name (RFC 9568, section 6.3), and the two that this implementation adds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "whoever shows a state must show each")]
pub enum StateName {
    /// Serves the addresses ("master" before RFC 9568).
    Active,
    /// Waits for the active router's silence.
    Backup,
    /// Could not hold the addresses; tries again later.
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
    /// A person or program asked for a hand-over.
    HandOver,
    /// A router of higher priority (or equal priority and higher address) is active.
    HigherPriority,
    /// The router owns the addresses.
    Owner,
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
            Self::HandOver => "hand-over asked for",
            Self::HigherPriority => "a router of higher priority is active",
            Self::Owner => "owns the addresses",
            Self::Retry => "time to try again",
            Self::Started => "started",
            Self::Stopped => "stopped",
            Self::SuccessorServes => "the successor serves",
            Self::NoSuccessor => "no successor was heard",
        })
    }
}

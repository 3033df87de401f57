//! What goes into a CARP host and what comes out of it.

use std::fmt;
use std::net::Ipv4Addr;
use std::time::Duration;

use super::wire::Reject;

/// What can happen to a CARP host.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Input {
    /// The addresses could not be put on the interface: step back and let another one serve.
    AcquireFailed,
    /// Make this host less preferred by so much `advskew`, 0 to 254, until the next such input
    /// (BSD's `net.inet.carp.demotion`); `advskew` stays at 254 or less.
    Demote(u8),
    /// Give the addresses to another host and stay back until [`Input::Resume`] (ucarp: SIGUSR2,
    /// but without a gap).
    HandOver,
    /// A packet of protocol 112 came in.
    Packet(Packet),
    /// End a hand-over: compete again.
    Resume,
    /// Begin.
    Start,
    /// Let go of the addresses and end.
    Stop,
}

/// A received packet of protocol 112.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "the parts of an IP packet that CARP looks at")]
pub struct Packet {
    /// Who sent it.
    pub source: Ipv4Addr,
    /// Its TTL.
    pub hop_limit: u8,
    /// What follows the IP header.
    pub message: Vec<u8>,
}

/// What a CARP host wants done, and what it says.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a driver that ignores an effect loses an action")]
pub enum Output {
    /// Put the addresses on the interface; answer [`Input::AcquireFailed`] if that fails.
    Acquire,
    /// Tell the neighbours that the addresses are here: one gratuitous ARP for each, after the
    /// addresses are there.
    Announce,
    /// A fact, for people and logs.
    Event(HostEvent),
    /// Take the addresses off the interface.
    Release,
    /// Send this CARP message to the group, with TTL 255.
    Send(Vec<u8>),
}

/// A fact that a CARP host tells.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum HostEvent {
    /// A packet was dropped.
    Rejected {
        /// Its sender, as the packet has it.
        from: Ipv4Addr,
        /// Why.
        why: Reject,
    },
    /// Another host is master together with this one; the less preferred yields. Told once for
    /// each rival while this host is master.
    Rival {
        /// The other host.
        from: Ipv4Addr,
        /// The time between its adverts, as it says.
        interval: Duration,
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
    /// A preferred host advertises, but has not proved yet that it is alive: a recorded advert
    /// looks so, and a host that has just started. Told once for each rival while this host is
    /// master.
    Unproven {
        /// The other host.
        from: Ipv4Addr,
    },
}

/// The states by name: ucarp's, and the two that this implementation adds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "whoever shows a state must show each")]
pub enum StateName {
    /// Waits for the master's silence.
    Backup,
    /// Could not hold the addresses; tries again later.
    Fault,
    /// Has not started, or has ended.
    Init,
    /// Said goodbye and still serves until a successor is heard.
    Leaving,
    /// Serves the addresses.
    Master,
}

impl StateName {
    /// The state's name in lower case.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Backup => "backup",
            Self::Fault => "fault",
            Self::Init => "init",
            Self::Leaving => "leaving",
            Self::Master => "master",
        }
    }

    /// Whether the addresses are, or should be, on the interface.
    #[must_use]
    pub const fn holds(self) -> bool {
        matches!(self, Self::Master | Self::Leaving)
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
    /// A person or program asked for a hand-over.
    HandOver,
    /// The master was silent for the dead interval.
    MasterSilent,
    /// The master said that it stops, or that it will be silent for longer than it may.
    MasterStopped,
    /// No successor was heard in time.
    NoSuccessor,
    /// A preferred host is master.
    Preferred,
    /// The master is less preferred than this host.
    Preempted,
    /// The time to try again has come.
    Retry,
    /// It was started.
    Started,
    /// It was stopped.
    Stopped,
    /// The successor serves.
    SuccessorServes,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::AcquireFailed => "the addresses could not be put on the interface",
            Self::HandOver => "hand-over asked for",
            Self::MasterSilent => "the master was silent",
            Self::MasterStopped => "the master stopped",
            Self::NoSuccessor => "no successor was heard",
            Self::Preferred => "a preferred host is master",
            Self::Preempted => "the master was less preferred",
            Self::Retry => "time to try again",
            Self::Started => "started",
            Self::Stopped => "stopped",
            Self::SuccessorServes => "the successor serves",
        })
    }
}

/// What a CARP host has counted since it was made.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Stats {
    /// Adverts sent, goodbyes included.
    pub sent: u64,
    /// Adverts of our group taken in.
    pub received: u64,
    /// How often this host became master.
    pub became_master: u64,
    /// Packets dropped, in the order of [`Reject::ALL`].
    pub rejected: [u64; Reject::ALL.len()],
}

impl Stats {
    /// How many packets were dropped for this reason.
    #[must_use]
    pub fn rejected(&self, why: Reject) -> u64 {
        Reject::ALL.iter().zip(self.rejected).find(|(r, _)| **r == why).map_or(0, |(_, n)| n)
    }
}

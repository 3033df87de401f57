//! Who may act for the whole cluster.

mod votes;

use std::collections::BTreeSet;
use std::fmt;

use ha_core::id::NodeName;
use serde::{Deserialize, Serialize};

pub use self::votes::{TieBreaker, VoteQuorum, VoteQuorumBuilder};

/// What a quorum policy looks at.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[expect(clippy::exhaustive_structs, reason = "the question; every membership must fill it whole")]
pub struct Census {
    /// The nodes that this one can hear, itself included.
    pub present: BTreeSet<NodeName>,
    /// Nodes that are confirmed to be off, and have not been heard since.
    pub fenced: BTreeSet<NodeName>,
    /// Whether all nodes were present at one moment since this one started.
    pub seen_all: bool,
}

/// Whether the present nodes may act.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(clippy::exhaustive_enums, reason = "whoever acts on it must handle all three")]
pub enum Quorum {
    /// They may act for the whole cluster; no other part can be quorate at the same time.
    Quorate,
    /// They may act once all absent nodes are confirmed to be off: fence them, then ask again.
    ///
    /// This is how two nodes without a third vote stay safe: Corosync's `two_node` calls both
    /// halves quorate and leaves it to Pacemaker to fence first.
    AfterFencing,
    /// They may not act: stop what is at-most-one.
    Lost,
}

impl Quorum {
    /// Whether to act now.
    #[must_use]
    pub const fn is_quorate(self) -> bool {
        matches!(self, Self::Quorate)
    }
}

/// Decides from a census who may act; without memory, so that it can be tested for every census.
///
/// # The law
///
/// For two disjoint sets of present nodes, neither of which contains a node that the other side
/// has counted as fenced, at most one is [`Quorum::Quorate`].
pub trait QuorumPolicy: fmt::Debug + Send + Sync {
    /// Whether the present nodes may act.
    fn decide(&self, census: &Census) -> Quorum;
}

impl<Q: QuorumPolicy + ?Sized> QuorumPolicy for &Q {
    fn decide(&self, census: &Census) -> Quorum {
        (**self).decide(census)
    }
}

impl<Q: QuorumPolicy + ?Sized> QuorumPolicy for Box<Q> {
    fn decide(&self, census: &Census) -> Quorum {
        (**self).decide(census)
    }
}

impl<Q: QuorumPolicy + ?Sized> QuorumPolicy for std::sync::Arc<Q> {
    fn decide(&self, census: &Census) -> Quorum {
        (**self).decide(census)
    }
}

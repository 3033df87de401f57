//! Failure detectors: from "when did I last hear it" to "is it there".

mod deadline;

use std::fmt;

use ha_core::id::NodeName;
use ha_core::time::Instant;

pub use self::deadline::{DeadlineDetector, DetectorInput, VerdictChanged};

/// What a detector thinks of a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(clippy::exhaustive_enums, reason = "whoever acts on a verdict must handle all of them")]
pub enum Verdict {
    /// Heard in time.
    Alive,
    /// Overdue: do not give it new work, ask others about it.
    Suspect,
    /// So long overdue that it counts as gone. It may still be running, cut off from here.
    Dead,
}

/// Judges peers by when they were last heard; plain calls over time, without I/O.
///
/// No detector can be right always (Fischer, Lynch, Paterson): a slow peer looks like a dead one.
/// A verdict is therefore a reason to fence or to fail over, never a proof.
pub trait FailureDetector: fmt::Debug + Send {
    /// Notes that `peer` was heard at `now`; a peer is known from its first heartbeat on.
    fn heartbeat(&mut self, peer: &NodeName, now: Instant);

    /// Drops a peer that has left.
    fn forget(&mut self, peer: &NodeName);

    /// The verdict at `now`; `None` if the peer is not known.
    fn suspicion(&self, peer: &NodeName, now: Instant) -> Option<Verdict>;

    /// The first moment after `now` at which a verdict changes if nobody is heard until then.
    fn deadline(&self, now: Instant) -> Option<Instant>;
}

impl<D: FailureDetector + ?Sized> FailureDetector for Box<D> {
    fn heartbeat(&mut self, peer: &NodeName, now: Instant) {
        (**self).heartbeat(peer, now);
    }
    fn forget(&mut self, peer: &NodeName) {
        (**self).forget(peer);
    }
    fn suspicion(&self, peer: &NodeName, now: Instant) -> Option<Verdict> {
        (**self).suspicion(peer, now)
    }
    fn deadline(&self, now: Instant) -> Option<Instant> {
        (**self).deadline(now)
    }
}

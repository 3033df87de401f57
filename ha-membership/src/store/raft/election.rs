//! When this node stands for election: not by the engine's own timer, which draws its patience
//! once a life, looks at it once a heartbeat, and so lets two nodes stand at the same moment again
//! and again.
//!
//! ```text
//!   last heard of a leader ──the leader's lease──▶├─first─┤─second─┤─third─┤…   stands, if nobody
//!                                                    the followers by name       else has yet
//! ```
//!
//! - Voters refuse while the leader's lease lasts, so nobody stands before it is over.
//! - Then the followers have their turns one after the other, so that the first is elected before
//!   the second stands. Who was not elected draws anew.
//! - Who overslept, or may stand only now, listens first: there may be a leader.

use std::sync::atomic::Ordering;
use std::time::Duration;

use ha_core::driver::Alarm;
use ha_core::id::NodeName;
use ha_core::time::{BootClock, Clock, Instant};
use ring::rand::{SecureRandom, SystemRandom};

use super::node::{Node, leads};

/// Stands for election whenever it is this node's turn, for as long as it is polled.
pub(super) async fn run(node: &Node) {
    let Ok(alarm) = Alarm::new() else {
        tracing::error!(node = %node.config.me, "no timer: this node never leads");
        return;
    };
    let (clock, lease) = (BootClock::new(), node.config.election.1);
    let mut since = clock.now();
    let mut patience = lease + turn(node);
    loop {
        let base = since.max(node.heard());
        let due = base + patience;
        if alarm.until(Some(due)).await.is_err() {
            return;
        }
        let now = clock.now();
        let overslept = now.since(due) > node.config.heartbeat;
        if overslept || !node.may_stand() || leads(&node.raft.metrics().borrow()) {
            (since, patience) = (now, lease + turn(node));
            continue;
        }
        if since.max(node.heard()) > base {
            patience = lease + turn(node);
            continue;
        }
        tracing::info!(node = %node.config.me, silence = ?now.since(base), "stands for election");
        if node.raft.trigger().elect().await.is_err() {
            return; // The engine has ended.
        }
        // Until the votes are counted, and those who come next have had their turns.
        (since, patience) = (clock.now(), node.config.election.0 + turn(node) + some(lease));
    }
}

/// How long after the lease it is this node's turn.
fn turn(node: &Node) -> Duration {
    let leader = node.leadership.borrow().leader.clone();
    let names = node.config.names();
    let followers = names.iter().filter(|name| Some(*name) != leader.as_ref());
    let before = |name: &&NodeName| **name < node.config.me;
    let place = u32::try_from(followers.filter(before).count()).unwrap_or_default();
    let step = node.config.election.0 / 3;
    step * place + some(step / 4)
}

/// A random part of a span.
fn some(span: Duration) -> Duration {
    let mut bytes = [0; 2];
    // Without random numbers the turns alone keep nodes apart.
    if SystemRandom::new().fill(&mut bytes).is_err() {
        return Duration::ZERO;
    }
    span * u32::from(u16::from_le_bytes(bytes)) / u32::from(u16::MAX)
}

impl Node {
    /// Whether this node may be elected.
    pub(super) fn may_stand(&self) -> bool {
        self.phase() == super::node::Phase::Member
            && self.campaigning.load(Ordering::SeqCst)
            && self.has_listened.load(Ordering::SeqCst)
    }

    /// When a leader was last heard, or a vote given, or this node was let stand.
    fn heard(&self) -> Instant {
        Instant::from_nanos(self.heard_at.load(Ordering::SeqCst))
    }

    /// From now on a leader has time to be heard.
    pub(super) fn hears(&self) {
        self.heard_at.fetch_max(BootClock::new().now().as_nanos(), Ordering::SeqCst);
    }
}

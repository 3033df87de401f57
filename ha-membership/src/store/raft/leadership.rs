//! Who leads, as far as this node knows.

use ha_core::id::{NodeName, Term};
use openraft::ServerState;

use super::node::Node;
use super::types::Metrics;

/// Who leads the cluster, as far as a node knows.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Leadership {
    /// The highest term that this node knows.
    pub term: Term,
    /// The leader of that term. One that died stays here until another node stands; one that is
    /// this node only while `is_me`.
    pub leader: Option<NodeName>,
    /// Whether this node is the established leader of that term: an entry of its own term is
    /// committed and applied, and a majority has answered it lately.
    ///
    /// A leader that is cut off says so no longer after the longest election timeout and two
    /// heartbeats, before or at about the time at which another one can be elected. What must be
    /// at most one is not built on this, but on writes of the store, which such a leader cannot do.
    pub is_me: bool,
}

impl Leadership {
    pub(super) const fn none() -> Self {
        Self { term: Term::new(0), leader: None, is_me: false }
    }

    fn read(node: &Node, metrics: &Metrics) -> Self {
        let term = Term::new(metrics.current_term);
        if metrics.running_state.is_err() {
            return Self { term, leader: None, is_me: false };
        }
        let config = &node.config;
        let leads = metrics.state == ServerState::Leader;
        let applied = metrics.last_applied.map(|log_id| log_id.leader_id.term);
        let lease = (config.election.1 + config.heartbeat).as_millis();
        let heard = config.members.len() == 1
            || metrics.millis_since_quorum_ack.is_some_and(|ago| u128::from(ago) <= lease);
        let is_me = leads && applied == Some(metrics.current_term) && heard;
        let other = metrics.current_leader.filter(|_| !leads);
        let leader = if is_me {
            Some(config.me.clone())
        } else {
            other.and_then(|number| config.members.get(&number).cloned())
        };
        Self { term, leader, is_me }
    }
}

/// Keeps the node's [`Leadership`] up to date.
pub(super) async fn follow(node: &Node) {
    let mut metrics = node.raft.metrics();
    loop {
        let now = Leadership::read(node, &metrics.borrow_and_update());
        node.leadership.send_if_modified(|before| {
            if *before == now {
                return false;
            }
            let (node, term) = (&node.config.me, now.term);
            tracing::info!(%node, %term, from = ?before.leader, to = ?now.leader, "leader");
            *before = now;
            true
        });
        if let Some(reason) = node.fatal() {
            tracing::error!(node = %node.config.me, reason, "store stopped");
        }
        if metrics.changed().await.is_err() {
            // The engine has ended.
            node.leadership.send_modify(|now| (now.leader, now.is_me) = (None, false));
            return;
        }
    }
}

//! The head of the cluster, on the node that leads the store: reads the ledger, asks all members
//! what they have, decides, writes the decision down, and only then has it carried out.
//!
//! ```text
//!   elected ─▶ read the ledger ─▶ Hello(term) to all ─▶ reports ─▶ decide ─▶ write ─▶ commands
//!                   ▲                                      ▲                             │
//!                   └── the write was refused: read again  └──────────── reports ◀───────┘
//! ```
//!
//! From a node's report under the present term on, that node refuses what earlier leaders may
//! still send: so what the reports say stays true until this leader changes it.

mod act;
mod nodes;
mod requests;
mod scene;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use ha_core::id::{NodeName, OpId, ResourceName, Term};
use ha_core::time::Instant;
use ha_membership::Revision;
use ha_membership::store::Expected;

use self::act::{Fencing, Pending};
use self::nodes::Peer;
pub(super) use self::scene::{Scene, Seen};
use super::event::ManagerEvent;
use super::input::{Read, Written};
use super::ledger::Ledger;
use super::message::Report;
use super::output::Output;
use super::request::{Request, RequestId, Response};
use super::settings::ManagerConfig;
use crate::graph::ActionKind;
use crate::model::{NodeStatus, ResourceStatus};
use crate::policy::Decision;

/// Requests that wait for the leader; more are refused.
const MAX_REQUESTS: usize = 64;

/// What is asked of the store.
#[derive(Debug)]
enum Asked {
    Nothing,
    Read(OpId),
    Write {
        op: OpId,
        record: Option<Vec<ActionKind>>,
        replies: Vec<(RequestId, Response)>,
    },
    /// The store did not answer: when to ask again.
    Later(Instant),
}

/// The designated coordinator (Pacemaker's DC).
#[derive(Debug)]
pub(super) struct Dc {
    config: Arc<ManagerConfig>,
    term: Term,
    ledger: Option<(Ledger, Expected)>,
    asked: Asked,
    /// The ledger differs from what the store has.
    dirty: bool,
    peers: BTreeMap<NodeName, Peer>,
    /// What nodes may run that are not heard any more.
    ghosts: BTreeMap<NodeName, BTreeMap<ResourceName, ResourceStatus>>,
    told: BTreeMap<NodeName, NodeStatus>,
    waits_for: String,
    fencing: BTreeMap<NodeName, Fencing>,
    pending: BTreeMap<(ResourceName, NodeName), Pending>,
    starts: BTreeMap<(ResourceName, NodeName), VecDeque<Instant>>,
    /// Which copy was told of which promoted one.
    introduced: BTreeMap<(ResourceName, NodeName), NodeName>,
    /// What the store has of the last decision, and has not begun.
    authorised: BTreeMap<ActionKind, Revision>,
    decision: Option<Arc<Decision>>,
    /// Something changed that a decision depends on.
    stale: bool,
    requests: VecDeque<(RequestId, Request)>,
    /// Answers to requests that wait for the next write.
    replies: Vec<(RequestId, Response)>,
    ops: u64,
    /// When to look again at the latest.
    wake: Option<Instant>,
}

impl Dc {
    pub(super) fn new(config: Arc<ManagerConfig>, term: Term) -> Self {
        Self {
            config,
            term,
            ledger: None,
            asked: Asked::Nothing,
            dirty: false,
            peers: BTreeMap::new(),
            ghosts: BTreeMap::new(),
            told: BTreeMap::new(),
            waits_for: String::new(),
            fencing: BTreeMap::new(),
            pending: BTreeMap::new(),
            starts: BTreeMap::new(),
            introduced: BTreeMap::new(),
            authorised: BTreeMap::new(),
            decision: None,
            stale: true,
            requests: VecDeque::new(),
            replies: Vec::new(),
            ops: 0,
            wake: None,
        }
    }

    pub(super) const fn term(&self) -> Term {
        self.term
    }

    pub(super) const fn deadline(&self) -> Option<Instant> {
        self.wake
    }

    /// An id that grows from leader to leader and within each.
    fn next_op(&mut self) -> OpId {
        self.ops += 1;
        OpId::new(self.term.get() << 32 | self.ops)
    }

    fn wake_at(&mut self, at: Instant) {
        self.wake = Some(self.wake.map_or(at, |wake| wake.min(at)));
    }

    /// Does what is to be done; to be called after every change.
    pub(super) fn poll(&mut self, scene: Scene<'_>, out: &mut Vec<Output>) {
        self.wake = None;
        if !scene.quorate {
            return;
        }
        if let Asked::Later(at) = self.asked {
            if at > scene.now {
                return self.wake_at(at);
            }
            self.asked = Asked::Nothing;
        }
        if self.ledger.is_none() {
            if matches!(self.asked, Asked::Nothing) {
                let op = self.next_op();
                self.asked = Asked::Read(op);
                out.push(Output::Read { op });
            }
            return;
        }
        self.meet(scene, out);
        self.take_requests(scene, out);
        self.decide(scene, out);
        self.act(scene, out);
        self.write(scene, out);
        // Every wait is over at a time that is still to come.
        let soonest = scene.now + std::time::Duration::from_millis(1);
        self.wake = self.wake.map(|wake| wake.max(soonest));
    }

    /// The store has answered a read.
    pub(super) fn read(&mut self, scene: Scene<'_>, op: OpId, read: Read) {
        if !matches!(self.asked, Asked::Read(asked) if asked == op) {
            return;
        }
        self.asked = Asked::Nothing;
        match read {
            Read::Absent => {
                let (cluster, me) = ((*self.config.cluster).clone(), self.config.me.clone());
                let ledger = Ledger::new(cluster, me, self.config.wall(scene.now));
                self.ledger = Some((ledger, Expected::Absent));
                self.dirty = true;
            }
            Read::Found(ledger, revision) => {
                self.ledger = Some((*ledger, Expected::Revision(revision)));
                self.dirty = false;
            }
            Read::Unavailable => self.asked = Asked::Later(scene.now + self.config.repeat / 5),
        }
        self.stale = true;
    }

    /// The store has answered a write.
    pub(super) fn written(
        &mut self,
        scene: Scene<'_>,
        op: OpId,
        written: Written,
        out: &mut Vec<Output>,
    ) {
        let asked = std::mem::replace(&mut self.asked, Asked::Nothing);
        let (record, replies) = match asked {
            Asked::Write { op: asked, record, replies } if asked == op => (record, replies),
            Asked::Nothing | Asked::Read(_) | Asked::Write { .. } | Asked::Later(_) => {
                self.asked = asked;
                return;
            }
        };
        let revision = match written {
            Written::Done(revision) => revision,
            Written::Conflict | Written::Unavailable => {
                // Somebody else leads, or nobody knows: the store tells.
                let reason =
                    "the leader changed meanwhile; look and repeat it if it is still wanted";
                for (to, _) in replies.into_iter().chain(self.replies.drain(..)) {
                    out.push(Output::Reply { to, response: Response::refused(reason) });
                }
                self.ledger = None;
                self.authorised.clear();
                self.asked = Asked::Later(scene.now + self.config.repeat / 5);
                return;
            }
        };
        if let Some((ledger, expected)) = &mut self.ledger {
            *expected = Expected::Revision(revision);
            if let Some(record) = record {
                let decision = &ledger.decision;
                out.push(Output::Event(ManagerEvent::Decided {
                    number: decision.number,
                    term: decision.term,
                    actions: decision.actions.clone(),
                }));
                self.authorised = record.into_iter().map(|kind| (kind, revision)).collect();
            }
        }
        out.extend(replies.into_iter().map(|(to, response)| Output::Reply { to, response }));
        self.release(scene, out);
    }

    /// Reads the ledger again: what was changed and not written is taken back.
    fn forget_ledger(&mut self) {
        self.ledger = None;
        self.authorised.clear();
        self.dirty = false;
        if matches!(self.asked, Asked::Write { .. }) {
            self.withdraw();
        }
    }

    /// What the decision allows that is being written it allows no more.
    fn withdraw(&mut self) {
        if let Asked::Write { record, .. } = &mut self.asked {
            *record = None;
        }
    }

    /// Writes the ledger if it has changed, with the decision if there is a new one.
    fn write(&mut self, scene: Scene<'_>, out: &mut Vec<Output>) {
        if !matches!(self.asked, Asked::Nothing) {
            return;
        }
        let record = self.record(scene);
        if !self.dirty && record.is_none() && self.replies.is_empty() {
            return;
        }
        let op = self.next_op();
        let Some((ledger, expected)) = &self.ledger else { return };
        let (ledger, expected) = (Arc::new(ledger.clone()), *expected);
        out.push(Output::Write { op, expected, ledger });
        self.dirty = false;
        self.asked = Asked::Write { op, record, replies: std::mem::take(&mut self.replies) };
    }

    /// A node's report.
    pub(super) fn report(&mut self, scene: Scene<'_>, from: &NodeName, report: Report) {
        self.take_report(scene, from, report);
    }

    /// A request of a person or program.
    pub(super) fn request(&mut self, id: RequestId, request: Request, out: &mut Vec<Output>) {
        if self.requests.len() >= MAX_REQUESTS {
            let response = Response::refused("too many requests wait; repeat it later");
            out.push(Output::Reply { to: id, response });
            return;
        }
        self.requests.push_back((id, request));
    }

    /// Ends this leadership: nothing is promised any more.
    pub(super) fn step_down(self, out: &mut Vec<Output>) {
        let waiting = self.requests.into_iter().map(|(id, _)| id);
        let written = match self.asked {
            Asked::Write { replies, .. } => replies,
            Asked::Nothing | Asked::Read(_) | Asked::Later(_) => Vec::new(),
        };
        let unanswered = self.replies.into_iter().chain(written).map(|(id, _)| id);
        let reason = "this node leads no more; ask the new leader";
        for to in waiting.chain(unanswered) {
            out.push(Output::Reply { to, response: Response::refused(reason) });
        }
    }
}

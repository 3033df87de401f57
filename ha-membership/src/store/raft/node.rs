//! One member: its engine, its file, and what it answers to the others.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use ha_core::id::NodeName;
use openraft::ServerState;
use openraft::error::{CheckIsLeaderError, InstallSnapshotError, RaftError};
use openraft::raft::AppendEntriesResponse;
use tokio::sync::{mpsc, oneshot, watch};

use super::config::RaftStoreConfig;
use super::file::{File, FileError};
use super::formation::Formation;
use super::leadership::Leadership;
use super::machine::Applied;
use super::types::{Metrics, Outcome, Proposal, Raft, Reply, Request, Status, decode, encode};
use crate::store::StoreError;
use crate::transport::channel::Handler;

/// A write on its way into the log.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) proposal: Proposal,
    pub(super) answer: oneshot::Sender<Result<Outcome, Failure>>,
}

/// Why a request to the leader came to nothing.
#[derive(Debug, Clone)]
pub(super) enum Failure {
    /// Nothing was done: another node leads, or none.
    NotLeader,
    /// It may have been done.
    Unknown(String),
}

/// What this node may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// It does not know yet whether there is a cluster: nothing.
    Asking,
    /// It lost its file: only take what a leader of at least this term sends.
    CatchingUp { floor: u64 },
    /// Everything.
    Member,
}

pub(super) struct Node {
    pub(super) config: RaftStoreConfig,
    pub(super) raft: Raft,
    pub(super) file: Arc<File>,
    pub(super) applied: Arc<Applied>,
    pub(super) proposals: mpsc::Sender<Ask>,
    pub(super) formation: watch::Sender<Formation>,
    pub(super) leadership: watch::Sender<Leadership>,
    pub(super) phase: Mutex<Phase>,
    /// Whether the user lets this node stand for election.
    pub(super) campaigning: AtomicBool,
    /// Whether it has listened for a leader since it started.
    pub(super) has_listened: AtomicBool,
    /// When it last heard of a leader, in nanoseconds of the boot-time clock.
    pub(super) heard_at: AtomicU64,
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node").field("me", &self.config.me).finish_non_exhaustive()
    }
}

impl Node {
    pub(super) fn phase(&self) -> Phase {
        *self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_phase(&self, phase: Phase) {
        *self.phase.lock().unwrap_or_else(PoisonError::into_inner) = phase;
        self.update_campaigning();
    }

    /// Lets the node lead if the user does. A lone one is elected by the engine at once, others
    /// stand in [`election`](super::election).
    pub(super) fn update_campaigning(&self) {
        self.raft.runtime_config().elect(self.config.members.len() == 1 && self.may_stand());
        self.raft.runtime_config().heartbeat(self.campaigning.load(Ordering::SeqCst));
    }

    /// Makes this node one that votes, also after a restart.
    pub(super) async fn become_member(&self) -> Result<(), FileError> {
        self.file.run(|file| file.write(|tables| tables.put("is_member", &true))).await?;
        self.set_phase(Phase::Member);
        self.formation.send_replace(Formation::Member);
        Ok(())
    }

    /// Why the engine has stopped, if it has.
    pub(super) fn fatal(&self) -> Option<String> {
        let metrics = self.raft.metrics();
        let state = &metrics.borrow().running_state;
        state.as_ref().err().map(|fatal| format!("the store of this node has stopped: {fatal}"))
    }

    /// Has a write go through the log; only on the leader.
    pub(super) async fn propose(&self, proposal: Proposal) -> Result<Outcome, Failure> {
        self.may_lead()?;
        let (answer, answered) = oneshot::channel();
        if self.proposals.send(Ask { proposal, answer }).await.is_err() {
            return Err(Failure::NotLeader); // shut down
        }
        let shut_down = || Failure::Unknown("the store was shut down".to_owned());
        answered.await.unwrap_or_else(|_| Err(shut_down()))
    }

    /// The entry after which a read that begins now may be answered; only on the leader.
    pub(super) async fn read_index(&self) -> Result<Option<u64>, Failure> {
        self.may_lead()?;
        match self.raft.ensure_linearizable().await {
            Ok(log_id) => Ok(log_id.map(|log_id| log_id.index)),
            Err(RaftError::APIError(CheckIsLeaderError::ForwardToLeader(_))) => {
                Err(Failure::NotLeader)
            }
            Err(error) => Err(Failure::Unknown(error.to_string())),
        }
    }

    /// A leader that may not lead does nothing that the others would hear: else they would go on
    /// following it.
    fn may_lead(&self) -> Result<(), Failure> {
        let may = self.campaigning.load(Ordering::SeqCst) || self.config.members.len() == 1;
        if may { Ok(()) } else { Err(Failure::NotLeader) }
    }

    /// Whether what a leader sends may be taken.
    fn follows(&self, term: u64) -> bool {
        match self.phase() {
            Phase::Asking => false,
            Phase::CatchingUp { floor } => term >= floor,
            Phase::Member => true,
        }
    }

    async fn status(&self) -> Result<Status, String> {
        let text = |error: FileError| error.to_string();
        let has_history = self.file.run(File::has_history).await.map_err(text)?;
        let state = self.raft.with_raft_state(|state| {
            let vote = *state.vote_ref();
            let committed = state.committed.map(|log_id| log_id.leader_id.term);
            let leads = vote.is_committed()
                && state.server_state == ServerState::Leader
                && committed == Some(vote.leader_id().term);
            (vote.leader_id().term, leads)
        });
        let (term, leads) = state.await.map_err(|error| error.to_string())?;
        Ok(Status {
            members: self.config.names(),
            has_history,
            is_member: self.phase() == Phase::Member,
            term: term.max(self.file.term()),
            leads_at: leads.then(|| self.file.last_index()),
        })
    }

    /// Makes this node a member of a cluster that begins now.
    async fn form(&self, from: &NodeName, members: &[NodeName]) -> Result<(), String> {
        if members != self.config.names() || members.first() != Some(from) {
            return Err(format!("this node's members are {:?}", self.config.names()));
        }
        let has_history = self.file.run(File::has_history).await;
        if has_history.map_err(|error| error.to_string())? {
            return Err("this node has history".to_owned());
        }
        self.become_member().await.map_err(|error| error.to_string())
    }

    async fn answer(&self, from: &NodeName, request: Request) -> Reply {
        match request {
            Request::Append(rpc) => {
                if !self.follows(rpc.vote.leader_id().term) {
                    return Reply::Refused("this node is not ready to follow".to_owned());
                }
                let answer = self.raft.append_entries(rpc).await;
                if !matches!(answer, Ok(AppendEntriesResponse::HigherVote(_)) | Err(_)) {
                    self.hears();
                }
                answer.map_or_else(|error| Reply::Refused(error.to_string()), Reply::Append)
            }
            Request::Vote(rpc) => {
                if self.phase() != Phase::Member {
                    return Reply::Refused("this node does not vote yet".to_owned());
                }
                let answer = self.raft.vote(rpc).await;
                if answer.as_ref().is_ok_and(|answer| answer.vote_granted) {
                    self.hears();
                }
                answer.map_or_else(|error| Reply::Refused(error.to_string()), Reply::Vote)
            }
            Request::Snapshot(rpc) => {
                if !self.follows(rpc.vote.leader_id().term) {
                    return Reply::Refused("this node is not ready to follow".to_owned());
                }
                match self.raft.install_snapshot(rpc).await {
                    Ok(response) => Reply::Snapshot(Ok(response)),
                    Err(RaftError::APIError(InstallSnapshotError::SnapshotMismatch(mismatch))) => {
                        Reply::Snapshot(Err(mismatch))
                    }
                    Err(RaftError::Fatal(error)) => Reply::Refused(error.to_string()),
                }
            }
            Request::Write(proposal) => {
                // Longer than its sender waits: what nobody waits for must not fill the channel.
                let proposed = tokio::time::timeout(self.config.patience, self.propose(proposal));
                match proposed.await {
                    Ok(Ok(outcome)) => Reply::Written(outcome),
                    Ok(Err(failure)) => failure.into(),
                    Err(_) => Reply::Failed("no majority has taken it in time".to_owned()),
                }
            }
            Request::ReadIndex => match self.read_index().await {
                Ok(index) => Reply::ReadIndex(index),
                Err(failure) => failure.into(),
            },
            Request::Status => self.status().await.map_or_else(Reply::Refused, Reply::Status),
            Request::Form(members) => match self.form(from, &members).await {
                Ok(()) => Reply::Formed,
                Err(why) => Reply::Refused(why),
            },
        }
    }
}

impl From<Failure> for Reply {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::NotLeader => Self::NotLeader,
            Failure::Unknown(why) => Self::Failed(why),
        }
    }
}

#[async_trait]
impl Handler for Node {
    async fn handle(&self, from: &NodeName, request: Vec<u8>) -> Vec<u8> {
        let reply = match decode(&request) {
            Ok(request) => self.answer(from, request).await,
            Err(error) => Reply::Refused(error.to_string()),
        };
        encode(&reply)
    }
}

/// Whether the engine leads, and may be asked to write or read.
pub(super) fn leads(metrics: &Metrics) -> bool {
    metrics.running_state.is_ok() && metrics.state == ServerState::Leader
}

pub(super) fn unavailable(why: impl Into<String>) -> StoreError {
    StoreError::Unavailable { source: io::Error::other(why.into()) }
}

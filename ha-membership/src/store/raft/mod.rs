//! A store that several nodes keep together, by Raft.

mod config;
mod election;
mod error;
mod file;
mod formation;
mod leadership;
mod log;
mod machine;
mod network;
mod node;
mod proposer;
mod start;
mod types;

use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use ha_core::driver::{Task, pause};
use ha_core::effect::Effect;
use ha_core::id::NodeName;
use tokio::sync::watch;

pub use self::config::{RaftStoreConfig, RaftStoreConfigBuilder};
pub use self::error::OpenError;
use self::file::File;
pub use self::formation::Formation;
pub use self::leadership::Leadership;
use self::machine::Applied;
use self::node::{Failure, Node, unavailable};
use self::types::{Proposal, Reply, Request, decode, encode};
use super::{ClusterStore, Entry, MAX_VALUE_LEN, StoreChange, StoreError, Write, state};
use crate::key::{Key, Revision};
use crate::transport::channel::{Channels, Serving};

/// How long to wait before a leader that did nothing is asked again.
const RETRY: Duration = Duration::from_millis(10);

/// A [`ClusterStore`] that three, five or more nodes keep together: Raft by the `openraft` crate,
/// on disk by `redb`. Cloning is cheap.
///
/// What was acknowledged is on the disks of a majority. Reads and writes are linearizable on every
/// node; they need a leader and a majority, and wait for at most the configured patience. Values
/// are held in memory.
///
/// # Forming, and coming back
///
/// At the very first start all members must be up; [`formation`](Self::formation) says for whom
/// a node waits. Later a majority is enough. A node whose file is gone catches up from the others
/// before it votes, so move a damaged file away and start the node: nothing is lost as long as a
/// majority of the files is well.
///
/// # Failover
///
/// When a leader dies, another one leads within [`RaftStoreConfig::failover`] of its last
/// heartbeat, 700 ms by default, plus the time of a few messages and disk writes; longer by an
/// election timeout when two members stand at the same moment.
///
/// # Full or broken disks
///
/// A node that cannot write stops: it leads and votes no longer, and every call on it says why.
/// Mend the disk and open the store anew.
///
/// ```
/// # tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(async {
/// use ha_core::id::NodeName;
/// use ha_membership::store::{ClusterStore, RaftStore, RaftStoreConfig};
/// use ha_membership::transport::SharedKey;
/// use ha_membership::transport::channel::{Channels, ChannelsConfig};
///
/// let me: NodeName = "n1".parse()?;
/// let channels = ChannelsConfig::builder(me.clone(), "127.0.0.1:0".parse()?);
/// let channels = Channels::bind(channels.key(SharedKey::new([7; 32])).build()?).await?;
/// # let folder = tempfile::tempdir()?;
/// let file = folder.path().join("store");
/// // With `.member(…)` for the others.
/// let store = RaftStore::open(RaftStoreConfig::builder(me, file).build()?, &channels).await?;
/// let key = "resources/db/node".parse()?;
/// store.put(&key, (*b"n1").into()).await?;
/// assert_eq!(*store.get(&key).await?.unwrap().value, *b"n1");
/// store.shutdown().await;
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Clone)]
pub struct RaftStore(Arc<Owner>);

struct Owner {
    node: Arc<Node>,
    channels: Channels,
    serving: Mutex<Option<Serving>>,
    /// Stops the engine when dropped.
    task: Mutex<Option<Task<()>>>,
}

impl fmt::Debug for RaftStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RaftStore").field("me", &self.0.node.config.me).finish_non_exhaustive()
    }
}

impl RaftStore {
    /// Opens the node's file, or makes it, and starts; must be called inside a tokio runtime with
    /// I/O and time enabled.
    ///
    /// # Errors
    ///
    /// [`OpenError`]; the file is as it was.
    ///
    /// # Cancel safety
    ///
    /// When dropped the file may have been made, and nothing runs.
    pub async fn open(config: RaftStoreConfig, channels: &Channels) -> Result<Self, OpenError> {
        if config.me != *channels.me() {
            let channels = channels.me().clone();
            return Err(OpenError::OtherNode { me: config.me, channels });
        }
        let (path, me, names) = (config.file.clone(), config.me.clone(), config.names());
        let opening = tokio::task::spawn_blocking(move || File::open(&path, &me, &names));
        let engine_failed =
            |reason: String| OpenError::Engine { file: config.file.clone(), reason };
        let file = opening.await.map_err(|error| engine_failed(error.to_string()))??;
        let file = Arc::new(file);
        let started = start::start(&config, channels, &file).await;
        let (node, inbox) = match started {
            Ok(started) => started,
            Err(error) => {
                file.close();
                return Err(error);
            }
        };
        let serving = channels.serve(node.config.topic, Arc::clone(&node) as Arc<_>);
        let driven = (Arc::clone(&node), channels.clone());
        let task = Task::spawn(|stop| start::drive(driven.0, driven.1, inbox, stop));
        match serving {
            Ok(serving) => {
                let (serving, task) = (Mutex::new(Some(serving)), Mutex::new(Some(task)));
                let channels = channels.clone();
                Ok(Self(Arc::new(Owner { node, channels, serving, task })))
            }
            Err(error) => {
                // An error means that the runtime ends.
                let _stopped = task.stop().await;
                Err(OpenError::Topic(error))
            }
        }
    }

    /// Follows what this node still needs to take part.
    #[must_use]
    pub fn formation(&self) -> watch::Receiver<Formation> {
        self.0.node.formation.subscribe()
    }

    /// Follows who leads.
    #[must_use]
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.0.node.leadership.subscribe()
    }

    /// Lets this node lead and stand for election, or not. Default: it may.
    ///
    /// A node that knows that it is cut off should not: each time it stands it raises the term,
    /// and unseats the leader when it comes back. A leader that may not falls silent, so that
    /// another one is elected: who must not act for the cluster must not lead its store either.
    pub fn set_campaigning(&self, may: bool) {
        let before = self.0.node.campaigning.swap(may, Ordering::SeqCst);
        if may && !before {
            self.0.node.hears(); // There may be a leader: it listens first.
        }
        self.0.node.update_campaigning();
    }

    /// Reads one entry as this node knows it, perhaps an old one: for status displays.
    #[must_use]
    pub fn local_get(&self, key: &Key) -> Option<Entry> {
        self.0.node.applied.state().get(key)
    }

    /// Reads all entries whose keys start with `prefix` as this node knows them, perhaps old
    /// ones, and their revision: for status displays.
    #[must_use]
    pub fn local_list(&self, prefix: &str) -> (Vec<(Key, Entry)>, Revision) {
        self.0.node.applied.state().list(prefix)
    }

    /// Stops this node in order, and lets go of its file; all clones are of no more use.
    ///
    /// # Cancel safety
    ///
    /// When dropped it goes on stopping.
    pub async fn shutdown(&self) {
        let serving = self.0.serving.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(serving);
        let task = self.0.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(task) = task {
            // An error means that the runtime ends.
            let _stopped = task.stop().await;
        }
    }

    /// Waits for a leader, and says who it is.
    async fn leader(&self) -> Result<NodeName, StoreError> {
        let node = &self.0.node;
        let mut metrics = node.raft.metrics();
        loop {
            if let Some(reason) = node.fatal() {
                return Err(unavailable(reason));
            }
            let leader = metrics.borrow_and_update().current_leader;
            if let Some(name) = leader.and_then(|number| node.config.members.get(&number)) {
                return Ok(name.clone());
            }
            if metrics.changed().await.is_err() {
                return Err(unavailable("the store was shut down"));
            }
        }
    }

    /// Waits until this node knows all that was acknowledged before the call.
    async fn catch_up(&self) -> Result<(), StoreError> {
        let node = &self.0.node;
        let mut trouble = "no leader is known".to_owned();
        let reading = async {
            loop {
                let leader = self.leader().await?;
                let index = if leader == node.config.me {
                    node.read_index().await.map_err(Trouble::from)
                } else {
                    self.ask(&leader, &Request::ReadIndex, node.config.failover()).await
                };
                match index {
                    Ok(index) => {
                        "this node has not caught up with the leader".clone_into(&mut trouble);
                        let wanted = index.unwrap_or(0);
                        let mut applied = node.applied.index.subscribe();
                        // The sender is a field of the node: it lives as long as this call.
                        let _there = applied.wait_for(|index| *index >= wanted).await;
                        return Ok(());
                    }
                    // A read may be repeated whatever became of it.
                    Err(why) => trouble = why.text,
                }
                let _no_timer = pause(RETRY).await;
            }
        };
        let read = tokio::time::timeout(node.config.patience, reading).await;
        read.unwrap_or_else(|_| Err(self.gave_up(&trouble)))
    }

    async fn ask<T: TryFrom<Reply, Error = Reply>>(
        &self,
        leader: &NodeName,
        request: &Request,
        limit: Duration,
    ) -> Result<T, Trouble> {
        let Owner { node, channels, .. } = &*self.0;
        let called = channels.call(leader, node.config.topic, encode(request), limit).await;
        let reply =
            called.map_err(|error| Trouble { effect: error.effect(), text: error.to_string() })?;
        let unknown = |text| Trouble { effect: Effect::Unknown, text };
        let reply: Reply = decode(&reply).map_err(|error| unknown(error.to_string()))?;
        T::try_from(reply).map_err(|reply| Trouble::from(&reply))
    }

    fn gave_up(&self, why: &str) -> StoreError {
        let patience = self.0.node.config.patience;
        let formation = self.0.node.formation.borrow();
        match &*formation {
            Formation::Waiting { on } => unavailable(format!(
                "no answer in {patience:?}: {why}; this node waits for {on:?} to form the cluster"
            )),
            Formation::CatchingUp => unavailable(format!(
                "no answer in {patience:?}: {why}; this node catches up with the others"
            )),
            Formation::Member => unavailable(format!("no answer in {patience:?}: {why}")),
        }
    }
}

/// Why a leader gave no answer, and whether it may have done what it was asked.
struct Trouble {
    effect: Effect,
    text: String,
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::NotLeader => {
                Self { effect: Effect::None, text: "the leader has changed".to_owned() }
            }
            Failure::Unknown(text) => Self { effect: Effect::Unknown, text },
        }
    }
}

impl From<&Reply> for Trouble {
    /// Of a reply that is not the one that was waited for.
    fn from(reply: &Reply) -> Self {
        if let Reply::NotLeader = reply {
            Failure::NotLeader.into()
        } else if let Reply::Refused(why) = reply {
            Self { effect: Effect::None, text: why.clone() }
        } else if let Reply::Failed(why) = reply {
            Self { effect: Effect::Unknown, text: why.clone() }
        } else {
            Self { effect: Effect::Unknown, text: format!("unexpected reply {reply:?}") }
        }
    }
}

impl TryFrom<Reply> for Option<u64> {
    type Error = Reply;
    fn try_from(reply: Reply) -> Result<Self, Reply> {
        if let Reply::ReadIndex(index) = reply { Ok(index) } else { Err(reply) }
    }
}

impl TryFrom<Reply> for types::Outcome {
    type Error = Reply;
    fn try_from(reply: Reply) -> Result<Self, Reply> {
        if let Reply::Written(outcome) = reply { Ok(outcome) } else { Err(reply) }
    }
}

#[async_trait]
impl ClusterStore for RaftStore {
    async fn get(&self, key: &Key) -> Result<Option<Entry>, StoreError> {
        self.catch_up().await?;
        Ok(self.local_get(key))
    }

    async fn list(&self, prefix: &str) -> Result<(Vec<(Key, Entry)>, Revision), StoreError> {
        self.catch_up().await?;
        Ok(self.local_list(prefix))
    }

    async fn write(&self, write: Write) -> Result<Revision, StoreError> {
        let node = &self.0.node;
        let key = write.key.clone();
        let len = write.value.as_ref().map_or(0, |value| value.len());
        if len > MAX_VALUE_LEN {
            // It does not go through the log; a condition that does not hold counts first.
            self.catch_up().await?;
            let found = self.local_get(&key).map(|entry| entry.revision);
            return Err(if write.expected.holds(found) {
                StoreError::TooLarge { key, len }
            } else {
                StoreError::Conflict { key, found }
            });
        }
        let proposal = Proposal::from(write);
        let mut trouble = "no leader is known".to_owned();
        let writing = async {
            loop {
                let leader = self.leader().await?;
                let written = if leader == node.config.me {
                    node.propose(proposal.clone()).await.map_err(Trouble::from)
                } else {
                    // A little less, so that the connection of a leader that is gone is given up.
                    let limit = node.config.patience / 10 * 9;
                    self.ask(&leader, &Request::Write(proposal.clone()), limit).await
                };
                match written {
                    Ok(outcome) => return outcome.into_result(key.clone()),
                    Err(why) if why.effect.may_retry() => trouble = why.text,
                    Err(why) => return Err(unavailable(why.text)),
                }
                let _no_timer = pause(RETRY).await;
            }
        };
        let written = tokio::time::timeout(node.config.patience, writing).await;
        written.unwrap_or_else(|_| Err(self.gave_up(&trouble)))
    }

    /// Watches what this node applies; it may lag behind the leader by a message.
    async fn next_change(&self, prefix: &str, after: Revision) -> Result<StoreChange, StoreError> {
        let Applied { state, revision, .. } = &*self.0.node.applied;
        let mut metrics = self.0.node.raft.metrics();
        tokio::select! {
            change = state::next_change(state, revision.subscribe(), prefix, after) => change,
            _ended = metrics.wait_for(|metrics| metrics.running_state.is_err()) => {
                let reason = self.0.node.fatal();
                Err(unavailable(reason.unwrap_or_else(|| "the store was shut down".to_owned())))
            }
        }
    }
}

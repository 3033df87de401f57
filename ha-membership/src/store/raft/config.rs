//! The settings of a [`RaftStore`](super::RaftStore).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ha_core::config::{ConfigError, Problems};
use ha_core::id::NodeName;

use super::types::number;
use crate::transport::channel::Topic;

/// The most members: beyond it each write waits for too many.
const MAX_MEMBERS: usize = 9;
/// Below it, a disk's or a scheduler's hiccup is taken for a failure.
const MIN_HEARTBEAT: Duration = Duration::from_millis(15);
const MAX_HEARTBEAT: Duration = Duration::from_secs(10);
const MAX_ELECTION: Duration = Duration::from_mins(1);
/// The most bytes of keys and values: a snapshot is built, sent and read in memory.
const MAX_LIMIT: usize = 64 << 20;

/// The settings of a node's store; made by [`RaftStoreConfig::builder`].
#[derive(Debug, Clone)]
pub struct RaftStoreConfig {
    pub(super) me: NodeName,
    pub(super) members: BTreeMap<u64, NodeName>,
    pub(super) file: PathBuf,
    pub(super) topic: Topic,
    pub(super) heartbeat: Duration,
    pub(super) election: (Duration, Duration),
    pub(super) snapshot_after: u64,
    pub(super) limit: usize,
    pub(super) patience: Duration,
    pub(super) trust_empty_file: bool,
}

impl RaftStoreConfig {
    /// Settings of the node `me`, with its file.
    ///
    /// The file is made if there is none; its folder must exist.
    pub fn builder(me: NodeName, file: impl Into<PathBuf>) -> RaftStoreConfigBuilder {
        RaftStoreConfigBuilder {
            config: Self {
                me,
                members: BTreeMap::new(),
                file: file.into(),
                topic: Topic::new(1),
                heartbeat: Duration::from_millis(100),
                election: (Duration::from_millis(150), Duration::from_millis(300)),
                snapshot_after: 1000,
                limit: 8 << 20,
                patience: Duration::from_secs(2),
                trust_empty_file: false,
            },
            clash: None,
        }
    }

    /// The name of the node.
    #[must_use]
    pub const fn me(&self) -> &NodeName {
        &self.me
    }

    /// The names of all members, this node among them.
    pub fn members(&self) -> impl Iterator<Item = &NodeName> {
        self.members.values()
    }

    /// The file of the node.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// How long after its leader's last heartbeat a cluster has another one, unless two members
    /// stand at the same moment: two longest election timeouts and a heartbeat. 700 ms by default.
    #[must_use]
    pub fn failover(&self) -> Duration {
        self.election.1 * 2 + self.heartbeat
    }

    /// Members in the order of their names.
    pub(super) fn names(&self) -> Vec<NodeName> {
        let mut names: Vec<NodeName> = self.members.values().cloned().collect();
        names.sort_unstable();
        names
    }

    pub(super) fn others(&self) -> Vec<NodeName> {
        self.names().into_iter().filter(|name| *name != self.me).collect()
    }
}

/// Collects the settings of a [`RaftStoreConfig`].
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until build() is called"]
pub struct RaftStoreConfigBuilder {
    config: RaftStoreConfig,
    clash: Option<(NodeName, NodeName)>,
}

impl RaftStoreConfigBuilder {
    /// Adds a member, 1 to 9 in all; this node is one by itself. The same on all members.
    ///
    /// More than half of the members must be up, so three survive the loss of one, five of two,
    /// and two of none.
    pub fn member(mut self, name: NodeName) -> Self {
        let before = self.config.members.insert(number(&name), name.clone());
        if let Some(other) = before.filter(|before| *before != name) {
            self.clash = Some((name, other));
        }
        self
    }

    /// Sets which topic of the channels the store takes. Default: 1.
    pub const fn topic(mut self, topic: Topic) -> Self {
        self.config.topic = topic;
        self
    }

    /// Sets the time between two heartbeats of the leader: 15 ms to 10 s. Default: 100 ms.
    ///
    /// Two thirds of it must be enough for the largest value to be sent and written to a disk.
    pub const fn heartbeat(mut self, interval: Duration) -> Self {
        self.config.heartbeat = interval;
        self
    }

    /// Sets the election timeouts: the shortest longer than two thirds of a heartbeat, the longest
    /// longer than that and at most 1 min. Default: 150 ms and 300 ms.
    ///
    /// A member that has not heard the leader for the longest one takes part in an election; it
    /// stands itself after another time between both. See
    /// [`RaftStoreConfig::failover`].
    pub const fn election(mut self, shortest: Duration, longest: Duration) -> Self {
        self.config.election = (shortest, longest);
        self
    }

    /// Sets after how many entries of the log a snapshot takes their place: at least 10. Default:
    /// 1,000.
    pub const fn snapshot_after(mut self, entries: u64) -> Self {
        self.config.snapshot_after = entries;
        self
    }

    /// Sets how many bytes of keys and values the store takes: at most 64 MiB. Default: 8 MiB.
    ///
    /// All are held in memory, twice while a snapshot is made. What counts is the leader's
    /// setting.
    pub const fn limit(mut self, bytes: usize) -> Self {
        self.config.limit = bytes;
        self
    }

    /// Sets how long a read or write waits for a leader and a majority. Default: 2 s.
    pub const fn patience(mut self, limit: Duration) -> Self {
        self.config.patience = limit;
        self
    }

    /// Votes at once with an empty file: loses acknowledged writes. For the test that shows it.
    #[doc(hidden)]
    pub const fn trust_empty_file(mut self) -> Self {
        self.config.trust_empty_file = true;
        self
    }

    /// Checks the settings.
    ///
    /// # Errors
    ///
    /// All problems at once.
    pub fn build(self) -> Result<RaftStoreConfig, ConfigError> {
        let me = self.config.me.clone();
        let Self { config, clash } = self.member(me);
        let mut problems = Problems::new();
        if let Some((name, other)) = clash {
            problems.add("member", name, format!("another name: its hash is that of {other}"));
        }
        if config.members.len() > MAX_MEMBERS {
            problems.add("member", config.members.len(), format!("1 to {MAX_MEMBERS} members"));
        }
        if !(MIN_HEARTBEAT..=MAX_HEARTBEAT).contains(&config.heartbeat) {
            let allowed = format!("{MIN_HEARTBEAT:?} to {MAX_HEARTBEAT:?}");
            problems.add("heartbeat", format!("{:?}", config.heartbeat), allowed);
        }
        let (shortest, longest) = config.election;
        if shortest <= config.heartbeat * 2 / 3 || longest <= shortest || longest > MAX_ELECTION {
            let allowed = "longer than two thirds of a heartbeat, the second longer than the \
                           first and at most 1 min";
            problems.add("election", format!("{shortest:?} and {longest:?}"), allowed);
        }
        if config.snapshot_after < 10 {
            problems.add("snapshot_after", config.snapshot_after, "at least 10");
        }
        if config.limit == 0 || config.limit > MAX_LIMIT {
            problems.add("limit", config.limit, format!("1 to {MAX_LIMIT} bytes"));
        }
        if config.patience.is_zero() {
            problems.add("patience", format!("{:?}", config.patience), "more than nothing");
        }
        problems.into_result(config)
    }
}

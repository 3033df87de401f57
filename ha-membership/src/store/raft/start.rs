//! Starts the engine, runs what belongs to a node, and stops it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ha_core::driver::{Stop, pause};
use openraft::{Config, SnapshotPolicy};
use tokio::sync::{mpsc, watch};

use super::config::RaftStoreConfig;
use super::election;
use super::error::OpenError;
use super::file::{File, FileError};
use super::formation::{self, Formation};
use super::leadership::{self, Leadership};
use super::log::Log;
use super::machine::{Applied, Machine};
use super::network::Network;
use super::node::{Ask, Node, Phase};
use super::proposer;
use super::types::{Raft, number};
use crate::transport::channel::Channels;

/// A part of a snapshot.
const CHUNK: u64 = 1 << 20;
/// How long a part of a snapshot may take, in milliseconds.
const CHUNK_LIMIT: u64 = 2_000;

/// Starts the engine on an open file.
pub(super) async fn start(
    config: &RaftStoreConfig,
    channels: &Channels,
    file: &Arc<File>,
) -> Result<(Arc<Node>, mpsc::Receiver<Ask>), OpenError> {
    let corrupt = |error: FileError| OpenError::corrupt(&config.file, error);
    let engine = |reason: String| OpenError::Engine { file: config.file.clone(), reason };
    let applied = Arc::new(Applied::new());
    let (at_file, at_applied) = (Arc::clone(file), Arc::clone(&applied));
    let opening = file.run(move |file| {
        let is_member: Option<bool> = file.get("is_member")?;
        Ok((Machine::open(at_file, at_applied)?, is_member.unwrap_or(false)))
    });
    let (machine, is_member) = opening.await.map_err(corrupt)?;
    let is_member = is_member || config.trust_empty_file;
    let raft_config = engine_config(config).map_err(engine)?;
    let network = Network {
        channels: channels.clone(),
        topic: config.topic,
        names: Arc::new(config.members.clone()),
        silence: config.election.1,
    };
    let me = number(&config.me);
    let log = Log { file: Arc::clone(file), me };
    let raft = Raft::new(me, Arc::new(raft_config), network, log, machine).await;
    let raft = raft.map_err(|error| engine(error.to_string()))?;
    let (proposals, inbox) = mpsc::channel(proposer::WAITING);
    let waiting = Formation::Waiting { on: config.others().into_iter().collect() };
    let formation = if is_member { Formation::Member } else { waiting };
    let phase = if is_member { Phase::Member } else { Phase::Asking };
    let node = Node {
        config: config.clone(),
        raft,
        file: Arc::clone(file),
        applied,
        proposals,
        formation: watch::Sender::new(formation),
        leadership: watch::Sender::new(Leadership::none()),
        phase: Mutex::new(phase),
        campaigning: AtomicBool::new(true),
        // A lone node need not wait for a leader.
        has_listened: AtomicBool::new(config.members.len() == 1),
        heard_at: AtomicU64::new(0),
    };
    node.update_campaigning();
    Ok((Arc::new(node), inbox))
}

fn engine_config(config: &RaftStoreConfig) -> Result<Config, String> {
    let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    Config {
        cluster_name: "ha-membership".to_owned(),
        // The engine looks at its timers once in one and a half of what it calls a heartbeat.
        heartbeat_interval: millis(config.heartbeat * 2 / 3),
        election_timeout_min: millis(config.election.0),
        election_timeout_max: millis(config.election.1),
        install_snapshot_timeout: CHUNK_LIMIT,
        snapshot_max_chunk_size: CHUNK,
        snapshot_policy: SnapshotPolicy::LogsSinceLast(config.snapshot_after),
        // A member that lags by less is sent entries, by more a snapshot.
        replication_lag_threshold: config.snapshot_after,
        max_in_snapshot_log_to_keep: config.snapshot_after / 2,
        enable_elect: false,
        ..Config::default()
    }
    .validate()
    .map_err(|error| error.to_string())
}

/// Runs the node until it is stopped, then lets go of its file.
pub(super) async fn drive(
    node: Arc<Node>,
    channels: Channels,
    inbox: mpsc::Receiver<Ask>,
    mut stop: Stop,
) {
    let form = async {
        if let Err(error) = formation::run(&node, &channels).await {
            tracing::error!(node = %node.config.me, %error, "cluster not joined");
        }
        std::future::pending::<()>().await;
    };
    let listen = async {
        // Whoever leads has time to say so before this node stands against it.
        let _no_timer = pause(node.config.election.1).await;
        node.has_listened.store(true, Ordering::SeqCst);
        node.update_campaigning();
        std::future::pending::<()>().await;
    };
    let stand = async {
        if node.config.members.len() > 1 {
            election::run(&node).await;
        }
        std::future::pending::<()>().await;
    };
    let follow = async {
        leadership::follow(&node).await;
        std::future::pending::<()>().await;
    };
    tokio::select! { biased;
        () = stop.wait() => {}
        () = form => {}
        () = listen => {}
        () = follow => {}
        () = stand => {}
        () = proposer::run(&node, inbox) => {}
    }
    if let Err(error) = node.raft.shutdown().await {
        tracing::error!(node = %node.config.me, %error, "engine failed at its end");
    }
    node.leadership.send_modify(|now| (now.leader, now.is_me) = (None, false));
    let file = Arc::clone(&node.file);
    // Closing waits for the disk; an error means that the runtime ends.
    let closing = move || {
        // What is known to be committed; without it the next start is a little slower.
        let _unsaved = file.write(|_| Ok(()));
        file.close();
    };
    let _closed = tokio::task::spawn_blocking(closing).await;
}

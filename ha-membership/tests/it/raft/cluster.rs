//! A cluster for tests.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ha_core::driver::pause;
use ha_core::id::NodeName;
use ha_membership::store::{
    Formation, OpenError, RaftStore, RaftStoreConfig, RaftStoreConfigBuilder,
};
use ha_membership::transport::SharedKey;
use ha_membership::transport::channel::{Channels, ChannelsConfig};
use tempfile::TempDir;

use crate::name;

/// A limit that only a failure reaches.
pub(super) const LONG: Duration = Duration::from_mins(1);

/// Runs a test with several threads, as programs do.
pub(super) fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let limited = async { tokio::time::timeout(LONG * 2, test).await };
    runtime.expect("a runtime").block_on(limited).expect("the test ends");
}

/// Waits until something holds; a failure takes [`LONG`].
pub(super) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let wait = async {
        while !holds() {
            pause(Duration::from_millis(2)).await.expect("a timer");
        }
    };
    assert!(tokio::time::timeout(LONG, wait).await.is_ok(), "in {LONG:?} not: {what}");
}

pub(super) struct Cluster {
    pub(super) folder: TempDir,
    pub(super) size: usize,
    configure: fn(RaftStoreConfigBuilder) -> RaftStoreConfigBuilder,
    nodes: BTreeMap<usize, Node>,
    addresses: BTreeMap<NodeName, SocketAddr>,
}

struct Node {
    channels: Channels,
    store: RaftStore,
}

impl Cluster {
    /// A cluster whose nodes are not started.
    pub(super) fn empty(
        size: usize,
        configure: fn(RaftStoreConfigBuilder) -> RaftStoreConfigBuilder,
    ) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (nodes, addresses) = (BTreeMap::new(), BTreeMap::new());
        Self { folder, size, configure, nodes, addresses }
    }

    /// A cluster that has formed.
    pub(super) async fn formed(
        size: usize,
        configure: fn(RaftStoreConfigBuilder) -> RaftStoreConfigBuilder,
    ) -> Self {
        let mut cluster = Self::empty(size, configure);
        for index in 0..size {
            cluster.start(index).await;
        }
        cluster.leader().await;
        cluster
    }

    pub(super) fn file(&self, index: usize) -> PathBuf {
        self.folder.path().join(name(index).as_str())
    }

    pub(super) fn config(&self, index: usize) -> RaftStoreConfigBuilder {
        let builder = RaftStoreConfig::builder(name(index), self.file(index));
        let builder = (0..self.size).fold(builder, |builder, other| builder.member(name(other)));
        (self.configure)(builder.patience(LONG))
    }

    pub(super) async fn start(&mut self, index: usize) {
        let config = self.config(index);
        self.start_with(index, config).await.expect("it opens");
    }

    /// Starts a node at another port, and tells all.
    pub(super) async fn start_with(
        &mut self,
        index: usize,
        config: RaftStoreConfigBuilder,
    ) -> Result<(), OpenError> {
        let any = "127.0.0.1:0".parse().expect("an address");
        let channels = ChannelsConfig::builder(name(index), any).key(SharedKey::new([5; 32]));
        let channels = Channels::bind(channels.build().expect("settings")).await.expect("a port");
        self.addresses.insert(name(index), channels.local_addr());
        channels.set_peers(self.addresses.clone());
        for node in self.nodes.values() {
            node.channels.set_peers(self.addresses.clone());
        }
        let store = RaftStore::open(config.build().expect("settings"), &channels).await?;
        self.nodes.insert(index, Node { channels, store });
        Ok(())
    }

    /// Stops a node.
    pub(super) async fn stop(&mut self, index: usize) {
        let Node { store, channels } = self.nodes.remove(&index).expect("it runs");
        store.shutdown().await;
        drop(channels);
    }

    /// Stops a node, and loses its disk.
    pub(super) async fn lose_disk(&mut self, index: usize) {
        self.stop(index).await;
        std::fs::remove_file(self.file(index)).expect("it was there");
    }

    pub(super) fn store(&self, index: usize) -> &RaftStore {
        &self.nodes[&index].store
    }

    pub(super) fn channels(&self, index: usize) -> &Channels {
        &self.nodes[&index].channels
    }

    pub(super) fn running(&self) -> Vec<usize> {
        self.nodes.keys().copied().collect()
    }

    /// Waits until one node leads.
    pub(super) async fn leader(&self) -> usize {
        let leads = |index: &usize| self.store(*index).leadership().borrow().is_me;
        until("a node leads", || self.running().iter().any(leads)).await;
        self.running().into_iter().find(leads).unwrap_or_default()
    }

    /// Waits until a node is a full member.
    pub(super) async fn is_member(&self, index: usize) {
        let mut formation = self.store(index).formation();
        let member = formation.wait_for(|formation| *formation == Formation::Member);
        let waited = tokio::time::timeout(LONG, member).await;
        assert!(waited.is_ok(), "{index} does not become a member");
    }
}

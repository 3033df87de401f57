//! The settings of [`Channels`](super::Channels).

use std::collections::BTreeMap;
use std::net::SocketAddr;

use ha_core::config::{ConfigError, Problems};
use ha_core::id::NodeName;

use crate::transport::SharedKey;

/// The most keys at a time: the new, the old, and two that were forgotten.
const MAX_KEYS: usize = 4;
/// The most peers, as many as a mesh has.
const MAX_PEERS: usize = 64;

/// The settings of a node's channels; made by [`ChannelsConfig::builder`].
#[derive(Debug, Clone)]
pub struct ChannelsConfig {
    pub(super) me: NodeName,
    pub(super) listen: SocketAddr,
    pub(super) keys: Vec<SharedKey>,
    pub(super) peers: BTreeMap<NodeName, SocketAddr>,
    pub(super) second: Option<SocketAddr>,
    pub(super) second_ways: BTreeMap<NodeName, SocketAddr>,
}

impl ChannelsConfig {
    /// Settings of the node `me` that listens on `listen`; port 0 takes a free one.
    pub const fn builder(me: NodeName, listen: SocketAddr) -> ChannelsConfigBuilder {
        ChannelsConfigBuilder {
            me,
            listen,
            keys: Vec::new(),
            peers: BTreeMap::new(),
            second: None,
            second_ways: BTreeMap::new(),
        }
    }

    /// The name of the node.
    #[must_use]
    pub const fn me(&self) -> &NodeName {
        &self.me
    }

    /// Where it is to listen.
    #[must_use]
    pub const fn listen(&self) -> SocketAddr {
        self.listen
    }
}

/// Collects the settings of a [`ChannelsConfig`].
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until build() is called"]
pub struct ChannelsConfigBuilder {
    me: NodeName,
    listen: SocketAddr,
    keys: Vec<SharedKey>,
    peers: BTreeMap<NodeName, SocketAddr>,
    second: Option<SocketAddr>,
    second_ways: BTreeMap<NodeName, SocketAddr>,
}

impl ChannelsConfigBuilder {
    /// Adds a key, 1 to 4 in all. Calls use the first, all are accepted.
    ///
    /// To change keys without a stop: add the new one last on all nodes, then move it to the
    /// front on all, then remove the old one.
    pub fn key(mut self, key: SharedKey) -> Self {
        self.keys.push(key);
        self
    }

    /// Adds a member and its address, at most 64. One's own name is passed over, so all members
    /// can have one list. [`Channels::set_peers`](super::Channels::set_peers) changes it later.
    pub fn peer(mut self, name: NodeName, address: SocketAddr) -> Self {
        self.peers.insert(name, address);
        self
    }

    /// Listens on a second address, too: on another network, so that one cable is not the end of
    /// the cluster.
    pub const fn second(mut self, listen: SocketAddr) -> Self {
        self.second = Some(listen);
        self
    }

    /// Adds a second way to a member, tried when the first gives no connection in 100 ms.
    pub fn second_way(mut self, name: NodeName, address: SocketAddr) -> Self {
        self.second_ways.insert(name, address);
        self
    }

    /// Checks the settings.
    ///
    /// # Errors
    ///
    /// All problems at once.
    pub fn build(mut self) -> Result<ChannelsConfig, ConfigError> {
        let mut problems = Problems::new();
        self.peers.remove(&self.me);
        if self.keys.is_empty() || self.keys.len() > MAX_KEYS {
            problems.add("key", self.keys.len(), format!("1 to {MAX_KEYS} keys"));
        }
        if self.peers.len() > MAX_PEERS {
            problems.add("peer", self.peers.len(), format!("at most {MAX_PEERS} peers"));
        }
        if self.second_ways.len() > MAX_PEERS {
            let allowed = format!("at most {MAX_PEERS} second ways");
            problems.add("second_way", self.second_ways.len(), allowed);
        }
        let Self { me, listen, keys, peers, second, second_ways } = self;
        problems.into_result(ChannelsConfig { me, listen, keys, peers, second, second_ways })
    }
}

//! What a mesh knows of another node.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use ha_core::id::{Incarnation, NodeName, ViewId};
use ha_core::time::Instant;

use super::wire::Entry;

#[derive(Debug, Clone)]
pub(super) struct Peer {
    pub(super) incarnation: Incarnation,
    /// This life ended in order, or is confirmed to be off.
    pub(super) gone: bool,
    /// It said goodbye itself, rather than being fenced.
    pub(super) left: bool,
    /// Where it listens, one for each link.
    pub(super) addresses: Vec<SocketAddr>,
    /// Its own time in the last message heard from it; 0 for none.
    pub(super) heard: u64,
    /// The same, of the last message that renewed its standing here.
    pub(super) vouched: u64,
    /// When it was last heard, by our clock.
    pub(super) heard_at: Option<Instant>,
    /// When we sent the message by which it vouches for us.
    pub(super) vouches_from: Option<Instant>,
    pub(super) agreed: ViewId,
    /// What it said of the others last.
    pub(super) says: BTreeMap<NodeName, (Incarnation, bool)>,
}

impl Peer {
    pub(super) fn new(incarnation: Incarnation, addresses: Vec<SocketAddr>) -> Self {
        Self {
            incarnation,
            gone: false,
            left: false,
            addresses,
            heard: 0,
            vouched: 0,
            heard_at: None,
            vouches_from: None,
            agreed: ViewId::new(0),
            says: BTreeMap::new(),
        }
    }

    pub(super) fn entry(&self, name: &NodeName, hears: bool, vouches: bool) -> Entry {
        Entry {
            name: name.clone(),
            incarnation: self.incarnation,
            gone: self.gone,
            left: self.left,
            hears,
            heard: self.heard,
            vouched: if vouches { self.vouched } else { 0 },
            agreed: self.agreed,
            addresses: self.addresses.clone(),
        }
    }
}

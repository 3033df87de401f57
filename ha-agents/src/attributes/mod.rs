//! Node attributes and promotion scores, as agents set and read them.
//!
//! Many agents tell the cluster something besides their answer: how well a node is connected (`ping`),
//! which copy should be promoted (`redis`, `pgsql`), where a bootstrap should begin (`galera`). They
//! do so with Pacemaker's programs `attrd_updater`, `crm_attribute`, `crm_master`, `crm_node` and
//! `crm_resource`; with `crm_mon` they look for the promoted copy in the whole cluster. Here
//! stand-ins of these names are on the agents' path and ask the program that runs the agents:
//!
//! ```text
//!   agent ──runs──▶ attrd_updater ─┐  (links to one program; who it is, it knows by its name)
//!         ──runs──▶ crm_attribute ─┴─▶ socket, mode 0600 ─▶ AttributeServer ─▶ NodeAttributes
//! ```
//!
//! - [`NodeAttributes`] is what a cluster offers; [`MemoryAttributes`] is one of a single node.
//! - [`AttributeServer`] owns the socket and a directory with the links, and makes the
//!   [`Helpers`] that `ocf::OcfBuilder::helpers` and
//!   `registry::Registry::helpers` take.
//! - [`act_as_helper`] is the program behind the links: either `ha-attribute-helper` of this
//!   crate, or the embedding program itself, which calls it first in its `main`. Nothing has to be
//!   installed.
//!
//! An agent never waits for ever: a server that does not answer for 5 s is an error of the
//! stand-in (code 124), as one that is not there is (102, as of Pacemaker's programs).
//!
//! # Limits
//!
//! Understood is what agents of Debian's packages call. `crm_mon` tells of nodes and of resources,
//! once, as XML or text; it knows no history, failures, bans or tickets, nodes in maintenance or
//! pending are not told apart, and attributes of nodes are shown only when asked for (`-A`).
//! There is no `cibadmin`: `rabbitmq-cluster` looks for its peers with it and finds none, and
//! `crm_mon_no_validation` of the agents' library does without. Patterns, tickets and other
//! sections than those of nodes, resources' utilization and cluster properties are refused with
//! code 3.

mod command;
mod helper;
mod key;
mod memory;
mod resource;
mod server;
mod table;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use ha_core::id::{NodeName, ResourceName};

pub use self::helper::act_as_helper;
pub use self::key::{AttributeKey, Scope};
pub use self::memory::MemoryAttributes;
pub use self::resource::ResourceState;
pub use self::server::{AttributeServer, AttributeServerError, Helpers};
pub use self::table::{AttributeTable, Published};

/// The longest value, in bytes.
pub const MAX_VALUE: usize = 64 * 1024;

/// How long a change may be held back to wait for further ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(clippy::exhaustive_enums, reason = "the three ways in which agents give it")]
pub enum Dampening {
    /// As long as was said for the attribute before; at first not at all.
    #[default]
    Keep,
    /// So long if the attribute is new, else as before (`attrd_updater -v … -d …`).
    IfNew(Duration),
    /// So long from now on (`attrd_updater -B … -d …`).
    Set(Duration),
}

/// A change of one attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AttributeChange {
    /// Which attribute.
    pub key: AttributeKey,
    /// Its new value; `None`: it is taken away.
    pub value: Option<String>,
    /// How long it may be held back.
    pub dampening: Dampening,
}

impl AttributeChange {
    /// Sets an attribute, at once.
    pub fn set(key: AttributeKey, value: impl Into<String>) -> Self {
        Self { key, value: Some(value.into()), dampening: Dampening::Keep }
    }

    /// Takes an attribute away, at once.
    #[must_use]
    pub const fn delete(key: AttributeKey) -> Self {
        Self { key, value: None, dampening: Dampening::Keep }
    }

    /// Says how long it may be held back.
    #[must_use]
    pub const fn dampened(mut self, dampening: Dampening) -> Self {
        self.dampening = dampening;
        self
    }
}

/// One node of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Member {
    /// Its number, from 1; agents of storage use it as a reservation key.
    pub number: u32,
    /// Its name.
    pub name: NodeName,
    /// Whether it is there now.
    pub is_online: bool,
    /// Whether it runs no resources though it is there, as a person has asked for.
    pub is_standby: bool,
    /// Whether nobody knows what it does: it has to be fenced first.
    pub is_unclean: bool,
}

impl Member {
    /// A node that is there and runs resources.
    #[must_use]
    pub const fn new(number: u32, name: NodeName) -> Self {
        Self { number, name, is_online: true, is_standby: false, is_unclean: false }
    }
}

/// The cluster as this node sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Membership {
    /// This node.
    pub local: NodeName,
    /// All nodes, this one too.
    pub members: Vec<Member>,
    /// Whether the nodes that are there may act.
    pub is_quorate: bool,
}

impl Membership {
    /// A cluster that may act, in which `local` is one of `members`.
    #[must_use]
    pub const fn new(local: NodeName, members: Vec<Member>) -> Self {
        Self { local, members, is_quorate: true }
    }

    /// A cluster of one node.
    #[must_use]
    pub fn single(local: NodeName) -> Self {
        Self::new(local.clone(), vec![Member::new(1, local)])
    }

    /// Whether the cluster has a node of this name.
    #[must_use]
    pub fn has(&self, node: &NodeName) -> bool {
        self.members.iter().any(|member| member.name == *node)
    }
}

/// What an agent wanted of the attributes was not done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AttributeError {
    /// It has no attributes left.
    #[error("cannot set attribute {name}: there are {limit} already; delete some")]
    Full {
        /// The attribute.
        name: String,
        /// How many there may be.
        limit: usize,
    },
    /// The name is none.
    #[error(
        "cannot use attribute name {name:?}: it has 1 to {} characters, none of them a control character",
        AttributeKey::MAX_NAME
    )]
    Name {
        /// The name, cut.
        name: String,
    },
    /// The value is none.
    #[error(
        "cannot set attribute {name}: its value has {size} bytes, more than {MAX_VALUE}; write less"
    )]
    TooLarge {
        /// The attribute.
        name: String,
        /// The size of the value in bytes.
        size: usize,
    },
    /// The cluster cannot be reached now.
    #[error("cannot reach the cluster's attributes: {why}; try again")]
    Unreachable {
        /// Why.
        why: String,
    },
    /// There is no such node.
    #[error("cannot find node {node}: the cluster has none of that name; correct it")]
    UnknownNode {
        /// The name.
        node: String,
    },
    /// It does not do that.
    #[error("cannot {what}: the program that runs the agent does not offer it; do it there")]
    Unsupported {
        /// What was asked for.
        what: String,
    },
}

/// What a cluster offers to agents: attributes of nodes, and who is there.
///
/// What an agent has just set it reads back, also while the change is still held back.
///
/// # Cancel safety
///
/// A `put` or `ban` that is dropped may have happened.
#[async_trait]
pub trait NodeAttributes: fmt::Debug + Send + Sync {
    /// The value of an attribute; `None` if it is not set.
    ///
    /// # Errors
    ///
    /// [`AttributeError`].
    async fn get(&self, key: &AttributeKey) -> Result<Option<String>, AttributeError>;

    /// Changes an attribute.
    ///
    /// # Errors
    ///
    /// [`AttributeError`].
    async fn put(&self, change: AttributeChange) -> Result<(), AttributeError>;

    /// Who is in the cluster.
    ///
    /// # Errors
    ///
    /// [`AttributeError`].
    async fn membership(&self) -> Result<Membership, AttributeError>;

    /// The name of this node. Default: that of the [`membership`](Self::membership).
    ///
    /// # Errors
    ///
    /// [`AttributeError`].
    async fn local(&self) -> Result<NodeName, AttributeError> {
        Ok(self.membership().await?.local)
    }

    /// Keeps a resource away from a node until a person lets it back (`crm_resource --ban`).
    ///
    /// # Errors
    ///
    /// [`AttributeError`]; [`AttributeError::Unsupported`] by default.
    async fn ban(&self, resource: &ResourceName, node: &NodeName) -> Result<(), AttributeError> {
        let what = format!("ban {resource} from {node}");
        Err(AttributeError::Unsupported { what })
    }

    /// What each resource is on each node, all nodes' (`crm_mon`). A promoted copy that is left out
    /// is none for `redis`, `pgsql` and `galera`: they may then think that they should become it.
    ///
    /// # Errors
    ///
    /// [`AttributeError`]; [`AttributeError::Unsupported`] by default: `crm_mon` then fails, which
    /// agents take for no answer rather than for an empty cluster.
    async fn resources(&self) -> Result<Vec<ResourceState>, AttributeError> {
        let what = "tell what resources are on the nodes".to_owned();
        Err(AttributeError::Unsupported { what })
    }

    /// The attributes of a node that are no secret, transient before permanent ones of the same
    /// name (`crm_mon --show-node-attributes`).
    ///
    /// # Errors
    ///
    /// [`AttributeError`]; [`AttributeError::Unsupported`] by default.
    async fn node_attributes(
        &self,
        node: &NodeName,
    ) -> Result<BTreeMap<String, String>, AttributeError> {
        let what = format!("list the attributes of {node}");
        Err(AttributeError::Unsupported { what })
    }

    /// How much a copy of `resource` on `node` should be promoted, as its agent said last:
    /// `INFINITY` is 1,000,000; `None` if it has not said.
    ///
    /// # Errors
    ///
    /// [`AttributeError`].
    async fn promotion_score(
        &self,
        resource: &ResourceName,
        node: &NodeName,
    ) -> Result<Option<i32>, AttributeError> {
        let key = AttributeKey::promotion_score(resource, node.clone());
        Ok(self.get(&key).await?.as_deref().and_then(score))
    }
}

/// The largest score, `INFINITY`.
const INFINITY: i32 = 1_000_000;

/// The score of a copy that must not be promoted, `-INFINITY`.
#[cfg(feature = "ocf")]
pub(crate) const NEVER: i32 = -INFINITY;

/// A score as agents write it.
fn score(text: &str) -> Option<i32> {
    match text.trim() {
        "INFINITY" | "+INFINITY" => Some(INFINITY),
        "-INFINITY" => Some(-INFINITY),
        // Larger numbers are as good as INFINITY.
        number => number.parse::<i64>().ok().map(|number| {
            let limit = i64::from(INFINITY);
            i32::try_from(number.clamp(-limit, limit)).unwrap_or(INFINITY)
        }),
    }
}

macro_rules! forward {
    ($($pointer:ty),*) => {$(
        #[async_trait]
        impl<A: NodeAttributes + ?Sized> NodeAttributes for $pointer {
            async fn get(&self, key: &AttributeKey) -> Result<Option<String>, AttributeError> {
                (**self).get(key).await
            }
            async fn put(&self, change: AttributeChange) -> Result<(), AttributeError> {
                (**self).put(change).await
            }
            async fn membership(&self) -> Result<Membership, AttributeError> {
                (**self).membership().await
            }
            async fn local(&self) -> Result<NodeName, AttributeError> {
                (**self).local().await
            }
            async fn ban(
                &self,
                resource: &ResourceName,
                node: &NodeName,
            ) -> Result<(), AttributeError> {
                (**self).ban(resource, node).await
            }
            async fn promotion_score(
                &self,
                resource: &ResourceName,
                node: &NodeName,
            ) -> Result<Option<i32>, AttributeError> {
                (**self).promotion_score(resource, node).await
            }
            async fn resources(&self) -> Result<Vec<ResourceState>, AttributeError> {
                (**self).resources().await
            }
            async fn node_attributes(
                &self,
                node: &NodeName,
            ) -> Result<BTreeMap<String, String>, AttributeError> {
                (**self).node_attributes(node).await
            }
        }
    )*};
}

forward!(&A, Box<A>, Arc<A>);

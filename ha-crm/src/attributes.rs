//! What agents tell their cluster, kept in the cluster's store; and what they ask it.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use ha_agents::attributes::{
    AttributeChange, AttributeError, AttributeKey, MAX_VALUE, Member, Membership, NodeAttributes,
    ResourceState, Scope,
};
use ha_core::id::{NodeName, ResourceName};
use ha_core::role::Role;
use ha_core::time::{BootClock, Clock};
use ha_membership::Key;
use ha_membership::store::{ClusterStore, Expected, RaftStore, Write};
use tokio::sync::OnceCell;

use crate::manager::{Ask, Request, ResourceLine, Response, Status};
use crate::model::NodeStatus;

/// What the keys of all attributes begin with.
const PREFIX: &str = "attributes/";
/// How long the leader may take to say how everything is.
const ASK_LIMIT: Duration = Duration::from_secs(2);

/// The attributes of a cluster's nodes, in its store: all nodes read the same.
///
/// Made before its node, as the agents' [`Helpers`](ha_agents::attributes::Helpers) need it, and
/// [`connected`](Self::connect) once that is open; until then nothing is known.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use std::path::Path;
/// use std::sync::Arc;
/// use ha_agents::attributes::{AttributeServer, act_as_helper};
/// use ha_agents::registry::Registry;
/// use ha_crm::attributes::ClusterAttributes;
/// use ha_crm::file::NodeFile;
/// use ha_crm::node::Node;
///
/// // First in main: this program is also the one behind the names that agents call.
/// if let Some(code) = act_as_helper() {
///     std::process::exit(code.into());
/// }
/// let file = NodeFile::read(Path::new("/etc/ha/cluster.toml"))?;
/// let attributes = Arc::new(ClusterAttributes::new(file.name.clone()));
/// let program = std::env::current_exe()?;
/// let served =
///     AttributeServer::start(file.data.join("agents"), &program, attributes.clone()).await?;
/// let mut agents = Registry::new();
/// agents.helpers(served.helpers());
/// let node = Node::open(&file, agents).await?;
/// attributes.connect(&node);
/// # Ok(()) }
/// ```
///
/// # How it differs from Pacemaker's attrd
///
/// A change is there for all nodes when the call returns; it is not held back (`dampening`). What
/// counts until a node leaves counts no more when its next life begins, not as soon as it is gone.
/// Without a majority nothing is changed, and what is read is what this node knew last.
#[derive(Debug)]
pub struct ClusterAttributes {
    me: NodeName,
    cluster: OnceLock<(RaftStore, Ask)>,
    /// This life of the node, once the store has it.
    life: OnceCell<String>,
}

impl ClusterAttributes {
    /// Those of a node that is not open yet.
    #[must_use]
    pub const fn new(me: NodeName) -> Self {
        Self { me, cluster: OnceLock::new(), life: OnceCell::const_new() }
    }

    /// Joins it to its node; called again it does nothing.
    #[cfg(feature = "node")]
    pub fn connect(&self, node: &crate::node::Node) {
        self.join(node.store(), node.ask());
    }

    /// The same for a program that joins its parts by itself.
    pub fn join(&self, store: RaftStore, ask: Ask) {
        // An error means that it is joined already.
        drop(self.cluster.set((store, ask)));
    }

    fn cluster(&self) -> Result<&(RaftStore, Ask), AttributeError> {
        let why = || "this node has not joined it yet".to_owned();
        self.cluster.get().ok_or_else(|| AttributeError::Unreachable { why: why() })
    }

    async fn status(&self) -> Result<Status, AttributeError> {
        let (_, ask) = self.cluster()?;
        match ask.ask(Request::Status, ASK_LIMIT).await {
            Ok(Response::Status(status)) => Ok(*status),
            Ok(Response::Refused { reason }) => Err(AttributeError::Unreachable { why: reason }),
            Ok(Response::Done | Response::Text { .. }) => {
                let why = "the leader does not say how everything is".to_owned();
                Err(AttributeError::Unreachable { why })
            }
            Err(error) => Err(AttributeError::Unreachable { why: error.to_string() }),
        }
    }

    async fn read(&self, key: &Key) -> Result<Option<String>, AttributeError> {
        let (store, _) = self.cluster()?;
        let entry = match store.get(key).await {
            Ok(entry) => entry,
            Err(_) => store.local_get(key),
        };
        Ok(entry.map(|entry| String::from_utf8_lossy(&entry.value).into_owned()))
    }

    async fn write(&self, key: Key, value: Option<String>) -> Result<(), AttributeError> {
        let (store, _) = self.cluster()?;
        let value: Option<Arc<[u8]>> = value.map(|value| value.into_bytes().into());
        // Most agents say the same again and again: a read costs less.
        if let Ok(known) = store.get(&key).await
            && known.map(|entry| entry.value) == value
        {
            return Ok(());
        }
        let written = store.write(Write { key, expected: Expected::Any, value }).await;
        written.map(|_| ()).map_err(|error| AttributeError::Unreachable { why: error.to_string() })
    }

    /// The life of a node: what was said in another one counts no more.
    async fn life_of(&self, node: &NodeName) -> Result<String, AttributeError> {
        let key = key(&format!("{PREFIX}life/{node}"))?;
        if *node != self.me {
            return Ok(self.read(&key).await?.unwrap_or_default());
        }
        let begin = async || {
            let life = BootClock::new().wall().as_micros().to_string();
            self.write(key, Some(life.clone())).await.map(|()| life)
        };
        self.life.get_or_try_init(begin).await.cloned()
    }
}

/// Whose passing attribute it is, if it is one.
const fn passing(scope: &Scope) -> Option<&NodeName> {
    match scope {
        Scope::Private(node) | Scope::Transient(node) => Some(node),
        Scope::Cluster { .. }
        | Scope::Permanent(_)
        | Scope::ResourceUtilization(_)
        | Scope::Utilization(_) => None,
    }
}

fn key(text: &str) -> Result<Key, AttributeError> {
    text.parse().map_err(|_| AttributeError::Name { name: text.chars().take(80).collect() })
}

/// Where an attribute is kept; whose it is comes before its name, which may be anything.
fn place(key: &AttributeKey) -> Result<Key, AttributeError> {
    let name = key.name();
    self::key(&match key.scope() {
        Scope::Cluster { set } => format!("{PREFIX}cluster/{set}/{name}"),
        Scope::Permanent(node) => format!("{PREFIX}permanent/{node}/{name}"),
        Scope::Private(node) => format!("{PREFIX}private/{node}/{name}"),
        Scope::ResourceUtilization(resource) => format!("{PREFIX}resource/{resource}/{name}"),
        Scope::Transient(node) => format!("{PREFIX}transient/{node}/{name}"),
        Scope::Utilization(node) => format!("{PREFIX}utilization/{node}/{name}"),
    })
}

/// What was said in this life; a life is a number.
fn of_life(kept: &str, life: &str) -> Option<String> {
    kept.split_once(' ').filter(|(of, _)| *of == life).map(|(_, value)| value.to_owned())
}

/// What a resource is on the nodes that the leader has heard of it.
fn states(name: &ResourceName, line: &ResourceLine, agent: &str) -> Vec<ResourceState> {
    let states = line.active.iter().map(|node| {
        let role = match (line.promotable, line.promoted.contains(node)) {
            (_, true) => Role::Promoted,
            (true, false) => Role::Unpromoted,
            (false, false) => Role::Started,
        };
        let mut state = ResourceState::new(name.clone(), agent, node.clone(), role);
        state.is_failed = line.faults.contains_key(node);
        // Agents look for the copies of a clone by a name that ends so.
        match format!("{name}-clone").parse() {
            Ok(clone) if line.promotable => state.in_clone(clone),
            _ => state,
        }
    });
    states.collect()
}

#[async_trait]
impl NodeAttributes for ClusterAttributes {
    async fn get(&self, key: &AttributeKey) -> Result<Option<String>, AttributeError> {
        let kept = self.read(&place(key)?).await?;
        match (kept, passing(key.scope())) {
            (Some(kept), Some(node)) => Ok(of_life(&kept, &self.life_of(node).await?)),
            (kept, _) => Ok(kept),
        }
    }

    async fn put(&self, change: AttributeChange) -> Result<(), AttributeError> {
        let AttributeChange { key, mut value, .. } = change;
        if let Some(size) = value.as_ref().map(String::len).filter(|size| *size > MAX_VALUE) {
            return Err(AttributeError::TooLarge { name: key.name().to_owned(), size });
        }
        if let (Some(said), Some(node)) = (&value, passing(key.scope())) {
            value = Some(format!("{} {said}", self.life_of(node).await?));
        }
        self.write(place(&key)?, value).await
    }

    async fn local(&self) -> Result<NodeName, AttributeError> {
        Ok(self.me.clone())
    }

    async fn membership(&self) -> Result<Membership, AttributeError> {
        let status = self.status().await?;
        let nodes = status.nodes.iter().filter(|(_, line)| !line.witness);
        let members = (1..).zip(nodes).map(|(number, (name, line))| {
            let mut member = Member::new(number, name.clone());
            member.is_online = matches!(line.status, NodeStatus::Online | NodeStatus::Standby);
            member.is_standby = line.status == NodeStatus::Standby;
            member.is_unclean = line.status == NodeStatus::Unclean;
            member
        });
        Ok(Membership::new(self.me.clone(), members.collect()))
    }

    async fn resources(&self) -> Result<Vec<ResourceState>, AttributeError> {
        let status = self.status().await?;
        let all = status.resources.iter();
        Ok(all.flat_map(|(name, line)| states(name, line, &line.agent)).collect())
    }

    async fn node_attributes(
        &self,
        node: &NodeName,
    ) -> Result<BTreeMap<String, String>, AttributeError> {
        let (store, _) = self.cluster()?;
        let life = self.life_of(node).await?;
        let mut found = BTreeMap::new();
        for kind in ["permanent", "transient"] {
            let prefix = format!("{PREFIX}{kind}/{node}/");
            for (key, entry) in store.local_list(&prefix).0 {
                let name = key.as_str().strip_prefix(&prefix).unwrap_or_default();
                let kept = String::from_utf8_lossy(&entry.value).into_owned();
                let value = if kind == "transient" { of_life(&kept, &life) } else { Some(kept) };
                if let Some(value) = value {
                    found.insert(name.to_owned(), value);
                }
            }
        }
        Ok(found)
    }
}

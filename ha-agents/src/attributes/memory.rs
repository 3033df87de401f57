//! The attributes of a node that is alone, and of tests.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use ha_core::driver::pause;
use ha_core::id::{NodeName, ResourceName};
use ha_core::machine::Machine;
use ha_core::time::{BootClock, Clock};
use tokio::sync::Notify;

use super::{
    AttributeChange, AttributeError, AttributeKey, AttributeTable, Membership, NodeAttributes,
    Published, ResourceState, Scope,
};

/// How many changes wait to be fetched; older ones are dropped.
const MAX_NEWS: usize = 10_000;

/// How many resources are kept; more than a cluster has.
const MAX_RESOURCES: usize = 10_000;

/// Attributes in memory: for a program that runs the agents of one node, and for tests.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use ha_agents::attributes::{AttributeChange, AttributeKey, MemoryAttributes, Membership};
/// use ha_agents::attributes::NodeAttributes;
///
/// let (n1, redis) = ("n1".parse()?, "redis".parse()?);
/// let attributes = MemoryAttributes::new(Membership::single("n1".parse()?));
/// let key = AttributeKey::promotion_score(&redis, "n1".parse()?);
/// attributes.put(AttributeChange::set(key, "INFINITY")).await?;
/// assert_eq!(attributes.promotion_score(&redis, &n1).await?, Some(1_000_000));
/// assert_eq!(attributes.published().await[0].value.as_deref(), Some("INFINITY"));
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Debug)]
pub struct MemoryAttributes {
    state: Mutex<State>,
    changed: Arc<Notify>,
}

#[derive(Debug)]
struct State {
    membership: Membership,
    resources: Vec<ResourceState>,
    table: AttributeTable,
    news: Vec<Published>,
    bans: Vec<(ResourceName, NodeName)>,
}

impl MemoryAttributes {
    /// No attributes, in such a cluster.
    #[must_use]
    pub fn new(membership: Membership) -> Self {
        let (resources, news, bans) = (Vec::new(), Vec::new(), Vec::new());
        let table = AttributeTable::new();
        let state = Mutex::new(State { membership, resources, table, news, bans });
        Self { state, changed: Arc::default() }
    }

    /// Says who is in the cluster from now on. Attributes of a node that has gone stay.
    pub fn set_membership(&self, membership: Membership) {
        self.state().membership = membership;
    }

    /// Says what a resource is on a node from now on, for [`resources`](NodeAttributes::resources);
    /// a stopped one is forgotten. At most 10,000 are kept; more are passed over.
    pub fn set_resource(&self, resource: ResourceState) {
        let resources = &mut self.state().resources;
        resources.retain(|old| (&old.resource, &old.node) != (&resource.resource, &resource.node));
        if resource.role.is_active() && resources.len() < MAX_RESOURCES {
            resources.push(resource);
        }
    }

    /// What was published since the last call; waits until there is something.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: nothing is lost.
    pub async fn published(&self) -> Vec<Published> {
        loop {
            let changed = self.changed.notified();
            let deadline = {
                let mut state = self.state();
                state.tick();
                if !state.news.is_empty() {
                    return std::mem::take(&mut state.news);
                }
                state.table.deadline()
            };
            let wait = async {
                match deadline {
                    Some(deadline) => pause(deadline.since(BootClock::new().now())).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! { biased;
                () = changed => {}
                // Without a timer the next change wakes it.
                late = wait => if late.is_err() { self.changed.notified().await },
            }
        }
    }

    /// Who was kept away from where, oldest first.
    #[must_use]
    pub fn bans(&self) -> Vec<(ResourceName, NodeName)> {
        self.state().bans.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere cannot have left the table half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn tick(&mut self) {
        self.table.tick(BootClock::new().now(), &mut self.news);
        self.cut();
    }

    fn cut(&mut self) {
        let surplus = self.news.len().saturating_sub(MAX_NEWS);
        self.news.drain(..surplus);
    }
}

#[async_trait]
impl NodeAttributes for MemoryAttributes {
    async fn get(&self, key: &AttributeKey) -> Result<Option<String>, AttributeError> {
        Ok(self.state().table.get(key).map(str::to_owned))
    }

    async fn put(&self, change: AttributeChange) -> Result<(), AttributeError> {
        let mut state = self.state();
        let state = &mut *state;
        state.table.check(&change)?;
        state.table.handle(BootClock::new().now(), change, &mut state.news);
        state.cut();
        self.changed.notify_waiters();
        Ok(())
    }

    async fn membership(&self) -> Result<Membership, AttributeError> {
        Ok(self.state().membership.clone())
    }

    async fn ban(&self, resource: &ResourceName, node: &NodeName) -> Result<(), AttributeError> {
        let ban = (resource.clone(), node.clone());
        let bans = &mut self.state().bans;
        if bans.len() < MAX_NEWS && !bans.contains(&ban) {
            bans.push(ban);
        }
        Ok(())
    }

    async fn resources(&self) -> Result<Vec<ResourceState>, AttributeError> {
        Ok(self.state().resources.clone())
    }

    async fn node_attributes(
        &self,
        node: &NodeName,
    ) -> Result<BTreeMap<String, String>, AttributeError> {
        let state = self.state();
        let (mut transient, mut permanent) = (BTreeMap::new(), BTreeMap::new());
        for (key, value) in state.table.iter() {
            let kept = match key.scope() {
                Scope::Transient(of) if of == node => &mut transient,
                Scope::Permanent(of) if of == node => &mut permanent,
                Scope::Cluster { .. }
                | Scope::Permanent(_)
                | Scope::Private(_)
                | Scope::ResourceUtilization(_)
                | Scope::Transient(_)
                | Scope::Utilization(_) => continue,
            };
            kept.insert(key.name().to_owned(), value.to_owned());
        }
        permanent.append(&mut transient);
        Ok(permanent)
    }
}

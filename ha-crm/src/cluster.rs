//! A cluster's configuration in code, with the one distinction as types.

use std::collections::btree_map::Entry;
use std::fmt;
use std::marker::PhantomData;

use ha_core::config::ConfigError;
use ha_core::guarantee::{AtLeastOne, AtMostOne, Claim, Guarantee, GuaranteeKind};
use ha_core::id::{NodeName, ResourceName};

use crate::model::{
    ClusterConfig, ClusterOptions, Colocation, Fencing, Group, Location, Order, RawClusterConfig,
    Resource, VoteRules,
};

/// The builder has not been given it.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Missing;

/// The builder has been given it.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Given;

/// Holds for a builder that was given [`quorum`](ClusterBuilder::quorum).
#[diagnostic::on_unimplemented(
    message = "an at-most-one resource needs quorum: without it two parts of the cluster would run it",
    label = "`.quorum(…)` was not called before",
    note = "call `.quorum(VoteRules::majority())` first, or use `.at_least_one(…)` if it may run twice"
)]
pub trait HasQuorum: sealed::Sealed {}

/// Holds for a builder that was given [`fencing`](ClusterBuilder::fencing).
#[diagnostic::on_unimplemented(
    message = "an at-most-one resource needs fencing: without it a frozen node would go on writing",
    label = "`.fencing(…)` was not called before",
    note = "call `.fencing(Fencing::device(…))` first, or use `.at_least_one(…)` if it may run twice"
)]
pub trait HasFencing: sealed::Sealed {}

impl HasQuorum for Given {}
impl HasFencing for Given {}

mod sealed {
    #[expect(unnameable_types, reason = "that is what seals a trait")]
    pub trait Sealed {}
    impl Sealed for super::Given {}
    impl Sealed for super::Missing {}
}

/// The way to a [`ClusterConfig`] in code.
///
/// An at-most-one resource is taken only once quorum and fencing were given:
///
/// ```compile_fail
/// use ha_crm::Cluster;
/// use ha_crm::model::Resource;
///
/// let db = Resource::new("db".parse().unwrap(), "ocf:heartbeat:pgsql");
/// Cluster::builder().node("n1".parse().unwrap()).at_most_one(db); // no quorum, no fencing
/// ```
///
/// ```
/// use ha_crm::Cluster;
/// use ha_crm::model::{FenceDevice, Fencing, Resource, VoteRules};
///
/// let node = || "n1".parse().unwrap();
/// let config = Cluster::builder()
///     .node(node())
///     .at_least_one(Resource::new("proxy".parse()?, "native:process")) // needs neither
///     .quorum(VoteRules::majority())
///     .fencing(Fencing::device("pdu", FenceDevice::new("fence_apc", [node()])))
///     .at_most_one(Resource::new("db".parse()?, "ocf:heartbeat:pgsql"))
///     .build()?;
/// assert_eq!(config.resources().len(), 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Cluster;

impl Cluster {
    /// A configuration without anything.
    pub fn builder() -> ClusterBuilder<Missing, Missing> {
        ClusterBuilder { raw: RawClusterConfig::default(), twice: Vec::new(), state: PhantomData }
    }
}

/// Collects a [`ClusterConfig`]; `Q` and `F` say whether quorum and fencing were given.
#[must_use = "a builder does nothing until build() is called"]
pub struct ClusterBuilder<Q, F> {
    raw: RawClusterConfig,
    /// Resources that were given more than once.
    twice: Vec<ResourceName>,
    state: PhantomData<(Q, F)>,
}

impl<Q, F> ClusterBuilder<Q, F> {
    /// Adds a member.
    pub fn node(mut self, node: NodeName) -> Self {
        self.raw.nodes.push(node);
        self
    }

    /// Adds members.
    pub fn nodes(mut self, nodes: impl IntoIterator<Item = NodeName>) -> Self {
        self.raw.nodes.extend(nodes);
        self
    }

    /// Adds a member that only votes and runs nothing: the third vote of a cluster of two nodes.
    pub fn witness(mut self, node: NodeName) -> Self {
        self.raw.nodes.push(node.clone());
        self.raw.witnesses.push(node);
        self
    }

    /// Says how quorum is found.
    pub fn quorum(mut self, rules: VoteRules) -> ClusterBuilder<Given, F> {
        self.raw.quorum = Some(rules);
        ClusterBuilder { raw: self.raw, twice: self.twice, state: PhantomData }
    }

    /// Says how nodes are fenced.
    pub fn fencing(mut self, fencing: Fencing) -> ClusterBuilder<Q, Given> {
        self.raw.fencing = Some(fencing);
        ClusterBuilder { raw: self.raw, twice: self.twice, state: PhantomData }
    }

    /// Adds a resource that every online node runs, also in a split.
    pub fn at_least_one(self, resource: impl Into<Claim<Resource, AtLeastOne>>) -> Self {
        self.resource(resource.into())
    }

    /// Adds a resource that at most one node runs.
    ///
    /// What was claimed for the other guarantee is not taken:
    ///
    /// ```compile_fail
    /// use ha_core::guarantee::{AtLeastOne, Claim};
    /// # use ha_crm::Cluster;
    /// # use ha_crm::model::{Fencing, Resource, VoteRules};
    /// # let proxy = Resource::new("proxy".parse().unwrap(), "native:process");
    /// # let builder = Cluster::builder().quorum(VoteRules::majority()).fencing(Fencing::default());
    /// builder.at_most_one(Claim::<_, AtLeastOne>::new(proxy));
    /// ```
    pub fn at_most_one(self, resource: impl Into<Claim<Resource, AtMostOne>>) -> Self
    where
        Q: HasQuorum,
        F: HasFencing,
    {
        self.resource(resource.into())
    }

    /// Adds a group of resources that are given by their own calls.
    pub fn group(mut self, name: ResourceName, group: Group) -> Self {
        match self.raw.groups.entry(name) {
            Entry::Occupied(entry) => self.twice.push(entry.key().clone()),
            Entry::Vacant(free) => {
                free.insert(group);
            }
        }
        self
    }

    /// Adds how much something wants to be on a node.
    pub fn location(mut self, location: Location) -> Self {
        self.raw.constraints.locations.push(location);
        self
    }

    /// Adds what wants to be together, or apart.
    pub fn colocation(mut self, colocation: Colocation) -> Self {
        self.raw.constraints.colocations.push(colocation);
        self
    }

    /// Adds what waits for what.
    pub fn order(mut self, order: Order) -> Self {
        self.raw.constraints.orders.push(order);
        self
    }

    /// Sets the settings of the whole cluster.
    pub fn options(mut self, options: ClusterOptions) -> Self {
        self.raw.options = options;
        self
    }

    /// Checks everything.
    ///
    /// # Errors
    ///
    /// All problems at once: no or doubled nodes, resources or devices that name nodes that do not
    /// exist, a resource given twice, a node that no device can fence, constraints on what does
    /// not exist or that go round in a circle.
    pub fn build(self) -> Result<ClusterConfig, ConfigError> {
        let checked = ClusterConfig::try_from(self.raw);
        let mut problems = ha_core::config::Problems::new();
        for resource in self.twice {
            problems.add("resources and groups", resource, "each name once");
        }
        match checked {
            Ok(config) => problems.into_result(config),
            Err(error) => {
                problems.absorb(error.clone());
                Err(problems.into_result(()).err().unwrap_or(error))
            }
        }
    }

    fn resource<G: GuaranteeKind>(mut self, claim: Claim<Resource, G>) -> Self {
        let guarantee: Guarantee = claim.guarantee();
        let mut resource = claim.into_inner();
        resource.raw.guarantee = guarantee;
        match self.raw.resources.entry(resource.name.clone()) {
            Entry::Occupied(_) => self.twice.push(resource.name),
            Entry::Vacant(free) => {
                free.insert(resource.raw);
            }
        }
        self
    }
}

impl<Q, F> fmt::Debug for ClusterBuilder<Q, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClusterBuilder").field("raw", &self.raw).finish_non_exhaustive()
    }
}

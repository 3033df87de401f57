//! The promoted role of a resource, as a resource of its own.

use std::collections::BTreeMap;

use ha_core::guarantee::Guarantee;
use ha_core::id::{NodeName, ResourceName};

use super::config::{ClusterConfig, RawClusterConfig};
use super::resource::RawResource;
use super::score::Score;

/// What is behind the name of a resource in the name of its promoted role.
const SUFFIX: &str = ":promoted";

/// The name of a resource's promoted role, by which constraints and people speak of it:
/// `db:promoted`. `None` if the name is too long for that.
///
/// ```
/// use ha_crm::model::promoted_role;
///
/// let db = "db".parse()?;
/// assert_eq!(promoted_role(&db).unwrap().as_str(), "db:promoted");
/// # Ok::<(), ha_core::id::NameError>(())
/// ```
#[must_use]
pub fn promoted_role(resource: &ResourceName) -> Option<ResourceName> {
    format!("{resource}{SUFFIX}").parse().ok()
}

impl RawClusterConfig {
    /// The configuration in which every promotable resource is two: its copies, which are
    /// at-least-one, and its promoted role, which is at-most-one, goes with a copy and comes after
    /// it. `scores` says how well which node would do; what it does not name will not do.
    ///
    /// So all that holds of at-most-one resources holds of promotions.
    pub(crate) fn with_promotions(
        &self,
        scores: impl Fn(&ResourceName) -> BTreeMap<NodeName, Score>,
    ) -> Self {
        let mut raw = self.clone();
        let promotable = self.resources.iter().filter(|(_, resource)| resource.promotable);
        for (name, resource) in promotable {
            let Some(role) = promoted_role(name) else { continue };
            let mut locations: BTreeMap<NodeName, Score> =
                self.nodes.iter().map(|node| (node.clone(), Score::NEVER)).collect();
            locations.extend(scores(name));
            let promotion = RawResource {
                locations,
                with: vec![name.clone()],
                after: vec![name.clone()],
                migration_threshold: None,
                ..resource.clone()
            };
            let copies = RawResource {
                guarantee: Guarantee::AtLeastOne,
                promotable: false,
                ..resource.clone()
            };
            raw.resources.insert(name.clone(), copies);
            raw.resources.insert(role, promotion);
        }
        raw
    }

    /// The resource whose promoted role has this name.
    pub(crate) fn promoted_of(&self, role: &ResourceName) -> Option<&ResourceName> {
        let name: ResourceName = role.as_str().strip_suffix(SUFFIX)?.parse().ok()?;
        let (name, resource) = self.resources.get_key_value(&name)?;
        resource.promotable.then_some(name)
    }

    /// Whether it is the name of a resource, a promoted role or a group.
    pub(crate) fn knows(&self, name: &ResourceName) -> bool {
        self.resources.contains_key(name)
            || self.groups.contains_key(name)
            || self.promoted_of(name).is_some()
    }
}

impl ClusterConfig {
    /// As of [`RawClusterConfig`]; `None` if nothing is promotable.
    pub(crate) fn with_promotions(
        &self,
        scores: impl Fn(&ResourceName) -> BTreeMap<NodeName, Score>,
    ) -> Option<Self> {
        let any = self.resources().values().any(|resource| resource.promotable);
        any.then(|| self.with_raw(self.raw().with_promotions(scores)))
    }

    /// As of [`RawClusterConfig`].
    pub(crate) fn promoted_of(&self, role: &ResourceName) -> Option<&ResourceName> {
        self.raw().promoted_of(role)
    }
}

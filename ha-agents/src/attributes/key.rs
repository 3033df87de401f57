//! Which attribute is meant.

use std::fmt;

use ha_core::id::{NodeName, ResourceName};

use super::AttributeError;

/// Whose attribute it is, and how long it lives.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(clippy::exhaustive_enums, reason = "a store has to decide on each")]
pub enum Scope {
    /// The cluster's, in the set of properties of this name (`crm_attribute --type crm_config`).
    Cluster {
        /// The set.
        set: String,
    },
    /// A node's, for ever (`--lifetime forever`).
    Permanent(NodeName),
    /// A node's, until it leaves, and no matter for policy (`attrd_updater --private`).
    Private(NodeName),
    /// A resource's utilization (`crm_resource --utilization`).
    ResourceUtilization(ResourceName),
    /// A node's, until it leaves (`--lifetime reboot`).
    Transient(NodeName),
    /// A node's capacity (`crm_attribute --utilization`).
    Utilization(NodeName),
}

/// The name of an attribute, with whose it is.
///
/// ```
/// use ha_agents::attributes::{AttributeKey, Scope};
///
/// let n1 = "n1".parse().unwrap();
/// let key = AttributeKey::new(Scope::Transient(n1), "pingd")?;
/// assert_eq!(key.to_string(), "pingd of n1");
/// # Ok::<(), ha_agents::attributes::AttributeError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttributeKey {
    scope: Scope,
    name: String,
}

impl AttributeKey {
    /// The longest name, in characters.
    pub const MAX_NAME: usize = 255;

    /// An attribute.
    ///
    /// # Errors
    ///
    /// [`AttributeError::Name`]: empty, too long, or with control characters.
    pub fn new(scope: Scope, name: impl Into<String>) -> Result<Self, AttributeError> {
        let name = name.into();
        let length = name.chars().count();
        if length == 0 || length > Self::MAX_NAME || name.chars().any(char::is_control) {
            let name = name.chars().take(80).collect();
            return Err(AttributeError::Name { name });
        }
        Ok(Self { scope, name })
    }

    /// The attribute in which agents keep the promotion score of `resource` on `node`.
    #[must_use]
    pub fn promotion_score(resource: &ResourceName, node: NodeName) -> Self {
        Self { scope: Scope::Transient(node), name: format!("master-{resource}") }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whose it is.
    #[must_use]
    pub const fn scope(&self) -> &Scope {
        &self.scope
    }
}

impl fmt::Display for AttributeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of ", self.name)?;
        match &self.scope {
            Scope::Cluster { set } => write!(f, "the cluster ({set})"),
            Scope::Permanent(node) => write!(f, "{node} (permanent)"),
            Scope::Private(node) => write!(f, "{node} (private)"),
            Scope::ResourceUtilization(resource) => write!(f, "resource {resource}"),
            Scope::Transient(node) => node.fmt(f),
            Scope::Utilization(node) => write!(f, "{node} (utilization)"),
        }
    }
}

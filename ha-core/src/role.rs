//! The roles a resource can have on a node.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a resource is on one node (Pacemaker's roles).
///
/// Ordered by how much it does: `Stopped < Started`, `Unpromoted < Promoted`.
///
/// ```
/// use ha_core::role::Role;
///
/// assert!(Role::Promoted.is_active());
/// assert!(Role::Unpromoted < Role::Promoted);
/// assert_eq!("promoted".parse(), Ok(Role::Promoted));
/// ```
///
/// # Source
///
/// OCF Resource Agent API 1.1, section "Promotable resources"; Pacemaker Explained, "Roles".
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
#[expect(clippy::exhaustive_enums, reason = "OCF defines these; a policy must decide on each")]
pub enum Role {
    /// Not running here.
    #[default]
    Stopped,
    /// Running; the kind of resource knows no promotion.
    Started,
    /// Running as a copy (formerly "slave").
    Unpromoted,
    /// Running as the one that takes writes (formerly "master").
    Promoted,
}

impl Role {
    /// All roles, from the least to the most active.
    pub const ALL: [Self; 4] = [Self::Stopped, Self::Started, Self::Unpromoted, Self::Promoted];

    /// Whether the resource runs at all.
    #[must_use]
    pub const fn is_active(self) -> bool {
        !matches!(self, Self::Stopped)
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Started => "started",
            Self::Unpromoted => "unpromoted",
            Self::Promoted => "promoted",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The text is not the name of a role.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot read role {0:?}: use stopped, started, unpromoted or promoted")]
pub struct RoleError(String);

impl std::str::FromStr for Role {
    type Err = RoleError;

    fn from_str(text: &str) -> Result<Self, RoleError> {
        Self::ALL
            .into_iter()
            .find(|role| role.name() == text)
            .ok_or_else(|| RoleError(text.to_owned()))
    }
}

//! What a fencing that succeeded is worth.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How it is known that a node was off, weakest first.
///
/// All three are good enough to start the node's resources elsewhere; the weaker rest on more
/// assumptions, which a report should name. What is not even assumed is an error.
///
/// ```
/// use ha_agents::fence::Evidence;
///
/// // A level of two devices is worth what its weaker device is worth.
/// let level = [Evidence::VerifiedOff, Evidence::AssumedAfterTimeout];
/// assert_eq!(level.into_iter().min(), Some(Evidence::AssumedAfterTimeout));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(clippy::exhaustive_enums, reason = "who starts resources elsewhere must weigh each")]
pub enum Evidence {
    /// So much time has passed that the node's own watchdog must have reset it: SBD's message
    /// wait, diskless SBD. Rests on the watchdog, and on clocks that run at about one speed.
    AssumedAfterTimeout,
    /// The target, or a device that cannot look, took the order and said that it was carried out.
    Acknowledged,
    /// The power was seen to be off, by the device as part of the action or by a status after it.
    VerifiedOff,
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AssumedAfterTimeout => "assumed after timeout",
            Self::Acknowledged => "acknowledged",
            Self::VerifiedOff => "verified off",
        })
    }
}

/// What is done to a node's power.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(clippy::exhaustive_enums, reason = "the actions of the fence agent API on a node")]
pub enum FenceAction {
    /// Power is cut, and stays so.
    Off,
    /// Power is given; with fabric fencing: the node may reach its storage again.
    On,
    /// Off, then on.
    Reboot,
}

impl FenceAction {
    /// Its name in the fence agent API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::On => "on",
            Self::Reboot => "reboot",
        }
    }

    /// Whether it makes a node harmless.
    #[must_use]
    pub const fn fences(self) -> bool {
        matches!(self, Self::Off | Self::Reboot)
    }
}

impl fmt::Display for FenceAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

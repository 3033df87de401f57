//! The cluster as data: what is wanted, and what is.

mod config;
mod resource;
mod score;
mod state;

pub use self::config::{ClusterConfig, FenceDevice, Fencing, RawClusterConfig, VoteRules};
pub use self::resource::{RawResource, Resource};
pub use self::score::Score;
pub use self::state::{ClusterState, NodeStatus};

//! The cluster as data: what is wanted, and what is.

mod check;
mod config;
mod constraint;
mod fencing;
mod group;
mod operation;
mod options;
mod promotion;
mod resource;
pub mod rule;
mod score;
pub(crate) mod span;
mod state;

pub use self::config::{ClusterConfig, RawClusterConfig, VoteRules};
pub use self::constraint::{Colocation, Constraints, Location, Order, OrderKind, Origin};
pub use self::fencing::{FenceDevice, FenceMethod, Fencing};
pub use self::group::Group;
pub use self::operation::{OnFail, Operation, OperationName};
pub use self::options::{ClusterOptions, NoQuorumPolicy};
pub use self::promotion::promoted_role;
pub use self::resource::{MultipleActive, RawResource, Resource};
pub use self::score::Score;
pub use self::state::{ClusterState, Failures, NodeStatus, ResourceStatus};

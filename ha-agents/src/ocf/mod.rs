//! OCF resource agents: the scripts of Debian's `resource-agents` and whatever speaks like them.
//!
//! [`AgentMetadata`] reads what an agent says of itself; with the feature `tokio`, `Ocf` runs the
//! agent as a [`ResourceAgent`](crate::ResourceAgent).

#[cfg(feature = "tokio")]
mod exec;
mod metadata;
#[cfg(feature = "tokio")]
mod script;
mod values;

#[cfg(feature = "tokio")]
pub use self::exec::{Ocf, OcfBuilder, OcfError};
pub use self::metadata::{
    ActionMetadata, AgentMetadata, MAX_METADATA, MetadataError, ParameterMetadata,
};
pub use self::values::{ParameterChange, ParameterType, ParameterValue};

//! Full-mesh heartbeats and agreed views: every member speaks to every member.
//!
//! # How long it takes
//!
//! A member that dies is *suspect* at the others between `suspect_after` minus one interval and
//! `suspect_after` after its last heartbeat, and *failed* (a view without it is agreed) after
//! `dead_after` and two message delays: with [`MeshConfig::lan`] 0.6 to 0.7 s. A member that hears
//! nobody but is heard by all is failed after 1.5 × `dead_after`. One that leaves is gone after two
//! message delays.
//!
//! # Why at most one part is quorate
//!
//! A node vouches for another as a member of its view by saying the time of that one's heartbeat
//! back. It agrees to a view without a member only when it has vouched for nothing of it for
//! `dead_after`; the member counts a vouching voter only for [`MeshConfig::voucher`], from the
//! moment it *sent* that heartbeat. Two majorities share a voter. So whoever is not in a new view
//! has lost quorum before anybody is quorate in the new view. A node that has just started neither
//! votes nor vouches for `dead_after`, as it does not know what its earlier life said. Exceptions: a clock whose rate is off by more
//! than a tenth, and a process that was paused and acts before its mesh was ticked.

mod config;
mod machine;
mod peer;
#[cfg(feature = "tokio")]
mod service;
mod views;
pub mod wire;

use ha_core::id::NodeName;

pub use self::config::{MeshConfig, MeshConfigBuilder};
pub use self::machine::{Mesh, MeshEvent, MeshInput, MeshOutput, MeshStats};
#[cfg(feature = "tokio")]
pub use self::service::{MeshError, MeshService, MeshTally};

/// The low bits of a view's number, which say who made it.
const TAG_BITS: u32 = 20;

/// The name as a small number (FNV-1a, folded); two members must not have the same.
fn tag(name: &NodeName) -> u64 {
    let hash = name.as_str().bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    (hash ^ (hash >> TAG_BITS) ^ (hash >> (2 * TAG_BITS))) & ((1 << TAG_BITS) - 1)
}

//! The tests of ha-membership that go through its public face.
#![expect(clippy::expect_used, reason = "helpers of tests, too, may end a test")]

#[path = "it/bus.rs"]
mod bus;
#[cfg(feature = "raft")]
#[path = "it/channel.rs"]
mod channel;
#[path = "it/detector.rs"]
mod detector;
#[path = "it/invariants/mod.rs"]
mod invariants;
#[path = "it/lease.rs"]
mod lease;
#[path = "it/mesh.rs"]
mod mesh;
#[path = "it/quorum.rs"]
mod quorum;
#[cfg(feature = "raft")]
#[path = "it/raft/mod.rs"]
mod raft;
#[path = "it/roster.rs"]
mod roster;
#[path = "it/sealed.rs"]
mod sealed;
#[path = "it/store.rs"]
mod store;

use ha_core::id::NodeName;

/// The name of the node number `index`.
fn name(index: usize) -> NodeName {
    format!("n{index}").parse().expect("a name")
}

/// Runs a future that needs nothing but to be polled.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(future)
}

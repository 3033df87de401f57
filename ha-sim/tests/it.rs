//! The tests of ha-sim that go through its public face.

#[path = "it/beacon.rs"]
mod beacon;
#[path = "it/election.rs"]
mod election;
#[path = "it/faults.rs"]
mod faults;
#[path = "it/replay.rs"]
mod replay;

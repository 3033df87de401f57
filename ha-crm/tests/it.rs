//! The tests of ha-crm that go through its public face.
#![expect(clippy::expect_used, reason = "helpers of tests, too, may end a test")]

#[cfg(feature = "vip")]
#[path = "it/address.rs"]
mod address;
#[cfg(feature = "cib")]
#[path = "it/check/mod.rs"]
mod check;
#[cfg(feature = "cib")]
#[path = "it/cib.rs"]
mod cib;
#[cfg(feature = "cib")]
#[path = "it/cib_forms.rs"]
mod cib_forms;
#[path = "it/cluster/mod.rs"]
mod cluster;
#[path = "it/config.rs"]
mod config;
#[path = "it/decisions.rs"]
mod decisions;
#[cfg(feature = "cib")]
#[path = "it/hostile.rs"]
mod hostile;
#[path = "it/manager_laws.rs"]
mod manager_laws;
#[path = "it/promoted_alone.rs"]
mod promoted_alone;
#[path = "it/promotion.rs"]
mod promotion;
#[path = "it/properties.rs"]
mod properties;

use ha_core::id::{NodeName, ResourceName};
use ha_core::time::WallTime;
use ha_crm::model::ClusterState;
use ha_crm::{Decision, PolicyEngine, ScorePolicy};

fn node(index: usize) -> NodeName {
    format!("n{index}").parse().expect("a name")
}

fn resource(index: usize) -> ResourceName {
    format!("r{index}").parse().expect("a name")
}

fn decide(state: &ClusterState) -> Decision {
    let engine: Box<dyn PolicyEngine> = Box::new(ScorePolicy::new());
    engine.decide(state, WallTime::from_micros(0))
}

#[test]
fn an_at_most_one_resource_without_quorum_and_fencing_does_not_compile() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("tests/ui/*.rs");
}

//! Whole clusters in the simulator: mesh, quorum and manager of every node, over a modelled store,
//! with failing fence devices, stores and services.

mod host;
mod invariants;
mod model;

use std::cell::RefCell;
use std::fmt::Write;
use std::rc::Rc;
use std::time::Duration;

use ha_core::id::NodeName;
use ha_crm::Cluster;
use ha_crm::manager::{Input, ManagerConfigBuilder, Request, RequestId, Safeguards};
use ha_crm::model::{ClusterConfig, FenceDevice, Fencing, Resource, VoteRules, promoted_role};
use ha_sim::{Chaos, Kind, NodeIndex, Quality, Seeds, Violation, World};

use self::host::{BothInput, Host};
use self::invariants::{
    available_again_after_heal, fenced_before_started_elsewhere, no_action_without_quorum,
    one_active_instance, stopped_in_time_without_quorum, tokens_grow,
};
use self::model::{Model, act};
use crate::{node, resource};

const SLICE: Duration = Duration::from_millis(10);

fn index(name: &NodeName) -> usize {
    name.as_str().trim_start_matches('n').parse().expect("n and a number")
}

/// Two databases, one of them after and with the other, a third, a proxy on every node, and a
/// database with copies of which one is promoted.
fn config(nodes: usize, witnesses: usize) -> ClusterConfig {
    let names = || (0..nodes).map(node);
    let single = |number: usize| {
        Resource::new(resource(number), "test").failure_timeout(Duration::from_secs(3))
    };
    let mut builder = Cluster::builder()
        .nodes(names())
        .quorum(VoteRules::majority())
        .fencing(Fencing::device("switch", FenceDevice::new("fence_test", names())))
        .at_most_one(single(0))
        .at_most_one(single(1).with(resource(0)).after(resource(0)))
        .at_most_one(single(2))
        .at_least_one(single(3))
        .at_most_one(single(4).promotable());
    for witness in 0..witnesses {
        builder = builder.witness(node(nodes + witness));
    }
    builder.build().expect("valid")
}

fn world(seed: u64, config: &ClusterConfig, safeguards: Safeguards) -> World<Host> {
    let names = config.nodes().to_vec();
    let count = names.len();
    let singles = (0..3).map(resource).chain(promoted_role(&resource(4))).collect();
    let model = Rc::new(RefCell::new(Model::new(seed, names, singles)));
    let host = |_| Host::new(config.clone(), safeguards, Rc::clone(&model));
    World::builder(seed)
        .nodes((0..count).map(host))
        .clock_error_ppm(200)
        .clock_offset(Duration::from_hours(1))
        .invariant(one_active_instance())
        .invariant(fenced_before_started_elsewhere())
        .invariant(no_action_without_quorum())
        .invariant(tokens_grow())
        .invariant(stopped_in_time_without_quorum())
        .build()
}

fn model(world: &World<Host>) -> Rc<RefCell<Model>> {
    world.node(NodeIndex::new(0)).expect("a node").model.clone()
}

/// What runs where, and what the leader says to that.
fn describe(world: &mut World<Host>) -> Result<String, Violation> {
    let mut text = model(world).borrow().describe();
    for node in world.indices() {
        let request = Input::Request(RequestId::new(1), Request::Status);
        if world.machine(node).is_some_and(|both| both.manager.leads()) {
            world.input(node, BothInput::Manager(Box::new(request)))?;
        }
        if let Some(host) = world.node(node) {
            let leader = world.machine(node).map(|both| both.manager.leader());
            let said = &host.reply;
            let active = &host.active;
            let _cannot_fail =
                write!(text, "\n    {node} runs {active:?}, follows {leader:?}: {said:?}");
        }
    }
    Ok(text)
}

/// Runs until everything is up, at most for `limit`.
fn settle(world: &mut World<Host>, limit: Duration) -> Result<Duration, Violation> {
    let start = world.now();
    while !available_again_after_heal(world) {
        if world.now().since(start) > limit {
            let what = format!("not in {limit:?}: {}", describe(world)?);
            return Err(world.violation("available_again_after_heal", what));
        }
        world.run_for(SLICE)?;
        act(world)?;
    }
    Ok(world.now().since(start))
}

fn chaos() -> Chaos {
    let quality = Quality::wan().loss(0.2).duplicate(0.1).reorder(0.2);
    Chaos::harsh().every(Duration::from_secs(2)).bad_network(quality)
}

/// One life of a cluster: it forms, suffers, heals, and works again.
fn life(seed: u64, config: &ClusterConfig, safeguards: Safeguards) -> Result<u64, Violation> {
    let mut world = world(seed, config, safeguards);
    if seed % 4 == 1 {
        // Deposed leaders go on for long.
        let late = model(&world);
        (late.borrow_mut().churn, late.borrow_mut().told_within) = (0.01, LATE);
    }
    settle(&mut world, Duration::from_secs(20))?;
    chaos().run_with(&mut world, Duration::from_secs(15), SLICE, act)?;
    model(&world).borrow_mut().troubled = false;
    settle(&mut world, Duration::from_mins(1))?;
    let starts = model(&world).borrow().starts;
    Ok(starts)
}

/// How late nodes learn of a new leader.
const SOON: Duration = Duration::from_millis(150);
const LATE: Duration = Duration::from_secs(3);
const ALL: Safeguards = ManagerConfigBuilder::all_safeguards();

fn survive(config: &ClusterConfig) -> Result<(), Violation> {
    let mut starts = 0;
    Seeds::new(100).run(|seed| {
        starts += life(seed, config, ALL)?;
        Ok(())
    })?;
    assert!(starts > 0, "nothing was ever started");
    Ok(())
}

#[test]
fn no_fault_makes_two_of_an_at_most_one_resource_on_two_nodes_and_a_witness()
-> Result<(), Violation> {
    survive(&config(2, 1))
}

#[test]
fn no_fault_makes_two_of_an_at_most_one_resource_on_three_nodes() -> Result<(), Violation> {
    survive(&config(3, 0))
}

#[test]
fn no_fault_makes_two_of_an_at_most_one_resource_on_five_nodes() -> Result<(), Violation> {
    survive(&config(5, 0))
}

/// Runs lives without one rule until one of them goes wrong, and says which law was broken.
fn broken(safeguards: Safeguards, churn: f64, told_within: Duration) -> String {
    let config = config(3, 0);
    let found = Seeds::new(60).run(|seed| {
        let mut world = world(seed, &config, safeguards);
        model(&world).borrow_mut().churn = churn;
        model(&world).borrow_mut().told_within = told_within;
        settle(&mut world, Duration::from_secs(20))?;
        let kinds = [Kind::Crash, Kind::Partition, Kind::OneWay, Kind::Pause, Kind::BadNetwork];
        chaos().kinds(&kinds).run_with(&mut world, Duration::from_mins(1), SLICE, act)
    });
    found.expect_err("the rule that was switched off is not needed?").invariant
}

#[test]
fn without_fencing_the_laws_are_broken() {
    let law = broken(Safeguards { fencing: false, ..ALL }, 0.002, SOON);
    let laws = ["one_active_instance", "fenced_before_started_elsewhere"];
    assert!(laws.contains(&law.as_str()), "{law}");
}

#[test]
fn without_the_quorum_check_the_laws_are_broken() {
    let law = broken(Safeguards { quorum: false, ..ALL }, 0.002, SOON);
    let laws =
        ["no_action_without_quorum", "one_active_instance", "stopped_in_time_without_quorum"];
    assert!(laws.contains(&law.as_str()), "{law}");
}

#[test]
fn without_the_stop_deadline_the_laws_are_broken() {
    let law = broken(Safeguards { stop_deadline: false, ..ALL }, 0.002, SOON);
    assert_eq!(law, "stopped_in_time_without_quorum");
}

#[test]
fn without_the_term_check_the_laws_are_broken() {
    let law = broken(Safeguards { term: false, ..ALL }, 0.01, LATE);
    let laws = ["one_active_instance", "fenced_before_started_elsewhere", "tokens_grow"];
    assert!(laws.contains(&law.as_str()), "{law}");
}

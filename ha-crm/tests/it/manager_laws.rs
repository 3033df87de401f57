//! The laws of machines, for managers to whom anything may happen in any order.

use std::sync::Arc;
use std::time::Duration;

use ha_agents::executor::{Action, Answer, Output as Executed};
use ha_agents::{Check, Outcome, Report as AgentReport};
use ha_core::id::{Incarnation, OpId, Term, ViewId};
use ha_core::laws;
use ha_core::time::{Instant, WallTime};
use ha_crm::Cluster;
use ha_crm::manager::{
    Input, Ledger, Manager, ManagerConfig, Message, Read, Report, Request, RequestId,
    ResourceReport, Written,
};
use ha_crm::model::{ClusterConfig, FenceDevice, Fencing, Resource, VoteRules};
use ha_membership::{Member, Revision, Standing, View};
use proptest::prelude::*;

use super::{node, resource};

fn cluster() -> ClusterConfig {
    let names = || (0..3).map(node);
    Cluster::builder()
        .nodes(names())
        .quorum(VoteRules::majority())
        .fencing(Fencing::device("switch", FenceDevice::new("fence_test", names())))
        .at_most_one(Resource::new(resource(0), "test"))
        .at_most_one(Resource::new(resource(1), "test").with(resource(0)).after(resource(0)))
        .at_least_one(Resource::new(resource(2), "test"))
        .at_most_one(Resource::new(resource(3), "test").promotable())
        .build()
        .expect("valid")
}

fn manager() -> Manager {
    let config = ManagerConfig::builder(node(0), cluster());
    let config = config.startup_wait(Duration::from_millis(300)).build().expect("valid");
    Manager::new(config, Instant::from_secs(1_000))
}

/// Ids that the manager may have given: of a leader's term, or its own.
fn op() -> impl Strategy<Value = OpId> {
    let of_a_leader = (1..4u64, 1..12u64).prop_map(|(term, op)| OpId::new(term << 32 | op));
    prop_oneof![of_a_leader, (1..9u64).prop_map(|op| OpId::new((1 << 63) + op))]
}

fn view() -> impl Strategy<Value = Input> {
    let standing = prop::sample::select(vec![Standing::Alive, Standing::Suspect]);
    let members = prop::collection::btree_map(0..3usize, (1..3u64, standing), 1..4);
    (1..9u64, members, any::<bool>()).prop_map(|(id, members, quorate)| {
        let members = members.into_iter().map(|(index, (life, standing))| {
            (node(index), Member { incarnation: Incarnation::new(life), standing })
        });
        Input::View(Arc::new(View::new(ViewId::new(id), members, quorate)))
    })
}

fn report() -> impl Strategy<Value = Input> {
    let roles = prop::option::of(prop::sample::select(ha_core::role::Role::ALL.to_vec()));
    (0..3usize, 1..4u64, 1..3u64, 1..20u64, roles, any::<bool>(), op()).prop_map(
        |(from, term, life, number, role, leaving, answered)| {
            let mut known = ResourceReport::default();
            (known.role, known.answered) = (role, Some(answered));
            let report = serde_json::json!({
                "term": term, "life": life, "number": number, "leaving": leaving,
                "resources": { "r0": known, "r1": known, "r2": known, "r3": known, "r9": known }
            });
            let report: Report = serde_json::from_value(report).expect("a report");
            Input::Heard(node(from), Message::Report(Box::new(report)))
        },
    )
}

fn executed() -> impl Strategy<Value = Input> {
    let action = prop::sample::select(vec![
        Action::Demote,
        Action::Notify,
        Action::Promote,
        Action::Start,
        Action::Stop,
        Action::Monitor(Check::PROBE),
        Action::Monitor(Check::STARTED),
    ]);
    let outcome = prop::sample::select(Outcome::ALL.to_vec());
    let ended = (op(), 0..4usize, action, outcome).prop_map(|(op, index, action, outcome)| {
        let answer = Answer::Report(AgentReport::from(outcome));
        let resource = resource(index);
        Input::Executed(Executed::Ended { op, resource, action, answer, failures: 0 })
    });
    let died = (0..4usize).prop_map(|index| {
        let (resource, reason) = (resource(index), "it ended".to_owned());
        Input::Executed(Executed::Died { resource, reason, failures: 1 })
    });
    prop_oneof![4 => ended, 1 => died]
}

fn stored() -> impl Strategy<Value = Input> {
    let ledger = || Ledger::new(cluster(), node(1), WallTime::from_micros(5));
    let read = (op(), 0..3u64).prop_map(move |(op, kind)| {
        Input::Read(
            op,
            match kind {
                0 => Read::Absent,
                1 => Read::Found(Box::new(ledger()), Revision::new(4)),
                _ => Read::Unavailable,
            },
        )
    });
    let written = prop::sample::select(vec![
        Written::Conflict,
        Written::Done(Revision::new(7)),
        Written::Unavailable,
    ]);
    let written = (op(), written).prop_map(|(op, written)| Input::Written(op, written));
    prop_oneof![read, written, Just(Input::Ledger(Arc::new(ledger())))]
}

fn request() -> impl Strategy<Value = Input> {
    let requests = prop_oneof![
        Just(Request::Status),
        (0..4usize).prop_map(|index| Request::Explain { resource: resource(index) }),
        (0..4usize).prop_map(|index| Request::CleanUp { resource: resource(index) }),
        (0..4usize).prop_map(|index| Request::Standby { node: node(index) }),
        (0..4usize, 0..4usize)
            .prop_map(|(r, n)| Request::Move { resource: resource(r), node: node(n) }),
    ];
    (1..9u64, requests).prop_map(|(id, request)| Input::Request(RequestId::new(id), request))
}

fn input() -> impl Strategy<Value = Input> {
    let quorum = prop::option::of(1_000..1_010u64);
    prop_oneof![
        3 => view(),
        3 => quorum.prop_map(|until| Input::Quorum(until.map(Instant::from_secs))),
        3 => (1..4u64, prop::option::of(0..3usize)).prop_map(|(term, leader)| {
            Input::Leadership { term: Term::new(term), leader: leader.map(node) }
        }),
        5 => report(),
        2 => (0..3usize, 1..4u64).prop_map(|(from, term)| {
            Input::Heard(node(from), Message::Hello { term: Term::new(term) })
        }),
        4 => executed(),
        6 => stored(),
        2 => (op(), 0..3usize, any::<bool>()).prop_map(|(op, index, fine)| {
            let result = if fine { Ok("off".to_owned()) } else { Err("no".to_owned()) };
            Input::Fenced(op, node(index), result)
        }),
        2 => request(),
        1 => Just(Input::Leave),
    ]
}

proptest! {
    #[test]
    fn a_manager_keeps_the_laws_whatever_happens(
        steps in prop::collection::vec((0..400u64, prop::option::of(input())), 1..60)
    ) {
        let steps: Vec<_> = steps
            .into_iter()
            .map(|(millis, input)| (Duration::from_millis(millis), input))
            .collect();
        laws::check(manager, &steps)?;
    }
}

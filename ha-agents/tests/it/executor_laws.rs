//! What holds of the executor whatever is asked of it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ha_agents::executor::{
    Action, Answer, Executor, Input, Limits, Load, Missed, Order, Output, Schedule,
};
use ha_agents::{Check, OpContext, Outcome, Report};
use ha_core::id::{OpId, ResourceName, Term};
use ha_core::laws;
use ha_core::machine::Machine;
use ha_core::time::Instant;
use proptest::prelude::*;

/// An executor with small budgets, and rules by `seed`.
fn executor(seed: u8) -> Executor {
    let schedules =
        [Schedule::Fixed(Missed::Skip), Schedule::Fixed(Missed::CatchUp), Schedule::AfterEnd];
    let schedule = schedules[usize::from(seed) % schedules.len()];
    let limits = Limits::builder().monitors(2).probes(2).actions(2).stops(2).load_threshold(80);
    let limits = limits.schedule(schedule).failed_monitors(1 + u32::from(seed) % 2);
    let limits = match seed % 5 {
        0 => limits.failure_window(Duration::from_millis(200)),
        1 => limits.failure_expiry(Duration::from_millis(200)),
        _ => limits,
    };
    Executor::new(limits.build().expect("valid"))
}

#[derive(Debug, Clone)]
enum Step {
    Submit { resource: usize, action: Action, term: Option<u64>, interval: Option<u64> },
    Finish { which: usize, outcome: Outcome },
    Cancel { op: u64 },
    Die { resource: usize },
    Forget { resource: usize },
    Load { hundredths: u32 },
    Wait { millis: u64 },
    Shutdown,
}

fn action() -> impl Strategy<Value = Action> {
    prop::sample::select(vec![
        Action::Start,
        Action::Stop,
        Action::Promote,
        Action::Demote,
        Action::Notify,
        Action::Monitor(Check::PROBE),
        Action::Monitor(Check::STARTED),
    ])
}

fn step() -> impl Strategy<Value = Step> {
    let outcome = prop::sample::select(Outcome::ALL.to_vec());
    prop_oneof![
        6 => (0..3usize, action(), prop::option::of(0..4u64), prop::option::of(1..50u64)).prop_map(
            |(resource, action, term, interval)| Step::Submit { resource, action, term, interval }
        ),
        6 => (any::<usize>(), outcome).prop_map(|(which, outcome)| Step::Finish { which, outcome }),
        1 => (0..40u64).prop_map(|op| Step::Cancel { op }),
        3 => (0..100u64).prop_map(|millis| Step::Wait { millis }),
        1 => (0..3usize).prop_map(|resource| Step::Die { resource }),
        1 => (0..3usize).prop_map(|resource| Step::Forget { resource }),
        1 => (0..900u32).prop_map(|hundredths| Step::Load { hundredths }),
        1 => Just(Step::Shutdown),
    ]
}

fn name(resource: usize) -> ResourceName {
    format!("r{resource}").parse().expect("a name")
}

/// The inputs that need nothing of the world.
fn plain(step: &Step) -> Option<Input> {
    match *step {
        Step::Die { resource } => Some(Input::Died(name(resource), "killed".to_owned())),
        Step::Forget { resource } => Some(Input::Forget(name(resource))),
        Step::Load { hundredths } => Some(Input::Load(Load::new(hundredths, 2))),
        Step::Shutdown => Some(Input::Shutdown),
        Step::Submit { .. } | Step::Finish { .. } | Step::Cancel { .. } | Step::Wait { .. } => None,
    }
}

fn order(op: u64, resource: usize, action: Action) -> Order {
    Order { term: None, action, context: OpContext::new(name(resource), OpId::new(op)) }
}

/// Runs steps as a driver would, and checks what must hold after each.
#[derive(Debug)]
struct World {
    executor: Executor,
    now: Instant,
    running: BTreeMap<ResourceName, Order>,
    open: BTreeMap<OpId, Order>,
    closed: BTreeSet<OpId>,
    /// For each resource with an open stop: how many of its operations have ended since.
    since_stop: BTreeMap<ResourceName, u32>,
    refused_terms: BTreeSet<OpId>,
}

impl World {
    fn give(&mut self, input: Input) {
        let mut out = Vec::new();
        if let Input::Submit(order) = &input {
            self.open.insert(order.op(), order.clone());
            if order.action == Action::Stop {
                self.since_stop.entry(order.resource().clone()).or_default();
            }
        }
        self.executor.handle(self.now, input, &mut out);
        self.take(out);
    }

    fn take(&mut self, out: Vec<Output>) {
        for output in out {
            match output {
                Output::Run(order) => {
                    assert!(!self.refused_terms.contains(&order.op()), "a refused order ran");
                    let name = order.resource().clone();
                    if order.action == Action::Stop {
                        self.since_stop.remove(&name);
                    }
                    let other = self.running.insert(name, order);
                    assert!(other.is_none(), "two operations of one resource: {other:?}");
                }
                Output::Ended { op, .. } => self.close(op),
                Output::Refused { op, .. } => {
                    let order = self.open.get(&op).cloned();
                    self.close(op);
                    self.refused_terms.insert(op);
                    if let Some(order) = order.filter(|order| order.action == Action::Stop) {
                        self.since_stop.remove(order.resource());
                    }
                }
                Output::Monitored { .. } | Output::Died { .. } | Output::Event(_) => {}
            }
        }
        let in_flight = self.executor.in_flight().count();
        assert_eq!(in_flight, self.running.len());
    }

    fn close(&mut self, op: OpId) {
        assert!(self.open.remove(&op).is_some(), "{op} was not open");
        assert!(self.closed.insert(op), "{op} ended twice");
    }

    fn finish(&mut self, which: usize, outcome: Outcome) {
        let Some(name) = self.running.keys().nth(which % self.running.len().max(1)).cloned() else {
            return;
        };
        let order = self.running.remove(&name).expect("it runs");
        if let Some(ended) = self.since_stop.get_mut(&name) {
            *ended += 1;
            // What ran, a demote that waited, and stops of this resource before it.
            assert!(*ended <= 3, "a stop of {name} waits for ever");
        }
        self.give(Input::Done(order.op(), Answer::Report(Report::new(outcome, ""))));
    }

    fn act(&mut self, number: u64, what: &Step) {
        match *what {
            Step::Submit { resource, action, term, interval } => {
                let mut order = order(number, resource, action);
                order.term = term.map(Term::new);
                order.context.interval = interval.map(Duration::from_millis);
                self.give(Input::Submit(order));
            }
            Step::Finish { which, outcome } => self.finish(which, outcome),
            Step::Cancel { op } => {
                let asked = self.open.get(&OpId::new(op));
                if !asked.is_some_and(|order| order.action == Action::Stop) {
                    self.give(Input::Cancel(OpId::new(op)));
                }
            }
            Step::Wait { millis } => {
                self.now += Duration::from_millis(millis);
                let mut out = Vec::new();
                self.executor.tick(self.now, &mut out);
                self.take(out);
            }
            Step::Die { .. } | Step::Forget { .. } | Step::Load { .. } | Step::Shutdown => {
                self.give(plain(what).expect("it needs nothing"));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn one_operation_a_resource_every_order_ends_once_and_stops_come_soon(
        steps in prop::collection::vec(step(), 0..80),
        seed in any::<u8>(),
    ) {
        let mut world = World {
            executor: executor(seed),
            now: Instant::ZERO,
            running: BTreeMap::new(),
            open: BTreeMap::new(),
            closed: BTreeSet::new(),
            since_stop: BTreeMap::new(),
            refused_terms: BTreeSet::new(),
        };
        for (number, step) in steps.iter().enumerate() {
            world.act(number as u64, step);
        }
        world.give(Input::Shutdown);
        for _ in 0..200 {
            world.finish(0, Outcome::Success);
        }
        prop_assert!(world.open.is_empty(), "never ended: {:?}", world.open);
        prop_assert!(world.executor.is_idle());
    }

    #[test]
    fn the_laws_of_machines_hold(
        steps in prop::collection::vec((0..60u64, step()), 0..60),
        seed in any::<u8>(),
    ) {
        let schedule: Vec<_> = steps
            .iter()
            .enumerate()
            .map(|(number, (wait, step))| {
                let input = match *step {
                    Step::Submit { resource, action, interval, .. } => {
                        let mut order = order(number as u64, resource, action);
                        order.context.interval = interval.map(Duration::from_millis);
                        Some(Input::Submit(order))
                    }
                    Step::Finish { which, outcome } => {
                        let op = OpId::new(which as u64 % 60);
                        Some(Input::Done(op, Answer::Report(Report::new(outcome, ""))))
                    }
                    Step::Cancel { op } => Some(Input::Cancel(OpId::new(op))),
                    Step::Wait { .. } => None,
                    Step::Die { .. } | Step::Forget { .. } | Step::Load { .. } | Step::Shutdown => {
                        plain(step)
                    }
                };
                (Duration::from_millis(*wait), input)
            })
            .collect();
        laws::check(|| executor(seed), &schedule).expect("lawful");
    }
}

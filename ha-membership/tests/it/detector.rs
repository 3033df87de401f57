//! The deadline detector, asked and as a machine.

use std::time::Duration;

use ha_core::laws;
use ha_core::machine::Machine;
use ha_core::time::Instant;
use ha_membership::detector::{
    DeadlineDetector, DetectorInput, FailureDetector, Verdict, VerdictChanged,
};
use proptest::prelude::*;

use super::name;

fn detector() -> DeadlineDetector {
    let (suspect, dead) = (Duration::from_millis(300), Duration::from_secs(1));
    DeadlineDetector::new(suspect, dead).expect("valid")
}

fn inputs() -> impl Strategy<Value = Vec<laws::Step<DetectorInput>>> {
    let input = (0usize..3, any::<bool>()).prop_map(|(peer, forget)| {
        if forget {
            DetectorInput::Forget(name(peer))
        } else {
            DetectorInput::Heartbeat(name(peer))
        }
    });
    let step = (0u64..700, prop::option::weighted(0.8, input));
    prop::collection::vec(step.prop_map(|(ms, input)| (Duration::from_millis(ms), input)), 0..60)
}

proptest! {
    #[test]
    fn the_laws_of_machines_hold(schedule in inputs()) {
        prop_assert_eq!(laws::check(detector, &schedule), Ok(()));
    }

    #[test]
    fn what_the_machine_tells_is_what_it_answers(schedule in inputs()) {
        let (mut machine, mut out, mut now) = (detector(), Vec::new(), Instant::from_secs(1));
        let mut told = std::collections::BTreeMap::new();
        for (wait, input) in schedule {
            now += wait;
            match input {
                Some(input) => machine.handle(now, input, &mut out),
                None => machine.tick(now, &mut out),
            }
            for VerdictChanged { peer, verdict } in out.drain(..) {
                prop_assert_ne!(told.insert(peer, verdict), Some(verdict), "told twice");
            }
            for peer in (0..3).map(name) {
                match machine.suspicion(&peer, now) {
                    Some(verdict) => {
                        let known = told.get(&peer).copied().unwrap_or(Verdict::Alive);
                        prop_assert_eq!(known, verdict);
                    }
                    None => { told.remove(&peer); }
                }
            }
        }
    }
}

#[test]
fn silence_makes_suspect_then_dead_and_a_heartbeat_makes_alive() {
    let (mut machine, mut out) = (detector(), Vec::new());
    let peer = name(1);
    let changed = |verdict| VerdictChanged { peer: name(1), verdict };
    machine.handle(Instant::ZERO, DetectorInput::Heartbeat(peer.clone()), &mut out);
    assert_eq!(Machine::deadline(&machine), Some(Instant::from_millis(300)));
    machine.tick(Instant::from_millis(300), &mut out);
    machine.tick(Instant::from_millis(1_000), &mut out);
    assert_eq!(Machine::deadline(&machine), None);
    machine.handle(Instant::from_secs(2), DetectorInput::Heartbeat(peer.clone()), &mut out);
    assert_eq!(out, [Verdict::Suspect, Verdict::Dead, Verdict::Alive].map(changed));
    assert_eq!(machine.suspicion(&name(9), Instant::ZERO), None);
}

#[test]
fn limits_that_make_no_sense_are_refused_both_at_once() {
    let error = DeadlineDetector::new(Duration::ZERO, Duration::ZERO).expect_err("wrong");
    assert_eq!(error.problems().len(), 2, "{error}");
}

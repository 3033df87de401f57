//! What holds for all clusters.

use std::collections::BTreeSet;

use ha_core::time::WallTime;
use proptest::prelude::*;

use super::{FENCE, cib, history, node, primitive};
use crate::cib::Cib;
use crate::model::Score;
use crate::scheduler::{Change, Schedule, Scheduler, Transition};

/// A cluster in the making.
#[derive(Debug, Clone)]
struct World {
    text: String,
    plain: usize,
    orders: Vec<(usize, usize)>,
    together: Vec<(usize, usize)>,
}

fn score() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["INFINITY", "-INFINITY", "100", "-50", "0"])
}

prop_compose! {
    fn world()(nodes in 1_usize..5, plain in 1_usize..7)(
        states in prop::collection::vec(
            prop::sample::select(vec!["up", "up", "up", "lost", "off"]), nodes),
        at in prop::collection::vec(prop::option::of((0..nodes, 0_i32..3)), plain),
        locations in prop::collection::vec((0..plain, 0..nodes, score()), 0..5),
        colocations in prop::collection::vec((0..plain, 0..plain, score()), 0..5),
        orders in prop::collection::vec((0..plain, 0..plain), 0..4),
        plain in Just(plain),
    ) -> World {
        // Contradictions in a circle have no solution: each goes with one that comes before.
        let sorted = |(a, b): (usize, usize)| (a.max(b), a.min(b));
        let mut constraints = String::new();
        for (index, (rsc, node, score)) in locations.iter().enumerate() {
            let line = format!(
                r#"<rsc_location id="l{index}" rsc="r{rsc}" node="n{}" score="{score}"/>"#,
                node + 1
            );
            constraints.push_str(&line);
        }
        let mut together = Vec::new();
        for (index, (rsc, with, score)) in colocations.iter().enumerate() {
            let (rsc, with) = sorted((*rsc, *with));
            if rsc != with && *score == "INFINITY" {
                together.push((rsc, with));
            }
            let line = format!(
                r#"<rsc_colocation id="c{index}" rsc="r{rsc}" with-rsc="r{with}" score="{score}"/>"#
            );
            constraints.push_str(&line);
        }
        let orders: Vec<_> = orders
            .into_iter()
            .map(sorted)
            .map(|(then, first)| (first, then))
            .collect();
        for (index, (first, then)) in orders.iter().enumerate() {
            let line = format!(
                r#"<rsc_order id="o{index}" first="r{first}" then="r{then}"/>"#
            );
            constraints.push_str(&line);
        }
        let resources: String = (0..plain).map(|n| primitive(&format!("r{n}"))).collect();
        let status: Vec<String> = states
            .iter()
            .enumerate()
            .map(|(here, state)| {
                let mine = at.iter().enumerate().filter_map(|(rsc, at)| match at {
                    Some((node, 0 | 1)) if *node == here => {
                        Some(history(&format!("r{rsc}"), "start", 0))
                    }
                    Some((node, _)) if *node == here => {
                        Some(history(&format!("r{rsc}"), "monitor", 1))
                    }
                    Some(_) | None => None,
                });
                node(here + 1, state, &mine.collect::<String>())
            })
            .collect();
        let resources = format!("{FENCE}{resources}");
        World { text: cib("", &resources, &constraints, &status), plain, orders, together }
    }
}

fn decide(text: &str) -> Schedule {
    let (cib, _) = Cib::parse(text).unwrap();
    Scheduler::new().decide(&cib, WallTime::from_micros(0)).unwrap()
}

fn is_acyclic(transition: &Transition) -> bool {
    let mut open: BTreeSet<usize> = (0..transition.steps.len()).collect();
    while !open.is_empty() {
        let waits = |at: &usize| {
            transition.waits.iter().any(|wait| wait.then == *at && open.contains(&wait.first))
        };
        let Some(ready) = open.iter().copied().find(|at| !waits(at)) else { return false };
        open.remove(&ready);
    }
    true
}

proptest! {
    #[test]
    fn the_parts_of_each_score_add_up(world in world()) {
        for account in decide(&world.text).accounts {
            for node in &account.nodes {
                let sum = node.parts.iter().fold(Score::ZERO, |sum, part| sum + part.score);
                prop_assert_eq!(sum, node.score, "{}", account);
            }
        }
    }

    #[test]
    fn the_same_input_gives_the_same_decision_explained_or_not(world in world()) {
        let first = decide(&world.text);
        prop_assert_eq!(&first, &decide(&world.text));
        let (cib, _) = Cib::parse(&world.text).unwrap();
        let terse = Scheduler::terse().decide(&cib, WallTime::from_micros(0)).unwrap();
        prop_assert_eq!(first.changes, terse.changes);
        prop_assert_eq!(first.outcome, terse.outcome);
    }

    #[test]
    fn one_more_resource_at_the_end_moves_no_other(world in world(), state in 0..3_usize) {
        // Before the others it may: of two equal nodes the one with fewer resources is taken, as
        // Pacemaker does, too.
        let before = decide(&world.text);
        let more = format!("{}</resources>", primitive("more"));
        let mut text = world.text.replace("</resources>", &more);
        // It may run, but not on a node that is lost: such a node would be fenced for it.
        let up = text.match_indices(r#"crmd="online""#).nth(state).map(|(at, _)| at);
        let end = up.and_then(|up| Some(up + text[up..].find("</lrm_resources>")?));
        if let Some(end) = end {
            text.insert_str(end, &history("more", "start", 0));
        }
        let after = decide(&text);
        let others = |decided: &Schedule| {
            let is_other = |change: &&Change| change.resource.as_deref() != Some("more");
            decided.changes.iter().filter(is_other).cloned().collect::<Vec<_>>()
        };
        prop_assert_eq!(others(&before), others(&after), "{}", text);
        let mut outcome = after.outcome;
        outcome.remove("more");
        prop_assert_eq!(before.outcome, outcome);
    }

    #[test]
    fn nothing_is_ever_in_two_places(world in world()) {
        let decided = decide(&world.text);
        for number in 0..world.plain {
            let roles = decided.outcome.get(&*format!("r{number}"));
            let places = roles.map_or(0, |roles| roles.values().map(Vec::len).sum::<usize>());
            prop_assert!(places <= 1, "r{} {:?}", number, decided.outcome);
        }
    }

    #[test]
    fn transitions_have_no_loops_and_start_nothing_of_a_lost_node_before_its_fence(
        world in world()
    ) {
        let decided = decide(&world.text);
        prop_assert!(is_acyclic(&decided.transition));
        let steps = &decided.transition.steps;
        for (fence, step) in steps.iter().enumerate().filter(|(_, step)| step.task == "fence") {
            for account in &decided.accounts {
                let node = step.node.as_ref().unwrap();
                if !account.running.contains(node) || &*account.resource == "fence" {
                    continue;
                }
                let start = steps.iter().position(|step| {
                    step.task == "start" && step.resource.as_ref() == Some(&account.resource)
                });
                if let Some(start) = start {
                    let waits = &decided.transition.waits;
                    prop_assert!(waits.iter().any(|w| w.first == fence && w.then == start));
                }
            }
        }
    }

    #[test]
    fn what_must_be_together_is_and_what_comes_first_is_there(world in world()) {
        let decided = decide(&world.text);
        let place = |number: usize| {
            let roles = decided.outcome.get(&*format!("r{number}"))?;
            roles.values().flatten().next().cloned()
        };
        let starts = |number: usize| {
            let name = format!("r{number}");
            decided.changes.iter().any(|change| {
                change.resource.as_deref() == Some(&name) && !change.blocked
                    && !matches!(change.kind, crate::scheduler::ChangeKind::Stop)
            })
        };
        for (rsc, with) in world.together {
            if starts(rsc) {
                prop_assert_eq!(place(rsc), place(with), "r{} with r{}", rsc, with);
            }
        }
        for (first, then) in world.orders {
            if first != then && starts(then) {
                prop_assert!(place(first).is_some(), "r{} then r{}", first, then);
            }
        }
    }

    #[test]
    fn clusters_settle_as_was_foretold(world in world()) {
        let (cib, _) = Cib::parse(&world.text).unwrap();
        let done = Scheduler::simulate(&cib, WallTime::from_micros(0), 20).unwrap();
        prop_assert!(done.settled, "{:?}", done.schedules.last().map(|last| &last.changes));
        // Without failures nothing changes its mind: one transition, and perhaps what it unblocked.
        prop_assert!(done.schedules.len() <= 3, "{} transitions", done.schedules.len());
        let again = Scheduler::new().decide(&done.cib, WallTime::from_micros(0)).unwrap();
        prop_assert!(again.transition.steps.iter().all(|step| step.blocked));
    }

    #[test]
    fn broken_texts_are_decided_on_or_refused(world in world(), from in 0_usize..4000, len in 1_usize..60) {
        let mut text = world.text;
        let start = from.min(text.len());
        let end = (from + len).min(text.len());
        text.replace_range(start..end, "");
        if let Ok((cib, _)) = Cib::parse(&text) {
            let decided = Scheduler::new().decide(&cib, WallTime::from_micros(0)).unwrap();
            prop_assert!(is_acyclic(&decided.transition));
        }
    }
}

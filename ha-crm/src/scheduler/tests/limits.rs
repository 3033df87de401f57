//! What asks for very much ends in bounded work, and says so.

use ha_core::time::WallTime;

use super::{NO_FENCING, cib, primitive, up};
use crate::cib::Cib;
use crate::scheduler::{Measure, Schedule, Scheduler, TooLarge};

fn try_decide(text: &str) -> Result<Schedule, TooLarge> {
    let (cib, _) = Cib::parse(text).unwrap();
    Scheduler::new().decide(&cib, WallTime::from_micros(0))
}

fn many(count: usize) -> String {
    (0..count).map(|n| primitive(&format!("r{n}"))).collect()
}

/// All of `count` resources with each other, one colocation for each two.
fn clique(count: usize, score: &str) -> String {
    let with = |n: usize| {
        (0..n).map(move |m| {
            format!(r#"<rsc_colocation id="c{n}-{m}" rsc="r{n}" with-rsc="r{m}" score="{score}"/>"#)
        })
    };
    (0..count).flat_map(with).collect()
}

fn members(range: std::ops::Range<usize>) -> String {
    range.map(|n| format!(r#"<resource_ref id="r{n}"/>"#)).collect::<Vec<_>>().concat()
}

fn two_sets(what: &str, each: usize) -> String {
    let set = |name: &str, range| {
        let members = members(range);
        format!(r#"<resource_set id="{name}" sequential="false">{members}</resource_set>"#)
    };
    let (first, second) = (set("s1", 0..each), set("s2", each..2 * each));
    let score = if what == "rsc_colocation" { r#"score="INFINITY""# } else { "" };
    format!(r#"<{what} id="x" {score}>{first}{second}</{what}>"#)
}

#[test]
fn resources_that_are_all_colocated_stay_together_whatever_their_number() {
    // Every order of them is a way to follow: of 60 more than there are atoms.
    for count in [8, 60] {
        let text = cib(NO_FENCING, &many(count), &clique(count, "INFINITY"), &up(&["", "", ""]));
        let decided = try_decide(&text).unwrap();
        assert_eq!(decided.changes.len(), count);
        let first = &decided.changes[0].node;
        assert!(decided.changes.iter().all(|change| change.node == *first));
        assert_eq!(decided.remarks.is_empty(), count == 8, "{:?}", decided.remarks);
    }
}

#[test]
fn what_wants_to_be_apart_from_all_others_is_spread_whatever_their_number() {
    let text = cib(NO_FENCING, &many(40), &clique(40, "-100"), &up(&[""; 40]));
    let decided = try_decide(&text).unwrap();
    let mut nodes: Vec<_> = decided.changes.iter().map(|change| change.node.clone()).collect();
    nodes.sort();
    nodes.dedup();
    assert_eq!(nodes.len(), 40);
}

#[test]
fn sets_of_hundreds_in_any_order_are_decided_on() {
    let both = two_sets("rsc_colocation", 200) + &two_sets("rsc_order", 200);
    let decided = try_decide(&cib(NO_FENCING, &many(400), &both, &up(&["", ""]))).unwrap();
    assert_eq!(decided.changes.len(), 400);
}

#[test]
fn clones_that_wait_for_each_other_do_not_multiply_what_waits() {
    let clone = |id: &str| {
        format!(
            r#"<clone id="{id}"><meta_attributes id="{id}-m">
            <nvpair id="{id}-x" name="clone-max" value="400"/>
            <nvpair id="{id}-y" name="clone-node-max" value="400"/>
            <nvpair id="{id}-u" name="globally-unique" value="true"/>
            </meta_attributes>{}</clone>"#,
            primitive(&format!("{id}-r"))
        )
    };
    let order = r#"<rsc_order id="o" first="a" then="b"/>"#;
    let text = cib(NO_FENCING, &(clone("a") + &clone("b")), order, &up(&["", ""]));
    let decided = try_decide(&text).unwrap();
    assert_eq!(decided.changes.len(), 800);
    let (steps, waits) = (&decided.transition.steps, &decided.transition.waits);
    assert!(waits.len() < 5_000, "{} waits", waits.len());
    // The way from each of the first to each of the second is through a gate.
    let sorted = decided.transition.sorted();
    let place = |at: usize| sorted.iter().position(|other| *other == at).unwrap();
    let is_between = |gate: usize| {
        let mut ends = steps.iter().enumerate().filter(|(_, step)| !step.gate);
        ends.all(|(at, step)| {
            let is_first = step.resource.as_deref().unwrap().starts_with("a-");
            (place(at) < place(gate)) == is_first
        })
    };
    assert!((0..steps.len()).any(|at| steps[at].gate && is_between(at)));
}

#[test]
fn what_is_too_much_is_refused_with_its_name_and_a_remedy() {
    let clones = (0..60)
        .map(|n| {
            format!(
                r#"<clone id="c{n}"><meta_attributes id="m{n}">
                <nvpair id="x{n}" name="clone-max" value="999999"/>
                </meta_attributes>{}</clone>"#,
                primitive(&format!("p{n}"))
            )
        })
        .collect::<Vec<_>>()
        .concat();
    let order = two_sets("rsc_order", 1_100);
    let colocation = two_sets("rsc_colocation", 1_100);
    let cases = [
        (clones, String::new(), Measure::Resources),
        (many(2_200), order, Measure::Orders),
        (many(2_200), colocation, Measure::Colocations),
    ];
    for (resources, constraints, measure) in cases {
        let error = try_decide(&cib(NO_FENCING, &resources, &constraints, &up(&[""]))).unwrap_err();
        assert_eq!(error.measure, measure, "{error}");
        assert!(error.to_string().starts_with("cannot decide: with \""), "{error}");
    }
}

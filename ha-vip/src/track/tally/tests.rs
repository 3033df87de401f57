use proptest::prelude::*;

use super::*;
use crate::track::Weight;

fn weight(weight: i32) -> Weight {
    Weight::new(weight).expect("in range")
}

fn standing(base: u8, tracked: &Tracked, verdict: Verdict) -> Standing {
    let mut tally = Tally::new(Priority::new(base).expect("not 0"), vec![tracked.clone()]);
    tally.report(tracked.name(), verdict);
    tally.standing()
}

fn priority(number: u8) -> Standing {
    Standing::Priority(Priority::new(number).expect("not 0"))
}

#[test]
fn each_weight_and_verdict_means_what_keepalived_s_manual_says() {
    use Verdict::{Down, Number, Up};
    let table = [
        (0, false, Up, priority(100)),
        (0, false, Down, Standing::Fault),
        (0, true, Up, Standing::Fault),
        (0, true, Down, priority(100)),
        (20, false, Up, priority(120)),
        (20, false, Down, priority(100)),
        (20, true, Up, priority(80)),
        (20, true, Down, priority(100)),
        (-20, false, Up, priority(100)),
        (-20, false, Down, priority(80)),
        (-20, true, Up, priority(100)),
        (-20, true, Down, priority(120)),
        (0, false, Number(0), priority(100)),
        (0, false, Number(1), Standing::Fault),
        (0, true, Number(0), Standing::Fault),
        (0, true, Number(-1), priority(100)),
        (2, false, Number(7), priority(114)),
        (2, true, Number(7), priority(86)),
        (-2, false, Number(7), priority(86)),
        (1, false, Number(-253), priority(1)),
        (1, false, Number(-254), Standing::Fault),
        (253, false, Number(i32::MAX), priority(254)),
        (253, false, Number(i32::MIN), Standing::Fault),
    ];
    for (number, reverse, verdict, expected) in table {
        let tracked = Tracked::new("x").weight(weight(number)).reverse(reverse);
        let got = standing(100, &tracked, verdict);
        assert_eq!(got, expected, "weight {number}, reverse {reverse}, {verdict}");
    }
}

#[test]
fn an_owner_keeps_its_priority_and_says_so_but_faults_like_anybody() {
    let tracked =
        vec![Tracked::new("light").weight(weight(-200)), Tracked::new("heavy"), Tracked::new("x")];
    let mut tally = Tally::new(Priority::OWNER, tracked);
    for name in ["heavy", "x"] {
        tally.report(name, Verdict::Up);
    }
    tally.report("light", Verdict::Down);
    assert_eq!(tally.standing(), priority(255));
    assert_eq!(tally.reasons()[0].to_string(), "light: down, +0");
    tally.report("heavy", Verdict::Down);
    assert_eq!(tally.standing(), Standing::Fault);
    assert_eq!(tally.reasons()[1].to_string(), "heavy: down, fault");
}

#[test]
fn weights_reach_from_minus_253_to_253() {
    assert_eq!(Weight::new(-253), Some(Weight::MIN));
    assert_eq!(Weight::new(253), Some(Weight::MAX));
    for outside in [-254, 254, i32::MIN, i32::MAX] {
        assert_eq!(Weight::new(outside), None);
    }
}

#[test]
fn a_new_base_counts_at_once() {
    let mut tally = Tally::new(
        Priority::DEFAULT,
        vec![Tracked::new("x").weight(weight(10)), Tracked::new("y")],
    );
    assert_eq!(tally.names().collect::<Vec<_>>(), ["x", "y"]);
    tally.report("x", Verdict::Up);
    assert_eq!(tally.standing(), Standing::Waiting);
    tally.report("y", Verdict::Up);
    tally.set_base(Priority::new(50).expect("not 0"));
    assert_eq!(tally.standing(), priority(60));
}

fn verdicts() -> impl Strategy<Value = Verdict> {
    prop_oneof![
        Just(Verdict::Unknown),
        Just(Verdict::Up),
        Just(Verdict::Down),
        any::<i32>().prop_map(Verdict::Number),
        (-300i32..300).prop_map(Verdict::Number),
    ]
}

fn entries() -> impl Strategy<Value = Vec<(i32, bool, Verdict)>> {
    prop::collection::vec((-253i32..=253, any::<bool>(), verdicts()), 0..20)
}

fn tally(base: u8, entries: &[(i32, bool, Verdict)]) -> Tally {
    let tracked = entries.iter().enumerate().map(|(index, (number, reverse, _))| {
        Tracked::new(index.to_string()).weight(weight(*number)).reverse(*reverse)
    });
    Tally::new(Priority::new(base).expect("not 0"), tracked.collect())
}

fn report(tally: &mut Tally, entries: &[(i32, bool, Verdict)], order: impl Iterator<Item = usize>) {
    for index in order {
        tally.report(&index.to_string(), entries[index].2);
    }
}

proptest! {
    /// The reasons are the whole truth: whoever adds them up finds the standing.
    #[test]
    fn the_reasons_add_up_to_the_standing(base in 1u8..=255, entries in entries()) {
        let mut tally = tally(base, &entries);
        report(&mut tally, &entries, 0..entries.len());
        let parts: Vec<Contribution> =
            tally.reasons().iter().map(Part::contribution).collect();
        let sum: i64 = parts.iter().map(|part| match part {
            Contribution::Adds(number) => i64::from(*number),
            Contribution::Fault | Contribution::Waits => 0,
        }).sum();
        let top = if base == 255 { 255 } else { 254 };
        let expected = if parts.contains(&Contribution::Fault) {
            Standing::Fault
        } else if parts.contains(&Contribution::Waits) {
            Standing::Waiting
        } else {
            let sum = (i64::from(base) + sum).clamp(1, top);
            priority(u8::try_from(sum).expect("clamped"))
        };
        prop_assert_eq!(tally.standing(), expected);
    }

    #[test]
    fn the_order_of_the_reports_does_not_matter(base in 1u8..=255, entries in entries()) {
        let (mut forth, mut back) = (tally(base, &entries), tally(base, &entries));
        report(&mut forth, &entries, 0..entries.len());
        report(&mut back, &entries, (0..entries.len()).rev());
        prop_assert_eq!(forth, back);
    }

    /// Whatever goes down never makes a router stronger, unless reversed.
    #[test]
    fn a_failure_never_raises_the_priority(base in 1u8..=254, entries in entries(), at: usize) {
        let mut entries: Vec<_> = entries.into_iter().map(|(number, _, _)| {
            (number, false, Verdict::Up)
        }).collect();
        let mut tally = tally(base, &entries);
        report(&mut tally, &entries, 0..entries.len());
        let before = strength(tally.standing());
        if !entries.is_empty() {
            let at = at % entries.len();
            entries[at].2 = Verdict::Down;
            report(&mut tally, &entries, at..=at);
        }
        prop_assert!(strength(tally.standing()) <= before);
    }

    #[test]
    fn only_news_is_news(first in verdicts(), second in verdicts()) {
        let mut tally = Tally::new(Priority::DEFAULT, vec![Tracked::new("x")]);
        prop_assert_eq!(tally.report("x", first), first != Verdict::Unknown);
        prop_assert_eq!(tally.report("x", second), first != second);
        let before = tally.clone();
        prop_assert!(!tally.report("y", Verdict::Down), "nobody tracks it");
        prop_assert_eq!(tally, before);
    }
}

fn strength(standing: Standing) -> u8 {
    match standing {
        Standing::Fault | Standing::Waiting => 0,
        Standing::Priority(priority) => priority.get(),
    }
}

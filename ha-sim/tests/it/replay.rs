//! The same seed makes the same run; bugs are found, and found again.

use std::time::Duration;

use ha_sim::{Chaos, Kind, Quality, Seeds, World, for_seeds};
use proptest::prelude::*;

use super::beacon::{A, B, C, Host, three};
use super::election::{Bug, scenario};

#[expect(clippy::expect_used, reason = "a helper of tests")]
fn run(seed: u64, chaos: &Chaos) -> (Vec<String>, World<Host>) {
    let mut world = three(seed)
        .network(Quality::wan())
        .jitter(Duration::from_micros(300))
        .clock_error_ppm(200)
        .trace_lines(100_000)
        .build();
    chaos.run(&mut world, Duration::from_secs(5)).expect("no invariants");
    (world.trace(), world)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn the_same_seed_makes_the_same_run_and_another_makes_another(seed: u64) {
        let chaos = Chaos::harsh();
        let (trace, world) = run(seed, &chaos);
        let (again, second) = run(seed, &chaos);
        prop_assert!(trace.len() > 1_000);
        prop_assert_eq!(world.stats(), second.stats());
        prop_assert_eq!(&trace, &again);
        prop_assert_ne!(trace, run(seed ^ 1, &chaos).0);
    }

    #[test]
    fn chaos_ends_with_everything_whole(seed: u64, every in 0u64..2_000, longest in 0u64..10_000) {
        let kinds = [Kind::Crash, Kind::Pause, Kind::Partition, Kind::OneWay, Kind::BadNetwork];
        let chaos = Chaos::gentle()
            .every(Duration::from_millis(every.max(20)))
            .longest(Duration::from_millis(longest))
            .kinds(&kinds);
        let (trace, world) = run(seed, &chaos);
        prop_assert!(trace.iter().any(|line| line.contains("FAULT")));
        for (from, to) in [(A, B), (B, A), (A, C), (C, A), (B, C), (C, B)] {
            prop_assert!(world.connects(from, to) && world.is_running(from));
        }
    }
}

#[test]
fn chaos_keeps_to_the_number_of_nodes_that_may_be_down() {
    for seed in 0..20 {
        let mut world = three(seed)
            .invariant(ha_sim::always("one_down", |world: &World<Host>, _| {
                let down = world.nodes().filter(|(node, _)| !world.is_running(*node)).count();
                if down <= 1 { Ok(()) } else { Err(format!("{down} are down")) }
            }))
            .build();
        let chaos = Chaos::harsh().max_down(1).every(Duration::from_millis(200));
        chaos.run(&mut world, Duration::from_secs(20)).unwrap();
    }
}

#[test]
fn planted_bugs_are_found_within_200_seeds_and_replay_to_the_same_violation() {
    for bug in [Bug::CountsFromTheAnswer, Bug::ForgetsPromises, Bug::NeedsNoMajority] {
        let found = (0..200).find_map(|seed| scenario(seed, bug).err());
        let violation = found.unwrap_or_else(|| panic!("{bug:?} was not found"));
        assert_eq!(violation.invariant, "one_leader");
        let again = scenario(violation.seed, bug).expect_err("the seed decides");
        assert_eq!(again, violation);
        assert!(!again.trace.is_empty());
    }
}

#[test]
fn the_mended_election_survives() -> Result<(), ha_sim::Violation> {
    for_seeds(200, |seed| scenario(seed, Bug::None))?;
    Seeds::new(0).regressions(&[7, 1_000_003]).run(|seed| scenario(seed, Bug::None))?;
    Ok(())
}

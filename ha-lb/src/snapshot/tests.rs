//! Groups: priority levels, zones, backups and panic.

use std::net::Ipv4Addr;
use std::time::Duration;

use ha_core::health::Health;
use ha_core::time::{BootClock, Clock};

use crate::algorithm::Algorithm;
use crate::balancer::PickContext;
use crate::endpoint::Endpoint;
use crate::pool::{Pool, PoolBuilder, SlowStart};
use crate::state::{Admin, Share};

fn endpoint(number: usize) -> Endpoint {
    let name = format!("s{number}").parse().expect("a name");
    let port = u16::try_from(number).expect("small");
    Endpoint::new(name, (Ipv4Addr::LOCALHOST, port).into())
}

fn build(list: Vec<Endpoint>, with: impl FnOnce(PoolBuilder) -> PoolBuilder) -> Pool {
    let pool = Pool::builder(Algorithm::RoundRobin.balancer()).endpoints(list);
    with(pool).build().expect("all is allowed")
}

fn down(pool: &Pool, numbers: impl IntoIterator<Item = usize>) {
    for number in numbers {
        let name = format!("s{number}").parse().expect("a name");
        pool.set_health(&name, Health::Unhealthy, "test").expect("known");
    }
}

fn shares(pool: &Pool) -> Vec<i64> {
    let percent = |share: f64| format!("{:.0}", share * 100.0).parse().expect("a number");
    pool.snapshot().shares().map(percent).collect()
}

#[test]
fn the_next_level_gets_what_the_first_cannot_take() {
    // Ten of priority 0, ten of priority 1, one backup.
    let list = (1..=21).map(|number| match number {
        1..=10 => endpoint(number),
        11..=20 => endpoint(number).with_priority(1),
        _ => endpoint(number).with_backup(true),
    });
    let pool = build(list.collect(), |pool| pool);
    assert_eq!(shares(&pool), [100, 0, 0]);
    down(&pool, 1..=2);
    assert_eq!(shares(&pool), [100, 0, 0], "80 % healthy can take 112 %");
    down(&pool, 3..=5);
    assert_eq!(shares(&pool), [70, 30, 0], "as in Envoy's documentation");
    down(&pool, 11..=20);
    assert_eq!(shares(&pool), [100, 0, 0], "nobody else can take the rest");
    down(&pool, 6..=10);
    assert_eq!(shares(&pool), [0, 0, 100], "the backup comes last");
    down(&pool, [21]);
    assert_eq!(shares(&pool), [0, 0, 0]);
    assert!(pool.pick(&PickContext::new()).is_err());
}

#[test]
fn picks_follow_the_shares_of_the_levels() {
    let list = (1..=4).map(|n| endpoint(n).with_priority(u8::from(n > 2)));
    let pool = build(list.collect(), |pool| pool);
    down(&pool, [1]);
    let mut spilled = 0;
    for _ in 0..10_000 {
        let pick = pool.pick(&PickContext::new()).expect("usable");
        spilled += u32::from(matches!(pick.name().as_str(), "s3" | "s4"));
    }
    assert!((2_700..3_300).contains(&spilled), "30 % spill, not {spilled} of 10,000");
}

#[test]
fn a_key_stays_in_its_level_as_long_as_shares_allow() {
    let list: Vec<_> = (1..=40).map(|n| endpoint(n).with_priority(u8::from(n > 20))).collect();
    let algorithm: Algorithm = "hash,hash-type=maglev".parse().expect("an algorithm");
    let pool = Pool::new(&algorithm, list).expect("unique names");
    let place = |key: u32| {
        let key = key.to_string();
        let pick = pool.pick(&PickContext::new().with_hash_key(key.as_bytes()));
        pick.expect("usable").name().to_string()
    };
    down(&pool, 1..=10);
    let before: Vec<_> = (0..1_000).map(place).collect();
    assert_eq!((0..1_000).map(place).collect::<Vec<_>>(), before);
}

#[test]
fn work_stays_in_the_own_zone_as_far_as_it_can_carry_it() {
    let zones = ["own", "own", "b", "b", "c", "c"];
    let list = (1..).zip(zones).map(|(number, zone)| endpoint(number).with_zone(zone));
    let pool = build(list.collect(), |pool| pool.zone("own"));
    assert_eq!(shares(&pool), [100, 0], "a third of the weight, a third of the clients");
    down(&pool, [1]);
    assert_eq!(shares(&pool), [60, 40], "a fifth of the usable weight, times three zones");
    down(&pool, [2]);
    assert_eq!(shares(&pool), [0, 100]);
}

#[test]
fn in_a_panic_all_that_are_ready_are_used() {
    let pool = build((1..=10).map(endpoint).collect(), |pool| pool.panic_threshold(50));
    pool.set_admin(&"s10".parse().expect("a name"), Admin::Drain);
    let used = || {
        let picks = (0..1_000).filter_map(|_| pool.pick(&PickContext::new()).ok());
        picks.map(|pick| pick.name().clone()).collect::<std::collections::BTreeSet<_>>().len()
    };
    assert_eq!(used(), 9);
    down(&pool, 1..=4);
    assert_eq!(used(), 5, "half of all are healthy");
    down(&pool, [5]);
    assert_eq!(used(), 9, "too few are healthy: health is ignored, the drained one is not used");
    pool.set_health(&"s5".parse().expect("a name"), Health::Healthy, "test");
    assert_eq!(used(), 5);
    assert!(build(Vec::new(), |pool| pool.panic_threshold(50)).pick(&PickContext::new()).is_err());
}

#[test]
fn an_ejected_endpoint_gets_nothing_and_says_why() {
    let pool = build((1..=2).map(endpoint).collect(), |pool| pool);
    let s1 = "s1".parse().expect("a name");
    assert_eq!(pool.eject(&s1, "5 errors in a row"), Some(false));
    for _ in 0..10 {
        assert_eq!(pool.pick(&PickContext::new()).expect("usable").name().as_str(), "s2");
    }
    let text = pool.explain(&PickContext::new()).to_string();
    assert!(text.ends_with("not s1: ejected: 5 errors in a row"), "{text}");
    assert_eq!(pool.restore(&s1, "its time is over"), Some(true));
    assert!((0..10).any(|_| pool.pick(&PickContext::new()).expect("usable").name() == &s1));
}

/// How many of 10,000 picks go to the first endpoint.
fn part_of_first(pool: &Pool) -> u32 {
    let first = |_| {
        let pick = pool.pick(&PickContext::new()).expect("usable");
        u32::from(pick.name().as_str() == "s1")
    };
    (0..10_000).map(first).sum()
}

#[test]
fn a_part_of_the_share_is_a_part_of_the_picks() {
    for algorithm in ["round-robin", "random,draws=1", "hash,hash-type=rendezvous"] {
        let algorithm: Algorithm = algorithm.parse().expect("an algorithm");
        let pool = Pool::new(&algorithm, (1..=2).map(endpoint).collect()).expect("unique names");
        let s1 = "s1".parse().expect("a name");
        assert_eq!(pool.set_share(&s1, Share::of_percent(25)), Some(Share::WHOLE));
        let mut first = 0;
        for key in 0..10_000_u32 {
            let key = key.to_string();
            let pick = pool.pick(&PickContext::new().with_hash_key(key.as_bytes()));
            first += u32::from(pick.expect("usable").name() == &s1);
        }
        // A quarter against a whole: a fifth. For a hash: a quarter of its half.
        let range = if pool.algorithm() == "hash" { 1_100..1_400 } else { 1_800..2_200 };
        assert!(range.contains(&first), "{algorithm}: {first}");
    }
    let pool = Pool::new(&Algorithm::LeastConnections, (1..=2).map(endpoint).collect());
    let pool = pool.expect("unique names");
    pool.set_share(&"s1".parse().expect("a name"), Share::of_percent(25));
    let held: Vec<_> = (0..500).map(|_| pool.pick(&PickContext::new()).expect("ok")).collect();
    assert_eq!(held.iter().filter(|pick| pick.name().as_str() == "s1").count(), 100);
}

#[test]
fn an_endpoint_that_comes_back_takes_up_work_little_by_little() {
    let slow = SlowStart::new(Duration::from_hours(1));
    let pool = build((1..=2).map(endpoint).collect(), |pool| pool.slow_start(slow));
    let s1 = "s1".parse().expect("a name");
    down(&pool, [1]);
    assert_eq!(part_of_first(&pool), 0);
    pool.set_health(&s1, Health::Healthy, "test");
    assert!((700..1_150).contains(&part_of_first(&pool)), "a tenth against a whole");
    let now = BootClock::new().now();
    assert!(pool.advance(now).is_some());
    assert!(pool.advance(now + Duration::from_mins(30)).is_some());
    assert!((3_000..3_700).contains(&part_of_first(&pool)), "a half against a whole");
    assert_eq!(pool.advance(now + Duration::from_secs(3_601)), None);
    assert!((4_900..=5_100).contains(&part_of_first(&pool)));
    // An update of the list keeps all that.
    pool.update((1..=3).map(endpoint).collect()).expect("unique names");
    assert!((3_200..=3_500).contains(&part_of_first(&pool)));
}

#[test]
fn a_weight_can_be_set_and_keeps_the_connections() {
    let pool = build((1..=2).map(endpoint).collect(), |pool| pool);
    let s1 = "s1".parse().expect("a name");
    let held = pool.pick(&PickContext::new()).expect("usable");
    let three = crate::endpoint::Weight::new(3).expect("in range");
    assert_eq!(pool.set_weight(&s1, three), Some(crate::endpoint::Weight::ONE));
    assert!((7_400..=7_600).contains(&part_of_first(&pool)));
    assert_eq!(held.state().connections(), 1);
    pool.set_weight(&s1, crate::endpoint::Weight::ZERO);
    assert_eq!(part_of_first(&pool), 0);
}

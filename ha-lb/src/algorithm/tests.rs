//! What every algorithm must keep, and what each promises.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use ha_core::health::Health;
use ha_core::time::Instant;
use proptest::prelude::*;
use serde::Deserialize;

use super::*;
use crate::balancer::PickContext;
use crate::endpoint::{Endpoint, Weight};
use crate::pick::{Outcome, PickError};
use crate::pool::Pool;
use crate::state::Admin;

fn endpoint(index: usize, weight: u16) -> Endpoint {
    let name = format!("s{}", index + 1).parse().expect("a name");
    let port = u16::try_from(index % 60_000 + 1).expect("a port");
    Endpoint::new(name, (Ipv4Addr::LOCALHOST, port).into())
        .with_weight(Weight::new(weight).expect("in range"))
}

fn endpoints(weights: &[u16]) -> Vec<Endpoint> {
    weights.iter().enumerate().map(|(index, weight)| endpoint(index, *weight)).collect()
}

fn pool(algorithm: &str, weights: &[u16]) -> Pool {
    let algorithm: Algorithm = algorithm.parse().expect("an algorithm");
    Pool::new(&algorithm, endpoints(weights)).expect("unique names")
}

fn client(number: u32) -> PickContext<'static> {
    PickContext::new().with_client(IpAddr::V4(number.into()))
}

/// How often each endpoint is picked in `picks` picks that end at once.
fn shares(pool: &Pool, picks: u32) -> BTreeMap<String, u32> {
    let mut shares = BTreeMap::new();
    for number in 0..picks {
        let pick = pool.pick(&client(number)).expect("one is usable");
        *shares.entry(pick.name().to_string()).or_default() += 1;
    }
    shares
}

const ALL: [&str; 17] = [
    "round-robin",
    "static-rr",
    "least-connections",
    "least-time",
    "random",
    "random,draws=1",
    "peak-ewma",
    "prequal",
    "first",
    "source",
    "source,hash-type=consistent",
    "source,hash-type=ketama",
    "source,hash-type=nginx",
    "source,hash-type=maglev,size=1000",
    "source,hash-type=rendezvous,balance-factor=150",
    "source,hash-type=multi-probe",
    "source,hash-type=jump",
];

/// What an endpoint of the property tests is: weight, health, administrative state, limit, backup.
type Kind = (u16, Health, Admin, u32, bool);

fn kinds() -> impl Strategy<Value = Vec<Kind>> {
    let health = prop::sample::select(vec![Health::Healthy, Health::Unhealthy, Health::Unknown]);
    let admin = prop::sample::select(vec![
        Admin::Ready,
        Admin::Ready,
        Admin::Ready,
        Admin::Drain,
        Admin::Maintenance,
    ]);
    let weight = prop_oneof![Just(0_u16), Just(1), Just(256), 0_u16..=256];
    prop::collection::vec((weight, health, admin, 0_u32..3, any::<bool>()), 0..12)
}

fn build(algorithm: &str, kinds: &[Kind]) -> Pool {
    let list = kinds.iter().enumerate().map(|(index, (weight, _, _, limit, backup))| {
        endpoint(index, *weight).with_max_connections(*limit).with_backup(*backup)
    });
    let algorithm: Algorithm = algorithm.parse().expect("an algorithm");
    let pool = Pool::new(&algorithm, list.collect()).expect("unique names");
    for (index, (_, health, admin, _, _)) in kinds.iter().enumerate() {
        let name = format!("s{}", index + 1).parse().expect("a name");
        pool.set_health(&name, *health, "test").expect("known");
        pool.set_admin(&name, *admin).expect("known");
    }
    pool
}

fn usable((weight, health, admin, _, _): &Kind) -> bool {
    *weight > 0 && *health != Health::Unhealthy && *admin == Admin::Ready
}

proptest! {
    #[test]
    fn only_usable_endpoints_are_picked_until_all_are_full_or_tried(
        kinds in kinds(), which in 0..ALL.len(), clients: [u32; 24],
    ) {
        let pool = build(ALL[which], &kinds);
        let regular = kinds.iter().any(|kind| usable(kind) && !kind.4);
        let allowed = |kind: &Kind| usable(kind) && kind.4 != regular;
        let room = kinds.iter().filter(|kind| allowed(kind)).map(|kind| match kind.3 {
            0 => usize::MAX,
            limit => usize::try_from(limit).expect("small"),
        });
        let room = room.fold(0_usize, usize::saturating_add);
        let mut held = Vec::new();
        for number in clients {
            match pool.pick(&client(number)) {
                Ok(pick) => {
                    let index: usize = pick.name().as_str()[1..].parse().expect("a number");
                    let kind = &kinds[index - 1];
                    prop_assert!(allowed(kind), "{:?} was picked", kind);
                    let limit = if kind.3 == 0 { u32::MAX } else { kind.3 };
                    prop_assert!(pick.state().connections() <= limit);
                    held.push(pick);
                }
                Err(PickError::Empty) => prop_assert!(kinds.is_empty()),
                Err(PickError::NoneUsable) => prop_assert!(!kinds.iter().any(usable)),
                Err(PickError::AllFull) => prop_assert_eq!(held.len(), room),
                Err(error) => prop_assert!(false, "{}", error),
            }
            prop_assert!(!pool.explain(&client(number)).to_string().is_empty());
        }
        // Each endpoint is tried once, then the pool says that all were.
        let used: Vec<_> = held.iter().map(|pick| Arc::clone(pick.state())).collect();
        drop(held);
        prop_assert!(used.iter().all(|state| state.connections() == 0));
        let mut tried = Vec::new();
        while let Ok(pick) = pool.pick(&client(7).with_excluded(&tried)) {
            tried.push(Arc::clone(pick.state()));
            prop_assert!(tried.len() <= kinds.len());
        }
        prop_assert_eq!(tried.len(), kinds.iter().filter(|kind| allowed(kind)).count());
    }

    #[test]
    fn round_robin_is_exact_over_a_cycle_and_even_within_it(
        weights in prop::collection::vec(0_u16..=256, 1..9),
    ) {
        let total: u32 = weights.iter().map(|weight| u32::from(*weight)).sum();
        prop_assume!(total > 0);
        let pool = pool("round-robin", &weights);
        let mut counts = vec![0_u32; weights.len()];
        for picked in 1..=total {
            let pick = pool.pick(&PickContext::new()).expect("usable");
            let index: usize = pick.name().as_str()[1..].parse().expect("a number");
            counts[index - 1] += 1;
            for (count, weight) in counts.iter().zip(&weights) {
                let ideal = f64::from(picked) * f64::from(*weight) / f64::from(total);
                let off = (f64::from(*count) - ideal).abs();
                // Each of the others may be half a turn early or late, of which a share counts here.
                let share = f64::from(*weight) / f64::from(total);
                let others = f64::from(u32::try_from(weights.len()).expect("few"));
                let most = 1.5 + share * others / 2.0;
                prop_assert!(off <= most, "{off} off after {picked} of {total}: {weights:?}");
            }
        }
        for (count, weight) in counts.iter().zip(&weights) {
            prop_assert_eq!(*count, u32::from(*weight));
        }
    }

    #[test]
    fn the_map_is_that_of_the_recipe(weights in prop::collection::vec(0_u16..=256, 1..8)) {
        prop_assume!(weights.iter().any(|weight| *weight > 0));
        let pool = pool("source", &weights);
        let gcd = weights.iter().fold(0_u64, |a, b| {
            let (mut a, mut b) = (a, u64::from(*b));
            while b > 0 {
                (a, b) = (b, a % b);
            }
            a
        });
        let reduced: Vec<u64> = weights.iter().map(|weight| u64::from(*weight) / gcd).collect();
        let total: u64 = reduced.iter().sum();
        let total = i64::try_from(total).expect("small");
        let mut scores = vec![0_i64; reduced.len()];
        for slot in 0..total {
            let mut best: Option<(usize, i64)> = None;
            for (index, weight) in reduced.iter().enumerate().filter(|(_, weight)| **weight > 0) {
                scores[index] += i64::try_from(*weight).expect("small");
                let value = (scores[index] + total).div_euclid(total);
                if best.is_none_or(|(_, max)| value > max) {
                    best = Some((index, value));
                }
            }
            let (index, _) = best.expect("one is usable");
            scores[index] -= total;
            let pick = pool.pick(&client(u32::try_from(slot).expect("small"))).expect("usable");
            prop_assert_eq!(pick.name().as_str(), format!("s{}", index + 1));
        }
    }

    #[test]
    fn any_text_is_an_algorithm_that_round_trips_or_an_error(
        text in prop_oneof![
            any::<String>(),
            "(source|random|uri|cookie|first)(,(draws|hash-type|function|name|len)=[a-z0-9-]{0,12}){0,3}",
            "source(,hash-type=(map-based|consistent))?(,function=(sdbm|wt6|none))?(,avalanche=true)?",
            "(hash|uri,depth=[0-9]{1,5}|header,name=[!-<>-~]{1,9})(,hash-type=(maglev,size=[0-9]{1,8}|jump))?\
             (,balance-factor=[0-9]{2,5})?",
            "single-writer(,failback=(always|never|x))?",
        ],
    ) {
        if let Ok(algorithm) = text.parse::<Algorithm>() {
            prop_assert_eq!(algorithm.to_string().parse::<Algorithm>(), Ok(algorithm));
        }
    }
}

#[test]
fn random_keeps_shares_by_weight() {
    for algorithm in ["random", "random,draws=1"] {
        let shares = shares(&pool(algorithm, &[1, 0, 2, 7]), 20_000);
        assert_eq!(shares.get("s2"), None, "weight 0 is never drawn");
        if algorithm == "random,draws=1" {
            // Six standard deviations: never wrong by chance.
            assert!((1_700..2_300).contains(&shares["s1"]), "{shares:?}");
            assert!((13_600..14_400).contains(&shares["s4"]), "{shares:?}");
        }
    }
}

#[test]
fn least_connections_fills_up_by_weight_and_equals_take_turns() {
    let weighted = pool("least-connections", &[1, 3, 6]);
    let held: Vec<_> = (0..100).map(|_| weighted.pick(&PickContext::new()).expect("ok")).collect();
    let connections: Vec<_> =
        weighted.snapshot().iter().map(|(_, state)| state.connections()).collect();
    assert_eq!(connections, [10, 30, 60]);
    drop(held);
    let equal = shares(&pool("least-connections", &[1, 1, 1, 1]), 400);
    assert!(equal.values().all(|share| *share == 100), "{equal:?}");
}

#[test]
fn huge_pools_are_balanced_too() {
    let weights: Vec<u16> = (0..3_000).map(|index| index % 17).collect();
    for algorithm in ALL.into_iter().filter(|algorithm| *algorithm != "first") {
        let pool = pool(algorithm, &weights);
        // Held, or least connections would rightly go on picking the heaviest.
        let held: Vec<_> =
            (0..2_000).map(|number| pool.pick(&client(number)).expect("usable")).collect();
        let picked: BTreeSet<_> = held.iter().map(crate::pick::Pick::name).collect();
        assert!(picked.len() > 500, "{algorithm}: {}", picked.len());
    }
}

#[test]
fn a_hash_moves_only_the_clients_of_the_endpoint_that_is_down() {
    for method in ["consistent", "ketama", "nginx", "maglev", "rendezvous", "multi-probe", "jump"] {
        let pool = pool(&format!("source,hash-type={method}"), &[10; 5]);
        let place = |number| pool.pick(&client(number)).expect("usable").name().to_string();
        let before: Vec<_> = (0..2_000).map(place).collect();
        pool.set_health(&"s3".parse().expect("a name"), Health::Unhealthy, "test");
        let mut heirs = BTreeSet::new();
        for (number, was) in (0..2_000).zip(&before) {
            let is = place(number);
            assert!(is != "s3" && (was == "s3" || is == *was), "{method} {number}: {was} to {is}");
            heirs.extend((was == "s3").then_some(is));
        }
        assert_eq!(heirs.len(), 4, "{method}: all others take over a part");
        pool.set_health(&"s3".parse().expect("a name"), Health::Healthy, "test");
        assert_eq!((0..2_000).map(place).collect::<Vec<_>>(), before, "{method}");
    }
}

/// Largest and smallest share over the mean, of `keys` keys on `size` endpoints.
fn imbalance(algorithm: &str, size: usize, keys: u32) -> (f64, f64) {
    let pool = pool(algorithm, &vec![1; size]);
    let mut counts = vec![0_u32; size];
    for key in 0..keys {
        let key = key.to_string();
        let pick = pool.pick(&PickContext::new().with_hash_key(key.as_bytes())).expect("usable");
        let index: usize = pick.name().as_str()[1..].parse().expect("a number");
        counts[index - 1] += 1;
    }
    let mean = f64::from(keys) / f64::from(u32::try_from(size).expect("small"));
    let over = |count: Option<&u32>| f64::from(*count.expect("some")) / mean;
    (over(counts.iter().max()), over(counts.iter().min()))
}

#[test]
fn shares_of_hashes_are_within_published_bounds() {
    // 200,000 keys on 100 endpoints: chance alone makes 7 % of difference.
    for (algorithm, most, least) in [
        ("hash,hash-type=maglev", 1.12, 0.90),
        ("hash,hash-type=rendezvous", 1.09, 0.91),
        ("hash,hash-type=jump", 1.09, 0.91),
        // The paper bounds the fullest only; it is 1.05, and chance.
        ("hash,hash-type=multi-probe", 1.15, 0.0),
        ("hash,hash-type=ketama", 1.40, 0.65),
        ("hash,hash-type=nginx", 1.40, 0.65),
    ] {
        let (max, min) = imbalance(algorithm, 100, 200_000);
        assert!(max <= most && min >= least, "{algorithm}: {max} and {min} of the mean");
    }
}

#[test]
fn few_keys_move_when_the_list_changes() {
    for (algorithm, most) in [
        ("hash,hash-type=ketama", 0.0),
        ("hash,hash-type=nginx", 0.0),
        ("hash,hash-type=rendezvous", 0.0),
        ("hash,hash-type=multi-probe", 0.0),
        // Measured for the paper's table: half a percent at a hundred endpoints.
        ("hash,hash-type=maglev", 0.02),
    ] {
        let pool = pool(algorithm, &[1; 100]);
        let place = |key: u32| {
            let key = key.to_string();
            let pick = pool.pick(&PickContext::new().with_hash_key(key.as_bytes()));
            pick.expect("usable").name().to_string()
        };
        let before: Vec<_> = (0..20_000).map(place).collect();
        let mut list = endpoints(&[1; 100]);
        list.remove(50);
        pool.update(list).expect("unique names");
        let moved =
            (0..20_000).zip(&before).filter(|(key, was)| *was != "s51" && place(*key) != **was);
        let needless = f64::from(u32::try_from(moved.count()).expect("small")) / 20_000.0;
        assert!(needless <= most, "{algorithm}: {needless} moved needlessly");
    }
}

#[test]
fn ketama_places_as_libmemcached_does_and_weights_count() {
    let shares = {
        let pool = pool("hash,hash-type=ketama", &[1, 2, 3]);
        let mut counts = BTreeMap::new();
        for key in 0..30_000_u32 {
            let key = key.to_string();
            let context = PickContext::new().with_hash_key(key.as_bytes());
            let name = pool.pick(&context).expect("usable").name().to_string();
            *counts.entry(name).or_insert(0_u32) += 1;
        }
        counts
    };
    assert!((3_500..6_500).contains(&shares["s1"]), "{shares:?}");
    assert!((12_500..17_500).contains(&shares["s3"]), "{shares:?}");
}

#[test]
fn no_endpoint_has_more_than_its_bound() {
    for method in ["map-based", "consistent", "maglev", "rendezvous", "multi-probe", "jump"] {
        let pool = pool(&format!("hash,hash-type={method},balance-factor=125"), &[1; 8]);
        // One key that all ask for.
        let context = PickContext::new().with_hash_key(b"front page");
        let held: Vec<_> = (0..800).map(|_| pool.pick(&context).expect("usable")).collect();
        let snapshot = pool.snapshot();
        let most = snapshot.iter().map(|(_, state)| state.connections()).max();
        assert_eq!(most, Some(125), "{method}: 1.25 times the mean of 100");
        drop(held);
    }
}

#[test]
fn the_first_is_filled_before_the_next_gets_any() {
    let list = endpoints(&[1, 1, 1]).into_iter().map(|e| e.with_max_connections(2)).collect();
    let pool = Pool::new(&Algorithm::First, list).expect("unique names");
    let held: Vec<_> = (0..5).map(|_| pool.pick(&PickContext::new()).expect("ok")).collect();
    let names: Vec<_> = held.iter().map(|pick| pick.name().as_str()).collect();
    assert_eq!(names, ["s1", "s1", "s2", "s2", "s3"]);
}

#[test]
fn the_writer_is_the_same_everywhere_and_stays_if_told_to() {
    for (failback, back) in [("always", "s1"), ("never", "s2")] {
        let pools = [0, 1].map(|_| pool(&format!("single-writer,failback={failback}"), &[1, 5, 9]));
        let writers =
            || pools.each_ref().map(|p| p.pick(&client(1)).expect("ok").name().to_string());
        let s1 = "s1".parse().expect("a name");
        assert_eq!(writers(), ["s1", "s1"]);
        for pool in &pools {
            pool.set_health(&s1, Health::Unhealthy, "test");
        }
        assert_eq!(writers(), ["s2", "s2"]);
        for pool in &pools {
            pool.set_health(&s1, Health::Healthy, "test");
        }
        assert_eq!(writers(), [back, back]);
    }
}

#[test]
fn slow_endpoints_get_less_and_are_tried_again() {
    use std::time::Duration;
    for algorithm in ["peak-ewma", "least-time"] {
        let pool = pool(algorithm, &[1; 4]);
        let mut counts = BTreeMap::new();
        for step in 0..4_000 {
            let now = Instant::ZERO + Duration::from_millis(step);
            // Two draws are the first twice in a sixteenth of all cases.
            // Four at a time, of which those to the first endpoint take fifty times as long.
            let context = PickContext::new().with_now(now);
            let picks = [0; 4].map(|_| pool.pick(&context).expect("usable"));
            for pick in picks {
                let slow = pick.name().as_str() == "s1";
                *counts.entry(pick.name().to_string()).or_insert(0_u32) += 1;
                let took = Duration::from_millis(if slow { 100 } else { 2 });
                pick.finish_after(Outcome::Completed, took, now);
            }
        }
        assert!(counts["s1"] < 1_300 && counts["s2"] > 3_000, "{algorithm}: {counts:?}");
    }
}

#[test]
fn an_update_keeps_what_is_known_of_surviving_endpoints() {
    let pool = pool("round-robin", &[1, 1, 1]);
    let names = ["s1", "s2", "s3"].map(|name| name.parse().expect("a name"));
    pool.set_health(&names[1], Health::Unhealthy, "test");
    let held = pool.pick(&PickContext::new()).expect("usable");
    assert_eq!(held.name().as_str(), "s1");
    let mut list = endpoints(&[5, 1]);
    list.reverse();
    pool.update(list).expect("unique names");
    let snapshot = pool.snapshot();
    let seen: Vec<_> = snapshot
        .iter()
        .map(|(endpoint, state)| (endpoint.name().as_str(), state.connections(), state.health()))
        .collect();
    assert_eq!(seen, [("s2", 0, Health::Unhealthy), ("s1", 1, Health::Unknown)]);
    drop(held);
    assert_eq!(pool.snapshot().iter().map(|(_, state)| state.connections()).sum::<u32>(), 0);
    // Another address is another endpoint, even with the same name.
    let moved = Endpoint::new(names[1].clone(), ([127, 0, 0, 9], 9).into());
    pool.update(vec![moved]).expect("unique names");
    assert_eq!(pool.pick(&PickContext::new()).expect("usable").name(), &names[1]);
}

#[test]
fn a_name_that_occurs_twice_is_refused_and_the_list_stays() {
    let pool = pool("round-robin", &[1]);
    let error = pool.update(vec![endpoint(0, 1), endpoint(1, 1), endpoint(0, 2)]);
    let error = error.expect_err("s1 occurs twice").to_string();
    assert!(error.starts_with("backends[2].name: s1 is not allowed"), "{error}");
    assert_eq!(pool.snapshot().len(), 1);
}

#[test]
fn an_explanation_names_the_choice_and_every_one_passed_over() {
    let pool = pool("least-connections", &[1, 0, 1]);
    pool.set_health(&"s3".parse().expect("a name"), Health::Unhealthy, "connection refused");
    assert_eq!(
        pool.explain(&PickContext::new()).to_string(),
        "least-connections: s1, fewest connections for its weight: 0 at weight 1; not s2: weight \
         0; not s3: unhealthy: connection refused",
    );
}

#[derive(Deserialize)]
struct Recorded {
    server_sets: BTreeMap<String, ServerSet>,
    keys: BTreeMap<String, Vec<String>>,
    vectors: Vec<Vector>,
}

#[derive(Deserialize)]
struct ServerSet {
    weights: Vec<u16>,
    down: Vec<usize>,
}

#[derive(Deserialize)]
struct Vector {
    servers: String,
    balance: String,
    hash_type: String,
    keys: String,
    picked: Vec<usize>,
}

/// An algorithm in our words for HAProxy's `balance` and `hash-type`.
fn from_haproxy(balance: &str, hash_type: &str) -> String {
    let mut text = match balance {
        "hdr(X-Key)" => "header,name=X-Key".to_owned(),
        "url_param k" => "query,name=k".to_owned(),
        "uri whole" => "uri,whole=true".to_owned(),
        balance => match balance.split(' ').collect::<Vec<_>>()[..] {
            ["uri", option, number] => format!("uri,{option}={number}"),
            _ => balance.to_owned(),
        },
    };
    for word in hash_type.split(' ').filter(|word| *word != "(default)") {
        let (key, value) = match word {
            "map-based" | "consistent" => ("hash-type", word),
            "avalanche" => ("avalanche", "true"),
            function => ("function", function),
        };
        text.extend([",", key, "=", value]);
    }
    text
}

#[test]
fn every_key_goes_where_haproxy_sends_it() {
    let text = include_str!("../../testdata/haproxy-hash.json");
    let vectors: Recorded = serde_json::from_str(text).expect("the recorded vectors");
    let mut compared = 0;
    for vector in &vectors.vectors {
        let algorithm = from_haproxy(&vector.balance, &vector.hash_type);
        let set = &vectors.server_sets[&vector.servers];
        let pool = pool(&algorithm, &set.weights);
        for down in &set.down {
            pool.set_admin(&format!("s{down}").parse().expect("a name"), Admin::Maintenance);
        }
        for (text, picked) in vectors.keys[&vector.keys].iter().zip(&vector.picked) {
            if text.is_empty() {
                // HAProxy takes turns without a key, and has taken some already.
                continue;
            }
            let key = match pool.key() {
                Some(hash::Key::Uri(uri)) => uri.of(text.as_bytes()),
                Some(_) | None => text.as_bytes(),
            };
            let client = text.parse().unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
            let context = PickContext::new().with_client(client).with_hash_key(key);
            let pick = pool.pick(&context).expect("usable");
            let servers = &vector.servers;
            assert_eq!(pick.name().as_str(), format!("s{picked}"), "{servers} {algorithm} {text}");
            compared += 1;
        }
    }
    assert!(compared > 10_000, "{compared} picks were compared");
}

#[test]
fn counts_are_right_after_picks_and_changes_at_the_same_time() {
    for algorithm in ALL {
        let pool = pool(algorithm, &[3, 1, 2, 5]);
        let name = "s2".parse().expect("a name");
        std::thread::scope(|scope| {
            for thread in 0..3 {
                let pool = pool.clone();
                scope.spawn(move || {
                    for number in 0..2_000 {
                        let pick = pool.pick(&client(thread * 10_000 + number));
                        pick.expect("three are always usable").finish(Outcome::Completed);
                    }
                });
            }
            for round in 0..200_u16 {
                pool.set_health(&name, Health::Unhealthy, "test");
                pool.update(endpoints(&[3, 1, 2, round % 7 + 1])).expect("unique names");
                pool.set_health(&name, Health::Healthy, "test");
            }
        });
        let snapshot = pool.snapshot();
        let states = snapshot.iter().map(|(_, state)| (state.connections(), state.totals()));
        let (open, done): (Vec<_>, Vec<_>) =
            states.map(|(open, totals)| (open, totals.completed)).unzip();
        assert_eq!((open.iter().sum::<u32>(), done.iter().sum::<u64>()), (0, 6_000));
    }
}

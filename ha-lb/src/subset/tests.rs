//! How evenly connections are spread, and how many change.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

fn servers(count: u32) -> Vec<Endpoint> {
    (1..=count)
        .map(|number| {
            let name = format!("s{number:05}").parse().expect("a name");
            Endpoint::new(name, ([10, 0, 0, 1], 80).into())
        })
        .collect()
}

type Names = BTreeSet<String>;

fn names(endpoints: &[Endpoint]) -> Names {
    endpoints.iter().map(|endpoint| endpoint.name().to_string()).collect()
}

/// The subset of each client.
fn fleet<S: Subset>(clients: u32, list: &[Endpoint], subset: impl Fn(u32) -> S) -> Vec<Names> {
    (0..clients).map(|client| names(&subset(client).apply(list.to_vec()))).collect()
}

/// The least and the most connections of a server.
fn spread(list: &[Endpoint], fleet: &[Names]) -> (usize, usize) {
    let mut counts: BTreeMap<_, usize> = names(list).into_iter().map(|name| (name, 0)).collect();
    for name in fleet.iter().flatten() {
        *counts.get_mut(name).expect("of the list") += 1;
    }
    let least = counts.values().min().copied().expect("not empty");
    (least, counts.values().max().copied().expect("not empty"))
}

/// How many connections each client makes anew.
fn made(before: &[Names], after: &[Names]) -> Vec<usize> {
    before.iter().zip(after).map(|(old, new)| new.difference(old).count()).collect()
}

fn aperture(clients: u32) -> impl Fn(u32) -> Aperture {
    move |client| Aperture::new(client, clients).expect("in range")
}

fn steady(size: usize) -> impl Fn(u32) -> Rocksteadier {
    move |client| Rocksteadier::new(client, size).expect("in range")
}

fn rendezvous(size: usize) -> impl Fn(u32) -> Rendezvous {
    move |client| Rendezvous::new(format!("client-{client}"), size).expect("in range")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn apertures_cover_every_server_equally(
        clients in 1_u32..60, count in 1_u32..90, least in 1_u32..20,
    ) {
        let list = servers(count);
        let of = |client| aperture(clients)(client).with_least(least);
        let subsets = fleet(clients, &list, of);
        let (fewest, most) = spread(&list, &subsets);
        prop_assert!(fewest >= 1 && most - fewest <= 1, "{fewest} to {most}");
        let wanted = usize::try_from(least.min(count)).expect("small");
        prop_assert!(subsets.iter().all(|subset| subset.len() >= wanted));
        // And not many more: the arc's length is rounded up to a client's part, and has two ends.
        let part = usize::try_from(count.div_ceil(clients)).expect("small");
        prop_assert!(subsets.iter().all(|subset| subset.len() <= wanted + part + 2));
        // The load: weights add up to the same for each server, but for their rounding.
        let mut loads: BTreeMap<String, f64> = BTreeMap::new();
        for client in 0..clients {
            let subset = of(client).apply(list.clone());
            let whole = subset.iter().map(|server| f64::from(server.weight().get())).sum::<f64>();
            for server in subset {
                let part = f64::from(server.weight().get()) / whole;
                *loads.entry(server.name().to_string()).or_default() += part;
            }
        }
        let fair = f64::from(clients) / f64::from(count);
        for load in loads.values() {
            prop_assert!((load / fair - 1.0).abs() < 0.06, "{load} of {fair}");
        }
    }

    #[test]
    fn a_subset_depends_on_the_set_not_on_its_order_and_keeps_it(
        count in 1_u32..60, client in 0_u32..400, size in 1_usize..30, turn in 0_usize..60,
    ) {
        let list = servers(count);
        let mut turned = list.clone();
        turned.rotate_left(turn % list.len());
        let subsets: [Box<dyn Subset>; 3] = [
            Box::new(Aperture::new(client, 400).expect("in range")),
            Box::new(steady(size)(client)),
            Box::new(rendezvous(size)(client)),
        ];
        for subset in &subsets {
            let chosen = subset.apply(list.clone());
            prop_assert_eq!(names(&chosen), names(&subset.apply(turned.clone())));
            let places: Vec<_> = chosen.iter().map(Endpoint::name).collect();
            prop_assert!(places.is_sorted());
        }
        for subset in &subsets[1..] {
            prop_assert_eq!(subset.apply(list.clone()).len(), size.min(list.len()));
        }
    }

    #[test]
    fn rings_are_even_and_nobody_moves_who_need_not(
        clients in 1_u32..700, count in 30_u32..200, size in 8_usize..25,
    ) {
        let list = servers(count);
        let before = fleet(clients, &list, steady(size));
        // A server that comes: one change a client at most, and no more in all than it gets.
        let after = fleet(clients, &servers(count + 1), steady(size));
        let changes = made(&before, &after);
        prop_assert!(changes.iter().all(|made| *made <= 1));
        let new = names(&servers(count + 1)).difference(&names(&list)).next().cloned();
        let new = new.expect("one is new");
        let gets = after.iter().filter(|subset| subset.contains(&new)).count();
        prop_assert_eq!(changes.iter().sum::<usize>(), gets);
    }

    #[test]
    fn of_names_by_chance_one_changes_for_one(
        clients in 1_u32..60, count in 2_u32..90, size in 1_usize..20,
        gone in any::<prop::sample::Index>(),
    ) {
        let list = servers(count);
        let before = fleet(clients, &list, rendezvous(size));
        let mut fewer = list.clone();
        let gone = fewer.remove(gone.index(list.len())).name().to_string();
        let after = fleet(clients, &fewer, rendezvous(size));
        for ((old, new), made) in before.iter().zip(&after).zip(made(&before, &after)) {
            prop_assert!(made <= usize::from(old.contains(&gone)));
            prop_assert!(old.difference(new).all(|name| *name == gone));
        }
    }
}

#[test]
fn connections_are_more_even_on_rings_than_by_chance() {
    for (clients, count, size) in [(1_000, 200, 20), (500, 300, 25), (2_000, 1_000, 20)] {
        let list = servers(count);
        let (least, most) = spread(&list, &fleet(clients, &list, steady(size)));
        let (lowest, highest) = spread(&list, &fleet(clients, &list, rendezvous(size)));
        let mean = usize::try_from(clients).expect("small") * size / list.len();
        assert!(most - least < (highest - lowest) / 2, "{least}..{most}, {lowest}..{highest}");
        assert!(most * 10 <= mean * 12 && least * 10 >= mean * 8, "{least}..{most}");
    }
}

#[test]
fn on_one_ring_the_fullest_has_at_most_twice_as_many_as_the_emptiest() {
    // Neighbouring places of the sequence are at most twice as far apart as any others.
    for count in [40, 64, 100, 129] {
        let list = servers(count);
        let of = |client| steady(16)(client).with_lot(4_096);
        let (least, most) = spread(&list, &fleet(4_096, &list, of));
        assert!(most <= least * 2, "{count}: {least}..{most}");
    }
}

#[test]
fn lots_mix_the_servers_that_neighbours_share() {
    let list = servers(256);
    let subsets = fleet(512, &list, |client| steady(16)(client).with_lot(64));
    // Clients of the same place on different rings.
    let shared = subsets[0].intersection(&subsets[64]).count();
    let other = subsets[0].intersection(&subsets[128]).count();
    assert!(shared < 8 && other < 8, "{shared} {other}");
}

#[test]
fn a_new_server_shifts_apertures_little_and_a_new_client_leaves_rings_alone() {
    let (list, more) = (servers(300), servers(301));
    let before = fleet(100, &list, aperture(100));
    let changes = made(&before, &fleet(100, &more, aperture(100)));
    assert!(changes.iter().all(|made| *made <= 4), "{changes:?}");
    let by_aperture: usize = changes.iter().sum();
    let ring_changes = made(&fleet(100, &list, steady(15)), &fleet(100, &more, steady(15)));
    let by_rings: usize = ring_changes.iter().sum();
    assert!(by_rings * 3 < by_aperture, "{by_rings} {by_aperture}");
    // With names in the middle gone, ids keep the places.
    let with_ids = |count: u32| -> Vec<Endpoint> {
        (1..).zip(servers(count)).map(|(id, server)| server.with_id(id)).collect()
    };
    let mut fewer = with_ids(300);
    let gone = fewer.remove(37).name().to_string();
    let before = fleet(100, &with_ids(300), steady(15));
    let after = fleet(100, &fewer, steady(15));
    let had_it = before.iter().filter(|subset| subset.contains(&gone)).count();
    assert_eq!(made(&before, &after).iter().sum::<usize>(), had_it);
}

#[test]
fn every_priority_and_the_backups_have_a_subset_of_their_own() {
    let mut list = servers(90);
    for server in &mut list[30..60] {
        *server = server.clone().with_priority(1);
    }
    for server in &mut list[60..] {
        *server = server.clone().with_backup(true);
    }
    let subsets: [&dyn Subset; 3] =
        [&steady(12)(3), &rendezvous(12)(3), &Aperture::new(3, 30).expect("in range")];
    for subset in subsets {
        let chosen = subset.apply(list.clone());
        let count = |is: &dyn Fn(&Endpoint) -> bool| chosen.iter().filter(|s| is(s)).count();
        let regular = count(&|server| server.priority() == 0 && !server.is_backup());
        assert_eq!((regular, count(&|server| server.priority() == 1)), (12, 12));
        assert_eq!(count(&|server| server.is_backup()), 12);
    }
}

#[test]
fn a_client_that_is_none_and_an_empty_subset_are_refused() {
    assert!(Aperture::new(3, 3).is_err() && Aperture::new(0, 0).is_err());
    assert!(Rocksteadier::new(0, 0).is_err() && Rendezvous::new("a", 0).is_err());
    assert!(steady(4)(9).apply(Vec::new()).is_empty());
}

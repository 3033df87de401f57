//! How a list is divided into groups, and what share of the picks each group gets.
//!
//! # Source
//!
//! Priority levels, overprovisioning and panic threshold are Envoy's ("Priority levels", "Panic
//! threshold" and "Zone aware routing" in its documentation); backups are HAProxy's and nginx's.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::group::{EndpointIndex, Endpoints, Rank};
use super::{Members, WHOLE};
use crate::endpoint::Endpoint;

/// What a pool is told of groups and health.
#[derive(Debug, Clone)]
pub(crate) struct Policy {
    pub(crate) trust_unchecked: bool,
    /// In percent, 100 or more.
    pub(crate) overprovisioning: u16,
    /// In percent; 0 is never.
    pub(crate) panic_threshold: u8,
    pub(crate) zone: Option<Arc<str>>,
}

impl Default for Policy {
    fn default() -> Self {
        Self { trust_unchecked: true, overprovisioning: 140, panic_threshold: 0, zone: None }
    }
}

type Places = Box<[Option<(u16, EndpointIndex)>]>;

/// Groups of one priority level: that of the own zone, and that of the others.
struct Level<'a> {
    backup: bool,
    groups: Vec<(usize, &'a Endpoints)>,
}

impl Level<'_> {
    fn len(&self) -> usize {
        self.groups.iter().map(|(_, group)| group.len()).sum()
    }

    fn healthy(&self) -> usize {
        self.groups.iter().map(|(_, group)| group.healthy_count()).sum()
    }
}

impl Policy {
    /// Divides the list into groups; tells where each endpoint is.
    pub(super) fn divide(&self, members: &Arc<Members>) -> (Box<[Endpoints]>, Places) {
        let mut listed: BTreeMap<Rank, Vec<u32>> = BTreeMap::new();
        for (position, endpoint) in (0..).zip(&members.endpoints) {
            if !endpoint.weight().is_zero() {
                listed.entry(self.rank(endpoint)).or_default().push(position);
            }
        }
        let mut places = vec![None; members.endpoints.len()];
        for (group, positions) in (0..).zip(listed.values()) {
            for (index, position) in (0..).zip(positions) {
                if let Some(place) = places.get_mut(*position as usize) {
                    *place = Some((group, EndpointIndex::new(index)));
                }
            }
        }
        let groups = listed
            .into_iter()
            .map(|(rank, listed)| Endpoints::new(rank, members, listed, self.trust_unchecked));
        (groups.collect(), places.into())
    }

    fn rank(&self, endpoint: &Endpoint) -> Rank {
        if endpoint.is_backup() {
            return Rank { backup: true, priority: 0, elsewhere: false };
        }
        let elsewhere = self.zone.as_deref().is_some_and(|zone| endpoint.zone() != Some(zone));
        Rank { backup: false, priority: endpoint.priority(), elsewhere }
    }

    /// The share of each group, in parts of [`WHOLE`]; sets which groups panic.
    pub(super) fn shares(&self, groups: &[Endpoints]) -> Vec<u32> {
        let mut shares = vec![0; groups.len()];
        let levels = levels(groups);
        let (backups, regular): (Vec<_>, Vec<_>) = levels.iter().partition(|level| level.backup);
        self.panic(&regular);
        let mut loads = self.loads(&regular);
        let mut serving = regular;
        if loads.iter().all(|load| *load == 0) {
            self.panic(&backups);
            loads = self.loads(&backups);
            serving = backups;
        }
        for (level, load) in serving.iter().zip(loads) {
            split(level, load, &mut shares);
        }
        shares
    }

    /// What each level can take, from 0 to [`WHOLE`], as far as those before it leave any.
    fn loads(&self, levels: &[&Level<'_>]) -> Vec<u32> {
        let capacities: Vec<u64> = levels
            .iter()
            .map(|level| {
                let usable: u64 =
                    level.groups.iter().map(|(_, g)| u64::from(g.usable_count())).sum();
                let len = u64::try_from(level.len()).unwrap_or(u64::MAX).max(1);
                let part = usable * u64::from(WHOLE) / len;
                (part * u64::from(self.overprovisioning) / 100).min(u64::from(WHOLE))
            })
            .collect();
        let all = capacities.iter().sum::<u64>().min(u64::from(WHOLE));
        let mut left = u64::from(WHOLE);
        let loads = capacities.iter().map(|capacity| {
            // Together they can take less than there is: each gets more then, in proportion.
            let load = (capacity * u64::from(WHOLE)).checked_div(all).unwrap_or(0).min(left);
            left -= load;
            u32::try_from(load).unwrap_or(WHOLE)
        });
        let mut loads: Vec<u32> = loads.collect();
        // What rounding has left goes to the first that serves.
        if let Some(load) = loads.iter_mut().find(|load| **load > 0) {
            *load += u32::try_from(left).unwrap_or(0);
        }
        loads
    }

    /// Lets those levels ignore health of which too little is healthy, if all together cannot take
    /// the work.
    fn panic(&self, levels: &[&Level<'_>]) {
        let percent = |level: &Level<'_>| level.healthy() * 100 / level.len().max(1);
        let capacity =
            |level: &&Level<'_>| percent(level) * usize::from(self.overprovisioning) / 100;
        let enough = levels.iter().map(|level| capacity(level).min(100)).sum::<usize>() >= 100;
        for level in levels {
            let panic = !enough && percent(level) < usize::from(self.panic_threshold);
            for (_, group) in &level.groups {
                group.set_panic(panic);
            }
        }
    }
}

/// Divides the load of a level between the own zone and the others.
///
/// Each zone is taken to have as many clients as any other: the own one serves its clients as far as
/// its part of the usable weight, times the number of zones, goes.
fn split(level: &Level<'_>, load: u32, shares: &mut [u32]) {
    let mut give = |group: usize, share: u32| {
        if let Some(place) = shares.get_mut(group) {
            *place = share;
        }
    };
    match &*level.groups {
        [] => {}
        [(only, _)] => give(*only, load),
        [(own, near), (others, far), ..] => {
            let (near_weight, far_weight) = (near.usable_weight(), far.usable_weight());
            // The own one, and those of the others.
            let zones = far.zones().saturating_add(1);
            let part = u64::from(load).saturating_mul(near_weight).saturating_mul(zones);
            let part = part.checked_div(near_weight + far_weight).unwrap_or(0);
            let part = u32::try_from(part).unwrap_or(load).min(load);
            give(*own, part);
            give(*others, load - part);
        }
    }
}

fn levels(groups: &[Endpoints]) -> Vec<Level<'_>> {
    let mut levels: Vec<Level<'_>> = Vec::new();
    for (at, group) in groups.iter().enumerate() {
        let Rank { backup, priority, .. } = group.rank();
        let same = levels.last_mut().filter(|level| {
            let first = level.groups.first().map(|(_, group)| group.rank());
            first.is_some_and(|rank| (rank.backup, rank.priority) == (backup, priority))
        });
        match same {
            Some(level) => level.groups.push((at, group)),
            None => levels.push(Level { backup, groups: vec![(at, group)] }),
        }
    }
    levels
}

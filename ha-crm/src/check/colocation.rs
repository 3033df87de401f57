//! Who must be with whom, and who is kept apart all the same.
//!
//! A resource with a role is a vertex of its own, which leads to the resource without one. Only
//! scores of infinity count, between nodes (not between values of `node-attribute`), and without a
//! lifetime.

use std::collections::BTreeSet;

use ha_core::role::Role;

use super::finding::{FindingKind, Findings, list, quote};
use super::graph::Graph;
use super::location::Bans;
use super::nowhere;
use super::scene::{Item, ItemKind, Scene};
use crate::cib::{CibConstraint, CibValue, Colocation};
use crate::model::Score;

/// How many steps the search for contradictions may take in all.
const MAX_STEPS: usize = 4_000_000;
/// Sets of which more pairs are kept apart are passed over.
const MAX_PAIRS: usize = 1000;

pub(super) type Label = Option<usize>;

/// The vertices of a resource: whatever its role, promoted, unpromoted.
pub(super) const SLOTS: usize = 3;

struct Walk<'s, 'a> {
    scene: &'s Scene<'a>,
    graph: Graph<Label>,
    /// Which are kept apart, and by which colocation.
    apart: Vec<(usize, usize, usize)>,
}

/// Checks colocations; `bans` are the nodes on which resources must not be.
pub(super) fn check(scene: &Scene<'_>, bans: &Bans<'_>, findings: &mut Findings) {
    let graph = Graph::new(scene.items.len() * SLOTS);
    let mut walk = Walk { scene, graph, apart: Vec::new() };
    for (index, item) in scene.items.iter().enumerate() {
        walk.graph.add(index * SLOTS + 1, index * SLOTS, None);
        walk.graph.add(index * SLOTS + 2, index * SLOTS, None);
        walk.group(item);
    }
    for (number, constraint) in scene.cib.constraints.iter().enumerate() {
        match constraint {
            CibConstraint::Colocation(colocation) => walk.colocation(number, colocation),
            CibConstraint::Location(_) | CibConstraint::Order(_) | CibConstraint::Ticket(_) => {}
        }
    }
    walk.loops(findings);
    walk.contradictions(findings);
    nowhere::check(scene, &walk.graph, bans, findings);
}

impl<'a> Walk<'_, 'a> {
    /// Each member of a group is with the one before.
    fn group(&mut self, item: &Item<'a>) {
        let together = item.own_meta("collocated").and_then(bool::read) != Some(false);
        if item.kind == ItemKind::Group && together {
            for pair in item.children.windows(2) {
                if let [before, after] = pair {
                    self.graph.add(after * SLOTS, before * SLOTS, None);
                }
            }
        }
    }

    /// The vertices a name stands for: of a group its first member if it depends, else its last.
    fn vertices(&self, name: &str, role: Option<Role>, depends: bool) -> Vec<usize> {
        let slot = match role {
            None | Some(Role::Started) => 0,
            Some(Role::Promoted) => 1,
            Some(Role::Unpromoted) => 2,
            Some(Role::Stopped) => return Vec::new(),
        };
        let found = self.scene.resolve(name).into_iter().filter_map(|mut index| {
            // The copies of a clone are where what is copied is; a bundle stands for itself.
            loop {
                let item = self.scene.item(index)?;
                let inner = match item.kind {
                    ItemKind::Bundle | ItemKind::Primitive => None,
                    ItemKind::Clone => item.children.first(),
                    ItemKind::Group if depends => item.children.first(),
                    ItemKind::Group => item.children.last(),
                };
                match inner {
                    Some(inner) => index = *inner,
                    None => return Some(index * SLOTS + slot),
                }
            }
        });
        found.collect()
    }

    fn colocation(&mut self, number: usize, one: &'a Colocation) {
        let by_node = one.node_attribute.as_deref().is_none_or(|name| name == "#uname");
        if !by_node || !one.lifetime.is_empty() {
            return;
        }
        if !one.sets.is_empty() {
            return self.sets(number, one);
        }
        let (Some(rsc), Some(with)) = (&one.rsc, &one.with_rsc) else { return };
        let from = self.vertices(rsc, one.rsc_role, true);
        let to = self.vertices(with, one.with_rsc_role, false);
        match one.score {
            Some(Score::INFINITY) => self.join(&from, &to, number),
            Some(Score::NEVER) => self.part(&from, &to, number),
            Some(_) | None => {}
        }
    }

    fn join(&mut self, from: &[usize], to: &[usize], number: usize) {
        if let ([from], [to]) = (from, to) {
            return self.graph.add(*from, *to, Some(number));
        }
        let junction = self.graph.add_vertex();
        for from in from {
            self.graph.add(*from, junction, Some(number));
        }
        for to in to {
            self.graph.add(junction, *to, Some(number));
        }
    }

    fn part(&mut self, from: &[usize], to: &[usize], number: usize) {
        if from.len().saturating_mul(to.len()) <= MAX_PAIRS {
            let pairs = from.iter().flat_map(|from| to.iter().map(|to| (*from, *to, number)));
            self.apart.extend(pairs.filter(|(from, to, _)| from != to));
        }
    }

    fn sets(&mut self, number: usize, one: &'a Colocation) {
        let mut before: Option<Vec<usize>> = None;
        for set in &one.sets {
            if !self.scene.spend(set.members.len()) {
                return;
            }
            let score = set.score.or(one.score);
            let mut all = Vec::new();
            let mut last: Option<Vec<usize>> = None;
            for member in &set.members {
                let here = self.vertices(member, set.role, true);
                if let Some(last) = last.filter(|_| set.sequential != Some(false)) {
                    match score {
                        Some(Score::INFINITY) => self.join(&here, &last, number),
                        Some(Score::NEVER) => self.part(&here, &last, number),
                        Some(_) | None => {}
                    }
                }
                all.extend(&here);
                last = Some(here);
            }
            if let Some(before) = before {
                match one.score {
                    Some(Score::INFINITY) => self.join(&before, &all, number),
                    Some(Score::NEVER) => self.part(&before, &all, number),
                    Some(_) | None => {}
                }
            }
            before = Some(all);
        }
    }

    fn name(&self, vertex: usize) -> Option<&'a str> {
        self.scene.item(vertex / SLOTS).map(|item| item.id)
    }

    fn loops(&self, findings: &mut Findings) {
        let parts = self.graph.parts();
        let mut last: std::collections::BTreeMap<usize, usize> = std::collections::BTreeMap::new();
        let mut members: std::collections::BTreeMap<usize, BTreeSet<&str>> =
            std::collections::BTreeMap::new();
        for from in 0..self.graph.len() {
            for (to, label) in self.graph.from(from) {
                let (Some(number), Some(here)) = (label, parts.get(from)) else { continue };
                if parts.get(*to) == Some(here) && from != *to {
                    let known = last.entry(*here).or_insert(*number);
                    *known = (*known).max(*number);
                    members.entry(*here).or_default().extend(self.name(from));
                    members.entry(*here).or_default().extend(self.name(*to));
                }
            }
        }
        for (here, number) in last {
            let names = members.remove(&here).unwrap_or_default();
            let Some(constraint) = self.scene.cib.constraints.get(number) else { continue };
            if names.len() < 2 {
                continue;
            }
            let what = format!(
                "each must be with the next, in a circle, so none is placed first: \
                 {}",
                list(names.into_iter())
            );
            let remedy = "let one of them depend on no other".to_owned();
            let place = constraint.place().clone();
            findings.warn(FindingKind::ColocationLoop, place, what, remedy);
        }
    }

    /// Who must be with both of two that are kept apart can run nowhere.
    fn contradictions(&self, findings: &mut Findings) {
        let turned = self.graph.reversed();
        let mut steps = MAX_STEPS;
        let mut told: BTreeSet<(usize, usize)> = BTreeSet::new();
        for (one, other, number) in &self.apart {
            let Some(with_one) = reach(&turned, *one, &mut steps) else { return };
            let Some(with_other) = reach(&turned, *other, &mut steps) else { return };
            let both = || with_one.intersection(&with_other).copied();
            let own = [*one, *other].into_iter().find(|own| both().any(|both| both == *own));
            let Some(victim) = own.or_else(|| both().find(|both| self.name(*both).is_some()))
            else {
                continue;
            };
            if !told.insert((*number, victim)) {
                continue;
            }
            self.tell(&turned, [*one, *other], *number, victim, findings);
        }
    }

    fn tell(
        &self,
        turned: &Graph<Label>,
        [one, other]: [usize; 2],
        number: usize,
        victim: usize,
        findings: &mut Findings,
    ) {
        let Some(constraint) = self.scene.cib.constraints.get(number) else { return };
        let name = |vertex: usize| quote(self.name(vertex).unwrap_or_default());
        let mut reasons: BTreeSet<usize> = BTreeSet::new();
        for target in [one, other].into_iter().filter(|target| *target != victim) {
            // Backwards, as all that leads there was counted already.
            let way = turned.way(target, victim, |_| true).unwrap_or_default();
            reasons.extend(way.iter().filter_map(|(_, label)| *label));
        }
        let reasons = reasons.iter().filter_map(|number| self.scene.cib.constraints.get(*number));
        let reasons = list(reasons.map(|constraint| &**constraint.id()));
        let by = if reasons.is_empty() { "its group".to_owned() } else { reasons };
        let what = if victim == one || victim == other {
            format!(
                "{} and {} are kept apart with -INFINITY, but must be together ({by}), so {} \
                 can run nowhere",
                name(one),
                name(other),
                name(victim)
            )
        } else {
            format!(
                "{} and {} are kept apart with -INFINITY, but {} must be with both ({by}), so \
                 it can run nowhere",
                name(one),
                name(other),
                name(victim)
            )
        };
        let remedy = "take one of them out, or give it a finite score".to_owned();
        let kind = FindingKind::ColocationContradiction;
        findings.error(kind, constraint.place().clone(), what, remedy);
    }
}

/// All that leads to a vertex, and itself; `None` if that is too far.
fn reach(graph: &Graph<Label>, start: usize, steps: &mut usize) -> Option<BTreeSet<usize>> {
    let mut found = BTreeSet::from([start]);
    let mut open = vec![start];
    while let Some(vertex) = open.pop() {
        for (next, _) in graph.from(vertex) {
            *steps = steps.checked_sub(1)?;
            if found.insert(*next) {
                open.push(*next);
            }
        }
    }
    Some(found)
}

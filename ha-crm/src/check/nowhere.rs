//! Resources that can run nowhere because of those they must be with.

use std::collections::{BTreeMap, BTreeSet};

use ha_core::role::Role;

use super::colocation::{Label, SLOTS};
use super::finding::{FindingKind, Findings, list, quote};
use super::graph::Graph;
use super::location::Bans;
use super::scene::{ItemKind, Scene};
use crate::cib::CibValue;

/// Beyond so many words of bits the question is not asked.
const MAX_WORDS: usize = 16_000_000;

type Bits = Vec<u64>;

/// Takes over the bits of `other`.
fn unite(bits: &mut Bits, other: &[u64]) {
    for (word, more) in bits.iter_mut().zip(other) {
        *word |= more;
    }
}

/// Each is banned where those are that it must be with. Edges lead to parts with lower numbers, so
/// these are looked at first. Only the first in a chain is told of.
pub(super) fn check(
    scene: &Scene<'_>,
    graph: &Graph<Label>,
    bans: &Bans<'_>,
    findings: &mut Findings,
) {
    let nodes: BTreeMap<&str, usize> = scene.nodes.iter().copied().zip(0..).collect();
    let words = nodes.len().div_ceil(64);
    if nodes.is_empty() || bans.is_empty() || graph.len().saturating_mul(words) > MAX_WORDS {
        return;
    }
    let own = own_bans(scene, bans, &nodes, words, graph.len());
    let parts = graph.parts();
    let mut order: Vec<usize> = (0..graph.len()).collect();
    order.sort_by_key(|vertex| parts.get(*vertex).copied());
    let mut united: BTreeMap<usize, Bits> = BTreeMap::new();
    let full = |bits: &Bits| bits.iter().map(|word| word.count_ones() as usize).sum::<usize>();
    let is_full = |bits: &Bits| full(bits) >= nodes.len();
    for members in order.chunk_by(|a, b| parts.get(*a) == parts.get(*b)) {
        let Some(part) = members.first().and_then(|vertex| parts.get(*vertex)) else { continue };
        let mut bits = vec![0; words];
        let mut is_told = false;
        for vertex in members {
            if let Some(here) = own.get(vertex) {
                is_told |= is_full(here);
                unite(&mut bits, here);
            }
            for (to, _) in graph.from(*vertex) {
                if let Some(there) = parts.get(*to).and_then(|part| united.get(part)) {
                    is_told |= is_full(there);
                    unite(&mut bits, there);
                }
            }
        }
        if is_full(&bits) && !is_told {
            tell(scene, members, graph, findings);
        }
        united.insert(*part, bits);
    }
}

/// The bans of each vertex: its own, and those of what it is in.
fn own_bans(
    scene: &Scene<'_>,
    bans: &Bans<'_>,
    nodes: &BTreeMap<&str, usize>,
    words: usize,
    vertices: usize,
) -> BTreeMap<usize, Bits> {
    let mut own: BTreeMap<usize, Bits> = BTreeMap::new();
    for index in 0..scene.items.len() {
        let mut here = Some(index);
        while let Some(item) = here {
            if !scene.spend(bans.get(&item).map_or(0, BTreeSet::len)) {
                return BTreeMap::new();
            }
            for place in bans.get(&item).into_iter().flatten().filter_map(|node| nodes.get(node)) {
                let bits = own.entry(index * SLOTS).or_insert_with(|| vec![0; words]);
                if let Some(word) = bits.get_mut(place / 64) {
                    *word |= 1 << (place % 64);
                }
            }
            let outer = scene.item(item).and_then(|item| item.parent);
            // What is in a container runs on no node but the container.
            here = outer.filter(|outer| {
                scene.item(*outer).is_some_and(|item| item.kind != ItemKind::Bundle)
            });
        }
    }
    own.retain(|vertex, _| *vertex < vertices);
    own
}

fn tell(scene: &Scene<'_>, members: &[usize], graph: &Graph<Label>, findings: &mut Findings) {
    let item = members.iter().find_map(|vertex| scene.item(vertex / SLOTS));
    let Some(item) = item else { return };
    let is_stopped = scene.meta(item, "target-role").and_then(Role::read) == Some(Role::Stopped);
    let labels = members.iter().flat_map(|vertex| graph.from(*vertex));
    let labels = labels.filter_map(|(_, label)| scene.cib.constraints.get((*label)?));
    let by = list(labels.map(|constraint| &**constraint.id()));
    if is_stopped || by.is_empty() {
        return; // its group is told of
    }
    let what = format!(
        "{} can run nowhere: wherever it may be, one that it must be with ({by}) is banned",
        quote(item.id)
    );
    let remedy = "mend these colocations, or the locations of both".to_owned();
    findings.warn(FindingKind::BannedEverywhere, item.place.clone(), what, remedy);
}

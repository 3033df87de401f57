//! What cannot be as placed, and what must be restarted, because of others.

use std::collections::{BTreeMap, BTreeSet};

use ha_core::guarantee::Guarantee;
use ha_membership::quorum::Quorum;

use super::place::Places;
use super::view::View;
use crate::model::{NoQuorumPolicy, NodeStatus, Score};

/// Which instances are to be restarted, and why.
pub(super) type Restarts = BTreeMap<(usize, usize), String>;

struct Settling<'a> {
    view: &'a View<'a>,
    places: &'a mut Places,
    restarts: Restarts,
}

/// Takes away what cannot be, and finds what must be restarted; both only ever grow, so it ends.
pub(super) fn settle(view: &View<'_>, places: &mut Places) -> Restarts {
    let mut settling = Settling { view, places, restarts: Restarts::new() };
    let (mut firsts, mut primaries) =
        (vec![Vec::new(); view.resources.len()], vec![Vec::new(); view.resources.len()]);
    for sequence in view.sequences.iter().filter(|sequence| sequence.is_need()) {
        firsts[sequence.then].push(sequence.first);
    }
    for together in view.together.iter().filter(|t| t.score == Score::INFINITY) {
        primaries[together.dependent].push(together.primary);
    }
    let mut affects = vec![BTreeSet::new(); view.resources.len()];
    for (index, (firsts, primaries)) in firsts.iter().zip(&primaries).enumerate() {
        for other in firsts.iter().chain(primaries) {
            affects[*other].insert(index);
        }
    }
    let mut todo: BTreeSet<usize> = (0..view.resources.len()).collect();
    while let Some(index) = todo.pop_first() {
        if settling.settle(index, &firsts[index], &primaries[index]) {
            todo.insert(index);
            todo.extend(affects[index].iter().copied());
        }
    }
    settling.restarts
}

/// The nodes on which `then`, on `node`, has to do with the other, which is on `places`.
pub(super) fn related(
    view: &View<'_>,
    (first, then): (usize, usize),
    node: usize,
    places: &BTreeSet<usize>,
) -> BTreeSet<usize> {
    let alike = !view.is_single(first) && places.contains(&node);
    let both = !view.is_single(first) && !view.is_single(then);
    if alike || both {
        return places.iter().copied().filter(|place| *place == node).collect();
    }
    places.clone()
}

impl Settling<'_> {
    /// Whether an instance will be started.
    fn starts(&self, resource: usize, node: usize) -> bool {
        let cell = &self.view.cells[resource][node];
        cell.frozen.is_none() && (!cell.active || self.restarts.contains_key(&(resource, node)))
    }

    fn settle(&mut self, index: usize, firsts: &[usize], primaries: &[usize]) -> bool {
        let mut changed = false;
        for node in self.places.targets[index].clone() {
            if self.view.cells[index][node].frozen.is_some() {
                continue;
            }
            let stays = self.view.cells[index][node].active;
            if stays
                && !self.restarts.contains_key(&(index, node))
                && let Some(why) = self.restart(index, node, firsts)
            {
                self.restarts.insert((index, node), why);
                changed = true;
            }
            let must_go = self.missing(index, node, (firsts, primaries));
            if let Some(why) = must_go.or_else(|| self.held(index, node)) {
                self.places.targets[index].remove(&node);
                self.places.reasons[index] =
                    format!("it cannot be on {}: {why}", self.view.nodes[node]);
                changed = true;
            }
        }
        changed
    }

    /// Why an instance that is there must be stopped and started again.
    fn restart(&self, index: usize, node: usize, firsts: &[usize]) -> Option<String> {
        let view = self.view;
        if view.cells[index][node].faulty {
            return Some("it failed there".to_owned());
        }
        if view.cells[index][node].outdated {
            return Some("its configuration has changed".to_owned());
        }
        let failed =
            |node: usize| view.resources[index].1.promotable && view.cells[index][node].faulty;
        let managed = view.holders(index).filter(|node| view.is_managed(*node) && !failed(*node));
        if view.is_single(index) && managed.count() > 1 {
            return Some("it is active more than once".to_owned());
        }
        let first =
            firsts.iter().filter(|f| view.symmetrical.contains(&(**f, index))).find(|first| {
                let places = related(view, (**first, index), node, &self.places.targets[**first]);
                places.iter().any(|place| self.starts(**first, *place))
            })?;
        Some(format!("{} is started before it", view.resources[*first].0))
    }

    /// What an instance cannot be without, and is not there.
    fn missing(
        &self,
        index: usize,
        node: usize,
        (firsts, primaries): (&[usize], &[usize]),
    ) -> Option<String> {
        let view = self.view;
        for first in firsts {
            let stays = view.cells[index][node].active && !self.starts(index, node);
            let places = related(view, (*first, index), node, &self.places.targets[*first]);
            if places.is_empty() && (!stays || view.symmetrical.contains(&(*first, index))) {
                return Some(format!(
                    "{}, which comes first, is not active",
                    view.resources[*first].0
                ));
            }
        }
        let apart = |primary: &&usize| !self.places.targets[**primary].contains(&node);
        let primary = primaries.iter().find(apart)?;
        Some(format!("{} is not there", view.resources[*primary].0))
    }

    /// Why an instance may not be started.
    fn held(&self, index: usize, node: usize) -> Option<String> {
        let view = self.view;
        if view.resources[index].1.guarantee == Guarantee::AtLeastOne || !self.starts(index, node) {
            return None;
        }
        let stuck = view
            .holders(index)
            .find(|holder| view.cells[index][*holder].frozen.is_some() && *holder != node);
        if let Some(holder) = stuck {
            return Some(format!("it cannot be stopped on {}", view.nodes[holder]));
        }
        let why = view.hold.clone()?;
        let unclean = |node: usize| view.status[node] == NodeStatus::Unclean;
        let frozen = view.state.quorum == Quorum::Lost
            && view.state.config.options().no_quorum_policy == NoQuorumPolicy::Freeze;
        let in_place = frozen && view.holders(index).eq([node]) && !unclean(node);
        (!in_place).then_some(why)
    }
}

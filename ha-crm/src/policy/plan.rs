//! From where things are to where they shall be.

use std::collections::{BTreeMap, BTreeSet};

use ha_core::guarantee::Guarantee;

use super::place::Places;
use super::settle::{Restarts, related};
use super::view::{Sequence, View};
use crate::graph::{ActionId, ActionKind, TransitionGraph};
use crate::model::{NodeStatus, OperationName, Score};

type Instances = BTreeMap<usize, ActionId>;

struct Plan<'a> {
    view: &'a View<'a>,
    places: &'a Places,
    restarts: &'a Restarts,
    graph: TransitionGraph,
    after: Vec<Vec<usize>>,
    starts: Vec<Instances>,
    stops: Vec<Instances>,
}

pub(super) fn plan(view: &View<'_>, places: &Places, restarts: &Restarts) -> TransitionGraph {
    let none = vec![Instances::new(); view.resources.len()];
    let (starts, stops) = (none.clone(), none);
    let (graph, after) = (TransitionGraph::default(), Vec::new());
    let mut plan = Plan { view, places, restarts, graph, after, starts, stops };
    let fences: Vec<(usize, ActionId)> = view
        .fences
        .iter()
        .map(|(node, why)| {
            let kind = ActionKind::Fence { node: view.nodes[*node].clone() };
            (*node, plan.graph.add(kind, why.clone()))
        })
        .collect();
    for index in 0..view.resources.len() {
        plan.resource(index, &fences);
    }
    plan.orphans();
    plan.keep_apart();
    let (needs, wishes): (Vec<_>, Vec<_>) =
        view.sequences.iter().partition(|sequence| sequence.mandatory);
    for sequence in needs {
        plan.sequence(sequence);
    }
    for sequence in wishes {
        plan.sequence(sequence);
    }
    plan.graph
}

impl Plan<'_> {
    fn resource(&mut self, index: usize, fences: &[(usize, ActionId)]) {
        let view = self.view;
        let name = view.resources[index].0;
        let at = |node: usize| (name.clone(), view.nodes[node].clone());
        let mut probes = Instances::new();
        let to_probe: Vec<usize> =
            (0..view.nodes.len()).filter(|node| self.is_probed(index, *node)).collect();
        for node in to_probe {
            let (resource, node_name) = at(node);
            let kind = ActionKind::Probe { resource, node: node_name };
            probes.insert(node, self.graph.add(kind, "its state there is not known"));
        }
        let targets = &self.places.targets[index];
        for node in view.holders(index) {
            let stays = targets.contains(&node) && !self.restarts.contains_key(&(index, node));
            if stays || view.cells[index][node].frozen.is_some() || !view.is_managed(node) {
                continue;
            }
            let (resource, node_name) = at(node);
            let why = self.why_stop(index, node);
            let id = self.graph.add(ActionKind::Stop { resource, node: node_name }, why);
            self.stops[index].insert(node, id);
        }
        for node in targets.iter().copied() {
            let cell = &view.cells[index][node];
            let restart = self.restarts.get(&(index, node));
            let online = view.status[node] == NodeStatus::Online;
            if !online || cell.frozen.is_some() || (cell.active && restart.is_none()) {
                continue;
            }
            let (resource, node_name) = at(node);
            let why = restart.unwrap_or(&self.places.reasons[index]).clone();
            let id = self.graph.add(ActionKind::Start { resource, node: node_name }, why);
            self.starts[index].insert(node, id);
            let single = view.is_single(index);
            for (other, stop) in self.stops[index].iter().filter(|(n, _)| single || **n == node) {
                let why = format!("{name} must be stopped on {} first", view.nodes[*other]);
                self.graph.order(*stop, id, why);
            }
            for (other, probe) in probes.iter().filter(|(n, _)| single || **n == node) {
                let why = format!("{name} may run on {} already", view.nodes[*other]);
                self.graph.order(*probe, id, why);
            }
            for (other, fence) in fences.iter().filter(|_| single) {
                let why = format!("{} may run {name} until it is fenced", view.nodes[*other]);
                self.graph.order(*fence, id, why);
            }
        }
    }

    fn is_probed(&self, index: usize, node: usize) -> bool {
        let view = self.view;
        let takes_part = view.is_managed(node) || view.status[node] == NodeStatus::Maintenance;
        let member = view.configured[node];
        let asked = view.state.config.options().probe;
        asked && takes_part && member && view.cells[index][node].unknown
    }

    fn why_stop(&self, index: usize, node: usize) -> String {
        let (targets, reason) = (&self.places.targets[index], &self.places.reasons[index]);
        if let Some(why) = self.restarts.get(&(index, node)) {
            return why.clone();
        }
        let single = self.view.resources[index].1.guarantee == Guarantee::AtMostOne;
        let managed = self.view.holders(index).filter(|node| self.view.is_managed(*node));
        match targets.first() {
            _ if single && managed.count() > 1 => "it is active more than once".to_owned(),
            None => reason.clone(),
            Some(target) if single => {
                format!("it moves to {}: {reason}", self.view.nodes[*target])
            }
            Some(_) => {
                format!("it shall not be there: score {}", self.places.sheets[index][node])
            }
        }
    }

    /// Stops what runs and is no longer configured.
    fn orphans(&mut self) {
        let state = self.view.state;
        if state.config.options().maintenance {
            return;
        }
        let known = state.config.resources();
        for name in state.resources.keys().filter(|name| !known.contains_key(*name)) {
            for (node, node_name) in self.view.nodes.iter().enumerate() {
                if self.view.is_managed(node) && state.holders(name).contains(node_name) {
                    let (resource, node) = (name.clone(), (*node_name).clone());
                    let kind = ActionKind::Stop { resource, node };
                    self.graph.add(kind, "it is no longer configured");
                }
            }
        }
    }

    /// What must never be together is not so in passing either.
    fn keep_apart(&mut self) {
        let view = self.view;
        for together in view.together.iter().filter(|t| t.score == Score::NEVER) {
            let (one, other) = (together.dependent, together.primary);
            for (comes, goes) in [(one, other), (other, one)] {
                for (node, start) in &self.starts[comes] {
                    if let Some(stop) = self.stops[goes].get(node) {
                        let (comes, goes) = (view.resources[comes].0, view.resources[goes].0);
                        self.graph.order(*stop, *start, format!("{comes} must not be with {goes}"));
                    }
                }
            }
        }
    }

    fn sequence(&mut self, sequence: &Sequence) {
        let view = self.view;
        let of = |action, resource: usize| match action {
            OperationName::Stop => &self.stops[resource],
            OperationName::Start
            | OperationName::Demote
            | OperationName::Monitor
            | OperationName::Notify
            | OperationName::Promote => &self.starts[resource],
        };
        let Sequence { first, then, first_action, then_action, mandatory } = *sequence;
        let (before, after) = (of(first_action, first), of(then_action, then));
        let places: BTreeSet<usize> = before.keys().copied().collect();
        let mut edges = Vec::new();
        for (node, id) in after {
            for place in related(view, (first, then), *node, &places) {
                edges.extend(before.get(&place).map(|before| (*before, *id)));
            }
        }
        let why = format!(
            "{first_action} {} then {then_action} {}",
            view.resources[first].0, view.resources[then].0
        );
        for (before, after) in edges {
            // Mandatory orders cannot form a circle: the configuration was checked for it.
            if mandatory || !self.reaches(after, before) {
                self.graph.order(before, after, why.clone());
            }
        }
    }

    /// Whether `to` waits, also through others, for `from`.
    fn reaches(&mut self, from: ActionId, to: ActionId) -> bool {
        self.after.clear();
        self.after.resize(self.graph.actions().len(), Vec::new());
        for edge in self.graph.edges() {
            self.after[edge.before.get()].push(edge.after.get());
        }
        let (mut seen, mut todo) = (BTreeSet::from([from.get()]), vec![from.get()]);
        while let Some(id) = todo.pop() {
            if id == to.get() {
                return true;
            }
            todo.extend(self.after[id].iter().copied().filter(|next| seen.insert(*next)));
        }
        false
    }
}

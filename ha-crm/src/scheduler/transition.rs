//! What is done, and in which order, as a graph with its reasons.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Serialize;

use crate::scheduler::actions::{Plan, word};
use crate::scheduler::cluster::Cluster;
use crate::scheduler::id::{ActId, RscId};

/// One action that must be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Step {
    /// What: `start`, `stop`, `promote`, `demote`, `fence`, `unfence`; of a gate what a group,
    /// clone or bundle begins with these words, or is through with: `running`, `stopped`,
    /// `promoted`, `demoted`, `one of several`.
    pub task: &'static str,
    /// Nothing is done: it stands between all that it waits for and all that wait for it, where
    /// these are many.
    pub gate: bool,
    /// The instance; none for nodes.
    pub resource: Option<Arc<str>>,
    /// The name under which histories keep it: that of an instance only if instances are unique.
    #[serde(skip)]
    pub history: Option<Arc<str>>,
    /// Where.
    pub node: Option<Arc<str>>,
    /// Whether it cannot be done in this transition.
    pub blocked: bool,
    /// Why it must be done, or cannot be.
    pub reason: Option<Arc<str>>,
}

/// One step before another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Wait {
    /// The position of the step that comes first.
    pub first: usize,
    /// The position of the step that waits.
    pub then: usize,
    /// Why.
    pub reason: Arc<str>,
}

/// Steps and what they wait for; without loops.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[non_exhaustive]
pub struct Transition {
    /// What is done.
    pub steps: Vec<Step>,
    /// What waits for what.
    pub waits: Vec<Wait>,
}

/// The most waits that stand for one gate: with more the gate itself is clearer.
const MAX_WAITS_FOR_GATE: usize = 64;

/// The transition of a plan: actions that must be done; the pseudo actions between them are left
/// out where few wait for few.
pub(crate) fn transition(cluster: &Cluster<'_>, plan: &Plan) -> Transition {
    let mut graph = Graph::new(plan.actions.len());
    let ids = || (0..plan.actions.len()).map(ActId::new);
    let steps: BTreeSet<ActId> = ids().filter(|id| is_step(cluster, plan, *id)).collect();
    let gates: BTreeSet<ActId> =
        ids().filter(|id| plan[*id].pseudo && !steps.contains(id)).collect();
    for edge in &plan.edges {
        let is_there = |id: &ActId| steps.contains(id) || gates.contains(id);
        if is_there(&edge.first) && is_there(&edge.then) {
            graph.link(edge.first.index(), edge.then.index(), &edge.why);
        }
    }
    let gates: BTreeSet<usize> = gates.into_iter().map(ActId::index).collect();
    for gate in &gates {
        graph.bridge(*gate);
    }
    graph.prune(&gates);
    let mut made = Transition::default();
    let mut position: BTreeMap<usize, usize> = BTreeMap::new();
    for id in ids() {
        let is_step = steps.contains(&id);
        if is_step || !graph.after[id.index()].is_empty() {
            position.insert(id.index(), made.steps.len());
            made.steps.push(Step { gate: !is_step, ..step(cluster, plan, id) });
        }
    }
    for (id, first) in &position {
        for (then, why) in &graph.after[*id] {
            if let Some(then) = position.get(then).copied() {
                made.waits.push(Wait { first: *first, then, reason: Arc::clone(why) });
            }
        }
    }
    drop_loops(&mut made);
    made
}

/// What waits for what, both ways.
struct Graph {
    after: Vec<BTreeMap<usize, Arc<str>>>,
    before: Vec<BTreeSet<usize>>,
}

impl Graph {
    fn new(len: usize) -> Self {
        Self { after: vec![BTreeMap::new(); len], before: vec![BTreeSet::new(); len] }
    }

    fn link(&mut self, first: usize, then: usize, why: &Arc<str>) {
        if first != then {
            self.after[first].entry(then).or_insert_with(|| Arc::clone(why));
            self.before[then].insert(first);
        }
    }

    fn cut(&mut self, gate: usize) {
        for first in std::mem::take(&mut self.before[gate]) {
            self.after[first].remove(&gate);
        }
        for then in std::mem::take(&mut self.after[gate]).into_keys() {
            self.before[then].remove(&gate);
        }
    }

    /// Lets what waits for a gate wait for what the gate waits for, if that is not too much.
    fn bridge(&mut self, gate: usize) {
        let (firsts, thens) = (self.before[gate].len(), self.after[gate].len());
        if firsts.saturating_mul(thens) > firsts + thens + MAX_WAITS_FOR_GATE {
            return;
        }
        let (firsts, thens) = (self.before[gate].clone(), self.after[gate].clone());
        self.cut(gate);
        for first in &firsts {
            for (then, why) in &thens {
                self.link(*first, *then, why);
            }
        }
    }

    /// Removes gates that wait for nothing, or for which nothing waits.
    fn prune(&mut self, gates: &BTreeSet<usize>) {
        let is_loose = |graph: &Self, gate: usize| {
            graph.before[gate].is_empty() != graph.after[gate].is_empty()
        };
        let mut loose: Vec<usize> = gates.iter().copied().collect();
        while let Some(gate) = loose.pop() {
            if is_loose(self, gate) {
                let around = self.before[gate].iter().chain(self.after[gate].keys()).copied();
                loose.extend(around.filter(|one| gates.contains(one)).collect::<Vec<_>>());
                self.cut(gate);
            }
        }
    }
}

fn is_step(cluster: &Cluster<'_>, plan: &Plan, id: ActId) -> bool {
    let action = &plan[id];
    let is_managed =
        action.resource.is_none_or(|rsc| cluster[rsc].is_primitive() && cluster[rsc].managed);
    !action.optional && action.node.is_some() && is_managed
}

fn step(cluster: &Cluster<'_>, plan: &Plan, id: ActId) -> Step {
    let action = &plan[id];
    Step {
        task: word(action.task),
        gate: false,
        resource: action.resource.map(|rsc| Arc::clone(&cluster[rsc].id)),
        history: action.resource.map(|rsc| history_of(cluster, rsc)),
        node: action.node.map(|node| Arc::clone(&cluster[node].name)),
        blocked: !action.runnable,
        reason: action.why.clone(),
    }
}

fn history_of(cluster: &Cluster<'_>, resource: RscId) -> Arc<str> {
    let rsc = &cluster[resource];
    Arc::clone(if rsc.unique { &rsc.id } else { &rsc.base })
}

/// Leaves out the waits that would close a loop, those found last first.
fn drop_loops(made: &mut Transition) {
    let mut waiting = vec![0_usize; made.steps.len()];
    let mut after: Vec<Vec<usize>> = vec![Vec::new(); made.steps.len()];
    let mut before: Vec<Vec<usize>> = vec![Vec::new(); made.steps.len()];
    for (index, wait) in made.waits.iter().enumerate() {
        waiting[wait.then] += 1;
        after[wait.first].push(index);
        before[wait.then].push(index);
    }
    let mut left: BTreeSet<(usize, usize)> =
        waiting.iter().enumerate().map(|(at, count)| (*count, at)).collect();
    let mut keep = vec![true; made.waits.len()];
    let mut done = vec![false; made.steps.len()];
    let mut ready: BTreeSet<usize> = (0..made.steps.len()).filter(|at| waiting[*at] == 0).collect();
    loop {
        while let Some(at) = ready.pop_first() {
            done[at] = true;
            left.remove(&(waiting[at], at));
            for index in &after[at] {
                let then = made.waits[*index].then;
                if keep[*index] && !done[then] {
                    left.remove(&(waiting[then], then));
                    waiting[then] -= 1;
                    left.insert((waiting[then], then));
                    if waiting[then] == 0 {
                        ready.insert(then);
                    }
                }
            }
        }
        // All that is left waits for a loop, or is in one.
        let Some((_, any)) = left.first().copied() else { break };
        let is_open = |index: &usize| keep[*index] && !done[made.waits[*index].first];
        let Some(cut) = find_loop(&made.waits, &before, is_open, any).into_iter().max() else {
            break;
        };
        keep[cut] = false;
        let then = made.waits[cut].then;
        left.remove(&(waiting[then], then));
        waiting[then] -= 1;
        left.insert((waiting[then], then));
        if waiting[then] == 0 {
            ready.insert(then);
        }
    }
    let mut kept = keep.iter();
    made.waits.retain(|_| kept.next().copied().unwrap_or(true));
}

/// The waits of a loop that a step waits for: back along what is waited for, until a step comes
/// again. Empty if there is none.
fn find_loop(
    waits: &[Wait],
    before: &[Vec<usize>],
    is_open: impl Fn(&usize) -> bool,
    from: usize,
) -> Vec<usize> {
    let mut place: BTreeMap<usize, usize> = BTreeMap::new();
    let mut way: Vec<usize> = Vec::new();
    let mut at = from;
    loop {
        if let Some(begin) = place.insert(at, way.len()) {
            return way.split_off(begin);
        }
        let Some(index) = before[at].iter().copied().find(&is_open) else { return Vec::new() };
        way.push(index);
        at = waits[index].first;
    }
}

impl Step {
    fn title(&self) -> String {
        let mut title = String::from(self.task);
        for part in [&self.resource, &self.node].into_iter().flatten() {
            title.push(' ');
            title.push_str(part);
        }
        title
    }
}

impl Transition {
    /// The graph in the language of Graphviz.
    #[must_use]
    pub fn to_dot(&self) -> String {
        let quote = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
        let mut dot = String::from("digraph transition {\n  rankdir=LR;\n  node [shape=box];\n");
        for (index, step) in self.steps.iter().enumerate() {
            let style = match (step.blocked, step.gate) {
                (true, _) => " style=dashed color=red",
                (false, true) => " style=dotted",
                (false, false) => "",
            };
            let why = step.reason.as_deref().unwrap_or_default();
            let (title, why) = (quote(&step.title()), quote(why));
            let line = format!("  a{index} [label=\"{title}\" tooltip=\"{why}\"{style}];\n");
            dot.push_str(&line);
        }
        for wait in &self.waits {
            let (first, then, why) = (wait.first, wait.then, quote(&wait.reason));
            let line = format!("  a{first} -> a{then} [tooltip=\"{why}\"];\n");
            dot.push_str(&line);
        }
        dot.push_str("}\n");
        dot
    }

    /// The positions of all steps, each after those that it waits for.
    #[must_use]
    pub fn sorted(&self) -> Vec<usize> {
        let mut waiting = vec![0_usize; self.steps.len()];
        let mut after: Vec<Vec<usize>> = vec![Vec::new(); self.steps.len()];
        for wait in &self.waits {
            waiting[wait.then] += 1;
            after[wait.first].push(wait.then);
        }
        let mut ready: BTreeSet<usize> =
            (0..self.steps.len()).filter(|at| waiting[*at] == 0).collect();
        let mut sorted = Vec::with_capacity(self.steps.len());
        while let Some(at) = ready.pop_first() {
            sorted.push(at);
            for then in &after[at] {
                waiting[*then] -= 1;
                if waiting[*then] == 0 {
                    ready.insert(*then);
                }
            }
        }
        sorted
    }

    /// How many steps come before each at most.
    fn ranks(&self) -> Vec<usize> {
        let mut after: Vec<Vec<usize>> = vec![Vec::new(); self.steps.len()];
        for wait in &self.waits {
            after[wait.first].push(wait.then);
        }
        let mut ranks = vec![0_usize; self.steps.len()];
        for at in self.sorted() {
            for then in &after[at] {
                ranks[*then] = ranks[*then].max(ranks[at] + 1);
            }
        }
        ranks
    }

    /// The graph as a picture: what comes first stands left. Reasons show under the pointer.
    #[must_use]
    pub fn to_svg(&self) -> String {
        const WIDTH: usize = 260;
        const HEIGHT: usize = 26;
        const GAP: usize = 60;
        let escape =
            |text: &str| text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        let ranks = self.ranks();
        let mut rows: Vec<usize> = vec![0; self.steps.len() + 1];
        let mut places = Vec::with_capacity(self.steps.len());
        for rank in &ranks {
            let row = rows[*rank];
            rows[*rank] += 1;
            places.push((20 + rank * (WIDTH + GAP), 20 + row * (HEIGHT + 14)));
        }
        let width = places.iter().map(|(x, _)| x + WIDTH + 20).max().unwrap_or(100);
        let height = places.iter().map(|(_, y)| y + HEIGHT + 20).max().unwrap_or(40);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
             font-family=\"sans-serif\" font-size=\"12\">\n"
        );
        for wait in &self.waits {
            let ((x1, y1), (x2, y2)) = (places[wait.first], places[wait.then]);
            let (x1, y1, y2) = (x1 + WIDTH, y1 + HEIGHT / 2, y2 + HEIGHT / 2);
            let why = escape(&wait.reason);
            let line = format!(
                "<line x1=\"{x1}\" y1=\"{y1}\" x2=\"{x2}\" y2=\"{y2}\" stroke=\"#888\">\
                 <title>{why}</title></line>\n"
            );
            svg.push_str(&line);
        }
        for (step, (x, y)) in self.steps.iter().zip(&places) {
            let colour = match (step.blocked, step.gate) {
                (true, _) => "#fdd",
                (false, true) => "#eee",
                (false, false) => "#def",
            };
            let (title, why) =
                (escape(&step.title()), escape(step.reason.as_deref().unwrap_or_default()));
            let (tx, ty) = (x + 8, y + 17);
            let line = format!(
                "<g><title>{why}</title><rect x=\"{x}\" y=\"{y}\" width=\"{WIDTH}\" \
                 height=\"{HEIGHT}\" fill=\"{colour}\" stroke=\"#446\"/>\
                 <text x=\"{tx}\" y=\"{ty}\">{title}</text></g>\n"
            );
            svg.push_str(&line);
        }
        svg.push_str("</svg>\n");
        svg
    }
}

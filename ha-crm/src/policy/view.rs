//! The state with numbers instead of names, and what follows from it before anything is placed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ha_core::guarantee::Guarantee;
use ha_core::id::{NodeName, ResourceName};
use ha_core::time::WallTime;
use ha_membership::quorum::Quorum;

use crate::model::{
    ClusterState, Failures, MultipleActive, NoQuorumPolicy, NodeStatus, OnFail, OperationName,
    Order, OrderKind, RawResource, Score,
};

/// What is known of a resource on a node.
#[derive(Debug, Clone, Default)]
#[expect(clippy::struct_excessive_bools, reason = "facts that do not exclude each other")]
pub(super) struct Cell {
    /// It may be active there, and the node is not off.
    pub(super) active: bool,
    /// Nothing is known.
    pub(super) unknown: bool,
    /// It is active there, and must be stopped and started again.
    pub(super) faulty: bool,
    /// It is active there with settings that are not the configured ones.
    pub(super) outdated: bool,
    /// It is active there, and nothing may be done to it: why.
    pub(super) frozen: Option<String>,
    /// It must not be there: why.
    pub(super) ban: Option<String>,
}

/// A resource by itself, or a group.
#[derive(Debug)]
pub(super) struct Unit<'a> {
    pub(super) name: &'a ResourceName,
    pub(super) members: Vec<usize>,
    pub(super) priority: i32,
    pub(super) everywhere: bool,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Together {
    pub(super) dependent: usize,
    pub(super) primary: usize,
    pub(super) score: Score,
}

/// An order between two resources: the kind, the actions and whether the inverse holds, too.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sequence {
    pub(super) first: usize,
    pub(super) then: usize,
    pub(super) first_action: OperationName,
    pub(super) then_action: OperationName,
    pub(super) mandatory: bool,
}

impl Sequence {
    /// Whether the second cannot be without the first.
    pub(super) fn is_need(&self) -> bool {
        self.mandatory
            && self.first_action == OperationName::Start
            && self.then_action == OperationName::Start
    }
}

#[derive(Debug)]
pub(super) struct View<'a> {
    pub(super) state: &'a ClusterState,
    pub(super) nodes: Vec<&'a NodeName>,
    pub(super) configured: Vec<bool>,
    pub(super) status: Vec<NodeStatus>,
    /// Which nodes are to be fenced, and why.
    pub(super) fences: BTreeMap<usize, String>,
    pub(super) resources: Vec<(&'a ResourceName, &'a RawResource)>,
    pub(super) cells: Vec<Vec<Cell>>,
    pub(super) units: Vec<Unit<'a>>,
    pub(super) unit_of: Vec<usize>,
    /// Why it shall not run at all.
    pub(super) disabled: Vec<Option<String>>,
    pub(super) unmanaged: Vec<Option<String>>,
    /// Location scores per resource and node, with their reasons.
    pub(super) locations: Vec<BTreeMap<usize, Vec<(String, Score)>>>,
    pub(super) together: Vec<Together>,
    pub(super) sequences: Vec<Sequence>,
    /// The same, in the other direction, for symmetrical ones of which `then` restarts with `first`.
    pub(super) symmetrical: BTreeSet<(usize, usize)>,
    /// Why no at-most-one resource may be started.
    pub(super) hold: Option<String>,
    pub(super) next_change: Option<WallTime>,
    now: WallTime,
}

fn later(at: WallTime, span: Duration) -> WallTime {
    let micros = i64::try_from(span.as_micros()).unwrap_or(i64::MAX);
    WallTime::from_micros(at.as_micros().saturating_add(micros))
}

impl<'a> View<'a> {
    pub(super) fn new(state: &'a ClusterState, now: WallTime) -> Self {
        let config = &state.config;
        let mut names: BTreeSet<&NodeName> = config.nodes().iter().collect();
        names.extend(state.nodes.keys());
        let nodes: Vec<&NodeName> = names.into_iter().collect();
        let members: BTreeSet<&NodeName> = config.nodes().iter().collect();
        let resources: Vec<_> = config.resources().iter().collect();
        let mut view = Self {
            state,
            configured: nodes.iter().map(|node| members.contains(node)).collect(),
            status: nodes.iter().map(|node| state.status(node)).collect(),
            fences: BTreeMap::new(),
            cells: vec![vec![Cell::default(); nodes.len()]; resources.len()],
            units: Vec::new(),
            unit_of: vec![0; resources.len()],
            disabled: vec![None; resources.len()],
            unmanaged: vec![None; resources.len()],
            locations: vec![BTreeMap::new(); resources.len()],
            together: Vec::new(),
            sequences: Vec::new(),
            symmetrical: BTreeSet::new(),
            hold: None,
            next_change: None,
            now,
            nodes,
            resources,
        };
        view.find_units();
        view.find_switches();
        view.find_faults();
        view.find_fences();
        view.find_cells();
        view.find_locations();
        view.find_constraints();
        view
    }

    pub(super) fn is_single(&self, resource: usize) -> bool {
        self.resources[resource].1.guarantee == Guarantee::AtMostOne
    }

    /// Whether actions may be run on a node.
    pub(super) fn is_managed(&self, node: usize) -> bool {
        matches!(self.status[node], NodeStatus::Online | NodeStatus::Standby)
    }

    pub(super) fn holders(&self, resource: usize) -> impl Iterator<Item = usize> {
        let cells = self.cells[resource].iter().enumerate();
        cells.filter(|(_, cell)| cell.active).map(|(node, _)| node)
    }

    fn resource(&self, name: &ResourceName) -> Option<usize> {
        self.resources.binary_search_by_key(&name, |(name, _)| *name).ok()
    }

    fn node(&self, name: &NodeName) -> Option<usize> {
        self.nodes.binary_search(&name).ok()
    }

    fn ends_at(&mut self, at: WallTime) {
        self.next_change = Some(self.next_change.map_or(at, |next| next.min(at)));
    }

    fn find_units(&mut self) {
        let mut grouped = BTreeSet::new();
        for (name, group) in self.state.config.groups() {
            let members: Vec<usize> =
                group.members.iter().filter_map(|m| self.resource(m)).collect();
            grouped.extend(members.iter().copied());
            self.units.push(Unit { name, members, priority: group.priority, everywhere: false });
        }
        for (index, (name, resource)) in self.resources.iter().enumerate() {
            if !grouped.contains(&index) {
                let (members, priority) = (vec![index], resource.priority);
                self.units.push(Unit { name, members, priority, everywhere: false });
            }
        }
        for index in 0..self.units.len() {
            for member in self.units[index].members.clone() {
                self.unit_of[member] = index;
                self.units[index].everywhere = !self.is_single(member);
            }
        }
    }

    fn find_switches(&mut self) {
        let options = self.state.config.options();
        for (index, (_, resource)) in self.resources.iter().enumerate() {
            let group = self.state.config.groups().get(self.units[self.unit_of[index]].name);
            self.disabled[index] = if options.stop_all {
                Some("everything is to be stopped (stop_all)".to_owned())
            } else if !resource.enabled || group.is_some_and(|group| !group.enabled) {
                Some("it is not enabled".to_owned())
            } else {
                None
            };
            self.unmanaged[index] = if options.maintenance {
                Some("the cluster is in maintenance".to_owned())
            } else if !resource.managed || group.is_some_and(|group| !group.managed) {
                Some("it is not managed".to_owned())
            } else {
                None
            };
        }
    }

    /// Whether failures still count; if they end by themselves, that is a time to decide again.
    fn counts(&mut self, resource: usize, failures: Failures) -> bool {
        let Some(span) = self.resources[resource].1.failure_timeout else {
            return true;
        };
        let end = later(failures.last, span);
        if end > self.now {
            self.ends_at(end);
        }
        end > self.now
    }

    /// What to do after a failed operation.
    fn on_fail(&self, resource: usize, node: usize, operation: OperationName) -> OnFail {
        self.resources[resource].1.on_fail(operation).unwrap_or(match operation {
            OperationName::Stop if self.can_fence(node) => OnFail::Fence,
            OperationName::Stop => OnFail::Block,
            OperationName::Start
            | OperationName::Demote
            | OperationName::Monitor
            | OperationName::Notify
            | OperationName::Promote => OnFail::Restart,
        })
    }

    fn can_fence(&self, node: usize) -> bool {
        let fencing = self.state.config.fencing();
        let mut devices = fencing.into_iter().flat_map(|f| f.devices.values());
        self.state.config.options().stonith_enabled
            && devices.any(|device| device.nodes.contains(self.nodes[node]))
    }

    fn find_faults(&mut self) {
        let state = self.state;
        for index in 0..self.resources.len() {
            let (name, resource) = self.resources[index];
            for (node, status) in state.resources.get(name).into_iter().flatten() {
                let Some(node) = self.node(node) else { continue };
                let failures = status.failures.filter(|failures| self.counts(index, *failures));
                if let Some(Failures { count, operation, .. }) = failures {
                    let threshold = resource.migration_threshold.map(std::num::NonZero::get);
                    let fatal = operation == OperationName::Start
                        && state.config.options().start_failure_is_fatal;
                    let ban = &mut self.cells[index][node].ban;
                    if threshold.is_some_and(|threshold| count >= threshold) {
                        *ban = Some(format!("it failed there {count} times: migration_threshold"));
                    } else if fatal {
                        *ban = Some("its start failed there".to_owned());
                    }
                    match self.on_fail(index, node, operation) {
                        OnFail::Stop => {
                            let why = format!("its {operation} failed, and on_fail is stop");
                            self.disabled[index] = Some(why);
                        }
                        OnFail::Standby if self.status[node] == NodeStatus::Online => {
                            self.status[node] = NodeStatus::Standby;
                        }
                        OnFail::Block
                        | OnFail::Fence
                        | OnFail::Ignore
                        | OnFail::Restart
                        | OnFail::Standby => {}
                    }
                }
                let Some(fault) = status.fault.filter(|_| status.role.is_active()) else {
                    continue;
                };
                let what = self.on_fail(index, node, fault);
                let fence = what == OnFail::Fence
                    && self.unmanaged[index].is_none()
                    && self.is_managed(node);
                if fence {
                    self.fences.insert(node, format!("the {fault} of {name} failed there"));
                }
                let place = self.nodes[node];
                let cell = &mut self.cells[index][node];
                cell.faulty = what != OnFail::Ignore;
                if what == OnFail::Block || fault == OperationName::Stop {
                    cell.frozen = Some(format!("its {fault} failed on {place}"));
                }
            }
        }
    }

    /// Which nodes are to be fenced; those that should be and cannot hold up every start.
    fn find_fences(&mut self) {
        let mut wanted = std::mem::take(&mut self.fences);
        for node in 0..self.nodes.len() {
            if self.status[node] == NodeStatus::Unclean {
                wanted.insert(node, "its state is not known".to_owned());
            }
        }
        let policy = self.state.config.options().no_quorum_policy;
        let lost = self.state.quorum == Quorum::Lost;
        if lost && policy == NoQuorumPolicy::Suicide {
            wanted.clear();
            for node in (0..self.nodes.len()).filter(|node| self.is_managed(*node)) {
                let held = |(name, resource): &(&ResourceName, &RawResource)| {
                    resource.guarantee == Guarantee::AtMostOne
                        && self.state.holders(name).contains(&self.nodes[node])
                };
                if self.resources.iter().any(held) {
                    let why = "there is no quorum, and no_quorum_policy is suicide";
                    wanted.insert(node, why.to_owned());
                }
            }
        } else if lost && policy != NoQuorumPolicy::Ignore {
            wanted.clear();
        }
        let reached: BTreeSet<usize> =
            wanted.keys().copied().filter(|node| self.can_fence(*node)).collect();
        wanted.retain(|node, _| reached.contains(node));
        self.fences = wanted;
        for node in self.fences.keys() {
            self.status[*node] = NodeStatus::Unclean;
        }
        let open = (0..self.nodes.len())
            .find(|n| self.status[*n] == NodeStatus::Unclean && !self.fences.contains_key(n));
        self.hold = match (self.state.quorum, open) {
            (Quorum::Lost, _) if policy != NoQuorumPolicy::Ignore => {
                Some("there is no quorum".to_owned())
            }
            (Quorum::AfterFencing, _) => {
                Some("quorum hangs on fencing: what runs goes on, nothing is started".to_owned())
            }
            (_, Some(node)) => {
                Some(format!("{} is unclean, and nothing can fence it", self.nodes[node]))
            }
            (Quorum::Lost | Quorum::Quorate, None) => None,
        };
    }

    fn find_cells(&mut self) {
        for index in 0..self.resources.len() {
            let (name, resource) = self.resources[index];
            let known = self.state.resources.get(name);
            let mut active = 0;
            for node in 0..self.nodes.len() {
                let status = known.and_then(|known| known.get(self.nodes[node]));
                let on = self.status[node];
                let cell = &mut self.cells[index][node];
                cell.unknown = status.is_none();
                cell.outdated = status.is_some_and(|status| status.outdated);
                cell.active = on != NodeStatus::Offline
                    && status.is_some_and(|status| status.role.is_active());
                // A copy that failed is stopped anyway: it is no reason to demote the one that works.
                active += usize::from(cell.active && !(resource.promotable && cell.faulty));
                if !cell.active || on == NodeStatus::Unclean {
                    cell.frozen = None;
                } else if let Some(why) = &self.unmanaged[index] {
                    cell.frozen = Some(why.clone());
                } else if on == NodeStatus::Maintenance {
                    let why = "it runs on a node in maintenance, which is left alone";
                    cell.frozen = Some(why.to_owned());
                } else if on == NodeStatus::Pending {
                    cell.frozen = Some("it runs on a node that is just joining".to_owned());
                }
            }
            if active < 2 || resource.guarantee == Guarantee::AtLeastOne {
                continue;
            }
            let why = "it is active more than once, and multiple_active is block";
            match resource.multiple_active {
                MultipleActive::Block => {
                    for cell in self.cells[index].iter_mut().filter(|cell| cell.active) {
                        cell.frozen = Some(why.to_owned());
                    }
                }
                MultipleActive::StopOnly => {
                    let why = "it is active more than once, and multiple_active is stop-only";
                    self.disabled[index] = Some(why.to_owned());
                }
                MultipleActive::StopStart => {}
            }
        }
    }

    fn find_locations(&mut self) {
        let config = &self.state.config;
        let mut found: Vec<(usize, &NodeName, String, Score)> = Vec::new();
        for (index, (_, resource)) in self.resources.iter().enumerate() {
            // Of a promoted role these are what the copies say of themselves.
            let why = if resource.promotable { "promotion score" } else { "location" };
            let own = resource.locations.iter();
            found.extend(own.map(|(node, score)| (index, node, why.to_owned(), *score)));
        }
        for (name, group) in config.groups() {
            let Some(first) = group.members.first().and_then(|m| self.resource(m)) else {
                continue;
            };
            let why = format!("location of {name}");
            found.extend(group.locations.iter().map(|(n, score)| (first, n, why.clone(), *score)));
        }
        for location in &config.constraints().locations {
            if let Some(until) = location.until {
                if until <= self.now {
                    continue;
                }
                self.ends_at(until);
            }
            let Some(index) = self.ends(&location.resource).map(|(first, _)| first) else {
                continue;
            };
            let why = match location.origin {
                crate::model::Origin::Configured => format!("location {location}"),
                crate::model::Origin::Move => format!("a move of {location} was asked for"),
            };
            found.push((index, &location.node, why, location.score));
        }
        for (index, node, why, score) in found {
            if let Some(node) = self.node(node) {
                self.locations[index].entry(node).or_default().push((why, score));
            }
        }
    }

    /// A resource twice, or a group's first and last member.
    fn ends(&self, name: &ResourceName) -> Option<(usize, usize)> {
        let group = self.state.config.groups().get(name);
        let (first, last) = match group {
            Some(group) => (group.members.first()?, group.members.last()?),
            None => (name, name),
        };
        Some((self.resource(first)?, self.resource(last)?))
    }

    fn find_constraints(&mut self) {
        let state = self.state;
        for unit in 0..self.units.len() {
            let members = self.units[unit].members.clone();
            for (&before, &after) in members.iter().zip(members.iter().skip(1)) {
                let (dependent, primary) = (after, before);
                self.together.push(Together { dependent, primary, score: Score::INFINITY });
                self.add_need(before, after);
            }
        }
        for index in 0..self.resources.len() {
            let resource = self.resources[index].1;
            for other in &resource.with {
                if let Some((_, primary)) = self.ends(other) {
                    let score = Score::INFINITY;
                    self.together.push(Together { dependent: index, primary, score });
                }
            }
            for other in &resource.after {
                if let Some((_, first)) = self.ends(other) {
                    self.add_need(first, index);
                }
            }
        }
        for colocation in &state.config.constraints().colocations {
            let (this, other) = (self.ends(&colocation.resource), self.ends(&colocation.with));
            let (Some((dependent, _)), Some((first, last))) = (this, other) else { continue };
            let primary = if colocation.score == Score::INFINITY { last } else { first };
            if self.unit_of[dependent] != self.unit_of[primary] {
                self.together.push(Together { dependent, primary, score: colocation.score });
            }
        }
        for order in &state.config.constraints().orders {
            self.add_order(order);
        }
    }

    fn add_need(&mut self, first: usize, then: usize) {
        let (start, stop) = (OperationName::Start, OperationName::Stop);
        let mandatory = true;
        let sequence = Sequence { first, then, first_action: start, then_action: start, mandatory };
        self.sequences.push(sequence);
        let (first, then) = (then, first);
        let sequence = Sequence { first, then, first_action: stop, then_action: stop, mandatory };
        self.sequences.push(sequence);
        self.symmetrical.insert((then, first));
    }

    fn add_order(&mut self, order: &Order) {
        let (Some(first), Some(then)) = (self.ends(&order.first), self.ends(&order.then)) else {
            return;
        };
        let mandatory = order.kind == OrderKind::Mandatory;
        let stops = |action| action == OperationName::Stop;
        // A group is started when its last member is, and stopped when its first one is.
        let ended = |(a, z): (usize, usize), action| if stops(action) { a } else { z };
        let begun = |(a, z): (usize, usize), action| if stops(action) { z } else { a };
        let (first_action, then_action) = (order.first_action, order.then_action);
        let one = Sequence {
            first: ended(first, first_action),
            then: begun(then, then_action),
            first_action,
            then_action,
            mandatory,
        };
        self.sequences.push(one);
        if order.symmetrical {
            let inverse =
                |action| if stops(action) { OperationName::Start } else { OperationName::Stop };
            let (first_action, then_action) = (inverse(then_action), inverse(first_action));
            self.sequences.push(Sequence {
                first: ended(then, first_action),
                then: begun(first, then_action),
                first_action,
                then_action,
                // What is a need in one direction must not become one in the other.
                mandatory: mandatory && stops(then_action) == stops(first_action),
            });
            if one.is_need() {
                self.symmetrical.insert((one.first, one.then));
            }
        }
    }
}

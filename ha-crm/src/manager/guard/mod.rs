//! The part of a manager that acts for its own node: obeys the leader while that is safe, and
//! stops by itself when it is not.

mod held;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use ha_agents::Check;
use ha_agents::executor::{self, Action, Order, Refused};
use ha_core::guarantee::Guarantee;
use ha_core::id::{Incarnation, NodeName, OpId, ResourceName, Term};
use ha_core::role::Role;
use ha_core::time::Instant;
use ha_membership::quorum::Quorum;

use self::held::{Held, Running};
use super::event::ManagerEvent;
use super::message::{Command, CommandAction, Message, Report, digest};
use super::output::{Execution, Output};
use super::settings::ManagerConfig;
use crate::graph::ActionKind;
use crate::model::{
    ClusterConfig, ClusterState, NoQuorumPolicy, NodeStatus, OperationName, RawResource,
};
use crate::policy::{PolicyEngine, ScorePolicy};

/// Operations that a node asks for by itself have ids from here on; the leaders' are below.
const OWN_OPS: u64 = 1 << 63;

/// Guards one node.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "facts that do not exclude each other")]
pub(super) struct Guard {
    config: Arc<ManagerConfig>,
    cluster: Arc<ClusterConfig>,
    life: Incarnation,
    term: Term,
    leader: Option<NodeName>,
    /// Until when the node is quorate, if it hears nobody any more.
    quorate_until: Option<Instant>,
    quorate: bool,
    /// When everything that is at-most-one must have stopped.
    stop_by: Option<Instant>,
    /// The node leaves: when it no longer waits for the leader.
    leave_by: Option<Instant>,
    standby: bool,
    pub(super) left: bool,
    resources: BTreeMap<ResourceName, Held>,
    ops: u64,
    reports: u64,
    /// Something that the leader should know.
    news: bool,
    /// Something that a node that is alone should look at.
    look: bool,
}

impl Guard {
    pub(super) fn new(config: Arc<ManagerConfig>) -> Self {
        Self {
            cluster: Arc::clone(&config.cluster),
            config,
            life: Incarnation::new(0),
            term: Term::new(0),
            leader: None,
            quorate_until: None,
            quorate: false,
            stop_by: None,
            leave_by: None,
            standby: false,
            left: false,
            resources: BTreeMap::new(),
            ops: OWN_OPS,
            reports: 0,
            news: false,
            look: true,
        }
    }

    /// Whether this node may act for the cluster at `now`.
    pub(super) fn holds_quorum(&self, now: Instant) -> bool {
        !self.config.safeguards.quorum || self.quorate_until.is_some_and(|until| now < until)
    }

    pub(super) const fn is_leaving(&self) -> bool {
        self.leave_by.is_some()
    }

    pub(super) fn set_life(&mut self, life: Incarnation) {
        self.news |= life != self.life;
        self.life = life;
    }

    pub(super) fn set_quorum(&mut self, until: Option<Instant>) {
        self.quorate_until = until;
    }

    /// What is agreed on has changed.
    pub(super) fn set_cluster(&mut self, cluster: &Arc<ClusterConfig>, standby: bool) {
        self.look |= self.cluster != *cluster || self.standby != standby;
        self.cluster = Arc::clone(cluster);
        self.standby = standby;
    }

    pub(super) fn leave(&mut self, now: Instant) {
        let by = now + self.config.leave_within;
        self.leave_by.get_or_insert(by);
        (self.news, self.look) = (true, true);
    }

    pub(super) fn deadline(&self, now: Instant) -> Option<Instant> {
        let until = self.quorate_until.filter(|_| self.quorate);
        let waiting = self.resources.values().map(|held| held.not_before);
        let waiting = waiting.filter(|at| self.is_alone(now) && *at > now).min();
        let leave_by = self.leave_by.filter(|at| *at > now);
        [until, self.stop_by, leave_by, waiting].into_iter().flatten().min()
    }

    /// Looks at the clock: quorum may have ended, and a stop may be overdue. Whether quorum was
    /// lost or gained.
    pub(super) fn tick(&mut self, now: Instant, out: &mut Vec<Output>) -> bool {
        let quorate = self.holds_quorum(now);
        let changed = quorate != self.quorate;
        if changed {
            self.quorate = quorate;
            self.look = true;
            let stops = !quorate && self.config.safeguards.stop_deadline && self.must_stop();
            self.stop_by = stops.then(|| now + self.config.stop_within);
            out.push(Output::Event(if quorate {
                ManagerEvent::QuorumGained
            } else {
                ManagerEvent::QuorumLost
            }));
        }
        if self.leave_by.is_some_and(|at| at <= now) {
            self.look = true;
        }
        if self.stop_by.is_some_and(|at| at <= now) {
            self.stop_by = None;
            self.fence_itself(out);
        }
        changed
    }

    /// Whether the cluster wants what is at-most-one to stop without quorum: not if a person has
    /// it left alone, or frozen; the others then rely on fencing alone.
    fn must_stop(&self) -> bool {
        let options = self.cluster.options();
        !options.maintenance && options.no_quorum_policy != NoQuorumPolicy::Freeze
    }

    /// What has not stopped in time makes the node a danger.
    fn fence_itself(&self, out: &mut Vec<Output>) {
        let config = &self.cluster;
        let managed = |name: &ResourceName| {
            let group = config.groups().values().find(|group| group.members.contains(name));
            config.resources().get(name).is_none_or(|definition| definition.managed)
                && group.is_none_or(|group| group.managed)
        };
        let danger = self.resources.iter().filter(|(name, _)| managed(name));
        let danger = danger.filter(|(name, held)| self.must_cease(name, held));
        let resources: Vec<_> = danger.map(|(name, _)| name.clone()).collect();
        if !resources.is_empty() {
            out.push(Output::Event(ManagerEvent::SelfFence { resources: resources.clone() }));
            out.push(Output::SelfFence { resources });
        }
    }

    /// At most one, unless the configuration says otherwise: what is unknown is not trusted. Of a
    /// promotable resource that is the promoted one alone.
    fn is_single(&self, name: &ResourceName) -> bool {
        self.cluster.resources().get(name).is_none_or(is_single)
    }

    /// Whether it may be here what it may be in one place only.
    fn must_cease(&self, name: &ResourceName, held: &Held) -> bool {
        match self.cluster.resources().get(name) {
            Some(definition) if definition.promotable => held.may_be_promoted(),
            Some(definition) => is_single(definition) && held.may_be_active(),
            None => held.may_be_active(),
        }
    }

    /// Whether nobody leads this node, so that it looks after its own resources.
    fn is_alone(&self, now: Instant) -> bool {
        !self.quorate || self.leave_by.is_some_and(|at| at <= now)
    }

    /// Ends a call: acts alone if it must, and tells the leader what is new.
    pub(super) fn settle(&mut self, now: Instant, out: &mut Vec<Output>) {
        if self.is_alone(now) && self.due_to_look(now) {
            self.act_alone(now, out);
        }
        let idle = || !self.resources.values().any(|h| h.may_be_active() || h.running.is_some());
        if !self.left && self.is_leaving() && self.is_alone(now) && idle() {
            self.left = true;
            out.push(Output::Left);
        }
        if std::mem::take(&mut self.news) {
            self.report(out);
        }
    }

    fn due_to_look(&mut self, now: Instant) -> bool {
        let waited = self.resources.values_mut().any(|held| {
            let due = held.not_before > Instant::ZERO && held.not_before <= now;
            if due {
                held.not_before = Instant::ZERO;
            }
            due
        });
        std::mem::take(&mut self.look) || waited
    }

    fn report(&mut self, out: &mut Vec<Output>) {
        let Some(leader) = self.leader.clone() else { return };
        self.reports += 1;
        let report = Report {
            term: self.term,
            life: self.life,
            number: self.reports,
            leaving: self.is_leaving(),
            resources: self.resources.iter().map(|(n, held)| (n.clone(), held.report())).collect(),
        };
        out.push(Output::Send { to: leader, message: Message::Report(Box::new(report)) });
    }

    /// The policy for a node without the others: it stops what is at-most-one, and keeps up what
    /// is at-least-one.
    fn act_alone(&mut self, now: Instant, out: &mut Vec<Output>) {
        let mut state = ClusterState::cold((*self.cluster).clone());
        state.quorum = Quorum::Lost;
        for node in self.cluster.nodes() {
            state.nodes.insert(node.clone(), NodeStatus::Offline);
        }
        let here = if self.standby || self.is_leaving() {
            NodeStatus::Standby
        } else {
            NodeStatus::Online
        };
        state.nodes.insert(self.config.me.clone(), here);
        let wall = self.config.wall(now);
        for (name, held) in &self.resources {
            if let Some(status) = held.status(wall) {
                state = state.with_status(name.clone(), self.config.me.clone(), status);
            }
        }
        let graph = ScorePolicy::new().decide(&state, wall).graph;
        let none = BTreeSet::new();
        for action in graph.ready(&none) {
            if *action.kind.node() == self.config.me {
                self.act(&action.kind, now, out);
            }
        }
    }

    fn act(&mut self, kind: &ActionKind, now: Instant, out: &mut Vec<Output>) {
        let (resource, what) = match kind {
            ActionKind::Fence { .. } => return self.fence_itself(out),
            // Nobody is promoted by a node that is alone.
            ActionKind::Promote { .. } => return,
            ActionKind::Demote { resource, .. } => (resource, OperationName::Demote),
            ActionKind::Probe { resource, .. } => (resource, OperationName::Monitor),
            ActionKind::Start { resource, .. } => (resource, OperationName::Start),
            ActionKind::Stop { resource, .. } => (resource, OperationName::Stop),
        };
        let ends = matches!(what, OperationName::Demote | OperationName::Stop);
        let in_time = ends
            && (self.is_single(resource)
                || self
                    .resources
                    .get(resource)
                    .is_some_and(|held| self.must_cease(resource, held)));
        if what == OperationName::Start && self.is_single(resource)
            || in_time && !self.config.safeguards.stop_deadline
        {
            return;
        }
        let definition = self.cluster.resources().get(resource).cloned();
        let held = self.resources.entry(resource.clone()).or_default();
        let rests = held.not_before > now && !ends;
        if held.running.is_some() || rests {
            return;
        }
        if !held.may_be_active() || held.definition.is_none() {
            held.definition = definition;
        }
        let limit = in_time.then_some(self.config.stop_within);
        self.execute(resource, (what, limit), None, out);
    }

    fn own_op(&mut self) -> OpId {
        self.ops += 1;
        OpId::new(self.ops)
    }

    /// Gives an operation to the executor.
    fn execute(
        &mut self,
        resource: &ResourceName,
        (what, limit): (OperationName, Option<Duration>),
        command: Option<(Term, OpId)>,
        out: &mut Vec<Output>,
    ) {
        let op = match command {
            Some((_, op)) => op,
            None => self.own_op(),
        };
        let Some(held) = self.resources.get_mut(resource) else { return };
        held.running = Some(Running { op, what, command: command.map(|(_, op)| op) });
        let action = match what {
            OperationName::Demote => Action::Demote,
            OperationName::Monitor => Action::Monitor(Check::PROBE),
            OperationName::Notify => Action::Notify,
            OperationName::Promote => Action::Promote,
            OperationName::Start => Action::Start,
            OperationName::Stop => Action::Stop,
        };
        let (resource, alone) = (resource.clone(), command.is_none());
        match what {
            OperationName::Monitor | OperationName::Notify => {}
            OperationName::Demote => out.push(Output::Event(ManagerEvent::DemoteRequested {
                resource: resource.clone(),
                alone,
            })),
            OperationName::Promote => out.push(Output::Event(ManagerEvent::PromoteRequested {
                resource: resource.clone(),
                token: held.token,
            })),
            OperationName::Start => out.push(Output::Event(ManagerEvent::StartRequested {
                resource: resource.clone(),
                token: held.token,
            })),
            OperationName::Stop => out.push(Output::Event(ManagerEvent::StopRequested {
                resource: resource.clone(),
                alone,
            })),
        }
        let context = held.context(&resource, op, (what, limit));
        let order = Order { term: command.map(|(term, _)| term), action, context };
        out.push(Output::Execute(execution(held.definition.as_ref(), order)));
    }

    fn start_monitors(&mut self, resource: &ResourceName, out: &mut Vec<Output>) {
        let Some(held) = self.resources.get_mut(resource) else { return };
        if held.monitored || !held.role.is_some_and(Role::is_active) || held.fault.is_some() {
            return;
        }
        held.monitored = true;
        for (interval, timeout) in held.monitors() {
            let op = self.own_op();
            let Some(held) = self.resources.get(resource) else { return };
            let context = held.context(resource, op, (OperationName::Monitor, None));
            let context = context.timeout(timeout).every(interval);
            let order = Order { term: None, action: Action::Monitor(held.check()), context };
            out.push(Output::Execute(execution(held.definition.as_ref(), order)));
        }
    }

    /// A message of a leader.
    pub(super) fn heard(
        &mut self,
        now: Instant,
        from: &NodeName,
        message: Message,
        out: &mut Vec<Output>,
    ) {
        let term = match &message {
            Message::Hello { term } | Message::Released { term, .. } => *term,
            Message::Command(command) => command.term,
            Message::Report(_) => return,
        };
        if term < self.term && self.config.safeguards.term {
            let reason = format!("its term {term} is over, the present one is {}", self.term);
            let from = from.clone();
            out.push(Output::Event(ManagerEvent::CommandRefused { from, reason }));
            return;
        }
        self.term = self.term.max(term);
        self.leader = Some(from.clone());
        self.news = true;
        match message {
            Message::Command(command) => self.obey(now, from, *command, out),
            Message::Released { life, .. } if life == self.life && self.is_leaving() => {
                self.left = true;
                out.push(Output::Left);
            }
            Message::Hello { .. } | Message::Released { .. } | Message::Report(_) => {}
        }
    }

    fn obey(&mut self, now: Instant, from: &NodeName, command: Command, out: &mut Vec<Output>) {
        let Command { term, life, op, resource, definition, action, promoted } = command;
        let quorate = self.holds_quorum(now);
        let held = self.resources.entry(resource.clone()).or_default();
        if life != self.life || held.commanded.is_some_and(|newest| op <= newest) {
            return;
        }
        if held.running.is_some() {
            return; // It will be said again.
        }
        held.commanded = Some(op);
        held.promoted_on = match action {
            CommandAction::Promote { .. } => None,
            CommandAction::CleanUp
            | CommandAction::Demote
            | CommandAction::Notify
            | CommandAction::Probe
            | CommandAction::Start { .. }
            | CommandAction::Stop => promoted.or(held.promoted_on.take()),
        };
        let what = match action {
            CommandAction::CleanUp => {
                held.clean_up();
                held.answered = Some(op);
                out.push(Output::CleanUp(resource));
                return;
            }
            CommandAction::Probe => OperationName::Monitor,
            CommandAction::Promote { .. } | CommandAction::Start { .. }
                if !quorate && needs_quorum(action, &definition) =>
            {
                held.answered = Some(op);
                let verb = if is_single(&definition) { "start" } else { "promote" };
                let reason = format!("cannot {verb} {resource}: this node has no quorum");
                let from = from.clone();
                out.push(Output::Event(ManagerEvent::CommandRefused { from, reason }));
                return;
            }
            CommandAction::Start { token } => {
                held.token = Some(token);
                OperationName::Start
            }
            CommandAction::Promote { token } => {
                held.token = Some(token);
                OperationName::Promote
            }
            CommandAction::Demote => OperationName::Demote,
            CommandAction::Notify => OperationName::Notify,
            CommandAction::Stop => OperationName::Stop,
        };
        // What runs is stopped as it was started, whatever is configured now.
        if what == OperationName::Start || held.definition.is_none() || !held.may_be_active() {
            held.definition = Some(definition);
        }
        self.execute(&resource, (what, None), Some((term, op)), out);
    }

    /// The executor has something to say.
    pub(super) fn executed(
        &mut self,
        now: Instant,
        output: executor::Output,
        out: &mut Vec<Output>,
    ) {
        let (resource, event) = match output {
            executor::Output::Died { resource, reason, .. } => {
                let broke = |held: &mut Held| held.broke(&resource, &reason, now);
                let event = self.resources.get_mut(&resource).and_then(broke);
                (resource, event)
            }
            executor::Output::Ended { op, resource, action, answer, .. } => {
                let held = self.resources.get_mut(&resource);
                let is_it = |held: &&mut Held| held.running.is_some_and(|r| r.op == op);
                let Some(held) = held.filter(is_it) else { return };
                let event = held.ended(&resource, (action, &answer), now);
                (resource, event)
            }
            executor::Output::Monitored { resource, answer, .. } => {
                let Some(held) = self.resources.get_mut(&resource) else { return };
                let is_new = held.take_promotion(&answer);
                let event = held.failed_monitor(&resource, &answer, now);
                if event.is_none() && !is_new {
                    return;
                }
                (resource, event)
            }
            executor::Output::Refused { op, why } => return self.refused(now, op, &why),
            executor::Output::Event(_) | executor::Output::Run(_) => return,
        };
        (self.news, self.look) = (true, true);
        out.extend(event.map(Output::Event));
        self.start_monitors(&resource, out);
    }

    fn refused(&mut self, now: Instant, op: OpId, why: &Refused) {
        let is_it = |held: &&mut Held| held.running.is_some_and(|running| running.op == op);
        if let Some(held) = self.resources.values_mut().find(is_it) {
            tracing::warn!(%op, %why, "the executor refused an order");
            let command = held.running.take().and_then(|running| running.command);
            held.answered = held.answered.max(command);
            held.not_before = now + self.config.repeat;
            self.news = true;
        }
    }
}

/// Whether it may be active in one place only.
fn is_single(definition: &RawResource) -> bool {
    definition.guarantee == Guarantee::AtMostOne && !definition.promotable
}

fn needs_quorum(action: CommandAction, definition: &RawResource) -> bool {
    matches!(action, CommandAction::Promote { .. }) || is_single(definition)
}

fn execution(definition: Option<&RawResource>, order: Order) -> Box<Execution> {
    let agent = definition.map(|definition| definition.agent.clone()).unwrap_or_default();
    Box::new(Execution { agent, digest: definition.map_or(0, digest), order })
}

//! A node of the simulation: the mesh and the manager as one machine, with an executor and
//! everything else around them modelled.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use ha_agents::executor::{self, Action, Answer, Order};
use ha_agents::{Check, Outcome, Report};
use ha_core::id::{FencingToken, Incarnation, NodeName, ResourceName};
use ha_core::machine::Machine;
use ha_core::time::Instant;
use ha_crm::manager::{Execution, Input, Manager, ManagerConfig, Message, Output, Response};
use ha_crm::model::{ClusterConfig, promoted_role};
use ha_membership::mesh::wire;
use ha_membership::mesh::{Mesh, MeshConfig, MeshInput, MeshOutput};
use ha_membership::quorum::VoteQuorum;
use ha_sim::{Context, Node, NodeIndex};

use super::model::{Fact, FenceJob, Model, Outage};
use crate::node;

const PORT: u16 = 7946;

pub(crate) fn address(node: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, u8::try_from(node).expect("few")], PORT))
}

/// The two machines, joined as the service joins them.
#[derive(Debug)]
pub(crate) struct Both {
    pub(crate) mesh: Mesh,
    pub(crate) manager: Manager,
    until: Option<Instant>,
    /// Since when the mesh is not quorate, on the node's clock.
    pub(crate) lost_at: Option<Instant>,
}

#[derive(Debug, Clone)]
pub(crate) enum BothInput {
    Manager(Box<Input>),
    Mesh(MeshInput),
}

#[derive(Debug)]
pub(crate) enum BothOutput {
    /// With whether the mesh is quorate at that moment.
    Manager(Output, bool),
    Mesh(SocketAddr, Box<wire::Message>),
    /// An operation ended, as the manager now knows.
    Ended(ResourceName, Action, Answer),
}

impl Both {
    fn new(mesh: MeshConfig, manager: ManagerConfig, now: Instant) -> Self {
        let (mesh, manager) = (Mesh::new(mesh, now), Manager::new(manager, now));
        Self { mesh, manager, until: None, lost_at: Some(now) }
    }

    fn meshed(&mut self, now: Instant, from: Vec<MeshOutput>, out: &mut Vec<BothOutput>) {
        let mut said = Vec::new();
        for output in from {
            match output {
                MeshOutput::Event(_) => {}
                MeshOutput::Send { to, message, .. } => {
                    out.push(BothOutput::Mesh(to, Box::new((*message).clone())));
                }
                MeshOutput::View(view) => {
                    self.manager.handle(now, Input::View(view.into()), &mut said);
                }
            }
        }
        let until = self.mesh.quorate_until();
        if until != self.until {
            self.until = until;
            self.lost_at = match until {
                Some(_) => None,
                None => Some(self.lost_at.unwrap_or(now)),
            };
            self.manager.handle(now, Input::Quorum(until), &mut said);
        }
        self.managed(now, said, out);
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "the mesh takes two, the host the rest")]
    fn managed(&mut self, now: Instant, from: Vec<Output>, out: &mut Vec<BothOutput>) {
        for output in from {
            let mut meshed = Vec::new();
            match output {
                Output::ConfirmFenced(node) => {
                    self.mesh.handle(now, MeshInput::Fenced(node), &mut meshed);
                }
                Output::Left => self.mesh.handle(now, MeshInput::Leave, &mut meshed),
                other => out.push(BothOutput::Manager(other, self.until.is_some())),
            }
            if !meshed.is_empty() {
                self.meshed(now, meshed, out);
            }
        }
    }
}

impl Machine for Both {
    type Input = BothInput;
    type Output = BothOutput;

    fn handle(&mut self, now: Instant, input: BothInput, out: &mut Vec<BothOutput>) {
        self.tick(now, out);
        match input {
            BothInput::Manager(input) => {
                if let Input::Executed(executor::Output::Ended {
                    resource, action, answer, ..
                }) = &*input
                {
                    let (resource, answer) = (resource.clone(), answer.clone());
                    out.push(BothOutput::Ended(resource, *action, answer));
                }
                let mut said = Vec::new();
                self.manager.handle(now, *input, &mut said);
                self.managed(now, said, out);
            }
            BothInput::Mesh(input) => {
                let mut said = Vec::new();
                self.mesh.handle(now, input, &mut said);
                self.meshed(now, said, out);
            }
        }
    }

    fn tick(&mut self, now: Instant, out: &mut Vec<BothOutput>) {
        let mut said = Vec::new();
        self.mesh.tick(now, &mut said);
        self.meshed(now, said, out);
        let mut said = Vec::new();
        self.manager.tick(now, &mut said);
        self.managed(now, said, out);
    }

    fn deadline(&self) -> Option<Instant> {
        [self.mesh.deadline(), self.manager.deadline()].into_iter().flatten().min()
    }
}

#[derive(Clone)]
pub(crate) enum Packet {
    Mesh(SocketAddr, Vec<u8>),
    Manager(Box<Message>),
}

impl std::fmt::Debug for Packet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Mesh(_, bytes) => write!(f, "mesh, {} bytes", bytes.len()),
            Self::Manager(message) => match &**message {
                Message::Command(command) => write!(
                    f,
                    "term {} op {} {:?} {}",
                    command.term, command.op, command.action, command.resource
                ),
                Message::Report(report) => {
                    write!(f, "report {} of life {}", report.number, report.life)
                }
                other @ (Message::Hello { .. } | Message::Released { .. }) => {
                    write!(f, "{other:?}")
                }
            },
        }
    }
}

/// What is around the machines of a node.
pub(crate) struct Host {
    pub(crate) cluster: ClusterConfig,
    pub(crate) safeguards: ha_crm::manager::Safeguards,
    pub(crate) model: Rc<RefCell<Model>>,
    pub(crate) life: u64,
    /// What runs here, with the token it was started with.
    pub(crate) active: BTreeMap<ResourceName, Option<FencingToken>>,
    /// What the executor would notice if it died.
    pub(crate) watched: BTreeSet<ResourceName>,
    /// The manager's last answer to a request.
    pub(crate) reply: Option<Response>,
}

impl Host {
    pub(crate) fn new(
        cluster: ClusterConfig,
        safeguards: ha_crm::manager::Safeguards,
        model: Rc<RefCell<Model>>,
    ) -> Self {
        Self {
            cluster,
            safeguards,
            model,
            life: 0,
            active: BTreeMap::new(),
            watched: BTreeSet::new(),
            reply: None,
        }
    }

    fn mesh_config(&self, me: usize) -> MeshConfig {
        let nodes = self.cluster.nodes();
        let quorum =
            nodes.iter().fold(VoteQuorum::builder(), |builder, name| builder.voter(name.clone()));
        let mut builder = MeshConfig::lan(node(me))
            .incarnation(Incarnation::new(self.life * 1_000_000))
            .quorum(quorum.build().expect("valid"))
            .link(address(me));
        for seed in 0..nodes.len() {
            builder = builder.seed(address(seed));
        }
        builder.build().expect("valid")
    }

    /// A promoted role becomes active as a resource does.
    fn begin(&mut self, order: &Order, name: &ResourceName, (me, quorate): (NodeIndex, bool)) {
        let token = order.context.meta.get("fencing-token");
        let token = token.and_then(|token| token.parse::<FencingToken>().ok());
        self.active.insert(name.clone(), token);
        let resource = name.clone();
        self.model.borrow_mut().fact(Fact::Start { resource, node: me, token, quorate });
    }

    fn execute(&mut self, execution: Execution, quorate: bool, context: &mut Context<'_, Self>) {
        let order = execution.order;
        let (resource, op, action) = (order.resource().clone(), order.op(), order.action);
        let me = context.node();
        if action == Action::Stop {
            self.watched.remove(&resource);
        }
        let role = promoted_role(&resource).expect("a short name");
        if matches!(action, Action::Start | Action::Promote) {
            let what = if action == Action::Start { &resource } else { &role };
            self.begin(&order, what, (me, quorate));
        }
        let mut model = self.model.borrow_mut();
        let outcome = match action {
            Action::Promote | Action::Start if model.chance(0.03) => Outcome::GenericError,
            Action::Stop if model.chance(0.01) => Outcome::GenericError,
            // What is promoted clings to it, so that stops and fences are needed as well.
            Action::Demote if model.chance(0.3) => Outcome::GenericError,
            Action::Stop if self.active.contains_key(&role) && model.chance(0.3) => {
                Outcome::GenericError
            }
            Action::Monitor(Check { role: None, .. }) => {
                if self.active.contains_key(&role) {
                    Outcome::RunningPromoted
                } else if self.active.contains_key(&resource) {
                    Outcome::Success
                } else {
                    Outcome::NotRunning
                }
            }
            Action::Monitor(_) => return,
            Action::Demote
            | Action::MigrateFrom
            | Action::MigrateTo
            | Action::Notify
            | Action::Promote
            | Action::Reload
            | Action::Start
            | Action::Stop
            | Action::Validate => Outcome::Success,
        };
        let delay = context.rng().between(Duration::from_millis(1), Duration::from_millis(60));
        let mut report = Report::from(outcome);
        // Some are never fit to be promoted.
        report.promotion = Some(if me.get() == 3 { -1 } else { 10 + i32::from(me.get() == 1) });
        let answer = Answer::Report(report);
        let output = executor::Output::Ended { op, resource, action, answer, failures: 0 };
        context.later(delay, BothInput::Manager(Box::new(Input::Executed(output))));
    }

    fn ended(&mut self, resource: ResourceName, action: Action, answer: &Answer, me: NodeIndex) {
        let Answer::Report(report) = answer else { return };
        let mut model = self.model.borrow_mut();
        match (action, report.outcome) {
            (Action::Stop, Outcome::Success) => {
                let role = promoted_role(&resource).expect("a short name");
                self.active.remove(&resource);
                self.active.remove(&role);
                model.fact(Fact::Stopped { resource, node: me });
                model.fact(Fact::Stopped { resource: role, node: me });
            }
            (Action::Demote, Outcome::Success) => {
                let role = promoted_role(&resource).expect("a short name");
                self.active.remove(&role);
                model.fact(Fact::Stopped { resource: role, node: me });
            }
            (Action::Start, Outcome::Success) => {
                self.watched.insert(resource);
            }
            (Action::Monitor(_), outcome @ (Outcome::NotRunning | Outcome::Success)) => {
                let role = promoted_role(&resource).expect("a short name");
                model.fact(Fact::FoundStopped { resource: role, node: me });
                if outcome == Outcome::NotRunning {
                    model.fact(Fact::FoundStopped { resource, node: me });
                }
            }
            _ => {}
        }
    }

    fn managed(&mut self, output: Output, quorate: bool, context: &mut Context<'_, Self>) {
        let me = context.node();
        match output {
            Output::Execute(execution) => self.execute(*execution, quorate, context),
            Output::Send { to, message } => {
                let index = super::index(&to);
                context.send(NodeIndex::new(index), Packet::Manager(Box::new(message)));
            }
            Output::Read { op } => {
                let (delay, read) = self.model.borrow_mut().read(me);
                context.later(delay, BothInput::Manager(Box::new(Input::Read(op, read))));
            }
            Output::Write { op, expected, ledger } => {
                let (delay, written) = self.model.borrow_mut().write(me, expected, &ledger);
                context.later(delay, BothInput::Manager(Box::new(Input::Written(op, written))));
            }
            Output::Fence { op, node, .. } => {
                let target = super::index(&node);
                self.model.borrow_mut().fence(FenceJob {
                    by: me,
                    op,
                    target: NodeIndex::new(target),
                });
            }
            Output::SelfFence { .. } => self.model.borrow_mut().outages.push(Outage::Itself(me)),
            Output::Event(event) => context.note(event.to_string()),
            Output::Campaign(_) | Output::CleanUp(_) | Output::ConfirmFenced(_) | Output::Left => {}
            Output::Reply { response, .. } => self.reply = Some(response),
        }
    }
}

impl Node for Host {
    type Machine = Both;
    type Message = Packet;

    fn start(&mut self, context: &mut Context<'_, Self>) -> Both {
        self.life += 1;
        let me = context.node().get();
        let manager = ManagerConfig::builder(node(me), self.cluster.clone())
            .startup_wait(Duration::from_secs(2))
            .epoch(context.now(), self.model.borrow().wall())
            .without_safeguards(self.safeguards)
            .build()
            .expect("valid");
        Both::new(self.mesh_config(me), manager, context.now())
    }

    fn receive(&mut self, from: NodeIndex, packet: Packet) -> Option<BothInput> {
        Some(match packet {
            Packet::Mesh(from, bytes) => {
                let message = wire::Message::decode(&bytes).expect("ours");
                BothInput::Mesh(MeshInput::Heard(0, from, message))
            }
            Packet::Manager(message) => {
                let from: NodeName = node(from.get());
                BothInput::Manager(Box::new(Input::Heard(from, *message)))
            }
        })
    }

    fn perform(&mut self, output: BothOutput, context: &mut Context<'_, Self>) {
        match output {
            BothOutput::Manager(output, quorate) => self.managed(output, quorate, context),
            BothOutput::Mesh(to, message) => {
                let count = self.cluster.nodes().len();
                let to = (0..count).find(|node| address(*node) == to).expect("a node");
                let from = address(context.node().get());
                context.send(NodeIndex::new(to), Packet::Mesh(from, message.encode()));
            }
            BothOutput::Ended(resource, action, answer) => {
                self.ended(resource, action, &answer, context.node());
            }
        }
    }

    fn crashed(&mut self) {
        self.active.clear();
        self.watched.clear();
    }
}

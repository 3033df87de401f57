//! What is outside of all nodes: the store, which is linearizable and has at most one leader a
//! term, the power switch, and the record of facts that the invariants look at.

use std::collections::BTreeMap;
use std::time::Duration;

use ha_core::id::{FencingToken, NodeName, OpId, ResourceName, Term};
use ha_core::time::{Instant, WallTime};
use ha_crm::manager::{Input, Ledger, Read, Written};
use ha_crm::model::promoted_role;
use ha_membership::Revision;
use ha_membership::store::Expected;
use ha_sim::{NodeIndex, Rng, Violation, World};

use super::host::{BothInput, Host};

const MS: Duration = Duration::from_millis(1);

/// Something that happened on a node.
#[derive(Debug)]
pub(crate) enum Fact {
    FoundStopped { resource: ResourceName, node: NodeIndex },
    Start { resource: ResourceName, node: NodeIndex, token: Option<FencingToken>, quorate: bool },
    Stopped { resource: ResourceName, node: NodeIndex },
}

#[derive(Debug, Clone)]
pub(crate) struct FenceJob {
    pub(crate) by: NodeIndex,
    pub(crate) op: OpId,
    pub(crate) target: NodeIndex,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Device {
    AnswerLost,
    Refuses,
    Works,
}

#[derive(Debug)]
pub(crate) enum Outage {
    Itself(NodeIndex),
}

#[derive(Debug)]
pub(crate) struct Model {
    now: Instant,
    rng: Rng,
    names: Vec<NodeName>,
    /// Whether devices, stores and services fail by themselves.
    pub(crate) troubled: bool,
    /// How often the leader changes without need, in each slice.
    pub(crate) churn: f64,
    /// How late nodes learn of a new leader at the latest; the old one goes on until then.
    pub(crate) told_within: Duration,
    ledger: Option<(Ledger, Revision)>,
    revision: u64,
    term: u64,
    leader: Option<NodeIndex>,
    leaderless_until: Option<Instant>,
    /// Who reaches a majority.
    able: Vec<bool>,
    /// Which life of each node was told what.
    lives: Vec<u64>,
    told: Vec<u64>,
    known: Vec<u64>,
    later: Vec<(Instant, NodeIndex, Input)>,
    fences: Vec<(Instant, FenceJob, Device)>,
    restarts: Vec<(Instant, NodeIndex)>,
    pub(crate) outages: Vec<Outage>,
    /// Who may hold a resource, as far as anybody could know.
    holders: BTreeMap<ResourceName, NodeIndex>,
    tokens: BTreeMap<ResourceName, FencingToken>,
    pub(crate) singles: Vec<ResourceName>,
    pub(crate) fenced: u64,
    pub(crate) starts: u64,
    pub(crate) unfenced_start: Option<String>,
    pub(crate) start_without_quorum: Option<String>,
    pub(crate) old_token: Option<String>,
}

impl Model {
    pub(crate) fn new(seed: u64, names: Vec<NodeName>, singles: Vec<ResourceName>) -> Self {
        let count = names.len();
        Self {
            now: Instant::ZERO,
            rng: Rng::stream(seed, 0x57_0e),
            names,
            troubled: true,
            churn: 0.002,
            told_within: 150 * MS,
            ledger: None,
            revision: 0,
            term: 0,
            leader: None,
            leaderless_until: None,
            able: vec![false; count],
            lives: vec![0; count],
            told: vec![0; count],
            known: vec![0; count],
            later: Vec::new(),
            fences: Vec::new(),
            restarts: Vec::new(),
            outages: Vec::new(),
            holders: BTreeMap::new(),
            tokens: BTreeMap::new(),
            singles,
            fenced: 0,
            starts: 0,
            unfenced_start: None,
            start_without_quorum: None,
            old_token: None,
        }
    }

    pub(crate) fn describe(&self) -> String {
        let (term, leader, later) = (self.term, self.leader, &self.later);
        format!(
            "the store is led by {leader:?} in term {term}, reached by {:?}, told {:?}, later {later:?}",
            self.able, self.told
        )
    }

    /// What all calendars show.
    pub(crate) fn wall(&self) -> WallTime {
        let micros = self.now.since(Instant::ZERO).as_micros();
        WallTime::from_micros(i64::try_from(micros).unwrap_or(i64::MAX))
    }

    pub(crate) fn chance(&mut self, probability: f64) -> bool {
        self.troubled && self.rng.chance(probability)
    }

    pub(crate) fn fact(&mut self, fact: Fact) {
        match fact {
            Fact::FoundStopped { resource, node } | Fact::Stopped { resource, node } => {
                if self.holders.get(&resource) == Some(&node) {
                    self.holders.remove(&resource);
                }
            }
            Fact::Start { resource, node, token, quorate } => {
                self.starts += 1;
                if !self.singles.contains(&resource) {
                    return;
                }
                if !quorate {
                    let what = format!("{node} starts {resource} without quorum");
                    self.start_without_quorum.get_or_insert(what);
                }
                let before = self.holders.insert(resource.clone(), node);
                if let Some(holder) = before.filter(|holder| *holder != node) {
                    let what = format!(
                        "{node} starts {resource}, which {holder} has neither stopped nor was \
                         fenced with"
                    );
                    self.unfenced_start.get_or_insert(what);
                }
                let last = self.tokens.get(&resource).copied();
                if token <= last {
                    let what = format!("{resource} is started with {token:?} after {last:?}");
                    self.old_token.get_or_insert(what);
                }
                self.tokens.extend(token.map(|token| (resource, token)));
            }
        }
    }

    pub(crate) fn read(&mut self, node: NodeIndex) -> (Duration, Read) {
        if !self.able[node.get()] || self.chance(0.02) {
            return (300 * MS, Read::Unavailable);
        }
        let read = match &self.ledger {
            None => Read::Absent,
            Some((ledger, revision)) => Read::Found(Box::new(ledger.clone()), *revision),
        };
        (self.rng.between(MS, 20 * MS), read)
    }

    pub(crate) fn write(
        &mut self,
        node: NodeIndex,
        expected: Expected,
        ledger: &Ledger,
    ) -> (Duration, Written) {
        if !self.able[node.get()] || self.chance(0.01) {
            return (300 * MS, Written::Unavailable);
        }
        let found = self.ledger.as_ref().map(|(_, revision)| *revision);
        let holds = match expected {
            Expected::Any => true,
            Expected::Absent => found.is_none(),
            Expected::Revision(revision) => found == Some(revision),
        };
        if !holds {
            return (self.rng.between(MS, 20 * MS), Written::Conflict);
        }
        self.revision += 1;
        let revision = Revision::new(self.revision);
        self.ledger = Some((ledger.clone(), revision));
        if self.chance(0.01) {
            return (300 * MS, Written::Unavailable); // Done, and the answer is lost.
        }
        (self.rng.between(MS, 20 * MS), Written::Done(revision))
    }

    pub(crate) fn fence(&mut self, job: FenceJob) {
        let device = if self.chance(0.2) {
            Device::Refuses
        } else if self.chance(0.1) {
            Device::AnswerLost
        } else {
            Device::Works
        };
        let longest = if self.chance(0.2) { 3000 * MS } else { 200 * MS };
        let at = self.now + self.rng.between(5 * MS, longest);
        self.fences.push((at, job, device));
    }

    fn elect(&mut self) {
        let fine = self.leader.is_some_and(|leader| self.able[leader.get()]);
        if fine && !self.chance(self.churn) {
            self.leaderless_until = None;
            return;
        }
        if !fine {
            let delay = self.rng.between(100 * MS, 500 * MS);
            let until = *self.leaderless_until.get_or_insert(self.now + delay);
            if until > self.now {
                return;
            }
        }
        let able: Vec<usize> = (0..self.able.len()).filter(|node| self.able[*node]).collect();
        self.leader = self.rng.pick(&able).map(|node| NodeIndex::new(*node));
        if self.leader.is_some() {
            self.term += 1;
            self.leaderless_until = None;
        }
    }

    /// Tells nodes that reach the majority what they do not know yet, sooner or later.
    fn tell(&mut self) {
        for node in (0..self.able.len()).filter(|node| self.able[*node]).collect::<Vec<_>>() {
            let index = NodeIndex::new(node);
            if self.told[node] < self.term {
                self.told[node] = self.term;
                let leader = self.leader.map(|leader| self.names[leader.get()].clone());
                let input = Input::Leadership { term: Term::new(self.term), leader };
                let at = self.now + self.rng.between(MS, self.told_within);
                self.later.push((at, index, input));
            }
            if let Some((ledger, revision)) = &self.ledger
                && self.known[node] < revision.get()
            {
                self.known[node] = revision.get();
                let input = Input::Ledger(std::sync::Arc::new(ledger.clone()));
                let at = self.now + self.rng.between(MS, 50 * MS);
                self.later.push((at, index, input));
            }
        }
        self.later.sort_by_key(|(at, ..)| *at);
    }

    fn look(&mut self, world: &World<Host>) {
        self.now = world.now();
        let nodes = world.indices();
        for node in &nodes {
            let running = world.is_running(*node);
            let life = world.node(*node).map_or(0, |host| host.life);
            if world.machine(*node).is_none() || self.lives[node.get()] != life {
                self.lives[node.get()] = life;
                (self.told[node.get()], self.known[node.get()]) = (0, 0);
                self.later.retain(|(_, to, _)| to != node);
            }
            let reaches = |other: &&NodeIndex| {
                **other == *node
                    || world.is_running(**other)
                        && world.connects(*node, **other)
                        && world.connects(**other, *node)
            };
            let count = nodes.iter().filter(reaches).count();
            self.able[node.get()] = running && 2 * count > nodes.len();
        }
        self.elect();
        self.tell();
    }
}

fn take_due<T>(list: &mut Vec<T>, due: impl Fn(&T) -> bool) -> Vec<T> {
    let (now, later) = std::mem::take(list).into_iter().partition(due);
    *list = later;
    now
}

/// Lets the outside act on the world.
pub(crate) fn act(world: &mut World<Host>) -> Result<(), Violation> {
    let Some(model) = world.node(NodeIndex::new(0)).map(|host| host.model.clone()) else {
        return Ok(());
    };
    model.borrow_mut().look(world);
    let now = world.now();
    let inputs = take_due(&mut model.borrow_mut().later, |(at, ..)| *at <= now);
    for (_, node, input) in inputs {
        world.input(node, BothInput::Manager(Box::new(input)))?;
    }
    let fences = take_due(&mut model.borrow_mut().fences, |(at, ..)| *at <= now);
    for (_, job, device) in fences {
        let FenceJob { by, op, target } = job;
        if device != Device::Refuses {
            world.crash(target);
            let mut model = model.borrow_mut();
            model.fenced += 1;
            model.holders.retain(|_, holder| *holder != target);
            let at = now + model.rng.between(200 * MS, 4000 * MS);
            model.restarts.push((at, target));
        }
        let mut model = model.borrow_mut();
        let said = |words: &str| words.to_owned();
        let works = device == Device::Works;
        let result = if works { Ok(said("off")) } else { Err(said("no answer")) };
        let name = model.names[target.get()].clone();
        // Some devices answer only when the node has long been back.
        let longest = if model.chance(0.2) { 3000 * MS } else { 20 * MS };
        let at = now + model.rng.between(Duration::ZERO, longest);
        model.later.push((at, by, Input::Fenced(op, name, result)));
    }
    let outages = std::mem::take(&mut model.borrow_mut().outages);
    for Outage::Itself(node) in outages {
        world.crash(node);
        model.borrow_mut().restarts.push((now + 1000 * MS, node));
    }
    let restarts = take_due(&mut model.borrow_mut().restarts, |(at, _)| *at <= now);
    for (_, node) in restarts {
        world.restart(node);
    }
    kill_a_service(world)
}

/// Now and then a service dies by itself.
fn kill_a_service(world: &mut World<Host>) -> Result<(), Violation> {
    let nodes = world.indices();
    for node in nodes {
        let Some(host) = world.node_mut(node) else { continue };
        if !host.model.borrow_mut().chance(0.0005) {
            continue;
        }
        let Some(resource) = host.watched.pop_first() else { continue };
        host.active.remove(&resource);
        host.active.remove(&promoted_role(&resource).expect("a short name"));
        let reason = "it ended".to_owned();
        let died = ha_agents::executor::Output::Died { resource, reason, failures: 0 };
        world.input(node, BothInput::Manager(Box::new(Input::Executed(died))))?;
    }
    Ok(())
}

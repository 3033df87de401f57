//! The manager as a machine.

use std::sync::Arc;

use ha_core::id::{Incarnation, NodeName, Term, ViewId};
use ha_core::machine::Machine;
use ha_core::time::Instant;
use ha_membership::View;

use super::dc::{Dc, Scene, Seen};
use super::event::ManagerEvent;
use super::guard::Guard;
use super::input::Input;
use super::message::Message;
use super::output::Output;
use super::request::Response;
use super::settings::ManagerConfig;

/// One node's part of the cluster resource manager.
///
/// Every node has one. The node that leads the store is the cluster's head (Pacemaker's DC): it
/// decides, and what it decides is in the store before it is done. Each node guards itself: it
/// refuses what earlier leaders say, starts nothing that is at-most-one without quorum, and stops
/// it when quorum is lost.
#[derive(Debug)]
pub struct Manager {
    config: Arc<ManagerConfig>,
    now: Instant,
    guard: Guard,
    dc: Option<Dc>,
    leadership: (Term, Option<NodeName>),
    view: Arc<View>,
    seen: Seen,
    campaigns: bool,
    /// The leader should look again.
    poll: bool,
}

impl Manager {
    /// The manager of a node that starts at `now`.
    #[must_use]
    pub fn new(config: ManagerConfig, now: Instant) -> Self {
        let config = Arc::new(config);
        Self {
            guard: Guard::new(Arc::clone(&config)),
            config,
            now,
            dc: None,
            leadership: (Term::new(0), None),
            view: Arc::new(View::new(ViewId::new(0), [], false)),
            seen: Seen::new(now),
            campaigns: false,
            poll: false,
        }
    }

    /// The settings.
    #[must_use]
    pub fn config(&self) -> &ManagerConfig {
        &self.config
    }

    /// Whether this node leads.
    #[must_use]
    pub const fn leads(&self) -> bool {
        self.dc.is_some()
    }

    /// The term and the leader, as this node knows them.
    #[must_use]
    pub const fn leader(&self) -> (Term, Option<&NodeName>) {
        (self.leadership.0, self.leadership.1.as_ref())
    }

    /// The members, as this node knows them.
    #[must_use]
    pub fn view(&self) -> &View {
        &self.view
    }

    /// Whether this node may act for the cluster at `now`.
    #[must_use]
    pub fn is_quorate(&self, now: Instant) -> bool {
        self.guard.holds_quorum(now)
    }

    fn set_view(&mut self, view: Arc<View>, out: &mut Vec<Output>) {
        let names = |view: &View| view.members().keys().cloned().collect::<Vec<_>>();
        let (before, members) = (names(&self.view), names(&view));
        self.seen.change(&before, &members, self.now);
        if before != members || self.view.is_quorate() != view.is_quorate() {
            let quorate = view.is_quorate();
            out.push(Output::Event(ManagerEvent::Membership { members, quorate }));
        }
        for (node, member) in view.members() {
            let was = self.view.standing(node);
            if member.standing == ha_membership::Standing::Suspect && was != Some(member.standing) {
                out.push(Output::Event(ManagerEvent::Suspect { node: node.clone() }));
            }
        }
        let own = view.members().get(&self.config.me);
        let life = own.map_or(Incarnation::new(0), |member| member.incarnation);
        if own.is_some() {
            self.guard.set_life(life);
        }
        self.view = view;
        self.poll = true;
    }

    fn set_leadership(&mut self, term: Term, leader: Option<NodeName>, out: &mut Vec<Output>) {
        let leads = leader.as_ref() == Some(&self.config.me);
        let before = self.dc.as_ref().map(Dc::term);
        if before == Some(term) && leads || term < self.leadership.0 {
            return;
        }
        if let Some(dc) = self.dc.take() {
            let term = dc.term();
            dc.step_down(out);
            out.push(Output::Event(ManagerEvent::Leading { leads: false, term }));
        }
        if leads {
            self.dc = Some(Dc::new(Arc::clone(&self.config), term));
            out.push(Output::Event(ManagerEvent::Leading { leads, term }));
        }
        self.leadership = (term, leader);
        self.poll = true;
    }

    fn take(&mut self, input: Input, out: &mut Vec<Output>) {
        let now = self.now;
        let quorate = self.guard.holds_quorum(now);
        let scene = Scene { now, view: &self.view, quorate, seen: &self.seen };
        self.poll |= !matches!(input, Input::Quorum(_) | Input::Executed(_));
        match (input, &mut self.dc) {
            (Input::Executed(output), _) => self.guard.executed(now, output, out),
            (Input::Fenced(op, node, result), Some(dc)) => {
                dc.fenced(scene, (op, node), result, out);
            }
            (Input::Heard(from, Message::Report(report)), Some(dc)) => {
                dc.report(scene, &from, *report);
            }
            (Input::Heard(from, message), _) => self.guard.heard(now, &from, message, out),
            (Input::Leadership { term, leader }, _) => self.set_leadership(term, leader, out),
            (Input::Leave, _) => self.guard.leave(now),
            (Input::Ledger(ledger), _) => {
                let record = ledger.nodes.get(&self.config.me);
                let standby = record.is_some_and(|record| record.standby);
                self.guard.set_cluster(&Arc::new(ledger.config.clone()), standby);
            }
            (Input::Quorum(until), _) => self.guard.set_quorum(until),
            (Input::Read(op, read), Some(dc)) => dc.read(scene, op, read),
            (Input::Request(id, request), Some(dc)) => dc.request(id, request, out),
            (Input::Request(to, _), None) => {
                let reason = match &self.leadership.1 {
                    Some(leader) => format!("{leader} leads, not this node; ask it"),
                    None => "nobody leads the cluster; wait for a majority of its nodes".to_owned(),
                };
                out.push(Output::Reply { to, response: Response::refused(reason) });
            }
            (Input::View(view), _) => self.set_view(view, out),
            (Input::Written(op, written), Some(dc)) => dc.written(scene, op, written, out),
            (Input::Fenced(..) | Input::Read(..) | Input::Written(..), None) => {}
        }
    }

    /// Ends a call: lets the guard and the leader do what is due; what this node says to itself
    /// does not go through the network.
    fn settle(&mut self, out: &mut Vec<Output>) {
        for _ in 0..MAX_ROUNDS {
            self.poll |= self.guard.tick(self.now, out);
            self.guard.settle(self.now, out);
            let quorate = self.guard.holds_quorum(self.now);
            if let Some(dc) = &mut self.dc
                && (std::mem::take(&mut self.poll)
                    || dc.deadline().is_some_and(|at| at <= self.now))
            {
                let scene = Scene { now: self.now, view: &self.view, quorate, seen: &self.seen };
                dc.poll(scene, out);
            }
            let mut own = Vec::new();
            out.retain(|output| {
                let Output::Send { to, message } = output else { return true };
                if *to == self.config.me {
                    own.push(message.clone());
                }
                *to != self.config.me
            });
            if own.is_empty() {
                break;
            }
            for message in own {
                self.take(Input::Heard(self.config.me.clone(), message), out);
            }
        }
        let campaigns = self.guard.holds_quorum(self.now) && !self.guard.left;
        if std::mem::replace(&mut self.campaigns, campaigns) != campaigns {
            out.push(Output::Campaign(campaigns));
        }
    }
}

/// How often a node answers itself within one call: hello, report, command, report, and again.
const MAX_ROUNDS: usize = 16;

impl Machine for Manager {
    type Input = Input;
    type Output = Output;
    /// At the most every resource on every node gets a command, an event and an order in each
    /// round. Their pairs are far below 1,000,000: the ledger, one value of the store, has no room
    /// for more than some 10,000 resources, and the store has at most nine members.
    const MAX_OUTPUTS: usize = MAX_ROUNDS * 4_000_000;

    fn handle(&mut self, now: Instant, input: Input, out: &mut Vec<Output>) {
        self.now = self.now.max(now);
        self.poll |= self.guard.tick(self.now, out);
        self.take(input, out);
        self.settle(out);
    }

    fn tick(&mut self, now: Instant, out: &mut Vec<Output>) {
        let due = self.deadline().is_some_and(|at| at <= now);
        self.now = self.now.max(now);
        if due {
            self.settle(out);
        }
    }

    fn deadline(&self) -> Option<Instant> {
        let leader = self.dc.as_ref().and_then(Dc::deadline);
        [self.guard.deadline(self.now), leader].into_iter().flatten().min()
    }
}

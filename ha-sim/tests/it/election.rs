//! A leader election with bugs that can be planted.

use std::collections::BTreeSet;
use std::time::Duration;

use ha_core::machine::Machine;
use ha_core::time::Instant;
use ha_sim::{Chaos, Context, Node, NodeIndex, Violation, World, always};

const EVERY: Duration = Duration::from_millis(100);
const LEASE: Duration = Duration::from_millis(300);
/// Longer than the lease, so that it covers the difference between two clocks.
const PROMISE: Duration = Duration::from_millis(400);

/// What is wrong with the election.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bug {
    None,
    /// The lease counts from the answer, which may have waited in the buffer of a paused leader.
    CountsFromTheAnswer,
    /// A voter that restarts forgets that it gave a promise.
    ForgetsPromises,
    /// Any one vote is enough.
    NeedsNoMajority,
}

/// Leads while a majority has promised to follow nobody else.
pub(crate) struct Election {
    me: NodeIndex,
    cluster: usize,
    bug: Bug,
    next: Instant,
    asked_at: Instant,
    votes: BTreeSet<NodeIndex>,
    lease_until: Option<Instant>,
    promised: (NodeIndex, Instant),
    quiet_until: Instant,
}

#[derive(Debug, Clone)]
pub(crate) enum Message {
    Ask(Instant),
    Grant(Instant),
}

pub(crate) enum Output {
    Ask(Instant),
    Grant(NodeIndex, Instant),
    Lead(bool),
}

impl Election {
    fn vote(&mut self, now: Instant, from: NodeIndex, asked_at: Instant, out: &mut Vec<Output>) {
        let needed = if self.bug == Bug::NeedsNoMajority { 1 } else { self.cluster / 2 + 1 };
        let late = self.bug == Bug::CountsFromTheAnswer;
        if asked_at == self.asked_at && self.votes.insert(from) && self.votes.len() >= needed {
            let until = if late { now } else { asked_at } + LEASE;
            if until > now && self.lease_until.replace(until).is_none() {
                out.push(Output::Lead(true));
            }
        }
    }

    fn promise(&mut self, now: Instant, to: NodeIndex) -> bool {
        let free = self.promised.0 == to || self.promised.1 <= now;
        if free {
            self.promised = (to, now + PROMISE);
        }
        free
    }
}

impl Machine for Election {
    type Input = (NodeIndex, Message);
    type Output = Output;
    const MAX_OUTPUTS: usize = 4;

    fn handle(&mut self, now: Instant, (from, message): Self::Input, out: &mut Vec<Output>) {
        self.tick(now, out);
        match message {
            Message::Ask(asked_at) => {
                if from < self.me {
                    self.quiet_until = now + LEASE;
                }
                if self.promise(now, from) {
                    out.push(Output::Grant(from, asked_at));
                }
            }
            Message::Grant(asked_at) => self.vote(now, from, asked_at, out),
        }
    }

    fn tick(&mut self, now: Instant, out: &mut Vec<Output>) {
        if self.lease_until.is_some_and(|until| until <= now) {
            self.lease_until = None;
            out.push(Output::Lead(false));
        }
        if self.next <= now {
            self.next = now + EVERY;
            if self.quiet_until <= now {
                (self.asked_at, self.votes) = (now, BTreeSet::new());
                out.push(Output::Ask(now));
                if self.promise(now, self.me) {
                    self.vote(now, self.me, now, out);
                }
            }
        }
    }

    fn deadline(&self) -> Option<Instant> {
        Some(self.lease_until.map_or(self.next, |until| until.min(self.next)))
    }
}

/// A host of the election; `leads` is what the rest of the host believes.
pub(crate) struct Host {
    pub(crate) bug: Bug,
    pub(crate) leads: bool,
}

impl Node for Host {
    type Machine = Election;
    type Message = Message;

    fn start(&mut self, context: &mut Context<'_, Self>) -> Election {
        let (now, me) = (context.now(), context.node());
        let free_at = if self.bug == Bug::ForgetsPromises { now } else { now + PROMISE };
        Election {
            me,
            cluster: 3,
            bug: self.bug,
            next: now + EVERY,
            asked_at: now,
            votes: BTreeSet::new(),
            lease_until: None,
            promised: (NodeIndex::new(usize::MAX), free_at),
            quiet_until: now,
        }
    }

    fn receive(&mut self, from: NodeIndex, message: Message) -> Option<(NodeIndex, Message)> {
        Some((from, message))
    }

    fn perform(&mut self, output: Output, context: &mut Context<'_, Self>) {
        match output {
            Output::Ask(at) => context.multicast(Message::Ask(at)),
            Output::Grant(to, at) => context.send(to, Message::Grant(at)),
            Output::Lead(leads) => {
                self.leads = leads;
                context.note(if leads { "leads" } else { "leads no more" });
            }
        }
    }

    fn crashed(&mut self) {
        self.leads = false;
    }
}

/// How many hosts lead and are not frozen.
pub(crate) fn leaders(world: &World<Host>) -> usize {
    world.nodes().filter(|(index, host)| host.leads && world.is_running(*index)).count()
}

/// Twenty seconds of chaos, then a leader within two.
pub(crate) fn scenario(seed: u64, bug: Bug) -> Result<(), Violation> {
    let mut world = World::builder(seed)
        .nodes((0..3).map(|_| Host { bug, leads: false }))
        .clock_error_ppm(200)
        .clock_offset(Duration::from_hours(1))
        .trace_lines(12)
        .invariant(always("one_leader", |world, _now| match leaders(world) {
            0 | 1 => Ok(()),
            more => Err(format!("{more} nodes lead")),
        }))
        .build();
    let chaos = Chaos::harsh().every(Duration::from_millis(300)).longest(Duration::from_secs(1));
    chaos.run(&mut world, Duration::from_secs(20))?;
    world.converges_within(Duration::from_secs(2), |world| leaders(world) == 1)?;
    Ok(())
}

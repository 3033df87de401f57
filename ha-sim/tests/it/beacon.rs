//! A machine that multicasts a number every 10 ms and keeps what it hears.

use std::time::Duration;

use ha_core::machine::Machine;
use ha_core::time::Instant;
use ha_sim::{Builder, Context, Node, NodeIndex, Quality, World};

pub(crate) const EVERY: Duration = Duration::from_millis(10);

pub(crate) struct Beacon {
    next: Instant,
    number: u64,
}

pub(crate) enum Input {
    Heard(NodeIndex, u64),
    Wake,
}

pub(crate) enum Output {
    Send(u64),
    Heard(NodeIndex, u64),
    Woken,
}

impl Machine for Beacon {
    type Input = Input;
    type Output = Output;
    const MAX_OUTPUTS: usize = 2;

    fn handle(&mut self, now: Instant, input: Input, out: &mut Vec<Output>) {
        self.tick(now, out);
        out.push(match input {
            Input::Heard(from, number) => Output::Heard(from, number),
            Input::Wake => Output::Woken,
        });
    }

    fn tick(&mut self, now: Instant, out: &mut Vec<Output>) {
        if self.next <= now {
            self.next = now + EVERY;
            self.number += 1;
            out.push(Output::Send(self.number));
        }
    }

    fn deadline(&self) -> Option<Instant> {
        Some(self.next)
    }
}

#[derive(Debug, Default, Clone)]
pub(crate) struct Host {
    /// (own time, from, number)
    pub(crate) heard: Vec<(Instant, NodeIndex, u64)>,
    pub(crate) sent: u64,
    pub(crate) starts: u64,
    pub(crate) woken: Vec<Instant>,
}

impl Node for Host {
    type Machine = Beacon;
    type Message = u64;

    fn start(&mut self, context: &mut Context<'_, Self>) -> Beacon {
        self.starts += 1;
        context.later(Duration::from_millis(3), Input::Wake);
        Beacon { next: context.now() + EVERY, number: 0 }
    }

    fn receive(&mut self, from: NodeIndex, message: u64) -> Option<Input> {
        Some(Input::Heard(from, message))
    }

    fn perform(&mut self, output: Output, context: &mut Context<'_, Self>) {
        match output {
            Output::Send(number) => {
                self.sent += 1;
                context.multicast(number);
            }
            Output::Heard(from, number) => self.heard.push((context.now(), from, number)),
            Output::Woken => self.woken.push(context.now()),
        }
    }
}

pub(crate) fn three(seed: u64) -> Builder<Host> {
    World::builder(seed).nodes(vec![Host::default(); 3]).network(Quality::lan())
}

pub(crate) const A: NodeIndex = NodeIndex::new(0);
pub(crate) const B: NodeIndex = NodeIndex::new(1);
pub(crate) const C: NodeIndex = NodeIndex::new(2);

impl Host {
    pub(crate) fn heard_from(&self, from: NodeIndex) -> Vec<u64> {
        self.heard.iter().filter(|(_, who, _)| *who == from).map(|(_, _, number)| *number).collect()
    }
}

/// What `to` has heard from `from` since the last call.
pub(crate) fn drain(world: &mut World<Host>, to: NodeIndex, from: NodeIndex) -> usize {
    let Some(host) = world.node_mut(to) else {
        return 0;
    };
    let heard = host.heard_from(from).len();
    host.heard.retain(|(_, who, _)| *who != from);
    heard
}

//! Finds the bug of a naive leader election by trying seeds, and replays the run that shows it.
//!
//! Run: `cargo run -p ha-sim --example find_a_bug`
//! Prints the last events; the last line is `found with seed 0, and again with the same seed`.
#![expect(clippy::print_stdout, reason = "an example talks to its reader")]

use std::time::Duration;

use ha_core::machine::Machine;
use ha_core::time::Instant;
use ha_sim::{Chaos, Context, Node, NodeIndex, Violation, World, always, for_seeds};

/// Says hello every 100 ms and leads when it has heard no node before it for 300 ms.
///
/// That is right for a router's address (at least one), and wrong for a disk (at most one): a
/// partition makes two leaders.
#[derive(Debug)]
struct Election {
    me: NodeIndex,
    next_hello: Instant,
    quiet_until: Instant,
    leads: bool,
}

/// What is to be done.
#[derive(Debug)]
enum Output {
    Hello,
    Lead(bool),
}

impl Machine for Election {
    type Input = NodeIndex;
    type Output = Output;
    const MAX_OUTPUTS: usize = 3;

    fn handle(&mut self, now: Instant, from: NodeIndex, out: &mut Vec<Output>) {
        self.tick(now, out);
        if from < self.me {
            self.quiet_until = now + Duration::from_millis(300);
            if std::mem::take(&mut self.leads) {
                out.push(Output::Lead(false));
            }
        }
    }

    fn tick(&mut self, now: Instant, out: &mut Vec<Output>) {
        if self.next_hello <= now {
            self.next_hello = now + Duration::from_millis(100);
            out.push(Output::Hello);
        }
        if !self.leads && self.quiet_until <= now {
            self.leads = true;
            out.push(Output::Lead(true));
        }
    }

    fn deadline(&self) -> Option<Instant> {
        let quiet_until = if self.leads { Instant::MAX } else { self.quiet_until };
        Some(self.next_hello.min(quiet_until))
    }
}

/// What is around the machine: here only whether the disk is mounted.
#[derive(Debug, Default)]
struct Host {
    mounted: bool,
}

impl Node for Host {
    type Machine = Election;
    type Message = &'static str;

    fn start(&mut self, context: &mut Context<'_, Self>) -> Election {
        let (me, now) = (context.node(), context.now());
        let quiet_until = now + Duration::from_millis(300);
        Election { me, next_hello: now + Duration::from_millis(1), quiet_until, leads: false }
    }

    fn receive(&mut self, from: NodeIndex, _hello: &'static str) -> Option<NodeIndex> {
        Some(from)
    }

    fn perform(&mut self, output: Output, context: &mut Context<'_, Self>) {
        match output {
            Output::Hello => context.multicast("hello"),
            Output::Lead(leads) => {
                context.note(if leads { "mounts the disk" } else { "unmounts the disk" });
                self.mounted = leads;
            }
        }
    }

    fn crashed(&mut self) {
        self.mounted = false;
    }
}

fn one_world(seed: u64) -> Result<(), Violation> {
    let mut world = World::builder(seed)
        .nodes([Host::default(), Host::default(), Host::default()])
        .trace_lines(15)
        .invariant(always("mounted_once", |world: &World<Host>, _now| {
            match world.nodes().filter(|(_, host)| host.mounted).count() {
                0 | 1 => Ok(()),
                count => Err(format!("mounted on {count} nodes")),
            }
        }))
        .build();
    Chaos::gentle().run(&mut world, Duration::from_mins(1))
}

fn main() {
    let Err(found) = for_seeds(200, one_world) else {
        println!("nothing found");
        return;
    };
    assert_eq!(one_world(found.seed), Err(found.clone()));
    println!("{found}\nfound with seed {}, and again with the same seed", found.seed);
}

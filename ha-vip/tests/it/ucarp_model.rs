//! ucarp 1.5.2 as a machine, by what was seen of it from outside: to be beside ours in disasters
//! that the real one cannot be put through by the hundred.

use std::net::Ipv4Addr;
use std::time::Duration;

use ha_core::machine::Machine;
use ha_core::time::Instant;
use ha_sim::Rng;
use ha_vip::carp::wire::{Advert, Authenticator, decode, encode};
use ha_vip::carp::{Input, Output, Packet, Vhid};

#[derive(Debug)]
enum State {
    Init,
    Backup { dead_at: Instant },
    Master { advert_at: Instant },
}

/// A ucarp that preempts.
#[derive(Debug)]
pub(crate) struct Ucarp {
    vhid: Vhid,
    advskew: u8,
    source: Ipv4Addr,
    authenticator: Authenticator,
    state: State,
    /// `None`: it has not heard anybody and draws a new one for each advert.
    counter: Option<u64>,
    rng: Rng,
}

impl Ucarp {
    pub(crate) fn new(advskew: u8, source: Ipv4Addr, seed: u64) -> Self {
        let vip = [Ipv4Addr::new(10, 0, 0, 100)];
        Self {
            vhid: Vhid::new(42).expect("not 0"),
            advskew,
            source,
            authenticator: Authenticator::new(b"love", &vip).expect("a password"),
            state: State::Init,
            counter: None,
            rng: Rng::new(seed),
        }
    }

    fn interval(&self) -> Duration {
        Advert::new(self.vhid, 0, self.advskew, 0).interval()
    }

    fn send(&mut self, out: &mut Vec<Output>) {
        let counter = match &mut self.counter {
            Some(counter) => {
                *counter = counter.wrapping_add(1);
                *counter
            }
            None => self.rng.next_u64(),
        };
        let advert = Advert::new(self.vhid, 0, self.advskew, counter);
        out.push(Output::Send(encode(&advert, &self.authenticator)));
    }

    fn become_master(&mut self, now: Instant, out: &mut Vec<Output>) {
        self.state = State::Master { advert_at: now + self.interval() };
        out.extend([Output::Acquire, Output::Announce]);
        self.send(out);
    }

    fn packet(&mut self, now: Instant, packet: &Packet, out: &mut Vec<Output>) {
        let advert = decode(&packet.message, self.vhid, &self.authenticator);
        let Ok(advert) = advert else { return };
        self.counter = Some(advert.counter);
        let theirs = (advert.advbase, advert.advskew, packet.source);
        let is_preferred = theirs < (0, self.advskew, self.source);
        let dead = 3 * self.interval();
        match self.state {
            State::Init => {}
            State::Backup { .. } if !is_preferred || advert.interval() > dead => {
                self.become_master(now, out);
            }
            State::Backup { .. } => self.state = State::Backup { dead_at: now + dead },
            State::Master { .. } if is_preferred => {
                self.send(out);
                out.push(Output::Release);
                self.state = State::Backup { dead_at: now + dead };
            }
            State::Master { .. } => out.push(Output::Announce),
        }
    }
}

impl Machine for Ucarp {
    type Input = Input;
    type Output = Output;
    const MAX_OUTPUTS: usize = 8;

    fn handle(&mut self, now: Instant, input: Input, out: &mut Vec<Output>) {
        self.tick(now, out);
        if let Input::Packet(packet) = input {
            self.packet(now, &packet, out);
        } else if input == Input::Start {
            self.state = State::Backup { dead_at: now + 3 * self.interval() };
        }
    }

    fn tick(&mut self, now: Instant, out: &mut Vec<Output>) {
        match self.state {
            State::Backup { dead_at } if dead_at <= now => self.become_master(now, out),
            State::Master { advert_at } if advert_at <= now => {
                self.state = State::Master { advert_at: now + self.interval() };
                self.send(out);
            }
            State::Init | State::Backup { .. } | State::Master { .. } => {}
        }
    }

    fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Init => None,
            State::Backup { dead_at: at } | State::Master { advert_at: at } => Some(at),
        }
    }
}

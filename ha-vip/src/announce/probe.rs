//! Asking whether an address is free before it is used (RFC 5227, section 2.1).

use std::time::Duration;

use ha_core::machine::Machine;
use ha_core::time::Instant;

use super::{Mac, Sighting, SightingKind};
use crate::address::VirtualAddress;

/// How often and how long a probe asks.
///
/// No protocol of this crate probes by itself: a router or host that takes over must serve now,
/// and the address is in use elsewhere by design while it moves. A probe is for an address that
/// is put into use for the first time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "the constants of RFC 5227, section 1.1")]
pub struct ProbeTiming {
    /// How long to wait at most before the first probe, so that hosts that were switched on
    /// together do not speak together (`PROBE_WAIT`).
    pub wait: Duration,
    /// How many probes (`PROBE_NUM`); 0 counts as 1.
    pub count: u8,
    /// The shortest time between two probes (`PROBE_MIN`).
    pub shortest: Duration,
    /// The longest time between two probes (`PROBE_MAX`); at least `shortest`.
    pub longest: Duration,
    /// How long to listen after the last probe (`ANNOUNCE_WAIT`).
    pub listen: Duration,
}

impl ProbeTiming {
    /// The times of RFC 5227: the answer takes 4 to 7 s.
    pub const RFC: Self = Self {
        wait: Duration::from_secs(1),
        count: 3,
        shortest: Duration::from_secs(1),
        longest: Duration::from_secs(2),
        listen: Duration::from_secs(2),
    };
    /// For a network whose hosts answer within 100 ms: three probes in 0.3 s.
    pub const LAN: Self = Self {
        wait: Duration::ZERO,
        count: 3,
        shortest: Duration::from_millis(100),
        longest: Duration::from_millis(100),
        listen: Duration::from_millis(100),
    };
}

/// What can happen to a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProbeInput {
    /// Begin.
    Start,
    /// Somebody was seen.
    Seen(Sighting),
}

/// What a probe wants done, and what it finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a driver that ignores an effect loses an action")]
pub enum ProbeOutput {
    /// Send an ARP probe for the address: [`arp_probe`](super::arp_probe).
    Ask(VirtualAddress),
    /// Nobody has the address: use it. The probe has ended.
    Free,
    /// Another host has the address, or asks for it as well: do not use it. The probe has ended.
    Taken {
        /// The other host's link-layer address.
        theirs: Mac,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Idle,
    Asking { next_at: Instant, left: u8 },
    Listening { until: Instant },
}

/// Finds out whether an IPv4 address is free (RFC 5227, section 2.1.1).
///
/// ```
/// use ha_core::{machine::Machine, time::Instant};
/// use ha_vip::announce::{AddressProbe, Mac, ProbeInput, ProbeOutput, ProbeTiming};
///
/// let mac = Mac::new([2, 0, 0, 0, 0, 1]);
/// let mut probe = AddressProbe::new("192.0.2.10/24".parse()?, mac, ProbeTiming::LAN, 1);
/// let (mut now, mut out) = (Instant::ZERO, Vec::new());
/// probe.handle(now, ProbeInput::Start, &mut out);
/// while let Some(deadline) = probe.deadline() {
///     now = deadline;
///     probe.tick(now, &mut out);
/// }
/// assert_eq!(out.last(), Some(&ProbeOutput::Free)); // after three questions
/// assert_eq!((out.len(), now), (4, Instant::from_millis(300)));
/// # Ok::<(), ha_vip::AddressError>(())
/// ```
#[derive(Debug, Clone)]
pub struct AddressProbe {
    address: VirtualAddress,
    mac: Mac,
    timing: ProbeTiming,
    random: u64,
    now: Instant,
    state: State,
}

impl AddressProbe {
    /// A probe for `address` from the interface with this link-layer address; it waits for
    /// [`ProbeInput::Start`]. The seed spreads the times.
    #[must_use]
    pub const fn new(address: VirtualAddress, mac: Mac, timing: ProbeTiming, seed: u64) -> Self {
        Self { address, mac, timing, random: seed, now: Instant::ZERO, state: State::Idle }
    }

    fn start(&mut self, out: &mut Vec<ProbeOutput>) {
        let wait = self.between(Duration::ZERO, self.timing.wait);
        self.state = State::Asking { next_at: self.now + wait, left: self.timing.count.max(1) };
        self.ask(out);
    }

    fn ask(&mut self, out: &mut Vec<ProbeOutput>) {
        if let State::Asking { next_at, left } = self.state
            && next_at <= self.now
        {
            out.push(ProbeOutput::Ask(self.address));
            // A millisecond at least, whatever was set: a probe must not loop.
            let least = Duration::from_millis(1);
            self.state = if left > 1 {
                let pause = self.between(self.timing.shortest, self.timing.longest).max(least);
                State::Asking { next_at: self.now + pause, left: left - 1 }
            } else {
                State::Listening { until: self.now + self.timing.listen.max(least) }
            };
        }
    }

    fn seen(&mut self, sighting: Sighting, out: &mut Vec<ProbeOutput>) {
        // RFC 5227 §2.1.1: any claim, or another host's probe. Our own frames may come back, also
        // as a claim once the address is in use.
        let about_it = sighting.ip == self.address.ip() && sighting.mac != self.mac;
        let concerns = match sighting.kind {
            SightingKind::Claim | SightingKind::Probe => about_it,
        };
        if concerns && self.state != State::Idle {
            self.state = State::Idle;
            out.push(ProbeOutput::Taken { theirs: sighting.mac });
        }
    }

    /// A time between the two (Steele, Lea and Flood: `SplitMix64`).
    fn between(&mut self, shortest: Duration, longest: Duration) -> Duration {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let part = u32::try_from((mixed ^ (mixed >> 31)) % 1_000).unwrap_or_default();
        shortest + longest.saturating_sub(shortest) / 1_000 * part
    }
}

impl Machine for AddressProbe {
    type Input = ProbeInput;
    type Output = ProbeOutput;
    /// A question that was due, and what was found.
    const MAX_OUTPUTS: usize = 2;

    fn handle(&mut self, now: Instant, input: ProbeInput, out: &mut Vec<ProbeOutput>) {
        self.tick(now, out);
        match (self.state, input) {
            (State::Idle, ProbeInput::Start) => self.start(out),
            (State::Asking { .. } | State::Listening { .. }, ProbeInput::Start) => {}
            (_, ProbeInput::Seen(sighting)) => self.seen(sighting, out),
        }
    }

    fn tick(&mut self, now: Instant, out: &mut Vec<ProbeOutput>) {
        self.now = self.now.max(now);
        match self.state {
            State::Asking { .. } => self.ask(out),
            State::Listening { until } if until <= self.now => {
                self.state = State::Idle;
                out.push(ProbeOutput::Free);
            }
            State::Idle | State::Listening { .. } => {}
        }
    }

    fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Idle => None,
            State::Asking { next_at, .. } => Some(next_at),
            State::Listening { until } => Some(until),
        }
    }
}

#[cfg(test)]
mod tests {
    use ha_core::laws;
    use proptest::prelude::*;

    use super::*;

    const OURS: Mac = Mac::new([2, 0, 0, 0, 0, 1]);
    const THEIRS: Mac = Mac::new([2, 0, 0, 0, 0, 2]);

    fn probe(timing: ProbeTiming) -> AddressProbe {
        AddressProbe::new("10.0.0.100/24".parse().expect("an address"), OURS, timing, 7)
    }

    fn sighting(ip: &str, mac: Mac, kind: SightingKind) -> ProbeInput {
        ProbeInput::Seen(Sighting { ip: ip.parse().expect("an address"), mac, kind })
    }

    #[test]
    fn by_the_rfc_three_questions_and_silence_make_an_address_free_in_4_to_7_s() {
        let mut probe = probe(ProbeTiming::RFC);
        let (mut now, mut out) = (Instant::ZERO, Vec::new());
        probe.handle(now, ProbeInput::Start, &mut out);
        while let Some(deadline) = probe.deadline() {
            now = deadline;
            probe.tick(now, &mut out);
        }
        let asked = out.iter().filter(|output| matches!(output, ProbeOutput::Ask(_))).count();
        assert_eq!((asked, out.last()), (3, Some(&ProbeOutput::Free)));
        assert!(now >= Instant::from_secs(4) && now <= Instant::from_secs(7), "{now}");
    }

    #[test]
    fn whoever_has_the_address_or_asks_for_it_takes_it() {
        for kind in [SightingKind::Claim, SightingKind::Probe] {
            let mut probe = probe(ProbeTiming::LAN);
            let mut out = Vec::new();
            probe.handle(Instant::ZERO, ProbeInput::Start, &mut out);
            out.clear();
            let now = Instant::from_millis(50);
            probe.handle(now, sighting("10.0.0.100", OURS, kind), &mut out);
            probe.handle(now, sighting("10.0.0.101", THEIRS, kind), &mut out);
            assert_eq!(out, [], "our own frame, and another address");
            probe.handle(now, sighting("10.0.0.100", THEIRS, kind), &mut out);
            assert_eq!(
                (out, probe.deadline()),
                (vec![ProbeOutput::Taken { theirs: THEIRS }], None)
            );
        }
    }

    proptest! {
        #[test]
        fn the_laws_of_machines_hold(
            millis in prop::array::uniform4(0u64..3_000), count: u8, seed: u64,
            schedule in prop::collection::vec((
                (0u64..2_000).prop_map(Duration::from_millis),
                prop::option::of(prop_oneof![
                    Just(ProbeInput::Start),
                    Just(sighting("10.0.0.100", THEIRS, SightingKind::Claim)),
                    Just(sighting("10.0.0.1", THEIRS, SightingKind::Claim)),
                ]),
            ), 0..40),
        ) {
            let [wait, shortest, longest, listen] = millis.map(Duration::from_millis);
            let timing = ProbeTiming { wait, count, shortest, longest, listen };
            let address = "10.0.0.100/24".parse().expect("an address");
            laws::check(|| AddressProbe::new(address, OURS, timing, seed), &schedule)?;
        }
    }
}

//! Whether a link has let anything through: a carrier alone does not say so.

use std::collections::BTreeMap;
use std::time::Duration;

use ha_core::time::Instant;

/// How often a silent link's counter is read.
const EVERY: Duration = Duration::from_millis(50);

/// The kernel's counters of the network namespace that the calling thread is in.
const COUNTERS: &str = "/proc/thread-self/net/dev";

/// The links that adverts go over, and which of them have been silent since their carrier came.
#[derive(Debug, Default)]
pub(super) struct Proofs {
    links: BTreeMap<u32, Link>,
    look_at: Option<Instant>,
}

#[derive(Debug)]
struct Link {
    name: String,
    running: bool,
    /// The number of received frames beyond which it has proven itself; `None` once it has.
    silent_at: Option<u64>,
}

impl Proofs {
    /// Takes another link in; true when it has not received anything since it exists, and is not
    /// proven therefore.
    pub(super) fn add(&mut self, index: u32, name: &str, now: Instant) -> bool {
        if self.links.contains_key(&index) {
            return false;
        }
        // A counter that cannot be read proves nothing, and must hold nobody up.
        let silent = read_counters().get(name) == Some(&0);
        let silent_at = silent.then_some(0);
        self.links.insert(index, Link { name: name.to_owned(), running: true, silent_at });
        if silent {
            self.look_at = Some(now);
        }
        silent
    }

    /// Forgets a link that is gone.
    pub(super) fn remove(&mut self, index: u32) {
        self.links.remove(&index);
    }

    /// The links that have been silent so far.
    pub(super) fn silent(&self) -> Vec<u32> {
        let links = self.links.iter();
        links.filter(|(_, link)| link.silent_at.is_some()).map(|(index, _)| *index).collect()
    }

    /// Takes in whether a link has its carrier; true when it has come back and is not proven.
    pub(super) fn link(&mut self, index: u32, running: bool, now: Instant) -> bool {
        let Some(link) = self.links.get_mut(&index) else {
            return false;
        };
        let ran = std::mem::replace(&mut link.running, running);
        if running && !ran {
            link.silent_at = read_counters().get(&link.name).copied();
            self.look_at = Some(now + EVERY);
            return link.silent_at.is_some();
        }
        false
    }

    /// When to look next; `None` while every link is proven.
    pub(super) const fn look_at(&self) -> Option<Instant> {
        self.look_at
    }

    /// The links that have been heard since the last look.
    pub(super) fn look(&mut self, now: Instant) -> Vec<u32> {
        if self.look_at.is_none_or(|at| now < at) {
            return Vec::new();
        }
        let counters = read_counters();
        let mut proven = Vec::new();
        for (index, link) in &mut self.links {
            let received = counters.get(&link.name).copied();
            if link.silent_at.is_some_and(|silent| received.is_none_or(|now| now > silent)) {
                link.silent_at = None;
                proven.push(*index);
            }
        }
        let silent = self.links.values().any(|link| link.silent_at.is_some());
        self.look_at = silent.then_some(now + EVERY);
        proven
    }
}

/// The number of frames that each interface has received.
fn read_counters() -> BTreeMap<String, u64> {
    parse(&std::fs::read_to_string(COUNTERS).unwrap_or_default())
}

fn parse(text: &str) -> BTreeMap<String, u64> {
    let line = |line: &str| {
        let (name, numbers) = line.split_once(':')?;
        let received = numbers.split_whitespace().nth(1)?.parse().ok()?;
        Some((name.trim().to_owned(), received))
    };
    text.lines().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn received_frames_are_read_by_interface() {
        let text = "Inter-|   Receive\n face |bytes    packets errs\n\
                    \x20   lo:     100       2    0 0 0 0 0 0 100 2 0 0\n  eth0: 7 9 0\n x: y z\n";
        let counters = parse(text);
        assert_eq!(counters.get("eth0"), Some(&9));
        assert_eq!(counters.len(), 2);
    }

    #[test]
    fn a_link_that_comes_back_is_not_proven_before_it_is_heard() {
        let at = Instant::from_secs;
        let mut proofs = Proofs::default();
        proofs.add(1, "lo", at(0));
        assert!(!proofs.link(1, true, at(1)), "it never went");
        assert!(!proofs.link(1, false, at(2)));
        assert!(proofs.link(1, true, at(3)));
        assert_eq!(proofs.look_at(), Some(at(3) + EVERY));
        assert!(proofs.look(at(3)).is_empty(), "it is not time yet");
    }
}

//! Adds up what the trackers of a virtual router say.

use std::fmt;

use super::{Tracked, Verdict};
use crate::vrrp::Priority;

/// Weighted numbers up to this lower the priority; beyond it they are a fault.
const LOWEST: i64 = -253;
const HIGHEST: i64 = 253;

/// What all trackers together mean for a virtual router.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "who takes part in the election is all there is")]
pub enum Standing {
    /// Some tracker has not spoken yet: nobody becomes active before all have.
    Waiting,
    /// Something that the router cannot do without is down: it must not be active.
    Fault,
    /// It takes part with this priority.
    Priority(Priority),
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Waiting => f.pad("waiting"),
            Self::Fault => f.pad("fault"),
            Self::Priority(priority) => write!(f, "priority {priority}"),
        }
    }
}

/// What one tracker does to the standing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "as the standing")]
pub enum Contribution {
    /// It has not spoken: the router waits.
    Waits,
    /// It is a fault.
    Fault,
    /// It adds this much to the priority, -253 to 253.
    Adds(i16),
}

impl fmt::Display for Contribution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Waits => f.pad("waiting"),
            Self::Fault => f.pad("fault"),
            Self::Adds(number) => write!(f, "{number:+}"),
        }
    }
}

/// One reason of a standing: a tracker, what it said, and what that does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    name: String,
    verdict: Verdict,
    contribution: Contribution,
}

impl Part {
    /// The tracker's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it said last.
    #[must_use]
    pub const fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// What that does to the standing.
    #[must_use]
    pub const fn contribution(&self) -> Contribution {
        self.contribution
    }
}

impl fmt::Display for Part {
    /// As `haproxy: down, -30`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}, {}", self.name, self.verdict, self.contribution)
    }
}

/// Collects the verdicts on what a virtual router tracks, and computes its standing.
///
/// A fault goes before waiting, and both before any priority. The sum stays within 1 to 254. An
/// owner (255) keeps 255 whatever the weights, but a fault is one for it, too. A number times its
/// weight is a fault from -254 down; upwards it counts at most 253.
///
/// ```
/// use ha_vip::track::{Standing, Tally, Tracked, Verdict, Weight};
/// use ha_vip::vrrp::Priority;
///
/// // keepalived's `track_file` with weight 2: its number counts twice.
/// let load = Tracked::new("load").weight(Weight::new(2).expect("in range")).reverse(true);
/// let mut tally = Tally::new(Priority::DEFAULT, vec![load]);
/// assert!(tally.report("load", Verdict::Number(15)));
/// assert!(!tally.report("load", Verdict::Number(15))); // no news
/// assert_eq!(tally.standing(), Standing::Priority(Priority::new(70).expect("not 0")));
/// assert!(tally.report("load", Verdict::Number(127)));
/// assert_eq!(tally.standing(), Standing::Fault);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tally {
    base: Priority,
    tracked: Vec<(Tracked, Verdict)>,
}

impl Tally {
    /// Starts with a router's configured priority; nothing is known of what it tracks.
    #[must_use]
    pub fn new(base: Priority, tracked: Vec<Tracked>) -> Self {
        let tracked = tracked.into_iter().map(|tracked| (tracked, Verdict::Unknown)).collect();
        Self { base, tracked }
    }

    /// Takes what the tracker `name` says; tells whether that is news. Of a tracker that is not
    /// tracked here nothing is.
    pub fn report(&mut self, name: &str, verdict: Verdict) -> bool {
        let mut news = false;
        for (_, known) in self.tracked.iter_mut().filter(|(tracked, _)| tracked.name() == name) {
            news |= *known != verdict;
            *known = verdict;
        }
        news
    }

    /// Changes the configured priority, which the weights are added to.
    pub const fn set_base(&mut self, base: Priority) {
        self.base = base;
    }

    /// The configured priority.
    #[must_use]
    pub const fn base(&self) -> Priority {
        self.base
    }

    /// The names of the trackers, in the order of the configuration.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tracked.iter().map(|(tracked, _)| tracked.name())
    }

    /// What all trackers together mean.
    #[must_use]
    pub fn standing(&self) -> Standing {
        let (mut waits, mut sum) = (false, i64::from(self.base.get()));
        for contribution in self.contributions() {
            match contribution {
                Contribution::Fault => return Standing::Fault,
                Contribution::Waits => waits = true,
                Contribution::Adds(number) => sum = sum.saturating_add(i64::from(number)),
            }
        }
        if waits {
            return Standing::Waiting;
        }
        if self.base.is_owner() {
            return Standing::Priority(self.base);
        }
        let sum = u8::try_from(sum.clamp(1, 254)).ok().and_then(Priority::new);
        Standing::Priority(sum.unwrap_or(self.base))
    }

    /// Why the standing is what it is: each tracker with what it said and what that does, in the
    /// order of the configuration.
    #[must_use]
    pub fn reasons(&self) -> Vec<Part> {
        let parts = self.tracked.iter().zip(self.contributions());
        let part = |((tracked, verdict), contribution): (&(Tracked, Verdict), Contribution)| Part {
            name: tracked.name().to_owned(),
            verdict: *verdict,
            contribution,
        };
        parts.map(part).collect()
    }

    fn contributions(&self) -> impl Iterator<Item = Contribution> {
        let owner = self.base.is_owner();
        self.tracked.iter().map(move |(tracked, verdict)| {
            let contribution = contribution(tracked, *verdict);
            // Weights do not touch an owner, so the reasons must not say so.
            let counts = !owner || !matches!(contribution, Contribution::Adds(_));
            if counts { contribution } else { Contribution::Adds(0) }
        })
    }
}

fn contribution(tracked: &Tracked, verdict: Verdict) -> Contribution {
    let weight = i64::from(tracked.get_weight().get());
    let sign = if tracked.is_reversed() { -1 } else { 1 };
    let fault_if = |bad: bool| {
        if bad == tracked.is_reversed() { Contribution::Adds(0) } else { Contribution::Fault }
    };
    match verdict {
        Verdict::Unknown => Contribution::Waits,
        Verdict::Up if weight == 0 => fault_if(false),
        Verdict::Down if weight == 0 => fault_if(true),
        Verdict::Number(number) if weight == 0 => fault_if(number != 0),
        Verdict::Up => adds(sign * weight.max(0)),
        Verdict::Down => adds(sign * weight.min(0)),
        Verdict::Number(number) => match sign * weight * i64::from(number) {
            ..LOWEST => Contribution::Fault,
            number => adds(number),
        },
    }
}

fn adds(number: i64) -> Contribution {
    let number = number.clamp(LOWEST, HIGHEST);
    Contribution::Adds(i16::try_from(number).unwrap_or_default())
}

#[cfg(test)]
mod tests;

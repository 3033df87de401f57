//! How much one decision may take: a small file can ask for very much.

use std::fmt;
use std::sync::Arc;

/// Scores of resources on nodes: ten times what 1,000 nodes with 10,000 resources have. Four bytes
/// each, and ten times that with the reasons.
const MAX_SCORES: usize = 100_000_000;
/// Resources with all instances: fifty times that many. About 1 KiB each.
const MAX_RESOURCES: usize = 500_000;
/// Pairs of colocated resources: what two sets of 1,000 that are not sequential have.
const MAX_COLOCATIONS: usize = 1_000_000;
/// Ordered pairs, with their inverses.
const MAX_ORDERS: usize = 2_000_000;
/// Patterns tried on names, and rules tried on nodes: some 20 s' worth, at about 1 us each.
const MAX_TRIALS: usize = 20_000_000;

/// How many scores are looked at while colocations of colocations are followed: about a second's
/// worth. Among resources that are all colocated with each other there are as many ways as there
/// are orders of them.
const MAX_FOLLOWED: u64 = 200_000_000;
/// What following one costs besides, in scores.
const VISIT: u64 = 16;
/// How many resources are heard on behalf of one, beyond twice as many as there are.
const MAX_HEARD: usize = 2_000;

/// What there is too much of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Measure {
    /// Pairs of colocated resources.
    Colocations,
    /// Pairs of ordered resources.
    Orders,
    /// Resources, with all instances of clones and bundles.
    Resources,
    /// Scores: resources times nodes.
    Scores,
    /// Patterns and rules times what they are tried on.
    Trials,
}

impl Measure {
    /// The largest number that is decided on.
    #[must_use]
    pub const fn limit(self) -> usize {
        match self {
            Self::Colocations => MAX_COLOCATIONS,
            Self::Orders => MAX_ORDERS,
            Self::Resources => MAX_RESOURCES,
            Self::Scores => MAX_SCORES,
            Self::Trials => MAX_TRIALS,
        }
    }

    const fn remedy(self) -> &'static str {
        match self {
            Self::Colocations => "make its sets sequential, or colocate all with one",
            Self::Orders => "make its sets sequential, or order all after one",
            Self::Resources => "lower clone-max and replicas to what the nodes can hold",
            Self::Scores => "lower clone-max and replicas, or split the cluster",
            Self::Trials => "name resources and nodes instead of patterns and rules",
        }
    }
}

impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Colocations => "colocated pairs",
            Self::Orders => "ordered pairs",
            Self::Resources => "resources and instances",
            Self::Scores => "scores (resources times nodes)",
            Self::Trials => "trials of patterns and rules",
        })
    }
}

/// A configuration asks for more than one decision may take; nothing is decided.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "cannot decide: with {culprit:?} there are more than {} {measure}; {}", .measure.limit(), .measure.remedy()
)]
#[non_exhaustive]
pub struct TooLarge {
    /// What there is too much of.
    pub measure: Measure,
    /// The resource or constraint with which there is.
    pub culprit: Arc<str>,
}

/// What a decision has taken so far.
#[derive(Debug, Default)]
pub(crate) struct Limits {
    taken: [usize; 5],
    exceeded: Option<TooLarge>,
    followed: u64,
    heard: usize,
    /// Whether some colocations of colocations were not followed.
    pub(crate) has_cut: bool,
}

impl Limits {
    /// Takes so much more, if there is room for it.
    pub(crate) fn take(&mut self, measure: Measure, amount: usize, culprit: &Arc<str>) -> bool {
        let Some(taken) = self.taken.get_mut(measure as usize) else { return false };
        *taken = taken.saturating_add(amount);
        let fits = *taken <= measure.limit();
        if !fits && self.exceeded.is_none() {
            self.exceeded = Some(TooLarge { measure, culprit: Arc::clone(culprit) });
        }
        fits
    }

    /// Whether there was too much of something.
    pub(crate) const fn is_exceeded(&self) -> bool {
        self.exceeded.is_some()
    }

    /// Fails if there was too much of something.
    pub(crate) fn check(&self) -> Result<(), TooLarge> {
        self.exceeded.clone().map_or(Ok(()), Err)
    }

    /// Begins to hear on behalf of another resource.
    pub(crate) const fn begin_hearing(&mut self) {
        self.heard = 0;
    }

    /// Whether another that wants to be with a heard resource may be heard, too.
    pub(crate) fn may_follow(&mut self, resources: usize, nodes: usize) -> bool {
        self.heard += 1;
        self.followed = self.followed.saturating_add(nodes as u64 + VISIT);
        let may = self.heard <= MAX_HEARD + 2 * resources && self.followed <= MAX_FOLLOWED;
        self.has_cut |= !may;
        may
    }
}

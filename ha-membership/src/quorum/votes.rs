//! Quorum by counting votes (Corosync's votequorum).

use std::collections::BTreeMap;

use ha_core::config::{ConfigError, Problems};
use ha_core::id::NodeName;
use serde::{Deserialize, Serialize};

use super::{Census, Quorum, QuorumPolicy};

/// The most nodes that can vote: more voters make a cluster slower, not safer.
const MAX_VOTERS: usize = 1024;

/// Which half may act when the votes are split exactly in two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum TieBreaker {
    /// Neither.
    #[default]
    None,
    /// The half with the voter whose name sorts first (Corosync's `auto_tie_breaker` by lowest id).
    LowestNode,
    /// The half with the voter whose name sorts last.
    HighestNode,
}

/// Who has how many votes, and how many are needed.
///
/// The number of expected votes is configured, not what was last seen, so a cluster never shrinks
/// itself into two halves.
///
/// ```
/// use ha_membership::quorum::{Census, Quorum, QuorumPolicy, VoteQuorum};
///
/// let policy = VoteQuorum::builder().voter("a".parse()?).voter("b".parse()?).voter("c".parse()?)
///     .build()?;
/// let present = ["a".parse()?, "c".parse()?].into();
/// assert_eq!(policy.decide(&Census { present, ..Census::default() }), Quorum::Quorate);
/// let present = ["b".parse()?].into();
/// assert_eq!(policy.decide(&Census { present, ..Census::default() }), Quorum::Lost);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VoteQuorum {
    votes: BTreeMap<NodeName, u32>,
    two_node: bool,
    wait_for_all: bool,
    tie_breaker: TieBreaker,
}

impl VoteQuorum {
    /// No voters yet.
    pub fn builder() -> VoteQuorumBuilder {
        VoteQuorumBuilder::default()
    }

    /// Who has how many votes.
    #[must_use]
    pub const fn votes(&self) -> &BTreeMap<NodeName, u32> {
        &self.votes
    }

    /// The sum of all votes.
    #[must_use]
    pub fn expected(&self) -> u64 {
        self.votes.values().copied().map(u64::from).sum()
    }

    /// How many votes make a majority.
    #[must_use]
    pub fn needed(&self) -> u64 {
        self.expected() / 2 + 1
    }

    /// How many votes the present nodes have.
    #[must_use]
    pub fn counted(&self, census: &Census) -> u64 {
        let voters = self.votes.iter().filter(|(name, _)| census.present.contains(*name));
        voters.map(|(_, votes)| u64::from(*votes)).sum()
    }

    fn wins_ties(&self, census: &Census) -> bool {
        let mut voters = self.votes.iter().filter(|(_, votes)| **votes > 0).map(|(name, _)| name);
        let decisive = match self.tie_breaker {
            TieBreaker::None => None,
            TieBreaker::LowestNode => voters.next(),
            TieBreaker::HighestNode => voters.next_back(),
        };
        decisive.is_some_and(|name| census.present.contains(name))
    }
}

impl QuorumPolicy for VoteQuorum {
    fn decide(&self, census: &Census) -> Quorum {
        if self.wait_for_all && !census.seen_all {
            return Quorum::Lost;
        }
        let counted = self.counted(census);
        if counted >= self.needed() {
            return Quorum::Quorate;
        }
        let tie = counted > 0 && counted * 2 == self.expected();
        if tie && self.wins_ties(census) {
            return Quorum::Quorate;
        }
        if !(self.two_node && tie) {
            return Quorum::Lost;
        }
        let mut absent = self.votes.keys().filter(|name| !census.present.contains(*name));
        if absent.all(|name| census.fenced.contains(name)) {
            Quorum::Quorate
        } else {
            Quorum::AfterFencing
        }
    }
}

/// Collects the voters of a [`VoteQuorum`].
#[derive(Debug, Clone, Default)]
#[must_use = "a builder does nothing until build() is called"]
pub struct VoteQuorumBuilder {
    votes: Vec<(NodeName, u32)>,
    two_node: bool,
    wait_for_all: bool,
    tie_breaker: TieBreaker,
}

impl VoteQuorumBuilder {
    /// Adds a node with one vote.
    pub fn voter(self, node: NodeName) -> Self {
        self.voter_with(node, 1)
    }

    /// Adds a node with `votes` votes; 0 is a member that does not vote.
    pub fn voter_with(mut self, node: NodeName, votes: u32) -> Self {
        self.votes.push((node, votes));
        self
    }

    /// Lets one of two nodes act alone after it has fenced the other, and only if both were seen
    /// together since it started (so two nodes that start cut off do not shoot each other).
    ///
    /// Default: false. Needs exactly two voters with one vote each; implies
    /// [`wait_for_all`](Self::wait_for_all). Corosync: `two_node`.
    pub const fn two_node(mut self, enabled: bool) -> Self {
        self.two_node = enabled;
        self
    }

    /// Never quorate until all nodes were present at one moment. Default: false. Corosync:
    /// `wait_for_all`.
    pub const fn wait_for_all(mut self, enabled: bool) -> Self {
        self.wait_for_all = enabled;
        self
    }

    /// Which half may act when the votes are split exactly. Default: neither.
    pub const fn tie_breaker(mut self, rule: TieBreaker) -> Self {
        self.tie_breaker = rule;
        self
    }

    /// Checks the votes.
    ///
    /// # Errors
    ///
    /// All problems at once: no votes, a node named twice, more than 1,024 voters, `two_node` with
    /// other than two single votes or together with a tie-breaker.
    pub fn build(self) -> Result<VoteQuorum, ConfigError> {
        let mut problems = Problems::new();
        let mut votes = BTreeMap::new();
        if self.votes.len() > MAX_VOTERS {
            problems.add("quorum.voters", self.votes.len(), format!("at most {MAX_VOTERS} nodes"));
        }
        for (node, count) in self.votes {
            if votes.insert(node.clone(), count).is_some() {
                problems.add("quorum.voters", node, "each node once");
            }
        }
        if votes.values().all(|count| *count == 0) {
            problems.add("quorum.voters", "no vote", "at least one node with a vote");
        }
        if self.two_node && votes.values().copied().ne([1, 1]) {
            let allowed = "with two_node: exactly two voters with one vote each";
            problems.add("quorum.voters", format!("{} voters", votes.len()), allowed);
        }
        if self.two_node && self.tie_breaker != TieBreaker::None {
            let allowed = "none with two_node: fencing decides there";
            problems.add("quorum.tie_breaker", format!("{:?}", self.tie_breaker), allowed);
        }
        problems.into_result(VoteQuorum {
            votes,
            two_node: self.two_node,
            wait_for_all: self.wait_for_all || self.two_node,
            tie_breaker: self.tie_breaker,
        })
    }
}

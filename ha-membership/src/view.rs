//! What a membership says: who is there, in which life, and whether that is enough to act.

use std::collections::BTreeMap;
use std::fmt;

use ha_core::id::{Incarnation, NodeName, ViewId};
use serde::{Deserialize, Serialize};

/// How a member looks to the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(clippy::exhaustive_enums, reason = "whoever acts on a member must decide on each")]
pub enum Standing {
    /// Heard in time.
    Alive,
    /// Not heard for a while; may still come back, and counts until then.
    Suspect,
    /// Not heard for so long that nothing is known of it: dead, cut off or frozen.
    ///
    /// It no longer counts, but it may still hold what it held: a higher layer fences it, and only
    /// then is it gone from the view (the state between suspect and dead of Apple's
    /// swift-cluster-membership; Pacemaker's *unclean*).
    Unreachable,
}

impl Standing {
    /// Whether its votes count.
    #[must_use]
    pub const fn counts(self) -> bool {
        matches!(self, Self::Alive | Self::Suspect)
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Alive => "alive",
            Self::Suspect => "suspect",
            Self::Unreachable => "unreachable",
        })
    }
}

/// One member of a view.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "a plain pair of facts, made by every membership")]
pub struct Member {
    /// Which life of the node this is.
    pub incarnation: Incarnation,
    /// How it looks.
    pub standing: Standing,
}

/// The members at one moment.
///
/// Which nodes agree on a view depends on who made it, see [`Membership`](crate::Membership).
///
/// ```
/// use ha_core::id::{Incarnation, NodeName, ViewId};
/// use ha_membership::{Change, Member, Standing, View};
///
/// let member = |standing| Member { incarnation: Incarnation::FIRST, standing };
/// let (a, b): (NodeName, NodeName) = ("a".parse()?, "b".parse()?);
/// let before = View::new(ViewId::FIRST, [(a.clone(), member(Standing::Alive))], false);
/// let after = View::new(
///     before.id().next(),
///     [(a, member(Standing::Alive)), (b.clone(), member(Standing::Alive))],
///     true,
/// );
/// assert_eq!(after.changes_since(&before), [Change::Joined(b), Change::Quorate(true)]);
/// # Ok::<(), ha_core::id::NameError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    id: ViewId,
    members: BTreeMap<NodeName, Member>,
    quorate: bool,
}

impl View {
    /// A view of these members.
    pub fn new(
        id: ViewId,
        members: impl IntoIterator<Item = (NodeName, Member)>,
        quorate: bool,
    ) -> Self {
        Self { id, members: members.into_iter().collect(), quorate }
    }

    /// The number of the view; a later view of the same membership has a higher one.
    #[must_use]
    pub const fn id(&self) -> ViewId {
        self.id
    }

    /// All members in the order of their names, also those that are unreachable.
    #[must_use]
    pub const fn members(&self) -> &BTreeMap<NodeName, Member> {
        &self.members
    }

    /// The names of the members that count: alive or suspect.
    pub fn present(&self) -> impl Iterator<Item = &NodeName> {
        self.members.iter().filter(|(_, member)| member.standing.counts()).map(|(name, _)| name)
    }

    /// How a node looks; `None` if it is no member.
    #[must_use]
    pub fn standing(&self, node: &NodeName) -> Option<Standing> {
        self.members.get(node).map(|member| member.standing)
    }

    /// Whether those present may act for the whole cluster.
    #[must_use]
    pub const fn is_quorate(&self) -> bool {
        self.quorate
    }

    /// What happened between `older` and this view, in the order of the names, quorum last.
    #[must_use]
    pub fn changes_since(&self, older: &Self) -> Vec<Change> {
        let mut changes = Vec::new();
        for name in older.members.keys().filter(|name| !self.members.contains_key(*name)) {
            changes.push(Change::Left(name.clone()));
        }
        for (name, member) in &self.members {
            let change = match older.members.get(name) {
                None => Change::Joined(name.clone()),
                Some(before) if before.incarnation != member.incarnation => {
                    Change::Restarted(name.clone())
                }
                Some(before) if before.standing != member.standing => match member.standing {
                    Standing::Alive => Change::Recovered(name.clone()),
                    Standing::Suspect => Change::Suspected(name.clone()),
                    Standing::Unreachable => Change::Failed(name.clone()),
                },
                Some(_) => continue,
            };
            changes.push(change);
        }
        if self.quorate != older.quorate {
            changes.push(Change::Quorate(self.quorate));
        }
        changes
    }
}

/// One difference between two views.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", content = "node", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Change {
    /// A member became unreachable.
    Failed(NodeName),
    /// A node became a member.
    Joined(NodeName),
    /// A member left, or was confirmed to be off.
    Left(NodeName),
    /// Quorum was gained (`true`) or lost.
    Quorate(bool),
    /// A suspect or unreachable member was heard again.
    Recovered(NodeName),
    /// A member came back as a new process before its end was noticed.
    Restarted(NodeName),
    /// A member was not heard in time.
    Suspected(NodeName),
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(node) => write!(f, "{node} failed"),
            Self::Joined(node) => write!(f, "{node} joined"),
            Self::Left(node) => write!(f, "{node} left"),
            Self::Quorate(true) => f.write_str("quorum gained"),
            Self::Quorate(false) => f.write_str("quorum lost"),
            Self::Recovered(node) => write!(f, "{node} recovered"),
            Self::Restarted(node) => write!(f, "{node} restarted"),
            Self::Suspected(node) => write!(f, "{node} is suspect"),
        }
    }
}

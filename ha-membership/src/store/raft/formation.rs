//! How a cluster begins, and how a member that lost its file comes back.
//!
//! A member with an empty file cannot know whether it is new or has lost what it voted for and
//! acknowledged. If it took part at once, a majority could be made of members of which none knows
//! an entry that was acknowledged. So it asks all others:
//!
//! - All are empty: the member with the lowest name tells them so, and begins.
//! - Somebody has history: this node waits until no vote of its earlier life can still be on its
//!   way, hears from so many members that one of them knows the highest term that it may have
//!   voted in, takes entries only from leaders of at least that term, and votes once it has
//!   applied all that the leader had then.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ha_core::driver::{Task, pause};
use ha_core::id::NodeName;
use ha_core::time::{BootClock, Clock};

use super::file::{File, FileError};
use super::node::{Node, Phase};
use super::types::{Reply, Request, Status, decode, encode};
use crate::transport::channel::Channels;

/// How often the others are asked.
const INTERVAL: Duration = Duration::from_millis(100);
/// How long one of them may take to answer.
const LIMIT: Duration = Duration::from_secs(1);

/// What a node still needs to take part.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Formation {
    /// It waits for these members: for all of them at the cluster's very first start, for enough
    /// of them when it has lost its file.
    Waiting {
        /// Their names.
        on: BTreeSet<NodeName>,
    },
    /// It has lost its file, or never had one, and takes over what the cluster agreed on. It does
    /// not vote yet.
    CatchingUp,
    /// It is a full member.
    Member,
}

/// What is to be done next.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    Wait(BTreeSet<NodeName>),
    Form,
    /// Take entries of leaders of at least this term; up to this index, and all is there.
    Join {
        floor: u64,
        target: u64,
    },
}

/// What follows from the others' answers.
fn decide(
    me: &NodeName,
    names: &[NodeName],
    has_history: bool,
    answers: &BTreeMap<NodeName, Status>,
) -> Step {
    let others = || names.iter().filter(|name| *name != me);
    if !has_history && !answers.values().any(|status| status.has_history) {
        let missing = others().filter(|name| !answers.contains_key(name)).cloned();
        let missing: BTreeSet<NodeName> = missing.collect();
        return match names.first() {
            _ if !missing.is_empty() => Step::Wait(missing),
            Some(lowest) if lowest != me => Step::Wait([lowest.clone()].into()),
            Some(_) | None => Step::Form,
        };
    }
    // Of a leader whom the earlier life of this node helped to elect, a majority knows; without
    // this node, one less; so many answers always have one of them among them.
    let needed = (names.len() / 2 + 1).min(names.len().saturating_sub(1));
    let is_member = |name: &NodeName| answers.get(name).is_some_and(|status| status.is_member);
    if others().filter(|name| is_member(name)).count() < needed {
        return Step::Wait(others().filter(|name| !is_member(name)).cloned().collect());
    }
    let floor = answers.values().map(|status| status.term).max().unwrap_or(0);
    let leader = answers.values().filter(|status| status.term == floor);
    match leader.filter_map(|status| status.leads_at).max() {
        Some(target) => Step::Join { floor, target },
        None => Step::Wait(BTreeSet::new()), // until they have elected one
    }
}

/// Runs until this node is a full member.
pub(super) async fn run(node: &Node, channels: &Channels) -> Result<(), FileError> {
    let config = &node.config;
    let names = config.names();
    let lowest = names.first() == Some(&config.me);
    let started = BootClock::new().now();
    // So long can a vote that this node gave be on its way, and longer.
    let votes_end = started + config.election.1 * 2;
    loop {
        let has_history = node.file.run(File::has_history).await?;
        if node.phase() == Phase::Member && (has_history || !lowest) {
            node.formation.send_replace(Formation::Member);
            return Ok(());
        }
        let late = BootClock::new().now() >= votes_end;
        let answers = ask_all(node, channels).await;
        match decide(&config.me, &names, has_history, &answers) {
            Step::Form => form(node, channels).await?,
            Step::Join { floor, target } => {
                node.formation.send_replace(Formation::CatchingUp);
                if late && catch_up(node, floor, target).await? {
                    return Ok(());
                }
            }
            Step::Wait(on) if on.is_empty() => {
                node.formation.send_replace(Formation::CatchingUp);
            }
            Step::Wait(on) => {
                let now = Formation::Waiting { on };
                node.formation.send_if_modified(|before| {
                    let changed = *before != now;
                    *before = now;
                    changed
                });
            }
        }
        // Without a timer nothing works; the next round says so again.
        let _no_timer = pause(INTERVAL).await;
    }
}

/// Follows leaders of at least the term `floor`; whether all up to `target` is there.
async fn catch_up(node: &Node, floor: u64, target: u64) -> Result<bool, FileError> {
    let floor = match node.phase() {
        Phase::CatchingUp { floor: before } => floor.max(before),
        Phase::Asking => floor,
        Phase::Member => return Ok(true),
    };
    node.set_phase(Phase::CatchingUp { floor });
    let there = *node.applied.index.borrow() >= target && node.file.term() >= floor;
    if there {
        tracing::info!(node = %node.config.me, index = target, "caught up");
        node.become_member().await?;
    }
    Ok(there)
}

/// Begins the cluster, if all others agree.
async fn form(node: &Node, channels: &Channels) -> Result<(), FileError> {
    let names = node.config.names();
    for other in node.config.others() {
        let request = Request::Form(names.clone());
        if !matches!(ask(node, channels, &other, &request).await, Some(Reply::Formed)) {
            return Ok(()); // asked again in the next round
        }
    }
    node.become_member().await?;
    let members: BTreeSet<u64> = node.config.members.keys().copied().collect();
    match node.raft.initialize(members).await {
        Ok(()) => tracing::info!(node = %node.config.me, members = ?names, "cluster formed"),
        Err(error) => tracing::error!(node = %node.config.me, %error, "cluster not formed"),
    }
    Ok(())
}

async fn ask_all(node: &Node, channels: &Channels) -> BTreeMap<NodeName, Status> {
    let mut answers = BTreeMap::new();
    let calls: Vec<_> = node
        .config
        .others()
        .into_iter()
        .map(|name| {
            let (channels, topic) = (channels.clone(), node.config.topic);
            let request = encode(&Request::Status);
            Task::spawn(|_stop| async move {
                let reply = channels.call(&name, topic, request, LIMIT).await;
                (name, reply)
            })
        })
        .collect();
    let names = node.config.names();
    for mut call in calls {
        let Ok((name, Ok(reply))) = call.ended().await else {
            continue;
        };
        match decode(&reply) {
            Ok(Reply::Status(status)) if status.members == names => {
                answers.insert(name, status);
            }
            Ok(Reply::Status(status)) => {
                tracing::warn!(node = %name, theirs = ?status.members, ours = ?names, "members differ");
            }
            Ok(_) | Err(_) => {}
        }
    }
    answers
}

async fn ask(node: &Node, channels: &Channels, to: &NodeName, request: &Request) -> Option<Reply> {
    let reply = channels.call(to, node.config.topic, encode(request), LIMIT).await.ok()?;
    decode(&reply).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether it has history, whether it is a member, its term, and where it leads.
    type Says = (bool, bool, u64, Option<u64>);

    const NEW: Says = (false, false, 0, None);
    const FOLLOWER: Says = (true, true, 3, None);
    const LEADER: Says = (true, true, 3, Some(70));

    /// What `me` of a cluster of `size` does, given what others say.
    fn step(me: usize, size: usize, has_history: bool, others: &[(usize, Says)]) -> Step {
        let names: Vec<NodeName> = (0..size).map(name).collect();
        let answers = others.iter().map(|(other, (has_history, is_member, term, leads_at))| {
            let (has_history, is_member, term) = (*has_history, *is_member, *term);
            let (members, leads_at) = (names.clone(), *leads_at);
            (name(*other), Status { members, has_history, is_member, term, leads_at })
        });
        decide(&name(me), &names, has_history, &answers.collect())
    }

    fn name(index: usize) -> NodeName {
        format!("n{index}").parse().unwrap()
    }

    fn wait<const N: usize>(on: [usize; N]) -> Step {
        Step::Wait(on.into_iter().map(name).collect())
    }

    #[test]
    fn only_the_lowest_name_begins_and_only_when_all_are_there_and_empty() {
        assert_eq!(step(0, 1, false, &[]), Step::Form);
        assert_eq!(step(0, 3, false, &[(1, NEW), (2, NEW)]), Step::Form);
        assert_eq!(step(1, 3, false, &[(0, NEW), (2, NEW)]), wait([0]));
        assert_eq!(step(0, 3, false, &[(1, NEW)]), wait([2]));
        assert_eq!(step(0, 3, false, &[(1, NEW), (2, FOLLOWER)]), wait([1]));
    }

    #[test]
    fn whoever_lost_its_file_hears_so_many_that_one_knows_the_highest_term() {
        let join = Step::Join { floor: 3, target: 70 };
        assert_eq!(step(0, 2, false, &[(1, LEADER)]), join);
        assert_eq!(step(0, 3, false, &[(1, LEADER)]), wait([2]));
        assert_eq!(step(0, 3, false, &[(1, LEADER), (2, FOLLOWER)]), join);
        // Two that lost theirs cannot vouch for each other.
        assert_eq!(step(0, 3, false, &[(1, LEADER), (2, NEW)]), wait([2]));
        assert_eq!(step(0, 5, false, &[(1, LEADER), (2, FOLLOWER)]), wait([3, 4]));
        assert_eq!(step(0, 5, false, &[(1, LEADER), (2, FOLLOWER), (3, FOLLOWER)]), join);
        assert_eq!(step(0, 5, true, &[(1, LEADER), (2, FOLLOWER), (4, FOLLOWER)]), join);
    }

    #[test]
    fn a_leader_of_an_older_term_is_none() {
        let newer = (true, true, 4, None);
        assert_eq!(step(0, 3, false, &[(1, LEADER), (2, newer)]), wait([]));
    }
}

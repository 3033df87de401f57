//! What the executor remembers of each resource.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use ha_core::id::{OpId, ResourceName};
use ha_core::role::Role;
use ha_core::time::Instant;

use super::effects::History;
use super::order::{Action, Answer, Order};
use super::recovery::Past;

/// How many ended operations of each resource are remembered.
const MAX_HISTORY: usize = 16;
/// How many resources are remembered, as long as some of them are idle.
const MAX_RESOURCES: usize = 8_192;

/// An order that waits, with those that joined it.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) turn: u64,
    pub(super) since: Instant,
    pub(super) order: Order,
    pub(super) joined: Vec<OpId>,
    pub(super) recurring: bool,
}

#[derive(Debug, Default)]
pub(super) struct Resource {
    pub(super) queue: VecDeque<Waiting>,
    pub(super) running: Option<(Waiting, Instant)>,
    pub(super) history: VecDeque<History>,
    pub(super) past: Past,
    /// Whether it is to be forgotten as soon as it is idle.
    pub(super) moot: bool,
}

impl Resource {
    pub(super) fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.running.is_none()
    }

    /// Something of it begins.
    pub(super) fn begins(&mut self, action: Action) {
        self.past.started |= match action {
            Action::MigrateFrom | Action::Promote | Action::Start => true,
            Action::Demote
            | Action::MigrateTo
            | Action::Monitor(_)
            | Action::Notify
            | Action::Reload
            | Action::Stop
            | Action::Validate => false,
        };
    }

    /// Something of it has ended so.
    pub(super) fn ended(&mut self, action: Action, answer: &Answer) {
        let role = answer.role(action.operation());
        if action == Action::Stop && role == Some(Role::Stopped) {
            self.past.started = false;
        } else {
            // Whoever started it: it is here.
            self.past.started |= role.is_some_and(Role::is_active);
        }
        if matches!(action, Action::Monitor(check) if check.role.is_none()) {
            self.past.probe = answer.outcome();
        }
    }

    pub(super) fn note(&mut self, past: History) {
        if self.history.len() >= MAX_HISTORY {
            self.history.pop_front();
        }
        self.history.push_back(past);
    }
}

/// The resource that is forgotten for a new one: the one that has been idle for longest, of those of
/// which nothing was started if there are such.
pub(super) fn surplus(
    resources: &BTreeMap<ResourceName, Resource>,
    monitored: impl FnOnce() -> BTreeSet<ResourceName>,
) -> Option<ResourceName> {
    if resources.len() < MAX_RESOURCES {
        return None;
    }
    let monitored = monitored();
    let last = |resource: &Resource| resource.history.back().map(|past| past.ended);
    let idle = resources.iter().filter(|(name, it)| it.is_idle() && !monitored.contains(*name));
    let first = idle.min_by_key(|(_, it)| (it.past.started, last(it)));
    first.map(|(name, _)| name.clone())
}

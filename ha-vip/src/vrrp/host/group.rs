//! Sync groups: members that are active together or not at all.

use super::{Host, HostOutput, RouterId};
use crate::track::Standing;
use crate::vrrp::effects::{Input, StateName};
use crate::vrrp::router::Router;
use ha_core::machine::Machine;

/// The members of a group, and who of them cannot serve.
#[derive(Debug, Clone)]
pub(super) struct Group {
    members: Vec<RouterId>,
    faulty: Vec<RouterId>,
}

impl Group {
    pub(super) const fn new(members: Vec<RouterId>) -> Self {
        Self { members, faulty: Vec::new() }
    }

    /// Whether another member than this one cannot serve.
    pub(super) fn is_faulty_for(&self, id: RouterId) -> bool {
        self.faulty.iter().any(|faulty| *faulty != id)
    }
}

impl Host {
    /// Whom an input for `id` reaches: a hand-over moves the whole group.
    pub(super) fn addressed(&self, id: RouterId, input: &Input) -> Vec<RouterId> {
        let group = self.entries.get(id.index()).and_then(|entry| entry.as_ref()?.group);
        let group = group.and_then(|number| self.groups.get(number));
        match (input, group) {
            (Input::HandOver | Input::Resume, Some(group)) => group.members.clone(),
            _ => vec![id],
        }
    }

    /// Brings the members of each changed group together. What a member does then may change its
    /// group again; each round brings at least one member nearer, so the rounds have a bound.
    pub(super) fn keep_together(&mut self, out: &mut Vec<HostOutput>) {
        let mut rounds = 4 * self.entries.len();
        while let Some((number, yielded)) = self.changed.pop()
            && rounds > 0
        {
            rounds -= 1;
            self.keep_group_together(number, yielded, out);
        }
        self.changed.clear();
    }

    fn keep_group_together(
        &mut self,
        number: usize,
        yielded: Option<RouterId>,
        out: &mut Vec<HostOutput>,
    ) {
        let Some(group) = self.groups.get(number) else {
            return;
        };
        let members = group.members.clone();
        self.spread_faults(number, &members, out);
        let now = self.now;
        if let Some(yielded) = yielded {
            for id in members.iter().copied().filter(|id| *id != yielded) {
                self.with(id, out, |router, said| router.handle(now, Input::GroupBackup, said));
            }
            return;
        }
        // A group takes over when the time of all its members has come: while one of them still
        // hears its active router, that host serves the group, and a half of it here would only
        // take turns with it.
        let ready = |router: &Router| router.state().holds() || router.waits_for_group();
        let all_ready = members.iter().all(|id| self.router(*id).is_some_and(ready));
        let waits = |id: &RouterId| self.router(*id).is_some_and(Router::waits_for_group);
        let waiting: Vec<RouterId> = members.iter().copied().filter(waits).collect();
        if all_ready {
            for id in waiting {
                self.with(id, out, |router, said| router.handle(now, Input::GroupActive, said));
            }
        }
    }

    /// What one member cannot serve, none serves.
    fn spread_faults(&mut self, number: usize, members: &[RouterId], out: &mut Vec<HostOutput>) {
        let cannot_serve = |id: &RouterId| {
            let entry = self.entries.get(id.index()).and_then(Option::as_ref);
            entry.is_some_and(|entry| {
                let by_itself =
                    entry.told != Some(Standing::Fault) && entry.router.state() == StateName::Fault;
                by_itself || entry.tally.standing() == Standing::Fault
            })
        };
        let faulty: Vec<RouterId> = members.iter().copied().filter(cannot_serve).collect();
        let changed = self.groups.get_mut(number).is_some_and(|group| {
            let changed = group.faulty != faulty;
            group.faulty = faulty;
            changed
        });
        if changed {
            for id in members {
                self.tell_standing(*id, out);
            }
        }
    }
}

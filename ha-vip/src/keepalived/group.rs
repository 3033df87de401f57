//! `vrrp_sync_group`: instances that are active together.

use std::collections::BTreeSet;

use super::block::Statement;
use super::check::Checks;
use super::global::unknown;
use super::instance::tracked;
use super::report::{Place, Report};
use super::script::Runner;
use crate::vrrp::SyncGroup;
use crate::vrrp::notify::Scripts;

/// Who is in groups, as far as instances need to know.
#[derive(Debug, Default)]
pub(super) struct Membership {
    /// The members whose own trackers are faults whatever weight they have.
    unweighed: BTreeSet<String>,
}

impl Membership {
    pub(super) fn take(&mut self, block: &Statement) {
        let has = |keyword: &str| block.inner().iter().any(|line| line.keyword() == keyword);
        if !has("sync_group_tracking_weight") && !has("global_tracking") {
            let members = block.inner().iter().filter(|line| line.keyword() == "group");
            let names = members.flat_map(Statement::names);
            self.unweighed.extend(names.map(|(_, word)| word.text.clone()));
        }
    }

    /// Whether the weights of this instance's own trackers count as 0.
    pub(super) fn loses_weights(&self, name: &str) -> bool {
        self.unweighed.contains(name)
    }
}

/// A group that was read, with whoever is told of it.
#[derive(Debug)]
pub(super) struct MadeGroup {
    pub(super) group: SyncGroup,
    pub(super) scripts: Scripts,
    pub(super) at: Place,
}

pub(super) fn read(
    block: &Statement,
    runner: &mut Runner<'_>,
    checks: &Checks,
    report: &mut Report,
) -> Option<MadeGroup> {
    let name = block.name(report)?;
    let (mut members, mut found, mut scripts) = (Vec::new(), Vec::new(), Scripts::new());
    for statement in block.inner() {
        match statement.keyword() {
            "group" => members.extend(statement.names().map(|(_, word)| word.text.clone())),
            "global_tracking" | "sync_group_tracking_weight" | "notify_priority_changes" => {}
            "smtp_alert" => {
                if statement.is_on(report) == Some(true) {
                    let why = "no mail is sent; use a notify script";
                    report.refuse(&statement.at, "`smtp_alert`", why);
                }
            }
            _ => {
                if let Some(tracked) = tracked(statement, checks, report) {
                    found.extend(tracked);
                } else if !runner.take_notify(statement, &mut scripts, report) {
                    unknown(&statement.at, statement, "vrrp_sync_group", report);
                }
            }
        }
    }
    let group = found.into_iter().fold(SyncGroup::new(name, members), SyncGroup::track);
    Some(MadeGroup { group, scripts, at: block.at.clone() })
}

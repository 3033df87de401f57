//! Options of the cluster, as they are after rules, precedence and defaults.

use std::time::Duration;

use crate::cib::{AttributeSet, Cib, CibValue, option_name};
use crate::model::rule::Facts;
use crate::scheduler::attributes::Table;
use std::sync::Arc;

/// What is done without quorum. Source: `no-quorum-policy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoQuorum {
    Demote,
    Fence,
    Freeze,
    Ignore,
    Stop,
}

/// How room is looked at. Source: `placement-strategy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Strategy {
    Balanced,
    Default,
    Minimal,
    Utilization,
}

/// What a node's health does. Source: `node-health-strategy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Health {
    Custom,
    MigrateOnRed,
    None,
    OnlyGreen,
    Progressive,
}

/// The cluster's options.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of the cluster")]
pub(crate) struct Options {
    pub(crate) have_quorum: bool,
    pub(crate) no_quorum: NoQuorum,
    pub(crate) symmetric: bool,
    pub(crate) stickiness: i32,
    pub(crate) fencing: bool,
    pub(crate) fencing_action: &'static str,
    pub(crate) startup_fencing: bool,
    pub(crate) watchdog: bool,
    pub(crate) stop_all: bool,
    pub(crate) stop_removed: bool,
    pub(crate) maintenance: bool,
    pub(crate) probes: bool,
    pub(crate) strategy: Strategy,
    pub(crate) health: Health,
    pub(crate) health_base: i32,
    pub(crate) health_red: i32,
    pub(crate) health_yellow: i32,
    pub(crate) health_green: i32,
    pub(crate) shutdown_lock: bool,
    pub(crate) shutdown_lock_limit: Duration,
    pub(crate) node_pending_timeout: Duration,
    pub(crate) table: Table,
}

impl Options {
    /// The options of a CIB. The set `cib-bootstrap-options` wins, then higher scores.
    pub(crate) fn new(cib: &Cib, facts: &Facts<'_>) -> Self {
        let mut table = Table::default();
        let is_first =
            |set: &&Arc<AttributeSet>| set.id.as_deref() == Some("cib-bootstrap-options");
        let (first, others): (Vec<_>, Vec<_>) = cib.options.iter().partition(is_first);
        for sets in [first, others] {
            let sets: Vec<_> = sets.into_iter().map(Arc::clone).collect();
            table.add_renamed(&sets, facts, option_name);
        }
        Self::read(cib, table)
    }

    fn read(cib: &Cib, table: Table) -> Self {
        let yes = |name: &str, default: bool| table.read(name).unwrap_or(default);
        let span = |name: &str| table.read::<Duration>(name).unwrap_or_default();
        let has_watchdog = yes("have-watchdog", false);
        let score = |name: &str, default: i32| health_score(&table, name, default);
        let fencing = yes("fencing-enabled", true);
        Self {
            have_quorum: cib.have_quorum.unwrap_or(false),
            no_quorum: no_quorum(&table, fencing),
            symmetric: yes("symmetric-cluster", true),
            stickiness: table
                .read::<crate::model::Score>("default-resource-stickiness")
                .map_or(0, crate::model::Score::get),
            fencing,
            fencing_action: match table.get("fencing-action") {
                Some("off" | "poweroff") => "off",
                Some(_) | None => "reboot",
            },
            startup_fencing: yes("startup-fencing", true),
            watchdog: has_watchdog && table.contains("fencing-watchdog-timeout"),
            stop_all: yes("stop-all-resources", false),
            stop_removed: yes("stop-removed-resources", true),
            maintenance: yes("maintenance-mode", false),
            probes: yes("enable-startup-probes", true),
            strategy: match table.get("placement-strategy") {
                Some("balanced") => Strategy::Balanced,
                Some("minimal") => Strategy::Minimal,
                Some("utilization") => Strategy::Utilization,
                Some(_) | None => Strategy::Default,
            },
            health: match table.get("node-health-strategy") {
                Some("custom") => Health::Custom,
                Some("migrate-on-red") => Health::MigrateOnRed,
                Some("only-green") => Health::OnlyGreen,
                Some("progressive") => Health::Progressive,
                Some(_) | None => Health::None,
            },
            health_base: score("node-health-base", 0),
            health_red: score("node-health-red", -1_000_000),
            health_yellow: score("node-health-yellow", 0),
            health_green: score("node-health-green", 0),
            shutdown_lock: yes("shutdown-lock", false),
            shutdown_lock_limit: span("shutdown-lock-limit"),
            node_pending_timeout: span("node-pending-timeout"),
            table,
        }
    }
}

fn no_quorum(table: &Table, fencing: bool) -> NoQuorum {
    match table.get("no-quorum-policy").map(str::to_ascii_lowercase).as_deref() {
        Some("ignore") => NoQuorum::Ignore,
        Some("freeze") => NoQuorum::Freeze,
        Some("demote") => NoQuorum::Demote,
        // Without fencing devices nobody can be fenced: what is left is to stop.
        Some("fence" | "suicide") if fencing => NoQuorum::Fence,
        Some(_) | None => NoQuorum::Stop,
    }
}

/// The score of a colour of health, which may be a number.
fn health_score(table: &Table, name: &str, default: i32) -> i32 {
    table.get(name).and_then(crate::model::Score::read).map_or(default, crate::model::Score::get)
}

//! Options of the cluster.

use super::{Known, Values};

const COUNT: Values = Values::Integer { min: 0, max: i64::MAX };
const FROM_MINUS_ONE: Values = Values::Integer { min: -1, max: i64::MAX };
const ANY: Values = Values::Integer { min: i64::MIN, max: i64::MAX };
const HEALTH: Values = Values::ScoreOr(&["red", "yellow", "green"]);

/// The options of a cluster, in the order of the alphabet. The names are those of Pacemaker 3;
/// older ones are `former`, or at the end if they have no effect any more.
pub const CLUSTER_OPTIONS: &[Known] = &[
    Known::new("batch-limit", ANY, Some("0"), "how many actions may run at once; 0 adapts"),
    Known::new("cancel-removed-actions", Values::Boolean, Some("true"), "end forgotten monitors")
        .formerly(&["stop-orphan-actions"]),
    Known::new("cluster-delay", Values::Duration, Some("60s"), "how long messages may take"),
    Known::new("cluster-infrastructure", Values::Text, None, "set by the cluster itself"),
    Known::new("cluster-ipc-limit", COUNT, Some("500"), "how many messages may wait"),
    Known::new("cluster-name", Values::Text, None, "a name, for people and rules"),
    Known::new(
        "cluster-recheck-interval",
        Values::Duration,
        Some("15min"),
        "how often rules are \
         asked again, at the latest",
    ),
    Known::new("concurrent-fencing", Values::Boolean, Some("true"), "fence several at once"),
    Known::new("dc-deadtime", Values::Duration, Some("20s"), "wait for others when starting"),
    Known::new("dc-version", Values::Text, None, "set by the cluster itself"),
    Known::new("election-timeout", Values::Duration, Some("2min"), "wait for an election"),
    Known::new("enable-acl", Values::Boolean, Some("false"), "access control lists count"),
    Known::new("enable-startup-probes", Values::Boolean, Some("true"), "look what runs already"),
    Known::new("expected-quorum-votes", COUNT, None, "set by older clusters themselves"),
    Known::new(
        "fence-remote-without-quorum",
        Values::Boolean,
        Some("false"),
        "fence remote \
         nodes without quorum",
    ),
    Known::new(
        "fencing-action",
        Values::Words(&["reboot", "off"], &["poweroff"]),
        Some("reboot"),
        "what is done to a node that is fenced",
    )
    .formerly(&["stonith-action"]),
    Known::new("fencing-enabled", Values::Boolean, Some("true"), "failed nodes are fenced")
        .formerly(&["stonith-enabled"]),
    Known::new("fencing-max-attempts", Values::Score, Some("10"), "how often it is tried")
        .formerly(&["stonith-max-attempts"]),
    Known::new(
        "fencing-reaction",
        Values::Words(&["stop", "panic"], &[]),
        Some("stop"),
        "what a \
         node does that learns it was fenced",
    )
    .formerly(&["fence-reaction"]),
    Known::new("fencing-timeout", Values::Duration, Some("60s"), "how long fencing may take")
        .formerly(&["stonith-timeout"]),
    Known::new(
        "fencing-watchdog-timeout",
        Values::DurationOr(&["-1"]),
        Some("0"),
        "when a node \
         counts as fenced by its watchdog",
    )
    .formerly(&["stonith-watchdog-timeout"]),
    Known::new("have-watchdog", Values::Boolean, Some("false"), "set by the cluster itself"),
    Known::new("join-finalization-timeout", Values::Duration, Some("30min"), "for developers")
        .formerly(&["crmd-finalization-timeout"]),
    Known::new("join-integration-timeout", Values::Duration, Some("3min"), "for developers")
        .formerly(&["crmd-integration-timeout"]),
    Known::new("last-lrm-refresh", Values::Text, None, "set by tools, to decide anew")
        .formerly(&["last-rsc-refresh"]),
    Known::new("load-threshold", Values::Percentage, Some("80%"), "above which load less is done"),
    Known::new("maintenance-mode", Values::Boolean, Some("false"), "nothing is done"),
    Known::new("migration-limit", ANY, Some("-1"), "migrations at once on a node; -1 is no limit"),
    Known::new(
        "no-quorum-policy",
        Values::Words(&["ignore", "freeze", "stop", "demote", "fence", "suicide"], &[]),
        Some("stop"),
        "what is done without quorum",
    ),
    Known::new("node-action-limit", COUNT, Some("0"), "actions at once on a node; 0 adapts"),
    Known::new("node-health-base", Values::Score, Some("0"), "where health starts to count"),
    Known::new("node-health-green", HEALTH, Some("0"), "the score of green"),
    Known::new("node-health-red", HEALTH, Some("-INFINITY"), "the score of red"),
    Known::new(
        "node-health-strategy",
        Values::Words(&["none", "migrate-on-red", "only-green", "progressive", "custom"], &[]),
        Some("none"),
        "what the health of nodes does",
    ),
    Known::new("node-health-yellow", HEALTH, Some("0"), "the score of yellow"),
    Known::new("node-pending-timeout", Values::Duration, Some("0"), "how long a node may join"),
    Known::new("pe-error-series-max", FROM_MINUS_ONE, Some("-1"), "inputs with errors kept"),
    Known::new("pe-input-series-max", FROM_MINUS_ONE, Some("4000"), "other inputs kept"),
    Known::new("pe-warn-series-max", FROM_MINUS_ONE, Some("5000"), "inputs with warnings kept"),
    Known::new(
        "placement-strategy",
        Values::Words(&["default", "utilization", "minimal", "balanced"], &[]),
        Some("default"),
        "whether utilization counts, and how",
    ),
    Known::new(
        "priority-fencing-delay",
        Values::Duration,
        Some("0"),
        "the node with the more \
         important resources is fenced later",
    ),
    Known::new("remove-after-stop", Values::Boolean, Some("false"), "unsafe; for tests"),
    Known::new(
        "shutdown-escalation",
        Values::Duration,
        Some("20min"),
        "when stopping a node is \
         given up",
    ),
    Known::new(
        "shutdown-lock",
        Values::Boolean,
        Some("false"),
        "resources wait for a node that \
         was shut down",
    ),
    Known::new("shutdown-lock-limit", Values::Duration, Some("0"), "how long they do; 0 is ever"),
    Known::new("start-failure-is-fatal", Values::Boolean, Some("true"), "one failed start bans"),
    Known::new("startup-fencing", Values::Boolean, Some("true"), "nodes never seen are fenced"),
    Known::new("stop-all-resources", Values::Boolean, Some("false"), "all is stopped"),
    Known::new(
        "stop-removed-resources",
        Values::Boolean,
        Some("true"),
        "resources that are no \
         longer configured are stopped",
    )
    .formerly(&["stop-orphan-resources"]),
    Known::new(
        "symmetric-cluster",
        Values::Boolean,
        Some("true"),
        "all may run everywhere unless \
         banned",
    ),
    Known::new("transition-delay", Values::Duration, Some("0"), "wait before deciding")
        .formerly(&["crmd-transition-delay"]),
    Known::gone("default-action-timeout", "timeout in op_defaults"),
    Known::gone("default-resource-failure-stickiness", "migration-threshold in rsc_defaults"),
    Known::gone("default-resource-stickiness", "resource-stickiness in rsc_defaults"),
    Known::gone("is-managed-default", "is-managed in rsc_defaults"),
    Known::gone("require_quorum", "no-quorum-policy"),
    Known::gone("transition-idle-timeout", "cluster-delay"),
    Known::gone("transition_timeout", "cluster-delay"),
];

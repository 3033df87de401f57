//! Meta-attributes of resources.

use super::{Known, Values};
use crate::cib::{CibValue, Requires};

/// Which resources a meta-attribute is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Scope {
    /// Clones, and what is taken over into them from the defaults.
    Clones,
    /// All resources.
    Everywhere,
    /// Primitives.
    Primitives,
}

const COUNT: Values = Values::Integer { min: 0, max: i64::MAX };
const PORT: Values = Values::Integer { min: 1, max: 65_535 };

/// The meta-attributes of resources, in the order of the alphabet.
pub const RESOURCE_META: &[Known] = &[
    Known::new(
        "allow-migrate",
        Values::Boolean,
        None,
        "it is migrated live; true for remote \
         connections, else false",
    ),
    Known::new("allow-unhealthy-nodes", Values::Boolean, Some("false"), "health does not matter"),
    Known::new("clone-max", COUNT, None, "how many copies; one on each node"),
    Known::new("clone-min", COUNT, Some("0"), "how many copies others need"),
    Known::new("clone-node-max", COUNT, Some("1"), "how many copies on a node"),
    Known::new("collocated", Values::Boolean, Some("true"), "members of a group stay together"),
    Known::new("container", Values::Text, None, "the resource it is inside of"),
    Known::new(
        "container-attribute-target",
        Values::Text,
        None,
        "host: promotion scores belong \
         to the host of a bundle",
    ),
    Known::new("critical", Values::Boolean, None, "whether its failure moves those it is with"),
    Known::new(
        "failure-timeout",
        Values::Duration,
        Some("0"),
        "after which failures are \
         forgotten; 0 is never",
    ),
    Known::new("globally-unique", Values::Boolean, None, "copies are not alike"),
    Known::new(
        "interleave",
        Values::Boolean,
        Some("false"),
        "copies wait for the copy on their \
         own node only",
    ),
    Known::new("is-managed", Values::Boolean, Some("true"), "the cluster starts and stops it"),
    Known::new("maintenance", Values::Boolean, Some("false"), "the cluster leaves it alone"),
    Known::new(
        "migration-threshold",
        Values::Score,
        Some("INFINITY"),
        "after how many failures it \
         leaves the node; 0 is never",
    ),
    Known::new(
        "multiple-active",
        Values::Words(&["block", "stop_only", "stop_start", "stop_unexpected"], &[]),
        Some("stop_start"),
        "what is done if it runs twice",
    ),
    Known::new("notify", Values::Boolean, Some("false"), "copies are told of each other")
        .only(Scope::Clones),
    Known::new("ordered", Values::Boolean, None, "copies, or members of a group, one by one"),
    Known::new("priority", Values::Score, Some("0"), "who stays if not all can"),
    Known::new("promotable", Values::Boolean, Some("false"), "copies have roles")
        .only(Scope::Clones),
    Known::new("promoted-max", COUNT, Some("1"), "how many copies are promoted")
        .formerly(&["master-max"])
        .only(Scope::Clones),
    Known::new("promoted-node-max", COUNT, Some("1"), "how many of them on a node")
        .formerly(&["master-node-max"])
        .only(Scope::Clones),
    Known::new("provides", Values::Text, None, "what a fence device provides: unfencing"),
    Known::new("remote-addr", Values::Text, None, "the address of a guest node")
        .only(Scope::Primitives),
    Known::new(
        "remote-allow-migrate",
        Values::Boolean,
        Some("true"),
        "the guest's connection may \
         migrate",
    )
    .only(Scope::Primitives),
    Known::new(
        "remote-connect-timeout",
        Values::Duration,
        Some("60s"),
        "how long connecting to a \
         guest may take",
    )
    .only(Scope::Primitives),
    Known::new("remote-node", Values::Text, None, "the name of the guest node that it is")
        .only(Scope::Primitives),
    Known::new("remote-port", PORT, Some("3121"), "the port of a guest node")
        .only(Scope::Primitives),
    Known::new(
        "requires",
        Values::Words(Requires::ALLOWED, &[]),
        None,
        "what must be there before \
         it starts: fencing if that is on, else quorum",
    ),
    Known::new(
        "resource-stickiness",
        Values::Score,
        None,
        "how much it wants to stay: 0, of \
         copies 1",
    ),
    Known::new(
        "restart-type",
        Values::Words(&["ignore", "restart"], &[]),
        Some("ignore"),
        "it \
         restarts with those it is ordered after",
    ),
    Known::new(
        "target-role",
        Values::Words(
            &["Started", "Stopped", "Promoted", "Unpromoted"],
            &["Master", "Slave", "#default"],
        ),
        Some("Started"),
        "what it shall be",
    ),
    Known::gone("failure-stickiness", "migration-threshold"),
    Known::gone("resource-failure-stickiness", "migration-threshold"),
];

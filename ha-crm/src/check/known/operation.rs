//! Operations and their attributes.

use super::{Known, Values};
use crate::cib::{CibValue, OnFail, Requires};

/// What resource agents and fence agents can be asked to do.
pub const OPERATIONS: &[&str] = &[
    "demote",
    "list",
    "meta-data",
    "metadata",
    "migrate_from",
    "migrate_to",
    "monitor",
    "notify",
    "off",
    "on",
    "promote",
    "reboot",
    "reload",
    "reload-agent",
    "start",
    "status",
    "stop",
    "validate-all",
];

/// Attributes of operations; they may also be meta-attributes of them.
pub const OPERATION_ATTRIBUTES: &[Known] = &[
    Known::new("enabled", Values::Boolean, Some("true"), "whether it is done at all"),
    Known::new("interval", Values::Duration, Some("0"), "how often; 0 is when needed"),
    Known::new("interval-origin", Values::Text, None, "from when intervals are counted"),
    Known::new(
        "on-fail",
        Values::Words(OnFail::ALLOWED, &["nothing"]),
        None,
        "what follows a \
         failure: fence for stop if fencing is on, else block; restart for others",
    ),
    Known::new("record-pending", Values::Boolean, Some("true"), "its beginning is recorded"),
    Known::new(
        "requires",
        Values::Words(Requires::ALLOWED, &[]),
        None,
        "an older way to say what \
         the resource requires",
    ),
    Known::new("role", Values::Role, None, "only in this role; of monitors"),
    Known::new("start-delay", Values::Duration, Some("0"), "wait before the first one"),
    Known::new("timeout", Values::Duration, Some("20s"), "how long it may take"),
];

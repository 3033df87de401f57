//! What was done with a resource on a node.

use std::sync::Arc;

use ha_core::time::WallTime;
use serde::{Deserialize, Serialize};

use super::form;
use super::note::Spot;
use super::reader::{Reader, Xml, elements};
use super::transition::{TransitionKey, magic};
use super::value::CibValue;

/// What one node knows of one resource (`lrm_resource`).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub struct ResourceHistory {
    /// The resource; copies have their number in the name, such as `web:1`.
    pub id: Arc<str>,
    /// The standard of its agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<Arc<str>>,
    /// Whose agent it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<Arc<str>>,
    /// Its agent.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<Arc<str>>,
    /// The resource that is its container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<Arc<str>>,
    /// Since when it is locked to the node, which was shut down.
    #[serde(default, with = "form::option", skip_serializing_if = "Option::is_none")]
    pub shutdown_lock: Option<WallTime>,
    /// The operations in the order of the text; sort them by `call_id`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub operations: Vec<OperationRecord>,
    /// Where it stands.
    #[serde(skip)]
    pub spot: Spot,
}

/// One operation that was done, or is being done (`lrm_rsc_op`).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub struct OperationRecord {
    /// Its id, such as `db_last_0`.
    pub id: Arc<str>,
    /// Resource, operation and interval, such as `db_monitor_10000`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<Arc<str>>,
    /// The operation.
    pub operation: Arc<str>,
    /// How often it is done, in milliseconds; 0 is once.
    #[serde(default, skip_serializing_if = "form::is_zero")]
    pub interval_ms: u64,
    /// The number of the call on its node: higher ones are later. −1 if there was none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call_id: Option<i32>,
    /// What the agent returned (OCF exit codes; 193 is none yet).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rc_code: Option<i32>,
    /// What became of it.
    #[serde(default, with = "form::option", skip_serializing_if = "Option::is_none")]
    pub status: Option<OperationStatus>,
    /// Which action of which transition it was.
    #[serde(
        default,
        rename = "transition-key",
        with = "form::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub transition: Option<TransitionKey>,
    /// Since when it has had this result.
    #[serde(default, with = "form::option", skip_serializing_if = "Option::is_none")]
    pub last_rc_change: Option<WallTime>,
    /// When it was last begun.
    #[serde(default, with = "form::option", skip_serializing_if = "Option::is_none")]
    pub last_run: Option<WallTime>,
    /// How long it took, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exec_time_ms: Option<u32>,
    /// How long it waited for its turn, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue_time_ms: Option<u32>,
    /// A digest of all its parameters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<Arc<str>>,
    /// The name of the node that did it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_node: Option<Arc<str>>,
    /// What most operations do not have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub details: Option<Box<OperationDetails>>,
    /// Where it stands.
    #[serde(skip)]
    pub spot: Spot,
}

/// What only some operations have.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub struct OperationDetails {
    /// A digest of the parameters whose change needs a restart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restart_digest: Option<Arc<str>>,
    /// A digest of the parameters without secrets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secure_digest: Option<Arc<str>>,
    /// The parameters whose change needs a restart (or, in newer files, does not); see Pacemaker
    /// Administration, "Reloading". `None` if it is not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub force_restart: Option<Vec<Arc<str>>>,
    /// The parameters that are secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secure_params: Option<Vec<Arc<str>>>,
    /// From where the resource migrated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub migrate_source: Option<Arc<str>>,
    /// To where.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub migrate_target: Option<Arc<str>>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_reason: Option<Arc<str>>,
}

/// What became of an operation (`op-status`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OperationStatus {
    /// −2: nobody knows.
    Unknown,
    /// −1: it is being done.
    Pending,
    /// 0: it ended; the exit code says how.
    Done,
    /// 1: it was cancelled.
    Cancelled,
    /// 2: it took too long.
    TimedOut,
    /// 3: the agent does not know it.
    NotSupported,
    /// 4: it failed.
    Error,
    /// 5: it failed, and will on this node.
    ErrorHard,
    /// 6: it failed, and will everywhere.
    ErrorFatal,
    /// 7: the agent is not there.
    NotInstalled,
    /// 8: the executor did not answer.
    NotConnected,
    /// 9: it could not be done as asked.
    Invalid,
    /// 10: there is no device to fence with.
    NoFenceDevice,
    /// 11: secrets are not there.
    NoSecrets,
}

impl CibValue for OperationStatus {
    const ALLOWED: &'static [&'static str] = &["a whole number from -2 to 11"];

    fn read(text: &str) -> Option<Self> {
        Some(match text.trim().parse::<i32>().ok()? {
            -2 => Self::Unknown,
            -1 => Self::Pending,
            0 => Self::Done,
            1 => Self::Cancelled,
            2 => Self::TimedOut,
            3 => Self::NotSupported,
            4 => Self::Error,
            5 => Self::ErrorHard,
            6 => Self::ErrorFatal,
            7 => Self::NotInstalled,
            8 => Self::NotConnected,
            9 => Self::Invalid,
            10 => Self::NoFenceDevice,
            11 => Self::NoSecrets,
            _ => return None,
        })
    }

    fn write(&self) -> String {
        let number = match self {
            Self::Unknown => -2,
            Self::Pending => -1,
            Self::Done => 0,
            Self::Cancelled => 1,
            Self::TimedOut => 2,
            Self::NotSupported => 3,
            Self::Error => 4,
            Self::ErrorHard => 5,
            Self::ErrorFatal => 6,
            Self::NotInstalled => 7,
            Self::NotConnected => 8,
            Self::Invalid => 9,
            Self::NoFenceDevice => 10,
            Self::NoSecrets => 11,
        };
        number.to_string()
    }
}

impl ResourceHistory {
    pub(super) fn read<'a>(cx: &mut Reader<'a>, node: Xml<'a>) -> Option<Self> {
        let mut read = Self { id: cx.id(node)?, spot: cx.spot(node), ..Self::default() };
        for attribute in node.attributes() {
            match attribute.name() {
                "id" => {}
                "class" => read.class = cx.text(&attribute),
                "provider" => read.provider = cx.text(&attribute),
                "type" => read.kind = cx.text(&attribute),
                "container" => read.container = cx.text(&attribute),
                "shutdown-lock" => read.shutdown_lock = cx.value(node, &attribute),
                _ => cx.unknown_attribute(node, &attribute),
            }
        }
        read.operations = Vec::with_capacity(elements(node).count());
        for child in elements(node) {
            match child.tag_name().name() {
                "lrm_rsc_op" => read.operations.extend(OperationRecord::read(cx, child)),
                _ => cx.unknown_element(child),
            }
        }
        Some(read)
    }
}

impl OperationRecord {
    /// Why it failed, if the agent said.
    #[must_use]
    pub fn exit_reason(&self) -> Option<&str> {
        self.details.as_ref()?.exit_reason.as_deref()
    }

    fn read(cx: &mut Reader<'_>, node: Xml<'_>) -> Option<Self> {
        let mut read = Self { id: cx.id(node)?, spot: cx.spot(node), ..Self::default() };
        let mut operation = None;
        let mut details = OperationDetails::default();
        for attribute in node.attributes() {
            match attribute.name() {
                "id" | "crm-debug-origin" | "crm_feature_set" | "transition-magic" => {}
                "operation_key" => read.key = cx.text(&attribute),
                "operation" => operation = cx.text(&attribute),
                "interval" => read.interval_ms = cx.value(node, &attribute).unwrap_or(0),
                "call-id" => read.call_id = cx.value(node, &attribute),
                "rc-code" => read.rc_code = cx.value(node, &attribute),
                "op-status" => read.status = cx.value(node, &attribute),
                "transition-key" => {
                    read.transition = TransitionKey::read_attribute(cx, node, &attribute);
                }
                "last-rc-change" => read.last_rc_change = cx.value(node, &attribute),
                "last-run" => read.last_run = cx.value(node, &attribute),
                "exec-time" => read.exec_time_ms = cx.value(node, &attribute),
                "queue-time" => read.queue_time_ms = cx.value(node, &attribute),
                "op-digest" => read.digest = cx.text(&attribute),
                "on_node" => read.on_node = cx.text(&attribute),
                _ => details.read(cx, node, &attribute),
            }
        }
        magic(cx, node, &mut read);
        for child in elements(node) {
            cx.unknown_element(child);
        }
        if details != OperationDetails::default() {
            read.details = Some(Box::new(details));
        }
        if operation.is_none() {
            cx.missing(node, "operation");
        }
        read.operation = operation?;
        Some(read)
    }
}

impl OperationDetails {
    fn read(
        &mut self,
        cx: &mut Reader<'_>,
        node: Xml<'_>,
        attribute: &roxmltree::Attribute<'_, '_>,
    ) {
        match attribute.name() {
            "op-restart-digest" => self.restart_digest = cx.text(attribute),
            "op-secure-digest" => self.secure_digest = cx.text(attribute),
            "op-force-restart" => self.force_restart = Some(words(cx, attribute.value())),
            "op-secure-params" => self.secure_params = Some(words(cx, attribute.value())),
            "migrate_source" => self.migrate_source = cx.text(attribute),
            "migrate_target" => self.migrate_target = cx.text(attribute),
            "exit-reason" if attribute.value().is_empty() => {}
            "exit-reason" => self.exit_reason = cx.text(attribute),
            _ => cx.unknown_attribute(node, attribute),
        }
    }
}

fn words(cx: &mut Reader<'_>, text: &str) -> Vec<Arc<str>> {
    text.split_whitespace().map(|word| cx.intern(word)).collect()
}

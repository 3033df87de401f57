//! Which action of which transition an operation was.

use std::sync::Arc;

use super::history::{OperationRecord, OperationStatus};
use super::reader::{Reader, Xml};
use super::value::CibValue;

const ALLOWED: &[&str] = &["action:transition:expected exit code:id of the cluster's head"];
const MAGIC: &[&str] = &["op-status:rc-code;transition-key"];

/// A `transition-key`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TransitionKey {
    /// The number of the action.
    pub action: i32,
    /// The number of the transition.
    pub transition: i32,
    /// The exit code that was expected; old files do not say.
    pub target_rc: Option<i32>,
    /// Which head of the cluster it was.
    pub uuid: Arc<str>,
}

impl TransitionKey {
    pub(super) fn read(
        cx: &mut Reader<'_>,
        node: Xml<'_>,
        attribute: &roxmltree::Attribute<'_, '_>,
    ) -> Option<Self> {
        let read = Self::parse(cx, attribute.value());
        if read.is_none() {
            cx.bad_value(node, attribute, ALLOWED);
        }
        read
    }

    fn parse(cx: &mut Reader<'_>, text: &str) -> Option<Self> {
        let (action, rest) = text.split_once(':')?;
        let (transition, rest) = rest.split_once(':')?;
        let (target_rc, uuid) = match rest.split_once(':') {
            Some((target, uuid)) => (Some(target.parse().ok()?), uuid),
            None => (None, rest),
        };
        Some(Self {
            action: action.parse().ok()?,
            transition: transition.parse().ok()?,
            target_rc,
            uuid: cx.intern(uuid),
        })
    }
}

/// Takes from `transition-magic` what is not given apart; it says the same again.
pub(super) fn magic(cx: &mut Reader<'_>, node: Xml<'_>, record: &mut OperationRecord) {
    let Some(attribute) = node.attribute_node("transition-magic") else { return };
    let text = attribute.value();
    if let Some((result, key)) = text.split_once(';') {
        match node.attribute("transition-key") {
            Some(known) if known == key => {}
            Some(_) => cx.keys_differ(node),
            None => record.transition = TransitionKey::parse(cx, key),
        }
        if record.status.is_some() && record.rc_code.is_some() {
            return;
        }
        if let Some((status, rc)) = result.split_once(':') {
            record.status = record.status.or_else(|| OperationStatus::read(status));
            record.rc_code = record.rc_code.or_else(|| rc.parse().ok());
            return;
        }
    }
    cx.bad_value(node, &attribute, MAGIC);
}

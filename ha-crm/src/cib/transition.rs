//! Which action of which transition an operation was.

use std::sync::Arc;

use super::history::{OperationRecord, OperationStatus};
use super::reader::{Reader, Xml};
use super::value::CibValue;

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

impl CibValue for TransitionKey {
    const ALLOWED: &'static [&'static str] =
        &["action:transition:expected exit code:id of the cluster's head"];

    fn read(text: &str) -> Option<Self> {
        Self::split(text, |uuid| uuid.into())
    }

    fn write(&self) -> String {
        let Self { action, transition, target_rc, uuid } = self;
        match target_rc {
            Some(target) => format!("{action}:{transition}:{target}:{uuid}"),
            None => format!("{action}:{transition}:{uuid}"),
        }
    }
}

impl TransitionKey {
    fn split(text: &str, keep: impl FnOnce(&str) -> Arc<str>) -> Option<Self> {
        let (action, rest) = text.split_once(':')?;
        let (transition, rest) = rest.split_once(':')?;
        let (target_rc, uuid) = match rest.split_once(':') {
            Some((target, uuid)) => (Some(target.parse().ok()?), uuid),
            None => (None, rest),
        };
        let (action, transition) = (action.parse().ok()?, transition.parse().ok()?);
        Some(Self { action, transition, target_rc, uuid: keep(uuid) })
    }

    /// Reads a key; the id of the head, which most have in common, is kept once.
    fn parse(cx: &mut Reader<'_>, text: &str) -> Option<Self> {
        Self::split(text, |uuid| cx.intern(uuid))
    }

    pub(super) fn read_attribute(
        cx: &mut Reader<'_>,
        node: Xml<'_>,
        attribute: &roxmltree::Attribute<'_, '_>,
    ) -> Option<Self> {
        let read = Self::parse(cx, attribute.value());
        if read.is_none() {
            cx.bad_value(node, attribute, Self::ALLOWED);
        }
        read
    }
}

/// Takes from `transition-magic` what is not given apart; it says the same again.
pub(super) fn magic(cx: &mut Reader<'_>, node: Xml<'_>, record: &mut OperationRecord) {
    let Some(attribute) = node.attribute_node("transition-magic") else { return };
    let (result, key) = match attribute.value().split_once(';') {
        Some((result, key)) => (result, Some(key)),
        None => (attribute.value(), None),
    };
    match (key, node.attribute("transition-key")) {
        (Some(key), Some(known)) if key != known => cx.keys_differ(node),
        (Some(key), None) => record.transition = TransitionKey::parse(cx, key),
        (Some(_), Some(_)) | (None, _) => {}
    }
    if record.status.is_some() && record.rc_code.is_some() {
        return; // Very old files have other magic, but it is not needed.
    }
    match result.split_once(':') {
        Some((status, rc)) if key.is_some() => {
            record.status = record.status.or_else(|| OperationStatus::read(status));
            record.rc_code = record.rc_code.or_else(|| rc.parse().ok());
        }
        Some(_) | None => cx.bad_value(node, &attribute, MAGIC),
    }
}

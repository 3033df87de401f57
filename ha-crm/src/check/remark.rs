//! What the reader noted.

use super::finding::{FindingKind, Findings, Severity, quote};
use super::nearest::nearest;
use crate::cib::{Note, Remark};

/// Attributes that elements of a configuration have.
const ATTRIBUTES: &[&str] = &[
    "action",
    "attribute",
    "boolean-op",
    "class",
    "devices",
    "enabled",
    "first",
    "first-action",
    "id",
    "id-ref",
    "image",
    "index",
    "influence",
    "interval",
    "interval-origin",
    "kind",
    "loss-policy",
    "name",
    "node",
    "node-attribute",
    "on-fail",
    "ordering",
    "promoted-max",
    "provider",
    "record-pending",
    "replicas",
    "replicas-per-host",
    "require-all",
    "requires",
    "resource-discovery",
    "role",
    "rsc",
    "rsc-pattern",
    "rsc-role",
    "score",
    "score-attribute",
    "sequential",
    "start-delay",
    "symmetrical",
    "target",
    "target-attribute",
    "target-pattern",
    "target-value",
    "template",
    "then",
    "then-action",
    "ticket",
    "timeout",
    "type",
    "uname",
    "value",
    "with-rsc",
    "with-rsc-role",
];

/// Elements that a configuration has.
const ELEMENTS: &[&str] = &[
    "acls",
    "alerts",
    "bundle",
    "clone",
    "cluster_property_set",
    "constraints",
    "crm_config",
    "date_expression",
    "docker",
    "expression",
    "fencing-level",
    "fencing-topology",
    "group",
    "instance_attributes",
    "meta_attributes",
    "network",
    "node",
    "nodes",
    "nvpair",
    "obj_ref",
    "op",
    "op_defaults",
    "operations",
    "podman",
    "port-mapping",
    "primitive",
    "resource_ref",
    "resource_set",
    "resources",
    "rsc_colocation",
    "rsc_defaults",
    "rsc_location",
    "rsc_order",
    "rsc_ticket",
    "rule",
    "storage",
    "storage-mapping",
    "tag",
    "tags",
    "template",
    "utilization",
];

/// Takes over what the reader noted. What is odd in the status is no mistake of an administrator:
/// it is a hint.
pub(super) fn check(notes: &[Note], findings: &mut Findings) {
    for note in notes {
        let in_status = note.place.path.starts_with("status");
        let (kind, severity, what, remedy) = judge(note);
        let severity = if in_status { Severity::Hint } else { severity };
        findings.add(severity, kind, note.place.clone(), what, remedy);
    }
}

fn judge(note: &Note) -> (FindingKind, Severity, String, String) {
    use Severity::{Error, Hint};
    match &note.what {
        Remark::BadValue { value, allowed } => {
            let near = nearest(value, allowed.iter().copied());
            (FindingKind::Value, Error, unread(value), give(near, &allowed.join(", ")))
        }
        Remark::Dangling { id } => (
            FindingKind::Dangling,
            Error,
            format!(
                "no such element has the id {} itself, so it is as if it were not there",
                quote(id)
            ),
            "mend the id-ref, or add the element".to_owned(),
        ),
        Remark::DuplicateId { id, first } => (
            FindingKind::DuplicateId,
            Error,
            format!("the id {} was given before ({first})", quote(id)),
            "give it an id of its own".to_owned(),
        ),
        Remark::KeysDiffer => (
            FindingKind::Value,
            Hint,
            "transition-magic and transition-key differ".to_owned(),
            "nothing is to be done: the key counts".to_owned(),
        ),
        Remark::Lacking { name } => {
            (FindingKind::Lacking, Error, format!("{name} is missing"), "add it".to_owned())
        }
        Remark::More { count } => (
            FindingKind::More,
            Hint,
            format!("{count} more remarks of the reader"),
            "mend those that are listed, and check again".to_owned(),
        ),
        Remark::NotHonoured => (
            FindingKind::NoEffect,
            Hint,
            "it is not looked at here".to_owned(),
            "check it elsewhere".to_owned(),
        ),
        Remark::TooDeep => (
            FindingKind::TooDeep,
            Error,
            "it is nested too deep to be read".to_owned(),
            "make it flatter".to_owned(),
        ),
        Remark::UnknownAttribute => {
            let name = last_step(&note.place.path).trim_start_matches('@');
            let near = nearest(name, ATTRIBUTES.iter().copied());
            let what = format!("no attribute {} is known here, so it has no effect", quote(name));
            (FindingKind::UnknownAttribute, Error, what, rename(near))
        }
        Remark::UnknownElement => {
            let name = last_step(&note.place.path);
            let name = name.split('[').next().unwrap_or_default();
            let near = nearest(name, ELEMENTS.iter().copied()).filter(|near| *near != name);
            let what = format!("no element {} is known here, so it has no effect", quote(name));
            (FindingKind::UnknownElement, Error, what, rename(near))
        }
    }
}

fn last_step(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

fn rename(near: Option<&str>) -> String {
    match near {
        Some(near) => format!("did you mean {near}?"),
        None => "mend its name, or take it out".to_owned(),
    }
}

/// That a value cannot be read.
pub(super) fn unread(value: &str) -> String {
    format!("cannot read the value {}, so it counts as not given", quote(value))
}

/// What is allowed, and what was probably meant.
pub(super) fn give(near: Option<&str>, allowed: &str) -> String {
    match near {
        Some(near) => format!("did you mean {near}? allowed is {allowed}"),
        None => format!("allowed is {allowed}"),
    }
}

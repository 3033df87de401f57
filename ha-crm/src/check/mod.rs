//! All that is wrong with a cluster's description, said at once.
mod colocation;
mod fencing;
mod finding;
mod graph;
pub mod known;
mod location;
mod nearest;
mod operation;
mod order;
mod pairs;
mod reference;
mod remark;
mod resource;
mod rule;
mod scene;

use ha_core::role::Role;

pub use self::finding::{Finding, FindingKind, Severity};
use self::finding::Findings;
use self::scene::Scene;
use crate::cib::{Cib, Note};

/// Checks.
#[must_use]
pub fn check(cib: &Cib, notes: &[Note]) -> Vec<Finding> {
    let mut findings = Findings::default();
    let scene = Scene::new(cib);
    remark::check(notes, &mut findings);
    for part in [
        pairs::check,
        resource::check,
        operation::check,
        fencing::check,
        reference::check,
        rule::check,
        location::check,
        colocation::check,
        order::check,
    ] {
        part(&scene, &mut findings);
    }
    findings.into_sorted()
}

/// A role's name in the CIB.
const fn role_name(role: Role) -> &'static str {
    match role {
        Role::Stopped => "Stopped",
        Role::Started => "Started",
        Role::Unpromoted => "Unpromoted",
        Role::Promoted => "Promoted",
    }
}

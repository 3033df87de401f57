//! All that is wrong with a cluster's description, said at once.
//!
//! ```text
//!   text ─▶ Cib::parse ─▶ Cib, notes ─▶ check ─▶ findings, by their place
//!                                        │
//!      names and values of options ──────┤  known: tables with types and defaults
//!      names in constraints, tags ───────┤
//!      operations, roles, numbers ───────┤
//!      fencing and its levels ───────────┤
//!      rules and dates ──────────────────┤
//!      locations, colocations, orders ───┘  what contradicts, what goes in circles
//! ```
//!
//! # Example
//!
//! ```
//! use ha_crm::check::{FindingKind, Severity, check};
//! use ha_crm::cib::Cib;
//!
//! let (cib, notes) = Cib::parse(r#"
//! <cib><configuration>
//!   <crm_config><cluster_property_set id="o">
//!     <nvpair id="o-1" name="no-quorum-polcy" value="stop"/>
//!   </cluster_property_set></crm_config>
//!   <nodes><node id="1" uname="n1"/><node id="2" uname="n2"/></nodes>
//!   <resources/><constraints/>
//! </configuration></cib>"#.trim())?;
//! let findings = check(&cib, &notes);
//! assert_eq!(findings[0].severity, Severity::Warning);
//! assert_eq!(findings[0].kind, FindingKind::UnknownName);
//! assert_eq!(
//!     findings[0].to_string(),
//!     "warning: line 3, column 5, crm_config/cluster_property_set[@id='o']/nvpair[@id='o-1']: \
//!      no cluster option \"no-quorum-polcy\" is known, so its value \"stop\" has no effect; \
//!      did you mean no-quorum-policy?"
//! );
//! # Ok::<(), ha_crm::cib::CibError>(())
//! ```
//!
//! # When something is an error, a warning, a hint
//!
//! An *error* cannot mean what it says: a value that cannot be read, a name that stands for
//! nothing, an order in a circle. A *warning* works, but hardly as it was meant: a misspelt option
//! (the cluster runs without it), a resource that is banned from every node. A *hint* may have its
//! reasons; a configuration that is meant as it stands has hints alone. What is odd in the status
//! is a hint: no administrator wrote it.
//!
//! Resources without a monitor are told of once, all together. It is a warning if no resource at
//! all is watched and one of those has operations, none of which is a monitor, not even one that is
//! switched off: somebody thought of operations and forgot the most important one. Where some
//! resources are watched and others are not, and where nobody wrote any operations, it is a hint.
//!
//! Unknown names are warnings if a known name is near (then they are misspelt), and hints if not:
//! agents and tools may keep names of their own in the CIB.
//!
//! # Limits
//!
//! What depends on things that pass (attributes set while the cluster runs, the time) and what
//! `rsc-pattern` matches is not judged. Agents are not asked, so parameters are not checked.
//! Templates and tags are followed. All is about linear in the size of the text but the search for
//! contradictory colocations and the members of tags: these end after some million steps, and what
//! would have been found later is not told. Of each kind 1000 findings are kept; one of the kind
//! [`More`](FindingKind::More) tells how many there were more.
//!
//! # Source
//!
//! *Pacemaker Explained*, for what is known and what is allowed. `crm_verify` 2.1.5 is silent on 12
//! of 20 common mistakes that are all told here.

mod colocation;
mod fencing;
mod finding;
mod graph;
pub mod known;
mod location;
mod nearest;
mod nowhere;
mod operation;
mod order;
mod pairs;
mod reference;
mod remark;
mod resource;
mod rule;
mod scene;

use ha_core::role::Role;

use self::finding::Findings;
pub use self::finding::{Finding, FindingKind, Severity};
use self::scene::Scene;
use crate::cib::{Cib, Note};

/// Checks a description; `notes` are what the reader said of it.
///
/// All findings come at once, sorted by their place, none twice; the same description always has
/// the same findings. See the [module](self) for an example.
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
        order::check,
    ] {
        part(&scene, &mut findings);
    }
    let bans = location::check(&scene, &mut findings);
    colocation::check(&scene, &bans, &mut findings);
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

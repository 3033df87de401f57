//! The scheduler: from a CIB to what must be done, with the reasons.
//!
//! ```text
//!   Cib ──▶ unpack ──▶ Cluster ──▶ assign ──▶ actions ──▶ Schedule
//!           options, rules,        scores:    what can be   changes, outcome,
//!           histories replayed,    one node   needed, then  accounts (why there),
//!           nodes judged           for each   what must be  transition (in which order)
//! ```
//!
//! It decides as Pacemaker does, from the same input: a pure function of a configuration with
//! its status and of the time. Nothing is started here.
//!
//! # Example
//!
//! ```
//! use ha_core::time::WallTime;
//! use ha_crm::cib::Cib;
//! use ha_crm::scheduler::{ChangeKind, Scheduler, WhatIf};
//!
//! let (mut cib, _notes) = Cib::parse(r#"
//! <cib have-quorum="1" dc-uuid="1">
//!   <configuration>
//!     <crm_config><cluster_property_set id="o">
//!       <nvpair id="o-f" name="fencing-enabled" value="false"/>
//!     </cluster_property_set></crm_config>
//!     <nodes><node id="1" uname="n1"/><node id="2" uname="n2"/></nodes>
//!     <resources><primitive id="web" class="ocf" provider="heartbeat" type="Dummy"/></resources>
//!     <constraints><rsc_location id="l" rsc="web" node="n2" score="100"/></constraints>
//!   </configuration>
//!   <status>
//!     <node_state id="1" uname="n1" in_ccm="true" crmd="online" join="member" expected="member"/>
//!     <node_state id="2" uname="n2" in_ccm="true" crmd="online" join="member" expected="member"/>
//!   </status>
//! </cib>"#.trim())?;
//! let decided = Scheduler::new().decide(&cib, WallTime::from_micros(0))?;
//! assert_eq!(decided.changes[0].kind, ChangeKind::Start);
//! assert_eq!(&*decided.changes[0].node, "n2");
//! println!("{}", decided.accounts[0]); // web: … n2: 100 = 100 (location l)
//!
//! WhatIf::Standby("n2".into()).apply(&mut cib);
//! let decided = Scheduler::new().decide(&cib, WallTime::from_micros(0))?;
//! assert_eq!(&*decided.changes[0].node, "n1");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What is honoured and what is not
//!
//! Options, templates, tags, rules, defaults; primitives, groups, clones, promotable clones; locations,
//! colocations, orders, tickets, their sets; histories with failures, live migrations, changed
//! parameters, what is removed; fencing, unfencing, maintenance, standby, health, utilization,
//! shutdown locks. Bundles, guest and remote nodes are there in part. Probes, recurring monitors,
//! notifications and cancellations are implied and not listed. How near the decisions are to
//! Pacemaker's, and where they differ, is in `docs/conformance/pacemaker.md`.
//!
//! # Source
//!
//! *Pacemaker Explained*, and decisions of Pacemaker 3.0 as they can be observed.

mod actions;
mod assign;
mod attributes;
mod bundle;
mod cluster;
mod constraint;
mod explain;
mod id;
mod ledger;
mod limits;
mod node;
mod options;
mod outcome;
mod resource;
mod score;
mod simulation;
mod summary;
#[cfg(test)]
mod tests;
mod transition;
mod unpack;
mod what_if;

use std::collections::BTreeMap;
use std::sync::Arc;

use ha_core::role::Role;
use ha_core::time::WallTime;

pub use self::explain::{Account, NodeScore, ScorePart};
pub use self::limits::{Measure, TooLarge};
pub use self::simulation::Simulation;
pub use self::summary::{Change, ChangeKind};
pub use self::transition::{Step, Transition, Wait};
pub use self::what_if::{WhatIf, WhatIfError};
use crate::cib::Cib;

const FOLLOWED_IN_PART: &str = "very many resources are colocated with each other: what those \
    want that are colocated with colocated ones was counted in part only; colocate all with one";

/// What is decided.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Schedule {
    /// What changes, one entry for each instance or node.
    pub changes: Vec<Change>,
    /// What is active afterwards: resource, role, nodes; a node once for each instance there.
    pub outcome: BTreeMap<Arc<str>, BTreeMap<Role, Vec<Arc<str>>>>,
    /// Why each instance is where it is; empty if nobody asked.
    pub accounts: Vec<Account>,
    /// What is done and in which order; empty if nobody asked.
    pub transition: Transition,
    /// What was not looked at in full, for a person; empty if nothing.
    pub remarks: Vec<String>,
    /// When time alone may change the decision: a rule, an expiry.
    pub next_change: Option<WallTime>,
}

/// Decides what must be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct Scheduler {
    explains: bool,
}

impl Default for Scheduler {
    fn default() -> Self {
        Self::new()
    }
}

impl Scheduler {
    /// One that explains its decisions.
    pub const fn new() -> Self {
        Self { explains: true }
    }

    /// One that does not keep the reasons, which is faster.
    pub const fn terse() -> Self {
        Self { explains: false }
    }

    /// Decides, as of a time.
    ///
    /// # Errors
    ///
    /// [`TooLarge`]: so much is asked for that deciding would take unbounded time or memory.
    pub fn decide(&self, cib: &Cib, now: WallTime) -> Result<Schedule, TooLarge> {
        let mut cluster = unpack::unpack(cib, now, self.explains)?;
        assign::assign_all(&mut cluster)?;
        let plan = actions::plan(&mut cluster);
        let (accounts, transition) = if self.explains {
            (explain::accounts(&cluster), transition::transition(&cluster, &plan))
        } else {
            (Vec::new(), Transition::default())
        };
        let mut remarks = Vec::new();
        if cluster.limits.has_cut {
            remarks.push(FOLLOWED_IN_PART.to_owned());
        }
        Ok(Schedule {
            changes: summary::changes(&cluster, &plan),
            outcome: outcome::outcome(&cluster, &plan),
            accounts,
            transition,
            remarks,
            next_change: cluster.next_change,
        })
    }
}

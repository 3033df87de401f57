//! What the executor tells whoever watches it.

use std::time::Duration;

use ha_core::id::{OpId, ResourceName};

use super::order::Action;
use super::recovery::Recovery;
use super::throttle::Pressure;
use crate::diagnose::Diagnosis;
use crate::outcome::Outcome;

/// Something that has happened, for logs, metrics and screens; decisions are made by the results.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// An operation begins.
    Began {
        /// The operation.
        op: OpId,
        /// The resource.
        resource: ResourceName,
        /// What it does.
        action: Action,
        /// How long it has waited for its resource and its budget.
        waited: Duration,
    },
    /// An operation has ended.
    Finished {
        /// The operation.
        op: OpId,
        /// The resource.
        resource: ResourceName,
        /// What was asked for.
        action: Action,
        /// The agent's answer; `None`: it gave none.
        outcome: Option<Outcome>,
        /// How long it took.
        took: Duration,
    },
    /// The time of an operation was up: what its processes were doing then, and its last words.
    /// Comes before its end.
    Diagnosed {
        /// The operation.
        op: OpId,
        /// The resource.
        resource: ResourceName,
        /// The whole diagnosis; the reason in the answer has the gist.
        diagnosis: Box<Diagnosis>,
    },
    /// An operation has failed, and this is what the failure asks for. Its policy is the meta
    /// attribute `on-fail` of the operation.
    Failed {
        /// The operation.
        op: OpId,
        /// The resource.
        resource: ResourceName,
        /// What was asked for.
        action: Action,
        /// What is asked for now, and why.
        recovery: Recovery,
        /// How often the resource has failed.
        failures: u32,
    },
    /// A resource's memory was given up, as it was asked for or as there are too many.
    Forgotten {
        /// The resource.
        resource: ResourceName,
    },
    /// The load of the node changed what may run at once.
    Pressure {
        /// How much is held up now.
        pressure: Pressure,
    },
    /// Runs of a recurring monitor were left out, as the one before was not through.
    Skipped {
        /// The monitor.
        op: OpId,
        /// The resource.
        resource: ResourceName,
        /// How many.
        ticks: u64,
    },
    /// A recurring monitor has failed, but not often enough in a row for it to count.
    Tolerated {
        /// The monitor.
        op: OpId,
        /// The resource.
        resource: ResourceName,
        /// How often in a row it has failed.
        in_row: u32,
        /// How often in a row it must fail.
        of: u32,
    },
}

//! What a cluster manager must offer to be measured.

use std::ffi::OsString;
use std::path::Path;

use ha_lab::Host;

use crate::Failure;
use crate::rig::Rig;

/// A cluster manager: the same questions and orders to each.
pub(crate) trait Cluster: Send + Sync {
    /// Writes a node's files into the folder of the rig.
    fn prepare(&self, folder: &Path, node: &str) -> Result<(), Failure>;
    /// What runs on a node from its boot on.
    fn command(&self, folder: &Path, node: &str) -> Result<Vec<OsString>, Failure>;
    /// Gives the new cluster its resources, if its files do not say them.
    fn configure(&self, rig: &Rig) -> Result<(), Failure>;
    /// Whether all nodes are there, everything runs, and nothing is under way.
    fn quiet(&self, rig: &Rig) -> bool;
    /// Who decides.
    fn leader(&self, rig: &Rig) -> Option<String>;
    /// Orders everything to a node.
    fn order_move(&self, rig: &Rig, node: &str) -> Result<(), Failure>;
    /// Takes the order back; what runs stays.
    fn take_back(&self, rig: &Rig) -> Result<(), Failure>;
    /// Kills the service on the node where it runs.
    fn kill_service(&self, rig: &Rig, host: &Host) -> Result<(), Failure>;
    /// Forgets failures, so that the next run begins as the first did.
    fn forget_failures(&self, rig: &Rig) -> Result<(), Failure>;
}

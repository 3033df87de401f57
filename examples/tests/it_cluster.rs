//! Clusters of real `cluster-node` processes in the laboratory.

#[cfg(test)]
#[path = "it_cluster/agents.rs"]
mod agents;
#[cfg(test)]
#[path = "it_cluster/bad_input.rs"]
mod bad_input;
#[cfg(test)]
#[path = "it_cluster/events.rs"]
mod events;
#[cfg(test)]
#[path = "it_cluster/faults.rs"]
mod faults;
#[cfg(test)]
#[path = "it_cluster/rig.rs"]
mod rig;

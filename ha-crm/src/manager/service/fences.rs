//! The fence devices: found before they are needed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use ha_agents::fence::{Device, FenceAgent};
use ha_core::id::NodeName;

use crate::model::{ClusterConfig, FenceDevice};

/// Fences nodes by the devices of a configuration.
#[derive(Debug, Default)]
pub(super) struct Fences {
    found: Mutex<BTreeMap<String, Found>>,
}

/// A device's agent, with what it was made from.
type Found = (FenceDevice, Arc<dyn FenceAgent>);

impl Fences {
    /// Finds the agents of all devices, so that fencing does not wait for it.
    pub(super) async fn prepare(&self, config: &ClusterConfig) {
        for (name, device) in config.fencing().into_iter().flat_map(|fencing| &fencing.devices) {
            if let Err(reason) = self.find(name, device).await {
                tracing::error!(device = name, reason, "this node cannot fence");
            }
        }
    }

    async fn find(&self, name: &str, device: &FenceDevice) -> Result<Arc<dyn FenceAgent>, String> {
        let found = || self.found.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, agent)) = found().get(name)
            && of == device
        {
            return Ok(Arc::clone(agent));
        }
        let mut wanted = Device::new(name, &device.agent);
        for node in &device.nodes {
            let plug = device.plugs.get(node).map_or(node.as_str(), String::as_str);
            wanted = wanted.node(node.clone(), plug);
        }
        if let Some(timeout) = device.timeout {
            wanted = wanted.timeout(timeout);
        }
        for (key, value) in &device.parameters {
            wanted = wanted.parameter(key, value);
        }
        let agent = wanted.resolve().await.map_err(|error| error.to_string())?;
        found().insert(name.to_owned(), (device.clone(), Arc::clone(&agent)));
        Ok(agent)
    }

    /// Makes sure that a node is off, by the first device that confirms it.
    pub(super) async fn fence(
        &self,
        node: &NodeName,
        devices: Vec<(String, FenceDevice)>,
    ) -> Result<(), String> {
        let mut reasons = Vec::new();
        for (name, device) in devices {
            let result = match self.find(&name, &device).await {
                Ok(agent) => agent.reboot(node).await.map_err(|error| error.to_string()),
                Err(reason) => Err(reason),
            };
            match result {
                Ok(()) => return Ok(()),
                Err(reason) => reasons.push(reason),
            }
        }
        if reasons.is_empty() {
            reasons.push(format!("no device reaches {node}; add one for it"));
        }
        Err(reasons.join("; "))
    }
}

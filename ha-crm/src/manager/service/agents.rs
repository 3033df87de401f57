//! The agents of a node's resources: found before they are needed, kept while they may hold
//! something.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use ha_agents::executor::ExecutorHandle;
use ha_agents::registry::Registry;
use ha_agents::{Check, OpContext, OpResult, Outcome, Report, ResourceAgent};
use ha_core::id::ResourceName;

use crate::manager::message::digest;
use crate::manager::output::Execution;
use crate::model::ClusterConfig;

/// Finds agents, and gives them to the executor.
#[derive(Debug)]
pub(super) struct Agents {
    registry: Registry,
    executor: ExecutorHandle,
    /// What the executor has, by what it was made from.
    current: Mutex<BTreeMap<ResourceName, u64>>,
}

impl Agents {
    pub(super) fn new(registry: Registry, executor: ExecutorHandle) -> Self {
        Self { registry, executor, current: Mutex::default() }
    }

    /// Gives an order to the executor, with its agent.
    pub(super) async fn execute(&self, execution: Execution) {
        let Execution { agent, digest, order } = execution;
        let resource = order.resource().clone();
        let current = || self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current().get(&resource) != Some(&digest) {
            let parameters = &order.context.parameters;
            let found = self.registry.resolve(&resource, &agent, parameters).await;
            let found = found.unwrap_or_else(|error| {
                tracing::error!(%resource, agent, %error, "no agent");
                let mut reason = error.to_string();
                let mut source = std::error::Error::source(&error);
                while let Some(cause) = source {
                    reason = format!("{reason}: {cause}");
                    source = cause.source();
                }
                Arc::new(Missing { outcome: error.outcome(), reason })
            });
            self.executor.add(resource.clone(), found);
            current().insert(resource, digest);
        }
        if self.executor.submit(order).await.is_err() {
            tracing::error!("the executor has ended");
        }
    }

    /// Asks scripts for their metadata before they are needed: it takes a process each.
    pub(super) async fn prepare(&self, config: &ClusterConfig) {
        for (name, definition) in config.resources() {
            let known = || {
                let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
                current.get(name) == Some(&digest(definition))
            };
            if !known() {
                let found = self.registry.check(name, &definition.agent, &definition.parameters);
                match found.await {
                    Ok(doubts) => {
                        for doubt in doubts {
                            tracing::warn!(resource = %name, doubt, "agent");
                        }
                    }
                    Err(error) => tracing::warn!(resource = %name, %error, "agent"),
                }
            }
        }
    }
}

/// Stands for an agent that this node does not have, or that refuses its parameters: nothing can
/// run by it, so there is nothing to stop.
#[derive(Debug)]
struct Missing {
    outcome: Outcome,
    reason: String,
}

#[async_trait]
impl ResourceAgent for Missing {
    async fn start(&self, _: &OpContext) -> OpResult {
        Ok(Report::new(self.outcome, self.reason.clone()))
    }

    async fn stop(&self, _: &OpContext) -> OpResult {
        Ok(Report::success())
    }

    async fn monitor(&self, _: &OpContext, check: Check) -> OpResult {
        // To a probe "not installed" means that it does not run here, and cannot.
        let outcome = if check.role.is_none() { Outcome::NotInstalled } else { self.outcome };
        Ok(Report::new(outcome, self.reason.clone()))
    }
}

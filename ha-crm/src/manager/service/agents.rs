//! The agents of a node's resources: found before they are needed, kept while they may hold
//! something.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use ha_agents::executor::ExecutorHandle;
use ha_agents::leftovers;
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
    /// What children are marked with.
    mark: Option<String>,
    /// What the executor has, by what it was made from.
    current: Mutex<BTreeMap<ResourceName, u64>>,
}

impl Agents {
    pub(super) fn new(registry: Registry, executor: ExecutorHandle, mark: Option<String>) -> Self {
        Self { registry, executor, mark, current: Mutex::default() }
    }

    /// Gives an order to the executor, with its agent.
    pub(super) async fn execute(&self, execution: Execution) {
        let Execution { agent, digest, mut order } = execution;
        if let Some(mark) = &self.mark {
            order.context = order.context.meta(leftovers::NODE, mark);
        }
        let resource = order.resource().clone();
        let current = || self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current().get(&resource) != Some(&digest) {
            match self.find(&resource, &agent, &order.context.parameters).await {
                Ok(found) => {
                    self.executor.add(resource.clone(), found);
                    current().insert(resource, digest);
                }
                Err(missing) => {
                    tracing::error!(%resource, agent, missing.reason, "no agent");
                    self.executor.add(resource.clone(), Arc::new(missing));
                    // Looked for again at the next operation.
                    current().remove(&resource);
                }
            }
        }
        if self.executor.submit(order).await.is_err() {
            tracing::error!("the executor has ended");
        }
    }

    /// The agent, if it is there; a script that gives no metadata is asked again, as the computer
    /// may have been short of something.
    async fn find(
        &self,
        resource: &ResourceName,
        agent: &str,
        parameters: &BTreeMap<String, String>,
    ) -> Result<Arc<dyn ResourceAgent>, Missing> {
        let mut tries = 0;
        loop {
            tries += 1;
            let error = match self.registry.resolve(resource, agent, parameters).await {
                Ok(found) => return Ok(found),
                Err(error) => error,
            };
            // Nothing can have been started by an agent that is not there, or with parameters that
            // it does not take. Of any other trouble nobody knows.
            let outcome = error.outcome();
            let absent = matches!(outcome, Outcome::NotInstalled | Outcome::NotConfigured);
            if absent || tries == TRIES {
                return Err(Missing { absent, outcome, reason: chain(&error) });
            }
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

/// How often a script is asked for its metadata.
const TRIES: u32 = 3;

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// Stands for an agent that cannot be used on this node. If it is absent, or refuses its
/// parameters, nothing can run by it, and there is nothing to stop; else nobody knows.
#[derive(Debug)]
struct Missing {
    absent: bool,
    outcome: Outcome,
    reason: String,
}

#[async_trait]
impl ResourceAgent for Missing {
    async fn start(&self, _: &OpContext) -> OpResult {
        Ok(Report::new(self.outcome, self.reason.clone()))
    }

    async fn stop(&self, _: &OpContext) -> OpResult {
        if self.absent {
            return Ok(Report::success());
        }
        Ok(Report::new(Outcome::GenericError, self.reason.clone()))
    }

    async fn monitor(&self, _: &OpContext, check: Check) -> OpResult {
        // To a probe "not installed" means that it does not run here, and cannot.
        let outcome = match (check.role, self.absent) {
            (None, true) => Outcome::NotInstalled,
            (None, false) => Outcome::GenericError,
            (Some(_), _) => self.outcome,
        };
        Ok(Report::new(outcome, self.reason.clone()))
    }
}

//! The agents of a node's resources: found before they are needed, kept while they may hold
//! something.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use ha_agents::executor::{ExecutorHandle, Past};
use ha_agents::leftovers;
use ha_agents::registry::{Registry, RegistryError};
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
    /// What may run by an agent that was there, and now is not.
    orphans: Mutex<BTreeSet<ResourceName>>,
}

impl Agents {
    pub(super) fn new(registry: Registry, executor: ExecutorHandle, mark: Option<String>) -> Self {
        let (current, orphans) = (Mutex::default(), Mutex::default());
        Self { registry, executor, mark, current, orphans }
    }

    /// Gives an order to the executor, with its agent.
    pub(super) async fn execute(&self, execution: Execution) {
        let Execution { agent, digest, mut order } = execution;
        if let Some(mark) = &self.mark {
            order.context = order.context.meta(leftovers::NODE, mark);
        }
        let resource = order.resource().clone();
        if lock(&self.current).get(&resource) != Some(&digest) {
            match self.find(&resource, &agent, &order.context.parameters).await {
                Ok(found) => {
                    self.executor.add(resource.clone(), found);
                    lock(&self.orphans).remove(&resource);
                    lock(&self.current).insert(resource, digest);
                }
                Err((lack, reason)) => {
                    tracing::error!(%resource, agent, reason, "no agent");
                    let (may_run, probe) = self.past(&resource).await;
                    let missing = Missing { lack, may_run, probe, reason };
                    self.executor.add(resource, Arc::new(missing));
                }
            }
        }
        if self.executor.submit(order).await.is_err() {
            tracing::error!("the executor has ended");
        }
    }

    /// Whether a resource whose agent cannot be had may run by an earlier one, and what the last
    /// probe said. Its agent is looked for again at the next operation.
    async fn past(&self, resource: &ResourceName) -> (bool, Option<Outcome>) {
        let name = resource.clone();
        let past = self.executor.look(move |executor| executor.past(&name)).await;
        let Past { started, probe } = past.unwrap_or(Past { started: true, probe: None });
        // What was ordered of a missing agent has started nothing.
        if lock(&self.current).remove(resource).is_some() && started {
            lock(&self.orphans).insert(resource.clone());
        }
        (lock(&self.orphans).contains(resource), probe)
    }

    /// The agent, if it is there; a script that gives no metadata is asked again, as the computer
    /// may have been short of something.
    async fn find(
        &self,
        resource: &ResourceName,
        agent: &str,
        parameters: &BTreeMap<String, String>,
    ) -> Result<Arc<dyn ResourceAgent>, (Lack, String)> {
        let mut tries = 0;
        loop {
            tries += 1;
            let error = match self.registry.resolve(resource, agent, parameters).await {
                Ok(found) => return Ok(found),
                Err(error) => error,
            };
            let lack = if error.is_absent() {
                Lack::Agent
            } else if matches!(error, RegistryError::Parameters { .. }) {
                Lack::Parameters
            } else {
                Lack::Answer
            };
            if lack != Lack::Answer || tries == TRIES {
                return Err((lack, chain(&error)));
            }
        }
    }

    /// Asks scripts for their metadata before they are needed: it takes a process each.
    pub(super) async fn prepare(&self, config: &ClusterConfig) {
        for (name, definition) in config.resources() {
            let known = || lock(&self.current).get(name) == Some(&digest(definition));
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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Why there is no agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lack {
    /// There is none of that name on this node.
    Agent,
    /// It is there, but says nothing that can be understood.
    Answer,
    /// A native one, which is made from its parameters, does not take them.
    Parameters,
}

/// Stands for an agent that cannot be used on this node.
///
/// It starts nothing. What it says of the resource is never "not running": only where the agent is
/// not on this node, and was not before, a probe says so ("not installed"). With parameters that a
/// native agent does not take nobody can look: a probe is an error.
///
/// A stop is an error too, which asks for fencing, unless nothing of the resource was started in
/// this life of the program, and the agent is not there or a probe has said before that it cannot
/// run: so a slip in a new configuration fences nobody. What an earlier life left is not known
/// here; its processes were ended by their mark before.
#[derive(Debug)]
struct Missing {
    lack: Lack,
    /// It was started by an agent that was there.
    may_run: bool,
    /// What the last probe said.
    probe: Option<Outcome>,
    reason: String,
}

impl Missing {
    fn answer(&self, outcome: Outcome) -> Report {
        let started = if self.may_run { "; it was started here before" } else { "" };
        Report::new(outcome, format!("{}{started}", self.reason))
    }

    /// Why an operation on what may run fails.
    const fn outcome(&self) -> Outcome {
        match self.lack {
            Lack::Parameters => Outcome::NotConfigured,
            Lack::Agent | Lack::Answer => Outcome::GenericError,
        }
    }

    /// Whether it cannot run here, for all that is known.
    fn is_stopped(&self) -> bool {
        let hopeless = [Outcome::NotConfigured, Outcome::NotInstalled, Outcome::NotRunning];
        let told = self.probe.is_some_and(|probe| hopeless.contains(&probe));
        !self.may_run && (self.lack == Lack::Agent || self.lack == Lack::Parameters && told)
    }
}

#[async_trait]
impl ResourceAgent for Missing {
    async fn start(&self, _: &OpContext) -> OpResult {
        // The answer that says that nothing was done.
        Ok(self.answer(Outcome::NotInstalled))
    }

    async fn stop(&self, _: &OpContext) -> OpResult {
        Ok(self.answer(if self.is_stopped() { Outcome::Success } else { self.outcome() }))
    }

    async fn monitor(&self, _: &OpContext, check: Check) -> OpResult {
        // To a probe "not installed" means that it does not run here, and cannot.
        let absent = check.role.is_none() && self.lack == Lack::Agent && !self.may_run;
        Ok(self.answer(if absent { Outcome::NotInstalled } else { self.outcome() }))
    }
}

#[cfg(test)]
mod tests;

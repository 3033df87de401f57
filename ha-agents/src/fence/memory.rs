//! A power switch in memory, for tests.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use ha_core::id::NodeName;

use super::{Evidence, FenceAgent, FenceError, Power};

/// A way in which a [`PowerSwitch`] fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure {
    /// It says that it failed, and did nothing.
    Refuses,
    /// It does what it is asked, and its answer is lost.
    AnswerLost,
    /// The question is lost: it does nothing and does not answer.
    QuestionLost,
}

/// A switch with one plug for each node, whose failures a test sets.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// use ha_agents::fence::{Failure, FenceAgent, Power, PowerSwitch};
/// use ha_core::effect::Effect;
///
/// let n1 = "n1".parse().unwrap();
/// let switch = PowerSwitch::new("pdu", ["n1".parse().unwrap(), "n2".parse().unwrap()]);
/// switch.fail(&n1, Failure::AnswerLost);
/// let error = switch.off(&n1).await.unwrap_err();
/// assert_eq!(error.effect(), Effect::Unknown); // perhaps fenced, perhaps not: ask
/// assert_eq!(switch.status(&n1).await?, Power::Off);
/// # Ok::<(), ha_agents::fence::FenceError>(()) }).unwrap();
/// ```
#[derive(Debug)]
pub struct PowerSwitch {
    device: String,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    plugs: BTreeMap<NodeName, Power>,
    failures: BTreeMap<NodeName, Failure>,
    log: Vec<(&'static str, NodeName)>,
}

/// How many actions are remembered.
const MAX_LOG: usize = 10_000;
/// What the errors say that it was given; nothing is waited for.
const LIMIT: Duration = Duration::from_mins(1);

impl PowerSwitch {
    /// A switch on which all nodes have power.
    pub fn new(device: impl Into<String>, nodes: impl IntoIterator<Item = NodeName>) -> Self {
        let plugs = nodes.into_iter().map(|node| (node, Power::On)).collect();
        let state = State { plugs, failures: BTreeMap::new(), log: Vec::new() };
        Self { device: device.into(), state: Mutex::new(state) }
    }

    /// Lets every off and on of `node` fail from now on.
    pub fn fail(&self, node: &NodeName, failure: Failure) {
        self.state().failures.insert(node.clone(), failure);
    }

    /// Mends the plug of `node`.
    pub fn mend(&self, node: &NodeName) {
        self.state().failures.remove(node);
    }

    /// What was really done, oldest first; the first 10,000.
    #[must_use]
    pub fn log(&self) -> Vec<(&'static str, NodeName)> {
        self.state().log.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing in here is ever half done, so a panic elsewhere has broken nothing.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, action: &'static str, node: &NodeName, power: Power) -> Result<(), FenceError> {
        let mut state = self.state();
        let failure = state.failures.get(node).copied();
        let Some(plug) = state.plugs.get_mut(node) else {
            let (device, node) = (self.device.clone(), node.clone());
            return Err(FenceError::UnknownNode { device, node });
        };
        if matches!(failure, None | Some(Failure::AnswerLost)) {
            *plug = power;
            if state.log.len() < MAX_LOG {
                state.log.push((action, node.clone()));
            }
        }
        let (device, target) = (self.device.clone(), node.to_string());
        match failure {
            None => Ok(()),
            Some(Failure::Refuses) => {
                let answer = "the plug is stuck".to_owned();
                Err(FenceError::Failed { device, action, target, answer })
            }
            Some(Failure::AnswerLost | Failure::QuestionLost) => {
                Err(FenceError::NoAnswer { device, action, target, limit: LIMIT })
            }
        }
    }
}

#[async_trait]
impl FenceAgent for PowerSwitch {
    fn device(&self) -> &str {
        &self.device
    }

    async fn off(&self, node: &NodeName) -> Result<(), FenceError> {
        self.set("off", node, Power::Off)
    }

    async fn on(&self, node: &NodeName) -> Result<(), FenceError> {
        self.set("on", node, Power::On)
    }

    async fn status(&self, node: &NodeName) -> Result<Power, FenceError> {
        let power = self.state().plugs.get(node).copied();
        let (device, node) = (self.device.clone(), node.clone());
        power.ok_or(FenceError::UnknownNode { device, node })
    }

    async fn list(&self) -> Result<Vec<NodeName>, FenceError> {
        Ok(self.state().plugs.keys().cloned().collect())
    }

    /// [`Evidence::VerifiedOff`]: it is its own plug.
    fn evidence(&self) -> Evidence {
        Evidence::VerifiedOff
    }
}

//! A Redfish board as a fence agent.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use ha_core::driver::pause;
use ha_core::id::NodeName;
use ha_core::time::{BootClock, Clock};

use super::builder::{Login, Plug, RebootMethod, RedfishBuilder};
use super::client::{Client, ClientError};
use super::endpoint::Endpoint;
use super::model::{ActionInfo, Collection, Reset, Root, System};
use crate::fence::{Evidence, FenceAction, FenceAgent, FenceError, Power};
use crate::secret::Secret;

const ROOT: &str = "/redfish/v1/";
/// After how long a command is repeated whose effect is not seen: systems take their time.
const REPEAT: Duration = Duration::from_secs(20);
/// How many systems of a board are looked at.
const MAX_SYSTEMS: usize = 64;

/// A management board that speaks Redfish over HTTPS, for one system or several.
///
/// The systems are found from the service root, or named; what can be asked of one is taken from
/// its `AllowableValues`. `off` and `reboot` are confirmed: the board has said that the power state
/// is `Off` (`PoweringOff` is not off). Certificates are verified unless
/// [`insecure`](RedfishBuilder::insecure) says otherwise. Answers are read up to 1 MiB; links that
/// lead away from the board are not followed.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use ha_agents::fence::FenceAgent;
/// use ha_agents::fence::redfish::Redfish;
///
/// let n1 = "n1".parse()?;
/// let password = std::fs::read_to_string("/etc/cluster/redfish-password")?;
/// let board = Redfish::builder("board-n1", "https://bmc-n1.example")
///     .node("n1".parse()?)
///     .login("fence", password.trim_end())
///     .authorities(std::fs::read("/etc/cluster/bmc-ca.pem")?)
///     .build()?;
/// board.off(&n1).await?; // it is off
/// # Ok(()) }
/// ```
///
/// # Cancel safety
///
/// When the future of an action is dropped, the command may have been sent. The connection is
/// closed; a session ([`Login::Session`]) is left to the board's timeout.
///
/// # Source
///
/// DMTF DSP0266 1.15 and the schema `ComputerSystem`; settings as of `fence_redfish`.
#[derive(Debug)]
pub struct Redfish {
    pub(super) device: String,
    pub(super) endpoint: Endpoint,
    pub(super) user: String,
    pub(super) password: Secret,
    pub(super) login: Login,
    pub(super) plugs: BTreeMap<NodeName, Plug>,
    pub(super) timeout: Duration,
    pub(super) poll: Duration,
    pub(super) reboot: RebootMethod,
}

/// What is to be done in a visit.
#[derive(Debug, Clone, Copy)]
enum Task<'a> {
    Monitor,
    Look(&'a Plug),
    Reach(&'a Plug, Power),
    Reboot(&'a Plug),
}

/// Why a visit failed.
#[derive(Debug, thiserror::Error)]
enum VisitError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("it has no power state that can be told: {0}")]
    NoState(String),
    #[error("it cannot {0}; it allows {1}")]
    NotAllowed(&'static str, String),
    #[error("it has {0} systems that may be this one; name one of {1}")]
    NotOne(usize, String),
    #[error("a timer failed: {0}")]
    Timer(std::io::Error),
}

/// One visit, and what came of it.
#[derive(Debug)]
struct Visit<'a> {
    board: &'a Redfish,
    client: Client<'a>,
    root: Option<Root>,
    /// Whether a command may have reached the board.
    has_acted: bool,
    /// Whether the node was seen off, or was reset, after the visit began.
    was_off: bool,
    /// What the board last refused, which may pass.
    refusal: Option<String>,
}

impl Redfish {
    /// The board `device` at `url`, such as `https://bmc.example`; add its nodes.
    pub fn builder(device: impl Into<String>, url: impl Into<String>) -> RedfishBuilder {
        RedfishBuilder::new(device.into(), url.into())
    }

    fn plug(&self, node: &NodeName) -> Result<&Plug, FenceError> {
        self.plugs.get(node).ok_or_else(|| {
            let (device, node) = (self.device.clone(), node.clone());
            FenceError::UnknownNode { device, node }
        })
    }

    async fn visit(
        &self,
        action: &'static str,
        target: &str,
        task: Task<'_>,
    ) -> Result<Power, FenceError> {
        let client = Client::new(&self.endpoint, &self.user, &self.password);
        let mut visit = Visit {
            board: self,
            client,
            root: None,
            has_acted: false,
            was_off: false,
            refusal: None,
        };
        let end = tokio::select! { biased;
            end = visit.run(task) => Some(end),
            late = pause(self.timeout) => late.err().map(|error| Err(VisitError::Timer(error))),
        };
        visit.client.log_out().await;
        if let Some(Ok(power)) = end {
            return Ok(power);
        }
        let error = self.explain(action, target, &visit, end.and_then(Result::err));
        if visit.was_off {
            let device = &self.device;
            tracing::warn!(device, node = target, %error, "fenced but not powered on again");
            return Ok(Power::Off);
        }
        Err(error)
    }

    /// The error of a visit; without a reason its time was up.
    fn explain(
        &self,
        action: &'static str,
        target: &str,
        visit: &Visit<'_>,
        error: Option<VisitError>,
    ) -> FenceError {
        let (device, target, limit) = (self.device.clone(), target.to_owned(), self.timeout);
        let refusal = visit.refusal.clone();
        match (error.map(|error| error.to_string()), visit.has_acted) {
            (Some(answer), true) => FenceError::Failed { device, action, target, answer },
            (Some(why), false) => FenceError::Unusable { device, why },
            (None, false) => {
                let why = format!("it did not answer within {limit:?}; raise the timeout");
                FenceError::Unusable { device, why }
            }
            (None, true) => match refusal {
                Some(answer) => FenceError::Failed { device, action, target, answer },
                None => FenceError::NoAnswer { device, action, target, limit },
            },
        }
    }
}

impl Visit<'_> {
    async fn run(&mut self, task: Task<'_>) -> Result<Power, VisitError> {
        if self.board.login == Login::Session {
            let links = self.root().await?.links.as_ref();
            let named = links.and_then(|links| links.sessions.as_ref());
            let usual = || format!("{ROOT}SessionService/Sessions");
            let path = named.map_or_else(usual, |link| link.path.clone());
            self.client.log_in(&path).await?;
        }
        match task {
            Task::Monitor => {
                let board = self.board;
                for plug in board.plugs.values() {
                    let path = self.find(plug).await?;
                    self.look(&path).await?;
                }
                Ok(Power::On)
            }
            Task::Look(plug) => {
                let path = self.find(plug).await?;
                Ok(self.look(&path).await?.0)
            }
            Task::Reach(plug, power) => {
                let path = self.find(plug).await?;
                self.reach(&path, power).await
            }
            Task::Reboot(plug) => {
                let path = self.find(plug).await?;
                self.reboot(&path).await
            }
        }
    }

    /// The service root, which is open to everybody.
    async fn root(&mut self) -> Result<&Root, VisitError> {
        let root = match self.root.take() {
            Some(root) => root,
            None => self.client.get(ROOT, false).await?,
        };
        Ok(self.root.insert(root))
    }

    /// The path of a system.
    async fn find(&mut self, plug: &Plug) -> Result<String, VisitError> {
        let wanted = match plug {
            Plug::Path(path) => return Ok(path.clone()),
            Plug::Only => None,
            Plug::Called(name) => Some(name.as_str()),
        };
        let systems = self.root().await?.systems.as_ref();
        let systems = systems.map_or_else(|| format!("{ROOT}Systems"), |link| link.path.clone());
        let collection: Collection = self.client.get(&systems, true).await?;
        let paths: Vec<String> =
            collection.members.into_iter().map(|link| link.path).take(MAX_SYSTEMS).collect();
        let Some(wanted) = wanted else {
            return one(&paths, &paths);
        };
        let is_last = |path: &&String| {
            path.trim_end_matches('/').rsplit('/').next().is_some_and(|last| last == wanted)
        };
        let mut found: Vec<String> = paths.iter().filter(is_last).cloned().collect();
        if found.is_empty() {
            for path in &paths {
                let system: System = self.client.get(path, true).await?;
                if system.is_called(wanted) {
                    found.push(path.clone());
                }
            }
        }
        one(&found, &paths)
    }

    /// Whether a system has power.
    async fn look(&mut self, path: &str) -> Result<(Power, System), VisitError> {
        let system: System = self.client.get(path, true).await?;
        let power = match system.power_state.as_deref() {
            Some("Off") => Power::Off,
            Some("On" | "PoweringOn" | "PoweringOff" | "Paused") => Power::On,
            other => {
                let other: String = other.unwrap_or("none").chars().take(40).collect();
                return Err(VisitError::NoState(format!("{other:?}")));
            }
        };
        Ok((power, system))
    }

    /// Switches until the board says that it is so.
    async fn reach(&mut self, path: &str, power: Power) -> Result<Power, VisitError> {
        let (purpose, values): (_, &[&str]) = match power {
            Power::Off => ("switch it off by force", &["ForceOff"]),
            Power::On => ("switch it on", &["On", "ForceOn"]),
        };
        let mut repeat_at = BootClock::new().now();
        loop {
            match self.look(path).await {
                Ok((seen, _)) if seen == power => return Ok(power),
                Ok((_, system)) if BootClock::new().now() >= repeat_at => {
                    self.reset(system, purpose, values).await?;
                    repeat_at = BootClock::new().now() + REPEAT;
                    continue;
                }
                Ok(_) => {}
                // The board may start anew, or be busy: look again.
                Err(VisitError::Client(error)) if self.has_acted && error.is_passing() => {
                    tracing::info!(device = %self.board.device, %error, "asked again");
                }
                Err(error) => return Err(error),
            }
            pause(self.board.poll).await.map_err(VisitError::Timer)?;
        }
    }

    async fn reboot(&mut self, path: &str) -> Result<Power, VisitError> {
        match self.board.reboot {
            RebootMethod::OffOn => {
                self.reach(path, Power::Off).await?;
                self.was_off = true;
            }
            RebootMethod::ForceRestart => {
                let (power, system) = self.look(path).await?;
                if power == Power::On {
                    self.reset(system, "restart it by force", &["ForceRestart"]).await?;
                    if let Some(words) = self.refusal.take() {
                        return Err(VisitError::NotAllowed("restart it now", words));
                    }
                    return Ok(Power::On);
                }
                self.was_off = true;
            }
        }
        self.reach(path, Power::On).await
    }

    /// Asks for the first of `values` that the system allows; a refusal that may pass is noted.
    async fn reset(
        &mut self,
        system: System,
        purpose: &'static str,
        values: &[&'static str],
    ) -> Result<(), VisitError> {
        let none = || VisitError::NotAllowed(purpose, "nothing of the kind".to_owned());
        let Reset { target, allowed, info } = system.actions.reset.ok_or_else(none)?;
        let allowed = match (allowed, info) {
            (None, Some(info)) => {
                let info: ActionInfo = self.client.get(&info, true).await?;
                let types = info.parameters.into_iter().find(|one| one.name == "ResetType");
                types.and_then(|types| types.allowable_values)
            }
            (allowed, _) => allowed,
        };
        // A board that does not say what it allows is asked for what all have.
        let is_allowed = |value: &&&str| {
            allowed.as_ref().is_none_or(|allowed| allowed.iter().any(|one| one == **value))
        };
        let Some(value) = values.iter().find(is_allowed) else {
            let mut allowed = allowed.unwrap_or_default();
            allowed.truncate(20);
            return Err(VisitError::NotAllowed(purpose, allowed.join(", ")));
        };
        self.has_acted = true;
        self.refusal = None;
        let body = serde_json::json!({ "ResetType": value });
        match self.client.post(&target, &body).await {
            Ok(()) => Ok(()),
            Err(error) if error.is_passing() || is_conflict(&error) => {
                self.refusal = Some(error.to_string());
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// The one that was found.
fn one(found: &[String], all: &[String]) -> Result<String, VisitError> {
    match found {
        [path] => Ok(path.clone()),
        several => Err(VisitError::NotOne(several.len(), all.join(", "))),
    }
}

/// Whether the system is in a state in which it cannot do that: on its way there, perhaps.
fn is_conflict(error: &ClientError) -> bool {
    matches!(error, ClientError::Refused { status, .. } if status.as_u16() == 409)
}

#[async_trait]
impl FenceAgent for Redfish {
    fn device(&self) -> &str {
        &self.device
    }

    async fn off(&self, node: &NodeName) -> Result<(), FenceError> {
        let task = Task::Reach(self.plug(node)?, Power::Off);
        self.visit("off", node.as_str(), task).await.map(|_| ())
    }

    async fn on(&self, node: &NodeName) -> Result<(), FenceError> {
        let task = Task::Reach(self.plug(node)?, Power::On);
        self.visit("on", node.as_str(), task).await.map(|_| ())
    }

    async fn status(&self, node: &NodeName) -> Result<Power, FenceError> {
        self.visit("status", node.as_str(), Task::Look(self.plug(node)?)).await
    }

    /// The nodes that were configured; the board is not asked.
    async fn list(&self) -> Result<Vec<NodeName>, FenceError> {
        Ok(self.plugs.keys().cloned().collect())
    }

    async fn reboot(&self, node: &NodeName) -> Result<(), FenceError> {
        let task = Task::Reboot(self.plug(node)?);
        self.visit("reboot", node.as_str(), task).await.map(|_| ())
    }

    /// Logs in and looks at the power of each node.
    async fn monitor(&self) -> Result<(), FenceError> {
        self.visit("monitor", &self.device, Task::Monitor).await.map(|_| ())
    }

    /// The power is seen to be off before an action ends well, but for
    /// [`RebootMethod::ForceRestart`].
    fn evidence(&self) -> Evidence {
        match self.reboot {
            RebootMethod::OffOn => Evidence::VerifiedOff,
            RebootMethod::ForceRestart => Evidence::Acknowledged,
        }
    }

    async fn perform(&self, node: &NodeName, action: FenceAction) -> Result<Evidence, FenceError> {
        match action {
            FenceAction::Off => self.off(node).await.map(|()| Evidence::VerifiedOff),
            FenceAction::On => self.on(node).await.map(|()| self.evidence()),
            FenceAction::Reboot => self.reboot(node).await.map(|()| self.evidence()),
        }
    }
}

//! A management board as a fence agent.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use async_trait::async_trait;
use ha_core::driver::pause;
use ha_core::id::NodeName;
use ha_core::time::{BootClock, Clock};

use super::builder::{IpmiBuilder, RebootMethod};
use super::link::{Link, LinkError};
use super::session::{Login, SessionError};
use super::wire::{Request, Response};
use crate::fence::{Evidence, FenceAgent, FenceError, Power};

/// After how long a command is repeated whose effect is not seen: some boards forget it.
const REPEAT: Duration = Duration::from_secs(5);
/// A cycle is off for a second or more (28.3): it must not pass between two looks.
const CYCLE_POLL: Duration = Duration::from_millis(200);
/// How many addresses of a name are tried.
const MAX_ADDRESSES: usize = 4;

const CHASSIS: u8 = 0x00;
const GET_CHASSIS_STATUS: u8 = 0x01;
const CHASSIS_CONTROL: u8 = 0x02;
const POWER_DOWN: u8 = 0;
const POWER_UP: u8 = 1;
const POWER_CYCLE: u8 = 2;

/// Completion codes that may be others a moment later (table 5-2): busy, no time, cannot answer
/// now, not in this state.
const PASSING: [u8; 4] = [0xc0, 0xc3, 0xce, 0xd5];

/// The management board of one node, spoken to by IPMI 2.0 over UDP ("lanplus").
///
/// Each action logs in (open session and RAKP, cipher suite 17 or 3), acts, and logs out. The
/// suite is found by offering the best one, without a round trip of its own: an action takes some
/// milliseconds and the board's own time. `off` and `reboot` are confirmed: the board has said that
/// the chassis has no power. A question without an answer is asked again, in a new session if need
/// be; no packet is taken that is not signed by the board, is old, or comes twice.
///
/// The board must not lose its power together with the node: a board without power does not answer,
/// and no answer is not taken for off.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use ha_agents::fence::ipmi::Ipmi;
/// use ha_agents::fence::FenceAgent;
///
/// let n1 = "n1".parse()?;
/// let password = std::fs::read_to_string("/etc/cluster/ipmi-password")?;
/// let board = Ipmi::builder("board-n1", "n1".parse()?, "192.0.2.101")
///     .login("fence", password.trim_end())
///     .build()?;
/// board.off(&n1).await?; // it is off
/// # Ok(()) }
/// ```
///
/// # Cancel safety
///
/// When the future of an action is dropped, the command may have been sent; the session is ended.
///
/// # Source
///
/// IPMI 2.0, sections 13 (sessions) and 28 (chassis); settings as of `fence_ipmilan`. Against one
/// `ipmi_sim` Debian's needs 0.24 s for an off with `cipher=3`, and 42 s without; this one 0.02 s.
#[derive(Debug)]
pub struct Ipmi {
    pub(super) device: String,
    pub(super) node: NodeName,
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) login: Login,
    pub(super) timeout: Duration,
    pub(super) poll: Duration,
    pub(super) reboot: RebootMethod,
}

/// What is to be done in a visit.
#[derive(Debug, Clone, Copy)]
enum Task {
    Look,
    Reach(Power),
    Reboot,
}

/// One login, and what came of it.
#[derive(Debug)]
struct Visit<'a> {
    board: &'a Ipmi,
    link: Option<Link>,
    /// Whether a command may have reached the board.
    has_acted: bool,
    /// Whether the node was seen off after the visit began.
    was_off: bool,
    /// The last refusal of a command that may pass.
    refusal: Option<u8>,
}

/// Why a visit failed.
#[derive(Debug, thiserror::Error)]
enum VisitError {
    #[error("a chassis command ended with completion code {0:#04x} (table 5-2 of IPMI 2.0)")]
    Code(u8),
    #[error("the answer of the board makes no sense")]
    Nonsense,
    #[error(transparent)]
    Link(#[from] LinkError),
}

impl From<io::Error> for VisitError {
    fn from(error: io::Error) -> Self {
        Self::Link(error.into())
    }
}

impl Ipmi {
    /// The board `device` of `node` at `host`, a name or an address.
    pub fn builder(
        device: impl Into<String>,
        node: NodeName,
        host: impl Into<String>,
    ) -> IpmiBuilder {
        IpmiBuilder::new(device.into(), node, host.into())
    }

    fn check(&self, node: &NodeName) -> Result<(), FenceError> {
        if *node == self.node {
            return Ok(());
        }
        Err(FenceError::UnknownNode { device: self.device.clone(), node: node.clone() })
    }

    async fn visit(&self, action: &'static str, task: Task) -> Result<Power, FenceError> {
        let mut visit =
            Visit { board: self, link: None, has_acted: false, was_off: false, refusal: None };
        let end = tokio::select! { biased;
            end = visit.run(task) => Some(end),
            late = pause(self.timeout) => late.err().map(|error| Err(error.into())),
        };
        if let Some(Ok(power)) = end {
            return Ok(power);
        }
        let error = self.explain(action, &visit, end.and_then(Result::err));
        if visit.was_off && matches!(task, Task::Reboot) {
            let (device, node) = (&self.device, &self.node);
            tracing::warn!(device, %node, %error, "fenced but not powered on again");
            return Ok(Power::Off);
        }
        Err(error)
    }

    /// The error of a visit; without a reason its time was up.
    fn explain(
        &self,
        action: &'static str,
        visit: &Visit<'_>,
        error: Option<VisitError>,
    ) -> FenceError {
        let (device, target) = (self.device.clone(), self.node.to_string());
        let limit = self.timeout;
        match error {
            Some(VisitError::Link(error)) if !visit.has_acted => {
                FenceError::Unusable { device, why: error.to_string() }
            }
            Some(error) => FenceError::Failed { device, action, target, answer: error.to_string() },
            None if !visit.has_acted => {
                let why = format!("it did not let us in within {limit:?}; raise the timeout");
                FenceError::Unusable { device, why }
            }
            None => match visit.refusal {
                Some(code) => {
                    let answer = VisitError::Code(code).to_string();
                    FenceError::Failed { device, action, target, answer }
                }
                None => FenceError::NoAnswer { device, action, target, limit },
            },
        }
    }
}

impl Visit<'_> {
    async fn run(&mut self, task: Task) -> Result<Power, VisitError> {
        match task {
            Task::Look => self.look().await,
            Task::Reach(power) => self.reach(power, Duration::ZERO).await,
            Task::Reboot => {
                let is_cycled = match self.board.reboot {
                    RebootMethod::OffOn => {
                        self.reach(Power::Off, Duration::ZERO).await?;
                        false
                    }
                    RebootMethod::Cycle => self.cycle().await?,
                };
                self.was_off = true;
                // What is cycled comes back by itself.
                let patience = if is_cycled { REPEAT } else { Duration::ZERO };
                self.reach(Power::On, patience).await
            }
        }
    }

    /// Whether the chassis has power (28.2).
    async fn look(&mut self) -> Result<Power, VisitError> {
        loop {
            let answer = self.ask(GET_CHASSIS_STATUS, Vec::new(), false).await?;
            match (answer.code, answer.data.as_slice()) {
                (0, [state, _, _, ..]) if state & 1 == 0 => return Ok(Power::Off),
                (0, [_, _, _, ..]) => return Ok(Power::On),
                (0, _) => return Err(VisitError::Nonsense),
                (code, _) if PASSING.contains(&code) => {
                    self.refusal = Some(code);
                    pause(self.board.poll).await?;
                }
                (code, _) => return Err(VisitError::Code(code)),
            }
        }
    }

    /// Switches, at first after `patience`, until the board says that it is so.
    async fn reach(&mut self, power: Power, patience: Duration) -> Result<Power, VisitError> {
        let control = match power {
            Power::Off => POWER_DOWN,
            Power::On => POWER_UP,
        };
        let mut repeat_at = BootClock::new().now() + patience;
        loop {
            match self.look().await {
                Ok(seen) if seen == power => return Ok(power),
                Ok(_) => {}
                // The board may start anew, as some do when the power goes: look again.
                Err(error) if self.has_acted && is_passing(&error) => {
                    tracing::info!(device = %self.board.device, %error, "asked again");
                }
                Err(error) => return Err(error),
            }
            if BootClock::new().now() >= repeat_at {
                self.command(control, false).await?;
                repeat_at = BootClock::new().now() + REPEAT;
                // Boards that switch at once are the rule, not the exception.
                continue;
            }
            pause(self.board.poll).await?;
        }
    }

    /// One power cycle, until it is seen off; `false` if it was off already.
    async fn cycle(&mut self) -> Result<bool, VisitError> {
        if self.look().await? == Power::Off {
            return Ok(false); // a board cycles only what is on (28.3)
        }
        self.command(POWER_CYCLE, true).await?;
        if let Some(code) = self.refusal {
            return Err(VisitError::Code(code));
        }
        while self.look().await? == Power::On {
            pause(self.board.poll.min(CYCLE_POLL)).await?;
        }
        Ok(true)
    }

    /// Commands the chassis (28.3); a refusal that may pass is only noted.
    async fn command(&mut self, control: u8, once: bool) -> Result<(), VisitError> {
        self.link().await?;
        self.has_acted = true;
        self.refusal = None;
        match self.ask(CHASSIS_CONTROL, vec![control], once).await {
            Ok(answer) if answer.code == 0 => Ok(()),
            Ok(answer) if PASSING.contains(&answer.code) => {
                self.refusal = Some(answer.code);
                Ok(())
            }
            Ok(answer) => Err(VisitError::Code(answer.code)),
            Err(error) if is_passing(&error) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn ask(
        &mut self,
        command: u8,
        data: Vec<u8>,
        once: bool,
    ) -> Result<Response, VisitError> {
        let request = Request { function: CHASSIS, command, data, once };
        Ok(self.link().await?.ask(request).await?)
    }

    /// The link to the board, at the first of its addresses that answers.
    async fn link(&mut self) -> Result<&mut Link, VisitError> {
        if self.link.is_none() {
            self.link = Some(self.connect().await?);
        }
        self.link.as_mut().ok_or(VisitError::Nonsense)
    }

    async fn connect(&self) -> Result<Link, VisitError> {
        let board = self.board;
        let found = tokio::net::lookup_host((board.host.as_str(), board.port)).await?;
        let found: Vec<SocketAddr> = found.take(MAX_ADDRESSES).collect();
        let mut refusal = VisitError::Nonsense;
        for address in found {
            let mut link = Link::connect(address, board.login.clone()).await?;
            let request = Request {
                function: CHASSIS,
                command: GET_CHASSIS_STATUS,
                data: Vec::new(),
                once: false,
            };
            match link.ask(request).await {
                Ok(_) => return Ok(link),
                // Another address may be the one that works.
                Err(error @ (LinkError::Io(_) | LinkError::Session(SessionError::Unreachable))) => {
                    refusal = error.into();
                }
                Err(error) => return Err(error.into()),
            }
        }
        Err(refusal)
    }
}

/// Whether the board may answer later.
const fn is_passing(error: &VisitError) -> bool {
    matches!(
        error,
        VisitError::Link(
            LinkError::Io(_)
                | LinkError::Session(
                    SessionError::Unreachable | SessionError::Lost | SessionError::Busy
                )
        )
    )
}

#[async_trait]
impl FenceAgent for Ipmi {
    fn device(&self) -> &str {
        &self.device
    }

    async fn off(&self, node: &NodeName) -> Result<(), FenceError> {
        self.check(node)?;
        self.visit("off", Task::Reach(Power::Off)).await.map(|_| ())
    }

    async fn on(&self, node: &NodeName) -> Result<(), FenceError> {
        self.check(node)?;
        self.visit("on", Task::Reach(Power::On)).await.map(|_| ())
    }

    async fn status(&self, node: &NodeName) -> Result<Power, FenceError> {
        self.check(node)?;
        self.visit("status", Task::Look).await
    }

    /// The one node; the board is not asked.
    async fn list(&self) -> Result<Vec<NodeName>, FenceError> {
        Ok(vec![self.node.clone()])
    }

    async fn reboot(&self, node: &NodeName) -> Result<(), FenceError> {
        self.check(node)?;
        self.visit("reboot", Task::Reboot).await.map(|_| ())
    }

    /// Logs in and looks at the power.
    async fn monitor(&self) -> Result<(), FenceError> {
        self.visit("monitor", Task::Look).await.map(|_| ())
    }

    /// The power is seen to be off before an action ends well.
    fn evidence(&self) -> Evidence {
        Evidence::VerifiedOff
    }
}

//! The driver: agents, a timer and the machine.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use ha_core::driver::{Alarm, Stop, Task};
use ha_core::id::OpId;
use ha_core::machine::Machine;
use ha_core::time::{BootClock, Clock};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{AbortHandle, JoinSet};

use super::machine::{Input, Output, Runner};
use super::request::{Answer, Ask, Call, CallError, CallId, Report, Request};
use crate::fence::topology::Topology;
use crate::fence::{Evidence, FenceAgent, FenceError};

/// Commands that wait for the driver; more make their sender wait.
const COMMANDS: usize = 64;

/// A fencer, ready to run: a topology with its agents.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use std::sync::Arc;
/// use ha_agents::fence::{Evidence, FenceAction, FenceAgent, Failure, PowerSwitch};
/// use ha_agents::fence::runner::{FencerService, Outcome, Request};
/// use ha_agents::fence::topology::{DeviceRules, Target, Topology};
/// use ha_core::id::{NodeName, OpId};
///
/// let n1: NodeName = "n1".parse()?;
/// let board = PowerSwitch::new("board", [n1.clone()]);
/// board.fail(&n1, Failure::Refuses);
/// let topology = Topology::builder()
///     .device("board", DeviceRules::new())
///     .device("pdu", DeviceRules::new())
///     .level(Target::Node(n1.clone()), 1, ["board"])
///     .level(Target::Node(n1.clone()), 2, ["pdu"])
///     .build()?;
/// let pdu = PowerSwitch::new("pdu", [n1.clone()]);
/// let agents: [Arc<dyn FenceAgent>; 2] = [Arc::new(board), Arc::new(pdu)];
/// let service = FencerService::new(topology, agents, 7)?;
/// let fencer = service.handle();
/// let task = service.spawn();
/// let report = fencer.fence(Request::new(OpId::FIRST, n1, FenceAction::Off)).await?;
/// let (evidence, devices) = (Evidence::VerifiedOff, vec!["pdu".to_owned()]);
/// assert_eq!(report.outcome, Outcome::Done { evidence, devices });
/// task.stop().await??;
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Debug)]
pub struct FencerService {
    machine: Runner,
    agents: BTreeMap<String, Arc<dyn FenceAgent>>,
    alarm: Alarm,
    commands: mpsc::Receiver<Command>,
    sender: mpsc::Sender<Command>,
}

#[derive(Debug)]
enum Command {
    Fence(Request, oneshot::Sender<Report>),
    Cancel(OpId),
    History(oneshot::Sender<Vec<Report>>),
}

/// Speaks to a running fencer; cheap to clone.
#[derive(Debug, Clone)]
pub struct FencerHandle(mpsc::Sender<Command>);

/// The fencer has ended, or refused a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "cannot hear of the fencing: the fencer has ended or refused it, as an id is in use or too much is under way; ask the device for the status"
)]
#[non_exhaustive]
pub struct FencerGone;

/// Devices of a topology have no agent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MissingAgents {
    /// These.
    #[error("cannot fence by {0:?}: they have no agent; add one for each")]
    Devices(Vec<String>),
    /// No timer is to be had.
    #[error("cannot run the fencer: no timer; raise the limit of open files")]
    Timer(#[source] io::Error),
}

impl FencerHandle {
    /// Carries out a request and returns what came of it.
    ///
    /// # Errors
    ///
    /// [`FencerGone`]: nothing is known of what happened.
    ///
    /// # Cancel safety
    ///
    /// The request goes on when the future is dropped; use [`cancel`](Self::cancel).
    pub async fn fence(&self, request: Request) -> Result<Report, FencerGone> {
        let (sender, report) = oneshot::channel();
        self.0.send(Command::Fence(request, sender)).await.map_err(|_| FencerGone)?;
        report.await.map_err(|_| FencerGone)
    }

    /// Takes a request back; its report says whether that came in time.
    ///
    /// # Errors
    ///
    /// [`FencerGone`]: nothing is under way any more.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: dropped before its end, nothing was taken back.
    pub async fn cancel(&self, id: OpId) -> Result<(), FencerGone> {
        self.0.send(Command::Cancel(id)).await.map_err(|_| FencerGone)
    }

    /// The requests that have ended, oldest first.
    ///
    /// # Errors
    ///
    /// [`FencerGone`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn history(&self) -> Result<Vec<Report>, FencerGone> {
        let (sender, history) = oneshot::channel();
        self.0.send(Command::History(sender)).await.map_err(|_| FencerGone)?;
        history.await.map_err(|_| FencerGone)
    }
}

/// What runs.
#[derive(Debug, Default)]
struct Work {
    tasks: JoinSet<Input>,
    calls: BTreeMap<CallId, AbortHandle>,
    waiting: BTreeMap<OpId, oneshot::Sender<Report>>,
}

impl FencerService {
    /// A fencer with the agents of the topology's devices, found by
    /// [`FenceAgent::device`]. One whose evidence is that time has passed is not asked for the
    /// status after an off: it could only tell what was ordered. Must be called inside a tokio runtime with I/O enabled. Random
    /// delays come from `seed`: give each node another one.
    ///
    /// # Errors
    ///
    /// [`MissingAgents`] names all devices without an agent.
    pub fn new(
        mut topology: Topology,
        agents: impl IntoIterator<Item = Arc<dyn FenceAgent>>,
        seed: u64,
    ) -> Result<Self, MissingAgents> {
        let named = |agent: Arc<dyn FenceAgent>| (agent.device().to_owned(), agent);
        let agents: BTreeMap<_, _> = agents.into_iter().map(named).collect();
        let missing = topology.devices().filter(|device| !agents.contains_key(*device));
        let missing: Vec<String> = missing.map(str::to_owned).collect();
        if !missing.is_empty() {
            return Err(MissingAgents::Devices(missing));
        }
        for (device, agent) in &agents {
            if agent.evidence() == Evidence::AssumedAfterTimeout {
                topology.do_not_verify(device);
            }
        }
        let (sender, commands) = mpsc::channel(COMMANDS);
        let alarm = Alarm::new().map_err(MissingAgents::Timer)?;
        Ok(Self { machine: Runner::new(topology, seed), agents, alarm, commands, sender })
    }

    /// A handle to it.
    #[must_use]
    pub fn handle(&self) -> FencerHandle {
        FencerHandle(self.sender.clone())
    }

    /// Runs it as a task; its end is that of [`run`](Self::run).
    #[must_use]
    pub fn spawn(self) -> Task<io::Result<()>> {
        Task::spawn(|stop| self.run(stop))
    }

    /// Runs until told to stop; then no request is taken any more, and those under way are
    /// carried out.
    ///
    /// # Errors
    ///
    /// The kernel's; none is expected.
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: a drop ends all actions where they are.
    pub async fn run(mut self, mut stop: Stop) -> io::Result<()> {
        let (clock, mut out, mut work) = (BootClock::new(), Vec::new(), Work::default());
        let mut stopping = false;
        loop {
            if stopping && self.machine.in_flight().next().is_none() {
                return Ok(());
            }
            let input = tokio::select! { biased;
                () = stop.wait(), if !stopping => { stopping = true; continue }
                Some(done) = work.tasks.join_next(), if !work.tasks.is_empty() => {
                    // Of an aborted call nobody wants to hear.
                    let Ok(input) = done else { continue };
                    Some(input)
                }
                Some(command) = self.commands.recv(), if !stopping => {
                    match self.take(command, &mut work) {
                        Some(input) => Some(input),
                        None => continue,
                    }
                }
                due = self.alarm.until(self.machine.deadline()) => { due?; None }
            };
            let now = clock.now();
            match input {
                Some(input) => self.machine.handle(now, input, &mut out),
                None => self.machine.tick(now, &mut out),
            }
            for output in out.drain(..) {
                perform(output, &self.agents, &mut work);
            }
        }
    }

    fn take(&self, command: Command, work: &mut Work) -> Option<Input> {
        match command {
            Command::Fence(request, sender) => {
                // A second request of an id must not take the first one's answer away.
                if work.waiting.contains_key(&request.id) {
                    return None;
                }
                work.waiting.insert(request.id, sender);
                Some(Input::Submit(request))
            }
            Command::Cancel(id) => Some(Input::Cancel(id)),
            Command::History(sender) => {
                let history = self.machine.history().cloned().collect();
                // Who asked may be gone.
                drop(sender.send(history));
                None
            }
        }
    }
}

fn perform(output: Output, agents: &BTreeMap<String, Arc<dyn FenceAgent>>, work: &mut Work) {
    match output {
        Output::Call(call) => {
            let (id, agent) = (call.id, agents.get(&call.device).cloned());
            let task = async move { Input::Done(id, ask(agent, call).await) };
            work.calls.insert(id, work.tasks.spawn(task));
        }
        Output::Abort(id) => {
            if let Some(call) = work.calls.remove(&id) {
                call.abort();
            }
        }
        Output::Ended(report) => {
            tracing::info!(node = %report.node, action = %report.action, "{report}");
            for id in &report.requests {
                if let Some(sender) = work.waiting.remove(id) {
                    // Who asked may be gone.
                    drop(sender.send(report.clone()));
                }
            }
        }
        Output::Refused(id) => drop(work.waiting.remove(&id)),
    }
    work.calls.retain(|_, call| !call.is_finished());
}

async fn ask(agent: Option<Arc<dyn FenceAgent>>, call: Call) -> Result<Answer, CallError> {
    let Some(agent) = agent else {
        let why = format!("{} has no agent", call.device);
        return Err(CallError { why, effect: ha_core::effect::Effect::None });
    };
    let result = match call.ask {
        Ask::Act(action) => agent.perform(&call.plug, action).await.map(Answer::Done),
        Ask::Status => agent.status(&call.plug).await.map(Answer::Power),
        Ask::List => agent.list().await.map(Answer::Nodes),
    };
    result.map_err(|error: FenceError| CallError { why: error.to_string(), effect: error.effect() })
}

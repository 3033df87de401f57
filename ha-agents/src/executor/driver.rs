//! The driver: agents, a timer and the machine.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ha_core::driver::{Alarm, Stop, Task, pause};
use ha_core::effect::Effect;
use ha_core::id::{OpId, ResourceName};
use ha_core::machine::Machine;
use ha_core::time::{BootClock, Clock, Instant};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{AbortHandle, JoinSet};

use super::config::Limits;
use super::effects::{Input, Output};
use super::event::Event;
use super::machine::Executor;
use super::order::{Action, Answer, Order};
use super::throttle::Load;
use super::watch::{Events, Seats, Stage};
use crate::agent::{AgentError, OpContext, ResourceAgent};
use crate::outcome::Severity;

/// Commands that wait for the driver; more make their sender wait.
const COMMANDS: usize = 64;
/// Results that wait for their reader; at so many no more commands are taken.
const RESULTS: usize = 1_024;
/// How long an agent may overrun its own time limit (its ladder of signals) before it is dropped.
const OVERRUN: Duration = Duration::from_mins(1);

/// How often the node's load is read; the kernel computes it as often.
const LOAD_PERIOD: Duration = Duration::from_secs(5);

/// How long the last results wait for their reader when all is through.
const LISTENING: Duration = Duration::from_secs(1);

type Look = Box<dyn FnOnce(&Executor) + Send>;
type Agents = Arc<Mutex<BTreeMap<ResourceName, Arc<dyn ResourceAgent>>>>;

/// The executor of a node, ready to run.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use std::sync::Arc;
/// use ha_agents::executor::{Action, Limits, Order, Output, Service};
/// use ha_agents::native::Dummy;
/// use ha_agents::OpContext;
/// use ha_core::id::OpId;
///
/// let (service, mut results) = Service::new(Limits::default())?;
/// let handle = service.handle();
/// let task = service.spawn();
/// handle.add("d1".parse()?, Arc::new(Dummy::new()));
/// let context = OpContext::new("d1".parse()?, OpId::FIRST);
/// handle.submit(Order { term: None, action: Action::Start, context }).await?;
/// assert!(matches!(results.recv().await, Some(Output::Ended { op: OpId::FIRST, .. })));
/// task.stop().await??; // waits for what is at work
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Debug)]
pub struct Service {
    machine: Executor,
    agents: Agents,
    alarm: Alarm,
    /// When the node's load is read next, if it matters.
    load: Option<(Alarm, Instant)>,
    stage: Stage,
    commands: mpsc::Receiver<Command>,
    sender: mpsc::Sender<Command>,
    results: mpsc::Sender<Output>,
    outbox: VecDeque<Output>,
    work: Work,
}

/// What a handle asks for.
enum Command {
    Give(Input),
    Look(Look),
}

/// What runs.
#[derive(Debug)]
struct Work {
    tasks: JoinSet<()>,
    watches: BTreeMap<ResourceName, AbortHandle>,
    done: mpsc::UnboundedSender<Input>,
    ended: mpsc::UnboundedReceiver<Input>,
}

/// Speaks to a running executor; cheap to clone.
#[derive(Debug, Clone)]
pub struct ExecutorHandle {
    agents: Agents,
    seats: Seats,
    commands: mpsc::Sender<Command>,
}

/// The executor has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("cannot reach the executor: it has ended; start it again")]
#[non_exhaustive]
pub struct ExecutorGone;

impl ExecutorHandle {
    /// Sets the agent of a resource; the next operation runs it.
    pub fn add(&self, resource: ResourceName, agent: Arc<dyn ResourceAgent>) {
        self.agents.lock().unwrap_or_else(PoisonError::into_inner).insert(resource, agent);
    }

    /// Gives an order; its end comes as [`Output::Ended`], or at once [`Output::Refused`].
    ///
    /// # Errors
    ///
    /// [`ExecutorGone`]: nothing of the order has happened.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: dropped before its end, nothing was ordered.
    pub async fn submit(&self, order: Order) -> Result<(), ExecutorGone> {
        self.send(Input::Submit(order)).await
    }

    /// Takes an order back; see [`Input::Cancel`].
    ///
    /// # Errors
    ///
    /// As [`submit`](Self::submit).
    ///
    /// # Cancel safety
    ///
    /// As [`submit`](Self::submit).
    pub async fn cancel(&self, op: OpId) -> Result<(), ExecutorGone> {
        self.send(Input::Cancel(op)).await
    }

    /// Forgets the failures of a resource.
    ///
    /// # Errors
    ///
    /// As [`submit`](Self::submit).
    ///
    /// # Cancel safety
    ///
    /// As [`submit`](Self::submit).
    pub async fn cleanup(&self, resource: ResourceName) -> Result<(), ExecutorGone> {
        self.send(Input::Cleanup(resource)).await
    }

    /// Forgets a resource that is no longer configured: its agent, history and failures; see
    /// [`Input::Forget`]. Stop it before: its death is no longer told.
    ///
    /// # Errors
    ///
    /// As [`submit`](Self::submit); the agent is gone all the same.
    ///
    /// # Cancel safety
    ///
    /// As [`submit`](Self::submit); the agent is gone all the same.
    pub async fn remove(&self, resource: ResourceName) -> Result<(), ExecutorGone> {
        self.agents.lock().unwrap_or_else(PoisonError::into_inner).remove(&resource);
        self.send(Input::Forget(resource)).await
    }

    /// What happens from now on; `None`: the executor has ended.
    #[must_use]
    pub fn events(&self) -> Option<Events> {
        self.seats.take()
    }

    /// Looks at the executor between two of its steps: what is in flight, the history of a resource,
    /// its failures, the counters.
    ///
    /// # Errors
    ///
    /// [`ExecutorGone`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe; `look` may be called all the same.
    pub async fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Executor) -> T + Send + 'static,
    ) -> Result<T, ExecutorGone> {
        let (tell, told) = oneshot::channel();
        let look: Look = Box::new(move |executor| {
            // An error means that nobody waits any more.
            drop(tell.send(look(executor)));
        });
        self.commands.send(Command::Look(look)).await.map_err(|_| ExecutorGone)?;
        told.await.map_err(|_| ExecutorGone)
    }

    async fn send(&self, input: Input) -> Result<(), ExecutorGone> {
        self.commands.send(Command::Give(input)).await.map_err(|_| ExecutorGone)
    }
}

impl Service {
    /// An idle executor, and its results; must be called inside a tokio runtime with I/O enabled.
    ///
    /// Read the results: while too many wait no order is taken, and news of recurring monitors
    /// are dropped.
    ///
    /// # Errors
    ///
    /// The kernel's, when no more file descriptors are to be had.
    pub fn new(limits: Limits) -> io::Result<(Self, mpsc::Receiver<Output>)> {
        let (sender, commands) = mpsc::channel(COMMANDS);
        let (results, receiver) = mpsc::channel(COMMANDS);
        let (done, ended) = mpsc::unbounded_channel();
        let load = match limits.load_threshold {
            Some(_) => Some((Alarm::new()?, Instant::ZERO)),
            None => None,
        };
        let service = Self {
            machine: Executor::new(limits),
            agents: Agents::default(),
            alarm: Alarm::new()?,
            load,
            stage: Stage::new(),
            commands,
            sender,
            results,
            outbox: VecDeque::new(),
            work: Work { tasks: JoinSet::new(), watches: BTreeMap::new(), done, ended },
        };
        Ok((service, receiver))
    }

    /// A handle to it.
    #[must_use]
    pub fn handle(&self) -> ExecutorHandle {
        let (agents, seats) = (Arc::clone(&self.agents), self.stage.seats());
        ExecutorHandle { agents, seats, commands: self.sender.clone() }
    }

    /// Runs it as a task; its end is that of [`run`](Self::run).
    #[must_use]
    pub fn spawn(self) -> Task<io::Result<()>> {
        Task::spawn(|stop| self.run(stop))
    }

    /// Runs until told to stop; then what waits is cancelled, except stops, and what is at work
    /// is waited for. Resources are not stopped: that is the manager's to order before. Results
    /// that nobody reads for a second are lost then.
    ///
    /// # Errors
    ///
    /// The kernel's; none is expected.
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: a drop ends all operations where they are.
    pub async fn run(mut self, mut stop: Stop) -> io::Result<()> {
        let (clock, mut out, mut stopping) = (BootClock::new(), Vec::new(), false);
        let mut heard = clock.now();
        loop {
            let through = stopping && self.machine.is_idle();
            if through && self.outbox.is_empty() {
                return Ok(());
            }
            let deadline = if through { Some(heard + LISTENING) } else { self.machine.deadline() };
            let full = self.outbox.len() >= RESULTS;
            let input = tokio::select! { biased;
                () = stop.wait(), if !stopping => { stopping = true; Some(Input::Shutdown) }
                Some(input) = self.work.ended.recv() => Some(input),
                permit = self.results.reserve(), if !self.outbox.is_empty() => {
                    heard = clock.now();
                    match (permit, self.outbox.pop_front()) {
                        (Ok(permit), Some(result)) => permit.send(result),
                        // Nobody listens any more.
                        _ => self.outbox.clear(),
                    }
                    continue;
                }
                Some(command) = self.commands.recv(), if !full => match command {
                    Command::Give(input) => Some(input),
                    Command::Look(look) => { look(&self.machine); continue }
                },
                late = self.alarm.until(deadline) => {
                    late?;
                    if through {
                        let lost = self.outbox.len();
                        tracing::warn!(lost, "nobody reads the results of an executor that ends");
                        return Ok(());
                    }
                    None
                }
                load = read_load(self.load.as_ref()) => Some(Input::Load(load?)),
            };
            let now = clock.now();
            heard = now;
            if let Some(Input::Forget(resource)) = &input {
                self.work.unwatch(resource);
            }
            if let (Some((_, next)), Some(Input::Load(_))) = (&mut self.load, &input) {
                *next = now + LOAD_PERIOD;
            }
            match input {
                Some(input) => self.machine.handle(now, input, &mut out),
                None => self.machine.tick(now, &mut out),
            }
            for output in out.drain(..) {
                self.perform(output, full);
            }
            while self.work.tasks.try_join_next().is_some() {}
        }
    }
}

impl Service {
    fn perform(&mut self, output: Output, full: bool) {
        match output {
            Output::Run(order) => self.work.begin(&self.agents, order, self.stage.clone()),
            Output::Event(event) => {
                #[cfg(feature = "metrics")]
                super::metrics::count(&event);
                self.stage.tell(event);
            }
            Output::Monitored { .. } if full => {}
            Output::Died { .. }
            | Output::Ended { .. }
            | Output::Monitored { .. }
            | Output::Refused { .. } => {
                self.work.watch(&self.agents, &output);
                self.outbox.push_back(output);
            }
        }
    }
}

/// Waits until the load is to be read, and reads it.
async fn read_load(load: Option<&(Alarm, Instant)>) -> io::Result<Load> {
    let Some((alarm, next)) = load else { return std::future::pending().await };
    alarm.until(Some(*next)).await?;
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let processors = u32::try_from(processors).unwrap_or(u32::MAX);
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    // Where it cannot be read nothing is held up.
    Ok(Load::parse(&text, processors).unwrap_or(Load::new(0, processors)))
}

impl std::fmt::Debug for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Give(input) => f.debug_tuple("Give").field(input).finish(),
            Self::Look(_) => f.write_str("Look"),
        }
    }
}

impl Work {
    fn begin(&mut self, agents: &Agents, order: Order, stage: Stage) {
        let agent = find(agents, order.resource());
        let end = End { op: order.op(), answer: None, done: self.done.clone() };
        if order.action == Action::Stop {
            self.unwatch(order.resource());
        }
        self.tasks.spawn(async move {
            let limit = order.context.timeout.saturating_add(OVERRUN);
            let answer = tokio::select! { biased;
                answer = carry_out(agent, order.action, &order.context, &stage) => answer,
                _late = pause(limit) => Answer::NoAnswer {
                    effect: Effect::Unknown,
                    reason: format!("its agent did not keep to its own limit for {OVERRUN:?}"),
                },
            };
            end.tell(answer);
        });
    }

    /// From now on a death of the resource is no news.
    fn unwatch(&mut self, resource: &ResourceName) {
        if let Some(watch) = self.watches.remove(resource) {
            watch.abort();
        }
    }

    /// After a start: waits for the resource's death.
    fn watch(&mut self, agents: &Agents, output: &Output) {
        let Output::Ended { resource, action: Action::Start, answer, .. } = output else { return };
        if answer.severity(Action::Start.operation()) != Severity::None {
            return;
        }
        let Some(agent) = find(agents, resource) else { return };
        let (done, name) = (self.done.clone(), resource.clone());
        let watch = self.tasks.spawn(async move {
            let reason = agent.death().await;
            // An error means that the executor has ended.
            drop(done.send(Input::Died(name, reason)));
        });
        if let Some(before) = self.watches.insert(resource.clone(), watch) {
            before.abort();
        }
    }
}

/// Tells the end of an operation, also of one whose agent panicked.
struct End {
    op: OpId,
    answer: Option<Answer>,
    done: mpsc::UnboundedSender<Input>,
}

impl End {
    fn tell(mut self, answer: Answer) {
        self.answer = Some(answer);
    }
}

impl Drop for End {
    fn drop(&mut self) {
        let answer = self.answer.take().unwrap_or_else(|| Answer::NoAnswer {
            effect: Effect::Unknown,
            reason: "its agent panicked".to_owned(),
        });
        // An error means that the executor has ended.
        drop(self.done.send(Input::Done(self.op, answer)));
    }
}

fn find(agents: &Agents, resource: &ResourceName) -> Option<Arc<dyn ResourceAgent>> {
    agents.lock().unwrap_or_else(PoisonError::into_inner).get(resource).cloned()
}

async fn carry_out(
    agent: Option<Arc<dyn ResourceAgent>>,
    action: Action,
    context: &OpContext,
    stage: &Stage,
) -> Answer {
    let Some(agent) = agent else {
        let reason = AgentError::NoAgent { resource: context.resource.clone() }.to_string();
        return Answer::NoAnswer { effect: Effect::None, reason };
    };
    let result = match action {
        Action::Demote => agent.demote(context).await,
        Action::MigrateFrom => agent.migrate_from(context).await,
        Action::MigrateTo => agent.migrate_to(context).await,
        Action::Monitor(check) => agent.monitor(context, check).await,
        Action::Notify => agent.notify(context).await,
        Action::Promote => agent.promote(context).await,
        Action::Reload => agent.reload(context).await,
        Action::Start => agent.start(context).await,
        Action::Stop => agent.stop(context).await,
        Action::Validate => agent.validate(context).await,
    };
    if let Err(AgentError::TimedOut { diagnosis: Some(diagnosis), .. }) = &result {
        let (resource, diagnosis) = (context.resource.clone(), diagnosis.clone());
        stage.tell(Event::Diagnosed { op: context.op, resource, diagnosis });
    }
    result.into()
}

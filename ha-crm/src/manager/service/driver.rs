//! The loop around a manager; it holds no decisions.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use ha_agents::executor::{self, ExecutorHandle};
use ha_core::driver::{Alarm, Stop};
use ha_core::id::{NodeName, OpId};
use ha_core::machine::Machine;
use ha_core::time::{BootClock, Clock, Instant};
use ha_membership::mesh::MeshService;
use ha_membership::store::{ClusterStore, Expected, Leadership, RaftStore, StoreError, Write};
use ha_membership::transport::channel::{Channels, Serving};
use ha_membership::{Key, Membership, Revision, View};
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::task::JoinSet;

use super::agents::Agents;
use super::fences::Fences;
use super::wire::MANAGER;
use super::{Parts, SelfFence, Told};
use crate::manager::event::ManagerEvent;
use crate::manager::input::{Input, Read, Written};
use crate::manager::ledger::{LEDGER_KEY, Ledger};
use crate::manager::machine::Manager;
use crate::manager::message::Message;
use crate::manager::output::{Execution, Output};
use crate::manager::request::{Request, RequestId, Response};

/// How long a message to another manager may take; it is said again.
const LETTER_LIMIT: Duration = Duration::from_secs(1);
/// After an error of the store its changes are followed again after this.
const FOLLOW_AGAIN: Duration = Duration::from_millis(200);

type Requests = mpsc::Receiver<(Request, oneshot::Sender<Response>)>;

pub(super) struct Driver {
    manager: Manager,
    mesh: Arc<MeshService>,
    store: RaftStore,
    channels: Channels,
    executor: Option<executor::Service>,
    handle: ExecutorHandle,
    results: mpsc::Receiver<executor::Output>,
    agents: Arc<Agents>,
    fences: Arc<Fences>,
    self_fence: Option<SelfFence>,
    inbox: mpsc::Receiver<(NodeName, Message)>,
    requests: Requests,
    answers: BTreeMap<RequestId, oneshot::Sender<Response>>,
    asked: u64,
    events: broadcast::Sender<Told>,
    alarm: Alarm,
    done: mpsc::UnboundedSender<Input>,
    ended: mpsc::UnboundedReceiver<Input>,
    /// Orders for the executor, which must stay in their order.
    orders: mpsc::UnboundedSender<Execution>,
    work: JoinSet<()>,
    /// What the manager knows of the quorum.
    quorate_until: Option<Instant>,
    /// When to look at it again.
    look_again: Option<Instant>,
    left: bool,
    _serving: Vec<Serving>,
}

/// What a driver waits on besides its channels.
struct Watches {
    views: watch::Receiver<Arc<View>>,
    quorum: watch::Receiver<Option<Instant>>,
    leadership: watch::Receiver<Leadership>,
}

impl Driver {
    pub(super) fn new(
        manager: Manager,
        (parts, executor, results): (Parts, executor::Service, mpsc::Receiver<executor::Output>),
        (inbox, requests, events): (
            mpsc::Receiver<(NodeName, Message)>,
            Requests,
            broadcast::Sender<Told>,
        ),
        (serving, alarm): (Vec<Serving>, Alarm),
    ) -> Self {
        let handle = executor.handle();
        let (done, ended) = mpsc::unbounded_channel();
        let (orders, mut ordered) = mpsc::unbounded_channel();
        let agents = Arc::new(Agents::new(parts.agents, handle.clone(), parts.mark));
        let (giver, mut work) = (Arc::clone(&agents), JoinSet::new());
        work.spawn(async move {
            while let Some(order) = ordered.recv().await {
                giver.execute(order).await;
            }
        });
        Self {
            manager,
            mesh: Arc::new(parts.mesh),
            store: parts.store,
            channels: parts.channels,
            executor: Some(executor),
            agents,
            handle,
            results,
            fences: Arc::default(),
            self_fence: parts.self_fence,
            inbox,
            requests,
            answers: BTreeMap::new(),
            asked: 0,
            events,
            alarm,
            done,
            ended,
            orders,
            work,
            quorate_until: None,
            look_again: None,
            left: false,
            _serving: serving,
        }
    }

    pub(super) async fn run(mut self, mut stop: Stop) -> io::Result<()> {
        let mut watches = Watches {
            views: self.mesh.watch(),
            quorum: self.mesh.quorum(),
            leadership: self.store.leadership(),
        };
        watches.views.mark_changed();
        watches.quorum.mark_changed();
        watches.leadership.mark_changed();
        self.store.set_campaigning(false);
        self.work.spawn(follow(self.store.clone(), self.done.clone()));
        let executor = self.executor.take().map(executor::Service::spawn);
        let (clock, mut out, mut stopping) = (BootClock::new(), Vec::new(), false);
        while !self.left {
            let deadline = self.deadline();
            let input = tokio::select! { biased;
                input = watches.next() => input,
                () = stop.wait(), if !stopping => { stopping = true; Some(Input::Leave) }
                Some(output) = self.results.recv() => Some(Input::Executed(output)),
                Some(input) = self.ended.recv() => Some(input),
                Some((from, message)) = self.inbox.recv() => Some(Input::Heard(from, message)),
                Some((request, answer)) = self.requests.recv() => Some(self.asks(request, answer)),
                due = self.alarm.until(deadline) => { due?; None }
            };
            let now = clock.now();
            // First of all, whatever woke it up: until when this node may act.
            self.look_at_quorum(now, &watches, &mut out);
            match input {
                Some(input) => {
                    if let Input::Ledger(ledger) = &input {
                        self.prepare(ledger);
                    }
                    self.manager.handle(now, input, &mut out);
                }
                None => self.manager.tick(now, &mut out),
            }
            for output in out.drain(..) {
                self.perform(now, output).await;
            }
            while self.work.try_join_next().is_some() {}
        }
        if let Some(executor) = executor {
            // An error means that the runtime ends.
            drop(executor.stop().await);
        }
        // An error means that the others will find out.
        drop(self.mesh.leave().await);
        self.store.shutdown().await;
        Ok(())
    }

    fn look_at_quorum(&mut self, now: Instant, watches: &Watches, out: &mut Vec<Output>) {
        let until = *watches.quorum.borrow();
        if until != self.quorate_until {
            self.quorate_until = until;
            self.manager.handle(now, Input::Quorum(until), out);
        }
        // Long before it ends: whoever looks too late has lost quorum, also if it was regained.
        self.look_again = until.map(|until| now + until.since(now) / 2);
    }

    /// When to wake up at the latest.
    fn deadline(&self) -> Option<Instant> {
        [self.manager.deadline(), self.look_again].into_iter().flatten().min()
    }

    fn asks(&mut self, request: Request, answer: oneshot::Sender<Response>) -> Input {
        self.asked += 1;
        let id = RequestId::new(self.asked);
        self.answers.insert(id, answer);
        Input::Request(id, request)
    }

    /// Finds agents and devices of a new configuration before they are needed.
    fn prepare(&mut self, ledger: &Arc<Ledger>) {
        let (agents, fences) = (Arc::clone(&self.agents), Arc::clone(&self.fences));
        let ledger = Arc::clone(ledger);
        self.work.spawn(async move {
            if let Some(fencing) = ledger.config.fencing() {
                fences.prepare(fencing).await;
            }
            agents.prepare(&ledger.config).await;
        });
    }

    async fn perform(&mut self, now: Instant, output: Output) {
        match output {
            Output::Campaign(may) => self.store.set_campaigning(may),
            // An error means that the executor has ended, and all with it.
            Output::CleanUp(resource) => drop(self.handle.cleanup(resource).await),
            // An error means that this node has left.
            Output::ConfirmFenced(node) => drop(self.mesh.confirm_fenced(node).await),
            Output::Event(event) => self.tell(now, event),
            Output::Execute(execution) => {
                // An error means that the runtime ends.
                drop(self.orders.send(*execution));
            }
            Output::Fence { op, node, fencing } => {
                let (fences, done) = (Arc::clone(&self.fences), self.done.clone());
                self.work.spawn(async move {
                    let result = fences.fence(op, node.clone(), &fencing).await;
                    // An error means that the driver has ended.
                    drop(done.send(Input::Fenced(op, node, result)));
                });
            }
            Output::Left => self.left = true,
            Output::Read { op } => {
                self.work.spawn(read(self.store.clone(), op, self.done.clone()));
            }
            Output::Reply { to, response } => {
                if let Some(answer) = self.answers.remove(&to) {
                    // An error means that nobody waits for it any more.
                    drop(answer.send(response));
                }
            }
            Output::SelfFence { resources } => {
                if let Some(fence) = &self.self_fence {
                    fence(&resources);
                }
            }
            Output::Send { to, message } => self.send(to, &message),
            Output::Write { op, expected, ledger } => {
                let (store, done) = (self.store.clone(), self.done.clone());
                self.work.spawn(write(store, (op, expected, ledger), done));
            }
        }
    }

    fn tell(&self, now: Instant, event: ManagerEvent) {
        tracing::info!(node = %self.manager.config().me(), %event, "manager");
        let wall = BootClock::new().wall();
        // An error means that nobody follows.
        drop(self.events.send(Told { at: now, wall, event }));
    }

    fn send(&mut self, to: NodeName, message: &Message) {
        let Ok(bytes) = serde_json::to_vec(message) else { return };
        let channels = self.channels.clone();
        self.work.spawn(async move {
            if let Err(error) = channels.call(&to, MANAGER, bytes, LETTER_LIMIT).await {
                tracing::debug!(%to, %error, "a message was lost");
            }
        });
    }
}

impl Watches {
    /// What changed; nothing if it is the quorum, which is looked at in any case.
    async fn next(&mut self) -> Option<Input> {
        tokio::select! { biased;
            Ok(()) = self.quorum.changed() => None,
            Ok(()) = self.views.changed() => {
                Some(Input::View(Arc::clone(&self.views.borrow_and_update())))
            }
            Ok(()) = self.leadership.changed() => {
                let Leadership { term, leader, .. } = self.leadership.borrow_and_update().clone();
                Some(Input::Leadership { term, leader })
            }
            else => std::future::pending().await,
        }
    }
}

fn key() -> Option<Key> {
    LEDGER_KEY.parse().ok()
}

fn decode(bytes: &[u8]) -> Option<Ledger> {
    match Ledger::decode(bytes) {
        Ok(ledger) => Some(ledger),
        Err(error) => {
            tracing::error!(%error, "ledger");
            None
        }
    }
}

async fn read(store: RaftStore, op: OpId, done: mpsc::UnboundedSender<Input>) {
    let Some(key) = key() else { return };
    let read = match store.get(&key).await {
        Ok(None) => Read::Absent,
        Ok(Some(entry)) => match decode(&entry.value) {
            Some(ledger) => Read::Found(Box::new(ledger), entry.revision),
            None => Read::Unavailable,
        },
        Err(error) => {
            tracing::warn!(%error, "the ledger was not read");
            Read::Unavailable
        }
    };
    // An error means that the driver has ended.
    drop(done.send(Input::Read(op, read)));
}

async fn write(
    store: RaftStore,
    (op, expected, ledger): (OpId, Expected, Arc<Ledger>),
    done: mpsc::UnboundedSender<Input>,
) {
    let (Some(key), Ok(bytes)) = (key(), ledger.encode()) else { return };
    let write = Write { key, expected, value: Some(bytes.into()) };
    let written = match store.write(write).await {
        Ok(revision) => Written::Done(revision),
        Err(StoreError::Conflict { .. }) => Written::Conflict,
        Err(error) => {
            tracing::warn!(%error, "the ledger was not written");
            Written::Unavailable
        }
    };
    // An error means that the driver has ended.
    drop(done.send(Input::Written(op, written)));
}

/// Follows the ledger as this node's store has it.
async fn follow(store: RaftStore, done: mpsc::UnboundedSender<Input>) {
    let Some(key) = key() else { return };
    let mut after = Revision::ZERO;
    loop {
        let entry = store.local_get(&key).filter(|entry| entry.revision > after);
        if let Some(entry) = entry {
            after = entry.revision;
            if let Some(ledger) = decode(&entry.value)
                && done.send(Input::Ledger(Arc::new(ledger))).is_err()
            {
                return;
            }
        }
        let next = store.next_change(LEDGER_KEY, after).await;
        match next {
            Ok(_) => {}
            Err(StoreError::Compacted { .. }) => {
                let (_, revision) = store.local_list(LEDGER_KEY);
                after = after.max(revision);
            }
            Err(_) => {
                if ha_core::driver::pause(FOLLOW_AGAIN).await.is_err() {
                    return;
                }
            }
        }
    }
}

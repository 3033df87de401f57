//! The decision: what is asked of which device when.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use ha_core::effect::Effect;
use ha_core::id::{NodeName, OpId};
use ha_core::machine::Machine;
use ha_core::time::Instant;

use super::job::{Job, State, Task};
use super::request::{Answer, Ask, Call, CallError, CallId, Outcome, Report, Request};
use crate::fence::topology::{DeviceRules, HostCheck, Topology};
use crate::fence::{Evidence, FenceAction, Power};

/// How often a device is asked whether the power is off, after it said so.
const LOOKS: u32 = 5;
/// The time between two of these questions.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// How many reports are kept; Pacemaker keeps 500.
const HISTORY: usize = 500;

/// What happens to a [`Runner`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Input {
    /// A request. One for the same node and action as one under way is merged with it; one for
    /// another action on the node waits for its end.
    Submit(Request),
    /// A request is taken back. What others want as well goes on; an action at work is dropped,
    /// with an effect that is unknown.
    Cancel(OpId),
    /// A device has answered.
    Done(CallId, Result<Answer, CallError>),
}

/// What a [`Runner`] wants done, and says.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a driver that leaves one out leaves nodes unfenced")]
pub enum Output {
    /// Drop a call: nobody waits for its answer any more.
    Abort(CallId),
    /// Ask a device.
    Call(Call),
    /// Requests have ended.
    Ended(Report),
    /// A request was refused: too many are under way, or its id is in use.
    Refused(OpId),
}

/// Carries out fencing requests as a [`Topology`] has it; without I/O.
///
/// ```
/// use ha_agents::fence::{Evidence, FenceAction, Power};
/// use ha_agents::fence::runner::{Answer, Ask, Input, Outcome, Output, Request, Runner};
/// use ha_agents::fence::topology::{DeviceRules, Topology};
/// use ha_core::{id::OpId, machine::Machine, time::Instant};
///
/// let topology = Topology::builder().device("pdu", DeviceRules::new()).build()?;
/// let (mut runner, mut out, now) = (Runner::new(topology, 1), Vec::new(), Instant::ZERO);
/// let request = Request::new(OpId::FIRST, "n2".parse().unwrap(), FenceAction::Off);
/// runner.handle(now, Input::Submit(request), &mut out);
/// for answer in [Answer::Done(Evidence::Acknowledged), Answer::Power(Power::Off)] {
///     let Some(Output::Call(call)) = out.pop() else { panic!() };
///     runner.handle(now, Input::Done(call.id, Ok(answer)), &mut out);
/// }
/// let Some(Output::Ended(report)) = out.pop() else { panic!() };
/// let (evidence, devices) = (Evidence::VerifiedOff, vec!["pdu".to_owned()]);
/// assert_eq!(report.outcome, Outcome::Done { evidence, devices });
/// # Ok::<(), ha_core::config::ConfigError>(())
/// ```
#[derive(Debug)]
pub struct Runner {
    topology: Topology,
    now: Instant,
    jobs: BTreeMap<u64, Job>,
    numbers: u64,
    busy: BTreeMap<String, usize>,
    lists: BTreeMap<String, (Instant, Vec<NodeName>)>,
    history: VecDeque<Report>,
    random: u64,
}

/// What became of a job after a look at it.
enum Next {
    /// It waits.
    Wait,
    /// It has ended.
    End(Outcome),
}

impl Runner {
    /// How many different requests may be under way; more are refused.
    pub const MAX_JOBS: usize = 64;
    /// How many same requests are merged; more are refused.
    pub const MAX_MERGED: usize = 64;

    /// An idle runner; random delays come from `seed`.
    #[must_use]
    pub const fn new(topology: Topology, seed: u64) -> Self {
        Self {
            topology,
            now: Instant::ZERO,
            jobs: BTreeMap::new(),
            numbers: 0,
            busy: BTreeMap::new(),
            lists: BTreeMap::new(),
            history: VecDeque::new(),
            random: seed,
        }
    }

    /// The requests that have ended, oldest first; the last 500.
    #[must_use]
    pub fn history(&self) -> impl DoubleEndedIterator<Item = &Report> {
        self.history.iter()
    }

    /// The nodes for which something is under way, and what.
    pub fn in_flight(&self) -> impl Iterator<Item = (&NodeName, FenceAction)> {
        self.jobs.values().map(|job| (&job.request.node, job.request.action))
    }

    /// Replaces the topology; what is under way goes on by the levels that it has.
    pub fn set_topology(&mut self, topology: Topology) {
        self.topology = topology;
        self.lists.clear();
    }

    fn submit(&mut self, request: Request, out: &mut Vec<Output>) {
        let known = self.jobs.values().any(|job| job.requests.contains(&request.id));
        let room = self.jobs.len() < Self::MAX_JOBS;
        // Only the node's last job: one behind it might undo it. And none in which a device has
        // answered already: that off was before this request.
        let last = self.jobs.values_mut().rev().find(|job| job.request.node == request.node);
        let same = last.filter(|job| {
            let other = &job.request;
            (other.action, other.unfence) == (request.action, request.unfence)
                && (!request.action.fences() || job.evidence.is_empty())
        });
        match same {
            _ if known => out.push(Output::Refused(request.id)),
            Some(job) if job.requests.len() < Self::MAX_MERGED => job.requests.push(request.id),
            None if room => {
                let job = Job::new(request, &self.topology, self.now);
                self.numbers += 1;
                self.jobs.insert(self.numbers, job);
            }
            Some(_) | None => out.push(Output::Refused(request.id)),
        }
    }

    fn cancel(&mut self, id: OpId, out: &mut Vec<Output>) {
        let Some((number, job)) = self.jobs.iter_mut().find(|(_, job)| job.requests.contains(&id))
        else {
            return;
        };
        let (number, effect) = (*number, job.possible_effect());
        if job.requests.len() > 1 {
            job.requests.retain(|request| *request != id);
            out.push(Output::Ended(left(job, id, self.now)));
            return;
        }
        self.hang_up(number, out);
        self.end(number, Outcome::Cancelled { effect }, out);
    }

    /// Drops the call of a job, if it has one; its effect is unknown then.
    fn hang_up(&mut self, number: u64, out: &mut Vec<Output>) {
        let Some(job) = self.jobs.get_mut(&number) else { return };
        if let State::Calling { call, .. } = job.state {
            job.effect = job.possible_effect();
            job.state = State::Waiting;
            let device = job.tasks.front().map(|task| task.device().to_owned());
            out.push(Output::Abort(call));
            self.free(&device.unwrap_or_default());
        }
    }

    fn free(&mut self, device: &str) {
        if let Some(count) = self.busy.get_mut(device) {
            *count = count.saturating_sub(1);
        }
    }

    fn end(&mut self, number: u64, outcome: Outcome, out: &mut Vec<Output>) {
        if let Some(job) = self.jobs.remove(&number) {
            let report = job.report(self.now, outcome);
            if self.history.len() >= HISTORY {
                self.history.pop_front();
            }
            self.history.push_back(report.clone());
            out.push(Output::Ended(report));
        }
    }

    /// A device has answered, or its time is up.
    fn answer(&mut self, number: u64, ask: Ask, result: Result<Answer, CallError>) -> Option<Next> {
        let job = self.jobs.get_mut(&number)?;
        let task = job.tasks.front().cloned()?;
        let device = task.device().to_owned();
        let told = match &result {
            Ok(Answer::Done(evidence)) => Ok(evidence.to_string()),
            Ok(Answer::Power(Power::On)) => Ok("on".to_owned()),
            Ok(Answer::Power(Power::Off)) => Ok("off".to_owned()),
            Ok(Answer::Nodes(nodes)) => Ok(format!("{} nodes", nodes.len())),
            Err(error) => Err(error.why.clone()),
        };
        job.state = State::Waiting;
        job.note(self.now, &device, ask.as_str(), told);
        match (task, result) {
            (Task::Act(_, action), Ok(Answer::Done(evidence))) => {
                job.effect = if action.fences() { Effect::Unknown } else { job.effect };
                job.evidence.entry(device).or_insert(evidence);
                job.step();
            }
            (Task::Act(..), result) => return self.failed(number, &device, result.err()),
            (Task::Verify(_), Ok(Answer::Power(Power::Off))) => {
                // Who only waits for time to pass has nothing to look at: its status is its order.
                let waits = job.evidence.get(&device) == Some(&Evidence::AssumedAfterTimeout);
                let seen = Evidence::VerifiedOff;
                job.evidence
                    .insert(device, if waits { Evidence::AssumedAfterTimeout } else { seen });
                job.step();
            }
            (Task::Verify(_), Ok(Answer::Power(Power::On))) => {
                job.looks += 1;
                if job.doubtful {
                    return self.next_level(number);
                }
                if job.looks >= LOOKS {
                    let why = format!("{device} says that it is on, after an off that it did");
                    job.note(self.now, &device, "status", Err(why));
                    return self.next_level(number);
                }
                job.state = State::Pausing { until: self.now + LOOK_AGAIN };
            }
            (Task::Verify(_), _) if job.doubtful => return self.next_level(number),
            // To a verification: it cannot tell, and what its off is worth stands.
            (Task::Verify(_), _) | (Task::Check(_), Ok(Answer::Power(_))) => job.step(),
            (Task::Check(_), Ok(Answer::Nodes(nodes))) => {
                self.lists.insert(device, (self.now, nodes));
            }
            (Task::Check(_), _) => return self.unreachable(number, &device),
        }
        None
    }

    /// An action has failed: again, or the next level.
    fn failed(&mut self, number: u64, device: &str, error: Option<CallError>) -> Option<Next> {
        let job = self.jobs.get_mut(&number)?;
        let action = match job.tasks.front() {
            Some(Task::Act(_, action)) => *action,
            Some(Task::Check(_) | Task::Verify(_)) | None => return None,
        };
        if action.fences() && error.is_none_or(|error| error.effect == Effect::Unknown) {
            job.effect = Effect::Unknown;
        }
        job.attempts += 1;
        let most = self.topology.rules(device).map_or(1, |rules| rules.attempts);
        let left = job.deadline.since(self.now);
        if job.attempts < most && left >= self.topology.needed_for_retry(job.timeout) {
            return None;
        }
        if job.effect == Effect::Unknown && action == FenceAction::Off && job.verifies_next() {
            // Perhaps it was done, and only its answer lost: whether it is off is the question.
            job.step();
            job.doubtful = true;
            return None;
        }
        if job.request.action == FenceAction::Reboot && action == FenceAction::On {
            // All are off: it is fenced, and whether it comes back is another question.
            job.step();
            return None;
        }
        self.next_level(number)
    }

    /// The device does not reach the node: the next level, or, for unfencing, without it.
    fn unreachable(&mut self, number: u64, device: &str) -> Option<Next> {
        let job = self.jobs.get_mut(&number)?;
        if job.request.unfence {
            job.without(device);
            return None;
        }
        self.next_level(number)
    }

    fn next_level(&mut self, number: u64) -> Option<Next> {
        let job = self.jobs.get_mut(&number)?;
        if job.next_level(&self.topology) {
            return None;
        }
        Some(Next::End(Outcome::Failed { effect: job.effect }))
    }

    /// Goes on with a job until it waits or has ended.
    fn advance(&mut self, number: u64, out: &mut Vec<Output>) -> Next {
        loop {
            let Some(job) = self.jobs.get_mut(&number) else { return Next::Wait };
            match job.state {
                State::Calling { .. } => return Next::Wait,
                State::Pausing { until } if until > self.now => return Next::Wait,
                State::Pausing { .. } => job.state = State::Waiting,
                State::Waiting => {}
            }
            let Some(task) = job.tasks.front().cloned() else {
                // No level at all: nothing can fence it.
                let none = job.level == 0;
                let outcome =
                    if none { Outcome::Failed { effect: job.effect } } else { job.done() };
                return Next::End(outcome);
            };
            let Some(rules) = self.topology.rules(task.device()).cloned() else {
                let why = "the device is gone from the topology".to_owned();
                job.note(self.now, task.device(), "check", Err(why));
                match self.unreachable(number, task.device()) {
                    Some(next) => return next,
                    None => continue,
                }
            };
            let next = match &task {
                Task::Check(device) => self.check(number, device, &rules, out),
                Task::Act(device, action) => {
                    if self.delay(number, device, *action, &rules) {
                        continue;
                    }
                    self.call(number, device, Ask::Act(*action), &rules, out)
                }
                Task::Verify(device) => self.call(number, device, Ask::Status, &rules, out),
            };
            if let Some(next) = next {
                return next;
            }
        }
    }

    /// Looks whether the device reaches the node; asks it, if it must.
    fn check(
        &mut self,
        number: u64,
        device: &str,
        rules: &DeviceRules,
        out: &mut Vec<Output>,
    ) -> Option<Next> {
        let job = self.jobs.get_mut(&number)?;
        let reaches = match rules.host_check() {
            HostCheck::None => true,
            HostCheck::StaticList => !rules.excludes(&job.request.node),
            HostCheck::DynamicList => {
                let fresh = |(at, _): &&(Instant, Vec<NodeName>)| {
                    // One that is listed this very moment is fresh even if it expires at once.
                    *at == self.now || self.now.since(*at) < rules.list_expiry
                };
                let plug = rules.plug(&job.request.node);
                match self.lists.get(device).filter(fresh) {
                    Some((_, nodes)) => nodes.contains(&plug) || nodes.contains(&job.request.node),
                    None => return self.call(number, device, Ask::List, rules, out),
                }
            }
            HostCheck::Status => return self.call(number, device, Ask::Status, rules, out),
        };
        if reaches {
            job.step();
            return None;
        }
        let why = format!("{device} does not reach {}", job.request.node);
        job.note(self.now, device, "check", Err(why));
        self.unreachable(number, device)
    }

    /// Begins the delay before the first fencing by a device; false if there is none any more.
    fn delay(
        &mut self,
        number: u64,
        device: &str,
        action: FenceAction,
        rules: &DeviceRules,
    ) -> bool {
        let Some(job) = self.jobs.get_mut(&number) else { return false };
        if !action.fences() || job.delayed.contains(device) {
            return false;
        }
        let base = rules.base_of(&job.request.node);
        let room = rules.delay_max.saturating_sub(base);
        let first = job.delayed.is_empty();
        job.delayed.insert(device.to_owned());
        let asked = if first { job.request.delay } else { Duration::ZERO };
        let drawn = if room.is_zero() { Duration::ZERO } else { draw(&mut self.random, room) };
        let delay = base.saturating_add(drawn).saturating_add(asked);
        if delay.is_zero() {
            return false;
        }
        job.state = State::Pausing { until: self.now + delay };
        true
    }

    /// Asks a device, unless it has as much to do as it bears.
    fn call(
        &mut self,
        number: u64,
        device: &str,
        ask: Ask,
        rules: &DeviceRules,
        out: &mut Vec<Output>,
    ) -> Option<Next> {
        let job = self.jobs.get_mut(&number)?;
        let count = self.busy.entry(device.to_owned()).or_default();
        if rules.action_limit.is_some_and(|limit| *count >= limit) {
            return Some(Next::Wait);
        }
        *count += 1;
        let usual = match ask {
            Ask::Act(action) => rules.timeout_of(action),
            Ask::Status | Ask::List => rules.query_timeout,
        };
        let limit = usual.min(job.deadline.since(self.now));
        self.numbers += 1;
        let id = CallId(self.numbers);
        job.state = State::Calling { call: id, ask, ends: self.now + limit };
        let plug = rules.plug(&job.request.node);
        out.push(Output::Call(Call { id, device: device.to_owned(), plug, ask, limit }));
        Some(Next::Wait)
    }

    /// What is due now.
    fn expire(&mut self, out: &mut Vec<Output>) {
        let due = |(_, job): &(&u64, &Job)| job.wakes() <= self.now;
        let due: Vec<u64> = self.jobs.iter().filter(due).map(|(number, _)| *number).collect();
        for number in due {
            let Some(job) = self.jobs.get(&number) else { continue };
            let (state, over) = (job.state, job.deadline <= self.now);
            let device = job.tasks.front().map(|task| task.device().to_owned());
            let device = device.unwrap_or_default();
            self.hang_up(number, out);
            if over {
                let Some(job) = self.jobs.get_mut(&number) else { continue };
                let why = format!("the time of the request, {:?}, is up", job.timeout);
                job.note(self.now, &device, "wait", Err(why));
                let effect = job.effect;
                self.end(number, Outcome::Failed { effect }, out);
            } else if let State::Calling { ask, .. } = state {
                let why = format!("{device} gave no answer to {} in time", ask.as_str());
                let late = Err(CallError { why, effect: Effect::Unknown });
                if let Some(Next::End(outcome)) = self.answer(number, ask, late) {
                    self.end(number, outcome, out);
                }
            }
        }
    }

    /// Lets every job go on as far as it can; one that ends may let others go on.
    fn settle(&mut self, out: &mut Vec<Output>) {
        loop {
            let mut nodes: Vec<NodeName> = Vec::new();
            let mut ended = false;
            for number in self.jobs.keys().copied().collect::<Vec<_>>() {
                let Some(job) = self.jobs.get(&number) else { continue };
                let node = job.request.node.clone();
                if nodes.contains(&node) {
                    continue; // its turn comes after the earlier one
                }
                nodes.push(node);
                if let Next::End(outcome) = self.advance(number, out) {
                    self.end(number, outcome, out);
                    ended = true;
                }
            }
            if !ended {
                return;
            }
        }
    }
}

/// The report for one of several merged requests that is taken back.
fn left(job: &Job, id: OpId, now: Instant) -> Report {
    Report {
        requests: vec![id],
        node: job.request.node.clone(),
        action: job.request.action,
        began: job.began,
        ended: now,
        outcome: Outcome::Cancelled { effect: job.possible_effect() },
        steps: Vec::new(),
    }
}

/// A random duration from 0 to `most` (splitmix64: Steele, Lea, Flood 2014).
fn draw(state: &mut u64, most: Duration) -> Duration {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^= z >> 31;
    let most = u64::try_from(most.as_nanos()).unwrap_or(u64::MAX);
    let drawn = (u128::from(z) * (u128::from(most) + 1)) >> 64;
    Duration::from_nanos(u64::try_from(drawn).unwrap_or(most))
}

impl Machine for Runner {
    type Input = Input;
    type Output = Output;
    /// For each job the end of a call, and another call or the end; and what one input adds.
    const MAX_OUTPUTS: usize = 2 * Self::MAX_JOBS + 3;

    fn handle(&mut self, now: Instant, input: Input, out: &mut Vec<Output>) {
        self.tick(now, out);
        match input {
            Input::Submit(request) => self.submit(request, out),
            Input::Cancel(id) => self.cancel(id, out),
            Input::Done(id, result) => {
                let asked = self.jobs.iter().find_map(|(number, job)| match job.state {
                    State::Calling { call, ask, .. } if call == id => {
                        let device = job.tasks.front()?.device().to_owned();
                        Some((*number, ask, device))
                    }
                    State::Calling { .. } | State::Waiting | State::Pausing { .. } => None,
                });
                if let Some((number, ask, device)) = asked {
                    self.free(&device);
                    if let Some(Next::End(outcome)) = self.answer(number, ask, result) {
                        self.end(number, outcome, out);
                    }
                }
            }
        }
        self.settle(out);
    }

    fn tick(&mut self, now: Instant, out: &mut Vec<Output>) {
        self.now = self.now.max(now);
        if self.deadline().is_some_and(|deadline| deadline <= self.now) {
            self.expire(out);
            self.settle(out);
        }
    }

    fn deadline(&self) -> Option<Instant> {
        self.jobs.values().map(Job::wakes).min()
    }
}

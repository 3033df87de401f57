//! A request under way.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use ha_core::effect::Effect;
use ha_core::id::OpId;
use ha_core::time::Instant;

use super::request::{Ask, CallId, Outcome, Report, Request, Step};
use crate::fence::topology::Topology;
use crate::fence::{Evidence, FenceAction};

/// How many steps a report keeps.
const MAX_STEPS: usize = 64;

/// The shortest time of a request.
const SHORTEST: Duration = Duration::from_millis(1);

/// What is to be done next within a level.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Task {
    /// Find out whether the device can fence the node.
    Check(String),
    /// Act.
    Act(String, FenceAction),
    /// Look whether an off is true.
    Verify(String),
}

impl Task {
    pub(super) fn device(&self) -> &str {
        match self {
            Self::Check(device) | Self::Act(device, _) | Self::Verify(device) => device,
        }
    }
}

/// What a job waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Its turn: of the node, or of the device.
    Waiting,
    /// The end of a delay.
    Pausing { until: Instant },
    /// An answer.
    Calling { call: CallId, ask: Ask, ends: Instant },
}

/// A request, or several of the same, under way.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) request: Request,
    pub(super) requests: Vec<OpId>,
    pub(super) began: Instant,
    pub(super) deadline: Instant,
    pub(super) timeout: Duration,
    pub(super) state: State,
    levels: VecDeque<Vec<String>>,
    pub(super) level: usize,
    pub(super) tasks: VecDeque<Task>,
    /// What each device of the level has answered.
    pub(super) evidence: BTreeMap<String, Evidence>,
    /// The devices whose delay is over.
    pub(super) delayed: BTreeSet<String>,
    pub(super) attempts: u32,
    pub(super) looks: u32,
    /// Whether the off that is verified did not say that it was done.
    pub(super) doubtful: bool,
    /// Whether the node may have been fenced.
    pub(super) effect: Effect,
    steps: Vec<Step>,
}

impl Job {
    pub(super) fn new(request: Request, topology: &Topology, now: Instant) -> Self {
        let levels = if request.unfence {
            vec![topology.unfencing_of(&request.node)]
        } else {
            topology.levels_of(&request.node, &request.attributes)
        };
        let usual = || topology.timeout_of(&request.node, &levels).saturating_add(request.delay);
        // A time of nothing would be up before anything is tried, and say nothing.
        let timeout = request.timeout.unwrap_or_else(usual).max(SHORTEST);
        let mut job = Self {
            requests: vec![request.id],
            began: now,
            deadline: now + timeout,
            timeout,
            state: State::Waiting,
            levels: levels.into(),
            level: 0,
            tasks: VecDeque::new(),
            evidence: BTreeMap::new(),
            delayed: BTreeSet::new(),
            attempts: 0,
            looks: 0,
            doubtful: false,
            effect: Effect::None,
            steps: Vec::new(),
            request,
        };
        job.next_level(topology);
        job
    }

    /// Goes on with the next level; false if there is none.
    pub(super) fn next_level(&mut self, topology: &Topology) -> bool {
        self.tasks.clear();
        self.evidence.clear();
        self.rest();
        let Some(devices) = self.levels.pop_front() else { return false };
        self.level += 1;
        self.tasks.extend(devices.iter().cloned().map(Task::Check));
        let rules = |device: &String| topology.rules(device);
        let action = match (self.request.action, devices.as_slice()) {
            (FenceAction::Reboot, [device]) => {
                rules(device).map_or(FenceAction::Reboot, |rules| rules.reboot_action)
            }
            // All off before the first is on again: else one supply would always be left.
            (FenceAction::Reboot, _) => FenceAction::Off,
            (action, _) => action,
        };
        for device in &devices {
            self.tasks.push_back(Task::Act(device.clone(), action));
            let verifies = rules(device).is_some_and(|rules| rules.verifies);
            if action == FenceAction::Off && verifies {
                self.tasks.push_back(Task::Verify(device.clone()));
            }
        }
        if self.request.action == FenceAction::Reboot && devices.len() > 1 {
            self.tasks.extend(devices.into_iter().map(|device| Task::Act(device, FenceAction::On)));
        }
        true
    }

    /// The task is done: the next.
    pub(super) fn step(&mut self) {
        self.tasks.pop_front();
        self.rest();
    }

    /// Whether the task after this one is to verify it.
    pub(super) fn verifies_next(&self) -> bool {
        matches!(self.tasks.get(1), Some(Task::Verify(_)))
    }

    /// Leaves a device out.
    pub(super) fn without(&mut self, device: &str) {
        self.tasks.retain(|task| task.device() != device);
        self.rest();
    }

    fn rest(&mut self) {
        (self.attempts, self.looks, self.doubtful) = (0, 0, false);
        self.state = State::Waiting;
    }

    pub(super) fn note(
        &mut self,
        at: Instant,
        device: &str,
        ask: &'static str,
        result: Result<String, String>,
    ) {
        if self.steps.len() < MAX_STEPS {
            let (level, device) = (self.level, device.to_owned());
            self.steps.push(Step { at, level, device, ask, result });
        }
    }

    pub(super) fn wakes(&self) -> Instant {
        match self.state {
            State::Waiting => self.deadline,
            State::Pausing { until } => until.min(self.deadline),
            State::Calling { ends, .. } => ends.min(self.deadline),
        }
    }

    /// Whether the node may have been fenced, were the job dropped now.
    pub(super) const fn possible_effect(&self) -> Effect {
        match self.state {
            State::Calling { ask: Ask::Act(action), .. } if action.fences() => Effect::Unknown,
            State::Calling { .. } | State::Waiting | State::Pausing { .. } => self.effect,
        }
    }

    /// All tasks of the level are done.
    pub(super) fn done(&self) -> Outcome {
        let devices = self.evidence.keys().cloned().collect();
        let weakest = self.evidence.values().copied().min();
        Outcome::Done { evidence: weakest.unwrap_or(Evidence::Acknowledged), devices }
    }

    pub(super) fn report(self, ended: Instant, outcome: Outcome) -> Report {
        let Self { request, requests, began, steps, .. } = self;
        let (node, action) = (request.node, request.action);
        Report { requests, node, action, began, ended, outcome, steps }
    }
}

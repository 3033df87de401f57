//! Decisions carried through without doing anything, until nothing more would be done.

use std::sync::Arc;

use ha_core::time::WallTime;

use super::transition::Step;
use super::{Schedule, Scheduler, TooLarge};
use crate::cib::{
    AttributeSet, Cib, JoinState, NodeState, OperationRecord, OperationStatus, Pair, Presence,
    ResourceHistory,
};

/// What would become of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Simulation {
    /// The decisions, one after the other; the last one that did something is the last.
    pub schedules: Vec<Schedule>,
    /// The cluster afterwards.
    pub cib: Cib,
    /// Whether nothing more would be done; not so if the transitions allowed were too few.
    pub settled: bool,
}

impl Scheduler {
    /// Decides, takes all that can be done for done, and decides again, until nothing more would
    /// be done or `limit` transitions have been.
    ///
    /// What starts succeeds, what is fenced is off, what is blocked stays. Time stands still.
    ///
    /// # Errors
    ///
    /// As [`decide`](Self::decide).
    pub fn simulate(cib: &Cib, now: WallTime, limit: usize) -> Result<Simulation, TooLarge> {
        let mut simulation = Simulation { schedules: Vec::new(), cib: cib.clone(), settled: false };
        while !simulation.settled {
            let decided = Self::new().decide(&simulation.cib, now)?;
            let does = decided.transition.steps.iter().any(|step| !step.blocked && !step.gate);
            simulation.settled = !does;
            if !does || simulation.schedules.len() >= limit {
                break;
            }
            let transition = &decided.transition;
            let steps = transition.sorted().into_iter().filter_map(|at| transition.steps.get(at));
            for step in steps.filter(|step| !step.blocked && !step.gate) {
                carry_out(&mut simulation.cib, step);
            }
            simulation.schedules.push(decided);
        }
        Ok(simulation)
    }
}

fn carry_out(cib: &mut Cib, step: &Step) {
    let Some(node) = &step.node else { return };
    let state = state_of(cib, node);
    match (step.task, &step.history) {
        ("fence", _) => {
            let (id, uname) = (state.id.clone(), state.uname.clone());
            *state = NodeState { id, uname, ..NodeState::default() };
            state.in_ccm = Some(Presence::Absent);
            state.crmd = Some(Presence::Absent);
            state.join = Some(JoinState::Down);
            state.expected = Some(JoinState::Down);
        }
        ("unfence", _) => {
            let (name, value) = ("#node-unfenced".into(), Some("1".into()));
            let pairs = vec![Pair { name, value, ..Pair::default() }];
            state.attributes.insert(0, Arc::new(AttributeSet { pairs, ..AttributeSet::default() }));
        }
        (task, Some(resource)) => record(state, resource, task),
        (_, None) => {}
    }
}

fn state_of<'c>(cib: &'c mut Cib, node: &Arc<str>) -> &'c mut NodeState {
    let id = cib.nodes.iter().find(|one| one.uname.as_ref() == Some(node)).map(|one| &one.id);
    let id = id.unwrap_or(node).clone();
    let found = cib.node_states.iter().position(|state| {
        state.uname.as_ref() == Some(node)
            || (state.uname.is_none() && state.id.as_ref() == Some(&id))
    });
    let at = found.unwrap_or_else(|| {
        let uname = Some(Arc::clone(node));
        cib.node_states.push(NodeState { id: Some(id), uname, ..NodeState::default() });
        cib.node_states.len() - 1
    });
    &mut cib.node_states[at]
}

/// Writes down that an operation succeeded; what was before it no longer matters.
fn record(state: &mut NodeState, resource: &Arc<str>, task: &str) {
    // Old histories of anonymous clones have the number of an instance.
    let is_alike = |id: &str| {
        let number = id.strip_prefix(&**resource).and_then(|rest| rest.strip_prefix(':'));
        number.is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
    };
    if task == "stop" || state.resources.iter().any(|history| is_alike(&history.id)) {
        state.resources.retain(|history| !is_alike(&history.id));
    }
    let found = state.resources.iter().position(|history| history.id == *resource);
    let at = found.unwrap_or_else(|| {
        let id = Arc::clone(resource);
        state.resources.push(ResourceHistory { id, ..ResourceHistory::default() });
        state.resources.len() - 1
    });
    let done: &[&str] = match task {
        "promote" => &["start", "promote"],
        "demote" => &["start", "demote"],
        "start" => &["start"],
        _ => &["stop"],
    };
    let history = &mut state.resources[at];
    history.shutdown_lock = None;
    (history.class, history.provider, history.kind) = (None, None, None);
    history.operations = (1..)
        .zip(done)
        .map(|(call, operation)| OperationRecord {
            id: format!("{resource}_{operation}_0").into(),
            operation: (*operation).into(),
            call_id: Some(call),
            rc_code: Some(0),
            status: Some(OperationStatus::Done),
            ..OperationRecord::default()
        })
        .collect();
}

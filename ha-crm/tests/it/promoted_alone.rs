//! What a node does by itself with what is promoted on it.

use std::sync::Arc;
use std::time::Duration;

use ha_agents::executor::{Action, Answer, Output as Executed};
use ha_agents::{Outcome, Report as AgentReport};
use ha_core::id::{FencingToken, Incarnation, OpId, ResourceName, Term, ViewId};
use ha_core::machine::Machine;
use ha_core::role::Role;
use ha_core::time::Instant;
use ha_crm::Cluster;
use ha_crm::manager::{
    Command, CommandAction, Execution, Input, Manager, ManagerConfig, Message, Output, Report,
};
use ha_crm::model::{
    ClusterConfig, FenceDevice, Fencing, Operation, OperationName, Resource, VoteRules,
};
use ha_membership::{Member, Standing, View};

use super::node;

const SECOND: Duration = Duration::from_secs(1);

fn db() -> ResourceName {
    "db".parse().expect("a name")
}

fn cluster() -> ClusterConfig {
    let names = || (0..3).map(node);
    let monitor = Operation::new(OperationName::Monitor).interval(SECOND);
    Cluster::builder()
        .nodes(names())
        .quorum(VoteRules::majority())
        .fencing(Fencing::device("switch", FenceDevice::new("fence_test", names())))
        .at_most_one(Resource::new(db(), "test").operation(monitor).promotable())
        .build()
        .expect("valid")
}

/// The node n0, led by n1.
struct Node {
    manager: Manager,
    now: Instant,
    commands: u64,
    out: Vec<Output>,
}

impl Node {
    /// It has quorum for ten seconds, if it hears nothing more.
    fn new() -> Self {
        let now = Instant::from_secs(1_000);
        let config = ManagerConfig::builder(node(0), cluster()).build().expect("valid");
        let mut this =
            Self { manager: Manager::new(config, now), now, commands: 0, out: Vec::new() };
        this.give(Input::Quorum(Some(now + 10 * SECOND)));
        let member = Member { incarnation: Incarnation::new(1), standing: Standing::Alive };
        let members = (0..3).map(|index| (node(index), member));
        this.give(Input::View(Arc::new(View::new(ViewId::new(1), members, true))));
        this
    }

    fn give(&mut self, input: Input) {
        self.manager.handle(self.now, input, &mut self.out);
    }

    fn wait(&mut self, span: Duration) {
        self.now += span;
        self.manager.tick(self.now, &mut self.out);
    }

    /// What the leader orders; returns what the executor is given.
    fn order(&mut self, action: CommandAction) -> Execution {
        self.commands += 1;
        let command = serde_json::json!({
            "term": 1, "life": 1, "op": OpId::new(1 << 32 | self.commands), "resource": db(),
            "definition": cluster().resources()[&db()], "action": action,
        });
        let command: Command = serde_json::from_value(command).expect("a command");
        self.give(Input::Heard(node(1), Message::Command(Box::new(command))));
        self.executed().expect("it obeys")
    }

    /// The next operation that is no recurring monitor.
    fn executed(&mut self) -> Option<Execution> {
        let once = |output: &Output| matches!(output, Output::Execute(given) if given.order.context.interval.is_none());
        let at = self.out.iter().position(once)?;
        let Output::Execute(execution) = self.out.remove(at) else { return None };
        Some(*execution)
    }

    fn end(&mut self, execution: &Execution, outcome: Outcome) {
        let order = &execution.order;
        let (op, resource, action) = (order.op(), order.resource().clone(), order.action);
        let answer = Answer::Report(AgentReport::from(outcome));
        self.give(Input::Executed(Executed::Ended { op, resource, action, answer, failures: 0 }));
    }

    fn does(&mut self, action: CommandAction) {
        let execution = self.order(action);
        self.end(&execution, Outcome::Success);
    }

    /// Started and promoted.
    fn promoted() -> Self {
        let mut this = Self::new();
        this.does(CommandAction::Start { token: FencingToken::new(1) });
        this.does(CommandAction::Promote { token: FencingToken::new(2) });
        this
    }

    fn fences_itself(&self) -> bool {
        self.out.iter().any(|output| matches!(output, Output::SelfFence { .. }))
    }

    /// The last report to the leader.
    fn report(&self) -> &Report {
        let reports = self.out.iter().rev().filter_map(|output| {
            let Output::Send { message: Message::Report(report), .. } = output else { return None };
            Some(&**report)
        });
        reports.into_iter().next().expect("a report")
    }
}

fn stop_within() -> Duration {
    let config = ManagerConfig::builder(node(0), cluster()).build().expect("valid");
    config.stop_within()
}

#[test]
fn without_quorum_it_is_demoted_in_time_and_the_copy_goes_on() {
    let mut n0 = Node::promoted();
    n0.wait(10 * SECOND);
    let demote = n0.executed().expect("at once");
    assert_eq!(demote.order.action, Action::Demote);
    assert!(demote.order.context.timeout <= stop_within(), "{:?}", demote.order.context.timeout);
    n0.end(&demote, Outcome::Success);
    assert_eq!(n0.executed(), None, "a copy does no harm");
    n0.wait(10 * SECOND);
    assert!(!n0.fences_itself());
}

#[test]
fn a_demote_that_fails_is_followed_by_a_stop_and_if_that_takes_too_long_the_node_fences_itself() {
    let mut n0 = Node::promoted();
    n0.wait(10 * SECOND);
    let demote = n0.executed().expect("at once");
    n0.end(&demote, Outcome::GenericError);
    let stop = n0.executed().expect("at once");
    assert_eq!(stop.order.action, Action::Stop);
    assert!(stop.order.context.timeout <= stop_within(), "{:?}", stop.order.context.timeout);
    assert!(!n0.fences_itself(), "not before its time");
    n0.wait(stop_within());
    assert!(n0.fences_itself(), "it may still be promoted");

    let mut n0 = Node::promoted();
    n0.wait(10 * SECOND);
    n0.wait(stop_within());
    assert!(n0.fences_itself(), "a demote that does not end");
}

#[test]
fn a_promotion_of_which_nothing_is_known_counts_when_quorum_is_lost() {
    for answer in [None, Some(Outcome::GenericError)] {
        let mut n0 = Node::new();
        n0.does(CommandAction::Start { token: FencingToken::new(1) });
        let promote = n0.order(CommandAction::Promote { token: FencingToken::new(2) });
        if let Some(outcome) = answer {
            n0.end(&promote, outcome);
            assert_eq!(n0.report().resources[&db()].role, Some(Role::Promoted), "it may be");
        }
        n0.wait(10 * SECOND);
        n0.wait(stop_within());
        assert!(n0.fences_itself(), "{answer:?}");
    }
    // A copy alone is no reason for that.
    let mut n0 = Node::new();
    n0.does(CommandAction::Start { token: FencingToken::new(1) });
    n0.wait(10 * SECOND);
    n0.wait(stop_within());
    assert!(!n0.fences_itself());
}

#[test]
fn nobody_is_promoted_without_quorum_whoever_asks() {
    let mut n0 = Node::new();
    n0.does(CommandAction::Start { token: FencingToken::new(1) });
    n0.wait(10 * SECOND);
    n0.commands += 1;
    let command = serde_json::json!({
        "term": 1, "life": 1, "op": OpId::new(1 << 32 | n0.commands), "resource": db(),
        "definition": cluster().resources()[&db()],
        "action": CommandAction::Promote { token: FencingToken::new(2) },
    });
    let command: Command = serde_json::from_value(command).expect("a command");
    assert_eq!(command.term, Term::new(1));
    n0.give(Input::Heard(node(1), Message::Command(Box::new(command))));
    assert_eq!(n0.executed(), None);
}

#[test]
fn a_copy_that_is_found_promoted_is_said_to_be() {
    let mut n0 = Node::new();
    n0.does(CommandAction::Start { token: FencingToken::new(1) });
    assert_eq!(n0.report().resources[&db()].role, Some(Role::Unpromoted));
    let answer = Answer::Report(AgentReport::from(Outcome::RunningPromoted));
    let (op, resource) = (OpId::new((1 << 63) + 1), db());
    n0.give(Input::Executed(Executed::Monitored { op, resource, answer, failures: 1 }));
    let known = &n0.report().resources[&db()];
    assert_eq!(known.role, Some(Role::Promoted));
    assert_eq!(known.fault, Some(OperationName::Monitor));
}

#[test]
fn a_demote_does_not_mend_what_failed_before_it() {
    let mut n0 = Node::promoted();
    let (op, resource) = (OpId::new((1 << 63) + 1), db());
    let answer = Answer::Report(AgentReport::from(Outcome::FailedPromoted));
    n0.give(Input::Executed(Executed::Monitored { op, resource, answer, failures: 1 }));
    n0.does(CommandAction::Demote);
    let known = &n0.report().resources[&db()];
    assert_eq!(known.role, Some(Role::Unpromoted));
    assert_eq!(known.fault, Some(OperationName::Monitor), "it is still to be restarted");
    n0.does(CommandAction::Stop);
    n0.does(CommandAction::Start { token: FencingToken::new(3) });
    assert_eq!(n0.report().resources[&db()].fault, None);

    let mut n0 = Node::promoted();
    let demote = n0.order(CommandAction::Demote);
    n0.end(&demote, Outcome::GenericError);
    assert_eq!(n0.report().resources[&db()].fault, Some(OperationName::Demote));
    n0.does(CommandAction::Demote);
    assert_eq!(n0.report().resources[&db()].fault, None, "that is made good");
}

#[test]
fn a_probe_that_failed_has_not_found_it_to_be_a_copy() {
    for (outcome, role) in [
        (Outcome::GenericError, Role::Promoted),
        (Outcome::FailedPromoted, Role::Promoted),
        (Outcome::Success, Role::Unpromoted),
        (Outcome::NotRunning, Role::Stopped),
    ] {
        let mut n0 = Node::new();
        let probe = n0.order(CommandAction::Probe);
        n0.end(&probe, outcome);
        assert_eq!(n0.report().resources[&db()].role, Some(role), "{outcome:?}");
    }
}

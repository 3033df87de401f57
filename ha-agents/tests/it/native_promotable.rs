//! Servers with a primary and copies, in memory.

use std::sync::Arc;

use ha_agents::native::{Dummy, MemoryReplication, Promotable, ReplicationStatus};
use ha_agents::{Check, OpContext, Outcome, Report, ResourceAgent};
use ha_core::role::Role;

use super::{block_on, context};

type Server = Promotable<Arc<Dummy>, MemoryReplication>;

fn server(offline: bool) -> (Arc<Dummy>, MemoryReplication, Server) {
    let (dummy, replication) = (Arc::new(Dummy::new()), MemoryReplication::new().offline(offline));
    let agent = Promotable::new(Arc::clone(&dummy), replication.clone());
    (dummy, replication, agent)
}

async fn look(agent: &Server, role: Role) -> Report {
    let check = Check { depth: 0, role: Some(role) };
    agent.monitor(&context(), check).await.expect("an answer")
}

fn promoted_elsewhere(node: &str) -> OpContext {
    let context = context().meta("notify-type", "post").meta("notify-operation", "promote");
    context.meta("notify-promote-uname", node).meta("on-node", "n1")
}

#[test]
fn a_server_goes_through_all_roles_and_each_step_may_be_repeated() {
    block_on(async {
        for offline in [false, true] {
            let (dummy, _, agent) = server(offline);
            let context = context();
            for result in [agent.promote(&context).await, agent.demote(&context).await] {
                assert_eq!(result.expect("an answer").outcome, Outcome::NotRunning);
            }
            for _ in 0..2 {
                let report = agent.start(&context).await.expect("an answer");
                assert_eq!(report.outcome, Outcome::Success, "{report:?}");
                assert_eq!(look(&agent, Role::Unpromoted).await.outcome, Outcome::Success);
            }
            for _ in 0..2 {
                let report = agent.promote(&context).await.expect("an answer");
                assert_eq!(report.outcome, Outcome::Success, "{report:?}");
                assert_eq!(look(&agent, Role::Promoted).await.outcome, Outcome::RunningPromoted);
            }
            let report = agent.start(&context).await.expect("an answer");
            assert_eq!(report.outcome, Outcome::GenericError, "it is no copy: {report:?}");
            assert!(report.reason.contains("not become unpromoted"), "{report:?}");
            assert_eq!(look(&agent, Role::Promoted).await.outcome, Outcome::RunningPromoted);
            for _ in 0..2 {
                let report = agent.demote(&context).await.expect("an answer");
                assert_eq!(report.outcome, Outcome::Success, "{report:?}");
                assert_eq!(look(&agent, Role::Unpromoted).await.outcome, Outcome::Success);
            }
            let stops = dummy.calls().iter().filter(|call| **call == "stop").count();
            assert_eq!(stops, usize::from(offline), "restarted only where that is needed");
            for _ in 0..2 {
                let report = agent.stop(&context).await.expect("an answer");
                assert_eq!(report.outcome, Outcome::Success);
            }
            assert_eq!(look(&agent, Role::Stopped).await.outcome, Outcome::NotRunning);
        }
    });
}

#[test]
fn copies_follow_whom_the_cluster_promotes_and_the_primary_nobody() {
    block_on(async {
        for offline in [false, true] {
            let (_, replication, agent) = server(offline);
            let agent = agent.primary("vip");
            agent.start(&context()).await.expect("an answer");
            assert_eq!(replication.followed().as_deref(), Some("vip"));
            let other = promoted_elsewhere("n2").meta("notify-type", "pre");
            agent.notify(&other).await.expect("an answer");
            assert_eq!(replication.followed().as_deref(), Some("vip"), "not done yet");
            let report = agent.notify(&promoted_elsewhere("n2 n3")).await.expect("an answer");
            assert_eq!(report, Report::success());
            assert_eq!(replication.followed().as_deref(), Some("n2"));
            agent.promote(&context()).await.expect("an answer");
            agent.notify(&promoted_elsewhere("n3")).await.expect("an answer");
            assert_eq!(look(&agent, Role::Promoted).await.outcome, Outcome::RunningPromoted);
            agent.demote(&context()).await.expect("an answer");
            assert_eq!(replication.followed().as_deref(), Some("n3"));
            let own = context().meta("notify-promoted-uname", "n1").meta("on-node", "n1");
            agent.promote(&own).await.expect("an answer");
            agent.demote(&own).await.expect("an answer");
            assert_eq!(replication.followed(), None, "not itself");
        }
    });
}

#[test]
fn what_the_server_says_is_believed_and_not_what_it_was_told() {
    block_on(async {
        let (_, replication, agent) = server(false);
        replication.deaf(true);
        let report = agent.start(&context()).await.expect("an answer");
        assert_eq!(report.outcome, Outcome::GenericError, "it is still a primary: {report:?}");
        replication.deaf(false);
        agent.stop(&context()).await.expect("an answer");
        agent.start(&context()).await.expect("an answer");
        replication.deaf(true);
        let report = agent.promote(&context()).await.expect("an answer");
        assert!(report.reason.contains("not become promoted"), "{report:?}");

        replication.answer(Err(Report::new(Outcome::NotRunning, "refused")));
        assert_eq!(look(&agent, Role::Unpromoted).await.outcome, Outcome::GenericError);
        assert_eq!(look(&agent, Role::Promoted).await.outcome, Outcome::FailedPromoted);
        let doubt = Some("far behind".to_owned());
        replication.answer(Ok(ReplicationStatus { promoted: false, score: Some(7), doubt }));
        let report = look(&agent, Role::Unpromoted).await;
        assert_eq!((report.outcome, report.promotion), (Outcome::Degraded, Some(7)));
    });
}

//! The agent for floating addresses, on a place in memory; ha-crm's tests have the real one.

use std::time::Duration;

use ha_agents::native::{Address, MemoryAddress};
use ha_agents::{Check, Outcome, Report, ResourceAgent};
use ha_core::driver::pause;

use super::{block_on, context};

async fn probe(agent: &Address) -> Outcome {
    agent.monitor(&context(), Check::PROBE).await.expect("an answer").outcome
}

#[test]
fn it_is_there_exactly_while_it_is_started_and_announced_again() {
    block_on(async {
        let place = MemoryAddress::new("192.0.2.10/24 on eth0");
        let agent = Address::new(place.clone());
        for _ in 0..2 {
            assert_eq!(agent.stop(&context()).await.expect("an answer"), Report::success());
            assert_eq!(probe(&agent).await, Outcome::NotRunning);
        }
        for _ in 0..2 {
            assert_eq!(agent.start(&context()).await.expect("an answer"), Report::success());
            assert!(place.is_there());
            assert_eq!(probe(&agent).await, Outcome::Success);
        }
        while place.announcements() < 4 {
            pause(Duration::from_millis(5)).await.expect("a timer");
        }
        // Another life of the program finds it.
        let next = Address::new(place.clone());
        assert_eq!(probe(&next).await, Outcome::Success);
        next.stop(&context()).await.expect("an answer");
        assert!(!place.is_there());
    });
}

#[test]
fn what_is_another_programs_is_left_alone_and_what_is_mute_does_not_stay() {
    block_on(async {
        let place = MemoryAddress::new("192.0.2.10/24 on eth0");
        let agent = Address::new(place.clone());
        place.occupy(true);
        let report = agent.start(&context()).await.expect("an answer");
        assert_eq!(report.outcome, Outcome::GenericError);
        assert!(report.reason.contains("another program has put 192.0.2.10/24"), "{report:?}");
        place.occupy(false);
        place.mute(true);
        let report = agent.start(&context()).await.expect("an answer");
        assert!(report.reason.contains("cannot announce"), "{report:?}");
        assert!(!place.is_there(), "nobody could reach it");
    });
}

#[test]
fn on_an_interface_that_is_not_there_nothing_is() {
    block_on(async {
        let place = MemoryAddress::new("192.0.2.10/24 on eth9");
        let agent = Address::new(place.clone());
        place.fail(Some(Report::new(Outcome::NotInstalled, "there is no eth9")));
        assert_eq!(probe(&agent).await, Outcome::NotRunning);
        assert_eq!(agent.stop(&context()).await.expect("an answer"), Report::success());
        for report in [agent.start(&context()).await, agent.validate(&context()).await] {
            assert_eq!(report.expect("an answer").outcome, Outcome::NotInstalled);
        }
        place.fail(Some(Report::new(Outcome::NoPermission, "needs CAP_NET_ADMIN")));
        for report in [agent.stop(&context()).await, agent.start(&context()).await] {
            assert_eq!(report.expect("an answer").outcome, Outcome::NoPermission);
        }
    });
}

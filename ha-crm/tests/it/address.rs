//! Floating addresses as resources, in memory and on a real interface.

use std::net::IpAddr;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use ha_agents::{Check, OpContext, Outcome, ResourceAgent};
use ha_core::driver::pause;
use ha_core::id::OpId;
use ha_crm::address::Address;
use ha_lab::Lab;
use ha_vip::VirtualAddress;
use ha_vip::announce::MemoryAnnouncer;
use ha_vip::backend::{AddressBackend, MemoryBackend};

fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(test)
}

fn context() -> OpContext {
    OpContext::new("vip".parse().expect("a name"), OpId::FIRST)
}

fn vip() -> VirtualAddress {
    "10.77.0.100/24".parse().expect("an address")
}

#[test]
fn starts_and_stops_are_idempotent_and_announced_in_a_burst() {
    run(async {
        let backend = Arc::new(MemoryBackend::new("eth0"));
        let announcer = Arc::new(MemoryAnnouncer::default());
        let agent = Address::through(vip(), backend.clone(), announcer.clone());
        for _ in 0..2 {
            assert_eq!(agent.stop(&context()).await.expect("done").outcome, Outcome::Success);
        }
        let probe = agent.monitor(&context(), Check::PROBE).await.expect("done");
        assert_eq!(probe.outcome, Outcome::NotRunning);
        for _ in 0..2 {
            assert_eq!(agent.start(&context()).await.expect("done").outcome, Outcome::Success);
        }
        assert_eq!(backend.list().await.expect("listed"), [vip()]);
        while announcer.announced().len() < 3 {
            pause(Duration::from_millis(5)).await.expect("a timer");
        }
        let other = "10.77.0.101/24".parse().expect("an address");
        backend.add(other).await.expect("added");
        agent.stop(&context()).await.expect("done");
        assert_eq!(backend.list().await.expect("listed"), [other], "not what is not its own");
    });
}

#[test]
fn what_the_system_refuses_is_an_answer() {
    run(async {
        let backend = Arc::new(MemoryBackend::new("eth0"));
        let agent = Address::through(vip(), backend.clone(), Arc::new(MemoryAnnouncer::default()));
        agent.start(&context()).await.expect("done");
        backend.fail(true);
        for result in [
            agent.start(&context()).await,
            agent.monitor(&context(), Check::STARTED).await,
            agent.stop(&context()).await,
        ] {
            let report = result.expect("an answer");
            assert_eq!(report.outcome, Outcome::NoPermission);
            assert!(report.reason.contains("CAP_NET_ADMIN"), "{}", report.reason);
        }
    });
}

#[test]
fn a_real_interface_has_the_address_exactly_while_it_is_started() {
    ha_lab::run_test(|| {
        let lab = Lab::new().expect("a lab");
        let lan = lab.network("lan").expect("a network");
        let host = lab.host("a").and_then(|host| host.join(&lan, "10.77.0.1/24")).expect("a host");
        let vip: IpAddr = vip().ip();
        let asked = |agent: Address, what: &'static str| {
            let asked = host.run(move || {
                run(async {
                    match what {
                        "start" => agent.start(&context()).await,
                        "stop" => agent.stop(&context()).await,
                        _ => agent.monitor(&context(), Check::PROBE).await,
                    }
                })
            });
            asked.expect("the lab runs").expect("an answer")
        };
        // Each is a life of its own, that knows the leftovers of the one before.
        let agent = || Address::new("10.77.0.100/24".parse().expect("an address"), "eth0");
        assert_eq!(asked(agent(), "monitor").outcome, Outcome::NotRunning);
        let started = asked(agent(), "start");
        assert_eq!(started.outcome, Outcome::Success, "{}", started.reason);
        assert!(host.holds(vip).expect("addresses"));
        assert_eq!(asked(agent(), "start").outcome, Outcome::Success);
        assert_eq!(asked(agent(), "monitor").outcome, Outcome::Success);
        assert_eq!(asked(agent(), "stop").outcome, Outcome::Success);
        assert!(!host.holds(vip).expect("addresses"));
        assert_eq!(asked(agent(), "stop").outcome, Outcome::Success);

        let elsewhere = || Address::new("10.77.0.100/24".parse().expect("an address"), "eth9");
        assert_eq!(asked(elsewhere(), "monitor").outcome, Outcome::NotRunning);
        assert_eq!(asked(elsewhere(), "start").outcome, Outcome::NotInstalled);
        assert_eq!(asked(elsewhere(), "stop").outcome, Outcome::Success);
        // The host's own address is another's.
        let own = Address::new("10.77.0.1/24".parse().expect("an address"), "eth0");
        assert!(asked(own, "start").reason.contains("another program"));
        let own = Address::new("10.77.0.1/24".parse().expect("an address"), "eth0");
        asked(own, "stop");
        assert!(host.holds("10.77.0.1".parse().expect("an address")).expect("addresses"));
    });
}

/// Set in a test that was started again as a process of its own.
const ALONE: &str = "HA_CRM_TEST_ALONE";

#[test]
fn an_address_that_cannot_be_looked_for_is_not_stopped() {
    let name = "address::an_address_that_cannot_be_looked_for_is_not_stopped";
    if std::env::var_os(ALONE).is_none() {
        // The limit of open files is that of a whole process.
        let mut again = Command::new("/proc/self/exe");
        let again = again.args([name, "--exact", "--nocapture"]).env(ALONE, "1").output();
        let again = again.expect("started");
        assert!(again.status.success(), "{}", String::from_utf8_lossy(&again.stderr));
        return assert!(String::from_utf8_lossy(&again.stdout).contains("1 passed"));
    }
    run(async {
        let files = rustix::process::Resource::Nofile;
        let usual = rustix::process::getrlimit(files);
        let none = rustix::process::Rlimit { current: Some(0), ..usual };
        let agent = Address::new(vip(), "lo");
        rustix::process::setrlimit(files, none).expect("lowered");
        let looked = agent.monitor(&context(), Check::PROBE).await;
        let stopped = agent.stop(&context()).await;
        rustix::process::setrlimit(files, usual).expect("raised again");
        for result in [looked, stopped] {
            let report = result.expect("an answer");
            assert_eq!(report.outcome, Outcome::GenericError, "{}", report.reason);
            assert!(report.reason.contains("could not be asked"), "{}", report.reason);
        }
        let probe = agent.monitor(&context(), Check::PROBE).await.expect("an answer");
        assert_eq!(probe.outcome, Outcome::NotRunning, "{}", probe.reason);
    });
}

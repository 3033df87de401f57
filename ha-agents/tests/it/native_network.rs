//! Symbolic links, and routes and blocked ports on a laboratory's host.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::symlink;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use ha_agents::native::{BlockPort, Protocol, Route, Symlink};
use ha_agents::registry::Registry;
use ha_agents::{Check, OpResult, Outcome, Report, ResourceAgent};
use ha_lab::{Host, Lab};

use super::{block_on, context};

/// Parameters with their values.
type Pairs = &'static [(&'static str, &'static str)];

fn succeeds(result: OpResult) {
    let report = result.expect("an answer");
    assert_eq!(report.outcome, Outcome::Success, "{report:?}");
}

async fn probe(agent: &dyn ResourceAgent) -> Outcome {
    agent.monitor(&context(), Check::PROBE).await.expect("an answer").outcome
}

/// The output of a program on the host.
fn on(host: &Host, program: &str, args: &[&str]) -> String {
    let output = host.run(|| Command::new(program).args(args).output()).expect("the lab runs");
    let output = output.expect("a program");
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).trim().to_owned()
}

#[test]
fn a_link_is_there_while_it_is_started_and_what_it_covers_comes_back() {
    block_on(async {
        let dir = tempfile::tempdir().expect("a directory");
        let (link, target) = (dir.path().join("link"), dir.path().join("target"));
        let agent = Symlink::new(&link, &target);
        assert_eq!(probe(&agent).await, Outcome::NotRunning);
        succeeds(agent.stop(&context()).await);
        for _ in 0..2 {
            succeeds(agent.start(&context()).await);
            assert_eq!(probe(&agent).await, Outcome::Success);
        }
        assert_eq!(std::fs::read_link(&link).expect("a link"), target);
        for _ in 0..2 {
            succeeds(agent.stop(&context()).await);
        }
        assert!(std::fs::symlink_metadata(&link).is_err());

        symlink("/elsewhere", &link).expect("linked");
        let report = agent.start(&context()).await.expect("an answer");
        assert!(report.reason.contains("/elsewhere"), "{report:?}");
        assert_eq!(probe(&agent).await, Outcome::NotRunning);
        succeeds(agent.stop(&context()).await);
        assert!(std::fs::symlink_metadata(&link).is_ok(), "it is another's");
        std::fs::remove_file(&link).expect("removed");

        std::fs::write(&link, "precious").expect("written");
        let report = agent.start(&context()).await.expect("an answer");
        assert_eq!(report.outcome, Outcome::GenericError, "{report:?}");
        let agent = agent.backup_suffix(".orig");
        for _ in 0..2 {
            succeeds(agent.start(&context()).await);
        }
        assert_eq!(std::fs::read_link(&link).expect("a link"), target);
        for _ in 0..2 {
            succeeds(agent.stop(&context()).await);
        }
        assert_eq!(std::fs::read_to_string(&link).expect("back"), "precious");

        let lost = Symlink::new(dir.path().join("no/link"), "x");
        for result in [lost.validate(&context()).await, lost.start(&context()).await] {
            assert_eq!(result.expect("an answer").outcome, Outcome::NotInstalled);
        }
        succeeds(lost.stop(&context()).await);
    });
}

#[test]
fn a_route_is_there_while_it_is_started_and_others_are_left_alone() {
    ha_lab::run_test(|| {
        let lab = Lab::new().expect("a lab");
        let lan = lab.network("lan").expect("a network");
        let host = lab.host("a").and_then(|host| host.join(&lan, "10.77.0.1/24")).expect("a host");
        let router = "10.77.0.254".parse().expect("an address");
        let agent = Route::new("10.1.2.3".parse().expect("an address"), 16).gateway(router);
        let agent = Arc::new(agent.device("eth0").metric(50));
        let ask = |agent: Arc<dyn ResourceAgent>, what: &'static str| {
            let asked = host.run(move || {
                block_on(async {
                    match what {
                        "start" => agent.start(&context()).await,
                        "stop" => agent.stop(&context()).await,
                        _ => agent.monitor(&context(), Check::PROBE).await,
                    }
                })
            });
            asked.expect("the lab runs").expect("an answer")
        };
        let listing = || on(&host, "ip", &["route", "show"]);
        assert_eq!(ask(agent.clone(), "monitor").outcome, Outcome::NotRunning);
        for _ in 0..2 {
            assert_eq!(ask(agent.clone(), "start"), Report::success());
            assert_eq!(ask(agent.clone(), "monitor"), Report::success());
        }
        let line = "10.1.0.0/16 via 10.77.0.254 dev eth0";
        assert!(listing().contains(line) && listing().contains("metric 50"), "{}", listing());
        // Removed behind its back.
        on(&host, "ip", &["route", "del", "10.1.0.0/16"]);
        assert_eq!(ask(agent.clone(), "monitor").outcome, Outcome::NotRunning);
        // Another's route to the same network.
        let other = ["route", "add", "10.1.0.0/16", "via", "10.77.0.253", "metric", "50"];
        assert_eq!(on(&host, "ip", &other), "");
        let report = ask(agent.clone(), "start");
        assert!(report.reason.contains("another route to 10.1.0.0/16"), "{report:?}");
        for _ in 0..2 {
            assert_eq!(ask(agent.clone(), "stop"), Report::success());
        }
        assert!(listing().contains("10.77.0.253"), "left alone: {}", listing());

        // IPv6, by the interface alone, in a table of its own that does not exist before.
        let six = Route::new("2001:db8:1::".parse().expect("an address"), 48).device("eth0");
        let six = Arc::new(six.table(77));
        assert_eq!(ask(six.clone(), "monitor").outcome, Outcome::NotRunning);
        assert_eq!(ask(six.clone(), "start"), Report::success());
        let listed = on(&host, "ip", &["-6", "route", "show", "table", "77"]);
        assert!(listed.contains("2001:db8:1::/48 dev eth0"), "{listed}");
        assert_eq!(ask(six.clone(), "monitor"), Report::success());
        assert_eq!(ask(six.clone(), "stop"), Report::success());
        assert_eq!(ask(six, "monitor").outcome, Outcome::NotRunning);

        let everything = Route::new("0.0.0.0".parse().expect("an address"), 0).gateway(router);
        let everything = Arc::new(everything);
        assert_eq!(ask(everything.clone(), "start"), Report::success());
        assert!(listing().contains("default via 10.77.0.254"), "{}", listing());
        assert_eq!(ask(everything.clone(), "monitor"), Report::success());
        assert_eq!(ask(everything, "stop"), Report::success());
        assert!(!listing().contains("default"), "{}", listing());

        let lost = Route::new("10.9.0.0".parse().expect("an address"), 16).device("eth9");
        let lost = Arc::new(lost);
        assert_eq!(ask(lost.clone(), "start").outcome, Outcome::NotInstalled);
        assert_eq!(ask(lost.clone(), "monitor").outcome, Outcome::NotRunning);
        assert_eq!(ask(lost, "stop"), Report::success());
        let far = Route::new("10.9.0.0".parse().expect("an address"), 16);
        let far = Arc::new(far.gateway("10.99.0.1".parse().expect("an address")));
        let report = ask(far, "start");
        assert_eq!(report.outcome, Outcome::GenericError, "{report:?}");
        let nowhere = Arc::new(Route::new("10.9.0.0".parse().expect("an address"), 16));
        assert_eq!(ask(nowhere.clone(), "start").outcome, Outcome::NotConfigured);
        assert_eq!(ask(nowhere, "stop"), Report::success());
    });
}

#[test]
fn a_port_is_blocked_while_it_is_started_and_its_neighbour_is_not() {
    ha_lab::run_test(|| {
        if ha_lab::require_program("nft").is_none() {
            return;
        }
        let lab = Lab::new().expect("a lab");
        let lan = lab.network("lan").expect("a network");
        let host = |name, address| lab.host(name).and_then(|host| host.join(&lan, address));
        let server = host("a", "10.77.0.1/24").expect("a host");
        let client = host("b", "10.77.0.2/24").expect("a host");
        let listen = || TcpListener::bind("0.0.0.0:0").expect("a port");
        let [one, two] = server.run(|| [listen(), listen()]).expect("the lab runs");
        let port = |listener: &TcpListener| listener.local_addr().expect("an address").port();
        let reaches = |port: u16| {
            let to: SocketAddr = ([10, 77, 0, 1], port).into();
            let limit = Duration::from_millis(300);
            client
                .run(move || TcpStream::connect_timeout(&to, limit).is_ok())
                .expect("the lab runs")
        };
        let agent = BlockPort::new(Protocol::Tcp, port(&one)..=port(&one));
        let ask = |agent: &BlockPort, what: &'static str| {
            let agent = agent.clone();
            let asked = server.run(move || {
                block_on(async {
                    match what {
                        "start" => agent.start(&context()).await,
                        "stop" => agent.stop(&context()).await,
                        _ => agent.monitor(&context(), Check::PROBE).await,
                    }
                })
            });
            asked.expect("the lab runs").expect("an answer")
        };
        assert!(reaches(port(&one)) && reaches(port(&two)));
        assert_eq!(ask(&agent, "monitor").outcome, Outcome::NotRunning);
        assert_eq!(ask(&agent, "stop"), Report::success());
        for _ in 0..2 {
            assert_eq!(ask(&agent, "start"), Report::success());
            assert_eq!(ask(&agent, "monitor"), Report::success());
        }
        assert!(!reaches(port(&one)), "blocked");
        assert!(reaches(port(&two)), "not its neighbour");
        // Other settings replace the rule; those of others stay.
        assert_eq!(on(&server, "nft", &["add", "table", "inet", "others"]), "");
        let elsewhere = agent.clone().address("10.77.0.9".parse().expect("an address"));
        assert_eq!(ask(&elsewhere, "start"), Report::success());
        assert!(reaches(port(&one)));
        let here = agent.clone().address("10.77.0.1".parse().expect("an address")).reset(true);
        assert_eq!(ask(&here, "start"), Report::success());
        assert!(!reaches(port(&one)));
        // Flushed behind its back.
        on(&server, "nft", &["flush", "ruleset"]);
        assert_eq!(on(&server, "nft", &["add", "table", "inet", "others"]), "");
        assert_eq!(ask(&agent, "monitor").outcome, Outcome::NotRunning);
        assert_eq!(ask(&agent, "start"), Report::success());
        for _ in 0..2 {
            assert_eq!(ask(&agent, "stop"), Report::success());
        }
        assert!(reaches(port(&one)));
        assert_eq!(on(&server, "nft", &["list", "tables"]), "table inet others");
    });
}

#[test]
fn network_agents_are_made_from_their_parameters() {
    block_on(async {
        let registry = Registry::new();
        let check = async |agent: &str, pairs: &[(&str, &str)]| {
            let given: BTreeMap<String, String> =
                pairs.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
            let made = registry.check(&"r1".parse().expect("a name"), agent, &given).await;
            made.map(drop).map_err(|error| error.to_string())
        };
        let good: [(&str, Pairs); 5] = [
            ("native:symlink", &[("link", "/a"), ("target", "b"), ("backup_suffix", ".o")]),
            ("native:route", &[("destination", "10.0.0.0/8"), ("gateway", "192.0.2.1")]),
            ("native:route", &[("destination", "default"), ("device", "eth0"), ("family", "ip6")]),
            ("native:block-port", &[("ports", "80")]),
            ("native:block-port", &[("ports", "80-90"), ("protocol", "udp"), ("reset", "no")]),
        ];
        for (agent, pairs) in good {
            assert_eq!(check(agent, pairs).await, Ok(()), "{agent}");
        }
        let bad: [(&str, u8, Pairs); 3] = [
            ("native:symlink", 4, &[("link", "a"), ("backup_suffix", "/"), ("x", "")]),
            (
                "native:route",
                4,
                &[("destination", "10.0.0.0/33"), ("table", "x"), ("metric", "-1")],
            ),
            ("native:block-port", 3, &[("ports", "90-80"), ("protocol", "x"), ("address", "x")]),
        ];
        for (agent, wrong, pairs) in bad {
            let told = check(agent, pairs).await.expect_err("wrong");
            assert!(told.contains(&format!("{wrong} of its parameters")), "{told}");
        }
    });
}

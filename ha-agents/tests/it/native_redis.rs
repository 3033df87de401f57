//! The real Redis: a primary, a copy, and what becomes of the data.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use ha_agents::native::{Checked, NEVER, Promotable, Redis, Replication as _};
use ha_agents::registry::Registry;
use ha_agents::{Check, Outcome, Report, ResourceAgent};
use ha_core::driver::pause;
use ha_core::role::Role;

use super::native_check::free_port;
use super::{block_on, context};

const DEEP: Check = Check { depth: 20, role: Some(Role::Promoted) };

/// A server of its own directory and port; its password is `secret`.
fn config(dir: &Path) -> (String, u16) {
    let port = free_port();
    let text = format!(
        "bind 127.0.0.1\nport {port}\ndir {}\nsave \"\"\nrequirepass secret\nmasterauth secret\n\
         repl-diskless-sync-delay 0\nunixsocket {}/socket\nlogfile {}/log\n",
        dir.display(),
        dir.display(),
        dir.display()
    );
    let file = dir.join("redis.conf");
    std::fs::write(&file, text).expect("written");
    (file.display().to_string(), port)
}

fn cli(port: u16, words: &[&str]) -> String {
    let mut command = Command::new("redis-cli");
    command.args(["-p", &port.to_string(), "-a", "secret", "--no-auth-warning"]).args(words);
    let output = command.output().expect("redis-cli");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn succeeds(result: ha_agents::OpResult) {
    let report = result.expect("an answer");
    assert_eq!(report.outcome, Outcome::Success, "{report:?}");
}

async fn look(agent: &dyn ResourceAgent, check: Check) -> Report {
    agent.monitor(&context(), check).await.expect("an answer")
}

#[test]
fn data_move_from_the_primary_to_its_copy_and_live_on_with_it() {
    ha_lab::run_test(|| {
        if ha_lab::require_program("redis-server").is_none() {
            return;
        }
        block_on(async {
            let dirs = [(); 2].map(|()| tempfile::tempdir().expect("a directory"));
            let [(one, port1), (two, port2)] = [0, 1].map(|i: usize| config(dirs[i].path()));
            let client = |port: u16, other: u16| {
                Redis::new(format!("127.0.0.1:{port}")).password("secret").primary_port(other)
            };
            let first = Promotable::new(Redis::server(&one), client(port1, port2));
            let second = Promotable::new(Redis::server(&two), client(port2, port1));
            assert_eq!(look(&first, Check::PROBE).await.outcome, Outcome::NotRunning);
            for _ in 0..2 {
                succeeds(first.start(&context()).await);
            }
            let report = look(&first, Check::STARTED).await;
            assert_eq!((report.outcome, report.promotion), (Outcome::Success, Some(1)));
            let refused = cli(port1, &["SET", "key", "early"]);
            assert!(refused.starts_with("READONLY"), "no writes before the promotion: {refused}");
            for _ in 0..2 {
                succeeds(first.promote(&context()).await);
            }
            let report = look(&first, DEEP).await;
            assert_eq!((report.outcome, report.promotion), (Outcome::RunningPromoted, Some(1000)));
            assert_eq!(cli(port1, &["SET", "key", "value"]), "OK");

            let second = second.primary("127.0.0.1");
            succeeds(second.start(&context()).await);
            while cli(port2, &["GET", "key"]) != "value" {
                pause(Duration::from_millis(20)).await.expect("a timer");
            }
            let report = look(&second, DEEP).await;
            assert_eq!(report.outcome, Outcome::Success, "{report:?}");
            assert!(
                report.promotion.is_some_and(|score| (51..=100).contains(&score)),
                "{report:?}"
            );

            // The primary is lost, and its copy takes over.
            succeeds(first.stop(&context()).await);
            assert_eq!(look(&first, DEEP).await.outcome, Outcome::NotRunning);
            loop {
                let score = look(&second, Check::STARTED).await.promotion;
                if score.is_some_and(|score| (2..=50).contains(&score)) {
                    break;
                }
                pause(Duration::from_millis(20)).await.expect("a timer");
            }
            succeeds(second.promote(&context()).await);
            assert_eq!(cli(port2, &["SET", "key", "newer"]), "OK");

            // The old one comes back as a copy of the new one, told by the cluster.
            let told = context().meta("notify-promoted-uname", "127.0.0.1");
            succeeds(first.start(&told).await);
            while cli(port1, &["GET", "key"]) != "newer" {
                pause(Duration::from_millis(20)).await.expect("a timer");
            }
            succeeds(second.demote(&context()).await);
            assert!(cli(port2, &["SET", "key", "late"]).starts_with("READONLY"));
            for agent in [&first, &second] {
                for _ in 0..2 {
                    succeeds(agent.stop(&context()).await);
                }
                assert_eq!(look(agent, Check::PROBE).await.outcome, Outcome::NotRunning);
            }
        });
    });
}

#[test]
fn a_copy_that_is_too_far_behind_is_degraded_and_must_not_be_promoted() {
    ha_lab::run_test(|| {
        if ha_lab::require_program("redis-server").is_none() {
            return;
        }
        block_on(async {
            let dirs = [(); 2].map(|()| tempfile::tempdir().expect("a directory"));
            let [(one, port1), (two, port2)] = [0, 1].map(|i: usize| config(dirs[i].path()));
            let client = |port: u16| Redis::new(format!("127.0.0.1:{port}")).password("secret");
            let first = Promotable::new(Redis::server(&one), client(port1));
            let behind = client(port2).primary_port(port1).max_lag(Duration::ZERO);
            let second = Promotable::new(Redis::server(&two), behind).primary("127.0.0.1");
            succeeds(first.start(&context()).await);
            succeeds(first.promote(&context()).await);
            succeeds(second.start(&context()).await);
            while !cli(port2, &["INFO", "replication"]).contains("master_link_status:up") {
                pause(Duration::from_millis(20)).await.expect("a timer");
            }
            succeeds(first.stop(&context()).await);
            let report = loop {
                let report = look(&second, DEEP).await;
                if report.outcome != Outcome::Success {
                    break report;
                }
                pause(Duration::from_millis(50)).await.expect("a timer");
            };
            assert_eq!((report.outcome, report.promotion), (Outcome::Degraded, Some(NEVER)));
            succeeds(second.stop(&context()).await);
        });
    });
}

#[test]
fn wrong_passwords_and_hung_servers_are_told_apart() {
    ha_lab::run_test(|| {
        if ha_lab::require_program("redis-server").is_none() {
            return;
        }
        block_on(async {
            let dir = tempfile::tempdir().expect("a directory");
            let (file, port) = config(dir.path());
            let socket = dir.path().join("socket").display().to_string();
            let right = Redis::new(&socket).password("secret");
            let report = right.status(0).await.expect_err("nobody is there");
            assert_eq!(report.outcome, Outcome::NotRunning, "{report:?}");
            let agent = Checked::new(Redis::single(&file), right.clone());
            succeeds(agent.start(&context()).await);
            assert_eq!(cli(port, &["SET", "key", "value"]), "OK", "a single one takes writes");
            assert!(right.status(20).await.expect("through its socket").promoted);
            let wrong = Redis::new(&socket).password("sesame");
            let report = wrong.status(0).await.expect_err("refused");
            assert_eq!(report.outcome, Outcome::NotConfigured, "{report:?}");
            assert!(!format!("{report:?} {wrong:?}").contains("sesame"));

            let pid = agent.agent().id().await.expect("it runs").to_string();
            let kill = |signal: &str| Command::new("kill").args([signal, &pid]).status();
            assert!(kill("-STOP").expect("kill").success());
            let hurry = context().timeout(Duration::from_millis(900));
            let check = Check { depth: 10, ..Check::STARTED };
            agent.monitor(&hurry, check).await.expect_err("no answer, which is no failure");
            assert!(kill("-CONT").expect("kill").success());
            assert_eq!(look(&agent, check).await, Report::success());

            // A slow answer is waited for, also where no login comes first.
            assert_eq!(cli(port, &["CONFIG", "SET", "requirepass", ""]), "OK");
            let open = Redis::new(&socket);
            assert!(kill("-STOP").expect("kill").success());
            let slow = open.status(10);
            tokio::pin!(slow);
            tokio::select! { biased;
                early = &mut slow => panic!("nobody has answered: {early:?}"),
                late = pause(Duration::from_millis(900)) => late.expect("a timer"),
            }
            assert!(kill("-CONT").expect("kill").success());
            assert!(slow.await.expect("an answer").promoted);
            assert!(kill("-KILL").expect("kill").success());
            while look(&agent, check).await.outcome != Outcome::NotRunning {}
        });
    });
}

#[test]
fn redis_is_made_from_its_parameters() {
    ha_lab::run_test(|| {
        if ha_lab::require_program("redis-server").is_none() {
            return;
        }
        block_on(async {
            let dir = tempfile::tempdir().expect("a directory");
            let (file, port) = config(dir.path());
            let secret = dir.path().join("secret");
            std::fs::write(&secret, "secret\n").expect("written");
            let (secret, address) = (secret.display().to_string(), format!("127.0.0.1:{port}"));
            let pairs = [
                ("config", file.as_str()),
                ("address", &address),
                ("password_file", &secret),
                ("promotable", "yes"),
                ("max_lag", "10s"),
                ("stop_grace", "5s"),
            ];
            let given: BTreeMap<String, String> =
                pairs.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
            let (registry, name) = (Registry::new(), "r1".parse().expect("a name"));
            let agent = registry.resolve(&name, "native:redis", &given).await.expect("made");
            assert!(agent.metadata().promotable);
            let known: Vec<String> =
                agent.metadata().parameters.into_iter().map(|parameter| parameter.name).collect();
            assert!(given.keys().all(|name| known.contains(name)), "{known:?}");
            succeeds(agent.start(&context()).await);
            succeeds(agent.promote(&context()).await);
            assert_eq!(look(&agent, DEEP).await.outcome, Outcome::RunningPromoted);
            succeeds(agent.stop(&context()).await);
            let wrong = [("address", "here"), ("password_file", "/none"), ("max_lag", "x")];
            let wrong = wrong.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
            let error = registry.check(&name, "native:redis", &wrong).await.expect_err("wrong");
            assert!(error.to_string().contains("4 of its parameters"), "{error}");
        });
    });
}

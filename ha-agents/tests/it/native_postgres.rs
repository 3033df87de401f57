//! The real PostgreSQL: a primary, a copy, a failover, and what a killed server leaves.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use ha_agents::native::{Checked, NEVER, Postgres, PostgresServer, Promotable};
use ha_agents::registry::Registry;
use ha_agents::{Check, OpContext, OpResult, Outcome, Report, ResourceAgent};
use ha_core::driver::pause;
use ha_core::role::Role;
use tempfile::TempDir;

use super::native_check::free_port;
use super::{block_on, context, runs};

const DEEP: Check = Check { depth: 20, role: Some(Role::Promoted) };

/// The directory of PostgreSQL's programs, if it is installed.
fn programs() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = versions.map(|entry| entry.path().join("bin")).collect();
    found.retain(|path| path.join("postgres").exists());
    found.sort();
    let found = found.pop();
    if found.is_none() {
        ha_lab::skip("needs Debian's postgresql");
    }
    found
}

/// Runs a program as the user `postgres`, who owns the servers of these tests.
fn by_postgres(program: &Path, args: &[&str]) -> String {
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--init-groups", "--"]);
    let output = command.arg(program).args(args).current_dir("/").output().expect("setpriv");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{} {args:?}: {errors}", program.display());
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// A directory for servers, with a new one in it that has not been started.
struct Site {
    programs: PathBuf,
    dir: TempDir,
}

impl Site {
    fn new() -> Option<Self> {
        if rustix::process::geteuid().as_raw() != 0 {
            ha_lab::skip("must be root, to become postgres");
            return None;
        }
        let programs = programs()?;
        let dir = tempfile::tempdir().expect("a directory");
        let own = Command::new("chown").arg("postgres").arg(dir.path()).status();
        assert!(own.expect("chown").success());
        Some(Self { programs, dir })
    }

    /// Makes a server; its port.
    fn init(&self, name: &str) -> u16 {
        let data = self.data(name);
        let initdb = self.programs.join("initdb");
        by_postgres(&initdb, &["-N", "-A", "trust", "-D", &data]);
        self.configure(name)
    }

    fn configure(&self, name: &str) -> u16 {
        let port = free_port();
        let text = format!(
            "port = {port}\nlisten_addresses = '127.0.0.1'\nunix_socket_directories = '{}'\n\
             fsync = off\nlogging_collector = on\nwal_retrieve_retry_interval = 100ms\n",
            self.dir.path().display()
        );
        let file = Path::new(&self.data(name)).join("postgresql.conf");
        fs::write(file, text).expect("written");
        port
    }

    /// Makes a copy of a server that runs; its port.
    fn copy(&self, from: u16, name: &str) -> u16 {
        let basebackup = self.programs.join("pg_basebackup");
        let port = from.to_string();
        let data = self.data(name);
        by_postgres(&basebackup, &["-h", "127.0.0.1", "-p", &port, "-c", "fast", "-D", &data]);
        self.configure(name)
    }

    fn data(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    fn client(&self, name: &str, port: u16) -> Postgres {
        let host = self.dir.path().display().to_string();
        Postgres::new(host, port, self.data(name)).replication("user=postgres")
    }

    /// The answer to a query, or the error.
    fn query(&self, port: u16, query: &str) -> String {
        let mut command = Command::new(self.programs.join("psql"));
        command.args(["-h", "127.0.0.1", "-U", "postgres", "-p", &port.to_string()]);
        let output = command.args(["-Atqc", query]).output().expect("psql");
        let text = [output.stdout, output.stderr].concat();
        String::from_utf8_lossy(&text).trim().to_owned()
    }

    async fn wait_for(&self, port: u16, query: &str, answer: &str) {
        while self.query(port, query) != answer {
            pause(Duration::from_millis(50)).await.expect("a timer");
        }
    }
}

fn patient() -> OpContext {
    context().timeout(Duration::from_mins(2))
}

fn succeeds(result: OpResult) {
    let report = result.expect("an answer");
    assert_eq!(report.outcome, Outcome::Success, "{report:?}");
}

async fn look(agent: &dyn ResourceAgent, check: Check) -> Report {
    agent.monitor(&patient(), check).await.expect("an answer")
}

fn leader(data: &str) -> String {
    let text = fs::read_to_string(Path::new(data).join("postmaster.pid")).expect("it runs");
    text.lines().next().expect("a line").to_owned()
}

#[test]
fn a_copy_takes_over_and_the_old_primary_follows_it() {
    ha_lab::run_test(|| {
        let Some(site) = Site::new() else { return };
        block_on(async {
            let port1 = site.init("one");
            let first = PostgresServer::new(site.data("one"));
            let first = Promotable::new(first, site.client("one", port1));
            assert_eq!(look(&first, Check::PROBE).await.outcome, Outcome::NotRunning);
            for _ in 0..2 {
                succeeds(first.start(&patient()).await);
            }
            let report = look(&first, Check::STARTED).await;
            assert_eq!((report.outcome, report.promotion), (Outcome::Success, Some(50)));
            let refused = site.query(port1, "CREATE TABLE t (v text)");
            assert!(refused.contains("read-only"), "no writes before the promotion: {refused}");
            for _ in 0..2 {
                succeeds(first.promote(&patient()).await);
            }
            let report = look(&first, DEEP).await;
            assert_eq!((report.outcome, report.promotion), (Outcome::RunningPromoted, Some(1000)));
            assert_eq!(site.query(port1, "CREATE TABLE t AS SELECT 'old' AS v"), "");

            let port2 = site.copy(port1, "two");
            let client = site.client("two", port2).primary_port(port1);
            let second = PostgresServer::new(site.data("two"));
            let second = Promotable::new(second, client).primary("127.0.0.1");
            succeeds(second.start(&patient()).await);
            site.wait_for(port2, "SELECT count(*) FROM pg_stat_wal_receiver", "1").await;
            while look(&second, DEEP).await.promotion != Some(100) {
                pause(Duration::from_millis(50)).await.expect("a timer");
            }
            assert_eq!(site.query(port2, "SELECT v FROM t"), "old");

            // A switch-over: the old one stops cleanly, so that it can follow the new one.
            succeeds(first.stop(&patient()).await);
            while look(&second, Check::STARTED).await.promotion != Some(50) {
                pause(Duration::from_millis(50)).await.expect("a timer");
            }
            succeeds(second.promote(&patient()).await);
            assert_eq!(site.query(port2, "UPDATE t SET v = 'new'"), "");
            let old = site.client("one", port1).primary_port(port2);
            let first = Promotable::new(PostgresServer::new(site.data("one")), old);
            let told = patient().meta("notify-promoted-uname", "127.0.0.1");
            succeeds(first.start(&told).await);
            site.wait_for(port1, "SELECT v FROM t", "new").await;
            assert_eq!(look(&first, DEEP).await.outcome, Outcome::Success);

            for _ in 0..2 {
                succeeds(second.demote(&patient()).await);
            }
            assert!(site.query(port2, "UPDATE t SET v = 'late'").contains("read-only"));
            for agent in [&first, &second] {
                for _ in 0..2 {
                    succeeds(agent.stop(&patient()).await);
                }
                assert_eq!(look(agent, Check::PROBE).await.outcome, Outcome::NotRunning);
            }
        });
    });
}

#[test]
fn a_server_is_found_by_its_file_and_stopped_with_all_of_it() {
    ha_lab::run_test(|| {
        let Some(site) = Site::new() else { return };
        block_on(async {
            let port = site.init("one");
            let data = site.data("one");
            let agent = || Checked::new(PostgresServer::new(&data), site.client("one", port));
            let ours = agent();
            succeeds(ours.start(&patient()).await);
            assert_eq!(site.query(port, "CREATE TABLE t AS SELECT 1"), "", "a single one writes");
            // Another life of this program finds it, and leaves it alone.
            let next = agent();
            let deep = Check { depth: 10, ..Check::STARTED };
            assert_eq!(look(&next, deep).await, Report::success());
            let pid = leader(&data);
            succeeds(next.start(&patient()).await);
            assert_eq!(leader(&data), pid);
            // A client that stays is cut off.
            let mut psql = Command::new(site.programs.join("psql"))
                .args(["-h", "127.0.0.1", "-U", "postgres", "-p", &port.to_string()])
                .args(["-c", "SELECT pg_sleep(1000)"])
                .stderr(std::process::Stdio::null())
                .spawn()
                .expect("psql");
            let busy = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%_sleep(%' AND pid <> pg_backend_pid()";
            site.wait_for(port, busy, "1").await;
            succeeds(next.stop(&patient()).await);
            assert!(!runs(&pid));
            assert!(!psql.wait().expect("waited").success());
            assert_eq!(look(&ours, deep).await.outcome, Outcome::NotRunning);
            succeeds(ours.stop(&patient()).await);

            // A killed leader leaves workers, of which a stop leaves nobody.
            succeeds(ours.start(&patient()).await);
            let pid = leader(&data);
            let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
            let children = children.expect("its children");
            assert!(children.split_whitespace().count() > 2);
            let kill = Command::new("kill").args(["-9", &pid]).status();
            assert!(kill.expect("kill").success());
            succeeds(ours.stop(&patient()).await);
            for child in children.split_whitespace() {
                // One at its very end has neither files nor a directory any more.
                let has = fs::read_link(format!("/proc/{child}/cwd")).is_ok();
                assert!(!runs(child) || !has, "{child} is left");
            }
            assert_eq!(look(&ours, deep).await.outcome, Outcome::NotRunning);
            succeeds(ours.start(&patient()).await);
            assert_eq!(site.query(port, "SELECT * FROM t"), "1", "recovered");
            succeeds(ours.stop(&patient()).await);
        });
    });
}

#[test]
fn what_cannot_work_is_told() {
    ha_lab::run_test(|| {
        let Some(site) = Site::new() else { return };
        block_on(async {
            let none = PostgresServer::new(site.data("none"));
            let report = none.start(&context()).await.expect("an answer");
            assert_eq!(report.outcome, Outcome::NotInstalled, "{report:?}");
            succeeds(none.stop(&context()).await);
            let none = Promotable::new(none, site.client("none", 1));
            let report = none.start(&context()).await.expect("an answer");
            assert_eq!(report.outcome, Outcome::NotInstalled, "{report:?}");

            let port = site.init("one");
            let late = site.client("one", port).max_lag(Duration::ZERO);
            let agent = Promotable::new(PostgresServer::new(site.data("one")), late);
            succeeds(agent.start(&patient()).await);
            succeeds(agent.promote(&patient()).await);
            site.query(port, "CREATE TABLE t ()");
            let nobody = site.client("one", port).user("nobody");
            let nobody = Promotable::new(PostgresServer::new(site.data("one")), nobody);
            let report = look(&nobody, Check::STARTED).await;
            assert_eq!(report.outcome, Outcome::NotConfigured, "{report:?}");
            assert!(report.reason.contains("nobody"), "{report:?}");
            // It writes no more, and hears of nobody.
            let port2 = site.copy(port, "two");
            let late = site.client("two", port2).max_lag(Duration::ZERO).primary_port(port);
            let copy = Promotable::new(PostgresServer::new(site.data("two")), late);
            let copy = copy.primary("127.0.0.1");
            succeeds(copy.start(&patient()).await);
            while look(&copy, DEEP).await.promotion != Some(100) {
                pause(Duration::from_millis(50)).await.expect("a timer");
            }
            site.query(port, "INSERT INTO t DEFAULT VALUES");
            site.wait_for(port2, "SELECT count(*) FROM t", "1").await;
            succeeds(agent.stop(&patient()).await);
            loop {
                let report = look(&copy, DEEP).await;
                if report.promotion == Some(NEVER) {
                    break assert_eq!(report.outcome, Outcome::Degraded, "{report:?}");
                }
                pause(Duration::from_millis(50)).await.expect("a timer");
            }
            succeeds(copy.stop(&patient()).await);
        });
    });
}

#[test]
fn postgres_is_made_from_its_parameters() {
    ha_lab::run_test(|| {
        let Some(site) = Site::new() else { return };
        block_on(async {
            let port = site.init("one");
            let (data, host) = (site.data("one"), site.dir.path().display().to_string());
            let port = port.to_string();
            let pairs = [("data", &data), ("host", &host), ("port", &port)];
            let mut given: BTreeMap<String, String> =
                pairs.iter().map(|&(name, value)| (name.to_owned(), value.clone())).collect();
            given.insert("promotable".to_owned(), "yes".to_owned());
            let (registry, name) = (Registry::new(), "r1".parse().expect("a name"));
            let agent = registry.resolve(&name, "native:postgres", &given).await.expect("made");
            let known: Vec<String> =
                agent.metadata().parameters.into_iter().map(|parameter| parameter.name).collect();
            assert!(given.keys().all(|name| known.contains(name)), "{known:?}");
            succeeds(agent.start(&patient()).await);
            succeeds(agent.promote(&patient()).await);
            assert_eq!(look(&agent, DEEP).await.outcome, Outcome::RunningPromoted);
            succeeds(agent.stop(&patient()).await);
            let wrong = [("data", "here"), ("port", "0x"), ("max_lag", "x"), ("pgdata", "/")];
            let wrong = wrong.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
            let error = registry.check(&name, "native:postgres", &wrong).await.expect_err("wrong");
            assert!(error.to_string().contains("4 of its parameters"), "{error}");
        });
    });
}

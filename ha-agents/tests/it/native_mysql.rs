//! The real MariaDB: a primary and its copy, and a node of Galera.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use ha_agents::native::{Checked, MySql, NEVER, Promotable, Replication as _};
use ha_agents::registry::Registry;
use ha_agents::{Check, OpContext, OpResult, Outcome, Report, ResourceAgent};
use ha_core::driver::pause;
use ha_core::role::Role;

use super::native_check::free_port;
use super::{block_on, context};

const DEEP: Check = Check { depth: 20, role: Some(Role::Promoted) };
const SCHEMA: &str = "CREATE DATABASE ha; CREATE TABLE ha.beat (id INT PRIMARY KEY, at DATETIME); \
    CREATE TABLE ha.t (v TEXT); INSERT INTO ha.t VALUES ('old'); \
    CREATE USER repl@'%' IDENTIFIED BY 'it\\'s'; \
    GRANT REPLICATION SLAVE ON *.* TO repl@'%'; \
    CREATE USER app@localhost; GRANT ALL ON ha.* TO app@localhost;";
const GALERA: &str = "/usr/lib/galera/libgalera_smm.so";

/// A server of its own directory and port, not started yet; `None`: it is not installed.
fn config(dir: &Path, id: u32, more: &str) -> Option<(String, u16)> {
    ha_lab::require_program("mariadbd")?;
    let data = dir.join("data");
    let made = Command::new("mariadb-install-db")
        .args(["--no-defaults", "--auth-root-authentication-method=normal", "--user=root"])
        .args(["--skip-test-db", &format!("--datadir={}", data.display())])
        .output();
    let made = made.expect("mariadb-install-db");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let (port, at) = (free_port(), dir.display());
    let text = format!(
        "[mariadbd]\nuser=root\ndatadir={at}/data\nsocket={at}/socket\npid-file={at}/pid\n\
         port={port}\nbind-address=127.0.0.1\nserver-id={id}\nlog-bin=binlog\n\
         log-slave-updates=ON\nlog-error={at}/log\ninnodb-buffer-pool-size=16M\n\
         innodb-flush-log-at-trx-commit=0\nslave-net-timeout=2\n{more}\n"
    );
    let file = dir.join("my.cnf");
    std::fs::write(&file, text).expect("written");
    Some((file.display().to_string(), port))
}

/// The answer to statements, or the error.
fn query(dir: &Path, user: &str, statements: &str) -> String {
    let mut command = Command::new("mariadb");
    command.args(["--no-defaults", "-N", "-u", user, "-e", statements]);
    command.arg(format!("--socket={}", dir.join("socket").display()));
    let output = command.output().expect("mariadb");
    let text = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&text).trim().to_owned()
}

async fn wait_for(dir: &Path, statement: &str, answer: &str) {
    while query(dir, "root", statement) != answer {
        pause(Duration::from_millis(50)).await.expect("a timer");
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

/// Looks until the outcome is this one.
async fn comes_to(agent: &dyn ResourceAgent, outcome: Outcome) -> Report {
    loop {
        let report = look(agent, Check::STARTED).await;
        if report.outcome == outcome {
            return report;
        }
        pause(Duration::from_millis(50)).await.expect("a timer");
    }
}

/// A copy, in `copy`, that can no longer get what comes next, or cannot apply what it gets, must
/// not be promoted.
async fn breaks(agent: &dyn ResourceAgent, copy: &Path, primary: &Path) {
    let restart = |id: u8| format!("STOP SLAVE; SET GLOBAL server_id = {id}; START SLAVE");
    assert_eq!(query(copy, "root", &restart(2)), "", "its primary's");
    let report = comes_to(agent, Outcome::Degraded).await;
    assert_eq!(report.promotion, Some(NEVER));
    assert!(report.reason.contains("server ids"), "{report:?}");
    assert_eq!(query(copy, "root", &restart(1)), "");
    comes_to(agent, Outcome::Success).await;

    query(copy, "root", "SET sql_log_bin = 0; INSERT INTO ha.beat VALUES (9, NOW())");
    query(primary, "app", "INSERT INTO ha.beat VALUES (9, NOW())");
    let report = comes_to(agent, Outcome::Degraded).await;
    assert_eq!(report.promotion, Some(NEVER));
    assert!(report.reason.contains("Duplicate"), "{report:?}");
}

#[test]
fn a_copy_of_mariadb_takes_over_with_all_that_it_received() {
    ha_lab::run_test(|| {
        let folders = [(); 2].map(|()| tempfile::tempdir().expect("a directory"));
        let [dir1, dir2] = [0, 1].map(|i: usize| folders[i].path());
        let Some((one, port1)) = config(dir1, 1, "") else { return };
        let Some((two, port2)) = config(dir2, 2, "") else { return };
        block_on(async {
            let client = |port: u16, other: u16| {
                let client = MySql::new(format!("127.0.0.1:{port}")).primary_port(other);
                client.replication("repl", "it's").write("REPLACE INTO ha.beat VALUES (1, NOW())")
            };
            let first = Promotable::new(MySql::server(&one), client(port1, port2));
            assert_eq!(look(&first, Check::PROBE).await.outcome, Outcome::NotRunning);
            for _ in 0..2 {
                succeeds(first.start(&patient()).await);
            }
            assert_eq!(look(&first, Check::STARTED).await.outcome, Outcome::Success);
            assert_eq!(query(dir1, "root", "SELECT @@read_only"), "1", "before the promotion");
            for _ in 0..2 {
                succeeds(first.promote(&patient()).await);
            }
            assert_eq!(query(dir1, "root", SCHEMA), "");
            let report = look(&first, DEEP).await;
            assert_eq!((report.outcome, report.promotion), (Outcome::RunningPromoted, Some(1000)));
            assert_eq!(query(dir1, "root", "SELECT COUNT(*) FROM ha.beat"), "1", "it has written");

            let second = Promotable::new(MySql::server(&two), client(port2, port1));
            let second = second.primary("127.0.0.1");
            succeeds(second.start(&patient()).await);
            wait_for(dir2, "SELECT v FROM ha.t", "old").await;
            while look(&second, DEEP).await.promotion != Some(100) {
                pause(Duration::from_millis(50)).await.expect("a timer");
            }
            let refused = query(dir2, "app", "INSERT INTO ha.t VALUES ('early')");
            assert!(refused.contains("read-only"), "{refused}");

            // What was received and not applied yet is not lost by a promotion.
            query(dir2, "root", "STOP SLAVE SQL_THREAD");
            query(dir1, "app", "UPDATE ha.t SET v = 'new'");
            let position = query(dir1, "root", "SELECT @@gtid_current_pos");
            let received = || {
                let status = query(dir2, "root", "SHOW SLAVE STATUS\\G");
                status.lines().any(|line| line.trim() == position)
            };
            while !received() {
                pause(Duration::from_millis(50)).await.expect("a timer");
            }
            assert_eq!(query(dir2, "root", "SELECT v FROM ha.t"), "old", "not applied yet");
            succeeds(second.promote(&patient()).await);
            assert_eq!(query(dir2, "app", "SELECT v FROM ha.t"), "new");
            assert_eq!(query(dir2, "app", "UPDATE ha.t SET v = 'newer'"), "");

            // The old primary becomes its copy, with what it had written itself.
            let told = patient().meta("notify-promoted-uname", "127.0.0.1");
            for _ in 0..2 {
                succeeds(first.demote(&told).await);
            }
            wait_for(dir1, "SELECT v FROM ha.t", "newer").await;
            assert!(query(dir1, "app", "DELETE FROM ha.t").contains("read-only"));

            breaks(&first, dir1, dir2).await;
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
fn a_node_of_galera_serves_when_it_is_synced() {
    ha_lab::run_test(|| {
        if !Path::new(GALERA).exists() {
            return ha_lab::skip("needs Debian's galera-4");
        }
        let dir = tempfile::tempdir().expect("a directory");
        let (group, transfer) = (free_port(), free_port());
        let more = format!(
            "binlog-format=ROW\ndefault-storage-engine=InnoDB\ninnodb-autoinc-lock-mode=2\n\
             wsrep-on=ON\nwsrep-provider={GALERA}\nwsrep-cluster-name=test\n\
             wsrep-node-address=127.0.0.1\nwsrep-cluster-address=gcomm://127.0.0.1:{group}\n\
             wsrep-provider-options=\"gmcast.listen_addr=tcp://127.0.0.1:{group}; ist.recv_addr=127.0.0.1:{transfer}; gcache.size=8M\""
        );
        let Some((file, _)) = config(dir.path(), 1, &more) else { return };
        block_on(async {
            let socket = dir.path().join("socket").display().to_string();
            let client = MySql::new(&socket).write("CREATE DATABASE IF NOT EXISTS ha");
            let server = MySql::single(&file).arg("--wsrep-new-cluster");
            let agent = Checked::new(server, client.clone());
            for _ in 0..2 {
                succeeds(agent.start(&patient()).await);
            }
            let check = Check { depth: 10, ..Check::STARTED };
            assert_eq!(look(&agent, check).await, Report::success());
            assert!(client.status(20).await.expect("it writes").promoted);
            // As while it gives its data to another node.
            assert_eq!(query(dir.path(), "root", "SET GLOBAL wsrep_desync = ON"), "");
            let report = look(&agent, check).await;
            assert_eq!(report.outcome, Outcome::Degraded, "{report:?}");
            assert!(report.reason.contains("Galera"), "{report:?}");
            assert_eq!(query(dir.path(), "root", "SET GLOBAL wsrep_desync = OFF"), "");
            assert_eq!(look(&agent, check).await, Report::success());
            for _ in 0..2 {
                succeeds(agent.stop(&patient()).await);
            }
            assert_eq!(look(&agent, check).await.outcome, Outcome::NotRunning);
        });
    });
}

#[test]
fn mysql_is_made_from_its_parameters() {
    ha_lab::run_test(|| {
        let dir = tempfile::tempdir().expect("a directory");
        let Some((file, port)) = config(dir.path(), 7, "") else { return };
        block_on(async {
            let pairs = [
                ("config", file.as_str()),
                ("address", &format!("127.0.0.1:{port}")),
                ("args", "--max-connections=77"),
                ("promotable", "true"),
                ("write", "CREATE DATABASE IF NOT EXISTS ha"),
            ];
            let given: BTreeMap<String, String> =
                pairs.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
            let (registry, name) = (Registry::new(), "r1".parse().expect("a name"));
            let agent = registry.resolve(&name, "native:mysql", &given).await.expect("made");
            let known: Vec<String> =
                agent.metadata().parameters.into_iter().map(|parameter| parameter.name).collect();
            assert!(given.keys().all(|name| known.contains(name)), "{known:?}");
            succeeds(agent.start(&patient()).await);
            assert_eq!(query(dir.path(), "root", "SELECT @@max_connections"), "77");
            succeeds(agent.promote(&patient()).await);
            assert_eq!(look(&agent, DEEP).await.outcome, Outcome::RunningPromoted);
            let wrong = MySql::new(format!("127.0.0.1:{port}")).user("nobody").password("sesame");
            let report = wrong.status(0).await.expect_err("refused");
            assert_eq!(report.outcome, Outcome::NotConfigured, "{report:?}");
            assert!(!format!("{report:?} {wrong:?}").contains("sesame"));
            succeeds(agent.stop(&patient()).await);
            let wrong = [("config", "here"), ("address", "x"), ("max_lag", "x"), ("args", "'")];
            let wrong = wrong.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
            let error = registry.check(&name, "native:mysql", &wrong).await.expect_err("wrong");
            assert!(error.to_string().contains("4 of its parameters"), "{error}");
        });
    });
}

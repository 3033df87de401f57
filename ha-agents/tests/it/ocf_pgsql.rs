//! The real `ocf:heartbeat:pgsql` with two real servers that replicate.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use ha_core::driver::pause;

use super::mount::on_a_host_for;
use super::ocf_cluster::{Cluster, Site, kill};
use super::ocf_real::with;
use super::ocf_servers::{has_users, postgres, prepare, write};

/// How long a test may take on a busy machine.
const LIMIT: Duration = Duration::from_mins(10);
/// The same on both, as the agent looks for the primary at its own port; each has an address.
const PORT: &str = "15432";
const ADDRESSES: [&str; 2] = ["127.0.0.1", "127.0.0.2"];

/// Two servers with the same data.
struct Pair {
    bin: PathBuf,
    dir: PathBuf,
}

impl Pair {
    /// Makes both; the second is a copy of the first. Skips where that cannot be.
    fn new(dir: &Path) -> Option<Self> {
        let Some(bin) = postgres() else {
            ha_lab::skip("PostgreSQL is not here; install it (Debian: postgresql)");
            return None;
        };
        if !has_users() {
            return None;
        }
        let pair = Self { bin, dir: dir.to_owned() };
        prepare(Path::new("chown"), &["postgres:postgres", &dir.display().to_string()]);
        pair.by_postgres(&["initdb", "-A", "trust", "-N", "-D", &pair.path(0, "data")]);
        prepare(Path::new("cp"), &["-a", &pair.path(0, "data"), &pair.path(1, "data")]);
        for node in 0..2 {
            pair.configure(node);
        }
        Some(pair)
    }

    fn path(&self, node: usize, name: &str) -> String {
        self.dir.join(format!("n{}-{name}", node + 1)).display().to_string()
    }

    fn by_postgres(&self, words: &[&str]) {
        let tool = self.bin.join(words[0]).display().to_string();
        let begin = ["-u", "postgres", "--", &tool];
        prepare(Path::new("runuser"), &[&begin[..], &words[1..]].concat());
    }

    fn configure(&self, node: usize) {
        let data = self.path(node, "data");
        let text = format!(
            "unix_socket_directories = '{}'\nfsync = off\nhot_standby = on\nwal_keep_size = 64MB\n\
             wal_retrieve_retry_interval = 200ms\nwal_receiver_status_interval = 1s\n",
            self.path(node, "sockets")
        );
        write(&Path::new(&data).join("postgresql.conf"), &text);
        let hosts = "local all all trust\nhost all all 127.0.0.0/8 trust\n\
                     host replication all 127.0.0.0/8 trust\n";
        write(&Path::new(&data).join("pg_hba.conf"), hosts);
    }

    fn site(&self, node: usize, mode: &str) -> Site {
        let tool = |name: &str| self.bin.join(name).display().to_string();
        let data = self.path(node, "data");
        let context = with(&[
            ("pgctl", &tool("pg_ctl")),
            ("psql", &tool("psql")),
            ("pgdata", &data),
            ("pgport", PORT),
            ("pghost", ADDRESSES[node]),
            ("socketdir", &self.path(node, "sockets")),
            ("logfile", &self.path(node, "log")),
            ("tmpdir", &self.path(node, "tmp")),
            ("config", &format!("{data}/postgresql.conf")),
            ("rep_mode", mode),
            ("node_list", "n1 n2"),
            // Where the primary is when this one is not: there is no third.
            ("master_ip", ADDRESSES[1 - node]),
            ("primary_conninfo_opt", "connect_timeout=10"),
            ("check_wal_receiver", "true"),
        ]);
        Site { context, env: Vec::new() }
    }

    /// A cluster with both, stopped.
    async fn cluster(&self, mode: &str) -> Option<Cluster> {
        let sites = vec![self.site(0, mode), self.site(1, mode)];
        Cluster::new(&self.dir, "pgsql", 1, sites).await
    }

    /// The answer to a query, or the error.
    fn query(&self, node: usize, query: &str) -> String {
        let mut command = Command::new(self.bin.join("psql"));
        command.args(["-h", ADDRESSES[node], "-p", PORT, "-U", "postgres", "-Atqc", query]);
        let output = command.stdin(Stdio::null()).output().expect("psql");
        let text = [output.stdout, output.stderr].concat();
        String::from_utf8_lossy(&text).trim().to_owned()
    }

    async fn wait_for(&self, node: usize, query: &str, answer: &str) {
        while self.query(node, query) != answer {
            pause(Duration::from_millis(50)).await.expect("a timer");
        }
    }

    /// Kills a server.
    fn crash(&self, node: usize) {
        let file = Path::new(&self.path(node, "data")).join("postmaster.pid");
        let text = fs::read_to_string(file).expect("it runs");
        kill(&[text.lines().next().expect("a line")]);
    }

    /// Takes a new copy of the other's data, as a person does after a failover.
    fn copy_from(&self, primary: usize) {
        let node = 1 - primary;
        let data = self.path(node, "data");
        fs::remove_dir_all(&data).expect("removed");
        let words = ["pg_basebackup", "-h", ADDRESSES[primary], "-p", PORT, "-c", "fast", "-D"];
        self.by_postgres(&[&words[..], &[&data]].concat());
        self.configure(node);
        fs::remove_file(Path::new(&self.path(node, "tmp")).join("PGSQL.lock")).expect("a lock");
    }
}

/// Starts both as standbys, lets the agent find out who may be promoted, and promotes n1.
async fn begin(pair: &Pair, cluster: &mut Cluster) {
    for node in 0..2 {
        assert_eq!(cluster.probe(node).await, Some(7));
        cluster.start(node).await;
        assert_eq!(cluster.attribute(node, "r1-status").await.as_deref(), Some("HS:alone"));
        assert_eq!(cluster.score(node).await, Some(-1_000_000), "not before it was compared");
    }
    // Nobody is promoted, says crm_mon: they compare how far they are.
    cluster.monitor_until(0, "master-r1", "1000").await;
    assert!(cluster.attribute(1, "r1-xlog-loc").await.is_some());
    assert!(pair.query(0, "CREATE TABLE t (v text)").contains("read-only"));
    cluster.promote(0).await;
    assert_eq!(cluster.monitor(0).await, Some(8));
    assert_eq!(cluster.attribute(0, "r1-status").await.as_deref(), Some("PRI"));
    assert_eq!(cluster.attribute(0, "r1-data-status").await.as_deref(), Some("LATEST"));
    assert_eq!(cluster.score(0).await, Some(1000));
    assert_eq!(pair.query(0, "CREATE TABLE t AS SELECT 'old' AS v"), "");
}

#[test]
fn the_real_pgsql_replicates_and_fails_over() {
    on_a_host_for(LIMIT, async |dir| {
        let Some(pair) = Pair::new(dir) else { return };
        let Some(mut cluster) = pair.cluster("async").await else { return };
        begin(&pair, &mut cluster).await;
        // The primary sees the standby, asks crm_mon whether it is there, and speaks for it.
        cluster.monitor_until(1, "r1-status", "HS:async").await;
        let data = cluster.attribute(1, "r1-data-status").await;
        assert_eq!(data.as_deref(), Some("STREAMING|ASYNC"));
        assert_eq!(cluster.score(1).await, Some(100));
        pair.wait_for(1, "SELECT v FROM t", "old").await;
        cluster.monitor_until(0, "r1-receiver-status", "normal (master)").await;
        cluster.monitor_until(1, "r1-receiver-status", "normal").await;
        assert_eq!(cluster.probe(1).await, Some(0));
        // A probe resets the score until the primary looks again.
        assert_eq!(cluster.score(1).await, Some(-1_000_000));
        cluster.monitor_until(1, "master-r1", "100").await;

        pair.crash(0);
        assert_eq!(cluster.monitor(0).await, Some(7));
        cluster.demote(0).await;
        cluster.stop(0).await;
        assert_eq!(cluster.attribute(0, "r1-status").await.as_deref(), Some("STOP"));
        assert_eq!(cluster.score(0).await, Some(-1_000_000));
        assert_eq!(cluster.attribute(1, "r1-status").await.as_deref(), Some("HS:alone"));
        cluster.promote(1).await;
        assert_eq!(cluster.monitor(1).await, Some(8));
        assert_eq!(cluster.attribute(1, "r1-status").await.as_deref(), Some("PRI"));
        assert_eq!(cluster.attribute(0, "r1-data-status").await.as_deref(), Some("DISCONNECT"));
        assert_eq!(pair.query(1, "UPDATE t SET v = 'new'; SELECT v FROM t"), "new");

        // The old primary may have what nobody else has, and does not start by itself.
        let report = cluster.fails_to_start(0).await;
        assert!(report.reason.contains("PGSQL.lock"), "{report:?}");
        cluster.stop(0).await;
        pair.copy_from(1);
        cluster.start(0).await;
        cluster.monitor_until(0, "r1-status", "HS:async").await;
        pair.wait_for(0, "SELECT v FROM t", "new").await;

        cluster.stop(0).await;
        cluster.demote(1).await;
        assert_eq!(cluster.probe(1).await, Some(7), "to be demoted is to be stopped");
        cluster.stop(1).await;
        for node in 0..2 {
            assert_eq!(cluster.probe(node).await, Some(7));
        }
        cluster.end().await;
    });
}

#[test]
fn the_real_pgsql_waits_for_a_standby_that_is_in_step() {
    on_a_host_for(LIMIT, async |dir| {
        let Some(pair) = Pair::new(dir) else { return };
        let Some(mut cluster) = pair.cluster("sync").await else { return };
        begin(&pair, &mut cluster).await;
        cluster.monitor_until(1, "r1-status", "HS:sync").await;
        let data = cluster.attribute(1, "r1-data-status").await;
        assert_eq!(data.as_deref(), Some("STREAMING|SYNC"));
        assert_eq!(cluster.score(1).await, Some(100));
        assert_eq!(pair.query(0, "SHOW synchronous_standby_names"), "\"n2\"");
        assert_eq!(pair.query(0, "UPDATE t SET v = 'sure'"), "");
        // Without the standby the primary goes on alone, and it is said that the copy is late.
        cluster.stop(1).await;
        cluster.monitor_until(1, "r1-data-status", "DISCONNECT").await;
        assert_eq!(cluster.score(1).await, Some(-1_000_000));
        pair.wait_for(0, "SHOW synchronous_standby_names", "").await;
        assert_eq!(pair.query(0, "UPDATE t SET v = 'alone'; SELECT v FROM t"), "alone");
        cluster.demote(0).await;
        cluster.stop(0).await;
        cluster.end().await;
    });
}

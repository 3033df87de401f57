//! The real `ocf:heartbeat:galera` with three real nodes of Galera.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use ha_core::driver::pause;
use ha_lab::require_program;

use super::mount::on_a_host_for;
use super::ocf_cluster::{Cluster, Site, kill};
use super::ocf_real::with;
use super::ocf_servers::{has_users, prepare, write};

/// How long the test may take on a busy machine.
const LIMIT: Duration = Duration::from_mins(15);
const GALERA: &str = "/usr/lib/galera/libgalera_smm.so";
const NODES: usize = 3;

/// Where a node's server listens, at the usual ports.
fn address(node: usize) -> String {
    format!("127.0.0.{}", node + 1)
}

/// The directory of a node's server.
fn home(dir: &Path, node: usize) -> PathBuf {
    dir.join(format!("n{}", node + 1))
}

/// Makes a server with data of its own.
fn site(dir: &Path, node: usize) -> Site {
    let (home, address) = (home(dir, node), address(node));
    fs::create_dir(&home).expect("made");
    let path = |name: &str| home.join(name).display().to_string();
    let config = write(
        &home.join("my.cnf"),
        &format!(
            "[mysqld]\nbind-address={address}\nport=3306\nskip-name-resolve\n\
             innodb_buffer_pool_size=16M\ninnodb_log_file_size=8M\n\
             innodb_flush_log_at_trx_commit=0\nbinlog_format=ROW\ninnodb_autoinc_lock_mode=2\n\
             wsrep_on=ON\nwsrep_provider={GALERA}\nwsrep_cluster_name=test\n\
             wsrep_node_name=n{}\nwsrep_node_address={address}\nwsrep_sst_method=rsync\n\
             wsrep_cluster_address=dummy://\n\
             wsrep_provider_options=\"gmcast.listen_addr=tcp://{address}:4567; gcache.size=8M\"\n",
            node + 1
        ),
    );
    let data = path("data");
    prepare(
        &require_program("mariadb-install-db").expect("looked for"),
        &[
            "--no-defaults",
            "--auth-root-authentication-method=normal",
            "--skip-name-resolve",
            "--skip-test-db",
            "--user=mysql",
            &format!("--datadir={data}"),
        ],
    );
    prepare(Path::new("chown"), &["-R", "mysql:mysql", &home.display().to_string()]);
    let safe = require_program("mysqld_safe").expect("looked for").display().to_string();
    let all: Vec<String> = (0..NODES).map(self::address).collect();
    let map = |(node, address): (usize, &String)| format!("n{}:{address}", node + 1);
    let map: Vec<String> = all.iter().enumerate().map(map).collect();
    let context = with(&[
        ("binary", &safe),
        ("config", &config),
        ("datadir", &data),
        ("user", "mysql"),
        ("group", "mysql"),
        ("pid", &path("mysql.pid")),
        ("socket", &path("mysql.sock")),
        ("log", &path("server.err")),
        ("check_user", "root"),
        ("wsrep_cluster_address", &format!("gcomm://{}", all.join(","))),
        ("cluster_host_map", &map.join(";")),
    ]);
    // How the agent's client finds the server of this node.
    Site { context, env: vec![("MYSQL_HOST", address)] }
}

/// The answer to a query, or the error.
fn query(dir: &Path, node: usize, query: &str) -> String {
    let socket = home(dir, node).join("mysql.sock");
    let mut command = Command::new("mariadb");
    command.args(["--no-defaults", "-N", "-B", "-u", "root", "-e", query]);
    command.arg(format!("--socket={}", socket.display()));
    let output = command.stdin(Stdio::null()).output().expect("mariadb");
    let text = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&text).trim().to_owned()
}

async fn wait_for(dir: &Path, node: usize, statement: &str, answer: &str) {
    while query(dir, node, statement) != answer {
        pause(Duration::from_millis(50)).await.expect("a timer");
    }
}

/// Kills a server, and the script that would start it again.
fn crash(dir: &Path, node: usize) {
    let id = fs::read_to_string(home(dir, node).join("mysql.pid")).expect("it runs");
    let id = id.trim();
    let status = fs::read_to_string(format!("/proc/{id}/status")).expect("it runs");
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:")).expect("a parent");
    kill(&[parent.trim(), id]);
}

/// Starts all, and promotes the one that the agent takes for the best; which one that is.
async fn bootstrap(cluster: &mut Cluster) -> usize {
    for node in 0..NODES {
        assert_eq!(cluster.probe(node).await, Some(7));
        cluster.start(node).await;
        assert_eq!(cluster.probe(node).await, Some(0), "started, though no server runs");
    }
    let mut first = None;
    for node in 0..NODES {
        if cluster.attribute(node, "r1-bootstrap").await.as_deref() == Some("true") {
            assert_eq!((first, cluster.score(node).await), (None, Some(100)));
            first = Some(node);
        }
    }
    let first = first.expect("one of them is to begin");
    cluster.promote(first).await;
    assert_eq!(cluster.monitor(first).await, Some(8));
    assert_eq!(cluster.attribute(first, "r1-bootstrap").await, None);
    for node in 0..NODES {
        assert_eq!(cluster.score(node).await, Some(100), "the others may follow");
    }
    first
}

fn is_installed() -> bool {
    for program in ["mariadbd", "mariadb-install-db", "mysqld_safe", "rsync", "xmllint"] {
        if require_program(program).is_none() {
            return false;
        }
    }
    if !Path::new(GALERA).exists() {
        ha_lab::skip("needs Debian's galera-4");
        return false;
    }
    has_users()
}

#[test]
fn the_real_galera_begins_is_left_and_begins_again() {
    on_a_host_for(LIMIT, async |dir| {
        if !is_installed() {
            return;
        }
        fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).expect("permissions");
        let sites = (0..NODES).map(|node| site(dir, node)).collect();
        let Some(mut cluster) = Cluster::new(dir, "galera", NODES, sites).await else { return };
        let first = bootstrap(&mut cluster).await;
        let others: Vec<usize> = (0..NODES).filter(|&node| node != first).collect();
        // They ask crm_mon, see one that is promoted, and join it with all its data.
        for &node in &others {
            cluster.promote(node).await;
            assert_eq!(cluster.monitor(node).await, Some(8));
        }
        wait_for(dir, first, "SELECT variable_value FROM information_schema.global_status WHERE variable_name = 'wsrep_cluster_size'", "3").await;
        let table = "CREATE DATABASE ha; CREATE TABLE ha.t (id INT PRIMARY KEY, v TEXT); \
                     INSERT INTO ha.t VALUES (1, 'old')";
        assert_eq!(query(dir, first, table), "");
        for &node in &others {
            wait_for(dir, node, "SELECT v FROM ha.t", "old").await;
        }

        // One leaves, or is killed, misses something, and comes back for it.
        let leaver = others[0];
        for (crashes, value) in [(false, "newer"), (true, "newest")] {
            if crashes {
                crash(dir, leaver);
                assert_eq!(cluster.monitor(leaver).await, Some(7));
            }
            cluster.demote(leaver).await;
            assert_eq!(cluster.score(leaver).await, None);
            assert!(cluster.attribute(leaver, "r1-last-committed").await.is_some());
            cluster.stop(leaver).await;
            assert_eq!(cluster.attribute(leaver, "r1-last-committed").await, None);
            assert_eq!(cluster.probe(leaver).await, Some(7));
            assert_eq!(query(dir, first, &format!("UPDATE ha.t SET v = '{value}'")), "");
            cluster.start(leaver).await;
            assert_eq!(cluster.score(leaver).await, Some(100), "one is promoted: it may join");
            cluster.promote(leaver).await;
            assert_eq!(cluster.monitor(leaver).await, Some(8));
            wait_for(dir, leaver, "SELECT v FROM ha.t", value).await;
        }

        // All leave; the last one has all the data, and has to begin the next time.
        for node in [first, leaver, others[1]] {
            cluster.demote(node).await;
            cluster.stop(node).await;
        }
        assert_eq!(bootstrap(&mut cluster).await, others[1]);
        assert_eq!(query(dir, others[1], "SELECT v FROM ha.t"), "newest");
        for node in 0..NODES {
            if node == others[1] {
                cluster.demote(node).await;
            }
            cluster.stop(node).await;
            assert_eq!(cluster.probe(node).await, Some(7));
        }
        cluster.end().await;
    });
}

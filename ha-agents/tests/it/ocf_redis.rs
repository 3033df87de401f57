//! The real `ocf:heartbeat:redis` with two real servers that replicate.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use ha_lab::require_program;

use super::mount::on_a_host_for;
use super::ocf_cluster::{Cluster, Site};
use super::ocf_real::with;
use super::ocf_servers::write;

/// How long the test may take on a busy machine.
const LIMIT: Duration = Duration::from_mins(10);
const PORTS: [&str; 2] = ["16379", "16380"];

/// A server of its own, which finds the others by their ports.
fn site(dir: &Path, node: usize) -> Option<Site> {
    let server = require_program("redis-server")?.display().to_string();
    let client = require_program("redis-cli")?.display().to_string();
    let (home, port) = (dir.join(format!("n{}", node + 1)), PORTS[node]);
    fs::create_dir(&home).expect("made");
    let run = home.display().to_string();
    let text =
        format!("port {port}\nbind 127.0.0.1\ndir {run}\nsave \"\"\nrepl-diskless-sync no\n");
    let context = with(&[
        ("bin", &server),
        ("client_bin", &client),
        ("config", &write(&home.join("redis.conf"), &text)),
        ("rundir", &run),
        ("pidfile_name", "redis.pid"),
        ("socket_name", "redis.sock"),
        ("port", port),
        ("user", "root"),
        ("tunnel_port_map", &format!("n1:{};n2:{}", PORTS[0], PORTS[1])),
    ]);
    Some(Site { context, env: Vec::new() })
}

fn ask(node: usize, words: &[&str]) -> String {
    let mut command = Command::new("redis-cli");
    let output = command.args(["-p", PORTS[node]]).args(words).stdin(Stdio::null()).output();
    String::from_utf8_lossy(&output.expect("redis-cli").stdout).trim().to_owned()
}

/// A copy asks `crm_mon` whether anybody is promoted before it follows the one that was last.
#[test]
fn the_real_redis_finds_the_promoted_one_and_follows_it() {
    on_a_host_for(LIMIT, async |dir| {
        let sites: Option<Vec<Site>> = (0..2).map(|node| site(dir, node)).collect();
        let Some(sites) = sites else { return };
        let Some(mut cluster) = Cluster::new(dir, "redis", 1, sites).await else { return };
        cluster.start(0).await;
        assert!(cluster.score(0).await.is_some_and(|score| score > 0));
        cluster.promote(0).await;
        assert_eq!(cluster.monitor(0).await, Some(8));
        assert_eq!(ask(0, &["set", "key", "old"]), "OK");

        cluster.start(1).await;
        assert_eq!(cluster.monitor(1).await, Some(0));
        assert_eq!(ask(1, &["get", "key"]), "old", "it started with what the promoted one has");

        cluster.demote(0).await;
        assert_eq!(cluster.monitor(0).await, Some(0));
        cluster.promote(1).await;
        assert_eq!((cluster.monitor(0).await, cluster.monitor(1).await), (Some(0), Some(8)));
        // Notified of the promotion, the other follows it.
        assert_eq!(ask(1, &["set", "key", "new"]), "OK");
        assert_eq!(ask(1, &["wait", "1", "60000"]), "1");
        assert_eq!(ask(0, &["get", "key"]), "new");

        for node in 0..2 {
            cluster.stop(node).await;
            assert_eq!((cluster.probe(node).await, cluster.score(node).await), (Some(7), None));
        }
        cluster.end().await;
    });
}

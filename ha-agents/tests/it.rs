//! The tests of ha-agents that go through its public face, with real processes.
#![expect(clippy::expect_used, reason = "helpers of tests, too, may end a test")]

#[cfg(feature = "attributes")]
#[path = "it/attributes.rs"]
mod attributes;
#[cfg(feature = "attributes")]
#[path = "it/crm_mon.rs"]
mod crm_mon;
#[path = "it/device.rs"]
mod device;
#[path = "it/executor.rs"]
mod executor;
#[path = "it/executor_laws.rs"]
mod executor_laws;
#[cfg(feature = "metrics")]
#[path = "it/executor_metrics.rs"]
mod executor_metrics;
#[path = "it/executor_rules.rs"]
mod executor_rules;
#[path = "it/fence.rs"]
mod fence;
#[path = "it/fence_levels.rs"]
mod fence_levels;
#[path = "it/fence_native.rs"]
mod fence_native;
#[path = "it/fence_race.rs"]
mod fence_race;
#[path = "it/fence_runner.rs"]
mod fence_runner;
#[path = "it/hostile.rs"]
mod hostile;
#[cfg(feature = "ipmi")]
#[path = "it/ipmi.rs"]
mod ipmi;
#[path = "it/leftovers.rs"]
mod leftovers;
#[path = "it/metadata.rs"]
mod metadata;
#[path = "it/mount.rs"]
mod mount;
#[path = "it/native.rs"]
mod native;
#[path = "it/native_address.rs"]
mod native_address;
#[cfg(feature = "http")]
#[path = "it/native_check.rs"]
mod native_check;
#[path = "it/native_doubles.rs"]
mod native_doubles;
#[path = "it/native_lxc.rs"]
mod native_lxc;
#[cfg(all(feature = "http", feature = "mysql"))]
#[path = "it/native_mysql.rs"]
mod native_mysql;
#[cfg(all(feature = "nftables", feature = "route"))]
#[path = "it/native_network.rs"]
mod native_network;
#[cfg(all(feature = "http", feature = "postgres"))]
#[path = "it/native_postgres.rs"]
mod native_postgres;
#[path = "it/native_promotable.rs"]
mod native_promotable;
#[cfg(all(feature = "http", feature = "redis"))]
#[path = "it/native_redis.rs"]
mod native_redis;
#[path = "it/ocf.rs"]
mod ocf;
#[cfg(feature = "attributes")]
#[path = "it/ocf_cluster.rs"]
mod ocf_cluster;
#[cfg(feature = "attributes")]
#[path = "it/ocf_galera.rs"]
mod ocf_galera;
#[path = "it/ocf_network.rs"]
mod ocf_network;
#[cfg(feature = "attributes")]
#[path = "it/ocf_pgsql.rs"]
mod ocf_pgsql;
#[path = "it/ocf_real.rs"]
mod ocf_real;
#[cfg(feature = "attributes")]
#[path = "it/ocf_redis.rs"]
mod ocf_redis;
#[path = "it/ocf_servers.rs"]
mod ocf_servers;
#[path = "it/outcome.rs"]
mod outcome;
#[path = "it/process.rs"]
mod process;
#[path = "it/process_ready.rs"]
mod process_ready;
#[path = "it/real_stack.rs"]
mod real_stack;
#[cfg(feature = "redfish")]
#[path = "it/redfish.rs"]
mod redfish;
#[cfg(feature = "redfish")]
#[path = "it/redfish_hostile.rs"]
mod redfish_hostile;
#[path = "it/registry.rs"]
mod registry;
#[path = "it/sbd.rs"]
mod sbd;
#[path = "it/sbd_watcher.rs"]
mod sbd_watcher;
#[path = "it/ssh.rs"]
mod ssh;
#[path = "it/standards.rs"]
mod standards;
#[cfg(feature = "systemd")]
#[path = "it/systemd.rs"]
mod systemd;
#[path = "it/topology.rs"]
mod topology;
#[path = "it/trial.rs"]
mod trial;
#[path = "it/watchdog.rs"]
mod watchdog;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use ha_agents::OpContext;
use ha_core::driver::pause;
use ha_core::id::OpId;

fn context() -> OpContext {
    OpContext::new("r1".parse().expect("a name"), OpId::FIRST)
}

/// Runs a future on a runtime of its own.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(future)
}

/// Writes an executable file.
///
/// Copied by a process that has ended: were it written by us, a test that forks at that moment
/// would keep the file open for writing, and it could not be executed ("text file busy").
fn executable(path: &Path, text: &str) {
    let source = path.with_extension("source");
    std::fs::write(&source, text).expect("a script");
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(&source, mode).expect("permissions");
    let copied = std::process::Command::new("cp").args([source.as_path(), path]).status();
    assert!(copied.expect("cp").success());
}

/// Waits until `file` has a whole line, and returns what is in it; a test that hangs has failed.
async fn line_in(file: &Path) -> String {
    loop {
        match std::fs::read_to_string(file) {
            Ok(text) if text.ends_with('\n') => return text.trim().to_owned(),
            _ => pause(Duration::from_millis(2)).await.expect("a timer"),
        }
    }
}

/// Whether a process of this id runs: neither gone nor a zombie.
fn runs(id: &str) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{id}/stat")) else {
        return false;
    };
    !matches!(stat.rsplit(") ").next().and_then(|rest| rest.chars().next()), Some('Z' | 'X'))
}

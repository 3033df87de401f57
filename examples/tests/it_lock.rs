//! A command under a lease, in one process, with a store that can be cut off.
#![expect(clippy::expect_used, reason = "these are tests, and so are their helpers")]

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use ha_core::driver::pause;
use ha_core::id::{FencingToken, NodeName};
use ha_core::time::{BootClock, Clock};
use ha_examples::lock::{Ended, LOST, LockError, Plan, run};
use ha_membership::Key;
use ha_membership::lease::{Lease, LeaseError, LeaseStore, MemoryLeases};

/// Leases that cannot be renewed while the store is cut off.
#[derive(Debug, Default)]
struct Cut {
    leases: MemoryLeases,
    cut: AtomicBool,
}

#[async_trait]
impl LeaseStore for Cut {
    async fn acquire(
        &self,
        name: &Key,
        holder: &NodeName,
        ttl: Duration,
    ) -> Result<Lease, LeaseError> {
        self.leases.acquire(name, holder, ttl).await
    }
    async fn renew(&self, lease: &Lease, ttl: Duration) -> Result<Lease, LeaseError> {
        if self.cut.load(Ordering::SeqCst) {
            // As a store without a majority: no answer.
            std::future::pending::<()>().await;
        }
        self.leases.renew(lease, ttl).await
    }
    async fn release(&self, lease: Lease) -> Result<(), LeaseError> {
        self.leases.release(lease).await
    }
    async fn holder(&self, name: &Key) -> Result<Option<(NodeName, FencingToken)>, LeaseError> {
        self.leases.holder(name).await
    }
}

fn test<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(test)
}

fn plan(holder: &str, ttl: u64, wait: Duration) -> Plan {
    let (name, holder) = ("backup".parse(), holder.parse());
    let ttl = Duration::from_millis(ttl);
    Plan { name: name.expect("a key"), holder: holder.expect("a name"), ttl, wait: Some(wait) }
}

fn shell(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    command
}

fn gone(file: &Path) -> bool {
    let pid = std::fs::read_to_string(file).expect("the command wrote it");
    let status = std::fs::read_to_string(format!("/proc/{}/status", pid.trim()));
    status.map_or(true, |status| status.contains("State:\tZ"))
}

#[test]
fn a_command_runs_with_the_lease_and_its_status_is_passed_on() {
    test(async {
        let leases = Arc::new(MemoryLeases::new());
        let plan = plan("n1", 300, Duration::ZERO);
        // Longer than the time to live: it is renewed.
        let script = "sleep 0.7; test $HA_LEASE.$HA_FENCING_TOKEN = backup.1 && exit 7";
        let ended = run(leases.clone(), &plan, shell(script)).await.expect("run");
        assert_eq!(ended.status(), 7);
        let holder = leases.holder(&plan.name).await.expect("known");
        assert_eq!(holder, None, "given back");
        let ended = run(leases.clone(), &plan, shell("kill -9 $$")).await.expect("run");
        assert_eq!(ended.status(), 137);
        let missing = run(leases.clone(), &plan, Command::new("/no/such/command")).await;
        assert!(matches!(missing, Err(LockError::NotStarted { .. })));
        assert_eq!(leases.holder(&plan.name).await.expect("known"), None);
    });
}

#[test]
fn two_do_not_run_at_a_time_and_the_second_waits_or_gives_up() {
    test(async {
        let folder = tempfile::tempdir().expect("a folder");
        let leases: Arc<dyn LeaseStore> = Arc::new(MemoryLeases::new());
        let script = format!(
            "cd {} && mkdir held || exit 9; sleep 0.3; rmdir held",
            folder.path().display()
        );
        let patient = Duration::from_secs(20);
        let (first, second) = (plan("n1", 1000, patient), plan("n2", 1000, patient));
        let third = plan("n3", 1000, Duration::ZERO);
        let (a, b, c) = tokio::join!(
            run(leases.clone(), &first, shell(&script)),
            run(leases.clone(), &second, shell(&script)),
            async {
                pause(Duration::from_millis(100)).await.expect("a timer");
                run(leases.clone(), &third, shell(&script)).await
            }
        );
        assert_eq!((a.expect("run").status(), b.expect("run").status()), (0, 0));
        assert!(matches!(c, Err(LockError::NotTaken { source: LeaseError::Held { .. } })));
    });
}

#[test]
fn a_command_ends_before_a_lease_that_cannot_be_renewed() {
    test(async {
        let folder = tempfile::tempdir().expect("a folder");
        let (asked, left) = (folder.path().join("asked"), folder.path().join("left"));
        // It does not listen to SIGTERM, and neither does its own child.
        let script = format!(
            "trap 'echo > {}' TERM; (trap '' TERM; sleep 1000) & echo $! > {}; \
             while :; do sleep 0.02; done",
            asked.display(),
            left.display()
        );
        let leases = Arc::new(Cut::default());
        leases.cut.store(true, Ordering::SeqCst);
        let plan = plan("n1", 1500, Duration::ZERO);
        let begun = BootClock::new().now();
        let ended = run(leases.clone(), &plan, shell(&script)).await.expect("run");
        let took = BootClock::new().now().since(begun);
        assert_eq!((ended, ended.status()), (Ended::Lost, LOST));
        assert!(took < plan.ttl, "{took:?}");
        assert!(asked.exists(), "SIGTERM came before SIGKILL");
        while !gone(&left) {
            pause(Duration::from_millis(1)).await.expect("a timer");
        }
    });
}

#[test]
fn a_lease_that_somebody_else_has_ends_the_command_at_once() {
    test(async {
        let leases = Arc::new(MemoryLeases::new());
        let plan = plan("n1", 900, Duration::ZERO);
        let thief = async {
            pause(Duration::from_millis(50)).await.expect("a timer");
            let (holder, token) =
                leases.holder(&plan.name).await.expect("known").expect("it is held");
            let until = BootClock::new().now();
            let lease = Lease::new(plan.name.clone(), holder, token, until);
            leases.release(lease).await.expect("given back");
        };
        let (ended, ()) = tokio::join!(run(leases.clone(), &plan, shell("sleep 1000")), thief);
        assert_eq!(ended.expect("run"), Ended::Lost);
    });
}

#[test]
fn wrong_flags_are_told() {
    let lock = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_lock")).args(arguments).output();
        let output = output.expect("the program was built");
        (output.status.code(), String::from_utf8(output.stderr).expect("text"))
    };
    assert_eq!(lock(&["--", "true"]).0, Some(2));
    assert_eq!(lock(&["--name", "n"]).0, Some(2));
    assert_eq!(lock(&["--name", "n", "--ttl", "1ms", "--", "true"]).0, Some(2));
    assert_eq!(lock(&["--name", "n", "--wait", "1s", "--no-wait", "--", "true"]).0, Some(2));
    // What becomes of the command when nobody holds the lock for it.
    let (code, why) = lock(&["--child-of=1999999999", "--", "true"]);
    assert_eq!(code, Some(127));
    assert!(why.contains("is gone"), "{why}");
    let own = format!("--child-of={}", std::process::id());
    assert_eq!(lock(&[&own, "--", "sh", "-c", "exit 5"]).0, Some(5));
    assert_eq!(lock(&[&own, "--", "/no/such"]).0, Some(127));
}

//! Mounts, each test in a mount namespace of its own: that of a laboratory's host.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use ha_agents::leftovers;
use ha_agents::native::{Mount, Process};
use ha_agents::{Check, OpContext, Outcome, Report, ResourceAgent};
use ha_core::driver::pause;
use ha_lab::Lab;
use tempfile::TempDir;

use super::{block_on, context, line_in, runs};

/// Set in a test that was started again on a host.
const INSIDE: &str = "HA_AGENTS_TEST_MOUNT";
const LONG: Duration = Duration::from_mins(1);

/// Runs the test again as a process of a host, whose mounts end with it.
pub(super) fn on_a_host(test: impl AsyncFnOnce(&Path)) {
    on_a_host_for(LONG, test);
}

/// As [`on_a_host`], for a test that may take so long.
pub(super) fn on_a_host_for(limit: Duration, test: impl AsyncFnOnce(&Path)) {
    if std::env::var_os(INSIDE).is_some() {
        let dir = tempfile::tempdir().expect("a directory");
        return block_on(test(dir.path()));
    }
    if ha_lab::require_program("mount").is_none() {
        return;
    }
    let name = std::thread::current().name().expect("the test's thread").to_owned();
    ha_lab::run_test(move || {
        let lab = Lab::new().expect("a lab");
        let host = lab.host("h1").expect("a host");
        let mut command = Command::new("/proc/self/exe");
        command.args([&name, "--exact", "--nocapture", "--include-ignored"]).env(INSIDE, "1");
        let process = host.spawn(&mut command).expect("started");
        let status = process.wait(limit).expect("it ends");
        let lines: Vec<String> = process.lines().into_iter().map(|line| line.text).collect();
        let skip = format!("skipped {name}: ");
        let skipped = lines.iter().find_map(|line| line.strip_prefix(&skip));
        if let Some(why) = skipped {
            ha_lab::skip(why);
        }
        assert!(status.success(), "{status}:\n{}", lines.join("\n"));
    });
}

async fn monitor(agent: &Mount, depth: u8) -> Report {
    let check = Check { depth, ..Check::STARTED };
    agent.monitor(&context(), check).await.expect("an answer")
}

async fn starts(agent: &Mount) {
    let report = agent.start(&context()).await.expect("an answer");
    assert_eq!(report.outcome, Outcome::Success, "{}", report.reason);
}

async fn stops(agent: &Mount) {
    let report = agent.stop(&context()).await.expect("an answer");
    assert_eq!(report.outcome, Outcome::Success, "{}", report.reason);
    assert_eq!(monitor(agent, 0).await.outcome, Outcome::NotRunning);
}

fn folder(at: &Path, name: &str) -> PathBuf {
    let path = at.join(name);
    std::fs::create_dir(&path).expect("made");
    path
}

/// A process whose working directory is there.
struct Squatter(Child, TempDir);

impl Squatter {
    fn new(at: &Path, script: &str) -> Self {
        let ready = tempfile::tempdir().expect("a directory");
        let mut command = Command::new("sh");
        command.args(["-c", script]).current_dir(at).env("READY", ready.path().join("ready"));
        let child = command.stdin(Stdio::null()).spawn().expect("started");
        while !ready.path().join("ready").exists() {
            std::thread::yield_now();
        }
        Self(child, ready)
    }
}

impl Drop for Squatter {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
        assert!(self.1.path().exists());
    }
}

#[test]
fn a_file_system_is_mounted_watched_and_unmounted() {
    on_a_host(async |dir| {
        let at = folder(dir, "with a blank");
        let agent = Mount::new("ha-data", &at).fstype("tmpfs").options("size=1m,noatime");
        assert_eq!(monitor(&agent, 0).await.outcome, Outcome::NotRunning);
        stops(&agent).await;
        starts(&agent).await;
        starts(&agent).await;
        for depth in [0, 10, 20] {
            let report = monitor(&agent, depth).await;
            assert_eq!(report.outcome, Outcome::Success, "{depth}: {}", report.reason);
        }
        let other = Mount::new("other-data", &at).fstype("tmpfs");
        let report = other.start(&context()).await.expect("an answer");
        assert_eq!(report.outcome, Outcome::GenericError);
        assert!(report.reason.starts_with("ha-data (tmpfs) is mounted"), "{}", report.reason);
        assert_eq!(monitor(&other, 0).await.outcome, Outcome::GenericError);
        // What is mounted below it goes first.
        let below = Mount::new("below", folder(&at, "below")).fstype("tmpfs");
        starts(&below).await;
        stops(&agent).await;
        stops(&agent).await;
        assert_eq!(monitor(&below, 0).await.outcome, Outcome::NotRunning);
    });
}

#[test]
fn a_directory_is_bound_to_another_and_told_apart() {
    on_a_host(async |dir| {
        let (one, two, at) = (folder(dir, "one"), folder(dir, "two"), folder(dir, "at"));
        std::fs::write(one.join("file"), "hello").expect("written");
        let agent = Mount::new(one.display().to_string(), &at).options("bind");
        starts(&agent).await;
        starts(&agent).await;
        assert_eq!(std::fs::read_to_string(at.join("file")).expect("there"), "hello");
        assert_eq!(monitor(&agent, 20).await.outcome, Outcome::Success);
        let other = Mount::new(two.display().to_string(), &at).options("bind");
        assert_eq!(monitor(&other, 0).await.outcome, Outcome::GenericError);
        stops(&agent).await;
    });
}

#[test]
fn wrong_settings_are_told_and_nothing_is_mounted() {
    on_a_host(async |dir| {
        let at = folder(dir, "at");
        std::os::unix::fs::symlink(&at, dir.join("link")).expect("linked");
        std::fs::write(dir.join("file"), "").expect("written");
        for (directory, outcome) in [
            ("no/such", Outcome::NotInstalled),
            ("link", Outcome::NotConfigured),
            ("file", Outcome::NotConfigured),
        ] {
            let agent = Mount::new("none", dir.join(directory)).fstype("tmpfs");
            let report = agent.start(&context()).await.expect("an answer");
            assert_eq!(report.outcome, outcome, "{directory}: {}", report.reason);
            let report = agent.validate(&context()).await.expect("an answer");
            assert_eq!(report.outcome, outcome, "{directory}: {}", report.reason);
            stops(&agent).await;
        }
        let agent = Mount::new("none", &at).fstype("no-such-type");
        let report = agent.start(&context()).await.expect("an answer");
        assert_eq!(report.outcome, Outcome::GenericError);
        assert!(report.reason.starts_with("mount: "), "{}", report.reason);
        let missing = Mount::new(dir.join("nothing").display().to_string(), &at);
        let hurry = context().timeout(Duration::from_millis(200));
        let report = missing.start(&hurry).await.expect("an answer before the time is up");
        assert_eq!(report.outcome, Outcome::NotInstalled, "{}", report.reason);
    });
}

#[test]
fn a_type_without_its_helper_is_not_installed() {
    on_a_host(async |dir| {
        if ha_lab::find_program("mount.glusterfs").is_some() {
            return ha_lab::skip("mount.glusterfs is installed");
        }
        let agent = Mount::new("server:/volume", folder(dir, "at")).fstype("glusterfs");
        for result in [agent.start(&context()).await, agent.validate(&context()).await] {
            let report = result.expect("an answer");
            assert_eq!(report.outcome, Outcome::NotInstalled);
            assert!(report.reason.contains("mount.glusterfs"), "{report:?}");
        }
        stops(&agent).await;
    });
}

#[test]
fn a_file_system_in_user_space_is_mounted_through_its_program() {
    on_a_host(async |dir| {
        if ha_lab::require_program("bindfs").is_none() || !Path::new("/dev/fuse").exists() {
            return ha_lab::skip("needs bindfs and /dev/fuse");
        }
        let (real, at) = (folder(dir, "real"), folder(dir, "at"));
        std::fs::write(real.join("file"), "hello").expect("written");
        let agent = Mount::new(real.display().to_string(), &at).fstype("fuse.bindfs");
        starts(&agent).await;
        starts(&agent).await;
        assert_eq!(std::fs::read_to_string(at.join("file")).expect("there"), "hello");
        for depth in [0, 10, 20] {
            let report = monitor(&agent, depth).await;
            assert_eq!(report.outcome, Outcome::Success, "{depth}: {}", report.reason);
        }
        stops(&agent).await;
        stops(&agent).await;
    });
}

#[test]
fn a_busy_file_system_is_freed_or_its_holder_named() {
    on_a_host(async |dir| {
        let at = folder(dir, "at");
        let agent = Mount::new("ha-data", &at).fstype("tmpfs");
        starts(&agent).await;
        let stubborn = "trap '' TERM; touch $READY; while :; do sleep 0.05; done";
        let mut squatter = Squatter::new(&at, stubborn);
        let hurry = context().timeout(Duration::from_millis(800));
        let report = agent.stop(&hurry).await.expect("an answer before the time is up");
        assert_eq!(report.outcome, Outcome::GenericError);
        assert!(report.reason.contains("held by") && report.reason.contains("sh ("), "{report:?}");
        assert_eq!(monitor(&agent, 10).await.outcome, Outcome::Success, "still whole");
        assert_eq!(squatter.0.try_wait().expect("looked"), None, "left alone");
        stops(&agent.clone().kill_holders(true)).await;
        assert!(squatter.0.wait().expect("waited").code().is_none(), "killed");
    });
}

#[test]
fn who_has_another_file_system_under_the_same_path_is_left_alone() {
    on_a_host(async |dir| {
        let at = folder(dir, "at");
        // Its own namespace, with something else at the place.
        let elsewhere = "exec unshare -m --propagation private sh -c \
            'mount -t tmpfs other at && cd at && touch $READY && exec sleep 1000'";
        let mut other = Squatter::new(dir, elsewhere);
        let agent = Mount::new("ha-data", &at).fstype("tmpfs").kill_holders(true);
        starts(&agent).await;
        let ours = "exec unshare -m --propagation slave sh -c \
            'cd at && touch $READY && exec sleep 1000'";
        let mut copy = Squatter::new(dir, ours);
        let mut holder = Squatter::new(&at, "touch $READY; exec sleep 1000");
        stops(&agent).await;
        assert!(holder.0.wait().expect("waited").code().is_none(), "killed");
        assert!(copy.0.wait().expect("waited").code().is_none(), "it has the same one");
        assert_eq!(other.0.try_wait().expect("looked"), None, "it has nothing of ours");
    });
}

#[test]
fn an_image_is_waited_for_and_mounted_through_a_loop_device() {
    on_a_host(async |dir| {
        let Some(mkfs) = ha_lab::require_program("mkfs.ext4") else { return };
        let (at, image, late) = (folder(dir, "at"), dir.join("image"), dir.join("late"));
        let file = std::fs::File::create(&late).expect("made");
        file.set_len(4 << 20).expect("sized");
        drop(file);
        let made = Command::new(mkfs).args(["-q", "-F"]).arg(&late).status();
        assert!(made.expect("mkfs").success());
        let agent = Mount::new(image.display().to_string(), &at).fstype("ext4");
        let work: OpContext = context();
        let appear = async {
            pause(Duration::from_millis(100)).await.expect("a timer");
            std::fs::rename(&late, &image).expect("renamed");
        };
        let (report, ()) = tokio::join!(agent.start(&work), appear);
        let report = report.expect("an answer");
        let words = ["ermission denied", "failed to setup loop", "not permitted", "only root"];
        if words.iter().any(|word| report.reason.contains(word)) {
            return ha_lab::skip(format_args!("no loop device may be mounted: {}", report.reason));
        }
        assert_eq!(report.outcome, Outcome::Success, "{}", report.reason);
        starts(&agent).await;
        assert_eq!(monitor(&agent, 20).await.outcome, Outcome::Success);
        std::fs::write(at.join("data"), "kept").expect("written");
        stops(&agent).await;
        let read_only = agent.clone().options("ro");
        starts(&read_only).await;
        assert_eq!(std::fs::read_to_string(at.join("data")).expect("there"), "kept");
        assert_eq!(monitor(&read_only, 20).await.outcome, Outcome::Success);
        stops(&read_only).await;
    });
}

/// A loop device with an empty ext4 in it.
struct Disk(String);

impl Disk {
    /// `None`: this machine lets no loop device be made; said so.
    fn new(dir: &Path) -> Option<Self> {
        let mkfs = ha_lab::require_program("mkfs.ext4")?;
        let losetup = ha_lab::require_program("losetup")?;
        let image = dir.join("image");
        std::fs::File::create(&image).expect("made").set_len(4 << 20).expect("sized");
        let made = Command::new(losetup).args(["--find", "--show"]).arg(&image).output();
        let made = made.expect("losetup");
        if !made.status.success() {
            let why = String::from_utf8_lossy(&made.stderr);
            ha_lab::skip(format_args!("no loop device may be made: {}", why.trim()));
            return None;
        }
        let disk = Self(String::from_utf8(made.stdout).expect("a path").trim().to_owned());
        let made = Command::new(mkfs).args(["-q", "-F", &disk.0]).status();
        assert!(made.expect("mkfs").success());
        Some(disk)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Also while it is mounted: it goes with the mount then.
        Command::new("losetup").args(["--detach", &self.0]).status().ok();
    }
}

#[test]
fn a_disk_that_another_mount_namespace_has_is_not_stopped() {
    on_a_host(async |dir| {
        let (Some(disk), at) = (Disk::new(dir), folder(dir, "at")) else { return };
        let agent = Mount::new(&disk.0, &at).fstype("ext4");
        assert_eq!(monitor(&agent, 0).await.outcome, Outcome::NotRunning);
        stops(&agent).await;
        starts(&agent).await;
        // A new namespace has copies of all mounts, which do not go with ours.
        let elsewhere = "unshare -m --propagation private sh -c 'touch $READY; exec sleep 1000'";
        let mut other = Squatter::new(dir, &format!("exec {elsewhere}"));
        let hurry = context().timeout(Duration::from_millis(800));
        for _ in 0..2 {
            let report = agent.stop(&hurry).await.expect("an answer before the time is up");
            assert_eq!(report.outcome, Outcome::GenericError);
            assert!(report.reason.contains("is still in use"), "{}", report.reason);
        }
        let probe = agent.monitor(&hurry, Check::PROBE).await.expect("an answer");
        assert_eq!(probe.outcome, Outcome::GenericError, "active: {}", probe.reason);
        // A stop under way sees the end of it.
        let work = context();
        let ends = async {
            pause(Duration::from_millis(200)).await.expect("a timer");
            other.0.kill().expect("killed");
        };
        let (report, ()) = tokio::join!(agent.stop(&work), ends);
        assert_eq!(report.expect("an answer").outcome, Outcome::Success);
        stops(&agent).await;
    });
}

#[test]
fn a_process_that_not_even_sigkill_ends_is_not_stopped() {
    on_a_host(async |dir| {
        let (Some(disk), at) = (Disk::new(dir), folder(dir, "at")) else { return };
        if ha_lab::require_program("fsfreeze").is_none() {
            return;
        }
        let freeze = |how: &str| {
            let done = Command::new("fsfreeze").arg(how).arg(&at).status();
            assert!(done.expect("fsfreeze").success());
        };
        let disk = Mount::new(&disk.0, &at).fstype("ext4");
        starts(&disk).await;
        let file = dir.join("child");
        // A member of the group that writes, and has to wait until the file system thaws.
        let script = "touch $AT/written & echo $! > $CHILD; exec sleep 1000";
        let agent = Process::new("/bin/sh").arg("-c").arg(script);
        let agent = agent.env("AT", &at).env("CHILD", &file);
        freeze("--freeze");
        let mark = format!("frozen-{}", std::process::id());
        agent.start(&context().meta(leftovers::NODE, &mark)).await.expect("an answer");
        let child = line_in(&file).await;
        while !std::fs::read_to_string(format!("/proc/{child}/stat"))
            .expect("there")
            .contains(") D ")
        {
            pause(Duration::from_millis(2)).await.expect("a timer");
        }
        let hurry = context().timeout(Duration::from_secs(2));
        let stopped = agent.stop(&hurry).await;
        let looked = agent.monitor(&hurry, Check::PROBE).await;
        let left = leftovers::end(&mark, Duration::from_millis(300)).await;
        let alive = runs(&child);
        freeze("--unfreeze");
        assert!(alive && stopped.is_err() && looked.is_err(), "{alive} {stopped:?} {looked:?}");
        let left = left.expect_err("somebody is alive").to_string();
        assert!(left.contains(&format!("still alive: {child}")), "{left}");
        assert_eq!(agent.stop(&context()).await.expect("an answer").outcome, Outcome::Success);
        assert!(!runs(&child));
        leftovers::end(&mark, Duration::ZERO).await.expect("nobody");
        stops(&disk).await;
    });
}

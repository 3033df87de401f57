//! SBD disks: beside Debian's `sbd` and `fence_sbd`, between two of ours, and when a disk hangs.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use ha_agents::fence::sbd::{
    DiskTimes, Ended, Input, LayoutError, Mail, MakeHarmless, Message, SbdDisk, SbdError, SbdFence,
    SbdService, StartMode, WatchError, WatcherConfig,
};
use ha_agents::fence::{Evidence, FenceAction, FenceAgent, FenceCommand, FenceError, Power};
use ha_agents::watchdog::{MemoryWatchdog, Timing, WatchdogState};
use ha_core::driver::pause;
use ha_core::effect::Effect;
use ha_core::id::NodeName;
use ha_core::time::{BootClock, Clock, ManualClock};
use tokio::sync::mpsc;

use super::block_on;

const SECOND: Duration = Duration::from_secs(1);
/// Long enough for a busy machine.
const IO: Duration = Duration::from_secs(20);

fn node(name: &str) -> NodeName {
    name.parse().expect("a name")
}

fn disk(path: &Path) -> Arc<SbdDisk> {
    Arc::new(SbdDisk::new(path, IO).expect("a thread"))
}

/// Times of which the message wait is the longest a test could wait.
fn times(watchdog: u64) -> DiskTimes {
    let mut times = DiskTimes::of_watchdog(Duration::from_secs(watchdog));
    times.allocate = SECOND;
    times
}

fn file(dir: &Path, name: &str) -> PathBuf {
    let path = dir.join(name);
    let file = std::fs::File::create(&path).expect("a file");
    file.set_len(4 << 20).expect("a size");
    path
}

/// A loop device over a file of 4 MiB.
struct Loop {
    path: PathBuf,
    dir: tempfile::TempDir,
}

impl Loop {
    fn new(sector_size: usize) -> Option<Self> {
        let losetup = ha_lab::require_program("losetup")?;
        let dir = tempfile::tempdir().expect("a directory");
        let image = file(dir.path(), "image");
        let size = sector_size.to_string();
        let made = Command::new(losetup)
            .args(["--sector-size", &size, "--find", "--show"])
            .arg(&image)
            .output()
            .expect("losetup");
        if !made.status.success() {
            let why = String::from_utf8_lossy(&made.stderr).into_owned();
            ha_lab::skip(format_args!("no loop device may be made: {}", why.trim()));
            return None;
        }
        let path = PathBuf::from(String::from_utf8_lossy(&made.stdout).trim());
        Some(Self { path, dir })
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        Command::new("losetup").arg("--detach").arg(&self.path).status().ok();
    }
}

/// Debian's tool, and a loop device for it, as it takes no plain files.
fn with_tool(sector_size: usize) -> Option<(PathBuf, Loop)> {
    let tool = ha_lab::require_program("sbd")?;
    Some((tool, Loop::new(sector_size)?))
}

fn run(tool: &Path, disk: &Path, arguments: &[&str]) -> String {
    let done = Command::new(tool).arg("-d").arg(disk).args(arguments).output().expect("sbd");
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    let errors = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "sbd {arguments:?}: {said}{errors}");
    said
}

#[test]
fn the_real_tool_reads_and_writes_a_disk_that_we_created() {
    for size in [512, 4096] {
        let Some((tool, device)) = with_tool(size) else { return };
        block_on(async {
            let ours = disk(&device.path);
            let header = ours.create(times(1)).await.expect("created");
            assert_eq!(header.sector_size, size);
            let dump = run(&tool, &device.path, &["dump"]);
            let told = |name: &str| {
                let line = dump.lines().find(|line| line.starts_with(name)).expect("a line");
                line.split(": ").nth(1).expect("a value").trim().to_owned()
            };
            assert_eq!(told("Header version"), "2.1");
            assert_eq!(told("Number of slots"), "255");
            assert_eq!(told("Sector size"), size.to_string());
            assert_eq!(told("Timeout (watchdog)"), "1");
            assert_eq!(told("Timeout (allocate)"), "1");
            assert_eq!(told("Timeout (msgwait)"), "2");
            let uuid = header.uuid.expect("a UUID").map(|byte| format!("{byte:02x}")).concat();
            assert_eq!(told("UUID").replace('-', ""), uuid);

            // A slot of each, a message of each to the other one's.
            assert_eq!(ours.allocate(&node("n1")).await.expect("a slot"), 0);
            run(&tool, &device.path, &["allocate", "n2"]);
            assert_eq!(ours.allocate(&node("N2")).await.expect("it has one"), 1);
            ours.write(&node("n2"), Mail::new(Message::Reset, "n1")).await.expect("written");
            run(&tool, &device.path, &["message", "n1", "off"]);
            assert_eq!(ours.read(&node("n1")).await.expect("read").message, Message::Off);
            let list = run(&tool, &device.path, &["list"]);
            assert!(list.starts_with("0\tn1\toff\t"), "{list}");
            assert!(list.contains("\n1\tn2\treset\tn1"), "{list}");
        });
    }
}

#[test]
fn we_read_and_write_a_disk_that_the_real_tool_created() {
    for size in [512, 4096] {
        let Some((tool, device)) = with_tool(size) else { return };
        run(&tool, &device.path, &["-1", "1", "-2", "1", "-4", "2", "create"]);
        run(&tool, &device.path, &["allocate", "n1"]);
        block_on(async {
            let ours = disk(&device.path);
            let header = ours.header().await.expect("a header");
            assert_eq!((header.sector_size, header.times), (size, times(1)));
            assert_eq!(ours.allocate(&node("n2")).await.expect("a slot"), 1);
            for message in Message::ALL {
                ours.write(&node("n2"), Mail::new(message, "n1")).await.expect("written");
                let list = run(&tool, &device.path, &["list"]);
                assert!(list.contains(&format!("1\tn2\t{message}\tn1")), "{list}");
            }
            // The tool waits for its message wait, so not for each.
            for message in [Message::Crashdump, Message::Exit] {
                run(&tool, &device.path, &["message", "n1", &message.to_string()]);
                let mail = ours.read(&node("n1")).await.expect("read");
                assert_eq!((mail.message, mail.token), (message, 0));
            }
            let slots = ours.list().await.expect("a list");
            let nodes: Vec<_> = slots.iter().map(|slot| slot.node.as_str()).collect();
            assert_eq!(nodes, ["n1", "n2"]);
        });
    }
}

/// The real watcher takes a test of ours, token and all, and clears the slot. It runs without a
/// watchdog, in a process namespace, and may not reboot.
#[test]
fn the_real_watcher_hears_our_test() {
    let Some((tool, device)) = with_tool(512) else { return };
    let Some(unshare) = ha_lab::require_program("unshare") else { return };
    run(&tool, &device.path, &["-1", "2", "-4", "4", "create"]);
    run(&tool, &device.path, &["allocate", "n1"]);
    let script = format!(
        "if [ -e /proc/sysrq-trigger ]; then
            mount --bind /dev/null /proc/sysrq-trigger || exit 3
        fi
        setpriv --bounding-set -sys_boot --inh-caps -sys_boot \
        {} -d {} -n n1 -W -W -Z -Z -R -p {} watch &&
        echo watches && sleep 1000",
        tool.display(),
        device.path.display(),
        device.dir.path().join("pid").display(),
    );
    let watcher = Command::new(unshare)
        .args(["-m", "-p", "-f", "--mount-proc", "--kill-child", "sh", "-c", &script])
        .envs([("SBD_PACEMAKER", "no"), ("SBD_SYNC_RESOURCE_STARTUP", "no")])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("unshare");
    let mut watcher = Ends(watcher);
    let mut said = String::new();
    let mut lines = std::io::BufReader::new(watcher.0.stdout.take().expect("a pipe"));
    std::io::BufRead::read_line(&mut lines, &mut said).expect("read");
    if said.trim() == "watches" {
        block_on(async {
            let ours = disk(&device.path);
            let mut test = Mail::new(Message::Test, "n2");
            test.token = 7;
            ours.write(&node("n1"), test).await.expect("written");
            while ours.read(&node("n1")).await.expect("read").message != Message::Clear {
                pause(Duration::from_millis(20)).await.expect("a timer");
            }
        });
    } else {
        ha_lab::skip("no namespaces for the real watcher");
    }
}

/// A process that ends with the test.
struct Ends(std::process::Child);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Debian's fence agent, which calls the tool, on slots of ours.
#[test]
fn the_real_fence_sbd_fences_by_our_slots() {
    let Some((tool, device)) = with_tool(512) else { return };
    let Some(agent) = ha_lab::require_program("fence_sbd") else { return };
    block_on(async {
        let ours = disk(&device.path);
        ours.create(times(1)).await.expect("created");
        ours.allocate(&node("n2")).await.expect("a slot");
        let agent = FenceCommand::builder("sbd", &agent)
            .parameter("devices", device.path.display().to_string())
            .parameter("sbd_path", tool.display().to_string())
            .build()
            .expect("valid");
        assert_eq!(agent.evidence(), Evidence::AssumedAfterTimeout);
        assert_eq!(agent.list().await.expect("a list"), [node("n2")]);
        assert_eq!(agent.status(&node("n2")).await.expect("a status"), Power::On);
        let evidence = agent.perform(&node("n2"), FenceAction::Off).await.expect("fenced");
        assert_eq!(evidence, Evidence::AssumedAfterTimeout);
        assert_eq!(ours.read(&node("n2")).await.expect("read").message, Message::Off);
    });
}

#[test]
fn a_message_counts_as_delivered_after_the_wait_and_not_before() {
    block_on(async {
        let dir = tempfile::tempdir().expect("a directory");
        let shared = disk(&file(dir.path(), "a"));
        shared.create(times(1)).await.expect("created");
        shared.allocate(&node("n2")).await.expect("a slot");
        let sbd = SbdFence::builder("sbd", node("n1")).disk(Arc::clone(&shared)).build();
        let sbd = sbd.expect("valid");
        assert_eq!(sbd.needed_timeout().await.expect("times"), Duration::from_millis(2_400));
        assert_eq!(sbd.status(&node("n2")).await.expect("a status"), Power::On);
        let before = BootClock::new().now();
        let evidence = sbd.perform(&node("n2"), FenceAction::Reboot).await.expect("fenced");
        assert_eq!(evidence, Evidence::AssumedAfterTimeout);
        assert!(BootClock::new().now().since(before) >= 2 * SECOND);
        let mail = shared.read(&node("n2")).await.expect("read");
        assert_eq!((mail.message, mail.from.as_str()), (Message::Reset, "n1"));
        // What stands there does not tell that it was done.
        let error = sbd.status(&node("n2")).await.expect_err("no proof");
        assert!(error.to_string().contains("reset of n1 stands in its slot"), "{error}");
        sbd.on(&node("n2")).await.expect("cleared");
        assert_eq!(sbd.status(&node("n2")).await.expect("a status"), Power::On);

        let unknown = sbd.off(&node("n3")).await.expect_err("no slot");
        assert!(matches!(unknown, FenceError::UnknownNode { .. }), "{unknown}");
        let own = sbd.off(&node("N1")).await.expect_err("ourselves");
        assert!(matches!(own, FenceError::Refused { .. }), "{own}");
        assert_eq!(own.effect(), Effect::None);
    });
}

/// Says that all is gone.
#[derive(Debug)]
struct Gone;

#[async_trait]
impl MakeHarmless for Gone {
    async fn make_harmless(&self, order: &Mail) -> bool {
        order.message.fences()
    }
}

/// A watcher with a fast loop, whose watchdog stands still.
fn watcher(disks: &[Arc<SbdDisk>], start: StartMode) -> (SbdService, MemoryWatchdog) {
    let timing = Timing::builder()
        .watchdog(30 * SECOND)
        .loop_interval(Duration::from_millis(50))
        .feed(Duration::from_millis(50))
        .io(IO)
        .build()
        .expect("they fit");
    let config = WatcherConfig::builder(node("n2"), disks.len());
    let config = config.timing(timing).start(start).build().expect("valid");
    let watchdog = MemoryWatchdog::new(Arc::new(ManualClock::default()), 30 * SECOND);
    let service =
        SbdService::new(config, disks.to_vec(), Box::new(watchdog.clone()), Arc::new(Gone));
    (service.expect("complete"), watchdog)
}

async fn three_disks(dir: &Path) -> Vec<Arc<SbdDisk>> {
    let disks = ["a", "b", "c"].map(|name| disk(&file(dir, name)));
    for disk in &disks {
        // With this wait the test would be killed if it waited for it.
        disk.create(times(600)).await.expect("created");
    }
    disks.to_vec()
}

fn fence(disks: &[Arc<SbdDisk>]) -> SbdFence {
    let builder = SbdFence::builder("sbd", node("n1"));
    let builder = disks.iter().fold(builder, |builder, disk| builder.disk(Arc::clone(disk)));
    builder.build().expect("valid")
}

#[test]
fn our_watcher_acknowledges_what_it_has_carried_out() {
    block_on(async {
        let dir = tempfile::tempdir().expect("a directory");
        let disks = three_disks(dir.path()).await;
        let (service, watchdog) = watcher(&disks, StartMode::Always);
        let (_inputs, receiver) = mpsc::channel(1);
        let sbd = fence(&disks);
        let order = async {
            while watchdog.fed() == 0 {
                pause(Duration::from_millis(5)).await.expect("a timer");
            }
            let test = Mail::new(Message::Test, "n1");
            disks[1].write(&node("n2"), test).await.expect("written");
            while disks[1].read(&node("n2")).await.expect("read") != Mail::NONE {
                pause(Duration::from_millis(5)).await.expect("a timer");
            }
            sbd.perform(&node("n2"), FenceAction::Off).await.expect("fenced")
        };
        let (ended, evidence) = tokio::join!(service.run(receiver), order);
        let Ended::Ordered(mail) = ended.expect("it ran") else { panic!("it was ordered") };
        assert_eq!((mail.message, mail.from.as_str()), (Message::Off, "n1"));
        assert_eq!(evidence, Evidence::Acknowledged);
        assert!(matches!(watchdog.state(), WatchdogState::Armed(_)), "it is not let go");

        // It was fenced: it starts when that does not matter, or somebody has cleared it.
        let (service, watchdog) = watcher(&disks, StartMode::Clean);
        let (_inputs, receiver) = mpsc::channel(1);
        let ended = service.run(receiver).await.expect("it ran");
        assert!(matches!(ended, Ended::Fenced(_)), "{ended:?}");
        assert_eq!(watchdog.state(), WatchdogState::Disarmed, "it was never armed");
        sbd.on(&node("n2")).await.expect("cleared");
        let (service, watchdog) = watcher(&disks, StartMode::Clean);
        let (inputs, receiver) = mpsc::channel(1);
        let stop = async {
            while watchdog.fed() == 0 {
                pause(Duration::from_millis(5)).await.expect("a timer");
            }
            inputs.send(Input::Stop).await.expect("it runs");
        };
        let (ended, ()) = tokio::join!(service.run(receiver), stop);
        assert_eq!(ended.expect("it ran"), Ended::Exit);
        assert_eq!(watchdog.state(), WatchdogState::Disarmed);
    });
}

/// An acknowledgement of an earlier order is none of this one.
#[test]
fn an_old_acknowledgement_does_not_count() {
    block_on(async {
        let dir = tempfile::tempdir().expect("a directory");
        let shared = disk(&file(dir.path(), "a"));
        shared.create(times(1)).await.expect("created");
        shared.allocate(&node("n2")).await.expect("a slot");
        let sbd = fence(&[Arc::clone(&shared)]);
        let late = async {
            loop {
                let order = shared.read(&node("n2")).await.expect("read");
                if let Some(mut old) = order.acknowledgement(&node("n2")) {
                    old.token ^= 2; // of an order before this one
                    shared.write(&node("n2"), old).await.expect("written");
                    return;
                }
                pause(Duration::from_millis(5)).await.expect("a timer");
            }
        };
        let target = node("n2");
        let (evidence, ()) = tokio::join!(sbd.perform(&target, FenceAction::Off), late);
        assert_eq!(evidence.expect("fenced"), Evidence::AssumedAfterTimeout);
    });
}

#[test]
fn a_message_needs_more_than_half_of_the_disks() {
    block_on(async {
        let dir = tempfile::tempdir().expect("a directory");
        for (count, broken, enough) in [(1, 1, false), (2, 1, false), (3, 1, true), (3, 2, false)] {
            let disks: Vec<_> = (0..count)
                .map(|at| disk(&file(dir.path(), &format!("{count}-{broken}-{at}"))))
                .collect();
            for disk in disks.iter().skip(broken) {
                disk.create(times(1)).await.expect("created");
                disk.allocate(&node("n2")).await.expect("a slot");
            }
            let result = fence(&disks).off(&node("n2")).await;
            assert_eq!(result.is_ok(), enough, "{broken} of {count} have no header: {result:?}");
            if let Err(error) = result {
                assert_eq!(error.effect(), Effect::Unknown, "{error}");
                assert!(error.to_string().contains("it has no SBD header"), "{error}");
            }
        }
    });
}

#[test]
fn what_is_no_sbd_disk_is_said_and_never_written_to() {
    block_on(async {
        let dir = tempfile::tempdir().expect("a directory");
        let path = file(dir.path(), "a");
        let other = disk(&path);
        let error = other.allocate(&node("n1")).await.expect_err("no header");
        assert!(matches!(error, SbdError::Layout { why: LayoutError::NoHeader, .. }), "{error}");
        let error = other.write(&node("n1"), Mail::NONE).await.expect_err("no header");
        assert_eq!(error.effect(), Effect::None);
        assert!(std::fs::read(&path).expect("readable").iter().all(|&byte| byte == 0));
        let mut wrong = times(1);
        wrong.message_wait = SECOND;
        let error = other.create(wrong).await.expect_err("too short a wait");
        assert!(matches!(error, SbdError::Config { .. }), "{error}");
        std::fs::write(&path, "SBD_SBD_").expect("cut short");
        other.header().await.expect_err("too short");
        let gone = disk(&dir.path().join("gone"));
        assert!(matches!(gone.header().await, Err(SbdError::Io { .. })));
        let long = node(&"n".repeat(64));
        assert!(matches!(gone.allocate(&long).await, Err(SbdError::TooLong { .. })));
    });
}

#[test]
fn a_watcher_refuses_a_disk_on_which_others_wait_too_short() {
    block_on(async {
        let dir = tempfile::tempdir().expect("a directory");
        let short = disk(&file(dir.path(), "a"));
        short.create(times(5)).await.expect("created");
        let (service, _watchdog) = watcher(&[short], StartMode::Always);
        let (_inputs, receiver) = mpsc::channel(1);
        let error = service.run(receiver).await.expect_err("10 s are less than 50 s");
        assert!(matches!(error, WatchError::Times { .. }), "{error}");
    });
}

/// A file of a frozen file system: every write to it hangs, as that to a lost disk.
#[test]
fn a_disk_that_hangs_blocks_nobody() {
    let Some(device) = Loop::new(512) else { return };
    let Some(mkfs) = ha_lab::require_program("mkfs.ext4") else { return };
    let Some(fsfreeze) = ha_lab::require_program("fsfreeze") else { return };
    let made = Command::new(mkfs).args(["-q", "-F"]).arg(&device.path).status().expect("mkfs");
    assert!(made.success());
    let dir = tempfile::tempdir().expect("a directory");
    let mount = |program: &str, what: &Path| {
        let mut command = Command::new(program);
        command.arg(what);
        if program == "mount" {
            command.arg(dir.path());
        }
        command.stderr(Stdio::null()).status().expect("it runs").success()
    };
    if !mount("mount", &device.path) {
        return ha_lab::skip("no loop device may be mounted");
    }
    let path = dir.path().join("disk");
    std::fs::File::create(&path).and_then(|file| file.set_len(1 << 20)).expect("a file");
    let freeze = |how: &str| {
        let done = Command::new(&fsfreeze).arg(how).arg(dir.path()).status();
        done.expect("fsfreeze").success()
    };
    let limit = Duration::from_millis(300);
    block_on(async {
        disk(&path).create(times(1)).await.expect("created");
        disk(&path).allocate(&node("n1")).await.expect("a slot");
        let hangs = SbdDisk::new(&path, limit).expect("a thread");
        assert!(freeze("--freeze"));
        // It is thawed whatever the answers are: else the test could not end.
        let mut answers = Vec::new();
        for _ in 0..3 {
            answers.push(hangs.write(&node("n1"), Mail::new(Message::Test, "n2")).await);
        }
        assert!(freeze("--unfreeze"));
        for answer in answers {
            let error = answer.expect_err("it hangs");
            assert!(matches!(error, SbdError::NoAnswer { .. }), "{error}");
            assert_eq!(error.effect(), Effect::Unknown);
        }
        // It goes on as if nothing had been.
        let patient = disk(&path);
        while hangs.read(&node("n1")).await.is_err() {}
        assert_eq!(patient.read(&node("n1")).await.expect("read").message, Message::Test);
        drop((hangs, patient));
    });
    block_on(async {
        // The threads let go of the file on their own.
        while !mount("umount", dir.path()) {
            pause(Duration::from_millis(10)).await.expect("a timer");
        }
    });
}

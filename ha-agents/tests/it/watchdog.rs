//! Watchdogs: a real guardian process, a device's protocol on a pipe, and the times.

use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use ha_agents::watchdog::{
    Guardian, GuardianAction, MemoryWatchdog, Timing, Watchdog, WatchdogError, WatchdogState,
    guardian,
};
use ha_core::driver::pause;
use ha_core::time::ManualClock;

use super::{block_on, line_in, runs};

const MODE: &str = "HA_TEST_GUARDED";
const SECOND: Duration = Duration::from_secs(1);

/// Not a test: the program that is guarded, and its guardian, when the tests below start it.
#[test]
fn the_guarded_program() {
    if guardian::entry().is_some() {
        std::process::exit(0);
    }
    let Ok(mode) = std::env::var(MODE) else { return };
    let (mode, dir) = mode.split_once(',').expect("a mode and a place");
    let dir = Path::new(dir);
    let (timeout, action) = match mode {
        "hang" => (SECOND, GuardianAction::KillGroup),
        "reboot" => (SECOND, GuardianAction::Reboot(dir.join("sysrq"))),
        "feed" => (3 * SECOND, GuardianAction::KillGroup),
        _ => (1000 * SECOND, GuardianAction::KillGroup),
    };
    let mut guardian = Guardian::new(timeout, action);
    for argument in ["--exact", "watchdog::the_guarded_program", "--nocapture"] {
        guardian = guardian.argument(argument);
    }
    guardian.arm().expect("armed");
    let child = Command::new("sleep").arg("1000").spawn().expect("a child").id();
    std::fs::write(dir.join("child"), format!("{child}\n")).expect("written");
    match mode {
        "abort" => std::process::abort(),
        "shorten" => assert_eq!(guardian.set_timeout(SECOND).expect("taken"), SECOND),
        "feed" => block_on(async {
            for _ in 0..25 {
                guardian.keep_alive().expect("alive");
                pause(Duration::from_millis(200)).await.expect("a timer");
            }
        }),
        "orphan" => {
            let guardian = guardian.process().expect("it runs").to_string();
            std::fs::write(dir.join("guardian"), format!("{guardian}\n")).expect("written");
            // Somebody kills the guardian: the program hears of it, as nobody guards it now.
            std::io::stdin().read_exact(&mut [0]).expect("told");
        }
        _ => {}
    }
    match mode {
        "feed" | "disarm" => guardian.disarm().expect("it lets go"),
        "orphan" => {
            // Its last thread may still be closing its files.
            let error = block_on(async {
                loop {
                    if let Err(error) = guardian.keep_alive() {
                        return error;
                    }
                    pause(Duration::from_millis(2)).await.expect("a timer");
                }
            });
            assert!(error.to_string().contains("nobody guards"), "{error}");
        }
        _ => loop {
            std::thread::park();
        },
    }
    std::process::exit(7);
}

fn start(mode: &str, dir: &Path) -> Child {
    Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "watchdog::the_guarded_program", "--nocapture"])
        .env(MODE, format!("{mode},{}", dir.display()))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .process_group(0)
        .spawn()
        .expect("started")
}

/// Runs the program in a mode; returns how it ended and its child's id.
fn guarded(mode: &str, dir: &Path) -> (ExitStatus, String) {
    let status = start(mode, dir).wait().expect("its end");
    let child = std::fs::read_to_string(dir.join("child")).expect("its child");
    (status, child.trim().to_owned())
}

fn wait_for_the_end_of(process: &str) {
    block_on(async {
        while runs(process) {
            pause(Duration::from_millis(2)).await.expect("a timer");
        }
    });
}

#[test]
fn a_program_that_hangs_is_killed_with_its_children() {
    let dir = tempfile::tempdir().expect("a directory");
    for mode in ["hang", "shorten"] {
        let (status, child) = guarded(mode, dir.path());
        assert_eq!(status.signal(), Some(9), "{mode}");
        wait_for_the_end_of(&child);
    }
}

#[test]
fn children_of_a_program_that_crashed_are_killed_at_once() {
    let dir = tempfile::tempdir().expect("a directory");
    let (status, child) = guarded("abort", dir.path());
    assert!(matches!(status.signal(), Some(6 | 9)), "{status}");
    wait_for_the_end_of(&child);
}

/// That is what the tests above rest on: without the guardian the children live on.
#[test]
fn a_program_that_feeds_or_disarms_its_guardian_ends_as_it_likes() {
    let dir = tempfile::tempdir().expect("a directory");
    for mode in ["feed", "disarm"] {
        let (status, child) = guarded(mode, dir.path());
        assert_eq!(status.code(), Some(7), "{mode}: {status}");
        assert!(runs(&child), "{mode}: its child is let alone");
        assert!(Command::new("kill").arg(&child).status().expect("kill").success());
    }
}

#[test]
fn a_reboot_is_asked_of_the_kernel() {
    let dir = tempfile::tempdir().expect("a directory");
    let (status, child) = guarded("reboot", dir.path());
    assert_eq!(status.signal(), Some(9), "where the kernel refuses the group is killed");
    wait_for_the_end_of(&child);
    assert_eq!(std::fs::read_to_string(dir.path().join("sysrq")).expect("an order"), "b");
}

#[test]
fn a_guardian_that_could_not_reboot_is_not_armed() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut guardian = Guardian::new(SECOND, GuardianAction::Reboot(dir.path().join("no/sysrq")));
    for argument in ["--exact", "watchdog::the_guarded_program", "--nocapture"] {
        guardian = guardian.argument(argument);
    }
    let armed = guardian.arm();
    // Else it would end this program.
    guardian.disarm().expect("it lets go");
    let error = armed.expect_err("nobody may write there");
    let cause = std::error::Error::source(&error).expect("the kernel's").to_string();
    assert!(cause.contains("No such file"), "{error}: {cause}");
}

#[test]
fn a_program_whose_guardian_was_killed_hears_of_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut program = start("orphan", dir.path());
    let guardian = block_on(line_in(&dir.path().join("guardian")));
    assert!(Command::new("kill").args(["-9", &guardian]).status().expect("kill").success());
    wait_for_the_end_of(&guardian);
    program.stdin.take().expect("a pipe").write_all(b"x").expect("told");
    assert_eq!(program.wait().expect("its end").code(), Some(7));
    let child = block_on(line_in(&dir.path().join("child")));
    assert!(Command::new("kill").arg(&child).status().expect("kill").success());
}

#[test]
fn times_that_do_not_fit_are_refused_all_at_once() {
    let timing = Timing::default();
    assert_eq!(Timing::builder().build().expect("the defaults fit"), timing);
    let error = Timing::builder()
        .watchdog(10 * SECOND)
        .feed(6 * SECOND)
        .loop_interval(8 * SECOND)
        .message_wait(19 * SECOND)
        .fencing_timeout(22 * SECOND)
        .diskless_timeout(19 * SECOND)
        .build()
        .expect_err("nothing fits");
    let text = error.to_string();
    for words in [
        "watchdog.feed: 6s is not allowed: more than 0, at most 5s",
        "watchdog.io: 3s is not allowed: with the loop's 8s at most",
        "watchdog.message_wait: 19s is not allowed: at least 20s",
        "watchdog.fencing_timeout: 22s is not allowed: at least 22.8s",
        "watchdog.diskless_timeout: 19s is not allowed: at least 20s",
    ] {
        assert!(text.contains(words), "{words:?} is not in {text}");
    }
    assert_eq!(error.problems().len(), 5, "{text}");
}

#[test]
fn a_watchdog_in_memory_behaves_as_a_device_does() {
    let clock = Arc::new(ManualClock::default());
    let mut watchdog = MemoryWatchdog::new(clock.clone(), 5 * SECOND);
    let seen = watchdog.clone();
    assert!(matches!(watchdog.keep_alive(), Err(WatchdogError::NotArmed { .. })));
    watchdog.arm().expect("armed");
    watchdog.disarm().expect("disarmed");
    clock.advance(10 * SECOND);
    assert_eq!(seen.state(), WatchdogState::Disarmed);
    watchdog.arm().expect("armed");
    watchdog.set_timeout(2 * SECOND).expect("taken");
    drop(watchdog);
    clock.advance(2 * SECOND);
    assert_eq!(seen.state(), WatchdogState::Fired, "a drop does not disarm");
    let mut stubborn = MemoryWatchdog::new(clock, SECOND).nowayout();
    stubborn.arm().expect("armed");
    assert!(matches!(stubborn.disarm(), Err(WatchdogError::NoWayOut { .. })));
}

/// There is no `/dev/watchdog` on most machines that run tests: the protocol of one, on a pipe.
#[cfg(feature = "watchdog")]
mod device {
    use ha_agents::watchdog::WatchdogDevice;

    use super::*;

    /// A pipe in the file system, and its reading end.
    fn pipe(dir: &Path, name: &str) -> (std::path::PathBuf, std::fs::File) {
        let path = dir.join(name);
        assert!(Command::new("mkfifo").arg(&path).status().expect("mkfifo").success());
        let mut options = std::fs::OpenOptions::new();
        // O_NONBLOCK: open without a writer.
        let reader = options.read(true).custom_flags(0o4000).open(&path).expect("opened");
        (path, reader)
    }

    fn heard(reader: &mut std::fs::File) -> Vec<u8> {
        let mut bytes = [0; 64];
        let read = reader.read(&mut bytes).unwrap_or_default();
        bytes[..read].to_vec()
    }

    #[test]
    fn only_a_disarmed_device_is_closed_with_the_magic_character() {
        let dir = tempfile::tempdir().expect("a directory");
        let (path, mut reader) = pipe(dir.path(), "watchdog0");
        let mut watchdog = WatchdogDevice::new(&path).sysfs(dir.path().join("sys"));
        assert!(matches!(watchdog.keep_alive(), Err(WatchdogError::NotArmed { .. })));
        watchdog.arm().expect("armed");
        watchdog.keep_alive().expect("alive");
        assert_eq!(heard(&mut reader), [0]);
        watchdog.disarm().expect("disarmed");
        assert_eq!(heard(&mut reader), b"V");
        watchdog.arm().expect("armed");
        watchdog.keep_alive().expect("alive");
        drop(watchdog);
        assert_eq!(heard(&mut reader), [0], "a drop is no orderly end");
    }

    #[test]
    fn one_of_nowayout_says_so_and_stays_armed() {
        let dir = tempfile::tempdir().expect("a directory");
        let (path, mut reader) = pipe(dir.path(), "watchdog");
        let sys = dir.path().join("sys");
        std::fs::create_dir_all(sys.join("watchdog0")).expect("a directory");
        std::fs::write(sys.join("watchdog0/nowayout"), "1\n").expect("written");
        let mut watchdog = WatchdogDevice::new(&path).sysfs(&sys);
        assert_eq!(watchdog.nowayout(), Some(true), "the first device, by its other name");
        watchdog.arm().expect("armed");
        assert!(matches!(watchdog.disarm(), Err(WatchdogError::NoWayOut { .. })));
        watchdog.keep_alive().expect("still armed");
        assert_eq!(heard(&mut reader), [0]);
    }

    #[test]
    fn a_device_that_cannot_count_as_asked_is_let_go() {
        let dir = tempfile::tempdir().expect("a directory");
        let (path, mut reader) = pipe(dir.path(), "watchdog0");
        let mut watchdog = WatchdogDevice::new(&path).sysfs(dir.path());
        let error = watchdog.set_timeout(Duration::from_millis(900)).expect_err("no second");
        assert!(matches!(error, WatchdogError::Timeout { .. }), "{error}");
        let noted = watchdog.set_timeout(Duration::from_millis(5_900)).expect("noted");
        assert_eq!(noted, 5 * SECOND, "never longer than asked for");
        let error = watchdog.arm().expect_err("a pipe has no timeout");
        assert!(error.to_string().starts_with("cannot set the timeout of watchdog"), "{error}");
        assert_eq!(heard(&mut reader), b"V");
        assert!(matches!(watchdog.keep_alive(), Err(WatchdogError::NotArmed { .. })));
        let mut absent = WatchdogDevice::new(dir.path().join("absent"));
        let error = absent.arm().expect_err("no such device").to_string();
        assert!(error.contains("load its driver"), "{error}");
    }
}

//! A watchdog without hardware: a process that ends ours when it is not kept alive.

use std::ffi::OsStr;
use std::fmt;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, ExitCode, Stdio};
use std::time::Duration;

use ha_core::time::{BootClock, Clock, Instant};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, getpgrp, kill_process_group};

use super::{Watchdog, WatchdogError};

/// The variable by which a program knows that it is to be the guardian.
const VARIABLE: &str = "HA_WATCHDOG_GUARDIAN";
/// Where the kernel takes orders of last resort.
const SYSRQ: &str = "/proc/sysrq-trigger";
/// The longest timeout, so that no sum of times overflows.
const LONGEST: Duration = Duration::from_hours(24);
/// The longest line that the guardian reads; a longer one is nonsense, and it fires.
const MAX_LINE: usize = 64;

/// What a [`Guardian`] does when the time is up.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "whoever hands it on must match both")]
pub enum GuardianAction {
    /// Kills our process group: the program and its children that have not left it.
    KillGroup,
    /// Has the kernel reboot the node at once, without writing anything back, by a `b` to this
    /// file, which is `/proc/sysrq-trigger`; then kills the group in case that was refused.
    Reboot(PathBuf),
}

impl GuardianAction {
    /// A reboot by `/proc/sysrq-trigger`.
    #[must_use]
    pub fn reboot() -> Self {
        Self::Reboot(PathBuf::from(SYSRQ))
    }
}

/// A watchdog that is a second process of the same program.
///
/// It outlives the program for a moment and leads a group of its own, so nothing that ends the
/// program ends it. It fires when the time is up, and at once when the program ends without
/// [`disarm`](Watchdog::disarm), however it ends. It guards against a program that hangs or dies,
/// not against a kernel that does: that takes a device.
///
/// The program must call [`entry`] first of all in its `main`:
///
/// ```no_run
/// use std::process::ExitCode;
/// use std::time::Duration;
/// use ha_agents::watchdog::{Guardian, GuardianAction, Watchdog, guardian};
///
/// fn main() -> ExitCode {
///     if let Some(code) = guardian::entry() {
///         return code; // this process was the guardian
///     }
///     let mut guardian = Guardian::new(Duration::from_secs(5), GuardianAction::KillGroup);
///     guardian.arm().expect("started");
///     // … work, and guardian.keep_alive() every second …
///     guardian.disarm().expect("it ended");
///     ExitCode::SUCCESS
/// }
/// ```
pub struct Guardian {
    timeout: Duration,
    action: GuardianAction,
    arguments: Vec<String>,
    running: Option<(Child, ChildStdin)>,
}

impl fmt::Debug for Guardian {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let process = self.running.as_ref().map(|(child, _)| child.id());
        f.debug_struct("Guardian")
            .field("timeout", &self.timeout)
            .field("action", &self.action)
            .field("process", &process)
            .finish_non_exhaustive()
    }
}

impl Guardian {
    /// A guardian that does `action` when it is not kept alive for `timeout`, up to 24 hours; it
    /// does not run yet.
    #[must_use]
    pub const fn new(timeout: Duration, action: GuardianAction) -> Self {
        Self { timeout, action, arguments: Vec::new(), running: None }
    }

    /// Adds an argument that the program needs to come to its call of [`entry`]. Default: none.
    #[must_use]
    pub fn argument(mut self, argument: impl Into<String>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Its process id, while it is armed.
    #[must_use]
    pub fn process(&self) -> Option<u32> {
        self.running.as_ref().map(|(child, _)| child.id())
    }

    fn failed(action: &'static str, source: io::Error) -> WatchdogError {
        let watchdog = "guardian".to_owned();
        let remedy = "stop: nobody guards this program";
        WatchdogError::System { watchdog, action, remedy, source }
    }

    fn tell(&mut self, action: &'static str, line: &str) -> Result<(), WatchdogError> {
        let Some((_, input)) = &mut self.running else {
            return Err(WatchdogError::NotArmed { watchdog: "guardian".to_owned() });
        };
        input.write_all(line.as_bytes()).map_err(|error| Self::failed(action, error))
    }

    fn start(&self) -> io::Result<(Child, ChildStdin)> {
        if let GuardianAction::Reboot(file) = &self.action {
            // Who may not write there reboots nothing, while others build on it that he does.
            drop(std::fs::OpenOptions::new().write(true).create(true).truncate(false).open(file)?);
        }
        let order = Order { group: getpgrp(), timeout: self.timeout, action: self.action.clone() };
        let mut child = Command::new(std::env::current_exe()?)
            .args(&self.arguments)
            .env_clear()
            .env(VARIABLE, order.to_string())
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()?;
        let input = child.stdin.take().ok_or_else(|| io::Error::other("no pipe"))?;
        // A guardian that is stopped must not stop us.
        let flags = fcntl_getfl(&input)?;
        fcntl_setfl(&input, flags | OFlags::NONBLOCK)?;
        // It says when it counts; a program that does not call `entry` would never do so.
        let mut output = child.stdout.take().ok_or_else(|| io::Error::other("no pipe"))?;
        let ready = wait_for_line(&mut output).and_then(|()| Ok((child.try_wait()?, ())));
        match ready {
            Ok((None, ())) => Ok((child, input)),
            Ok((Some(status), ())) => Err(io::Error::other(format!("it ended: {status}"))),
            Err(error) => {
                drop(child.kill());
                drop(child.wait());
                Err(error)
            }
        }
    }
}

/// How long the guardian may take to start.
const START: Duration = Duration::from_secs(10);
/// What it says then, as a line of its own: what else the program prints is overlooked.
const READY: &str = "ha-watchdog-guardian counts";

fn wait_for_line(output: &mut (impl Read + AsFd)) -> io::Result<()> {
    let (clock, mut said) = (BootClock::new(), Vec::new());
    let until = clock.now() + START;
    loop {
        let mut buffer = [0; 512];
        if !readable(output.as_fd(), until.since(clock.now()))? {
            let why = "it does not count: call guardian::entry() first in main()";
            return Err(io::Error::new(io::ErrorKind::TimedOut, why));
        }
        let read = output.read(&mut buffer)?;
        said.extend_from_slice(buffer.get(..read).unwrap_or_default());
        if String::from_utf8_lossy(&said).contains(READY) {
            return Ok(());
        }
        if read == 0 || said.len() > 64 * 1024 {
            let why = "it ended or talks: call guardian::entry() first in main()";
            return Err(io::Error::other(why));
        }
    }
}

/// Waits until there is something to read; false if there is not in time.
fn readable(fd: impl AsFd, limit: Duration) -> io::Result<bool> {
    let limit = Timespec {
        tv_sec: i64::try_from(limit.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(limit.subsec_nanos()),
    };
    let mut fds = [PollFd::new(&fd, PollFlags::IN)];
    match poll(&mut fds, Some(&limit)) {
        Ok(ready) => Ok(ready > 0),
        Err(Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

impl Watchdog for Guardian {
    fn arm(&mut self) -> Result<(), WatchdogError> {
        if self.running.is_none() {
            self.running = Some(self.start().map_err(|error| Self::failed("start", error))?);
        }
        self.keep_alive()
    }

    fn keep_alive(&mut self) -> Result<(), WatchdogError> {
        self.tell("keep alive", "k\n")
    }

    fn disarm(&mut self) -> Result<(), WatchdogError> {
        if self.running.is_none() {
            return Ok(());
        }
        self.tell("disarm", "V\n")?;
        if let Some((mut child, input)) = self.running.take() {
            drop(input);
            child.wait().map_err(|error| Self::failed("reap", error))?;
        }
        Ok(())
    }

    fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Whole milliseconds, rounded down.
    fn set_timeout(&mut self, timeout: Duration) -> Result<Duration, WatchdogError> {
        let shortest = Duration::from_millis(1);
        if !(shortest..=LONGEST).contains(&timeout) {
            let watchdog = "guardian".to_owned();
            let longest = LONGEST;
            return Err(WatchdogError::Timeout { watchdog, timeout, shortest, longest });
        }
        let timeout = millis(timeout);
        if self.running.is_some() {
            self.tell("set the timeout of", &format!("t{}\n", timeout.as_millis()))?;
        }
        self.timeout = timeout;
        Ok(timeout)
    }

    fn nowayout(&self) -> Option<bool> {
        Some(false)
    }
}

fn millis(timeout: Duration) -> Duration {
    Duration::from_millis(u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX))
}

/// What the guardian is told at its start.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Order {
    group: Pid,
    timeout: Duration,
    action: GuardianAction,
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (group, timeout) = (self.group.as_raw_nonzero(), self.timeout.as_millis());
        match &self.action {
            GuardianAction::KillGroup => write!(f, "{group},{timeout},"),
            GuardianAction::Reboot(file) => write!(f, "{group},{timeout},{}", file.display()),
        }
    }
}

fn parse(text: &OsStr) -> Option<Order> {
    let mut parts = text.to_str()?.splitn(3, ',');
    let group = Pid::from_raw(parts.next()?.parse().ok()?)?;
    let timeout = Duration::from_millis(parts.next()?.parse().ok()?).min(LONGEST);
    let action = match parts.next()? {
        "" => GuardianAction::KillGroup,
        file => GuardianAction::Reboot(PathBuf::from(file)),
    };
    Some(Order { group, timeout, action })
}

/// Is the guardian, if this process was started to be one: call it first in `main`, before other
/// threads are, and return its code. `None`: go on as the program.
#[must_use]
pub fn entry() -> Option<ExitCode> {
    let text = std::env::var_os(VARIABLE)?;
    let Some(order) = parse(&text) else {
        return Some(ExitCode::from(2));
    };
    let mut output = io::stdout();
    // Who started us may be gone; that is found out below.
    drop(writeln!(output, "\n{READY}").and_then(|()| output.flush()));
    // Not by `Stdin`, which would read ahead of what is waited for.
    let input = io::stdin().as_fd().try_clone_to_owned().map(std::fs::File::from);
    if input.is_ok_and(|mut input| stand_guard(order.timeout, &mut input)) {
        return Some(ExitCode::SUCCESS);
    }
    if let GuardianAction::Reboot(file) = &order.action {
        drop(std::fs::write(file, "b"));
    }
    // An error means that nobody is left.
    let _nobody_left = kill_process_group(order.group, Signal::KILL);
    Some(ExitCode::FAILURE)
}

/// Reads lines until the program disarms (true), or is late or gone (false).
fn stand_guard(mut timeout: Duration, input: &mut (impl Read + AsFd)) -> bool {
    let clock = BootClock::new();
    let mut fires: Instant = clock.now() + timeout;
    let mut line = Vec::new();
    loop {
        let now = clock.now();
        if now >= fires {
            return false;
        }
        match readable(input.as_fd(), fires.since(now)) {
            Ok(true) => {}
            Ok(false) => continue,
            Err(_) => return false,
        }
        let mut byte = [0];
        match input.read(&mut byte) {
            Ok(1) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            // The program has ended, and did not say that it would.
            Ok(_) | Err(_) => return false,
        }
        if byte != *b"\n" {
            line.push(byte[0]);
            if line.len() > MAX_LINE {
                return false;
            }
            continue;
        }
        match line.as_slice() {
            b"V" => return true,
            b"k" => {}
            [b't', digits @ ..] => {
                let digits = std::str::from_utf8(digits).ok().and_then(|text| text.parse().ok());
                let Some(millis) = digits else { return false };
                timeout = Duration::from_millis(millis).min(LONGEST);
            }
            _ => return false,
        }
        line.clear();
        fires = clock.now() + timeout;
    }
}

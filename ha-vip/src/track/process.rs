//! Tracks processes.

mod config;
mod scan;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use async_trait::async_trait;
use ha_core::driver::{Alarm, Readiness};
use ha_core::time::{BootClock, Clock, Instant};
use rustix::event::epoll;
use rustix::time::Timespec;
use tokio::task::JoinHandle;

pub use self::config::{ParamMatch, ProcessBuilder};
use self::scan::{Pattern, Scan};
use super::debounce::Debounce;
use super::{TrackError, Tracker, Verdict};

/// Tracks whether enough processes of a kind run, and not too many (keepalived's
/// `vrrp_track_process`).
///
/// The end of a process is noticed at once, through its pidfd; a new process when `/proc` is read
/// the next time, at the interval or after an end. (The kernel's process connector would tell of
/// new ones sooner, but only to a privileged program, and of every process of the machine.)
/// Zombies do not count. Processes that other users hide (`hidepid`) are not seen. Of more than 256
/// processes the ends of the others are noticed at the interval only.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use ha_vip::track::{ProcessTracker, Tracker, Verdict};
///
/// let mut sleeper = std::process::Command::new("sleep").arg("98765").spawn()?;
/// let mut tracker =
///     ProcessTracker::command_line("sleeper", ["sleep", "98765"]).build()?;
/// // For a moment it may not have its own command line yet.
/// while tracker.changed().await? != Verdict::Up {}
/// sleeper.kill()?;
/// assert_eq!(tracker.changed().await?, Verdict::Down);
/// sleeper.wait()?;
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Debug)]
pub struct ProcessTracker {
    name: String,
    config: ProcessBuilder,
    pattern: Arc<Pattern>,
    /// The processes that match, as far as is known; a pidfd tells of the end.
    running: BTreeMap<i32, Option<OwnedFd>>,
    /// All pidfds in one.
    ends: Option<Readiness>,
    scan: Option<JoinHandle<io::Result<Scan>>>,
    scan_at: Instant,
    debounce: Debounce,
    alarm: Option<Alarm>,
}

/// What a wait brought.
enum Step {
    Due,
    Ended(Vec<i32>),
    Scanned(io::Result<Scan>),
}

impl ProcessTracker {
    /// Tracks processes by their name, as `ps -o comm` shows it; the kernel keeps 15 bytes of it,
    /// and only so many are compared.
    pub fn process_name(name: impl Into<String>, process: impl Into<String>) -> ProcessBuilder {
        ProcessBuilder::new(name.into(), Pattern::Name(process.into()))
    }

    /// Tracks processes by their command line: the command as it was started, and its parameters.
    pub fn command_line<A: Into<Vec<u8>>>(
        name: impl Into<String>,
        command_line: impl IntoIterator<Item = A>,
    ) -> ProcessBuilder {
        let command_line = command_line.into_iter().map(Into::into).collect();
        ProcessBuilder::new(name.into(), Pattern::CommandLine(command_line, ParamMatch::Exact))
    }

    /// Tracks the one process that has this id at the first look. Once it has ended it stays down,
    /// also when another process gets the id.
    pub fn pid(name: impl Into<String>, pid: u32) -> ProcessBuilder {
        ProcessBuilder::new(name.into(), Pattern::Pid(i32::try_from(pid).unwrap_or_default()))
    }

    fn new(name: String, config: ProcessBuilder, pattern: Pattern) -> Self {
        let debounce = Debounce::new(config.fork_delay, config.terminate_delay);
        Self {
            name,
            config,
            pattern: Arc::new(pattern),
            running: BTreeMap::new(),
            ends: None,
            scan: None,
            scan_at: Instant::ZERO,
            debounce,
            alarm: None,
        }
    }

    /// How many run, as far as is known.
    #[must_use]
    pub fn running(&self) -> usize {
        self.running.len()
    }

    /// Waits for what comes next. Cancel safe: all that is waited for is kept.
    async fn step(&mut self) -> Result<Step, (&'static str, io::Error)> {
        let alarm = match self.alarm.take() {
            Some(alarm) => alarm,
            None => Alarm::new().map_err(|error| ("make a timer", error))?,
        };
        let ends = match self.ends.take() {
            Some(ends) => ends,
            None => epoll::create(epoll::CreateFlags::CLOEXEC)
                .map_err(io::Error::from)
                .and_then(Readiness::new)
                .map_err(|error| ("wait for processes", error))?,
        };
        let (alarm, ends) = (self.alarm.insert(alarm), self.ends.insert(ends));
        let scan_at = self.scan.is_none().then_some(self.scan_at);
        let due = [scan_at, self.debounce.due()].into_iter().flatten().min();
        tokio::select! { biased;
            ended = ends.read(ended) => {
                ended.map(Step::Ended).map_err(|error| ("wait for processes", error))
            }
            scanned = joined(&mut self.scan) => {
                self.scan = None;
                Ok(Step::Scanned(scanned))
            }
            late = alarm.until(due) => {
                late.map(|()| Step::Due).map_err(|error| ("wait", error))
            }
        }
    }

    fn take(&mut self, step: Step) -> io::Result<()> {
        let now = BootClock::new().now();
        match step {
            Step::Due if self.scan.is_none() && self.scan_at <= now => {
                let pattern = Arc::clone(&self.pattern);
                let known: BTreeSet<i32> = self.running.keys().copied().collect();
                // A process that hangs can hold up who reads its command line.
                let scan = move || Scan::of(&pattern, &known);
                self.scan = Some(tokio::task::spawn_blocking(scan));
            }
            Step::Due => {}
            Step::Ended(pids) => {
                for pid in pids {
                    // Its pidfd is closed with that, and leaves the epoll.
                    self.running.remove(&pid);
                }
                // Another may have taken its place; but a storm of ends is no storm of scans.
                self.scan_at = self.scan_at.min(now + self.config.interval / 10);
                self.observe(now);
            }
            Step::Scanned(scan) => {
                let scan = scan?;
                self.running.retain(|pid, _| scan.known.contains(pid));
                for (pid, fd) in scan.new {
                    let watched = self.watch(pid, fd)?;
                    self.running.insert(pid, watched);
                }
                if let Pattern::Pid(_) = *self.pattern {
                    // The next one of this id is another process.
                    self.pattern = Arc::new(Pattern::Nothing);
                }
                self.scan_at = now + self.config.interval;
                self.observe(now);
            }
        }
        Ok(())
    }

    fn watch(&self, pid: i32, fd: OwnedFd) -> io::Result<Option<OwnedFd>> {
        let watched = self.running.values().flatten().count();
        let Some(ends) = self.ends.as_ref().filter(|_| watched < scan::MAX_WATCHED) else {
            return Ok(None);
        };
        let data = epoll::EventData::new_u64(u64::try_from(pid).unwrap_or_default());
        epoll::add(ends, &fd, data, epoll::EventFlags::IN)?;
        Ok(Some(fd))
    }

    fn observe(&mut self, now: Instant) {
        let enough = self.running.len() >= self.config.quorum;
        let too_many = self.config.quorum_max.is_some_and(|max| self.running.len() > max);
        let verdict = if enough && !too_many { Verdict::Up } else { Verdict::Down };
        self.debounce.observe(now, verdict);
    }
}

#[async_trait]
impl Tracker for ProcessTracker {
    fn name(&self) -> &str {
        &self.name
    }

    async fn changed(&mut self) -> Result<Verdict, TrackError> {
        loop {
            if let Some(verdict) = self.debounce.take(BootClock::new().now()) {
                return Ok(verdict);
            }
            let stepped = match self.step().await {
                Ok(step) => self.take(step).map_err(|error| ("read /proc", error)),
                Err(error) => Err(error),
            };
            stepped.map_err(|(what, source)| TrackError::System {
                name: self.name.clone(),
                what,
                remedy: "mount /proc, raise the limit of open files (LimitNOFILE=, ulimit -n)",
                source,
            })?;
        }
    }
}

async fn joined(scan: &mut Option<JoinHandle<io::Result<Scan>>>) -> io::Result<Scan> {
    match scan {
        Some(scan) => scan.await.map_err(io::Error::other).flatten(),
        None => std::future::pending().await,
    }
}

/// The processes that have ended.
fn ended(epoll: std::os::fd::BorrowedFd<'_>) -> io::Result<Vec<i32>> {
    let mut events = Vec::with_capacity(64);
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    epoll::wait(epoll, rustix::buffer::spare_capacity(&mut events), Some(&at_once))?;
    if events.is_empty() {
        return Err(io::ErrorKind::WouldBlock.into());
    }
    let pid = |event: &epoll::Event| i32::try_from(event.data.u64()).unwrap_or_default();
    Ok(events.iter().map(pid).collect())
}

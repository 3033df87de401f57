//! Tracks a number in a file.

mod read;

use std::ffi::OsString;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use ha_core::driver::{Alarm, Readiness};
use ha_core::time::{BootClock, Clock, Instant};
use rustix::fs::inotify;
use rustix::io::Errno;
use tokio::task::JoinHandle;

pub use self::read::FileProblem;
use super::{TrackError, Tracker, Verdict};

/// A file that is missing or holds no number may be just being written.
const GRACE: Duration = Duration::from_millis(100);
/// Room for some events with names of up to 255 bytes.
const EVENTS_LEN: usize = 4096;

/// Tracks the number in a file (keepalived's `track_file`), as a shell writes it:
/// `echo -20 > /run/load`.
///
/// It is read when a program has written and closed it, or has moved another in its place
/// (inotify), and at an interval in any case: for file systems and symbolic links that no event
/// comes from. Only the first 128 bytes are read. A missing file or one without a number counts
/// only if it still is so 100 ms later ([`grace`](Self::grace)); then it means 0, as with
/// keepalived, or down, see [`missing`](Self::missing) and [`garbage`](Self::garbage), and
/// [`problem`](Self::problem) says why.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use ha_vip::track::{FileTracker, Tracker, Verdict};
///
/// let path = std::env::temp_dir().join(format!("load-{}", std::process::id()));
/// std::fs::write(&path, "-20\n")?;
/// let mut tracker = FileTracker::new("load", &path);
/// assert_eq!(tracker.changed().await?, Verdict::Number(-20));
/// std::fs::write(&path, "30\n")?;
/// assert_eq!(tracker.changed().await?, Verdict::Number(30));
/// std::fs::remove_file(&path)?;
/// assert_eq!(tracker.changed().await?, Verdict::Number(0));
/// assert!(tracker.problem().expect("it is gone").to_string().contains("there is no such file"));
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Debug)]
pub struct FileTracker {
    name: String,
    path: Arc<Path>,
    interval: Duration,
    missing: Verdict,
    garbage: Verdict,
    grace: Duration,
    events: Events,
    reading: Option<JoinHandle<Result<i32, FileProblem>>>,
    read_at: Instant,
    /// Something happened while it was read.
    again: bool,
    /// Since when there has been a problem that does not count yet.
    doubtful: Option<Instant>,
    problem: Option<FileProblem>,
    told: Verdict,
    alarm: Option<Alarm>,
}

#[derive(Debug, Clone)]
enum Events {
    NotYet,
    /// inotify cannot be had: only the interval is left.
    None,
    Of(Arc<Readiness>),
}

impl FileTracker {
    /// Tracks the number in the file at `path`, which need not be there.
    #[must_use]
    pub fn new(name: impl Into<String>, path: impl Into<PathBuf>) -> Self {
        Self {
            name: name.into(),
            path: path.into().into(),
            interval: Duration::from_secs(1),
            missing: Verdict::Number(0),
            garbage: Verdict::Down,
            grace: GRACE,
            events: Events::NotYet,
            reading: None,
            read_at: Instant::ZERO,
            again: false,
            doubtful: None,
            problem: None,
            told: Verdict::Unknown,
            alarm: None,
        }
    }

    /// How often to read it without an event; default 1 s, at least 10 ms.
    #[must_use]
    pub fn interval(mut self, interval: Duration) -> Self {
        self.interval = interval.max(Duration::from_millis(10));
        self
    }

    /// What a missing file means; default 0 (keepalived's).
    #[must_use]
    pub const fn missing(mut self, verdict: Verdict) -> Self {
        self.missing = verdict;
        self
    }

    /// What a file means that cannot be read or holds no number; default down: whoever should
    /// write it does not work. (keepalived 2.2 takes it for 0.)
    #[must_use]
    pub const fn garbage(mut self, verdict: Verdict) -> Self {
        self.garbage = verdict;
        self
    }

    /// How long the file must have been missing or without a number before that counts, as it may
    /// be just being written; default 100 ms.
    #[must_use]
    pub const fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Why the last verdict is no number of the file.
    #[must_use]
    pub const fn problem(&self) -> Option<&FileProblem> {
        self.problem.as_ref()
    }

    fn start(&mut self) {
        if matches!(self.events, Events::NotYet) {
            self.events = match listen() {
                Ok(events) => Events::Of(Arc::new(events)),
                Err(error) => {
                    tracing::warn!(tracker = self.name, %error, "cannot watch files, polls them");
                    Events::None
                }
            };
        }
        let (path, events) = (Arc::clone(&self.path), self.events.clone());
        // A file system that hangs must not hang the runtime.
        self.reading = Some(tokio::task::spawn_blocking(move || {
            if let Events::Of(events) = events {
                watch(&events, &path);
            }
            read::number(&path)
        }));
    }

    fn finish(&mut self, number: Result<i32, FileProblem>) -> Option<Verdict> {
        let now = BootClock::new().now();
        self.read_at = if std::mem::take(&mut self.again) { now } else { now + self.interval };
        let verdict = match &number {
            Ok(number) => Verdict::Number(*number),
            Err(problem) if self.is_doubtful(problem, now) => return None,
            Err(FileProblem::Missing { .. }) => self.missing,
            Err(_) => self.garbage,
        };
        self.doubtful = None;
        let problem = number.err();
        if let Some(problem) =
            problem.as_ref().filter(|problem| Some(*problem) != self.problem.as_ref())
        {
            tracing::warn!(tracker = self.name, reason = %problem, "no number to be had");
        }
        self.problem = problem;
        let news = verdict != self.told;
        self.told = verdict;
        news.then_some(verdict)
    }

    /// Whether a problem may be a file that is just being written: until it has lasted.
    fn is_doubtful(&mut self, problem: &FileProblem, now: Instant) -> bool {
        if self.problem.as_ref() == Some(problem) {
            return false;
        }
        let lasted_at = *self.doubtful.get_or_insert(now) + self.grace;
        self.read_at = self.read_at.min(lasted_at);
        now < lasted_at
    }

    fn error(&self, what: &'static str, source: io::Error) -> TrackError {
        let remedy = "raise the limit of open files (LimitNOFILE=, ulimit -n)";
        TrackError::System { name: self.name.clone(), what, remedy, source }
    }
}

#[async_trait]
impl Tracker for FileTracker {
    fn name(&self) -> &str {
        &self.name
    }

    async fn changed(&mut self) -> Result<Verdict, TrackError> {
        loop {
            if self.reading.is_none() && self.read_at <= BootClock::new().now() {
                self.start();
            }
            let alarm = match self.alarm.take() {
                Some(alarm) => alarm,
                None => Alarm::new().map_err(|source| self.error("make a timer", source))?,
            };
            let alarm = self.alarm.insert(alarm);
            if let Some(reading) = &mut self.reading {
                let read = tokio::select! { biased;
                    () = touched(&self.events, &self.path) => None,
                    read = reading => Some(read),
                };
                let Some(read) = read else {
                    self.again = true;
                    continue;
                };
                self.reading = None;
                let number = read.unwrap_or_else(|error| {
                    Err(FileProblem::unreadable(&self.path, &io::Error::other(error)))
                });
                if let Some(verdict) = self.finish(number) {
                    return Ok(verdict);
                }
                continue;
            }
            tokio::select! { biased;
                () = touched(&self.events, &self.path) => self.read_at = Instant::ZERO,
                due = alarm.until(Some(self.read_at)) => if let Err(source) = due {
                    return Err(self.error("wait", source));
                },
            }
        }
    }
}

fn listen() -> io::Result<Readiness> {
    Readiness::new(inotify::init(inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC)?)
}

/// Watches the directory: a watch of the file itself would end with the file. Where there is a
/// watch already, this changes nothing; where there is no directory, the interval is left.
fn watch(events: &Readiness, path: &Path) {
    use inotify::WatchFlags as Of;
    let of = Of::CLOSE_WRITE | Of::CREATE | Of::DELETE | Of::MOVED_FROM | Of::MOVED_TO;
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let directory = directory.unwrap_or(Path::new("."));
    let _polled_instead = inotify::add_watch(events, directory, of | Of::ONLYDIR);
}

/// Waits until something happened to the file. Cancel safe.
async fn touched(events: &Events, path: &Path) {
    let Events::Of(events) = events else {
        return std::future::pending().await;
    };
    let name = path.file_name().map(OsString::from).unwrap_or_default();
    loop {
        match events.read(|fd| happened(fd, name.as_bytes())).await {
            Ok(true) => return,
            Ok(false) => {}
            // The interval is left.
            Err(_) => std::future::pending().await,
        }
    }
}

/// Reads some events; whether one of them is about the file, or some were lost.
fn happened(fd: BorrowedFd<'_>, name: &[u8]) -> io::Result<bool> {
    let mut buffer = [MaybeUninit::uninit(); EVENTS_LEN];
    let mut reader = inotify::Reader::new(fd, &mut buffer);
    let mut ours = false;
    loop {
        match reader.next() {
            // Without a name: the queue overflowed, or the directory is gone.
            Ok(event) => ours |= event.file_name().is_none_or(|file| file.to_bytes() == name),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        if reader.is_buffer_empty() {
            return Ok(ours);
        }
    }
}

//! A process on a host: its lines, its signals, its end.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use ha_core::id::NodeName;
use ha_core::time::{BootClock, Clock as _, Instant};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open, pidfd_send_signal};

use crate::LabError;

/// How many lines of a process are kept; older ones are forgotten.
pub const MAX_LINES: usize = 10_000;
/// The longest line kept, in bytes; the rest of it becomes another line.
pub const MAX_LINE_LEN: usize = 64 * 1024;

/// Where a process wrote a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a process has these two")]
pub enum Stream {
    /// Its standard output.
    Stdout,
    /// Its standard error.
    Stderr,
}

/// A line that a process wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Line {
    /// When it was read, by [`BootClock`].
    pub at: Instant,
    /// Where it was written.
    pub stream: Stream,
    /// The line without its end; bytes that are not UTF-8 are replaced.
    pub text: String,
}

/// A signal that can be sent to a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProcessSignal {
    /// Read the configuration again, for most daemons (`SIGHUP`).
    Hangup,
    /// Stop, as Ctrl-C asks (`SIGINT`).
    Interrupt,
    /// Die now; cannot be caught (`SIGKILL`).
    Kill,
    /// Stop, as `kill` and service managers ask (`SIGTERM`).
    Terminate,
    /// The first signal without a fixed meaning (`SIGUSR1`).
    User1,
    /// The second one (`SIGUSR2`).
    User2,
}

impl From<ProcessSignal> for Signal {
    fn from(signal: ProcessSignal) -> Self {
        match signal {
            ProcessSignal::Hangup => Self::HUP,
            ProcessSignal::Interrupt => Self::INT,
            ProcessSignal::Kill => Self::KILL,
            ProcessSignal::Terminate => Self::TERM,
            ProcessSignal::User1 => Self::USR1,
            ProcessSignal::User2 => Self::USR2,
        }
    }
}

/// A process on a [`Host`](crate::Host).
///
/// A handle: cheap to clone; each clone reads the lines at its own pace. Dropping it leaves the
/// process running, as a daemon on a host does; the lab kills it at its own end.
///
/// Its standard input is empty. It is the leader of a process group of its own. Inside its process
/// namespace it has another number than [`Process::pid`], which is the one outside; its `/proc`
/// shows the processes of its host with their numbers inside, as on a machine of its own (where
/// the kernel lets a user namespace mount one; else the numbers outside).
pub struct Process {
    shared: Arc<Shared>,
    /// The number of the next line that [`Process::wait_for_line`] looks at.
    next: AtomicU64,
}

/// What the handles and the reading thread share.
#[derive(Debug)]
pub(crate) struct Shared {
    program: String,
    host: NodeName,
    pid: Pid,
    pidfd: OwnedFd,
    state: Mutex<State>,
    changed: Condvar,
    reader: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug, Default)]
struct State {
    lines: VecDeque<Line>,
    /// The number of the first line that is kept.
    first: u64,
    status: Option<ExitStatus>,
    /// No more lines will come.
    closed: bool,
}

impl Process {
    /// Starts `command` from the calling thread, in whose namespaces it will live.
    pub(crate) fn launch(command: &mut Command) -> io::Result<Child> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.process_group(0).spawn()
    }

    /// Takes charge of a child, from a thread that may start threads.
    pub(crate) fn adopt(host: &NodeName, program: String, mut child: Child) -> io::Result<Self> {
        match Self::prepare(host, program, &mut child) {
            Ok((process, output)) => {
                let seen = Arc::clone(&process.shared);
                let reader = move || seen.read(child, output);
                let thread = thread::Builder::new().name(format!("ha-lab {host}")).spawn(reader)?;
                *process.shared.reader.lock().unwrap_or_else(PoisonError::into_inner) =
                    Some(thread);
                Ok(process)
            }
            Err(error) => {
                drop(child.kill());
                drop(child.wait());
                Err(error)
            }
        }
    }

    fn prepare(host: &NodeName, program: String, child: &mut Child) -> io::Result<(Self, Output)> {
        let pid = Pid::from_child(child);
        let shared = Shared {
            program,
            host: host.clone(),
            pid,
            pidfd: pidfd_open(pid, PidfdFlags::empty())?,
            state: Mutex::default(),
            changed: Condvar::new(),
            reader: Mutex::default(),
        };
        let process = Self { shared: Arc::new(shared), next: AtomicU64::new(0) };
        Ok((process, Output::of(child)?))
    }

    pub(crate) fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }

    /// Its number outside of its process namespace.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.shared.pid.as_raw_pid().unsigned_abs()
    }

    /// The host it was started on.
    #[must_use]
    pub fn host(&self) -> &NodeName {
        &self.shared.host
    }

    /// Sends it a signal; a process that has ended takes none, which is no error.
    ///
    /// # Errors
    ///
    /// [`LabError::Kernel`], for instance when the process has become another user's.
    pub fn signal(&self, signal: ProcessSignal) -> Result<(), LabError> {
        match pidfd_send_signal(&self.shared.pidfd, signal.into()) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(self.shared.error("signal", error)),
        }
    }

    /// Kills it and its process group (`SIGKILL`); does not wait.
    ///
    /// # Errors
    ///
    /// As [`Process::signal`].
    pub fn kill(&self) -> Result<(), LabError> {
        self.shared.signal_group("kill", Signal::KILL)
    }

    /// Stops it and its process group in their tracks (`SIGSTOP`): a long pause of a machine, a
    /// debugger, an overloaded scheduler. The kernel goes on answering for it.
    ///
    /// # Errors
    ///
    /// As [`Process::signal`].
    pub fn freeze(&self) -> Result<(), LabError> {
        self.shared.signal_group("freeze", Signal::STOP)
    }

    /// Lets it and its process group go on (`SIGCONT`).
    ///
    /// # Errors
    ///
    /// As [`Process::signal`].
    pub fn thaw(&self) -> Result<(), LabError> {
        self.shared.signal_group("thaw", Signal::CONT)
    }

    /// How it ended; `None` while it runs.
    #[must_use]
    pub fn status(&self) -> Option<ExitStatus> {
        self.shared.state().status
    }

    /// Waits until it has ended; all that it wrote is in [`Process::lines`] then.
    ///
    /// # Errors
    ///
    /// [`LabError::Timeout`] when it runs on.
    pub fn wait(&self, timeout: Duration) -> Result<ExitStatus, LabError> {
        let state = self.shared.state();
        let waited = self.shared.changed.wait_timeout_while(state, timeout, |s| s.status.is_none());
        let state = waited.unwrap_or_else(PoisonError::into_inner).0;
        state.status.ok_or_else(|| self.shared.late("see the end", timeout, &state))
    }

    /// The lines it has written so far, oldest first, at most [`MAX_LINES`].
    #[must_use]
    pub fn lines(&self) -> Vec<Line> {
        self.shared.state().lines.iter().cloned().collect()
    }

    /// Waits for a line that `wanted` accepts, looking at each line once: the next call goes on
    /// after the line that this one returned (or after all lines there were, if it timed out).
    ///
    /// # Errors
    ///
    /// [`LabError::Timeout`] when none comes in time; [`LabError::Ended`] when none can come any
    /// more.
    pub fn wait_for_line(
        &self,
        timeout: Duration,
        mut wanted: impl FnMut(&str) -> bool,
    ) -> Result<Line, LabError> {
        let (mut next, mut found) = (self.next.load(Ordering::SeqCst), None);
        let state = self.shared.state();
        let end = self.shared.changed.wait_timeout_while(state, timeout, |state| {
            while let Some(line) = state.line(&mut next) {
                if wanted(&line.text) {
                    found = Some(line.clone());
                    break;
                }
            }
            found.is_none() && !state.closed
        });
        let state = end.unwrap_or_else(PoisonError::into_inner).0;
        self.next.store(next, Ordering::SeqCst);
        match (found, state.closed, state.status) {
            (Some(line), ..) => Ok(line),
            (None, true, Some(status)) => Err(self.shared.ended(status, &state)),
            (None, ..) => Err(self.shared.late("see the awaited line", timeout, &state)),
        }
    }
}

impl Clone for Process {
    fn clone(&self) -> Self {
        let next = AtomicU64::new(self.next.load(Ordering::SeqCst));
        Self { shared: Arc::clone(&self.shared), next }
    }
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shared { program, host, pid, .. } = &*self.shared;
        let pid = pid.as_raw_pid();
        f.debug_struct("Process")
            .field("program", program)
            .field("host", host)
            .field("pid", &pid)
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}

impl State {
    /// The line with the number `next` or the first kept after it; moves `next` past it.
    fn line(&self, next: &mut u64) -> Option<&Line> {
        let from = (*next).max(self.first);
        let line = self.lines.get(usize::try_from(from - self.first).ok()?)?;
        *next = from + 1;
        Some(line)
    }

    fn push(&mut self, line: Line) {
        if self.lines.len() == MAX_LINES {
            self.lines.pop_front();
            self.first += 1;
        }
        self.lines.push_back(line);
    }

    fn last(&self) -> &str {
        self.lines.back().map_or("", |line| &line.text)
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // A panic in a caller's closure poisons the lock; the state is whole all the same.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it has ended and was waited for.
    pub(crate) fn is_over(&self) -> bool {
        self.state().closed
    }

    /// Waits until it has ended and its output is closed. The caller has killed it.
    pub(crate) fn join(&self) {
        let reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(reader) = reader {
            // A panic of the thread was printed by it.
            drop(reader.join());
        }
    }

    fn signal_group(&self, what: &str, signal: Signal) -> Result<(), LabError> {
        // While its leader is not waited for (which happens under this lock), the number of the
        // group cannot be another's.
        let state = self.state();
        if state.status.is_some() {
            return Ok(());
        }
        kill_process_group(self.pid, signal).map_err(|error| self.error(what, error))
    }

    fn read(&self, mut child: Child, mut output: Output) {
        let mut running = true;
        while running || output.is_open() {
            let mut fds = output.poll_fds();
            if running {
                fds.push(PollFd::new(&self.pidfd, PollFlags::IN));
            }
            if poll(&mut fds, None).is_err() {
                continue; // interrupted
            }
            let ended = running && fds.last().is_some_and(|fd| !fd.revents().is_empty());
            drop(fds);
            // What it wrote before it ended is read first.
            let lines = output.read();
            let mut state = self.state();
            for line in lines {
                state.push(line);
            }
            if ended {
                match child.try_wait() {
                    Ok(None) => {}
                    Ok(Some(status)) => (state.status, running) = (Some(status), false),
                    // Somebody else has waited for it: how it ended is not known.
                    Err(_) => running = false,
                }
            }
            drop(state);
            self.changed.notify_all();
        }
        self.state().closed = true;
        self.changed.notify_all();
    }

    fn error(&self, what: &str, source: impl Into<io::Error>) -> LabError {
        LabError::kernel(format!("{what} {} on {}", self.program, self.host), source)
    }

    fn ended(&self, status: ExitStatus, state: &State) -> LabError {
        LabError::Ended {
            program: self.program.clone(),
            host: self.host.to_string(),
            status: status.to_string(),
            last: state.last().to_owned(),
        }
    }

    fn late(&self, what: &str, limit: Duration, state: &State) -> LabError {
        let what = format!("{what} of {} on {}", self.program, self.host);
        let seen = match state.lines.len() {
            0 => "it has written nothing".to_owned(),
            some => format!("of {some} lines the last was {:?}", state.last()),
        };
        LabError::Timeout { what, limit, seen }
    }
}

/// The output of a child: two pipes and the begun line of each.
#[derive(Debug)]
struct Output {
    stdout: Pipe<ChildStdout>,
    stderr: Pipe<ChildStderr>,
}

#[derive(Debug)]
struct Pipe<R> {
    end: Option<R>,
    begun: Vec<u8>,
    stream: Stream,
}

impl Output {
    fn of(child: &mut Child) -> io::Result<Self> {
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let fds = [stdout.as_ref().map(AsFd::as_fd), stderr.as_ref().map(AsFd::as_fd)];
        for fd in fds.into_iter().flatten() {
            let flags = rustix::fs::fcntl_getfl(fd)?;
            rustix::fs::fcntl_setfl(fd, flags | rustix::fs::OFlags::NONBLOCK)?;
        }
        let stdout = Pipe { end: stdout, begun: Vec::new(), stream: Stream::Stdout };
        let stderr = Pipe { end: stderr, begun: Vec::new(), stream: Stream::Stderr };
        Ok(Self { stdout, stderr })
    }

    const fn is_open(&self) -> bool {
        self.stdout.end.is_some() || self.stderr.end.is_some()
    }

    fn poll_fds(&self) -> Vec<PollFd<'_>> {
        let fds =
            [self.stdout.end.as_ref().map(AsFd::as_fd), self.stderr.end.as_ref().map(AsFd::as_fd)];
        fds.into_iter().flatten().map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect()
    }

    /// All lines that can be read now.
    fn read(&mut self) -> Vec<Line> {
        let mut lines = Vec::new();
        self.stdout.read(&mut lines);
        self.stderr.read(&mut lines);
        lines
    }
}

impl<R: Read> Pipe<R> {
    fn read(&mut self, lines: &mut Vec<Line>) {
        let mut buffer = [0; 8192];
        // Bounded, so that a process that writes without end does not keep the other pipe waiting.
        for _ in 0..64 {
            let Some(pipe) = &mut self.end else { return };
            match pipe.read(&mut buffer) {
                Ok(0) => return self.close(lines),
                Ok(len) => self.take(buffer.get(..len).unwrap_or_default(), lines),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => return self.close(lines),
            }
        }
    }

    fn take(&mut self, bytes: &[u8], lines: &mut Vec<Line>) {
        for part in bytes.split_inclusive(|&byte| byte == b'\n') {
            self.begun.extend_from_slice(part);
            if self.begun.last() == Some(&b'\n') || self.begun.len() >= MAX_LINE_LEN {
                self.end_line(lines);
            }
        }
    }

    fn close(&mut self, lines: &mut Vec<Line>) {
        self.end = None;
        if !self.begun.is_empty() {
            self.end_line(lines);
        }
    }

    fn end_line(&mut self, lines: &mut Vec<Line>) {
        let text = String::from_utf8_lossy(&self.begun);
        let text = text.trim_end_matches(['\n', '\r']).to_owned();
        lines.push(Line { at: BootClock::new().now(), stream: self.stream, text });
        self.begun.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(script: &str) -> Process {
        let host = NodeName::new("here").expect("a name");
        let child = Process::launch(Command::new("sh").args(["-c", script])).expect("sh");
        Process::adopt(&host, "sh".to_owned(), child).expect("a thread")
    }

    const LONG: Duration = Duration::from_secs(30);

    #[test]
    fn lines_of_both_streams_come_with_the_end() {
        let process = start("echo one; echo two >&2; printf three; exit 3");
        assert_eq!(process.wait(LONG).expect("it ends").code(), Some(3));
        let mut texts: Vec<String> = process.lines().into_iter().map(|line| line.text).collect();
        texts.sort();
        assert_eq!(texts, ["one", "three", "two"]);
    }

    #[test]
    fn each_line_is_looked_at_once_by_each_handle() {
        let process = start("echo a; echo b; echo a; read -r never < /dev/zero");
        let other = process.clone();
        for _ in 0..2 {
            let line = process.wait_for_line(LONG, |line| line == "a").expect("twice");
            assert_eq!((line.text.as_str(), line.stream), ("a", Stream::Stdout));
        }
        process.kill().expect("killed");
        assert!(process.wait(LONG).expect("dead").code().is_none());
        let error = process.wait_for_line(LONG, |line| line == "a").expect_err("no third");
        assert!(matches!(error, LabError::Ended { .. }), "{error}");
        assert_eq!(other.wait_for_line(LONG, |_| true).expect("its first").text, "a");
    }

    #[test]
    fn memory_for_lines_is_bounded() {
        let process = start("seq 1 10100; head -c 200000 /dev/zero");
        process.wait(LONG).expect("it ends");
        process.shared.join();
        let lines = process.lines();
        assert_eq!(lines.len(), MAX_LINES);
        assert!(lines.iter().all(|line| line.text.len() <= MAX_LINE_LEN + 8192));
    }

    #[test]
    fn a_process_that_runs_on_is_a_timeout_and_not_an_end() {
        let process = start("exec sleep 1000");
        let error = process.wait(Duration::ZERO).expect_err("it sleeps");
        assert!(matches!(error, LabError::Timeout { .. }), "{error}");
        process.signal(ProcessSignal::Terminate).expect("sent");
        process.wait(LONG).expect("it heeds");
        process.signal(ProcessSignal::Terminate).expect("no error afterwards");
    }
}

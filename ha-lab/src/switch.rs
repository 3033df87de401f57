//! A power switch for the hosts of a lab, which their programs reach through a Unix socket: the
//! fence device of a laboratory's cluster.
//!
//! One line asks, one line answers, in text:
//!
//! | line | answer |
//! |---|---|
//! | `off NODE` | `ok` when the host is dead: cables, processes, mounts, addresses |
//! | `on NODE` | `ok` when it has power and its owner has started its programs |
//! | `reboot NODE` | `ok` after off and on |
//! | `status NODE` | `ok on` or `ok off` |
//! | `list` | `ok` and the names of all hosts on the switch, with blanks between |
//!
//! What cannot be done is answered by `error` and the reason. A connection may ask again after an
//! answer. The socket is a file, so a host reaches it with its network cut off, as it would a
//! switch on a line of its own.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use ha_core::event::EventKind;
use ha_core::id::NodeName;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::lab::{Lab, Shared};
use crate::worker::{StopSign, Worker};
use crate::{Host, LabError};

/// The longest line that is read, in bytes; a longer one ends the connection.
const MAX_LINE: usize = 512;
/// How many connections are served at once; more wait for one of them to end.
const MAX_CONNECTIONS: usize = 64;

/// A way in which a [`PowerSwitch`] fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SwitchFailure {
    /// It says that it failed, and does nothing.
    Refuses,
    /// It does what it is asked, and never says so.
    AnswerLost,
    /// It does nothing and never answers.
    Hangs,
}

type OnPower = Box<dyn Fn(&Host) + Send>;

/// Switches hosts off and on for whoever asks at its socket, in the words of this
/// [module](self).
///
/// Dropping it, or its lab, ends it and removes the socket. It answers to several at once, but
/// changes the power of one host once at a time.
///
/// ```
/// use std::time::Duration;
/// use ha_lab::switch::{PowerSwitch, ask};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # if let Err(error) = ha_lab::enter() { ha_lab::skip(error); return Ok(()); }
/// # let folder = tempfile::tempdir()?;
/// let lab = ha_lab::Lab::new()?;
/// let a = lab.host("a")?;
/// let socket = folder.path().join("switch");
/// let switch = PowerSwitch::new(&lab, &socket)?;
/// switch.plug(&a, |a| println!("{} has power: start its programs here", a.name()));
///
/// let limit = Duration::from_secs(10);
/// assert_eq!(ask(&socket, "off a", limit)?, "ok");
/// assert!(a.is_off());
/// switch.delay(Duration::from_millis(5)); // slow fencing
/// assert_eq!(ask(&socket, "status a", limit)?, "ok off");
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct PowerSwitch {
    worker: Arc<Worker>,
    board: Arc<Board>,
}

/// What the threads of the switch share.
#[derive(Debug)]
struct Board {
    lab: Arc<Shared>,
    state: Mutex<State>,
    connections: AtomicUsize,
}

#[derive(Debug, Default)]
struct State {
    plugs: BTreeMap<NodeName, Arc<Plug>>,
    delay: Duration,
    failure: Option<SwitchFailure>,
}

struct Plug {
    host: Host,
    /// Held while the power changes. Not while `on` runs: the power may fail during a boot, too.
    power: Mutex<()>,
    on: Mutex<OnPower>,
}

impl fmt::Debug for Plug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plug").field("host", self.host.name()).finish_non_exhaustive()
    }
}

impl PowerSwitch {
    /// Makes a switch without plugs that serves the socket `path`, which must not be there yet.
    ///
    /// # Errors
    ///
    /// [`LabError::Kernel`] when the socket cannot be made, or no thread started.
    pub fn new(lab: &Lab, path: impl Into<PathBuf>) -> Result<Self, LabError> {
        let path = path.into();
        let what = || format!("serve a power switch at {}", path.display());
        let failed = |error| LabError::kernel(what(), error);
        let listener = UnixListener::bind(&path).map_err(failed)?;
        let file = SocketFile::new(&path).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let lab = Arc::clone(lab.shared());
        let connections = AtomicUsize::new(0);
        let board = Arc::new(Board { lab, state: Mutex::default(), connections });
        let served = Arc::clone(&board);
        let serve = move |sign: &StopSign| {
            served.serve(&listener, sign);
            drop(file);
        };
        let worker = Worker::outside("ha-lab switch", serve).map_err(failed)?;
        board.lab.adopt(&worker);
        Ok(Self { worker, board })
    }

    /// Puts a host on the switch. `on` is called each time the switch has given it power, after
    /// [`Host::power_on`]: start the host's programs in it. `ok` is answered when it returns. The
    /// host may lose its power again while it runs, as during a boot: then nothing can be started.
    ///
    /// A host that is on the switch already gets the new `on`.
    pub fn plug(&self, host: &Host, on: impl Fn(&Host) + Send + 'static) {
        let on: OnPower = Box::new(on);
        let plug = Plug { host: host.clone(), power: Mutex::new(()), on: Mutex::new(on) };
        self.board.state().plugs.insert(host.name().clone(), Arc::new(plug));
    }

    /// Waits so long before each action and answer from now on: slow fencing. Default: zero.
    pub fn delay(&self, delay: Duration) {
        self.board.state().delay = delay;
    }

    /// Fails so at each `off`, `on`, `reboot` and `status` from now on.
    pub fn fail(&self, failure: SwitchFailure) {
        self.board.state().failure = Some(failure);
    }

    /// Ends [`fail`](Self::fail); who waits for a lost answer still waits.
    pub fn mend(&self) {
        self.board.state().failure = None;
    }
}

impl Drop for PowerSwitch {
    fn drop(&mut self) {
        self.worker.stop();
    }
}

/// Asks a [`PowerSwitch`] one line and returns its answer, without the end of the line.
///
/// # Errors
///
/// `TimedOut` when `limit` has passed without an answer: what was asked for may have happened;
/// `UnexpectedEof` when the switch has ended; others when it cannot be reached.
pub fn ask(path: &Path, line: &str, limit: Duration) -> io::Result<String> {
    let mut stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(limit))?;
    stream.set_write_timeout(Some(limit))?;
    stream.write_all(format!("{line}\n").as_bytes())?;
    let mut answer = String::new();
    match BufReader::new(stream).read_line(&mut answer) {
        Ok(_) if answer.ends_with('\n') => Ok(answer.trim_end().to_owned()),
        Ok(_) => Err(io::ErrorKind::UnexpectedEof.into()),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            Err(io::ErrorKind::TimedOut.into())
        }
        Err(error) => Err(error),
    }
}

impl Board {
    fn state(&self) -> MutexGuard<'_, State> {
        // Every change is a single assignment, so a panic elsewhere has broken nothing.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Serves until told to stop; returns when all connections have ended.
    fn serve(&self, listener: &UnixListener, sign: &StopSign) {
        thread::scope(|scope| {
            while !waits(sign, Some(listener), None) {
                if self.connections.load(Ordering::SeqCst) >= MAX_CONNECTIONS {
                    thread::park_timeout(Duration::from_millis(1));
                    continue;
                }
                let Ok((stream, _)) = listener.accept() else { continue };
                self.connections.fetch_add(1, Ordering::SeqCst);
                let thread = thread::Builder::new().name("ha-lab switch".to_owned());
                let started = thread.spawn_scoped(scope, move || {
                    // An error means that who asked has gone.
                    drop(self.talk(stream, sign));
                    self.connections.fetch_sub(1, Ordering::SeqCst);
                });
                if started.is_err() {
                    self.connections.fetch_sub(1, Ordering::SeqCst);
                }
            }
        });
    }

    fn talk(&self, mut stream: UnixStream, sign: &StopSign) -> io::Result<()> {
        stream.set_nonblocking(true)?;
        let mut said = Vec::new();
        loop {
            if waits(sign, Some(&stream), None) {
                return Ok(());
            }
            let mut buffer = [0; MAX_LINE];
            let read = io::Read::read(&mut stream, &mut buffer)?;
            said.extend(buffer.iter().take(read));
            if read == 0 || said.len() > MAX_LINE {
                return Ok(());
            }
            while let Some(end) = said.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = said.drain(..=end).collect();
                let line = String::from_utf8_lossy(&line).trim().to_owned();
                let Some(answer) = self.answer(&line, sign) else {
                    // Until who asked gives up, or the switch ends.
                    waits(sign, Some(&stream), None);
                    return Ok(());
                };
                stream.write_all(format!("{answer}\n").as_bytes())?;
            }
        }
    }

    /// Does what the line asks for; `None`: it never answers.
    fn answer(&self, line: &str, sign: &StopSign) -> Option<String> {
        let (delay, failure) = {
            let state = self.state();
            (state.delay, state.failure)
        };
        let node = line.split_whitespace().nth(1).unwrap_or("switch");
        let told = |text: String| {
            let kind = EventKind::Note { text: format!("power switch: {text}") };
            self.lab.tell(node, kind);
        };
        let kind = EventKind::Command { what: format!("power switch: {line}") };
        self.lab.tell(node, kind);
        if !delay.is_zero() && waits(sign, None::<&UnixStream>, Some(delay)) {
            return None;
        }
        let result = match failure {
            Some(SwitchFailure::Refuses) => Err("told to refuse".to_owned()),
            Some(SwitchFailure::Hangs) => {
                told(format!("{line}: hangs"));
                return None;
            }
            Some(SwitchFailure::AnswerLost) | None => self.act(line),
        };
        let answer = match result {
            Ok(words) if words.is_empty() => "ok".to_owned(),
            Ok(words) => format!("ok {words}"),
            Err(why) => format!("error {}", why.replace(['\n', '\r'], " ")),
        };
        let lost = failure == Some(SwitchFailure::AnswerLost);
        told(format!("{line}: {answer}{}", if lost { ", which is lost" } else { "" }));
        (!lost).then_some(answer)
    }

    fn act(&self, line: &str) -> Result<String, String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (action, node) = match words[..] {
            ["list"] => {
                let names = self.state().plugs.keys().map(NodeName::to_string).collect::<Vec<_>>();
                return Ok(names.join(" "));
            }
            [action, node] => (action, node),
            _ => return Err(usage(line)),
        };
        let plug =
            node.parse().ok().and_then(|node: NodeName| self.state().plugs.get(&node).cloned());
        let plug = plug.ok_or_else(|| {
            format!("cannot find {node:?}: no plug of that name; ask for the `list`")
        })?;
        plug.act(action).unwrap_or_else(|| Err(usage(line)))
    }
}

fn usage(line: &str) -> String {
    let line: String = line.chars().take(80).collect();
    format!(
        "cannot understand {line:?}: say `off NODE`, `on NODE`, `reboot NODE`, `status NODE` or \
         `list`"
    )
}

impl Plug {
    /// `None`: there is no such action.
    fn act(&self, action: &str) -> Option<Result<String, String>> {
        let said = |error: LabError| match std::error::Error::source(&error) {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        };
        if action == "status" {
            return Some(Ok(if self.host.is_surely_off() { "off" } else { "on" }.to_owned()));
        }
        if !matches!(action, "off" | "on" | "reboot") {
            return None;
        }
        let done = match action {
            "off" => self.off(),
            "on" => self.on(),
            _ => self.off().and_then(|()| self.on()),
        };
        Some(done.map(|()| String::new()).map_err(said))
    }

    fn off(&self) -> Result<(), LabError> {
        let _changing = self.power.lock().unwrap_or_else(PoisonError::into_inner);
        // It may be losing its power by another hand: until that is done it can do harm.
        if self.host.is_surely_off() { Ok(()) } else { self.host.power_off() }
    }

    fn on(&self) -> Result<(), LabError> {
        {
            let _changing = self.power.lock().unwrap_or_else(PoisonError::into_inner);
            if !self.host.is_off() {
                return Ok(());
            }
            self.host.power_on()?;
        }
        let on = self.on.lock().unwrap_or_else(PoisonError::into_inner);
        on(&self.host);
        Ok(())
    }
}

/// Waits until `other` is readable (`false`) or the thread shall stop (`true`); at most `limit`.
fn waits(sign: &StopSign, other: Option<&impl AsFd>, limit: Option<Duration>) -> bool {
    let mut polled = vec![PollFd::new(sign, PollFlags::IN)];
    if let Some(other) = other {
        polled.push(PollFd::from_borrowed_fd(other.as_fd(), PollFlags::IN));
    }
    let limit = limit.and_then(|limit| Timespec::try_from(limit).ok());
    // An interrupted wait is as good as a short one for all but the delay, which is a test's.
    while let Err(rustix::io::Errno::INTR) = poll(&mut polled, limit.as_ref()) {}
    polled.first().is_some_and(|sign| !sign.revents().is_empty())
}

/// The socket's file; removed with this value, unless another has taken its place.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    inode: (u64, u64),
}

impl SocketFile {
    fn new(path: &Path) -> io::Result<Self> {
        let path = std::path::absolute(path)?;
        let inode = inode(&path)?;
        Ok(Self { path, inode })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if inode(&self.path).is_ok_and(|inode| inode == self.inode) {
            // Nothing can be done about a directory that has become read-only.
            drop(fs::remove_file(&self.path));
        }
    }
}

fn inode(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

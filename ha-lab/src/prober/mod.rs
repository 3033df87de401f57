//! The prober: a client that asks every millisecond, and says when nobody answered, and who did.
//!
//! ```text
//!   client ──probe (cookie, number)──▶ address:port ──▶ Responder on whichever host holds it
//!          ◀──── the same, and the host's name ──────
//! ```
//!
//! Probes are UDP datagrams sent on an absolute schedule. An answer counts wherever it comes from,
//! because a wildcard socket answers from its host's first address and not from the floating one;
//! a random cookie and the probe's number make it an answer.
//!
//! ```
//! use std::time::Duration;
//! use ha_lab::prober::{Prober, Responder};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # if let Err(error) = ha_lab::enter() { ha_lab::skip(error); return Ok(()); }
//! let lab = ha_lab::Lab::new()?;
//! let lan = lab.network("lan")?;
//! let client = lab.host("client")?.join(&lan, "10.77.0.1/24")?;
//! let server = lab.host("server")?.join(&lan, "10.77.0.2/24")?;
//! let _responder = Responder::start(&server, 7)?;
//! let prober = Prober::start(&client, "10.77.0.2:7".parse()?, Duration::from_millis(1))?;
//! prober.wait_for_answer_by(server.name(), Duration::from_secs(10))?;
//! server.power_off()?;
//! let report = prober.finish();
//! assert!(report.answered >= 1);
//! # Ok(()) }
//! ```

mod report;
mod responder;

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ha_core::id::NodeName;
use ha_core::time::{BootClock, Clock as _, Instant};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime,
};

pub use report::{Answer, AnswerSpan, Gap, Probe, ProbeReport};
pub use responder::{Responder, answer};

use crate::worker::{StopSign, Worker};
use crate::{Host, LabError};

/// After so many probes (an hour and ten minutes at one a millisecond) a prober stops asking:
/// each takes some 50 bytes of memory.
pub const MAX_PROBES: usize = 1 << 22;

/// How a service is probed.
#[derive(Debug, Clone)]
#[must_use]
pub struct ProberSettings {
    target: SocketAddr,
    every: Duration,
    patience: Duration,
    threshold: Duration,
}

impl ProberSettings {
    /// Probes of `target` every millisecond.
    pub const fn new(target: SocketAddr) -> Self {
        let every = Duration::from_millis(1);
        Self { target, every, patience: Duration::ZERO, threshold: Duration::ZERO }
    }

    /// The time between two probes; 100 µs or more, default 1 ms.
    pub const fn every(mut self, interval: Duration) -> Self {
        self.every = interval;
        self
    }

    /// How late an answer may come and still count; default (zero) ten intervals, at least 10 ms.
    ///
    /// Late answers are no service: a kernel that looks for a neighbour keeps probes, and sends
    /// them all once it has found it.
    pub const fn patience(mut self, limit: Duration) -> Self {
        self.patience = limit;
        self
    }

    /// The least time without service that is reported as a gap; default (zero) two intervals.
    pub const fn threshold(mut self, least: Duration) -> Self {
        self.threshold = least;
        self
    }

    /// Starts probing from `client`.
    ///
    /// # Errors
    ///
    /// [`LabError::Range`]; [`LabError::Kernel`].
    pub fn start(mut self, client: &Host) -> Result<Prober, LabError> {
        if self.every < Duration::from_micros(100) {
            let value = format!("{:?}", self.every);
            let (what, allowed) = ("the interval of a prober", "100 µs or more");
            return Err(LabError::Range { what, value, allowed });
        }
        if self.patience.is_zero() {
            self.patience = (self.every * 10).max(Duration::from_millis(10));
        }
        if self.threshold.is_zero() {
            self.threshold = self.every * 2;
        }
        Prober::new(client, self)
    }
}

/// A client that probes; see the [module](self).
///
/// Dropping it stops it. Its thread stops with the lab at the latest; the report can be had still.
#[derive(Debug)]
pub struct Prober {
    shared: Arc<Shared>,
    worker: Arc<Worker>,
}

#[derive(Debug)]
struct Shared {
    settings: ProberSettings,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    probes: Vec<Probe>,
    /// When the last probe was sent that each host answered in time.
    last: BTreeMap<NodeName, Instant>,
}

impl Prober {
    /// Starts probing `target` from `client`, one probe `every` so often, with the settings'
    /// defaults; see [`ProberSettings`].
    ///
    /// # Errors
    ///
    /// As [`ProberSettings::start`].
    pub fn start(client: &Host, target: SocketAddr, every: Duration) -> Result<Self, LabError> {
        ProberSettings::new(target).every(every).start(client)
    }

    fn new(client: &Host, settings: ProberSettings) -> Result<Self, LabError> {
        let what = || format!("probe {} from {}", settings.target, client.name());
        let failed = |error| LabError::kernel(what(), error);
        let kernel = client.kernel(what)?;
        let any = match settings.target {
            SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        let socket = kernel.run(|| UdpSocket::bind((any, 0))).flatten().map_err(failed)?;
        socket.set_nonblocking(true).map_err(failed)?;
        let cookie = random().map_err(failed)?;
        let name = format!("ha-lab prober {}", client.name());
        let shared = Shared { settings, state: Mutex::default(), changed: Condvar::new() };
        let shared = Arc::new(shared);
        let seen = Arc::clone(&shared);
        let run = move |stop: &StopSign| {
            if let Err(error) = seen.probe(&socket, cookie, stop) {
                tracing::error!(target: "ha_lab", %error, "prober stopped");
            }
        };
        let worker = Worker::start(&kernel, &name, run);
        let worker = worker.map_err(|error| LabError::kernel(name.clone(), error))?;
        client.lab.adopt(&worker);
        Ok(Self { shared, worker })
    }

    /// Waits for an answer in time by `host` to a probe sent after this call.
    ///
    /// # Errors
    ///
    /// [`LabError::Timeout`].
    pub fn wait_for_answer_by(&self, host: &NodeName, timeout: Duration) -> Result<(), LabError> {
        let since = BootClock::new().now();
        self.wait(timeout, &format!("see an answer by {host}"), |state| {
            state.last.get(host).is_some_and(|&sent| sent >= since)
        })
    }

    /// Waits until `count` probes were sent.
    ///
    /// # Errors
    ///
    /// [`LabError::Timeout`].
    pub fn wait_for_probes(&self, count: usize, timeout: Duration) -> Result<(), LabError> {
        self.wait(timeout, &format!("send {count} probes"), |state| state.probes.len() >= count)
    }

    /// What was seen so far.
    #[must_use]
    pub fn report(&self) -> ProbeReport {
        let settings = &self.shared.settings;
        let patience = settings.patience;
        ProbeReport::of(&self.shared.state().probes, patience, settings.threshold)
    }

    /// Every probe so far, for statistics of one's own.
    #[must_use]
    pub fn probes(&self) -> Vec<Probe> {
        self.shared.state().probes.clone()
    }

    /// Stops probing, waits as long as answers may come, and reports.
    #[must_use]
    pub fn finish(self) -> ProbeReport {
        self.worker.stop();
        self.report()
    }

    fn wait(
        &self,
        limit: Duration,
        what: &str,
        done: impl Fn(&State) -> bool,
    ) -> Result<(), LabError> {
        let state = self.shared.state();
        let waited = self.shared.changed.wait_timeout_while(state, limit, |state| !done(state));
        let state = waited.unwrap_or_else(PoisonError::into_inner).0;
        if done(&state) {
            return Ok(());
        }
        let answered = state.probes.iter().filter(|probe| probe.answer.is_some()).count();
        let seen = format!("of {} probes {answered} were answered", state.probes.len());
        Err(LabError::Timeout { what: what.to_owned(), limit, seen })
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        self.worker.stop();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Probes until told to stop, then waits for the last answers.
    fn probe(&self, socket: &UdpSocket, cookie: u64, stop: &StopSign) -> io::Result<()> {
        let timer = timerfd_create(
            TimerfdClockId::Boottime,
            TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK,
        )?;
        let every = timespec(self.settings.every);
        let first = Timespec { tv_sec: 0, tv_nsec: 1 };
        let schedule = Itimerspec { it_interval: every, it_value: first };
        timerfd_settime(&timer, TimerfdTimerFlags::empty(), &schedule)?;
        loop {
            let mut fds = [
                PollFd::new(stop, PollFlags::IN),
                PollFd::new(&timer, PollFlags::IN),
                PollFd::new(socket, PollFlags::IN),
            ];
            retry(|| poll(&mut fds, None))?;
            let [stopped, due, readable] = fds.map(|fd| !fd.revents().is_empty());
            if readable {
                self.receive(socket, cookie);
            }
            if stopped {
                return self.last_answers(socket, cookie);
            }
            // Ticks that were missed are not made up for: late probes would say nothing new.
            if due && rustix::io::read(&timer, &mut [0; 8]).is_ok() {
                self.send(socket, cookie);
            }
        }
    }

    fn send(&self, socket: &UdpSocket, cookie: u64) {
        let mut state = self.state();
        if state.probes.len() >= MAX_PROBES {
            return;
        }
        let number = state.probes.len() as u64;
        state.probes.push(Probe { sent: BootClock::new().now(), answer: None });
        drop(state);
        let mut probe = [0; 16];
        probe[..8].copy_from_slice(&cookie.to_be_bytes());
        probe[8..].copy_from_slice(&number.to_be_bytes());
        // A probe that cannot be sent (no route, no neighbour) is one without an answer.
        drop(socket.send_to(&probe, self.settings.target));
        self.changed.notify_all();
    }

    fn receive(&self, socket: &UdpSocket, cookie: u64) {
        let mut buffer = [0; 512];
        // Errors of earlier probes (host unreachable) arrive here, too, one each time.
        for _ in 0..1024 {
            let len = match socket.recv_from(&mut buffer) {
                Ok((len, _)) => len,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => continue,
            };
            let at = BootClock::new().now();
            if let Some((number, by)) = parse(buffer.get(..len).unwrap_or_default(), cookie) {
                self.take(number, Answer { at, by });
            }
        }
        self.changed.notify_all();
    }

    fn take(&self, number: u64, answer: Answer) {
        let mut state = self.state();
        let probe = usize::try_from(number).ok().and_then(|number| state.probes.get_mut(number));
        let Some(probe) = probe.filter(|probe| probe.answer.is_none()) else { return };
        let sent = probe.sent;
        probe.answer = Some(answer.clone());
        if answer.at.since(sent) <= self.settings.patience {
            state.last.insert(answer.by, sent);
        }
    }

    fn last_answers(&self, socket: &UdpSocket, cookie: u64) -> io::Result<()> {
        let clock = BootClock::new();
        let patience = self.settings.patience;
        loop {
            let now = clock.now();
            let left = {
                let state = self.state();
                let hopes = state.probes.iter().rev().take_while(|p| now.since(p.sent) < patience);
                let open = hopes.filter(|probe| probe.answer.is_none()).last();
                open.map(|probe| (probe.sent + patience).since(now))
            };
            let Some(left) = left else { return Ok(()) };
            let mut fds = [PollFd::new(socket, PollFlags::IN)];
            retry(|| poll(&mut fds, Some(&timespec(left))))?;
            self.receive(socket, cookie);
        }
    }
}

/// The number of the answered probe and who answered.
fn parse(bytes: &[u8], cookie: u64) -> Option<(u64, NodeName)> {
    let (ours, rest) = bytes.split_first_chunk()?;
    let (number, name) = rest.split_first_chunk()?;
    if u64::from_be_bytes(*ours) != cookie {
        return None;
    }
    Some((u64::from_be_bytes(*number), NodeName::new(std::str::from_utf8(name).ok()?).ok()?))
}

fn random() -> io::Result<u64> {
    let mut bytes = [0; 8];
    io::Read::read_exact(&mut std::fs::File::open("/dev/urandom")?, &mut bytes)?;
    Ok(u64::from_ne_bytes(bytes))
}

/// Calls again after a signal.
pub(crate) fn retry<R>(mut call: impl FnMut() -> rustix::io::Result<R>) -> io::Result<R> {
    loop {
        match call() {
            Err(rustix::io::Errno::INTR) => {}
            other => return Ok(other?),
        }
    }
}

fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: duration.subsec_nanos().into(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn foreign_packets_are_no_answers(bytes: Vec<u8>, cookie: u64) {
            if let Some((number, name)) = parse(&bytes, cookie) {
                let mut again = cookie.to_be_bytes().to_vec();
                again.extend(number.to_be_bytes());
                again.extend(name.as_str().as_bytes());
                prop_assert_eq!(again, bytes);
            }
        }
    }

    #[test]
    fn an_answer_names_its_probe_and_its_host() {
        let mut bytes = 7_u64.to_be_bytes().to_vec();
        bytes.extend(9_u64.to_be_bytes());
        assert_eq!(parse(&bytes, 7), None, "without a name");
        bytes.extend(b"lb-1");
        assert_eq!(parse(&bytes, 7), Some((9, NodeName::new("lb-1").expect("a name"))));
        assert_eq!(parse(&bytes, 8), None, "of another prober");
    }
}

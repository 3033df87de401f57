//! The clients: HTTP requests at a fixed pace, whatever becomes of the earlier ones.
//!
//! Open loop: a request that hangs does not keep the next one from being sent, so an outage shows
//! in full. A request that fails is sent again on a new connection, as browsers and HTTP clients
//! do with a GET (RFC 9110, section 9.2.2); only one that fails for good counts as failed.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ha_core::driver::Alarm;
use ha_core::time::{BootClock, Clock, Instant};
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::{JoinSet, LocalSet};

/// The time between two requests.
pub(crate) const PACE: Duration = Duration::from_millis(2);
/// How long one attempt may take before the request is sent again.
const ATTEMPT: Duration = Duration::from_millis(250);
const ATTEMPTS: u32 = 8;
/// Connections that are kept for the next request.
const KEPT: usize = 8;

type Sender = SendRequest<Empty<Bytes>>;

/// What became of one request.
#[derive(Debug, Clone)]
pub(crate) struct Answered {
    /// When it was first sent.
    pub(crate) sent: Instant,
    /// When its answer was complete, or given up.
    pub(crate) done: Instant,
    /// How often it was sent again.
    pub(crate) retries: u32,
    /// The backend that answered; `None`: it failed.
    pub(crate) by: Option<String>,
}

/// What clients have seen so far; shared with the thread that drives them.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    stop: AtomicBool,
    answers: Mutex<Vec<Answered>>,
}

impl Traffic {
    /// Sends requests to `target` until [`stop`](Self::stop), on the calling thread, in its
    /// network namespace.
    pub(crate) fn drive(&self, target: SocketAddr) -> std::io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let client = Rc::new(Client { target, kept: RefCell::default() });
        LocalSet::new().block_on(&runtime, async {
            let (clock, alarm) = (BootClock::new(), Alarm::new()?);
            let mut next = clock.now();
            let mut running = JoinSet::new();
            while !self.stop.load(Ordering::Relaxed) {
                alarm.until(Some(next)).await?;
                next += PACE;
                let client = Rc::clone(&client);
                running.spawn_local(async move { client.request().await });
                while let Some(answer) = running.try_join_next() {
                    self.note(answer?);
                }
            }
            while let Some(answer) = running.join_next().await {
                self.note(answer?);
            }
            Ok(())
        })
    }

    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    fn note(&self, answer: Answered) {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).push(answer);
    }

    /// What clients saw between `from` and `to`.
    pub(crate) fn seen(&self, from: Instant, to: Instant) -> Seen {
        seen(&self.answers.lock().unwrap_or_else(PoisonError::into_inner), from, to)
    }

    /// The stretches of time longer than `least` in which no client had an answer.
    pub(crate) fn gaps(&self, least: Duration) -> Vec<(Instant, Instant)> {
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let times = good(&answers, Instant::ZERO, Instant::MAX);
        let pairs = times.windows(2).map(|pair| (pair[0], pair[1]));
        pairs.filter(|(from, to)| to.since(*from) >= least).collect()
    }
}

struct Client {
    target: SocketAddr,
    kept: RefCell<Vec<Sender>>,
}

impl Client {
    async fn request(&self) -> Answered {
        let clock = BootClock::new();
        let sent = clock.now();
        for attempt in 0..ATTEMPTS {
            // A connection that was kept may be dead: the second attempt opens a new one.
            let attempted = tokio::time::timeout(ATTEMPT, self.attempt(attempt == 0)).await;
            if let Ok(Some(by)) = attempted {
                return Answered { sent, done: clock.now(), retries: attempt, by: Some(by) };
            }
        }
        Answered { sent, done: clock.now(), retries: ATTEMPTS, by: None }
    }

    async fn attempt(&self, reuse: bool) -> Option<String> {
        let kept = if reuse { self.kept.borrow_mut().pop() } else { None };
        let mut sender = match kept.filter(|sender| !sender.is_closed()) {
            Some(sender) => sender,
            None => self.connect().await?,
        };
        let host = self.target.ip().to_string();
        let request = Request::get("/").header("host", host).body(Empty::new()).ok()?;
        sender.ready().await.ok()?;
        let response = sender.send_request(request).await.ok()?;
        let good = response.status() == StatusCode::OK;
        let keep = response.headers().get("connection").is_none_or(|value| value != "close");
        let body = response.into_body().collect().await.ok()?.to_bytes();
        if keep && self.kept.borrow().len() < KEPT {
            self.kept.borrow_mut().push(sender);
        }
        good.then(|| String::from_utf8_lossy(&body).trim().to_owned())
    }

    async fn connect(&self) -> Option<Sender> {
        let stream = TcpStream::connect(self.target).await.ok()?;
        stream.set_nodelay(true).ok()?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await.ok()?;
        tokio::task::spawn_local(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection ended");
            }
        });
        Some(sender)
    }
}

/// What clients saw in a stretch of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Seen {
    pub(crate) sent: usize,
    pub(crate) failed: usize,
    pub(crate) retried: usize,
    /// The longest time between two answers.
    pub(crate) gap: Duration,
}

/// When good answers were complete, in order.
fn good(answers: &[Answered], from: Instant, to: Instant) -> Vec<Instant> {
    let good = answers.iter().filter(|answer| answer.by.is_some()).map(|answer| answer.done);
    let mut times: Vec<Instant> = good.filter(|done| (from..to).contains(done)).collect();
    times.sort_unstable();
    times
}

fn seen(answers: &[Answered], from: Instant, to: Instant) -> Seen {
    let during: Vec<&Answered> =
        answers.iter().filter(|answer| (from..to).contains(&answer.sent)).collect();
    let mut times = good(answers, from, to);
    times.insert(0, from);
    let longest = times.windows(2).map(|pair| pair[1].since(pair[0])).max();
    Seen {
        sent: during.len(),
        failed: during.iter().filter(|answer| answer.by.is_none()).count(),
        retried: during.iter().filter(|answer| answer.retries > 0).count(),
        gap: longest.unwrap_or_else(|| to.since(from)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(sent_ms: u64, done_ms: u64, retries: u32, ok: bool) -> Answered {
        let by = ok.then(|| "web1".to_owned());
        let (sent, done) = (Instant::from_millis(sent_ms), Instant::from_millis(done_ms));
        Answered { sent, done, retries, by }
    }

    #[test]
    fn the_gap_is_the_longest_time_without_an_answer() {
        let answers = [
            answer(0, 1, 0, true),
            answer(2, 43, 1, true),
            answer(4, 40, 0, true),
            answer(6, 9, 8, false),
        ];
        let seen = seen(&answers, Instant::ZERO, Instant::from_millis(50));
        assert_eq!((seen.sent, seen.failed, seen.retried), (4, 1, 2));
        assert_eq!(seen.gap, Duration::from_millis(39));
    }

    #[test]
    fn no_answer_at_all_is_a_gap_of_the_whole_time() {
        let seen = seen(&[], Instant::ZERO, Instant::from_millis(70));
        assert_eq!(seen.gap, Duration::from_millis(70));
    }
}

//! The clients: connections at a fixed pace, whatever becomes of the earlier ones.
//!
//! Open loop: one that hangs does not keep the next one from being made, so an outage shows in
//! full. A client that gets no answer in time tries again, as programs do.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ha_core::driver::Alarm;
use ha_core::time::{BootClock, Clock, Instant};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::task::{JoinSet, LocalSet};

/// The time between two clients.
const PACE: Duration = Duration::from_millis(4);
/// How long one attempt may take.
const ATTEMPT: Duration = Duration::from_millis(250);
/// How often a client tries before it gives up.
const ATTEMPTS: u32 = 4;
/// How long a client that was refused waits.
const AGAIN: Duration = Duration::from_millis(20);

/// What became of one client.
#[derive(Debug, Clone)]
struct Answered {
    sent: Instant,
    done: Instant,
    /// The node that answered; `None`: none did.
    by: Option<String>,
}

/// What clients have seen so far; shared with the thread that drives them.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    stop: AtomicBool,
    answers: Mutex<Vec<Answered>>,
}

/// What clients saw in a stretch of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Seen {
    pub(crate) sent: usize,
    /// Those that gave up.
    pub(crate) failed: usize,
    /// The longest time between two answers.
    pub(crate) gap: Duration,
}

impl Traffic {
    /// Asks `target` until [`stop`](Self::stop), on the calling thread, in its network namespace.
    pub(crate) fn drive(&self, target: SocketAddr) -> std::io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        LocalSet::new().block_on(&runtime, async {
            let (clock, alarm) = (BootClock::new(), Alarm::new()?);
            let mut next = clock.now();
            let mut running = JoinSet::new();
            while !self.stop.load(Ordering::Relaxed) {
                alarm.until(Some(next)).await?;
                next += PACE;
                running.spawn_local(client(target));
                while let Some(answer) = running.try_join_next() {
                    self.note(answer?);
                }
            }
            Ok(())
        })
    }

    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// The first answer by a node that is wanted to a client that began after `since`: when, and
    /// by whom.
    pub(crate) fn answered(
        &self,
        since: Instant,
        wanted: impl Fn(&str) -> bool,
    ) -> Option<(Instant, String)> {
        let answers = self.answers();
        let good = answers.iter().filter(|answer| answer.sent >= since);
        let mut good = good.filter_map(|answer| Some((answer.done, answer.by.clone()?)));
        good.find(|(_, by)| wanted(by))
    }

    /// What clients saw between `from` and `to`.
    pub(crate) fn seen(&self, from: Instant, to: Instant) -> Seen {
        seen(&self.answers(), from, to)
    }

    /// The stretches of time longer than `least` in which no client had an answer.
    pub(crate) fn gaps(&self, least: Duration) -> Vec<(Instant, Instant)> {
        let times = good(&self.answers(), Instant::ZERO, Instant::MAX);
        let pairs = times.windows(2).map(|pair| (pair[0], pair[1]));
        pairs.filter(|(from, to)| to.since(*from) >= least).collect()
    }

    fn note(&self, answer: Answered) {
        self.answers().push(answer);
    }

    fn answers(&self) -> std::sync::MutexGuard<'_, Vec<Answered>> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn client(target: SocketAddr) -> Answered {
    let clock = BootClock::new();
    let sent = clock.now();
    for _ in 0..ATTEMPTS {
        if let Ok(Some(by)) = tokio::time::timeout(ATTEMPT, attempt(target)).await {
            return Answered { sent, done: clock.now(), by: Some(by) };
        }
        // An error means that there is no clock.
        drop(ha_core::driver::pause(AGAIN).await);
    }
    Answered { sent, done: clock.now(), by: None }
}

/// The first word of the answer: who serves.
async fn attempt(target: SocketAddr) -> Option<String> {
    let mut stream = TcpStream::connect(target).await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    answer.split_whitespace().next().map(str::to_owned)
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
        gap: longest.unwrap_or_else(|| to.since(from)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gap_is_the_longest_time_without_an_answer() {
        let answer = |sent, done, ok: bool| Answered {
            sent: Instant::from_millis(sent),
            done: Instant::from_millis(done),
            by: ok.then(|| "n1".to_owned()),
        };
        let answers = [answer(0, 1, true), answer(2, 43, true), answer(4, 9, false)];
        let seen = seen(&answers, Instant::ZERO, Instant::from_millis(50));
        assert_eq!((seen.sent, seen.failed), (3, 1));
        assert_eq!(seen.gap, Duration::from_millis(42));
    }
}

//! The race of a request and its hedges.

use std::future::Future;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use ha_core::time::{Clock, Instant};
use tokio::time::{Sleep, sleep};

use super::Hedge;

/// Makes a request and, where it takes unusually long, further ones; gives the first good answer.
///
/// `attempt` makes a request from its number: 0 is the first one. Send the others to other
/// endpoints. Requests that lose are dropped. When a request fails while another one is under way,
/// the other's answer counts; when none is left, the last error is given: this is no retry.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// use std::time::Duration;
/// use ha_core::time::BootClock;
/// use ha_lb::resilience::hedge::{Delay, Hedge, hedged};
///
/// let hedge = Hedge::builder(Delay::Fixed(Duration::from_millis(5))).build()?;
/// let clock = BootClock::new();
/// let answer = hedged(&hedge, &clock, |number| async move {
///     match number {
///         0 => std::future::pending().await, // the first server hangs
///         _ => Ok::<_, std::io::Error>("the second server's answer"),
///     }
/// });
/// assert_eq!(answer.await?, "the second server's answer");
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
///
/// # Errors
///
/// The error of the request that failed last.
///
/// # Cancel safety
///
/// Cancel safe as far as the requests are: dropping it drops all that are under way.
pub async fn hedged<T, E, F>(
    hedge: &Hedge,
    clock: &impl Clock,
    mut attempt: impl FnMut(u32) -> F,
) -> Result<T, E>
where
    F: Future<Output = Result<T, E>>,
{
    let started = clock.now();
    hedge.start(started);
    // Most requests need no more than this one, so it is not boxed.
    let first = attempt(0);
    tokio::pin!(first);
    let mut others = FuturesUnordered::new();
    let delay = hedge.hedge_after();
    let timer = wait(delay.unwrap_or_default());
    tokio::pin!(timer);
    let (mut first_runs, mut sent) = (true, 1);
    let mut may_hedge = delay.is_some();
    loop {
        let (since, result) = tokio::select! { biased;
            result = &mut first, if first_runs => {
                first_runs = false;
                (started, result)
            }
            Some(ended) = others.next(), if !others.is_empty() => ended,
            () = &mut timer, if may_hedge => {
                let now = clock.now();
                if hedge.try_hedge(now) {
                    others.push(timed(now, attempt(sent)));
                    sent += 1;
                    timer.set(wait(delay.unwrap_or_default()));
                    may_hedge = sent < hedge.tries();
                } else {
                    may_hedge = false;
                }
                continue;
            }
        };
        let now = clock.now();
        match result {
            Ok(answer) => {
                hedge.record(now, now.since(since));
                if first_runs {
                    hedge.record(now, now.since(started));
                }
                return Ok(answer);
            }
            Err(error) if !first_runs && others.is_empty() => return Err(error),
            Err(_) => {}
        }
    }
}

/// The time of a request's start with its result.
async fn timed<F: Future>(since: Instant, request: F) -> (Instant, F::Output) {
    (since, request.await)
}

#[expect(clippy::disallowed_methods, reason = "a descriptor for each request would cost more")]
fn wait(delay: Duration) -> Sleep {
    sleep(delay)
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use ha_core::time::WallTime;
    use tokio::time::Instant as TokioInstant;

    use super::super::{Delay, HedgeBuilder};
    use super::*;
    use crate::resilience::budget::Budget;

    /// tokio's clock, which tests stop.
    #[derive(Debug)]
    struct PausedClock(TokioInstant);

    impl PausedClock {
        fn new() -> Self {
            Self(TokioInstant::now())
        }
    }

    impl Clock for PausedClock {
        fn now(&self) -> Instant {
            Instant::from_secs(1_000) + self.0.elapsed()
        }
        fn wall(&self) -> WallTime {
            WallTime::from_micros(0)
        }
    }

    fn after(millis: u64) -> HedgeBuilder {
        Hedge::builder(Delay::Fixed(Duration::from_millis(millis)))
    }

    /// Answers with its number after some milliseconds; the error is its number, too.
    async fn request(number: u32, millis: u64, good: bool) -> Result<u32, u32> {
        wait(Duration::from_millis(millis)).await;
        if good { Ok(number) } else { Err(number) }
    }

    /// Runs requests that take so long and end so; returns the result, the time and how many there
    /// were.
    async fn race(hedge: &Hedge, requests: &[(u64, bool)]) -> (Result<u32, u32>, u64, u32) {
        let clock = PausedClock::new();
        let mut made = 0;
        let result = hedged(hedge, &clock, |number| {
            made += 1;
            let (millis, good) = requests[usize::try_from(number).expect("small")];
            request(number, millis, good)
        });
        let result = result.await;
        let took = clock.0.elapsed().as_millis();
        (result, u64::try_from(took).expect("short"), made)
    }

    #[tokio::test(start_paused = true)]
    async fn a_quick_answer_needs_no_second_request() {
        let hedge = after(10).build().expect("in range");
        assert_eq!(race(&hedge, &[(9, true)]).await, (Ok(0), 9, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_answer_wins_whoever_gives_it() {
        let hedge = after(10).tries(3).build().expect("in range");
        let second_wins = [(100, true), (5, true)];
        assert_eq!(race(&hedge, &second_wins).await, (Ok(1), 15, 2));
        let first_wins = [(18, true), (50, true), (50, true)];
        assert_eq!(race(&hedge, &first_wins).await, (Ok(0), 18, 2));
        let third_wins = [(100, true), (100, true), (1, true)];
        assert_eq!(race(&hedge, &third_wins).await, (Ok(2), 21, 3));
    }

    #[tokio::test(start_paused = true)]
    async fn an_error_is_given_only_when_no_request_is_left() {
        let hedge = after(10).build().expect("in range");
        assert_eq!(race(&hedge, &[(3, false)]).await, (Err(0), 3, 1));
        assert_eq!(race(&hedge, &[(12, false), (40, true)]).await, (Ok(1), 50, 2));
        assert_eq!(race(&hedge, &[(60, true), (5, false)]).await, (Ok(0), 60, 2));
        assert_eq!(race(&hedge, &[(12, false), (40, false)]).await, (Err(1), 50, 2));
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_budget_there_is_no_second_request() {
        let none = Budget::builder().percent(0).min_per_second(0);
        let hedge = after(10).budget(none).build().expect("in range");
        assert_eq!(race(&hedge, &[(300, true)]).await, (Ok(0), 300, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn all_that_lose_or_are_dropped_are_cancelled() {
        struct Running(Arc<AtomicU32>);
        impl Drop for Running {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::SeqCst);
            }
        }
        let hedge = after(10).tries(3).build().expect("in range");
        let clock = PausedClock::new();
        let running = Arc::new(AtomicU32::new(0));
        let make = |number| {
            running.fetch_add(1, Ordering::SeqCst);
            let guard = Running(Arc::clone(&running));
            async move {
                let _guard = guard;
                request(number, if number == 2 { 5 } else { 1_000 }, true).await
            }
        };
        assert_eq!(hedged(&hedge, &clock, make).await, Ok(2));
        assert_eq!(running.load(Ordering::SeqCst), 0);
        let given_up =
            tokio::time::timeout(Duration::from_millis(15), hedged(&hedge, &clock, make));
        assert!(given_up.await.is_err());
        assert_eq!(running.load(Ordering::SeqCst), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_of_a_first_request_that_lost_counts() {
        let hedge = Hedge::builder(Delay::Quantile(500)).min_samples(1).build().expect("in range");
        let (_, _, made) = race(&hedge, &[(40, true)]).await;
        let delay = hedge.hedge_after().expect("one is known");
        assert_eq!((made, delay.as_millis()), (1, 40));
        let (result, ..) = race(&hedge, &[(4_000, true), (100, true)]).await;
        assert_eq!(result, Ok(1));
        assert_eq!(hedge.status(Instant::from_secs(1_000)).samples, 3);
    }
}

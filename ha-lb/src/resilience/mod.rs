//! What keeps a failure small: limits, retries, hedges and deadlines, each usable alone.
//!
//! ```text
//!           work comes in                                        work goes out
//!  rate ─▶ limits / concurrency ─▶ deadline ─▶ breaker ─▶ retry (backoff, budget) ─▶ hedge
//!  too often?  too many at once?   in time?    is it      once more?                 a second
//!                                              failing?                              one beside?
//! ```
//!
//! | part | bounds | after |
//! |---|---|---|
//! | [`rate`] | work in a time, for all or for each client | GCRA, ITU-T I.371 |
//! | [`limits`] | connections, requests, retries at once; numbers that you set | Envoy |
//! | [`concurrency`] | requests at once; a number that it finds | Netflix' concurrency-limits |
//! | [`breaker`] | work for what fails | Nygard, Hystrix |
//! | [`retry`], [`backoff`] | tries of one request, pauses between them | gRPC, Envoy, AWS |
//! | [`budget`], [`active_budget`] | retries of all requests together | Finagle, Envoy |
//! | [`hedge`] | the slowest answers | "The Tail at Scale" |
//! | [`deadline`] | the time of a request across servers | gRPC |
//!
//! All of them are plain values that take the time as an argument, never wait, and are shared by
//! reference or `Arc`; what many requests touch is atomic. None knows of pools or sockets: a
//! breaker for each endpoint, or one for a whole service, is for you to place.
//!
//! ```
//! use ha_core::time::Instant;
//! use ha_lb::resilience::breaker::{Breaker, Outcome};
//! use ha_lb::resilience::budget::Budget;
//! use ha_lb::resilience::failure::Failure;
//! use ha_lb::resilience::retry::{Policy, Verdict};
//!
//! let (breaker, budget) = (Breaker::new(Default::default(), 1), Budget::default());
//! let now = Instant::from_secs(100);
//! budget.deposit(now);
//! let mut attempts = Policy::default().start(1).idempotent(true);
//!
//! let call = breaker.try_acquire(now)?;
//! call.finish(now, Outcome::Failure); // the server answered 503
//! match attempts.failed(now, Failure::Unavailable, Some(&budget)) {
//!     Verdict::Retry { after } => println!("once more after {after:?}"),
//!     Verdict::GiveUp(why) => println!("not retried: {why}"),
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod active_budget;
pub(crate) mod atomics;
pub mod backoff;
pub mod breaker;
pub mod budget;
pub mod concurrency;
pub mod deadline;
pub mod failure;
pub mod hedge;
pub mod limits;
mod outcome;
pub mod quantile;
mod random;
pub mod rate;
pub mod retry;
mod slots;

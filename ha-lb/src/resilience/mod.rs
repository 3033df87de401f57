//! What keeps a failure small: limits, retries, hedges and deadlines, each usable alone.

pub mod active_budget;
mod atomics;
pub mod backoff;
pub mod breaker;
pub mod budget;
pub mod concurrency;
pub mod failure;
pub mod hedge;
pub mod limits;
mod outcome;
pub mod quantile;
mod random;
pub mod rate;
pub mod retry;
mod slots;

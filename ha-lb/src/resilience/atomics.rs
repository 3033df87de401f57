//! The atomics of the standard library; those of loom where its model checker runs the tests.
//!
//! ```text
//! RUSTFLAGS="--cfg loom" cargo test -p ha-lb --lib --no-default-features --release loom
//! ```

#[cfg(all(test, loom))]
pub(crate) use loom::sync::atomic::AtomicUsize;
#[cfg(all(test, loom))]
pub(crate) use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
#[cfg(all(feature = "tokio", not(all(test, loom))))]
pub(crate) use std::sync::atomic::AtomicUsize;
#[cfg(not(all(test, loom)))]
pub(crate) use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

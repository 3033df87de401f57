//! What the example programs share: flags told in one line, JSON lines, signals, exit statuses;
//! a command that runs for as long as a lease is held, and how routers are watched and told;
//! an address that a cloud's API moves.
//!
//! The programs are thin; what they do is in the libraries. See `src/bin`.

#![forbid(unsafe_code)]

pub mod cli;
pub mod cloud;
pub mod json;
pub mod keeper;
pub mod lock;
pub mod operate;

//! What the example programs share: flags told in one line, JSON lines, signals, exit statuses.
//!
//! The programs are thin; what they do is in the libraries. See `src/bin`.

#![forbid(unsafe_code)]

pub mod cli;
pub mod json;

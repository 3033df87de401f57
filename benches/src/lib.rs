//! What benches share. The benches are in `benches/`, one file a crate.

#![forbid(unsafe_code)]

pub mod clusters;

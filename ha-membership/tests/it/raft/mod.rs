//! The replicated store: three real nodes in one process, over loopback and on disk.

mod cluster;
mod failures;
mod files;
mod laws;

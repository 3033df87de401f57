//! The Linux calls that need `unsafe`, as safe functions. The only such module of the workspace.

#[cfg(feature = "sys")]
pub mod datagram;
#[cfg(feature = "sys")]
pub mod namespace;
#[cfg(feature = "sys")]
pub mod packet;
#[cfg(feature = "tokio")]
pub mod readiness;
#[cfg(feature = "sys")]
pub mod watchdog;

//! Agents written in Rust: no shell, no fork for a monitor.

#[cfg(feature = "tokio")]
mod closure;
mod dummy;
#[cfg(feature = "tokio")]
mod process;

#[cfg(feature = "tokio")]
pub use self::closure::Closures;
pub use self::dummy::Dummy;
#[cfg(feature = "tokio")]
pub use self::process::Process;

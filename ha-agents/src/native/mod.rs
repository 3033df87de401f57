//! Agents written in Rust: no shell, no fork for a monitor.

#[cfg(feature = "tokio")]
mod adopted;
#[cfg(feature = "tokio")]
mod claim;
#[cfg(feature = "tokio")]
mod closure;
#[cfg(feature = "tokio")]
mod deaths;
mod dummy;
#[cfg(feature = "tokio")]
mod held;
#[cfg(feature = "tokio")]
mod holders;
#[cfg(feature = "tokio")]
mod mount;
#[cfg(feature = "tokio")]
mod mountinfo;
#[cfg(feature = "tokio")]
mod notify;
#[cfg(feature = "tokio")]
mod process;
#[cfg(feature = "tokio")]
mod ready;
#[cfg(feature = "tokio")]
pub(crate) mod warden;

#[cfg(feature = "tokio")]
pub use self::closure::Closures;
#[cfg(feature = "tokio")]
pub use self::deaths::Deaths;
pub use self::dummy::Dummy;
#[cfg(feature = "tokio")]
pub use self::mount::Mount;
#[cfg(feature = "tokio")]
pub use self::process::Process;

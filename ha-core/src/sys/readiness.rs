//! A file descriptor whose readiness tokio watches.
#![expect(
    unsafe_code,
    reason = "tokio's `AsyncFd::register` trusts its caller with the descriptor"
)]

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A non-blocking descriptor (raw socket, timer, pidfd) that a driver can wait for.
///
/// It owns the descriptor and never gives it away, so tokio's registration stays true.
#[derive(Debug)]
pub struct Readiness(AsyncFd<OwnedFd>);

impl Readiness {
    /// Takes over `fd`, which must be non-blocking; must be called inside a tokio runtime with I/O.
    ///
    /// # Errors
    ///
    /// The kernel's, when the descriptor cannot be polled (a plain file) or watches ran out.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime, as every tokio resource.
    pub fn new(fd: impl Into<OwnedFd>) -> io::Result<Self> {
        // SAFETY: `OwnedFd` is an open descriptor, always the same one, closed only when dropped;
        // the field is private, never replaced and dropped together with the registration.
        let watched = unsafe { AsyncFd::register(fd.into()) };
        Ok(Self(watched.map_err(|error| error.into_parts().1)?))
    }

    /// Calls `read` as soon as the descriptor is readable, until it no longer would block.
    ///
    /// # Errors
    ///
    /// Those of `read`, but for [`io::ErrorKind::WouldBlock`], which waits again.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe if `read` is one system call: it is not called again once it has succeeded.
    pub async fn read<R>(
        &self,
        mut read: impl FnMut(BorrowedFd<'_>) -> io::Result<R>,
    ) -> io::Result<R> {
        self.0.async_io(Interest::READABLE, |fd| read(fd.as_fd())).await
    }
}

impl AsFd for Readiness {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.get_ref().as_fd()
    }
}

//! A file descriptor whose readiness tokio watches.
#![expect(
    unsafe_code,
    reason = "tokio's `AsyncFd::register` trusts its caller with the descriptor"
)]

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::task::{Context, Poll, ready};

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

    /// Does what [`read`](Self::read) does, for a driver that waits for many descriptors at once:
    /// unlike that future, which forgets its waker when it is dropped, the waker of the last call
    /// stays.
    ///
    /// # Errors
    ///
    /// Those of `read`, but for [`io::ErrorKind::WouldBlock`], which waits again.
    pub fn poll_read<R>(
        &self,
        context: &mut Context<'_>,
        mut read: impl FnMut(BorrowedFd<'_>) -> io::Result<R>,
    ) -> Poll<io::Result<R>> {
        loop {
            let mut ready = ready!(self.0.poll_read_ready(context))?;
            if let Ok(result) = ready.try_io(|fd| read(fd.as_fd())) {
                return Poll::Ready(result);
            }
        }
    }
}

impl AsFd for Readiness {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.get_ref().as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn a_driver_that_polls_many_is_woken_by_any_of_them() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
        runtime.expect("a runtime").block_on(async {
            let (mut writer, reader) = UnixStream::pair().expect("a pair");
            let (_quiet, other) = UnixStream::pair().expect("a pair");
            for stream in [&reader, &other] {
                stream.set_nonblocking(true).expect("set");
            }
            let of = |stream: &UnixStream| stream.try_clone().expect("cloned");
            let watched =
                [&other, &reader].map(|s| (Readiness::new(of(s)).expect("watched"), of(s)));
            let any = poll_fn(|context| {
                for (index, (readiness, stream)) in watched.iter().enumerate() {
                    let mut byte = [0];
                    let mut stream = stream;
                    if let Poll::Ready(read) =
                        readiness.poll_read(context, |_| stream.read(&mut byte))
                    {
                        return Poll::Ready((index, read.expect("readable")));
                    }
                }
                Poll::Pending
            });
            // The write comes after the first poll has found nothing.
            let write = async { writer.write_all(b"x").expect("written") };
            let ((index, read), ()) = tokio::join!(biased; any, write);
            assert_eq!((index, read), (1, 1));
        });
    }
}

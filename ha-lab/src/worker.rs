//! A thread of the lab that can be told to stop.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use rustix::event::{EventfdFlags, eventfd};

use crate::kernel::Kernel;

/// Told to a thread that polls: readable once it shall stop.
#[derive(Debug)]
pub(crate) struct StopSign(OwnedFd);

impl AsFd for StopSign {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A thread with a stop sign. It stops when told, at the latest when the lab is dropped.
#[derive(Debug)]
pub(crate) struct Worker {
    sign: Arc<StopSign>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Worker {
    /// Starts `f` on a thread inside the namespace.
    pub(crate) fn start(
        kernel: &Arc<Kernel>,
        name: &str,
        f: impl FnOnce(&StopSign) + Send + 'static,
    ) -> io::Result<Arc<Self>> {
        Self::begin(f, |work| kernel.start(name, work))
    }

    /// Starts `f` on a thread in the networks of the calling one.
    pub(crate) fn outside(
        name: &str,
        f: impl FnOnce(&StopSign) + Send + 'static,
    ) -> io::Result<Arc<Self>> {
        Self::begin(f, |work| thread::Builder::new().name(name.to_owned()).spawn(work))
    }

    fn begin(
        f: impl FnOnce(&StopSign) + Send + 'static,
        start: impl FnOnce(Box<dyn FnOnce() + Send>) -> io::Result<JoinHandle<()>>,
    ) -> io::Result<Arc<Self>> {
        let sign = Arc::new(StopSign(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?));
        let seen = Arc::clone(&sign);
        let thread = start(Box::new(move || f(&seen)))?;
        Ok(Arc::new(Self { sign, thread: Mutex::new(Some(thread)) }))
    }

    /// Makes it stop, and waits until it has.
    pub(crate) fn stop(&self) {
        // Fails only when the counter is full: then it is readable, which is all that matters.
        rustix::io::write(&self.sign, &1_u64.to_ne_bytes()).ok();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // A panic of the thread was printed by it; what it had recorded is there.
            drop(thread.join());
        }
    }
}

//! Whether a disk is in use, asked of the kernel itself.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ha_core::driver::pause;
use ha_core::time::{BootClock, Clock as _, Instant};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use tokio::sync::oneshot;

/// Asks one question at a time: of a device that hangs, one thread waits, and no more.
#[derive(Debug, Clone, Default)]
pub(crate) struct Claim {
    asks: Arc<AtomicBool>,
}

/// The kernel's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Claimed {
    /// Nobody has it for himself, or it cannot be asked.
    Free,
    /// A mount has it, or another that takes a device for himself.
    Busy,
    /// None until the end, or still none to an earlier question.
    Silent,
}

impl Claim {
    /// Whether the block device can be had exclusively, as every mount has its device, in all
    /// mount namespaces and from before its first read until after the last user has gone.
    ///
    /// A device that hangs keeps the asking thread, which is none of the runtime's: a runtime
    /// would wait for it when it ends.
    ///
    /// Cancel safe.
    pub(crate) async fn ask(&self, device: &Path, end: Instant) -> io::Result<Claimed> {
        if self.asks.swap(true, Ordering::AcqRel) {
            return Ok(Claimed::Silent);
        }
        let (tell, told) = oneshot::channel();
        let (device, asks) = (device.to_owned(), Arc::clone(&self.asks));
        let work = move || {
            let answer = claim(&device);
            asks.store(false, Ordering::Release);
            // An error means that nobody waits any more.
            let _nobody = tell.send(answer);
        };
        let thread = std::thread::Builder::new().name("ha-claim".to_owned()).spawn(work);
        if let Err(error) = thread {
            self.asks.store(false, Ordering::Release);
            return Err(error);
        }
        let left = end.since(BootClock::new().now());
        tokio::select! { biased;
            answer = told => Ok(answer.unwrap_or(Claimed::Silent)),
            late = pause(left) => late.map(|()| Claimed::Silent),
        }
    }
}

/// Takes the device for a moment. Nothing is read from it.
fn claim(device: &Path) -> Claimed {
    let how = OFlags::RDONLY | OFlags::EXCL | OFlags::NONBLOCK | OFlags::CLOEXEC;
    match rustix::fs::open(device, how, Mode::empty()) {
        Err(Errno::BUSY) => Claimed::Busy,
        // A device that is not there, or not ours to open, says nothing.
        Ok(_) | Err(_) => Claimed::Free,
    }
}

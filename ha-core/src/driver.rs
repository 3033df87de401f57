//! What drivers share: a timer for a machine's deadline, and a task that can be stopped.

use std::future::Future;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub use crate::sys::readiness::Readiness;
use crate::time::Instant;

/// A timer on the kernel's boot-time clock, exact to some ten microseconds.
///
/// tokio's timers step in milliseconds and stand still while the machine is suspended; adverts
/// every 10 ms and leases need better. The times are those of [`BootClock`].
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap().block_on(async {
/// use std::time::Duration;
/// use ha_core::driver::Alarm;
/// use ha_core::time::{BootClock, Clock};
///
/// let alarm = Alarm::new()?;
/// let due = BootClock::new().now() + Duration::from_micros(300);
/// alarm.until(Some(due)).await?;
/// assert!(BootClock::new().now() >= due);
/// # Ok::<(), std::io::Error>(()) }).unwrap();
/// ```
///
/// [`BootClock`]: crate::time::BootClock
#[derive(Debug)]
pub struct Alarm {
    timer: Readiness,
    /// What the timer is set to, in nanoseconds; 0: it is not set. Saves a system call wherever a
    /// driver looks at something else in between.
    set_to: AtomicU64,
}

impl Alarm {
    /// Makes a timer; must be called inside a tokio runtime with I/O enabled.
    ///
    /// # Errors
    ///
    /// The kernel's, when no more file descriptors are to be had.
    pub fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Boottime, flags)?;
        Ok(Self { timer: Readiness::new(timer)?, set_to: AtomicU64::new(0) })
    }

    /// Waits until `deadline`; for ever if there is none.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: the next call sets the timer anew.
    ///
    /// # Errors
    ///
    /// The kernel's; none is expected.
    pub async fn until(&self, deadline: Option<Instant>) -> io::Result<()> {
        let Some(deadline) = deadline else {
            return std::future::pending().await;
        };
        self.set(deadline)?;
        let mut expirations = [0; 8];
        self.timer.read(|timer| Ok(rustix::io::read(timer, &mut expirations)?)).await?;
        self.set_to.store(0, Ordering::Relaxed);
        Ok(())
    }

    fn set(&self, deadline: Instant) -> io::Result<()> {
        // All zeros would disarm the timer: the origin is long past, so is a nanosecond after it.
        let nanos = deadline.as_nanos().max(1);
        if self.set_to.load(Ordering::Relaxed) == nanos {
            return Ok(());
        }
        let at = Timespec {
            tv_sec: i64::try_from(nanos / 1_000_000_000).unwrap_or(i64::MAX),
            tv_nsec: i64::try_from(nanos % 1_000_000_000).unwrap_or_default(),
        };
        let never = Timespec { tv_sec: 0, tv_nsec: 0 };
        let spec = Itimerspec { it_interval: never, it_value: at };
        timerfd_settime(&self.timer, TimerfdTimerFlags::ABSTIME, &spec)?;
        self.set_to.store(nanos, Ordering::Relaxed);
        Ok(())
    }
}

/// Waits for `duration` on the boot-time clock.
///
/// # Errors
///
/// As [`Alarm::new`].
///
/// # Cancel safety
///
/// Cancel safe.
pub async fn pause(duration: Duration) -> io::Result<()> {
    use crate::time::{BootClock, Clock};
    Alarm::new()?.until(Some(BootClock::new().now() + duration)).await
}

/// Tells a driver to stop; cheap to clone. Dropping it tells nothing.
#[derive(Debug, Clone)]
pub struct Stop(watch::Receiver<bool>);

impl Stop {
    /// Waits until the driver is to stop: when [`Task::stop`] is called or the task dropped.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn wait(&mut self) {
        // An error means that the `Task` is gone: stop as well.
        let _gone = self.0.wait_for(|stop| *stop).await;
    }
}

/// A driver that runs as a tokio task; stopping it waits for its orderly end.
///
/// Dropping the handle asks the driver to stop, too, but cannot wait for it; the runtime must
/// live on for as long as the driver needs to let go of what it holds.
#[derive(Debug)]
pub struct Task<T> {
    stop: watch::Sender<bool>,
    join: JoinHandle<T>,
}

impl<T: Send + 'static> Task<T> {
    /// Runs `driver` on the current tokio runtime.
    pub fn spawn<F>(driver: impl FnOnce(Stop) -> F) -> Self
    where
        F: Future<Output = T> + Send + 'static,
    {
        let (stop, stopped) = watch::channel(false);
        #[expect(clippy::disallowed_methods, reason = "the one place where drivers are spawned")]
        let join = tokio::spawn(driver(Stop(stopped)));
        Self { stop, join }
    }

    /// Asks the driver to stop and waits for its end.
    ///
    /// # Errors
    ///
    /// When the driver panicked or the runtime was shut down.
    ///
    /// # Cancel safety
    ///
    /// The driver has been told to stop from the first poll on; a dropped future only no longer
    /// waits for it.
    pub async fn stop(self) -> Result<T, tokio::task::JoinError> {
        let _no_receiver_means_it_ended = self.stop.send(true);
        self.join.await
    }

    /// Waits for the driver to end by itself.
    ///
    /// # Errors
    ///
    /// As [`stop`](Self::stop).
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn ended(&mut self) -> Result<T, tokio::task::JoinError> {
        (&mut self.join).await
    }

    /// Whether the driver has ended.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.join.is_finished()
    }
}

//! The kernel's watchdog devices.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ha_core::sys::watchdog;
use rustix::io::Errno;

use super::{Watchdog, WatchdogError};

/// The character that, as the last one before the close, disarms the timer.
const MAGIC: &[u8] = b"V";
/// Any other.
const ALIVE: &[u8] = b"\0";
/// What the kernel counts with when nothing is known: that of softdog.
const USUAL: Duration = Duration::from_mins(1);

/// A device such as `/dev/watchdog`: it resets the node.
///
/// Opening the device arms it, so this one opens it no sooner than in [`arm`](Watchdog::arm). On a
/// drop it is closed without the magic character, and the node is reset when the time is up.
///
/// ```no_run
/// use std::time::Duration;
/// use ha_agents::watchdog::{Watchdog, WatchdogDevice};
///
/// let mut watchdog = WatchdogDevice::new("/dev/watchdog0");
/// watchdog.set_timeout(Duration::from_secs(5))?; // set when it is armed
/// watchdog.arm()?;
/// watchdog.keep_alive()?;
/// watchdog.disarm()?;
/// # Ok::<(), ha_agents::watchdog::WatchdogError>(())
/// ```
///
/// # Source
///
/// The kernel's `Documentation/watchdog/watchdog-api.rst`.
#[derive(Debug)]
pub struct WatchdogDevice {
    path: PathBuf,
    sysfs: PathBuf,
    wanted: Option<Duration>,
    timeout: Duration,
    open: Option<File>,
}

impl WatchdogDevice {
    /// The longest timeout, that of a signed 16-bit counter of seconds.
    const LONGEST: Duration = Duration::from_secs(32_767);

    /// The device at `path`; it is not touched yet. `/dev/watchdog` is the first one.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        let (path, sysfs) = (path.into(), PathBuf::from("/sys/class/watchdog"));
        Self { path, sysfs, wanted: None, timeout: USUAL, open: None }
    }

    /// Looks for what the kernel says of the device in another directory than
    /// `/sys/class/watchdog`, as in a container.
    #[must_use]
    pub fn sysfs(mut self, directory: impl Into<PathBuf>) -> Self {
        self.sysfs = directory.into();
        self
    }

    /// What the kernel says of the device, without opening it.
    fn attribute(&self, name: &str) -> Option<String> {
        let device = match self.path.file_name()?.to_str()? {
            "watchdog" => "watchdog0",
            other => other,
        };
        let file = self.sysfs.join(Path::new(device)).join(name);
        Some(std::fs::read_to_string(file).ok()?.trim().to_owned())
    }

    fn name(&self) -> String {
        self.path.display().to_string()
    }

    fn failed(
        &self,
        action: &'static str,
        remedy: &'static str,
        error: io::Error,
    ) -> WatchdogError {
        WatchdogError::System { watchdog: self.name(), action, remedy, source: error }
    }

    /// Sets the timeout of the open device, and takes over the one that it has.
    fn adjust(&mut self, timeout: Duration) -> Result<(), WatchdogError> {
        let Some(file) = &self.open else { return Ok(()) };
        // Rounded down: a node must not live longer than others believe.
        let seconds = i32::try_from(timeout.as_secs()).unwrap_or(i32::MAX);
        let taken = watchdog::set_timeout(file, seconds).map_err(|error| {
            self.failed("set the timeout of", "choose one that the device can do", error)
        })?;
        let taken = Duration::from_secs(u64::try_from(taken).unwrap_or_default());
        if taken > timeout {
            let (shortest, longest) = (taken, Self::LONGEST);
            return Err(WatchdogError::Timeout {
                watchdog: self.name(),
                timeout,
                shortest,
                longest,
            });
        }
        self.timeout = taken;
        Ok(())
    }
}

impl Watchdog for WatchdogDevice {
    fn arm(&mut self) -> Result<(), WatchdogError> {
        if self.open.is_some() {
            return self.keep_alive();
        }
        // Never waits: a pipe without a reader is an error, as in tests.
        let flags = rustix::fs::OFlags::NONBLOCK.bits();
        let flags = i32::try_from(flags).unwrap_or_default();
        let opened = OpenOptions::new().write(true).custom_flags(flags).open(&self.path);
        let file = opened.map_err(|error| {
            let remedy = match error.raw_os_error().map(Errno::from_raw_os_error) {
                Some(Errno::BUSY) => {
                    "another program has it: stop that (systemd's RuntimeWatchdogSec, sbd)"
                }
                _ => "load its driver (softdog does without hardware) and run as root",
            };
            self.failed("open", remedy, error)
        })?;
        if let Ok(seconds) = watchdog::timeout(&file) {
            self.timeout = Duration::from_secs(u64::try_from(seconds).unwrap_or_default());
        }
        self.open = Some(file);
        match self.wanted {
            None => Ok(()),
            Some(timeout) => self.adjust(timeout).inspect_err(|_| {
                // What was not wanted so is let go again, if it can be.
                if let Err(error) = self.disarm() {
                    tracing::error!(%error, "armed with a timeout that was not asked for");
                }
            }),
        }
    }

    fn keep_alive(&mut self) -> Result<(), WatchdogError> {
        let Some(file) = &mut self.open else {
            return Err(WatchdogError::NotArmed { watchdog: self.name() });
        };
        file.write_all(ALIVE).map_err(|error| {
            self.failed("keep alive", "stop what the node runs: it will be reset", error)
        })
    }

    fn disarm(&mut self) -> Result<(), WatchdogError> {
        let Some(mut file) = self.open.take() else { return Ok(()) };
        let known = watchdog::info(&file).ok();
        let deaf = known.is_some_and(|info| info.options & watchdog::MAGIC_CLOSE == 0);
        if self.nowayout() == Some(true) || deaf {
            self.open = Some(file);
            let (watchdog, timeout) = (self.name(), self.timeout);
            return Err(WatchdogError::NoWayOut { watchdog, timeout });
        }
        if let Err(error) = file.write_all(MAGIC) {
            self.open = Some(file);
            return Err(self.failed("disarm", "keep it alive, or the node is reset", error));
        }
        Ok(())
    }

    fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Whole seconds, rounded down; a device that would take a longer time than asked for is
    /// refused. Before it is armed it is only noted, and tried then.
    fn set_timeout(&mut self, timeout: Duration) -> Result<Duration, WatchdogError> {
        let whole = Duration::from_secs(timeout.as_secs());
        let (shortest, longest) = (Duration::from_secs(1), Self::LONGEST);
        if !(shortest..=longest).contains(&whole) {
            return Err(WatchdogError::Timeout {
                watchdog: self.name(),
                timeout,
                shortest,
                longest,
            });
        }
        self.adjust(whole)?;
        self.wanted = Some(whole);
        if self.open.is_none() {
            self.timeout = whole;
        }
        Ok(self.timeout)
    }

    fn nowayout(&self) -> Option<bool> {
        match self.attribute("nowayout")?.as_str() {
            "0" => Some(false),
            _ => Some(true),
        }
    }
}

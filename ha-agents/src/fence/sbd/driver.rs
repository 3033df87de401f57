//! The driver of the watcher: disks, a watchdog, a timer.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use ha_core::driver::Alarm;
use ha_core::id::NodeName;
use ha_core::machine::Machine;
use ha_core::time::{BootClock, Clock};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::disk::{SbdDisk, SbdError};
use super::layout::Mail;
use super::watcher::{Ended, Input, Output, Watcher, WatcherConfig};
use crate::watchdog::{Watchdog, WatchdogError};

/// Makes the node harmless when an order has come.
#[async_trait]
pub trait MakeHarmless: fmt::Debug + Send + Sync {
    /// Ends all that could do harm, above all what writes to shared storage. True only if it is
    /// known to be gone: then the sender is told so, and starts it elsewhere at once. False, or no
    /// answer before the watchdog fires: the sender waits for its whole time.
    ///
    /// # Cancel safety
    ///
    /// It is dropped when the watchdog fires.
    async fn make_harmless(&self, order: &Mail) -> bool;
}

/// Leaves all as it is: the reset itself is what makes the node harmless.
#[async_trait]
impl MakeHarmless for () {
    async fn make_harmless(&self, _order: &Mail) -> bool {
        false
    }
}

/// A watcher could not start, or go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WatchError {
    /// A disk has no slot for this node, and gives none.
    #[error("cannot watch: this node has no slot; see why")]
    Disk(#[source] SbdError),
    /// Not one disk for each that the configuration counts.
    #[error("cannot watch: {given} disks are given, {configured} configured; give each of them")]
    Disks {
        /// How many there are.
        given: usize,
        /// How many there should be.
        configured: usize,
    },
    /// The times of a disk and of this node do not fit.
    #[error(
        "cannot watch {disk}: its message wait is {message_wait:?}, this node's watchdog fires after up to {needed:?}; create it anew, or shorten the watchdog's timeout"
    )]
    Times {
        /// The disk.
        disk: String,
        /// What others wait.
        message_wait: Duration,
        /// What they would have to wait.
        needed: Duration,
    },
    /// No timer is to be had.
    #[error("cannot watch: no timer; raise the limit of open files")]
    Timer(#[source] io::Error),
    /// The watchdog does not work.
    #[error("cannot watch: the watchdog does not do what it should; stop what the node runs")]
    Watchdog(#[source] WatchdogError),
}

/// A node's watcher, ready to run.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use std::{sync::Arc, time::Duration};
/// use ha_agents::fence::sbd::{Ended, SbdDisk, SbdService, WatcherConfig};
/// use ha_agents::watchdog::{Guardian, GuardianAction};
///
/// let disk = Arc::new(SbdDisk::new("/dev/disk/by-id/scsi-36001405", Duration::from_secs(3))?);
/// let config = WatcherConfig::builder("n1".parse()?, 1).build()?;
/// let guardian = Guardian::new(config.timing().watchdog(), GuardianAction::reboot());
/// let service = SbdService::new(config, vec![disk], Box::new(guardian), Arc::new(()))?;
/// let (_signals, inputs) = tokio::sync::mpsc::channel(8); // Input::Stop, Input::Healthy
/// match service.run(inputs).await? {
///     Ended::Exit => {}                                  // disarmed, in good order
///     ended => panic!("to be reset at once: {ended:?}"), // the watchdog does it otherwise
/// }
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct SbdService {
    config: WatcherConfig,
    disks: Vec<Arc<SbdDisk>>,
    watchdog: Box<dyn Watchdog>,
    harmless: Arc<dyn MakeHarmless>,
    alarm: Alarm,
}

/// What is at work.
#[derive(Debug, Default)]
struct Work {
    tasks: JoinSet<Option<Input>>,
    /// Acknowledgements and clears, which an end waits for.
    writes: JoinSet<()>,
}

impl SbdService {
    /// A watcher of these disks, which feeds this watchdog; must be called inside a tokio runtime
    /// with I/O enabled.
    ///
    /// # Errors
    ///
    /// [`WatchError`].
    pub fn new(
        config: WatcherConfig,
        disks: Vec<Arc<SbdDisk>>,
        watchdog: Box<dyn Watchdog>,
        harmless: Arc<dyn MakeHarmless>,
    ) -> Result<Self, WatchError> {
        let (given, configured) = (disks.len(), config.disks());
        if given != configured {
            return Err(WatchError::Disks { given, configured });
        }
        let alarm = Alarm::new().map_err(WatchError::Timer)?;
        Ok(Self { config, disks, watchdog, harmless, alarm })
    }

    /// Takes a slot on each disk that answers, arms the watchdog once enough disks were read, and
    /// watches until an order, an end or a loss. `inputs` brings [`Input::Stop`] and
    /// [`Input::Healthy`]; its end is a stop.
    ///
    /// After [`Ended::Exit`] the watchdog is disarmed. After all else it is *not*: it fires, unless
    /// the caller resets the node sooner.
    ///
    /// # Errors
    ///
    /// [`WatchError`]; an armed watchdog fires.
    ///
    /// # Cancel safety
    ///
    /// A drop stops feeding an armed watchdog, which fires: use [`Input::Stop`].
    pub async fn run(mut self, mut inputs: mpsc::Receiver<Input>) -> Result<Ended, WatchError> {
        self.prepare().await?;
        let clock = BootClock::new();
        let mut machine = Watcher::new(self.config.clone(), clock.now());
        let (mut out, mut work) = (Vec::new(), Work::default());
        loop {
            let input = tokio::select! { biased;
                Some(done) = work.tasks.join_next(), if !work.tasks.is_empty() => {
                    let Ok(Some(input)) = done else { continue };
                    Some(input)
                }
                due = self.alarm.until(machine.deadline()) => {
                    due.map_err(WatchError::Timer)?;
                    None
                }
                input = inputs.recv() => Some(input.unwrap_or(Input::Stop)),
            };
            let now = clock.now();
            match input {
                Some(input) => machine.handle(now, input, &mut out),
                None => machine.tick(now, &mut out),
            }
            for output in out.drain(..) {
                if let Some(ended) = self.perform(output, &mut work)? {
                    // The acknowledgement is worth the time that it takes, which has a limit.
                    while work.writes.join_next().await.is_some() {}
                    return Ok(ended);
                }
            }
        }
    }

    /// Takes a slot on each disk, and compares the times.
    async fn prepare(&mut self) -> Result<(), WatchError> {
        let (mut taken, mut last) = (0, None);
        let timing = *self.config.timing();
        let needed =
            timing.loop_interval().saturating_add(timing.io()).saturating_add(timing.watchdog());
        for disk in &self.disks {
            let header = match disk.header().await {
                Ok(header) => header,
                Err(error) => {
                    last = Some(error);
                    continue;
                }
            };
            let message_wait = header.times.message_wait;
            if message_wait < needed {
                return Err(WatchError::Times { disk: disk.name(), message_wait, needed });
            }
            match disk.allocate(self.config.node()).await {
                Ok(_) => taken += 1,
                Err(error) => last = Some(error),
            }
        }
        if taken < self.config.needed_to_start()
            && let Some(error) = last
        {
            return Err(WatchError::Disk(error));
        }
        let watchdog = timing.watchdog();
        if self.watchdog.timeout() > watchdog {
            self.watchdog.set_timeout(watchdog).map_err(WatchError::Watchdog)?;
        }
        Ok(())
    }

    fn perform(&mut self, output: Output, work: &mut Work) -> Result<Option<Ended>, WatchError> {
        match output {
            Output::Arm => {
                self.watchdog.arm().map_err(WatchError::Watchdog)?;
                // Some devices know their timeout only now.
                let timeout = self.config.timing().watchdog();
                if self.watchdog.timeout() > timeout {
                    self.watchdog.set_timeout(timeout).map_err(WatchError::Watchdog)?;
                }
            }
            Output::Feed => self.watchdog.keep_alive().map_err(WatchError::Watchdog)?,
            Output::Read(at) => {
                if let Some(disk) = self.disks.get(at).cloned() {
                    let node = self.config.node().clone();
                    work.tasks.spawn(async move {
                        Some(match read(&disk, &node).await {
                            Ok(mail) => Input::Read(at, mail),
                            Err(error) => {
                                tracing::warn!(disk = disk.name(), %error, "cannot read our slot");
                                Input::Failed(at)
                            }
                        })
                    });
                }
            }
            Output::Write { disk, old, new } => {
                if let Some(disk) = self.disks.get(disk).cloned() {
                    let node = self.config.node().clone();
                    work.writes.spawn(async move {
                        match disk.replace(&node, old, new).await {
                            Ok(true) => {}
                            Ok(false) => tracing::info!(disk = disk.name(), "a newer message"),
                            Err(error) => {
                                tracing::warn!(disk = disk.name(), %error, "cannot write our slot");
                            }
                        }
                    });
                }
            }
            Output::Obey(order) => {
                tracing::error!(order = %order.message, from = order.from, "fenced");
                let harmless = Arc::clone(&self.harmless);
                work.tasks.spawn(async move {
                    harmless.make_harmless(&order).await.then_some(Input::Harmless)
                });
            }
            Output::Tested(mail) => tracing::info!(from = mail.from, "a test message has come"),
            Output::Ended(ended) => {
                if ended == Ended::Exit {
                    self.watchdog.disarm().map_err(WatchError::Watchdog)?;
                }
                return Ok(Some(ended));
            }
        }
        Ok(None)
    }
}

/// Reads our slot; on a disk that was not there before it is taken first.
async fn read(disk: &SbdDisk, node: &NodeName) -> Result<Mail, SbdError> {
    match disk.read(node).await {
        Err(SbdError::NoSlot { .. }) => {
            disk.allocate(node).await?;
            disk.read(node).await
        }
        result => result,
    }
}

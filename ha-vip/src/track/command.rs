//! Tracks what a command says.

mod config;

use std::io;

use async_trait::async_trait;
use ha_core::driver::Alarm;
use ha_core::health::{Health, Hysteresis};
use ha_core::time::{BootClock, Clock, Instant};
use tokio::task::JoinHandle;

pub use self::config::CommandBuilder;
use super::health::verdict;
use super::{TrackError, Tracker, Verdict};
use crate::child::{Run, Started, Stream};

/// Tracks what a command says (keepalived's `vrrp_script`): exit status 0 is up, any other down.
///
/// The command runs without a shell, in a clean environment, in a process group of its own, at an
/// interval; never twice at once. One that takes longer than its timeout has failed, and is killed
/// with all of its group; what is left of the group when it exits is killed, too. Only processes
/// that leave the group (`setsid`) escape. Dropping the tracker kills a command that runs.
///
/// A fork for each check costs about a millisecond: where it is to be fast, check inside of the
/// program, and tell with [`MemoryTracker`](super::MemoryTracker) or
/// [`HealthTracker`](super::HealthTracker).
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use std::time::Duration;
/// use ha_vip::track::{CommandTracker, Tracker, Verdict};
///
/// let mut tracker = CommandTracker::builder("check", "test")
///     .args(["-e", "/etc"])
///     .interval(Duration::from_millis(100))
///     .build()?;
/// assert_eq!(tracker.changed().await?, Verdict::Up);
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Debug)]
pub struct CommandTracker {
    name: String,
    config: CommandBuilder,
    health: Hysteresis,
    phase: Phase,
    /// When to run it next.
    run_at: Instant,
    /// When the run has taken too long; `None` once that has been counted.
    late_at: Option<Instant>,
    told: Verdict,
    alarm: Option<Alarm>,
}

#[derive(Debug)]
enum Phase {
    Idle,
    Starting(JoinHandle<io::Result<Started>>),
    Running(Run),
}

/// What a wait brought.
enum Step {
    Due,
    Late,
    Started(io::Result<Started>),
    Exited(io::Result<bool>),
}

impl CommandTracker {
    /// Starts a tracker of the command `program`, a path or a name to be found in `/usr/sbin`,
    /// `/usr/bin`, `/sbin` or `/bin`.
    pub fn builder(
        name: impl Into<String>,
        program: impl Into<std::ffi::OsString>,
    ) -> CommandBuilder {
        CommandBuilder::new(name.into(), program.into())
    }

    fn new(name: String, config: CommandBuilder) -> Self {
        let health = if config.init_fail { Health::Unhealthy } else { Health::Unknown };
        let health = Hysteresis::new(health, config.thresholds);
        let (phase, told) = (Phase::Idle, Verdict::Unknown);
        let run_at = Instant::ZERO;
        Self { name, config, health, phase, run_at, late_at: None, told, alarm: None }
    }

    /// Waits for what comes next. Cancel safe: all that is waited for is kept.
    async fn step(&mut self) -> io::Result<Step> {
        let alarm = match self.alarm.take() {
            Some(alarm) => alarm,
            None => Alarm::new()?,
        };
        let alarm = self.alarm.insert(alarm);
        Ok(match &mut self.phase {
            Phase::Idle => {
                alarm.until(Some(self.run_at)).await?;
                Step::Due
            }
            Phase::Starting(starting) => tokio::select! { biased;
                started = starting => Step::Started(started.map_err(io::Error::other).flatten()),
                late = alarm.until(self.late_at) => { late?; Step::Late }
            },
            Phase::Running(run) => tokio::select! { biased;
                exited = run.exited() => Step::Exited(exited.map(|status| status.success())),
                late = alarm.until(self.late_at) => { late?; Step::Late }
            },
        })
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Due => {
                let (now, spec) = (BootClock::new().now(), self.config.spec.clone());
                self.run_at = now + self.config.interval;
                self.late_at = Some(now + self.config.timeout);
                // A file system that hangs must not hang the runtime.
                let start = move || Started::start(&spec, Stream::Nothing);
                let starting = tokio::task::spawn_blocking(start);
                self.phase = Phase::Starting(starting);
            }
            Step::Late => {
                // A run that is just being started is killed as soon as it is there.
                self.late_at = None;
                if let Phase::Running(run) = &self.phase {
                    run.kill();
                }
                self.observe(false, &"it took longer than its timeout");
            }
            Step::Started(Ok(started)) => match Run::new(started) {
                Ok(run) => {
                    if self.late_at.is_none() {
                        run.kill();
                    }
                    self.phase = Phase::Running(run);
                }
                Err(error) => self.finish(false, &error),
            },
            Step::Started(Err(error)) | Step::Exited(Err(error)) => self.finish(false, &error),
            Step::Exited(Ok(passed)) => self.finish(passed, &"its exit status is not 0"),
        }
    }

    /// Ends the run; one that was late has been counted.
    fn finish(&mut self, passed: bool, reason: &dyn std::fmt::Display) {
        self.phase = Phase::Idle;
        if self.late_at.take().is_some() {
            self.observe(passed, reason);
        }
    }

    fn observe(&mut self, passed: bool, reason: &dyn std::fmt::Display) {
        match self.health.observe(passed) {
            Some(Health::Healthy) => tracing::info!(tracker = self.name, "command passes"),
            Some(Health::Unhealthy) => {
                tracing::warn!(tracker = self.name, %reason, "command fails");
            }
            Some(Health::Unknown) | None => {}
        }
    }
}

#[async_trait]
impl Tracker for CommandTracker {
    fn name(&self) -> &str {
        &self.name
    }

    async fn changed(&mut self) -> Result<Verdict, TrackError> {
        loop {
            let verdict = verdict(self.health.health());
            if verdict != self.told {
                self.told = verdict;
                return Ok(verdict);
            }
            let step = self.step().await.map_err(|source| TrackError::System {
                name: self.name.clone(),
                what: "make a timer",
                remedy: "raise the limit of open files (LimitNOFILE=, ulimit -n)",
                source,
            })?;
            self.take(step);
        }
    }
}

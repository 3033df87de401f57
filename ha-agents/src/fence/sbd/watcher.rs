//! The decision of a node that watches its slots: whether to live.

use ha_core::config::{ConfigError, Problems};
use ha_core::id::NodeName;
use ha_core::machine::Machine;
use ha_core::time::Instant;

use super::layout::{Mail, Message};
use crate::watchdog::Timing;

/// How many different orders of before the start are remembered: one a disk, and more.
const MAX_CLEARED: usize = 8;

/// Whether a node that was fenced may start (`-S` of sbd, `SBD_STARTMODE`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "the two modes of sbd")]
pub enum StartMode {
    /// It may: an old order is cleared.
    Always,
    /// It may not, until somebody clears its slot.
    Clean,
}

/// What a [`Watcher`] goes by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatcherConfig {
    node: NodeName,
    disks: usize,
    timing: Timing,
    start: StartMode,
}

/// Collects the settings of a [`WatcherConfig`].
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until build() is called"]
pub struct WatcherConfigBuilder {
    config: WatcherConfig,
}

impl WatcherConfigBuilder {
    /// Sets the times; those of the disk's header must fit to them. Default: [`Timing::default`].
    pub const fn timing(mut self, timing: Timing) -> Self {
        self.config.timing = timing;
        self
    }

    /// Sets whether a node that was fenced may start. Default: always.
    pub const fn start(mut self, mode: StartMode) -> Self {
        self.config.start = mode;
        self
    }

    /// Checks the settings.
    ///
    /// # Errors
    ///
    /// Not one to three disks.
    pub fn build(self) -> Result<WatcherConfig, ConfigError> {
        let mut problems = Problems::new();
        if !(1..=3).contains(&self.config.disks) {
            problems.add("sbd.disks", self.config.disks, "1, 2 or 3 disks");
        }
        problems.into_result(self.config)
    }
}

impl WatcherConfig {
    /// For this node, and so many disks.
    pub fn builder(node: NodeName, disks: usize) -> WatcherConfigBuilder {
        let (timing, start) = (Timing::default(), StartMode::Always);
        WatcherConfigBuilder { config: Self { node, disks, timing, start } }
    }

    /// The node.
    #[must_use]
    pub const fn node(&self) -> &NodeName {
        &self.node
    }

    /// The times.
    #[must_use]
    pub const fn timing(&self) -> &Timing {
        &self.timing
    }

    /// How many disks there are.
    #[must_use]
    pub const fn disks(&self) -> usize {
        self.disks
    }

    /// How many disks must answer for the node to live: one of one, one of two, two of three.
    #[must_use]
    pub const fn needed_to_live(&self) -> usize {
        self.disks.div_ceil(2)
    }

    /// How many disks must answer for it to start, and must have a message: one of one, two of
    /// two, two of three.
    #[must_use]
    pub const fn needed_to_start(&self) -> usize {
        self.disks / 2 + 1
    }
}

/// What happens to a [`Watcher`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Input {
    /// A disk was read: what stands in our slot.
    Read(usize, Mail),
    /// A disk could not be read in time.
    Failed(usize),
    /// What the node runs is known to be gone: the order can be acknowledged.
    Harmless,
    /// The cluster says that this node is online, healthy and in a quorate partition (`-P` of
    /// sbd): for as long as a watchdog's timeout it lives without disks.
    Healthy,
    /// The user ends the watcher, after all that the node ran.
    Stop,
}

/// Why a watcher has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "who is told must match each: it is about its life")]
pub enum Ended {
    /// An orderly end, asked for here or by a message: the watchdog is to be disarmed.
    Exit,
    /// The order was carried out: reset, off, crash. The watchdog stays armed.
    Ordered(Mail),
    /// It was fenced before, and does not start until its slot is cleared.
    Fenced(Mail),
    /// It could not read its disks for too long, and nobody says that it is healthy: the watchdog
    /// fires about now; whatever can be done faster is to be done.
    Lost,
}

/// What a [`Watcher`] wants done, and says.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a driver that leaves one out breaks fencing")]
pub enum Output {
    /// Arm the watchdog: enough disks have been read.
    Arm,
    /// Read our slot on a disk, and give [`Input::Read`] or [`Input::Failed`].
    Read(usize),
    /// Write this to our slot on a disk, if what was read still stands there: it is cleared, or
    /// the order is acknowledged.
    Write {
        /// The disk.
        disk: usize,
        /// What was read.
        old: Mail,
        /// What is to stand there.
        new: Mail,
    },
    /// Keep the watchdog alive.
    Feed,
    /// An order has come: make the node harmless, and give [`Input::Harmless`] once it is.
    Obey(Mail),
    /// A test has come.
    Tested(Mail),
    /// It has ended.
    Ended(Ended),
}

/// Where a disk is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Disk {
    /// Since when it is being read.
    asked: Option<Instant>,
    /// When the last read that succeeded began.
    good: Option<Instant>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    /// Enough disks have not been read yet.
    Starting,
    /// It lives.
    Watching { fed: Instant },
    /// An order has come; the watchdog is fed no more.
    Obeying { order: Mail, fed: Instant },
    /// It has ended.
    Over,
}

/// Watches the node's slots, and decides whether its watchdog is fed; without I/O.
///
/// ```
/// use ha_agents::fence::sbd::{Input, Mail, Message, Output, Watcher, WatcherConfig};
/// use ha_core::{machine::Machine, time::Instant};
///
/// let config = WatcherConfig::builder("n1".parse().unwrap(), 1).build()?;
/// let (mut watcher, mut out) = (Watcher::new(config, Instant::ZERO), Vec::new());
/// watcher.tick(Instant::ZERO, &mut out);
/// assert_eq!(out, [Output::Read(0)]);
/// out.clear();
/// watcher.handle(Instant::from_millis(5), Input::Read(0, Mail::NONE), &mut out);
/// assert_eq!(out, [Output::Arm, Output::Feed]);
/// out.clear();
/// let reset = Mail::new(Message::Reset, "n2");
/// watcher.handle(Instant::from_secs(1), Input::Read(0, reset.clone()), &mut out);
/// assert!(out.contains(&Output::Obey(reset)) && !out.contains(&Output::Feed));
/// # Ok::<(), ha_core::config::ConfigError>(())
/// ```
#[derive(Debug)]
pub struct Watcher {
    config: WatcherConfig,
    state: State,
    now: Instant,
    poll_at: Instant,
    feed_at: Instant,
    disks: Vec<Disk>,
    /// The orders that were found, and cleared, at the start.
    cleared: Vec<Mail>,
    healthy_until: Option<Instant>,
}

impl Watcher {
    /// Begins to watch; the first reads are due at `now`.
    #[must_use]
    pub fn new(config: WatcherConfig, now: Instant) -> Self {
        let disks = vec![Disk { asked: None, good: None }; config.disks];
        Self {
            config,
            state: State::Starting,
            now: Instant::ZERO,
            poll_at: now,
            feed_at: now,
            disks,
            cleared: Vec::new(),
            healthy_until: None,
        }
    }

    /// Whether it has read enough disks, and lives.
    #[must_use]
    pub const fn is_watching(&self) -> bool {
        matches!(self.state, State::Watching { .. })
    }

    /// A read counts for one loop and the time that it may take itself: with the watchdog's
    /// timeout after that it is within the message wait.
    fn fresh(&self, disk: &Disk) -> bool {
        let timing = &self.config.timing;
        let age = timing.loop_interval().saturating_add(timing.io());
        disk.good.is_some_and(|good| self.now.since(good) <= age)
    }

    fn may_live(&self) -> bool {
        let fresh = self.disks.iter().filter(|disk| self.fresh(disk)).count();
        let healthy = self.healthy_until.is_some_and(|until| self.now < until);
        fresh >= self.config.needed_to_live() || healthy
    }

    fn read(&mut self, at: usize, mail: Mail, out: &mut Vec<Output>) {
        let Some(disk) = self.disks.get_mut(at) else { return };
        // An answer that was not asked for tells nothing about when it was true.
        let is_first = disk.good.is_none();
        disk.good = disk.asked.take().max(disk.good);
        let own = mail.from.eq_ignore_ascii_case(self.config.node.as_str()) && mail.token != 0;
        match (&self.state, mail.message) {
            (State::Starting, message) if message.fences() => {
                if self.config.start == StartMode::Clean {
                    self.end(Ended::Fenced(mail), out);
                    return;
                }
                if self.cleared.len() < MAX_CLEARED && !self.cleared.contains(&mail) {
                    self.cleared.push(mail.clone());
                }
                out.push(clear(at, mail));
            }
            (State::Starting, Message::Clear) => {}
            (State::Starting, _) => out.push(clear(at, mail)),
            (State::Watching { .. }, Message::Test) => {
                out.push(Output::Tested(mail.clone()));
                out.push(clear(at, mail));
            }
            (State::Watching { .. }, Message::Exit) => {
                self.end(Ended::Exit, out);
                return;
            }
            // The very order that was cleared at the start, on a disk that answers later: it was
            // carried out. One of ours has a token of its own; one without is the same only on
            // what is read for the first time.
            (State::Watching { .. }, message)
                if message.fences()
                    && self.cleared.contains(&mail)
                    && (mail.token != 0 || is_first) =>
            {
                out.push(clear(at, mail));
            }
            // With a token and under our own name it is an acknowledgement, from before a start.
            (State::Watching { fed }, message) if message.fences() && !own => {
                self.state = State::Obeying { order: mail.clone(), fed: *fed };
                out.push(Output::Obey(mail));
                return;
            }
            (State::Watching { .. } | State::Obeying { .. } | State::Over, _) => {}
        }
        self.begin(out);
        self.feed(out);
    }

    /// From starting to watching, once enough disks have been read.
    fn begin(&mut self, out: &mut Vec<Output>) {
        let read = self.disks.iter().filter(|disk| self.fresh(disk)).count();
        if self.state == State::Starting && read >= self.config.needed_to_start() {
            self.state = State::Watching { fed: self.now };
            self.feed_at = self.now;
            out.push(Output::Arm);
        }
    }

    fn feed(&mut self, out: &mut Vec<Output>) {
        let due = self.feed_at <= self.now;
        if due && self.is_watching() && self.may_live() {
            self.state = State::Watching { fed: self.now };
            self.feed_at = self.now + self.config.timing.feed();
            out.push(Output::Feed);
        }
    }

    fn end(&mut self, ended: Ended, out: &mut Vec<Output>) {
        self.state = State::Over;
        out.push(Output::Ended(ended));
    }

    fn obeyed(&mut self, acknowledge: bool, out: &mut Vec<Output>) {
        let State::Obeying { order, .. } = &self.state else { return };
        let order = order.clone();
        let back = order.acknowledgement(&self.config.node).filter(|_| acknowledge);
        if let Some(new) = back {
            out.extend((0..self.disks.len()).map(|disk| Output::Write {
                disk,
                old: order.clone(),
                new: new.clone(),
            }));
        }
        self.end(Ended::Ordered(order), out);
    }

    /// When the watchdog fires, as last fed.
    fn fires(&self) -> Option<Instant> {
        match self.state {
            State::Watching { fed } | State::Obeying { fed, .. } => {
                Some(fed + self.config.timing.watchdog())
            }
            State::Starting | State::Over => None,
        }
    }

    fn due(&mut self, out: &mut Vec<Output>) {
        if self.fires().is_some_and(|fires| fires <= self.now) {
            if matches!(self.state, State::Obeying { .. }) {
                self.obeyed(false, out);
            } else {
                self.end(Ended::Lost, out);
            }
            return;
        }
        let asks = matches!(self.state, State::Starting | State::Watching { .. });
        if asks && self.poll_at <= self.now {
            self.poll_at = self.now + self.config.timing.loop_interval();
            for (at, disk) in self.disks.iter_mut().enumerate() {
                // One that hangs is not asked again: its thread is still at it.
                if disk.asked.is_none() {
                    disk.asked = Some(self.now);
                    out.push(Output::Read(at));
                }
            }
        }
        self.feed(out);
    }
}

fn clear(disk: usize, old: Mail) -> Output {
    Output::Write { disk, old, new: Mail::NONE }
}

impl Machine for Watcher {
    type Input = Input;
    type Output = Output;
    /// Three reads and a feed that were due, then what one input brings.
    const MAX_OUTPUTS: usize = 10;

    fn handle(&mut self, now: Instant, input: Input, out: &mut Vec<Output>) {
        self.tick(now, out);
        match input {
            Input::Read(disk, mail) => self.read(disk, mail, out),
            Input::Failed(disk) => {
                if let Some(disk) = self.disks.get_mut(disk) {
                    disk.asked = None;
                }
            }
            Input::Harmless => self.obeyed(true, out),
            Input::Healthy => {
                self.healthy_until = Some(self.now + self.config.timing.watchdog());
                self.feed(out);
            }
            Input::Stop => match self.state {
                State::Starting | State::Watching { .. } => self.end(Ended::Exit, out),
                // What the others were told counts; an order is not outrun.
                State::Obeying { .. } | State::Over => {}
            },
        }
    }

    fn tick(&mut self, now: Instant, out: &mut Vec<Output>) {
        self.now = self.now.max(now);
        if self.deadline().is_some_and(|deadline| deadline <= self.now) {
            self.due(out);
        }
    }

    fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Over => None,
            State::Starting => Some(self.poll_at),
            State::Obeying { .. } => self.fires(),
            State::Watching { .. } => {
                // A feed that is due waits for a read: it is no time to wake at.
                let feed = Some(self.feed_at).filter(|at| *at > self.now);
                [Some(self.poll_at), feed, self.fires()].into_iter().flatten().min()
            }
        }
    }
}

//! Fencing by a message on shared disks.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use ha_core::config::{ConfigError, Problems};
use ha_core::driver::{Alarm, pause};
use ha_core::id::NodeName;
use ha_core::time::{BootClock, Clock};

use super::disk::{SbdDisk, SbdError, random};
use super::layout::{MAX_NODE_NAME, Mail, Message};
use crate::fence::{Evidence, FenceAction, FenceAgent, FenceError, Power};

/// Fences nodes by SBD messages on one, two or three disks.
///
/// The message must be written to more than half of the disks: to one of one, two of two, two of
/// three. Then the message wait of the disks passes; after it the target has acted, or its
/// watchdog has. That is [`Evidence::AssumedAfterTimeout`]. A target that runs *our* watcher and
/// is harmless earlier writes the message back under its own name, and the wait ends with
/// [`Evidence::Acknowledged`]; the `sbd` tool shows that as a message of the node to itself.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use std::{sync::Arc, time::Duration};
/// use ha_agents::fence::FenceAgent;
/// use ha_agents::fence::sbd::{SbdDisk, SbdFence};
///
/// let disk = SbdDisk::new("/dev/disk/by-id/scsi-36001405", Duration::from_secs(3))?;
/// let sbd = SbdFence::builder("sbd", "n1".parse()?).disk(Arc::new(disk)).build()?;
/// sbd.reboot(&"n2".parse()?).await?;
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct SbdFence {
    device: String,
    own: NodeName,
    disks: Vec<Arc<SbdDisk>>,
    message: Message,
}

/// Collects the settings of an [`SbdFence`].
#[derive(Debug)]
#[must_use = "a builder does nothing until build() is called"]
pub struct SbdFenceBuilder {
    fence: SbdFence,
}

impl SbdFenceBuilder {
    /// Adds a disk.
    pub fn disk(mut self, disk: Arc<SbdDisk>) -> Self {
        self.fence.disks.push(disk);
        self
    }

    /// Has a node that is to be rebooted crash, so that its memory is written out (`crashdump` of
    /// Pacemaker's agent).
    pub const fn crashdump(mut self) -> Self {
        self.fence.message = Message::Crashdump;
        self
    }

    /// Checks the settings.
    ///
    /// # Errors
    ///
    /// Not one to three disks, one of them twice, or a name that fits into no slot.
    pub fn build(self) -> Result<SbdFence, ConfigError> {
        let mut problems = Problems::new();
        let SbdFence { device, own, disks, .. } = &self.fence;
        if !(1..=3).contains(&disks.len()) {
            problems.add(format!("fence.{device}.disks"), disks.len(), "1, 2 or 3 disks");
        }
        for (at, disk) in disks.iter().enumerate() {
            if disks.iter().take(at).any(|other| other.name() == disk.name()) {
                problems.add(format!("fence.{device}.disks"), disk.name(), "each disk once");
            }
        }
        if own.as_str().len() > MAX_NODE_NAME {
            let allowed = format!("a name of at most {MAX_NODE_NAME} bytes");
            problems.add(format!("fence.{device}.own"), own, allowed);
        }
        problems.into_result(self.fence)
    }
}

/// A disk on which the message stands.
struct Written {
    disk: Arc<SbdDisk>,
    wait: Duration,
    poll: Duration,
}

impl SbdFence {
    /// A device by which the node `own` fences others.
    pub fn builder(device: impl Into<String>, own: NodeName) -> SbdFenceBuilder {
        let device = device.into();
        SbdFenceBuilder { fence: Self { device, own, disks: Vec::new(), message: Message::Reset } }
    }

    const fn majority(&self) -> usize {
        self.disks.len() / 2 + 1
    }

    /// Writes the mail on all disks at once; fails if too few have it.
    async fn tell(
        &self,
        action: &'static str,
        node: &NodeName,
        mail: &Mail,
    ) -> Result<Vec<Written>, FenceError> {
        let each =
            self.disks.iter().map(|disk| write(Arc::clone(disk), node.clone(), mail.clone()));
        let (mut written, mut unknown, mut reasons) = (Vec::new(), 0, Vec::new());
        for result in all(each).await {
            match result {
                Ok(done) => written.push(done),
                Err(error) => {
                    unknown += usize::from(matches!(error, SbdError::NoSlot { .. }));
                    reasons.push(super::told(&error));
                }
            }
        }
        if written.len() >= self.majority() {
            for reason in reasons {
                tracing::warn!(device = self.device, %node, reason, "a disk has no message");
            }
            return Ok(written);
        }
        if written.is_empty() && unknown == self.disks.len() {
            let (device, node) = (self.device.clone(), node.clone());
            return Err(FenceError::UnknownNode { device, node });
        }
        let (has, all, needed) = (written.len(), self.disks.len(), self.majority());
        let answer =
            format!("{has} of {all} disks have the message, {needed} must: {}", reasons.join("; "));
        Err(FenceError::Failed {
            device: self.device.clone(),
            action,
            target: node.to_string(),
            answer,
        })
    }

    async fn cut(
        &self,
        action: FenceAction,
        node: &NodeName,
        message: Message,
    ) -> Result<Evidence, FenceError> {
        let (device, target) = (self.device.clone(), node.to_string());
        let failed = |answer: String| FenceError::Failed {
            device: device.clone(),
            action: action.as_str(),
            target: target.clone(),
            answer,
        };
        if self.own.as_str().eq_ignore_ascii_case(node.as_str()) {
            return Err(FenceError::Refused {
                device: self.device.clone(),
                action: action.as_str(),
                target: node.to_string(),
                why: "a node does not fence itself by a message",
            });
        }
        let token = random().map_err(|error| failed(error.to_string()))?;
        // Not 0, which stands for none.
        let token = u64::from_be_bytes(token) | 1;
        let mail = Mail { token, ..Mail::new(message, self.own.as_str()) };
        let written = self.tell(action.as_str(), node, &mail).await?;
        let (clock, alarm) = (BootClock::new(), Alarm::new());
        let alarm = alarm.map_err(|error| failed(error.to_string()))?;
        // Each disk has its own times; the longest is safe.
        let longest = written.iter().map(|written| written.wait).max().unwrap_or_default();
        let over = clock.now() + longest;
        tokio::select! { biased;
            over = alarm.until(Some(over)) => match over {
                Ok(()) => Ok(Evidence::AssumedAfterTimeout),
                Err(error) => Err(failed(error.to_string())),
            },
            () = self.acknowledged(node, &mail, &written) => Ok(Evidence::Acknowledged),
        }
    }

    /// Waits until enough disks bear the acknowledgement of this very order.
    async fn acknowledged(&self, node: &NodeName, order: &Mail, written: &[Written]) {
        let poll = written.iter().map(|written| written.poll).min().unwrap_or_default();
        let awaited = order.acknowledgement(node);
        loop {
            let mails = written.iter().map(|written| read(Arc::clone(&written.disk), node.clone()));
            let mails = all(mails).await;
            let back = mails.into_iter().filter(|mail| mail.is_some() && *mail == awaited);
            if back.count() >= self.majority() {
                return;
            }
            // Without a timer there is no acknowledgement: the wait goes on.
            if pause(poll.max(SHORTEST_POLL) / 4).await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    /// How long a fencing by this device may take at the longest, and a fifth more: the least
    /// `stonith-timeout` that is safe with it.
    ///
    /// # Errors
    ///
    /// [`SbdError`]: a disk's times cannot be read.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn needed_timeout(&self) -> Result<Duration, SbdError> {
        let mut longest = Duration::ZERO;
        for disk in &self.disks {
            longest = longest.max(disk.header().await?.times.message_wait);
        }
        Ok(longest.saturating_mul(6) / 5)
    }
}

/// So often at most is looked for an acknowledgement, times four.
const SHORTEST_POLL: Duration = Duration::from_millis(100);

async fn write(disk: Arc<SbdDisk>, node: NodeName, mail: Mail) -> Result<Written, SbdError> {
    let times = disk.header().await?.times;
    disk.write(&node, mail.clone()).await?;
    // What a watcher or another sender wrote at this very moment may have wiped it out.
    let stands = disk.read(&node).await?;
    if stands != mail && !stands.message.fences() {
        let source = std::io::Error::other("another message has taken its place; send it again");
        return Err(SbdError::Io { disk: disk.name(), source });
    }
    Ok(Written { disk, wait: times.message_wait, poll: times.loop_interval })
}

async fn read(disk: Arc<SbdDisk>, node: NodeName) -> Option<Mail> {
    disk.read(&node).await.ok()
}

/// Waits for up to three at once.
async fn all<T>(futures: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut futures = futures.fuse();
    let (a, b, c) = (futures.next(), futures.next(), futures.next());
    let (a, b, c) = tokio::join!(perhaps(a), perhaps(b), perhaps(c));
    [a, b, c].into_iter().flatten().collect()
}

async fn perhaps<T>(future: Option<impl Future<Output = T>>) -> Option<T> {
    match future {
        Some(future) => Some(future.await),
        None => None,
    }
}

#[async_trait]
impl FenceAgent for SbdFence {
    fn device(&self) -> &str {
        &self.device
    }

    async fn off(&self, node: &NodeName) -> Result<(), FenceError> {
        self.cut(FenceAction::Off, node, Message::Off).await.map(|_| ())
    }

    /// Clears the node's slot, which lets it start where watchers start only after that.
    async fn on(&self, node: &NodeName) -> Result<(), FenceError> {
        let mail = Mail::new(Message::Clear, self.own.as_str());
        self.tell("on", node, &mail).await.map(|_| ())
    }

    async fn reboot(&self, node: &NodeName) -> Result<(), FenceError> {
        self.cut(FenceAction::Reboot, node, self.message).await.map(|_| ())
    }

    /// On, if the node has a slot in which no order stands. With an order in it the slot does not
    /// tell whether that was carried out, and this is an error: off is never guessed.
    async fn status(&self, node: &NodeName) -> Result<Power, FenceError> {
        let (mut found, mut reasons) = (0, Vec::new());
        for disk in &self.disks {
            match disk.read(node).await {
                Ok(mail) if mail.message.fences() => {
                    let why = format!("{} of {} stands in its slot", mail.message, mail.from);
                    reasons.push(why);
                }
                Ok(_) => found += 1,
                Err(error) => reasons.push(super::told(&error)),
            }
        }
        if found >= self.majority() {
            return Ok(Power::On);
        }
        let (device, target) = (self.device.clone(), node.to_string());
        let answer = reasons.join("; ");
        Err(FenceError::Failed { device, action: "status", target, answer })
    }

    /// The nodes that have a slot on enough disks.
    async fn list(&self) -> Result<Vec<NodeName>, FenceError> {
        let (mut names, mut read, mut reasons) = (Vec::new(), 0, Vec::new());
        for disk in &self.disks {
            match disk.list().await {
                Ok(slots) => {
                    read += 1;
                    names.extend(slots.into_iter().map(|slot| slot.node));
                }
                Err(error) => reasons.push(super::told(&error)),
            }
        }
        if read < self.majority() {
            let (device, target) = (self.device.clone(), self.device.clone());
            let answer = reasons.join("; ");
            return Err(FenceError::Failed { device, action: "list", target, answer });
        }
        let count = |name: &String| names.iter().filter(|other| *other == name).count();
        let mut enough: Vec<NodeName> = names
            .iter()
            .filter(|name| count(name) >= self.majority())
            .filter_map(|name| name.parse().ok())
            .collect();
        enough.sort_unstable();
        enough.dedup();
        Ok(enough)
    }

    fn evidence(&self) -> Evidence {
        Evidence::AssumedAfterTimeout
    }

    async fn perform(&self, node: &NodeName, action: FenceAction) -> Result<Evidence, FenceError> {
        match action {
            FenceAction::Off => self.cut(action, node, Message::Off).await,
            FenceAction::Reboot => self.cut(action, node, self.message).await,
            FenceAction::On => self.on(node).await.map(|()| self.evidence()),
        }
    }
}

//! Tells commands and closures what a virtual router *is*.
//!
//! ```text
//!  RouterHandle, watch::Receiver<StateName> ──▶ Notifier ── Notice ──▶ Notify: Scripts, notify_fn
//! ```
//!
//! keepalived runs a notify script once for each transition: one that fails, or that is killed
//! with the node in the wrong moment, leaves a cloud's address at the wrong host for good. A
//! [`Notifier`] compares instead what its router is with what was told last: the state at the
//! start is told, too; while a command runs only the latest state is kept; a command that fails is
//! run again; and what may have been half done is told anew.
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! use ha_vip::vrrp::StateName;
//! use ha_vip::vrrp::notify::{Notifier, notify_fn};
//! use tokio::sync::{mpsc, watch};
//!
//! let (router, state) = watch::channel(StateName::Backup); // or a `RouterHandle`
//! let (lines, mut said) = mpsc::unbounded_channel();
//! let notifier = Notifier::instance("VI_1", state, notify_fn(move |notice| {
//!     let sent = lines.send(notice.to_string());
//!     async move { sent.map_err(|error| error.to_string()) }
//! }));
//! let task = notifier.priority(150).spawn();
//! assert_eq!(said.recv().await.as_deref(), Some("INSTANCE VI_1 BACKUP 150"));
//! router.send_replace(StateName::Active);
//! assert_eq!(said.recv().await.as_deref(), Some("INSTANCE VI_1 MASTER 150"));
//! drop(router); // the service has ended
//! assert_eq!(said.recv().await.as_deref(), Some("INSTANCE VI_1 STOP 150"));
//! # drop(task); });
//! ```

mod error;
mod scripts;
mod source;
#[cfg(test)]
mod tests;

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use ha_core::driver::{Stop, Task, pause};

pub use self::error::NotifyError;
pub use self::scripts::{Script, Scripts};
pub use self::source::StateSource;

use self::source::Member;
use super::effects::StateName;

/// The longest pause between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// What is told: a state by keepalived's name for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(clippy::exhaustive_enums, reason = "scripts know these words and no others")]
pub enum NotifyState {
    /// The addresses are here: [`StateName::Active`], and [`StateName::Leaving`], which serves on.
    Master,
    /// They are elsewhere.
    Backup,
    /// This node cannot serve.
    Fault,
    /// The router has ended.
    Stop,
}

impl NotifyState {
    /// keepalived's word for it, such as `MASTER`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Master => "MASTER",
            Self::Backup => "BACKUP",
            Self::Fault => "FAULT",
            Self::Stop => "STOP",
        }
    }

    const fn of(state: StateName) -> Self {
        match state {
            StateName::Active | StateName::Leaving => Self::Master,
            StateName::Backup => Self::Backup,
            StateName::Fault => Self::Fault,
            StateName::Initialize => Self::Stop,
        }
    }

    /// A group is in fault if one member is, and master if all members are.
    fn of_all(mut states: impl Iterator<Item = Self> + Clone) -> Self {
        if states.clone().any(|state| state == Self::Fault) {
            Self::Fault
        } else if states.clone().all(|state| state == Self::Stop) {
            Self::Stop
        } else if states.all(|state| state == Self::Master) {
            Self::Master
        } else {
            Self::Backup
        }
    }
}

impl fmt::Display for NotifyState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Of what a state is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "scripts know these words and no others")]
pub enum Subject {
    /// Of several virtual routers that are active together.
    Group,
    /// Of one virtual router.
    Instance,
}

impl Subject {
    /// keepalived's word for it: `GROUP` or `INSTANCE`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Group => "GROUP",
            Self::Instance => "INSTANCE",
        }
    }
}

/// What is told, in the order of keepalived's arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Notice {
    /// A router or a group.
    pub subject: Subject,
    /// Its name.
    pub name: String,
    /// Its state.
    pub state: NotifyState,
    /// Its configured priority; 0 for a group.
    pub priority: u8,
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { subject, name, state, priority } = self;
        write!(f, "{} {name} {state} {priority}", subject.as_str())
    }
}

/// Is told what a router is.
#[async_trait]
pub trait Notify: fmt::Debug + Send {
    /// Takes notice. It may be told the same twice.
    ///
    /// # Errors
    ///
    /// When it could not do what follows from the notice: it is told again.
    ///
    /// # Cancel safety
    ///
    /// Up to the implementation; a [`Notifier`] drops it only when it is dropped itself.
    async fn notify(&mut self, notice: &Notice) -> Result<(), NotifyError>;
}

#[async_trait]
impl<T: Notify + ?Sized> Notify for Box<T> {
    async fn notify(&mut self, notice: &Notice) -> Result<(), NotifyError> {
        (**self).notify(notice).await
    }
}

/// Makes a closure [`Notify`]; see [`notify_fn`].
pub struct NotifyFn<F>(F);

/// Tells a closure; the text of its error goes into the log.
pub fn notify_fn<F, R>(told: F) -> NotifyFn<F>
where
    F: FnMut(Notice) -> R + Send,
    R: Future<Output = Result<(), String>> + Send,
{
    NotifyFn(told)
}

impl<F> fmt::Debug for NotifyFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NotifyFn").finish_non_exhaustive()
    }
}

#[async_trait]
impl<F, R> Notify for NotifyFn<F>
where
    F: FnMut(Notice) -> R + Send,
    R: Future<Output = Result<(), String>> + Send,
{
    async fn notify(&mut self, notice: &Notice) -> Result<(), NotifyError> {
        let done = (self.0)(notice.clone());
        done.await.map_err(|why| NotifyError::Refused { why })
    }
}

/// Tells what a virtual router, or a group of them, is: at the start, and whenever that is
/// something else than what was told last.
#[derive(Debug)]
#[must_use]
pub struct Notifier {
    subject: Subject,
    name: String,
    priority: u8,
    members: Vec<Member>,
    told: Box<dyn Notify>,
    attempts: u32,
    pause: Duration,
}

impl Notifier {
    /// Tells of one virtual router.
    pub fn instance(
        name: impl Into<String>,
        state: impl Into<StateSource>,
        told: impl Notify + 'static,
    ) -> Self {
        Self::new(Subject::Instance, name.into(), vec![Member::new(state.into())], Box::new(told))
    }

    /// Tells of a group: it is in fault if one member is, and master if all members are.
    pub fn group<S: Into<StateSource>>(
        name: impl Into<String>,
        members: impl IntoIterator<Item = S>,
        told: impl Notify + 'static,
    ) -> Self {
        let members = members.into_iter().map(|state| Member::new(state.into())).collect();
        Self::new(Subject::Group, name.into(), members, Box::new(told))
    }

    fn new(subject: Subject, name: String, members: Vec<Member>, told: Box<dyn Notify>) -> Self {
        let pause = Duration::from_secs(1);
        Self { subject, name, priority: 0, members, told, attempts: 3, pause }
    }

    /// Sets the priority that is told; default 0, as keepalived tells of groups.
    pub const fn priority(mut self, priority: u8) -> Self {
        self.priority = priority;
        self
    }

    /// Sets how often a failing notice is told before it is given up, at least once, and the pause
    /// after the first failure, which doubles up to a minute. Default 3 times, 1 s. (keepalived
    /// tells once.) A new state is told at once, and counts anew.
    pub const fn retry(mut self, attempts: u32, pause: Duration) -> Self {
        self.attempts = attempts;
        self.pause = pause;
        self
    }

    /// Runs as a task on the current tokio runtime, until the routers have ended.
    #[must_use]
    pub fn spawn(self) -> Task<()> {
        Task::spawn(|mut stop: Stop| async move {
            tokio::select! { biased;
                () = stop.wait() => {}
                () = self.run() => {}
            }
        })
    }

    /// Tells until the routers have ended and that was told, too.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it tells no more; a command that runs is killed.
    pub async fn run(mut self) {
        // What the world was last made to be; `None`: nothing yet, or something half done.
        let (mut made, mut attempt, mut failing) = (None, 0, None);
        loop {
            let wanted = self.look();
            let nothing_yet = wanted == NotifyState::Stop && made.is_none() && failing.is_none();
            if made == Some(wanted) || nothing_yet {
                if !source::any_change(&mut self.members).await {
                    return;
                }
                continue;
            }
            attempt = if failing == Some(wanted) { attempt + 1 } else { 1 };
            // From now on the world may be either.
            (made, failing) = (None, Some(wanted));
            let notice = Notice {
                subject: self.subject,
                name: self.name.clone(),
                state: wanted,
                priority: self.priority,
            };
            match self.told.notify(&notice).await {
                Ok(()) => (made, failing) = (Some(wanted), None),
                Err(error) if attempt >= self.attempts => {
                    let source = error::source(&error);
                    tracing::error!(%notice, %error, source, attempt, "notice given up");
                    (made, failing) = (Some(wanted), None);
                }
                Err(error) => {
                    let source = error::source(&error);
                    tracing::warn!(%notice, %error, source, attempt, "notice failed");
                    let doubled = self.pause.saturating_mul(1 << (attempt - 1).min(16));
                    self.pause_or_news(wanted, doubled.min(LONGEST_PAUSE)).await;
                }
            }
        }
    }

    /// What the routers are now.
    fn look(&mut self) -> NotifyState {
        for member in &mut self.members {
            member.look();
        }
        NotifyState::of_all(self.members.iter().map(Member::state))
    }

    /// Waits before the next attempt, but not once another state is to be told.
    async fn pause_or_news(&mut self, failed: NotifyState, limit: Duration) {
        let over = pause(limit);
        let other = async {
            while source::any_change(&mut self.members).await {
                if NotifyState::of_all(self.members.iter().map(Member::state)) != failed {
                    return;
                }
            }
            std::future::pending::<()>().await;
        };
        tokio::select! { biased;
            () = other => {}
            over = over => drop(over),
        }
    }
}

//! What a `keepalived.conf` says, and how it is set going.

use std::path::Path;
use std::time::Duration;

use ha_core::config::ConfigError;

use super::check::Check;
use super::global::Globals;
use super::neighbour::Neighbour;
use super::reader::Reader;
use super::report::Warning;
#[cfg(feature = "netlink")]
use crate::bfd;
#[cfg(feature = "netlink")]
use crate::track::BfdTracker;
use crate::track::Tracker;
use crate::vrrp::HostConfig;
#[cfg(feature = "netlink")]
use crate::vrrp::notify::Notifier;
use crate::vrrp::notify::{Scripts, Subject};
#[cfg(feature = "netlink")]
use crate::vrrp::{Service, ServiceBuilder, ServiceHandle};

/// Whom scripts are told of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notification {
    pub(super) subject: Subject,
    pub(super) name: String,
    pub(super) priority: u8,
    pub(super) scripts: Scripts,
}

impl Notification {
    /// An instance or a group.
    #[must_use]
    pub const fn subject(&self) -> Subject {
        self.subject
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What runs.
    pub const fn scripts(&self) -> &Scripts {
        &self.scripts
    }
}

/// What a `keepalived.conf` says: see [the module](super).
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use ha_vip::bfd;
/// use ha_vip::keepalived::Site;
///
/// let site = Site::read("/etc/keepalived/keepalived.conf")?;
/// let mut neighbours = bfd::Service::new()?;
/// let service = site.service(&mut neighbours)?.open().await?;
/// let notifiers = site.notifiers(&service.handles());
/// let (neighbours, service) = (neighbours.spawn(), service.spawn());
/// let notifiers: Vec<_> = notifiers.into_iter().map(|notifier| notifier.spawn()).collect();
/// // … until the program ends:
/// service.stop().await??;
/// for mut notifier in notifiers {
///     notifier.ended().await?; // they tell STOP
/// }
/// neighbours.stop().await??;
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    host: HostConfig,
    /// By the names of their trackers.
    checks: Vec<(String, Check)>,
    neighbours: Vec<Neighbour>,
    notifications: Vec<Notification>,
    router_id: Option<String>,
    nice: Option<i32>,
    startup_delay: Duration,
    warnings: Vec<Warning>,
}

impl Site {
    /// Reads a file strictly; [`Reader`] has more choices.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] with every problem: file and line, what stands there, what is allowed.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, ConfigError> {
        Reader::new().read(path)
    }

    /// Reads a text strictly; errors call it `name`.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    pub fn parse(text: &str, name: &str) -> Result<Self, ConfigError> {
        Reader::new().parse(text, name)
    }

    pub(super) fn new(
        host: HostConfig,
        checks: Vec<(String, Check)>,
        neighbours: Vec<Neighbour>,
        notifications: Vec<Notification>,
        globals: Globals,
    ) -> Self {
        let Globals { router_id, nice, startup_delay, .. } = globals;
        let warnings = Vec::new();
        Self { host, checks, neighbours, notifications, router_id, nice, startup_delay, warnings }
    }

    pub(super) fn with_warnings(mut self, warnings: Vec<Warning>) -> Self {
        self.warnings = warnings;
        self
    }

    /// The virtual routers and their groups.
    #[must_use]
    pub const fn host(&self) -> &HostConfig {
        &self.host
    }

    /// The neighbours that something tracks.
    #[must_use]
    pub fn neighbours(&self) -> &[Neighbour] {
        &self.neighbours
    }

    /// The names of the trackers of scripts, processes and files that something tracks, such as
    /// `script chk_haproxy`.
    pub fn checks(&self) -> impl Iterator<Item = &str> {
        self.checks.iter().map(|(name, _)| name.as_str())
    }

    /// Whom scripts are told of.
    #[must_use]
    pub fn notifications(&self) -> &[Notification] {
        &self.notifications
    }

    /// What was read otherwise than it stands there.
    #[must_use]
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// This node's name in its messages (`router_id`).
    #[must_use]
    pub fn router_id(&self) -> Option<&str> {
        self.router_id.as_deref()
    }

    /// The scheduling priority that is asked for, -20 to 19 (`vrrp_priority`).
    #[must_use]
    pub const fn nice(&self) -> Option<i32> {
        self.nice
    }

    /// How long to wait before the service is opened (`vrrp_startup_delay`).
    #[must_use]
    pub const fn startup_delay(&self) -> Duration {
        self.startup_delay
    }

    /// Makes the trackers of scripts, processes and files. Files with `init_file` are written.
    ///
    /// # Errors
    ///
    /// None is expected: the settings were checked when they were read.
    pub fn trackers(&self) -> Result<Vec<Box<dyn Tracker>>, ConfigError> {
        self.checks.iter().map(|(name, check)| check.tracker(name)).collect()
    }

    /// Makes the trackers of scripts, processes and files that are new or other than in `old`, for
    /// [`ServiceHandle::reload_with`](crate::vrrp::ServiceHandle::reload_with).
    ///
    /// # Errors
    ///
    /// [`ConfigError`] when the neighbours (`bfd_instance`) differ, which are set going at the
    /// start only.
    pub fn trackers_since(&self, old: &Self) -> Result<Vec<Box<dyn Tracker>>, ConfigError> {
        if self.neighbours != old.neighbours {
            let allowed = "the same as before: start the program again for others";
            return Err(ConfigError::new("bfd_instance", "changed", allowed));
        }
        let other = self.checks.iter().filter(|check| !old.checks.contains(check));
        other.map(|(name, check)| check.tracker(name)).collect()
    }
}

#[cfg(feature = "netlink")]
impl Site {
    /// Starts to put the service together, with all trackers; the neighbours are added to
    /// `neighbours`, which must run beside it.
    ///
    /// # Errors
    ///
    /// [`SiteError`]: a neighbour that cannot be watched.
    pub fn service(&self, neighbours: &mut bfd::Service) -> Result<ServiceBuilder, SiteError> {
        let mut builder = Service::builder(self.host.clone());
        for tracker in self.trackers()? {
            builder = builder.tracker(tracker);
        }
        for neighbour in &self.neighbours {
            let name = || neighbour.name().to_owned();
            let endpoints = neighbour.endpoints();
            let endpoints =
                endpoints.map_err(|source| SiteError::NoWay { name: name(), source })?;
            let session = neighbours.add(endpoints, neighbour.config().clone());
            let session =
                session.map_err(|source| SiteError::Neighbour { name: name(), source })?;
            let name = super::check::Kind::Bfd.tracker(neighbour.name());
            builder = builder.tracker(BfdTracker::new(name, session));
        }
        Ok(builder)
    }

    /// Makes the notifiers of a service that was put together from this site. Each is to be run;
    /// it ends when the service has, and that was told.
    #[must_use]
    pub fn notifiers(&self, service: &ServiceHandle) -> Vec<Notifier> {
        self.notifications.iter().filter_map(|told| self.notifier(told, service)).collect()
    }

    /// Makes the notifier of one of the [`notifications`](Self::notifications); `None` if the
    /// service has no such router.
    #[must_use]
    pub fn notifier(&self, told: &Notification, service: &ServiceHandle) -> Option<Notifier> {
        let Notification { subject, name, priority, scripts } = told;
        let notifier = match subject {
            Subject::Instance => Notifier::instance(name, service.router(name)?, scripts.clone()),
            Subject::Group => {
                let group = self.host.groups().iter().find(|group| group.name() == name)?;
                let members = group.members().iter().filter_map(|member| service.router(member));
                Notifier::group(name, members, scripts.clone())
            }
        };
        Some(notifier.priority(*priority))
    }
}

/// What a site asks for cannot be set going.
#[cfg(feature = "netlink")]
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SiteError {
    /// A tracker's settings.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A neighbour's session.
    #[error("cannot watch the neighbour {name} with BFD")]
    Neighbour {
        /// The `bfd_instance`.
        name: String,
        /// Why.
        #[source]
        source: bfd::ServiceError,
    },
    /// There is no way to a neighbour.
    #[error("cannot tell from which address {name} is reached: give it a `source_ip`")]
    NoWay {
        /// The `bfd_instance`.
        name: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

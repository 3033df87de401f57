//! What is asked of systemd over D-Bus.

use std::fmt;
use std::time::Duration;

use futures_util::StreamExt;
use ha_core::driver::pause;
use tokio::sync::Mutex;
use zbus::fdo::PropertiesProxy;
use zbus::names::InterfaceName;
use zbus::proxy::CacheProperties;
use zbus::zvariant::OwnedObjectPath;
use zbus::{Connection, Proxy, connection};

use crate::outcome::Outcome;

const SERVICE: &str = "org.freedesktop.systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const UNIT: &str = "org.freedesktop.systemd1.Unit";
const SERVICE_UNIT: &str = "org.freedesktop.systemd1.Service";

/// The bus's own name of a refusal.
pub(super) const ACCESS_DENIED: &str = "org.freedesktop.DBus.Error.AccessDenied";

/// The bus's own name of a question that is not known.
const UNKNOWN_METHOD: &str = "org.freedesktop.DBus.Error.UnknownMethod";

/// How often a job is looked for whose end was not told: a manager that executes itself anew
/// forgets who listens.
const RECHECK: Duration = Duration::from_secs(2);
/// The longest that a connection may take.
const CONNECT: Duration = Duration::from_secs(10);

/// The bus, connected when it is first needed, and again when the connection has broken.
#[derive(Debug)]
pub(super) struct Bus {
    /// `None`: the system's.
    address: Option<String>,
    connection: Mutex<Option<Connection>>,
}

/// What a job does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Job {
    Reload,
    Start,
    Stop,
}

impl Job {
    pub(super) const fn what(self) -> &'static str {
        match self {
            Self::Reload => "reload",
            Self::Start => "start",
            Self::Stop => "stop",
        }
    }

    const fn method(self) -> &'static str {
        match self {
            Self::Reload => "ReloadUnit",
            Self::Start => "StartUnit",
            Self::Stop => "StopUnit",
        }
    }
}

/// The state of a unit, in systemd's words.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct State {
    pub(super) load: String,
    pub(super) active: String,
    pub(super) sub: String,
    pub(super) result: String,
}

impl State {
    /// What it says of a resource; `None`: it is on its way to another one.
    pub(super) fn outcome(&self) -> Option<Outcome> {
        match (self.load.as_str(), self.active.as_str()) {
            // One whose file went away may still run.
            (_, "active") => Some(Outcome::Success),
            (_, "activating" | "deactivating" | "reloading" | "refreshing") => None,
            ("not-found" | "masked" | "bad-setting" | "error", _) => Some(Outcome::NotInstalled),
            (_, "inactive" | "failed") => Some(Outcome::NotRunning),
            _ => Some(Outcome::GenericError),
        }
    }

    pub(super) fn is_stopped(&self) -> bool {
        matches!(self.active.as_str(), "inactive" | "failed")
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { load, active, sub, result } = self;
        write!(f, "{active} ({sub})")?;
        if load != "loaded" {
            write!(f, ", {load}")?;
        }
        if !result.is_empty() && result != "success" {
            write!(f, ", result {result}")?;
        }
        Ok(())
    }
}

impl Bus {
    pub(super) fn system() -> Self {
        Self { address: None, connection: Mutex::default() }
    }

    pub(super) fn at(address: String) -> Self {
        Self { address: Some(address), connection: Mutex::default() }
    }

    /// systemd's manager.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub(super) async fn manager(&self) -> zbus::Result<Manager> {
        let mut kept = self.connection.lock().await;
        // A bus that was restarted has closed the old one.
        let usable = match &*kept {
            Some(old) => manager(old).await.ok(),
            None => None,
        };
        if let Some(manager) = usable {
            return Ok(manager);
        }
        let builder = match &self.address {
            Some(address) => connection::Builder::address(address.as_str())?,
            None => connection::Builder::system()?,
        };
        let connection = tokio::select! { biased;
            connection = builder.build() => connection?,
            _late = pause(CONNECT) => {
                return Err(zbus::Error::Failure("the bus does not answer".to_owned()));
            }
        };
        let manager = manager(&connection).await?;
        *kept = Some(connection);
        Ok(manager)
    }
}

/// Asks the manager to tell of jobs, which also shows that the connection works.
async fn manager(connection: &Connection) -> zbus::Result<Manager> {
    let proxy: Proxy<'static> = zbus::proxy::Builder::new(connection)
        .destination(SERVICE)?
        .path("/org/freedesktop/systemd1")?
        .interface(MANAGER)?
        .cache_properties(CacheProperties::No)
        .build()
        .await?;
    match proxy.call_method("Subscribe", &()).await {
        Err(error) if error_name(&error) == Some("org.freedesktop.systemd1.AlreadySubscribed") => {}
        subscribed => drop(subscribed?),
    }
    Ok(Manager { connection: connection.clone(), proxy })
}

/// systemd's own name of an error.
pub(super) fn error_name(error: &zbus::Error) -> Option<&str> {
    if let zbus::Error::MethodError(name, ..) = error {
        return Some(name.as_str());
    }
    let zbus::Error::FDO(error) = error else { return None };
    if matches!(**error, zbus::fdo::Error::AccessDenied(_)) {
        return Some(ACCESS_DENIED);
    }
    matches!(**error, zbus::fdo::Error::UnknownMethod(_)).then_some(UNKNOWN_METHOD)
}

/// The manager, over a connection that works.
#[derive(Debug)]
pub(super) struct Manager {
    connection: Connection,
    proxy: Proxy<'static>,
}

impl Manager {
    /// Lets systemd read its files again.
    pub(super) async fn reload(&self) -> zbus::Result<()> {
        self.proxy.call("Reload", &()).await
    }

    /// Runs a job to its end; its result.
    ///
    /// # Cancel safety
    ///
    /// The job goes on without anybody who waits.
    pub(super) async fn run(&self, job: Job, unit: &str) -> zbus::Result<String> {
        // Listened before asked: a fast job would be missed.
        let mut ends = self.proxy.receive_signal("JobRemoved").await?;
        let made: OwnedObjectPath = self.proxy.call(job.method(), &(unit, "replace")).await?;
        loop {
            tokio::select! { biased;
                end = ends.next() => {
                    let end = end.ok_or_else(|| zbus::Error::Failure("the bus has gone".into()))?;
                    let body = end.body();
                    let end: (u32, OwnedObjectPath, String, String) = body.deserialize()?;
                    if end.1 == made {
                        return Ok(end.3);
                    }
                }
                _timer = pause(RECHECK) => {
                    if !self.is_there(&made).await? {
                        return Ok("unknown".to_owned());
                    }
                }
            }
        }
    }

    async fn is_there(&self, job: &OwnedObjectPath) -> zbus::Result<bool> {
        let properties = self.properties(job).await?;
        let name = InterfaceName::try_from("org.freedesktop.systemd1.Job")?;
        match properties.get(name, "State").await {
            Ok(_) => Ok(true),
            Err(zbus::fdo::Error::UnknownObject(_) | zbus::fdo::Error::UnknownInterface(_)) => {
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The unit's state; it is loaded if it was not.
    pub(super) async fn state(&self, unit: &str) -> zbus::Result<State> {
        let path: OwnedObjectPath = self.proxy.call("LoadUnit", &(unit,)).await?;
        let properties = self.properties(&path).await?;
        state(&properties).await
    }

    /// The processes of a unit that has failed and was not rid of them: systemd gives up when they
    /// outlive SIGKILL. None, without being asked, in any other state; none too where an old
    /// systemd does not know the question, or the unit.
    pub(super) async fn leftovers(&self, unit: &str, state: &State) -> zbus::Result<Vec<u32>> {
        if state.active != "failed" {
            return Ok(Vec::new());
        }
        let told: zbus::Result<Vec<(String, u32, String)>> =
            self.proxy.call("GetUnitProcesses", &(unit,)).await;
        match told {
            Ok(processes) => Ok(processes.into_iter().map(|(_, pid, _)| pid).collect()),
            Err(error) => match error_name(&error) {
                Some(UNKNOWN_METHOD | "org.freedesktop.systemd1.NoSuchUnit") => Ok(Vec::new()),
                Some(_) | None => Err(error),
            },
        }
    }

    /// Waits until the unit is neither active nor on its way.
    pub(super) async fn end(&self, unit: &str) -> zbus::Result<State> {
        let path: OwnedObjectPath = self.proxy.call("LoadUnit", &(unit,)).await?;
        let properties = self.properties(&path).await?;
        let mut changes = properties.receive_properties_changed().await?;
        loop {
            let state = state(&properties).await?;
            if state.is_stopped() {
                return Ok(state);
            }
            let gone = || zbus::Error::Failure("the bus has gone".to_owned());
            changes.next().await.ok_or_else(gone)?;
        }
    }

    async fn properties(&self, path: &OwnedObjectPath) -> zbus::Result<PropertiesProxy<'static>> {
        PropertiesProxy::builder(&self.connection)
            .destination(SERVICE)?
            .path(path.clone())?
            .cache_properties(CacheProperties::No)
            .build()
            .await
    }
}

async fn state(properties: &PropertiesProxy<'_>) -> zbus::Result<State> {
    let text = async |interface: &'static str, name: &str| -> zbus::Result<String> {
        let value = properties.get(InterfaceName::try_from(interface)?, name).await?;
        String::try_from(value).map_err(Into::into)
    };
    Ok(State {
        load: text(UNIT, "LoadState").await?,
        active: text(UNIT, "ActiveState").await?,
        sub: text(UNIT, "SubState").await?,
        // Only services have one.
        result: text(SERVICE_UNIT, "Result").await.unwrap_or_default(),
    })
}

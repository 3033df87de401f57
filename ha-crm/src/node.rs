//! A node of a cluster, whole: membership, store, channels, executor, manager and control socket,
//! from one configuration file.

use std::io::{self, Write as _};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use ha_agents::executor::Limits;
use ha_agents::leftovers;
use ha_agents::registry::Registry;
use ha_core::config::ConfigError;
use ha_core::driver::Task;
use ha_core::id::Incarnation;
use ha_core::time::{BootClock, Clock, WallTime};
use ha_membership::mesh::{MeshError, MeshService};
use ha_membership::store::{Formation, OpenError, RaftStore, RaftStoreConfig};
use ha_membership::transport::channel::{
    ChannelError, Channels, ChannelsConfig, ChannelsConfigBuilder,
};
use ha_membership::transport::{KeyFileError, SealError, Sealed, SessionId, SharedKey};
use tokio::sync::{broadcast, watch};

use crate::control::{ControlError, Handler, Server};
use crate::file::{self, NodeFile};
use crate::manager::{Ask, Parts, Request, Response, Service, ServiceError, Told};

/// The least and the most time between two heartbeats of the store's leader.
const STORE_HEARTBEAT: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(5));
/// How long what an earlier life has started may take to die.
const LEFTOVERS_LIMIT: Duration = Duration::from_secs(10);
/// How long a request to the leader may take.
const ASK_LIMIT: Duration = Duration::from_secs(10);

/// A node of a cluster, running.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use std::path::Path;
/// use ha_agents::registry::Registry;
/// use ha_crm::file::NodeFile;
/// use ha_crm::node::Node;
///
/// let file = NodeFile::read(Path::new("/etc/ha/cluster.toml"))?;
/// let node = Node::open(&file, Registry::new()).await?;
/// let mut events = node.events();
/// while let Ok(told) = events.recv().await {
///     println!("{} {}", told.wall, told.event);
/// }
/// node.leave().await?; // in order: its resources are moved first
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Node {
    ask: Ask,
    #[cfg(feature = "attributes")]
    store: RaftStore,
    formation: watch::Receiver<Formation>,
    events: broadcast::Sender<Told>,
    control: Server,
    task: Task<io::Result<()>>,
}

/// A node cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NodeError {
    /// The other nodes could not speak with it.
    #[error("cannot start the node: its channels do not open; see the cause")]
    Channels(#[source] ChannelError),
    /// Settings do not fit each other.
    #[error("cannot start the node: its settings do not fit; see the cause")]
    Config(#[source] ConfigError),
    /// Nobody could ask it anything.
    #[error("cannot start the node: its control socket does not open; see the cause")]
    Control(#[source] ControlError),
    /// There is no place for what it must not forget.
    #[error(
        "cannot start the node: its folder {folder} cannot be made; check `data` and who may write there"
    )]
    Data {
        /// The folder.
        folder: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The shared key cannot be used.
    #[error("cannot start the node: its key cannot be used; see the cause")]
    Key(#[source] KeyFileError),
    /// What an earlier life of this program has started cannot be ended.
    #[error(
        "cannot start the node: processes of its earlier life do not end; see the cause, and reboot"
    )]
    Leftovers(#[source] io::Error),
    /// The other nodes could not hear it.
    #[error("cannot start the node: its membership does not open; see the cause")]
    Mesh(#[source] MeshError),
    /// No random numbers.
    #[error("cannot start the node: its datagrams cannot be sealed; see the cause")]
    Seal(#[source] SealError),
    /// The manager does not start.
    #[error("cannot start the node: see the cause")]
    Service(#[source] ServiceError),
    /// What it must not forget cannot be read.
    #[error("cannot start the node: its store does not open; see the cause")]
    Store(#[source] OpenError),
}

impl Node {
    /// Starts a node with these agents; must be called inside a tokio runtime with I/O and time
    /// enabled.
    ///
    /// # Errors
    ///
    /// [`NodeError`]; nothing runs then, and what is on the disk is as it was.
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: what was opened closes by itself, sooner or later.
    pub async fn open(file: &NodeFile, agents: Registry) -> Result<Self, NodeError> {
        let clock = BootClock::new();
        let (now, wall) = (clock.now(), clock.wall());
        let key = SharedKey::read(&file.key).map_err(NodeError::Key)?;
        let mut folder = std::fs::DirBuilder::new();
        folder.recursive(true).mode(0o700).create(&file.data).map_err(|source| {
            let folder = file.data.clone();
            NodeError::Data { folder, source }
        })?;
        let life = next_life(&file.data, wall).map_err(|source| {
            let folder = file.data.clone();
            NodeError::Data { folder, source }
        })?;
        let manager = file.manager().epoch(now, wall).build().map_err(NodeError::Config)?;
        let mesh = file.mesh().incarnation(Incarnation::new(life)).build();
        let mesh = mesh.map_err(NodeError::Config)?;
        let (channels, store) = settings(file, &key).map_err(NodeError::Config)?;
        let session = SessionId::random().map_err(NodeError::Seal)?;
        let sealed = Sealed::new([(1, key)], session).map_err(NodeError::Seal)?;

        let mark = file.data.canonicalize().unwrap_or_else(|_| file.data.clone());
        let mark = mark.display().to_string();
        let channels = Channels::bind(channels).await.map_err(NodeError::Channels)?;
        let store = RaftStore::open(store, &channels).await.map_err(NodeError::Store)?;
        end_leftovers(&mark).await.map_err(NodeError::Leftovers)?;
        let mesh = MeshService::spawn(mesh, Some(sealed)).await.map_err(NodeError::Mesh)?;
        let formation = store.formation();
        let shared = Arc::new(store.clone());
        let self_fence = match file.self_fence {
            file::SelfFence::None => None,
            file::SelfFence::Reboot => Some(Arc::new(reboot) as crate::manager::SelfFence),
        };
        let limits = Limits::default();
        let mark = Some(mark);
        #[cfg(feature = "attributes")]
        let kept = store.clone();
        let parts = Parts { mesh, store, channels, agents, limits, mark, self_fence };
        let service = Service::new(manager, parts).map_err(NodeError::Service)?;
        let (ask, events) = (service.ask(), service.teller());
        let handler = Arc::new(Leader(ask.clone()));
        let control = Server::bind_with_store(&file.socket, handler, shared).await;
        let control = control.map_err(NodeError::Control)?;
        Ok(Self {
            ask,
            #[cfg(feature = "attributes")]
            store: kept,
            formation,
            events,
            control,
            task: service.spawn(),
        })
    }

    /// A handle to ask the cluster; cheap to clone.
    #[must_use]
    pub fn ask(&self) -> Ask {
        self.ask.clone()
    }

    #[cfg(feature = "attributes")]
    pub(crate) fn store(&self) -> RaftStore {
        self.store.clone()
    }

    /// Follows what happens, from now on; a reader that lags is told how many events it missed.
    #[must_use]
    pub fn events(&self) -> broadcast::Receiver<Told> {
        self.events.subscribe()
    }

    /// Follows what the node still needs to take part in the store.
    #[must_use]
    pub fn formation(&self) -> watch::Receiver<Formation> {
        self.formation.clone()
    }

    /// Waits until the node has ended by itself, which is a mistake.
    ///
    /// # Errors
    ///
    /// Why it did.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn ended(&mut self) -> io::Result<()> {
        self.task.ended().await.map_err(io::Error::other)?
    }

    /// Leaves the cluster in order: its resources are moved first, or stopped where nobody can
    /// take them.
    ///
    /// # Errors
    ///
    /// The kernel's, or that of a driver that panicked.
    ///
    /// # Cancel safety
    ///
    /// It goes on leaving; dropping the future only no longer waits for it.
    pub async fn leave(self) -> io::Result<()> {
        let left = self.task.stop().await.map_err(io::Error::other)?;
        self.control.stop().await;
        left
    }
}

/// Ends what an earlier life of this program has started and could not end, before the others hear
/// of this one: a probe would not find it.
async fn end_leftovers(mark: &str) -> io::Result<()> {
    match leftovers::end(mark, LEFTOVERS_LIMIT).await {
        Ok(ended) => {
            if !ended.is_empty() {
                tracing::warn!(?ended, "processes of an earlier life were killed");
            }
            Ok(())
        }
        Err(error) if error.kind() == io::ErrorKind::Unsupported => {
            tracing::warn!(%error, "processes of an earlier life are not looked for");
            Ok(())
        }
        Err(error) => Err(error),
    }
}

/// The number of this life: milliseconds of the calendar, and in any case more than that of the
/// last life, which is on the disk, so that a calendar that was set back does no harm.
fn next_life(folder: &Path, wall: WallTime) -> io::Result<u64> {
    /// More than the views that a life sees.
    const STEP: u64 = 1_000_000;
    let file = folder.join("life");
    let last = match std::fs::read_to_string(&file) {
        Ok(text) => text.trim().parse::<u64>().ok(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    let now = u64::try_from(wall.as_micros() / 1000).unwrap_or_default();
    let life = last.map_or(now, |last| now.max(last.saturating_add(STEP)));
    let new = folder.join("life.new");
    let mut written = std::fs::File::create(&new)?;
    writeln!(written, "{life}")?;
    written.sync_all()?;
    std::fs::rename(&new, &file)?;
    Ok(life)
}

fn settings(
    file: &NodeFile,
    key: &SharedKey,
) -> Result<(ChannelsConfig, RaftStoreConfig), ConfigError> {
    let own = file
        .addresses
        .get(&file.name)
        .ok_or_else(|| ConfigError::new("name", &file.name, "a name that stands in `nodes`"))?;
    let mut channels = ChannelsConfig::builder(file.name.clone(), own.address).key(key.clone());
    channels = own.second.into_iter().fold(channels, ChannelsConfigBuilder::second);
    let store = RaftStoreConfig::builder(file.name.clone(), file.data.join("store"));
    // By default every 150 ms: a leader that dies is then replaced before the membership agrees
    // that it is dead.
    let heartbeat = (file.timing.dead_after * 3 / 14).clamp(STORE_HEARTBEAT.0, STORE_HEARTBEAT.1);
    let mut store = store.heartbeat(heartbeat).election(heartbeat, heartbeat * 2);
    for (name, address) in &file.addresses {
        if *name != file.name {
            channels = channels.peer(name.clone(), address.address);
        }
        if let Some(second) = address.second {
            channels = channels.second_way(name.clone(), second);
        }
        store = store.member(name.clone());
    }
    Ok((channels.build()?, store.build()?))
}

/// Asks whoever leads.
#[derive(Debug)]
struct Leader(Ask);

#[async_trait]
impl Handler for Leader {
    async fn answer(&self, request: Request) -> Response {
        match self.0.ask(request, ASK_LIMIT).await {
            Ok(response) => response,
            Err(error) => Response::Refused { reason: error.to_string() },
        }
    }
}

/// Restarts the computer at once, without waiting for disks: what could not be stopped must not
/// write any more.
fn reboot(resources: &[ha_core::id::ResourceName]) {
    tracing::error!(?resources, "could not be stopped in time without quorum: this node reboots");
    // An error means that this process may not: the fence devices have to do it.
    if let Err(error) = rustix::system::reboot(rustix::system::RebootCommand::Restart) {
        tracing::error!(%error, "cannot reboot: it is left to the fence devices");
    }
}

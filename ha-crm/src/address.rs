//! A floating address as a resource: on at most one node, moved by the cluster.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use ha_agents::native::{self, AddressPort};
use ha_agents::registry::Registry;
use ha_agents::{Check, Metadata, OpContext, OpResult, Outcome, Report, ResourceAgent};
use ha_core::config::{ConfigError, Problems};
use ha_vip::VirtualAddress;
use ha_vip::announce::{Announcer, PacketAnnouncer};
use ha_vip::backend::{AddressBackend, BackendError, NetlinkBackend};

/// The longest name of an interface, in bytes (Linux's `IFNAMSIZ`).
const MAX_INTERFACE: usize = 15;

/// A [`ResourceAgent`] for one address (`ocf:heartbeat:IPaddr2`): [`native::Address`] on ha-vip's
/// backend.
///
/// A start puts the address on the interface and announces it, at once and three times more in the
/// next 5 s: gratuitous ARP for IPv4, unsolicited neighbour advertisements for IPv6. A stop
/// removes it. A monitor asks the kernel; there is nothing deeper to ask at depth 10.
///
/// What an earlier life of the program left behind counts as its own. An address that *another*
/// program put there is not taken over, and never removed: the start fails and says so.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use std::sync::Arc;
/// use ha_agents::{Check, OpContext, Outcome, ResourceAgent};
/// use ha_core::id::OpId;
/// use ha_crm::address::Address;
/// use ha_vip::announce::MemoryAnnouncer;
/// use ha_vip::backend::MemoryBackend;
///
/// let backend = Arc::new(MemoryBackend::new("eth0"));
/// let address = "192.0.2.10/24".parse()?;
/// let agent = Address::through(address, backend, Arc::new(MemoryAnnouncer::default()));
/// let context = OpContext::new("vip".parse()?, OpId::FIRST);
/// assert_eq!(agent.start(&context).await?.outcome, Outcome::Success);
/// assert_eq!(agent.monitor(&context, Check::STARTED).await?.outcome, Outcome::Success);
/// assert_eq!(agent.stop(&context).await?.outcome, Outcome::Success);
/// assert_eq!(agent.monitor(&context, Check::PROBE).await?.outcome, Outcome::NotRunning);
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Debug)]
pub struct Address {
    vip: VirtualAddress,
    agent: native::Address,
}

/// Through what the address is put there and announced.
#[derive(Debug, Clone)]
struct Ways {
    backend: Arc<dyn AddressBackend>,
    announcer: Arc<dyn Announcer>,
}

/// Adds `native:address` to the agents of a node.
///
/// ```
/// use ha_agents::registry::Registry;
///
/// let mut agents = Registry::new();
/// ha_crm::address::register(&mut agents);
/// assert!(agents.names().any(|name| name == "native:address"));
/// ```
pub fn register(agents: &mut Registry) {
    agents.register("native:address", |_, given| Ok(Arc::new(Address::from_parameters(given)?)));
}

impl Address {
    /// An address on an interface of this host; the interface is looked up when it is needed.
    ///
    /// Needs `CAP_NET_ADMIN` and `CAP_NET_RAW` then.
    pub fn new(address: VirtualAddress, interface: impl Into<String>) -> Self {
        let interface = Some(interface.into());
        let agent = native::Address::new(Port { vip: address, interface, ways: Mutex::default() });
        Self { vip: address, agent }
    }

    /// An address that goes other ways: a cloud's, or a test's.
    pub fn through(
        address: VirtualAddress,
        backend: Arc<dyn AddressBackend>,
        announcer: Arc<dyn Announcer>,
    ) -> Self {
        let ways = Mutex::new(Some(Ways { backend, announcer }));
        let agent = native::Address::new(Port { vip: address, interface: None, ways });
        Self { vip: address, agent }
    }

    /// The address that parameters describe: `address` with its prefix length, and `interface`.
    ///
    /// ```
    /// use std::collections::BTreeMap;
    /// use ha_crm::address::Address;
    ///
    /// let parameters = [("address", "192.0.2.10"), ("nic", "eth0")];
    /// let parameters = parameters.map(|(name, value)| (name.to_owned(), value.to_owned()));
    /// let error = Address::from_parameters(&BTreeMap::from(parameters)).unwrap_err();
    /// assert_eq!(error.problems().len(), 3); // no prefix length, no interface, what is nic?
    /// ```
    ///
    /// # Errors
    ///
    /// All problems at once.
    pub fn from_parameters(parameters: &BTreeMap<String, String>) -> Result<Self, ConfigError> {
        let mut problems = Problems::new();
        let known = |key: &str| matches!(key, "address" | "interface");
        for key in parameters.keys().filter(|key| !known(key)) {
            problems.add(key.escape_debug().to_string(), "this parameter", "address and interface");
        }
        let cidr = "an address with its prefix length, such as 192.0.2.10/24 or 2001:db8::10/64";
        let address = match parameters.get("address").map(|text| (text, text.parse())) {
            Some((_, Ok(address))) => Some(address),
            Some((text, Err(error))) => {
                let error: ha_vip::AddressError = error;
                problems.add("address", format!("{text:?}"), format!("{cidr}: {}", error.why));
                None
            }
            None => {
                problems.add("address", "nothing", cidr);
                None
            }
        };
        let name = "the name of a network interface, such as eth0, of at most 15 bytes";
        let good = |name: &str| {
            let odd = |c: char| c.is_whitespace() || c.is_control() || c == '/';
            !name.is_empty() && name.len() <= MAX_INTERFACE && !name.contains(odd)
        };
        let interface = parameters.get("interface");
        match interface {
            Some(interface) if good(interface) => {}
            Some(interface) => problems.add("interface", format!("{interface:?}"), name),
            None => problems.add("interface", "nothing", name),
        }
        match (address, interface) {
            (Some(address), Some(interface)) => {
                problems.into_result(Self::new(address, interface.as_str()))
            }
            // One of them is missing because of a problem that was noted.
            _ => problems.into_result(()).and(Err(ConfigError::new("address", "nothing", cidr))),
        }
    }

    /// The address.
    #[must_use]
    pub const fn address(&self) -> VirtualAddress {
        self.vip
    }
}

/// The address on its interface, by ha-vip.
#[derive(Debug)]
struct Port {
    vip: VirtualAddress,
    /// Where; none if the ways were given.
    interface: Option<String>,
    ways: Mutex<Option<Ways>>,
}

impl Port {
    /// The ways to the interface as it is now, or as it was when it was opened.
    async fn ways(&self, anew: bool) -> Result<Ways, Report> {
        let open = self.ways.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let interface = match (open, &self.interface) {
            (Some(ways), Some(_)) if !anew => return Ok(ways),
            (_, Some(interface)) => interface,
            (Some(ways), None) => return Ok(ways),
            (None, None) => {
                return Err(Report::new(Outcome::GenericError, "there is no way to it"));
            }
        };
        let backend = NetlinkBackend::open(interface).await.map_err(|error| failed(&error))?;
        let announcer = PacketAnnouncer::on(interface).await.map_err(|error| {
            let denied = error.kind() == io::ErrorKind::PermissionDenied;
            let outcome = if denied { Outcome::NoPermission } else { Outcome::GenericError };
            Report::new(outcome, format!("cannot announce on {interface}: {error}"))
        })?;
        let ways = Ways { backend: Arc::new(backend), announcer: Arc::new(announcer) };
        let mut kept = self.ways.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(kept.insert(ways).clone())
    }
}

/// What a failure of the system means.
fn failed(error: &BackendError) -> Report {
    let mut reason = error.to_string();
    if let Some(source) = std::error::Error::source(error) {
        reason = format!("{reason}: {source}");
    }
    let outcome = match error {
        BackendError::NoInterface { .. } => Outcome::NotInstalled,
        BackendError::Privilege { .. } => Outcome::NoPermission,
        BackendError::Refused { .. } | BackendError::Unreadable { .. } | _ => Outcome::GenericError,
    };
    Report::new(outcome, reason)
}

#[async_trait]
impl AddressPort for Port {
    fn name(&self) -> String {
        match &self.interface {
            Some(interface) => format!("{} on {interface}", self.vip),
            None => self.vip.to_string(),
        }
    }

    async fn add(&self) -> Result<(), Report> {
        self.ways(false).await?.backend.add(self.vip).await.map_err(|error| failed(&error))
    }

    async fn remove(&self) -> Result<(), Report> {
        self.ways(false).await?.backend.remove(self.vip).await.map_err(|error| failed(&error))
    }

    async fn holds(&self) -> Result<bool, Report> {
        let there = self.ways(false).await?.backend.list().await;
        Ok(there.map_err(|error| failed(&error))?.contains(&self.vip))
    }

    async fn announce(&self) -> Result<(), Report> {
        let announced = self.ways(false).await?.announcer.announce(&[self.vip]);
        announced.map_err(|error| Report::new(Outcome::GenericError, error.to_string()))
    }

    async fn look_up(&self) -> Result<(), Report> {
        self.ways(true).await.map(drop)
    }
}

#[async_trait]
impl ResourceAgent for Address {
    async fn start(&self, context: &OpContext) -> OpResult {
        self.agent.start(context).await
    }

    async fn stop(&self, context: &OpContext) -> OpResult {
        self.agent.stop(context).await
    }

    async fn monitor(&self, context: &OpContext, check: Check) -> OpResult {
        self.agent.monitor(context, check).await
    }

    async fn validate(&self, context: &OpContext) -> OpResult {
        self.agent.validate(context).await
    }

    fn metadata(&self) -> Metadata {
        self.agent.metadata()
    }
}

//! A floating address as a resource: on at most one node, moved by the cluster.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use ha_agents::registry::Registry;
use ha_agents::{
    AgentError, Check, Metadata, OpContext, OpResult, Outcome, Parameter, Report, ResourceAgent,
};
use ha_core::config::{ConfigError, Problems};
use ha_core::driver::{Task, pause};
use ha_vip::VirtualAddress;
use ha_vip::announce::{Announcer, PacketAnnouncer};
use ha_vip::backend::{AddressBackend, BackendError, NetlinkBackend};

/// How long after one announcement the next follows: as a virtual router's, 100 ms, 1 s and 5 s
/// after the first.
const AGAIN: [Duration; 3] =
    [Duration::from_millis(100), Duration::from_millis(900), Duration::from_secs(4)];
/// The longest name of an interface, in bytes (Linux's `IFNAMSIZ`).
const MAX_INTERFACE: usize = 15;

/// A [`ResourceAgent`] for one address (`ocf:heartbeat:IPaddr2`).
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
pub struct Address {
    vip: VirtualAddress,
    /// Where; none if the ways were given.
    interface: Option<String>,
    ways: Mutex<Option<Ways>>,
    /// Repeats the announcement.
    burst: Mutex<Option<Task<()>>>,
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
        let (ways, burst) = Default::default();
        Self { vip: address, interface: Some(interface.into()), ways, burst }
    }

    /// An address that goes other ways: a cloud's, or a test's.
    pub fn through(
        address: VirtualAddress,
        backend: Arc<dyn AddressBackend>,
        announcer: Arc<dyn Announcer>,
    ) -> Self {
        let ways = Mutex::new(Some(Ways { backend, announcer }));
        Self { vip: address, interface: None, ways, burst: Mutex::default() }
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

    async fn is_there(&self, ways: &Ways) -> Result<bool, BackendError> {
        Ok(ways.backend.list().await?.contains(&self.vip))
    }

    async fn put(&self) -> Result<(), Report> {
        // An interface that was made anew has another number: what was opened is of no use then.
        let kept = self.ways(false).await?;
        let there = self.is_there(&kept).await.unwrap_or(false);
        let ways = if there { kept } else { self.ways(true).await? };
        ways.backend.add(self.vip).await.map_err(|error| failed(&error))?;
        if !self.is_there(&ways).await.map_err(|error| failed(&error))? {
            let reason = format!(
                "another program has put {} there, which is left alone; remove it there",
                self.vip
            );
            return Err(Report::new(Outcome::GenericError, reason));
        }
        if let Err(error) = ways.announcer.announce(&[self.vip]) {
            // What nobody can reach does not serve.
            if let Err(error) = ways.backend.remove(self.vip).await {
                tracing::error!(address = %self.vip, %error, "address left behind");
            }
            let reason = format!("cannot announce {}: {error}", self.vip);
            return Err(Report::new(Outcome::GenericError, reason));
        }
        let (address, announcer) = (self.vip, ways.announcer);
        let burst = Task::spawn(move |mut stop| async move {
            for after in AGAIN {
                tokio::select! { biased;
                    () = stop.wait() => return,
                    _timer = pause(after) => {}
                }
                if let Err(error) = announcer.announce(&[address]) {
                    tracing::warn!(%address, %error, "address not announced again");
                }
            }
        });
        self.end_burst();
        *self.burst.lock().unwrap_or_else(PoisonError::into_inner) = Some(burst);
        Ok(())
    }

    /// Ends the announcements: a dropped task is told to stop, and looks before each.
    fn end_burst(&self) {
        drop(self.burst.lock().unwrap_or_else(PoisonError::into_inner).take());
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
        BackendError::Refused { .. } | _ => Outcome::GenericError,
    };
    Report::new(outcome, reason)
}

#[async_trait]
impl ResourceAgent for Address {
    async fn start(&self, context: &OpContext) -> OpResult {
        let put = async { Ok::<_, AgentError>(self.put().await) };
        Ok(context.limit("start", put).await?.err().unwrap_or(Report::success()))
    }

    async fn stop(&self, context: &OpContext) -> OpResult {
        self.end_burst();
        let remove = async {
            Ok(match self.ways(false).await {
                // On an interface that is not there nothing is.
                Err(report) if report.outcome == Outcome::NotInstalled => Report::success(),
                Err(report) => report,
                Ok(ways) => match ways.backend.remove(self.vip).await {
                    Ok(()) | Err(BackendError::NoInterface { .. }) => Report::success(),
                    Err(error) => failed(&error),
                },
            })
        };
        context.limit("stop", remove).await
    }

    async fn monitor(&self, context: &OpContext, _check: Check) -> OpResult {
        let look = async {
            Ok(match self.ways(false).await {
                Err(report) if report.outcome == Outcome::NotInstalled => {
                    Report::new(Outcome::NotRunning, report.reason)
                }
                Err(report) => report,
                Ok(ways) => match self.is_there(&ways).await {
                    Ok(true) => Report::success(),
                    Ok(false) => Report::new(Outcome::NotRunning, ""),
                    Err(error @ BackendError::NoInterface { .. }) => {
                        Report::new(Outcome::NotRunning, error.to_string())
                    }
                    Err(error) => failed(&error),
                },
            })
        };
        context.limit("monitor", look).await
    }

    async fn validate(&self, context: &OpContext) -> OpResult {
        let look = async { Ok(self.ways(true).await.err().unwrap_or(Report::success())) };
        context.limit("validate", look).await
    }

    fn metadata(&self) -> Metadata {
        let parameter = |name: &str, summary: &str| Parameter {
            name: name.to_owned(),
            summary: summary.to_owned(),
            default: None,
        };
        let mut metadata = Metadata::new("address", "A floating IP address");
        metadata.parameters = vec![
            parameter("address", "The address with its prefix length, such as 192.0.2.10/24"),
            parameter("interface", "The network interface, such as eth0"),
        ];
        metadata
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Address")
            .field("address", &self.vip)
            .field("interface", &self.interface)
            .finish_non_exhaustive()
    }
}

//! A floating address as a resource, through whatever puts it there.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use ha_core::driver::{Task, pause};

use super::described;
use crate::agent::{AgentError, Check, Metadata, OpContext, OpResult, Report, ResourceAgent};
use crate::outcome::Outcome;

/// How long after one announcement the next follows: as a virtual router's, 100 ms, 1 s and 5 s
/// after the first.
const AGAIN: [Duration; 3] =
    [Duration::from_millis(100), Duration::from_millis(900), Duration::from_secs(4)];

/// Where one address is put: a network interface, a cloud's table, a test's memory.
///
/// Its errors are answers: [`Outcome::NotInstalled`] says that the place is not there, so that
/// nothing can be on it either. Adding what is there and removing what is not there succeed, and
/// what another program has put there is left alone.
#[async_trait]
pub trait AddressPort: fmt::Debug + Send + Sync {
    /// The address and its place, for a person, such as `192.0.2.10/24 on eth0`.
    fn name(&self) -> String;

    /// Puts the address there.
    ///
    /// # Errors
    ///
    /// What the system refused.
    ///
    /// # Cancel safety
    ///
    /// The address may be there or not afterwards; ask [`holds`](Self::holds).
    async fn add(&self) -> Result<(), Report>;

    /// Takes the address off, if this port put it there, in this life or an earlier one.
    ///
    /// # Errors
    ///
    /// As [`add`](Self::add).
    ///
    /// # Cancel safety
    ///
    /// As [`add`](Self::add).
    async fn remove(&self) -> Result<(), Report>;

    /// Whether the address is there, and this port's.
    ///
    /// # Errors
    ///
    /// As [`add`](Self::add).
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    async fn holds(&self) -> Result<bool, Report>;

    /// Tells the neighbours once that the address is here now.
    ///
    /// # Errors
    ///
    /// As [`add`](Self::add).
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    async fn announce(&self) -> Result<(), Report>;

    /// Looks the place up anew: an interface that was made again has another number. Without an
    /// effect on the address. Provided: there is nothing to look up.
    ///
    /// # Errors
    ///
    /// As [`add`](Self::add).
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    async fn look_up(&self) -> Result<(), Report> {
        Ok(())
    }
}

/// A floating address: Pacemaker's `ocf:heartbeat:IPaddr2`, without its shell.
///
/// A start puts the address on its place and announces it, at once and three times more in the
/// next 5 s. A stop removes it. A monitor asks whether it is there; there is nothing deeper to ask
/// at depth 10. An address that *another* program put there is not taken over, and never removed:
/// the start fails and says so.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use ha_agents::native::{Address, MemoryAddress};
/// use ha_agents::{Check, OpContext, Outcome, ResourceAgent};
/// use ha_core::id::OpId;
///
/// let place = MemoryAddress::new("192.0.2.10/24 on eth0");
/// let agent = Address::new(place.clone()); // an application gives its backend
/// let context = OpContext::new("vip".parse().unwrap(), OpId::FIRST);
/// agent.start(&context).await?;
/// assert!(place.is_there() && place.announcements() >= 1);
/// agent.stop(&context).await?;
/// assert_eq!(agent.monitor(&context, Check::PROBE).await?.outcome, Outcome::NotRunning);
/// # Ok::<(), ha_agents::AgentError>(()) }).unwrap();
/// ```
pub struct Address {
    port: Arc<dyn AddressPort>,
    /// Repeats the announcement.
    burst: Mutex<Option<Task<()>>>,
}

impl Address {
    /// The address behind `port`.
    pub fn new(port: impl AddressPort + 'static) -> Self {
        Self { port: Arc::new(port), burst: Mutex::default() }
    }

    async fn put(&self) -> Result<(), Report> {
        if !self.port.holds().await.unwrap_or(false) {
            self.port.look_up().await?;
        }
        self.port.add().await?;
        let name = self.port.name();
        if !self.port.holds().await? {
            let reason = format!(
                "another program has put {name} there, which is left alone; remove it there"
            );
            return Err(Report::new(Outcome::GenericError, reason));
        }
        if let Err(report) = self.port.announce().await {
            // What nobody can reach does not serve.
            if let Err(Report { reason, .. }) = self.port.remove().await {
                tracing::error!(address = name, reason, "address left behind");
            }
            let reason = format!("cannot announce {name}: {}", report.reason);
            return Err(Report::new(Outcome::GenericError, reason));
        }
        let port = Arc::clone(&self.port);
        let burst = Task::spawn(move |mut stop| async move {
            for after in AGAIN {
                tokio::select! { biased;
                    () = stop.wait() => return,
                    _timer = pause(after) => {}
                }
                if let Err(Report { reason, .. }) = port.announce().await {
                    tracing::warn!(address = port.name(), reason, "address not announced again");
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

#[async_trait]
impl ResourceAgent for Address {
    async fn start(&self, context: &OpContext) -> OpResult {
        let put = async { Ok::<_, AgentError>(self.put().await) };
        Ok(context.limit("start", put).await?.err().unwrap_or_else(Report::success))
    }

    async fn stop(&self, context: &OpContext) -> OpResult {
        self.end_burst();
        let remove = async {
            Ok(match self.port.remove().await {
                Err(report) if report.outcome != Outcome::NotInstalled => report,
                Ok(()) | Err(_) => Report::success(),
            })
        };
        context.limit("stop", remove).await
    }

    async fn monitor(&self, context: &OpContext, _check: Check) -> OpResult {
        let look = async {
            Ok(match self.port.holds().await {
                Ok(true) => Report::success(),
                Ok(false) => Report::new(Outcome::NotRunning, ""),
                Err(report) if report.outcome == Outcome::NotInstalled => {
                    Report::new(Outcome::NotRunning, report.reason)
                }
                Err(report) => report,
            })
        };
        context.limit("monitor", look).await
    }

    async fn validate(&self, context: &OpContext) -> OpResult {
        let look = async { Ok(self.port.look_up().await.err().unwrap_or_else(Report::success)) };
        context.limit("validate", look).await
    }

    fn metadata(&self) -> Metadata {
        let parameters = [
            ("address", "the address with its prefix length, such as 192.0.2.10/24", None),
            ("interface", "the network interface, such as eth0", None),
        ];
        described("address", "A floating IP address", &parameters)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Address").field("port", &self.port).finish_non_exhaustive()
    }
}

/// A place in memory for one address; its clones are the same place.
///
/// ```
/// use ha_agents::native::MemoryAddress;
///
/// let place = MemoryAddress::new("192.0.2.10/24 on eth0");
/// place.occupy(true); // by another program
/// assert!(!place.is_there());
/// ```
#[derive(Debug, Clone)]
pub struct MemoryAddress {
    name: String,
    state: Arc<Mutex<Place>>,
}

#[derive(Debug, Default)]
struct Place {
    there: bool,
    occupied: bool,
    announcements: u64,
    failure: Option<Report>,
    mute: bool,
}

impl MemoryAddress {
    /// An empty place.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), state: Arc::default() }
    }

    /// Whether the address is there.
    #[must_use]
    pub fn is_there(&self) -> bool {
        self.with(|place| place.there)
    }

    /// How often it was announced.
    #[must_use]
    pub fn announcements(&self) -> u64 {
        self.with(|place| place.announcements)
    }

    /// Sets whether another program has the address there.
    pub fn occupy(&self, occupied: bool) {
        self.with(|place| place.occupied = occupied);
    }

    /// Sets what everything is answered with from now on; `None`: it works again.
    pub fn fail(&self, failure: Option<Report>) {
        self.with(|place| place.failure = failure);
    }

    /// Sets whether announcements fail.
    pub fn mute(&self, mute: bool) {
        self.with(|place| place.mute = mute);
    }

    fn with<T>(&self, work: impl FnOnce(&mut Place) -> T) -> T {
        work(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn attempt<T>(&self, work: impl FnOnce(&mut Place) -> T) -> Result<T, Report> {
        self.with(|place| match place.failure.clone() {
            Some(failure) => Err(failure),
            None => Ok(work(place)),
        })
    }
}

#[async_trait]
impl AddressPort for MemoryAddress {
    fn name(&self) -> String {
        self.name.clone()
    }

    async fn add(&self) -> Result<(), Report> {
        self.attempt(|place| place.there = !place.occupied)
    }

    async fn remove(&self) -> Result<(), Report> {
        self.attempt(|place| place.there = false)
    }

    async fn holds(&self) -> Result<bool, Report> {
        self.attempt(|place| place.there)
    }

    async fn announce(&self) -> Result<(), Report> {
        if self.with(|place| place.mute) {
            return Err(Report::new(Outcome::GenericError, "told to be mute"));
        }
        self.attempt(|place| place.announcements += 1)
    }

    async fn look_up(&self) -> Result<(), Report> {
        self.attempt(|_| ())
    }
}

//! The settings of a Redfish board.

use std::collections::BTreeMap;
use std::time::Duration;

use ha_core::config::{ConfigError, Problems};
use ha_core::id::NodeName;

use super::agent::Redfish;
use super::endpoint::{Endpoint, Trust};
use crate::secret::Secret;

/// How a [`Redfish`] board is logged in to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Login {
    /// User and password with every request (HTTP Basic): nothing is left behind.
    Basic,
    /// A session of the board's, for boards that have Basic switched off. It is ended after the
    /// action; that of an action which is dropped ends by the board's own timeout.
    Session,
}

/// How a [`Redfish`] board reboots its node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RebootMethod {
    /// `ForceOff`, seen to be off, `On`.
    OffOn,
    /// `ForceRestart`: the board's word that it has reset the node is all that there is; nothing
    /// shows that it ever was off. For nodes that do not come back from off.
    ForceRestart,
}

/// Which system of a board a node is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Plug {
    /// The only one.
    Only,
    /// The one at this path.
    Path(String),
    /// The one with this id, name, host name or UUID.
    Called(String),
}

/// Collects the settings of a [`Redfish`] board.
#[derive(Debug)]
#[must_use = "a builder does nothing until build() is called"]
pub struct RedfishBuilder {
    device: String,
    url: String,
    trust: Trust,
    user: String,
    password: Secret,
    login: Login,
    plugs: BTreeMap<NodeName, Plug>,
    timeout: Duration,
    poll: Duration,
    reboot: RebootMethod,
}

impl RedfishBuilder {
    pub(super) fn new(device: String, url: String) -> Self {
        Self {
            device,
            url,
            trust: Trust::System,
            user: String::new(),
            password: Secret::default(),
            login: Login::Basic,
            plugs: BTreeMap::new(),
            timeout: Duration::from_mins(1),
            poll: Duration::from_millis(500),
            reboot: RebootMethod::OffOn,
        }
    }

    /// Adds a node that is the board's only system.
    pub fn node(mut self, node: NodeName) -> Self {
        self.plugs.insert(node, Plug::Only);
        self
    }

    /// Adds a node and which system it is: a path such as `/redfish/v1/Systems/1` (the
    /// `systems_uri` of `fence_redfish`), or an id, name, host name or UUID.
    pub fn plug(mut self, node: NodeName, system: impl Into<String>) -> Self {
        let system = system.into();
        let plug = if system.starts_with('/') { Plug::Path(system) } else { Plug::Called(system) };
        self.plugs.insert(node, plug);
        self
    }

    /// Sets the user and the password. Default: both empty.
    pub fn login(mut self, user: impl Into<String>, password: impl Into<String>) -> Self {
        self.user = user.into();
        self.password = Secret::new(password);
        self
    }

    /// Sets how to log in. Default: [`Login::Basic`].
    pub const fn login_by(mut self, login: Login) -> Self {
        self.login = login;
        self
    }

    /// Trusts certificates that one of these authorities has issued, in PEM form. Default: the
    /// system's authorities. The certificate must name the host of the URL.
    pub fn authorities(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.trust = Trust::Authorities(pem.into());
        self
    }

    /// Takes any certificate, and plain `http:` (`fence_redfish`'s `ssl_insecure`): who can put
    /// himself in between gets the password, and can say that a node is off that is not. Not for
    /// production: give [`authorities`](Self::authorities) the board's own certificate instead.
    pub fn insecure(mut self) -> Self {
        self.trust = Trust::Anybody;
        self
    }

    /// Sets how long an action may take, until the power is seen to be as it should be. Default:
    /// 60 s, as of [`FenceCommand`](crate::fence::FenceCommand).
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets the time between two looks at the power while it is to change. Default: 500 ms.
    pub const fn poll(mut self, poll: Duration) -> Self {
        self.poll = poll;
        self
    }

    /// Sets how nodes are rebooted. Default: [`RebootMethod::OffOn`].
    pub const fn reboot_method(mut self, method: RebootMethod) -> Self {
        self.reboot = method;
        self
    }

    /// Checks the settings.
    ///
    /// # Errors
    ///
    /// All that is wrong, at once: a URL that is none, certificates that cannot be read, no node,
    /// more than one node on the only system, times of zero.
    pub fn build(self) -> Result<Redfish, ConfigError> {
        let mut problems = Problems::new();
        let device = &self.device;
        let endpoint = match Endpoint::new(&self.url, &self.trust) {
            Ok(endpoint) => Some(endpoint),
            Err(error) => {
                problems.absorb(error.below(&format!("fence.{device}")));
                None
            }
        };
        let mut check = |is_right: bool, name: &str, value: &str, allowed: &str| {
            if !is_right {
                problems.add(format!("fence.{device}.{name}"), value, allowed);
            }
        };
        check(!self.plugs.is_empty(), "nodes", "none", "one node or more");
        let is_shared = self.plugs.len() > 1 && self.plugs.values().any(|plug| *plug == Plug::Only);
        check(!is_shared, "nodes", "several", "each with its system, where there is more than one");
        let is_named = |plug: &Plug| *plug != Plug::Called(String::new());
        check(self.plugs.values().all(is_named), "nodes", "nothing", "a path or a name");
        check(!self.user.contains(':'), "user", &self.user, "a name without a colon");
        check(!self.timeout.is_zero(), "timeout", "0", "more than 0; 60 s is usual");
        check(!self.poll.is_zero(), "poll", "0", "more than 0; 500 ms is usual");
        let Some(endpoint) = endpoint else {
            return Err(problems
                .into_result(())
                .err()
                .unwrap_or_else(|| ConfigError::new("url", "nothing", "https://HOST")));
        };
        problems.into_result(Redfish {
            device: self.device,
            endpoint,
            user: self.user,
            password: self.password,
            login: self.login,
            plugs: self.plugs,
            timeout: self.timeout,
            poll: self.poll,
            reboot: self.reboot,
        })
    }
}

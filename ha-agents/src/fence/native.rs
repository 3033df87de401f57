//! The native fence agents, from the words of a configuration.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ha_core::config::{ConfigError, Problems};
use ha_core::id::NodeName;

use super::{FenceAgent, Ssh};
use crate::registry::Parameters;

/// A parameter of a native fence agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct NativeParameter {
    /// Its name; that of Debian's fence agent for the same, where there is one.
    pub name: &'static str,
    /// What holds without it; `None` where there is no default.
    pub default: Option<&'static str>,
    /// Whether it must be given.
    pub required: bool,
    /// Whether it is a secret, which belongs into no command line and no log.
    pub secret: bool,
    /// What it is, in a few words.
    pub summary: &'static str,
}

/// A native fence agent that a configuration can name.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct NativeAgent {
    /// Its name: `ipmi`, `redfish`, `ssh`.
    pub name: &'static str,
    /// What it is, in a few words.
    pub summary: &'static str,
    /// What the plug of a node is to it.
    pub plug: &'static str,
    /// Its parameters, in the order of their names.
    pub parameters: &'static [NativeParameter],
    make: fn(&Device<'_>) -> Made,
}

/// A device as it is configured.
struct Device<'a> {
    name: &'a str,
    nodes: &'a BTreeMap<NodeName, String>,
    given: &'a BTreeMap<String, String>,
    timeout: Option<Duration>,
}

type Made = Result<Arc<dyn FenceAgent>, ConfigError>;

const fn parameter(name: &'static str, summary: &'static str) -> NativeParameter {
    NativeParameter { name, default: None, required: false, secret: false, summary }
}

impl NativeParameter {
    const fn or(mut self, default: &'static str) -> Self {
        self.default = Some(default);
        self
    }

    #[cfg(any(feature = "ipmi", feature = "redfish"))]
    const fn required(mut self) -> Self {
        self.required = true;
        self
    }

    #[cfg(any(feature = "ipmi", feature = "redfish"))]
    const fn secret(mut self) -> Self {
        self.secret = true;
        self
    }
}

impl NativeAgent {
    /// The native fence agents of this build: those whose features are on.
    pub const ALL: &'static [Self] = &[
        #[cfg(feature = "ipmi")]
        ipmi::AGENT,
        #[cfg(feature = "redfish")]
        redfish::AGENT,
        SSH,
    ];

    /// The one with this name.
    ///
    /// ```
    /// use std::collections::BTreeMap;
    /// use ha_agents::fence::NativeAgent;
    ///
    /// let ssh = NativeAgent::named("ssh").unwrap();
    /// let nodes = BTreeMap::from([("n1".parse().unwrap(), "192.0.2.1".to_owned())]);
    /// let given = BTreeMap::from([("username".to_owned(), "root".to_owned())]);
    /// let device = ssh.make("ssh", &nodes, &given, None)?;
    /// assert_eq!(device.device(), "ssh");
    /// # Ok::<(), ha_core::config::ConfigError>(())
    /// ```
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        Self::ALL.iter().find(|agent| agent.name == name)
    }

    /// The device `name` with these nodes at their plugs, and these parameters. `timeout` is that
    /// of an action; without one the agent's own default holds.
    ///
    /// # Errors
    ///
    /// All that is wrong, at once; no value that is a secret is in it.
    pub fn make(
        &self,
        name: &str,
        nodes: &BTreeMap<NodeName, String>,
        given: &BTreeMap<String, String>,
        timeout: Option<Duration>,
    ) -> Result<Arc<dyn FenceAgent>, ConfigError> {
        (self.make)(&Device { name, nodes, given, timeout })
    }
}

/// What is wrong with the words, and with what was made of them.
fn joined<T>(
    read: Result<(), ConfigError>,
    built: Result<T, ConfigError>,
) -> Result<T, ConfigError> {
    match (read, built) {
        (Ok(()), built) => built,
        (Err(error), Ok(_)) => Err(error),
        (Err(error), Err(more)) => {
            let mut problems = Problems::new();
            problems.absorb(error.clone());
            problems.absorb(more);
            Err(problems.into_result(()).err().unwrap_or(error))
        }
    }
}

/// The password, or what is in the file that has it, without the end of its line.
#[cfg(any(feature = "ipmi", feature = "redfish"))]
fn password(words: &mut Parameters<'_>) -> String {
    let given = words.optional("password").map(str::to_owned);
    let Some(file) = words.optional("password_file") else {
        return given.unwrap_or_default();
    };
    if given.is_some() {
        words.refuse("password_file", "either the password, or a file that has it");
    }
    match std::fs::read_to_string(file) {
        Ok(text) => text.trim_end_matches(['\n', '\r']).to_owned(),
        Err(error) => {
            words.refuse("password_file", &format!("a file that can be read ({error})"));
            String::new()
        }
    }
}

const SSH: NativeAgent = NativeAgent {
    name: "ssh",
    summary: "asks nodes over ssh; acknowledged, not verified: not for production alone",
    plug: "the host, as ssh takes it",
    parameters: &[
        parameter("boot_id_command", "says which boot of the node this is"),
        parameter("config", "the configuration of ssh"),
        parameter("identity_file", "the only key to log in with"),
        parameter("known_hosts", "the file with the keys of the hosts"),
        parameter("off_command", "switches the node off"),
        parameter("port", "the port").or("22"),
        parameter("reboot_command", "boots the node again"),
        parameter("username", "the user"),
    ],
    make: ssh,
};

fn ssh(device: &Device<'_>) -> Made {
    let mut words = Parameters::new(device.given);
    let mut builder = Ssh::builder(device.name);
    for (node, host) in device.nodes {
        builder = builder.host(node.clone(), host);
    }
    if let Some(user) = words.optional("username") {
        builder = builder.user(user);
    }
    if let Some(port) = words.parsed("port", "1 to 65535") {
        builder = builder.port(port);
    }
    if let Some(file) = words.optional("identity_file") {
        builder = builder.identity_file(file);
    }
    if let Some(file) = words.optional("known_hosts") {
        builder = builder.known_hosts(file);
    }
    if let Some(file) = words.optional("config") {
        builder = builder.config(file);
    }
    if let Some(command) = words.optional("off_command") {
        builder = builder.off_command(command);
    }
    if let Some(command) = words.optional("reboot_command") {
        builder = builder.reboot_command(command);
    }
    if let Some(command) = words.optional("boot_id_command") {
        builder = builder.boot_id_command(command);
    }
    if let Some(timeout) = device.timeout {
        builder = builder.timeout(timeout);
    }
    let made = joined(words.finish(()), builder.build())?;
    Ok(Arc::new(made))
}

#[cfg(feature = "ipmi")]
mod ipmi {
    use std::sync::Arc;

    use ha_core::config::ConfigError;

    use super::{Device, Made, NativeAgent, joined, parameter, password};
    use crate::fence::ipmi::{CipherSuite, Ipmi, Privilege, RebootMethod};
    use crate::registry::Parameters;

    pub(super) const AGENT: NativeAgent = NativeAgent {
        name: "ipmi",
        summary: "a management board that speaks IPMI 2.0 (lanplus); verified off",
        plug: "not used: a board has one node",
        parameters: &[
            parameter("cipher", "the cipher suites to try: 17, 3 or both").or("17,3"),
            parameter("ip", "the board's name or address").required(),
            parameter("ipport", "the UDP port").or("623"),
            parameter("kg", "the board's own key").secret(),
            parameter("method", "how to reboot: onoff or cycle").or("onoff"),
            parameter("password", "the password").secret(),
            parameter("password_file", "or a file that has it"),
            parameter("privlvl", "operator or administrator").or("operator"),
            parameter("username", "the user"),
        ],
        make,
    };

    fn make(device: &Device<'_>) -> Made {
        let mut words = Parameters::new(device.given);
        let mut nodes = device.nodes.keys();
        let (Some(node), None) = (nodes.next(), nodes.next()) else {
            let count = device.nodes.len();
            return Err(ConfigError::new("nodes", count, "one node, as a board has one"));
        };
        let host = words.required("ip", "a name or an address of the board");
        let user = words.optional("username").unwrap_or_default();
        let password = password(&mut words);
        // That the host is missing is said once.
        let shown = if host.is_empty() { "missing" } else { host };
        let mut builder = Ipmi::builder(device.name, node.clone(), shown).login(user, password);
        if let Some(port) = words.parsed("ipport", "1 to 65535") {
            builder = builder.port(port);
        }
        if let Some(key) = words.optional("kg") {
            builder = builder.board_key(key);
        }
        if let Some(cipher) = words.optional("cipher") {
            let number = |word: &str| word.trim().parse().ok().and_then(CipherSuite::from_number);
            match cipher.split(',').map(number).collect::<Option<Vec<_>>>() {
                Some(suites) => builder = builder.cipher_suites(suites),
                None => words.refuse("cipher", "17, 3, or both with a comma between"),
            }
        }
        match words.optional("privlvl") {
            None | Some("operator") => {}
            Some("administrator") => builder = builder.privilege(Privilege::Administrator),
            Some(_) => words.refuse("privlvl", "operator or administrator"),
        }
        match words.optional("method") {
            None | Some("onoff") => {}
            Some("cycle") => builder = builder.reboot_method(RebootMethod::Cycle),
            Some(_) => words.refuse("method", "onoff or cycle"),
        }
        if let Some(timeout) = device.timeout {
            builder = builder.timeout(timeout);
        }
        let made = joined(words.finish(()), builder.build())?;
        Ok(Arc::new(made))
    }
}

#[cfg(feature = "redfish")]
mod redfish {
    use std::sync::Arc;

    use super::{Device, Made, NativeAgent, joined, parameter, password};
    use crate::fence::redfish::{Login, RebootMethod, Redfish};
    use crate::registry::Parameters;

    pub(super) const AGENT: NativeAgent = NativeAgent {
        name: "redfish",
        summary: "a management board that speaks Redfish over HTTPS; verified off",
        plug: "the system: a path, an id, a name or a UUID; - for the only one",
        parameters: &[
            parameter("ca", "a PEM file with the authorities to trust").or("the system's"),
            parameter("login", "how to log in: basic or session").or("basic"),
            parameter("method", "how to reboot: onoff or restart").or("onoff"),
            parameter("password", "the password").secret(),
            parameter("password_file", "or a file that has it"),
            parameter("ssl_insecure", "take any certificate, and plain http").or("false"),
            parameter("url", "https://HOST or https://HOST:PORT").required(),
            parameter("username", "the user"),
        ],
        make,
    };

    fn make(device: &Device<'_>) -> Made {
        let mut words = Parameters::new(device.given);
        let url = words.required("url", "https://HOST or https://HOST:PORT");
        let user = words.optional("username").unwrap_or_default();
        let password = password(&mut words);
        // That the URL is missing is said once.
        let shown = if url.is_empty() { "https://missing" } else { url };
        let mut builder = Redfish::builder(device.name, shown).login(user, password);
        for (node, plug) in device.nodes {
            builder = match plug.as_str() {
                "-" => builder.node(node.clone()),
                plug => builder.plug(node.clone(), plug),
            };
        }
        if let Some(file) = words.optional("ca") {
            match std::fs::read(file) {
                Ok(pem) => builder = builder.authorities(pem),
                Err(error) => words.refuse("ca", &format!("a file that can be read ({error})")),
            }
        }
        if words.flag("ssl_insecure") == Some(true) {
            builder = builder.insecure();
        }
        match words.optional("login") {
            None | Some("basic") => {}
            Some("session") => builder = builder.login_by(Login::Session),
            Some(_) => words.refuse("login", "basic or session"),
        }
        match words.optional("method") {
            None | Some("onoff") => {}
            Some("restart") => builder = builder.reboot_method(RebootMethod::ForceRestart),
            Some(_) => words.refuse("method", "onoff or restart"),
        }
        if let Some(timeout) = device.timeout {
            builder = builder.timeout(timeout);
        }
        let made = joined(words.finish(()), builder.build())?;
        Ok(Arc::new(made))
    }
}

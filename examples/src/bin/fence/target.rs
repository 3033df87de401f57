//! The device and the node that are meant, and the secrets that it takes.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use ha_agents::fence::{Device as Program, FenceAgent, FenceCommand, NativeAgent};
use ha_core::id::NodeName;
use ha_examples::cli;

use crate::{Asked, Device};

/// The longest secret, in bytes.
const MAX_SECRET: u64 = 64 * 1024;

/// A parameter and where its value is.
#[derive(Debug, Clone)]
pub(crate) struct Secret {
    name: String,
    source: Source,
}

#[derive(Debug, Clone)]
enum Source {
    File(String),
    Environment(String),
    Stdin,
}

impl FromStr for Secret {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // Whatever stands there may be the secret itself: it is not repeated.
        let allowed = "not NAME=file:PATH, NAME=env:VARIABLE or NAME=stdin";
        let (name, source) = text.split_once('=').ok_or(allowed)?;
        let source = match source.split_once(':') {
            Some(("file", path)) => Source::File(path.to_owned()),
            Some(("env", name)) => Source::Environment(name.to_owned()),
            None if source == "stdin" => Source::Stdin,
            _ => return Err(allowed.to_owned()),
        };
        Ok(Self { name: name.to_owned(), source })
    }
}

impl Secret {
    fn read(&self) -> Result<String, String> {
        let name = &self.name;
        let (place, text) = match &self.source {
            Source::Environment(variable) => {
                return std::env::var(variable)
                    .map_err(|_| format!("cannot read {name}: {variable} is not set, or no text"));
            }
            Source::File(path) => (path.as_str(), std::fs::File::open(path).map(limited)),
            Source::Stdin => ("stdin", Ok(limited(std::io::stdin()))),
        };
        let text = text.and_then(|read| read).map_err(|error| {
            format!("cannot read {name}: {place}: {error}; it must be text that you may read")
        })?;
        Ok(text.trim_end_matches(['\n', '\r']).to_owned())
    }
}

fn limited(source: impl Read) -> std::io::Result<String> {
    let mut text = String::new();
    source.take(MAX_SECRET).read_to_string(&mut text)?;
    Ok(text)
}

/// Whether a parameter of this name is a secret: judged by the names of Debian's 85 agents.
pub(crate) fn is_secret(name: &str) -> bool {
    let is_place = name.ends_with("_script") || name.ends_with("_file") || name.ends_with("_path");
    let words = ["passw", "secret", "token", "community", "passphrase"];
    !is_place && (words.iter().any(|word| name.contains(word)) || matches!(name, "kg" | "apikey"))
}

/// A device, and a node that it has.
pub(crate) struct Target {
    pub(crate) agent: Arc<dyn FenceAgent>,
    /// The name of the agent.
    pub(crate) kind: String,
    pub(crate) node: NodeName,
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target").field("kind", &self.kind).finish_non_exhaustive()
    }
}

impl Target {
    /// The target that the flags mean.
    pub(crate) async fn find(device: Device, asked: Asked) -> Result<Self, String> {
        let mut parameters = parameters(&device)?;
        // Debian's agents have both names for it.
        let named = ["plug", "port"].map(|name| parameters.remove(name));
        let plug = device.plug.clone().or_else(|| named.into_iter().flatten().next());
        let timeout = device.timeout.map(Duration::from_secs);
        let is_named = plug.is_some() || device.node.is_some();
        let node = match &device.node {
            Some(node) => node.clone(),
            None => "node".parse().map_err(|error| format!("{error}"))?,
        };
        let kind = device.agent.clone();
        let agent: Arc<dyn FenceAgent> = if let Some(native) = NativeAgent::named(&kind) {
            let plug = match (plug, kind.as_str()) {
                (Some(plug), _) => plug,
                (None, "redfish") => "-".to_owned(),
                (None, "ssh") if !is_named => return Err(unnamed(&kind)),
                (None, _) => node.to_string(),
            };
            let nodes = BTreeMap::from([(node.clone(), plug)]);
            native.make(&kind, &nodes, &parameters, timeout).map_err(|error| {
                format!("cannot use {kind}: {error}; see `fence metadata {kind}`")
            })?
        } else {
            let is_about_node = !matches!(asked, Asked::List | Asked::Monitor);
            if is_about_node && !is_named && wants_plug(&kind).await {
                return Err(unnamed(&kind));
            }
            let mut program = Program::new(&kind, &kind);
            for (name, value) in parameters {
                program = program.parameter(name, value);
            }
            if is_about_node {
                let plug = plug.unwrap_or_else(|| node.to_string());
                program = program.node(node.clone(), plug);
            }
            if let Some(timeout) = timeout {
                program = program.timeout(timeout);
            }
            program.resolve().await.map_err(|error| cli::chain(&error))?
        };
        Ok(Self { agent, kind, node })
    }
}

fn unnamed(kind: &str) -> String {
    format!("cannot ask {kind}: it has many nodes; name one with --node, and --plug if need be")
}

/// Whether an agent switches plugs, one of which must be named.
async fn wants_plug(kind: &str) -> bool {
    let Ok(command) = FenceCommand::builder(kind, kind).build() else { return false };
    // An agent that cannot be asked is refused a moment later, with the reason.
    let Ok(metadata) = command.metadata().await else { return false };
    let plug =
        ["plug", "port"].map(|name| metadata.parameter(name).is_some_and(|one| one.required));
    plug.contains(&true)
}

/// The parameters, with the secrets.
fn parameters(device: &Device) -> Result<BTreeMap<String, String>, String> {
    let mut parameters = BTreeMap::new();
    for word in &device.words {
        let (name, value) = word.split_once('=').ok_or_else(|| {
            format!("cannot understand {word:?}: parameters are NAME=VALUE; write one so")
        })?;
        if is_secret(name) {
            return Err(format!(
                "cannot take {name} from the command line: everybody on this machine can read it; \
                 use --secret {name}=file:PATH, {name}=env:VARIABLE or {name}=stdin"
            ));
        }
        if matches!(name, "action" | "option") {
            return Err(format!(
                "cannot take {name} as a parameter: what is to be done is a command; see --help"
            ));
        }
        if parameters.insert(name.to_owned(), value.to_owned()).is_some() {
            return Err(format!("cannot take {name} twice: which one holds? remove one"));
        }
    }
    let from_stdin = |secret: &&Secret| matches!(secret.source, Source::Stdin);
    if device.secret.iter().filter(from_stdin).count() > 1 {
        return Err("cannot read two secrets from stdin: it has one; use files".to_owned());
    }
    for secret in &device.secret {
        parameters.insert(secret.name.clone(), secret.read()?);
    }
    Ok(parameters)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_secrets_are_known() {
        for name in ["password", "passwd", "snmp_priv_passwd", "secret_key", "token", "kg"] {
            assert!(is_secret(name), "{name}");
        }
        for name in ["password_script", "identity_file", "ip", "plug", "status_file", "key"] {
            assert!(!is_secret(name), "{name}");
        }
    }

    #[test]
    fn what_is_no_source_is_not_repeated() {
        for text in ["password", "password=tiger", "password=fil:tiger"] {
            let error = Secret::from_str(text).expect_err("no source");
            assert!(!error.contains("tiger"), "{error}");
        }
    }
}

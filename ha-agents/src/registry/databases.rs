//! The agents of databases, from their parameters.

use std::collections::BTreeMap;
use std::sync::Arc;

use ha_core::config::ConfigError;

use super::Parameters;
use super::native::absolute;
use crate::agent::ResourceAgent;
use crate::native::{Checked, Process, Promotable, Replication, ServiceCheck};

type Given = BTreeMap<String, String>;
type Made = Result<Arc<dyn ResourceAgent>, ConfigError>;

const SOCKET: &str = "a host and a port, or the path of a socket, such as 127.0.0.1:6379";
const PORT: &str = "a number from 1 to 65535";
/// The longest password that is read.
const MAX_PASSWORD: usize = 4096;

/// The first line of a file that holds a password.
fn password(parameters: &mut Parameters<'_>) -> Option<String> {
    let file = parameters.optional("password_file").filter(|file| !file.is_empty())?;
    let text = std::fs::read_to_string(file).ok().filter(|text| text.len() <= MAX_PASSWORD);
    let Some(text) = text else {
        parameters.refuse("password_file", "a file on this node with a password in its first line");
        return None;
    };
    Some(text.lines().next().unwrap_or_default().to_owned())
}

/// Takes the user and the password over into a client.
fn login<C>(
    parameters: &mut Parameters<'_>,
    client: C,
    set_user: fn(C, String) -> C,
    set_password: fn(C, String) -> C,
) -> C {
    let client = match parameters.optional("user").filter(|user| !user.is_empty()) {
        Some(user) => set_user(client, user.to_owned()),
        None => client,
    };
    match password(parameters) {
        Some(password) => set_password(client, password),
        None => client,
    }
}

/// The server alone with its check, or promotable.
fn database<R: Replication + ServiceCheck + 'static>(
    mut parameters: Parameters<'_>,
    single: Process,
    copy: Process,
    client: R,
) -> Made {
    let primary = parameters.optional("primary").filter(|primary| !primary.is_empty());
    let promotable = parameters.flag("promotable").unwrap_or_default();
    let grace = parameters.span("stop_grace");
    let graced = |process: Process| match grace {
        Some(grace) => process.stop_grace(grace),
        None => process,
    };
    if !promotable {
        return parameters.finish(Arc::new(Checked::new(graced(single), client)));
    }
    let agent = Promotable::new(graced(copy), client);
    let agent = match primary {
        Some(primary) => agent.primary(primary),
        None => agent,
    };
    parameters.finish(Arc::new(agent))
}

/// `native:redis`.
#[cfg(feature = "redis")]
pub(super) fn redis(given: &Given) -> Made {
    use crate::native::Redis;

    let mut parameters = Parameters::new(given);
    let config = absolute(&mut parameters, "config");
    let program = parameters.optional("program").unwrap_or("redis-server");
    let address = parameters.optional("address").unwrap_or("127.0.0.1:6379");
    if !address.starts_with('/') && !address.contains(':') {
        parameters.refuse("address", SOCKET);
    }
    let mut client = login(&mut parameters, Redis::new(address), Redis::user, Redis::password);
    if let Some(port) = parameters.parsed("primary_port", PORT) {
        client = client.primary_port(port);
    }
    if let Some(lag) = parameters.span("max_lag") {
        client = client.max_lag(lag);
    }
    let single = Redis::single_by(program, config);
    database(parameters, single, Redis::server_by(program, config), client)
}

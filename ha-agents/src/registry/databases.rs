//! The agents of databases, from their parameters.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use ha_core::config::ConfigError;
use rustix::fs::OFlags;

use super::Parameters;
use super::native::absolute;
use crate::agent::ResourceAgent;
use crate::native::{Checked, Promotable, Replication, ServiceCheck};

type Given = BTreeMap<String, String>;
type Made = Result<Arc<dyn ResourceAgent>, ConfigError>;

#[cfg(any(feature = "mysql", feature = "redis"))]
const SOCKET: &str = "a host and a port, or the path of a socket, such as 127.0.0.1:6379";
const PORT: &str = "a number from 1 to 65535";
/// The largest file that is read for a password, in bytes.
const MAX_PASSWORD: u64 = 4096;

/// The first line of a file that holds a password.
fn password(parameters: &mut Parameters<'_>, name: &str) -> Option<String> {
    let file = parameters.optional(name).filter(|file| !file.is_empty())?;
    let Some(text) = read(Path::new(file)) else {
        parameters.refuse(name, "a file on this node with a password in its first line");
        return None;
    };
    Some(text.lines().next().unwrap_or_default().to_owned())
}

/// A small file. What is none is not waited for: a pipe would hold up the node's operations, and
/// a device may have no end.
fn read(file: &Path) -> Option<String> {
    let how = i32::try_from(OFlags::NONBLOCK.bits()).ok()?;
    let file = File::options().read(true).custom_flags(how).open(file).ok()?;
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut text = String::new();
    file.take(MAX_PASSWORD + 1).read_to_string(&mut text).ok()?;
    (text.len() as u64 <= MAX_PASSWORD).then_some(text)
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
    match password(parameters, "password_file") {
        Some(password) => set_password(client, password),
        None => client,
    }
}

/// The server alone with its check, or promotable.
fn database<R: Replication + ServiceCheck + 'static>(
    mut parameters: Parameters<'_>,
    single: impl ResourceAgent + 'static,
    copy: impl ResourceAgent + 'static,
    client: R,
) -> Made {
    let primary = parameters.optional("primary").filter(|primary| !primary.is_empty());
    if !parameters.flag("promotable").unwrap_or_default() {
        return parameters.finish(Arc::new(Checked::new(single, client)));
    }
    let agent = Promotable::new(copy, client);
    let agent = match primary {
        Some(primary) => agent.primary(primary),
        None => agent,
    };
    parameters.finish(Arc::new(agent))
}

/// A process with the time to end that the parameters give it.
#[cfg(feature = "redis")]
fn graced(
    process: crate::native::Process,
    grace: Option<std::time::Duration>,
) -> crate::native::Process {
    match grace {
        Some(grace) => process.stop_grace(grace),
        None => process,
    }
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
    let grace = parameters.span("stop_grace");
    let single = graced(Redis::single_by(program, config), grace);
    let copy = graced(Redis::server_by(program, config), grace);
    database(parameters, single, copy, client)
}

/// `native:postgres`.
#[cfg(feature = "postgres")]
pub(super) fn postgres(given: &Given) -> Made {
    use crate::native::{Postgres, PostgresServer};

    let mut parameters = Parameters::new(given);
    let data = absolute(&mut parameters, "data");
    let (program, config) = (parameters.optional("program"), parameters.optional("config"));
    let host = parameters.optional("host").unwrap_or("/run/postgresql");
    let port = parameters.parsed("port", PORT).unwrap_or(5432);
    let server = || {
        let server = match program {
            Some(program) => PostgresServer::by(data, program),
            None => PostgresServer::new(data),
        };
        match config {
            Some(config) => server.arg("-c").arg(format!("config_file={config}")),
            None => server,
        }
    };
    let client = Postgres::new(host, port, data);
    let mut client = login(&mut parameters, client, Postgres::user, Postgres::password);
    if let Some(database) = parameters.optional("database") {
        client = client.database(database);
    }
    if let Some(words) = parameters.optional("replication") {
        client = client.replication(words);
    }
    if let Some(port) = parameters.parsed("primary_port", PORT) {
        client = client.primary_port(port);
    }
    if let Some(lag) = parameters.span("max_lag") {
        client = client.max_lag(lag);
    }
    database(parameters, server(), server(), client)
}

/// `native:mysql`.
#[cfg(feature = "mysql")]
pub(super) fn mysql(given: &Given) -> Made {
    use crate::native::{MySql, Process};

    let mut parameters = Parameters::new(given);
    let config = absolute(&mut parameters, "config");
    let program = parameters.optional("program").unwrap_or("mariadbd");
    let address = parameters.optional("address").unwrap_or("/run/mysqld/mysqld.sock");
    if !address.starts_with('/') && !address.contains(':') {
        parameters.refuse("address", SOCKET);
    }
    let mut client = login(&mut parameters, MySql::new(address), MySql::user, MySql::password);
    let user = parameters.optional("replication_user").unwrap_or_default();
    let secret = password(&mut parameters, "replication_password_file").unwrap_or_default();
    if !user.is_empty() {
        client = client.replication(user, secret);
    }
    if let Some(port) = parameters.parsed("primary_port", PORT) {
        client = client.primary_port(port);
    }
    if let Some(lag) = parameters.span("max_lag") {
        client = client.max_lag(lag);
    }
    if let Some(write) = parameters.optional("write").filter(|write| !write.is_empty()) {
        client = client.write(write);
    }
    let words = parameters.words("args");
    let more = |process: Process| words.iter().fold(process, Process::arg);
    let single = more(MySql::single_by(program, config));
    database(parameters, single, more(MySql::server_by(program, config)), client)
}

#[cfg(test)]
mod tests {
    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;

    #[test]
    fn only_small_files_are_read_for_a_password() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        let ask = |file: &Path| {
            let given = [("password_file".to_owned(), file.display().to_string())].into();
            let mut parameters = Parameters::new(&given);
            let told = password(&mut parameters, "password_file");
            (told, parameters.finish(()).is_ok())
        };
        std::fs::write(path("good"), "s3cret\nand a remark\n").expect("written");
        assert_eq!(ask(&path("good")), (Some("s3cret".to_owned()), true));
        std::fs::write(path("long"), "x".repeat(4096)).expect("written");
        assert!(ask(&path("long")).1);
        std::fs::write(path("longer"), "x".repeat(4097)).expect("written");
        std::fs::write(path("odd"), b"\xff\xfe\n").expect("written");
        // Nobody writes into it: whoever waits for that waits for ever.
        mknodat(CWD, path("pipe"), FileType::Fifo, Mode::RUSR, 0).expect("a pipe");
        for name in ["longer", "odd", "pipe", "none", "/dev/zero", "/"] {
            assert_eq!(ask(&path(name)), (None, false), "{name}");
        }
    }
}

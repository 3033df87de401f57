//! `MariaDB` and `MySQL`, also with Galera.

mod client;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use ha_core::driver::pause;

use self::client::{Client, Row, text};
use super::check::ServiceCheck;
use super::promotable::{NEVER, Replication, ReplicationStatus, checked};
use super::{Process, described};
use crate::agent::{Metadata, Report};
use crate::outcome::Outcome;
use crate::secret::Secret;

/// The scores of a primary, of a copy that hears of it, and of one that does not.
const PRIMARY_SCORE: i32 = 1000;
const COPY_SCORE: i32 = 100;
const BROKEN_SCORE: i32 = 50;
/// How long a stop has to write everything to the disk; half of the operation's time is the most.
const STOP_GRACE: Duration = Duration::from_hours(1);
/// How often a promotion looks whether everything received has been applied.
const POLL: Duration = Duration::from_millis(50);

const VARIABLES: &str = "SHOW GLOBAL VARIABLES WHERE Variable_name IN \
    ('read_only', 'super_read_only', 'version', 'wsrep_on')";
const GALERA: &str = "SHOW GLOBAL STATUS WHERE Variable_name IN ('wsrep_cluster_status', \
    'wsrep_local_state', 'wsrep_local_state_comment', 'wsrep_ready')";
const COPY: &str = "SHOW REPLICA STATUS";

/// Asks and tells a `MariaDB` (10.5 or newer) or `MySQL` (8.0.23 or newer) server
/// (`ocf:heartbeat:mysql`, `ocf:heartbeat:mariadb`, and the monitor of `ocf:heartbeat:galera`):
/// alone as a [`ServiceCheck`], or promotable with [`Promotable`](super::Promotable).
///
/// | depth | asked |
/// |---|---|
/// | 0, 10 | a query: its role (`read_only`), and the score; with Galera its state |
/// | 20 | the primary runs the statement of [`write`](Self::write), if there is one; a copy must not be behind by more than [`max_lag`](Self::max_lag), or it is degraded |
///
/// With **Galera** each node takes writes, so it is a resource that is not promotable, on several
/// nodes: it has failed outside of the primary component and until it is synced, and is degraded
/// while it gives its data to another node. Start the first node of a cluster with
/// `--wsrep-new-cluster`, which Galera itself refuses where it is not safe.
///
/// **Replication** is by global transaction ids, with one source. A copy is read-only; users with
/// the right to override that can still write. The promotion score is 1000 for the primary; for a
/// copy 100 less the seconds that it is behind; 50 for one that does not hear of its primary. A
/// copy whose replication has stopped with an error, be it of what it applies or of what it gets,
/// or is behind by more than `max_lag`, must not be promoted. A primary that it cannot reach is no
/// such error. A promotion first applies all that was received.
///
/// ```no_run
/// use ha_agents::native::{MySql, Promotable};
///
/// let client = MySql::new("/run/mysqld/mysqld.sock").replication("replicator", "secret");
/// let agent = Promotable::new(MySql::server("/etc/mysql/ha.cnf"), client);
/// ```
#[derive(Clone)]
pub struct MySql {
    address: String,
    user: String,
    password: Option<Secret>,
    replication: Option<(String, Secret)>,
    primary_port: Option<u16>,
    max_lag: Option<Duration>,
    write: Option<String>,
}

impl MySql {
    /// The server at `address`: a host and a port, or the path of its socket. The monitor connects
    /// without TLS: give the socket or an address of this computer.
    pub fn new(address: impl Into<String>) -> Self {
        Self {
            address: address.into(),
            user: "root".to_owned(),
            password: None,
            replication: None,
            primary_port: None,
            max_lag: None,
            write: None,
        }
    }

    /// A process that is a `MariaDB` server with this configuration and comes up read-only, so
    /// that no client can write before it is promoted.
    pub fn server(config: impl Into<PathBuf>) -> Process {
        Self::server_by("mariadbd", config)
    }

    /// A process that is a server without copies, or a node of Galera.
    pub fn single(config: impl Into<PathBuf>) -> Process {
        Self::single_by("mariadbd", config)
    }

    pub(crate) fn server_by(program: &str, config: impl Into<PathBuf>) -> Process {
        Self::single_by(program, config).arg("--read-only=ON")
    }

    pub(crate) fn single_by(program: &str, config: impl Into<PathBuf>) -> Process {
        // It must be the first argument.
        let defaults = format!("--defaults-file={}", config.into().display());
        Process::new(program).arg(defaults).stop_grace(STOP_GRACE)
    }

    /// Sets the user, who may do anything. Default: `root`.
    #[must_use]
    pub fn user(mut self, user: impl Into<String>) -> Self {
        self.user = user.into();
        self
    }

    /// Sets that user's password.
    #[must_use]
    pub fn password(mut self, password: impl Into<String>) -> Self {
        self.password = Some(Secret::new(password));
        self
    }

    /// Sets as whom a copy logs in to its primary.
    #[must_use]
    pub fn replication(mut self, user: impl Into<String>, password: impl Into<String>) -> Self {
        self.replication = Some((user.into(), Secret::new(password)));
        self
    }

    /// Sets the port of the primary. Default: this server's, or 3306 if it has a socket only.
    #[must_use]
    pub const fn primary_port(mut self, port: u16) -> Self {
        self.primary_port = Some(port);
        self
    }

    /// Sets how far behind a copy may be promoted, and be well at depth 20. Default: any time.
    #[must_use]
    pub const fn max_lag(mut self, lag: Duration) -> Self {
        self.max_lag = Some(lag);
        self
    }

    /// Sets the statement that a monitor of depth 20 runs on the primary, such as
    /// `REPLACE INTO ha.beat VALUES (1, NOW())`. Default: none.
    #[must_use]
    pub fn write(mut self, statement: impl Into<String>) -> Self {
        self.write = Some(statement.into());
        self
    }

    async fn connect(&self) -> Result<Client, Report> {
        let password = self.password.as_ref().map(Secret::reveal);
        Client::connect(&self.address, &self.user, password).await
    }

    /// What a copy says of itself.
    fn judge(&self, copy: Option<&Row>, depth: u8) -> ReplicationStatus {
        let field = |mariadb: &str, mysql: &str| {
            copy.and_then(|copy| copy.get(mariadb).or_else(|| copy.get(mysql))?.as_deref())
        };
        let hears = field("Slave_IO_Running", "Replica_IO_Running") == Some("Yes");
        let error = copy.and_then(|copy| apply_error(copy).or_else(|| receive_error(copy)));
        let behind = field("Seconds_Behind_Master", "Seconds_Behind_Source");
        let behind = behind.and_then(|seconds| seconds.parse::<u64>().ok());
        let lag = behind.map(Duration::from_secs);
        let late = self.max_lag.and_then(|max| lag.filter(|lag| *lag > max));
        let less = i32::try_from(behind.unwrap_or_default()).unwrap_or(i32::MAX);
        let score = match (error, late) {
            (None, None) if hears => COPY_SCORE.saturating_sub(less).max(BROKEN_SCORE + 1),
            (None, None) => BROKEN_SCORE,
            (Some(_), _) | (_, Some(_)) => NEVER,
        };
        let doubt = match (error, late) {
            (Some(words), _) => Some(broken(words)),
            (None, Some(late)) if depth >= 20 => Some(format!("it is {late:?} behind")),
            (None, _) => None,
        };
        ReplicationStatus { promoted: false, score: Some(score), doubt }
    }

    /// Lets a copy apply all that it has received.
    async fn catch_up(&self, client: &mut Client) -> Result<(), Report> {
        let Some(copy) = client.rows(COPY).await?.pop() else { return Ok(()) };
        let stopped = |thread: [&str; 2]| field(&copy, thread) == Some("No");
        let both = stopped(["Slave_IO_Running", "Replica_IO_Running"])
            && stopped(["Slave_SQL_Running", "Replica_SQL_Running"]);
        if both && !has_applied_all(&copy) {
            // MariaDB throws its relay log away when the first of the two begins.
            let reason = "its replication is stopped, and a start would lose what it has received \
                          and not applied; start it while its primary is there, or reset it";
            return Err(Report::new(Outcome::GenericError, reason));
        }
        client.run(&["START REPLICA SQL_THREAD", "STOP REPLICA IO_THREAD"]).await?;
        loop {
            let Some(copy) = client.rows(COPY).await?.pop() else { return Ok(()) };
            if has_applied_all(&copy) {
                return Ok(());
            }
            if let Some(words) = apply_error(&copy) {
                return Err(Report::new(Outcome::GenericError, broken(words)));
            }
            let waited = pause(POLL).await;
            waited.map_err(|error| Report::new(Outcome::GenericError, error.to_string()))?;
        }
    }

    /// The statements that make it a copy of the primary on `host`.
    fn change(&self, host: &str, mariadb: bool) -> Vec<String> {
        let own = self.address.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
        let port = self.primary_port.or(own).unwrap_or(3306);
        let (host, nobody) = (quoted(host), (String::new(), Secret::new("")));
        let (user, password) = self.replication.as_ref().unwrap_or(&nobody);
        let (user, password) = (quoted(user), quoted(password.reveal()));
        if mariadb {
            return vec![
                // What it has written itself, as the primary that it was, it has already.
                "SET GLOBAL gtid_slave_pos = @@global.gtid_current_pos".to_owned(),
                format!(
                    "CHANGE MASTER TO MASTER_HOST = {host}, MASTER_PORT = {port}, \
                     MASTER_USER = {user}, MASTER_PASSWORD = {password}, \
                     MASTER_CONNECT_RETRY = 1, MASTER_USE_GTID = slave_pos"
                ),
                "START REPLICA".to_owned(),
            ];
        }
        vec![
            format!(
                "CHANGE REPLICATION SOURCE TO SOURCE_HOST = {host}, SOURCE_PORT = {port}, \
                 SOURCE_USER = {user}, SOURCE_PASSWORD = {password}, \
                 SOURCE_CONNECT_RETRY = 1, SOURCE_AUTO_POSITION = 1, GET_SOURCE_PUBLIC_KEY = 1"
            ),
            "START REPLICA".to_owned(),
        ]
    }
}

/// A field by its name in `MariaDB`, or else in `MySQL`.
fn field<'a>(copy: &'a Row, names: [&str; 2]) -> Option<&'a str> {
    names.into_iter().find_map(|name| text(copy, name))
}

/// Why a copy has stopped to apply what it has received.
fn apply_error(copy: &Row) -> Option<&str> {
    text(copy, "Last_SQL_Errno").filter(|number| *number != "0")?;
    Some(text(copy, "Last_SQL_Error").unwrap_or_default())
}

/// Why a copy has stopped to receive for good, such as that its primary no longer has what comes
/// next.
fn receive_error(copy: &Row) -> Option<&str> {
    let ended = field(copy, ["Slave_IO_Running", "Replica_IO_Running"]) == Some("No");
    let number = text(copy, "Last_IO_Errno").filter(|number| ended && *number != "0")?;
    // The errors of a client (CR_MIN_ERROR to CR_MAX_ERROR): it did not reach the primary.
    let is_away = number.parse().is_ok_and(|number| (2000..3000_u32).contains(&number));
    (!is_away).then(|| text(copy, "Last_IO_Error").unwrap_or_default())
}

fn broken(words: &str) -> String {
    format!("its replication has stopped: {words}")
}

/// Whether a copy has applied all that it has received.
fn has_applied_all(copy: &Row) -> bool {
    let get = |names| field(copy, names);
    get(["Read_Master_Log_Pos", "Read_Source_Log_Pos"])
        == get(["Exec_Master_Log_Pos", "Exec_Source_Log_Pos"])
        && get(["Master_Log_File", "Source_Log_File"])
            == get(["Relay_Master_Log_File", "Relay_Source_Log_File"])
}

/// A text in a statement; the client has set a plain `sql_mode`, so backslashes escape.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', r"\\").replace('\'', r"\'"))
}

/// The rows of `SHOW … VARIABLES` or `STATUS`, as names with values.
fn named(rows: Vec<Row>) -> BTreeMap<String, String> {
    let pair = |row: Row| {
        let field = |name: &str| row.get(name).cloned().flatten();
        Some((field("Variable_name")?.to_ascii_lowercase(), field("Value")?))
    };
    rows.into_iter().filter_map(pair).collect()
}

/// What Galera's words mean.
fn galera(status: &BTreeMap<String, String>) -> Result<ReplicationStatus, Report> {
    let is = |name: &str, value: &str| {
        status.get(name).is_some_and(|told| told.eq_ignore_ascii_case(value))
    };
    let failed = |why: String| Err(Report::new(Outcome::GenericError, why));
    if !is("wsrep_cluster_status", "Primary") {
        let told = status.get("wsrep_cluster_status").map_or("unknown", String::as_str);
        return failed(format!("its part of the Galera cluster has no quorum: {told}"));
    }
    // Galera: 1 joining, 2 donor, 3 joined, 4 synced.
    let doubt = match status.get("wsrep_local_state").map(String::as_str) {
        Some("4") if is("wsrep_ready", "ON") => None,
        Some("2") => Some("it gives its data to another node of the Galera cluster".to_owned()),
        Some(_) | None => {
            let told = status.get("wsrep_local_state_comment").map_or("unknown", String::as_str);
            return failed(format!("it is not yet a part of the Galera cluster: {told}"));
        }
    };
    Ok(ReplicationStatus { promoted: true, score: Some(PRIMARY_SCORE), doubt })
}

#[async_trait]
impl Replication for MySql {
    fn metadata(&self) -> Metadata {
        let parameters = [
            ("config", "the server's configuration file", None),
            ("program", "the server", Some("mariadbd")),
            ("args", "more arguments of the server", Some("")),
            ("address", "where it listens, or its socket", Some("/run/mysqld/mysqld.sock")),
            ("user", "who asks and promotes", Some("root")),
            ("password_file", "a file with that user's password", Some("")),
            ("promotable", "whether it has copies", Some("false")),
            ("primary", "the host that a copy follows at first", Some("")),
            ("primary_port", "the port of the primary", Some("that of address")),
            ("replication_user", "as whom a copy logs in to its primary", Some("")),
            ("replication_password_file", "a file with that user's password", Some("")),
            ("max_lag", "how far behind a copy may be promoted", Some("any")),
            ("write", "the statement of a monitor of depth 20", Some("")),
        ];
        described("mysql", "Runs MariaDB or MySQL, alone, with copies or Galera", &parameters)
    }

    async fn status(&self, depth: u8) -> Result<ReplicationStatus, Report> {
        let mut client = self.connect().await?;
        let variables = named(client.rows(VARIABLES).await?);
        let is_on = |name: &str| variables.get(name).is_some_and(|value| value != "OFF");
        let status = if is_on("wsrep_on") {
            galera(&named(client.rows(GALERA).await?))?
        } else if is_on("read_only") {
            self.judge(client.rows(COPY).await?.first(), depth)
        } else {
            ReplicationStatus { promoted: true, score: Some(PRIMARY_SCORE), doubt: None }
        };
        if let Some(write) = self.write.as_deref().filter(|_| depth >= 20 && status.promoted) {
            client.run(&[write]).await?;
        }
        client.close().await;
        Ok(status)
    }

    async fn promote(&self) -> Result<(), Report> {
        let mut client = self.connect().await?;
        let variables = named(client.rows(VARIABLES).await?);
        self.catch_up(&mut client).await?;
        client.run(&["STOP REPLICA", "RESET REPLICA ALL"]).await?;
        if variables.contains_key("super_read_only") {
            client.run(&["SET GLOBAL super_read_only = OFF"]).await?;
        }
        client.run(&["SET GLOBAL read_only = OFF"]).await?;
        client.close().await;
        Ok(())
    }

    async fn follow(&self, primary: Option<&str>) -> Result<(), Report> {
        let mut client = self.connect().await?;
        let variables = named(client.rows(VARIABLES).await?);
        let mariadb = variables.get("version").is_some_and(|version| version.contains("MariaDB"));
        // No writes from here on, before anything else.
        client.run(&["SET GLOBAL read_only = ON"]).await?;
        if variables.contains_key("super_read_only") {
            client.run(&["SET GLOBAL super_read_only = ON"]).await?;
        }
        client.run(&["STOP REPLICA"]).await?;
        if let Some(primary) = primary {
            for statement in self.change(primary, mariadb) {
                client.run(&[&statement]).await?;
            }
        }
        client.close().await;
        Ok(())
    }
}

#[async_trait]
impl ServiceCheck for MySql {
    fn name(&self) -> String {
        format!("mysql {}", self.address)
    }

    async fn check(&self) -> Report {
        checked(self.status(10).await)
    }
}

impl fmt::Debug for MySql {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (address, user) = (&self.address, &self.user);
        f.debug_struct("MySql")
            .field("address", address)
            .field("user", user)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(pairs: &[(&str, &str)]) -> Result<ReplicationStatus, Report> {
        galera(
            &pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        )
    }

    #[test]
    fn a_galera_node_is_well_only_in_the_primary_component_and_synced() {
        let good = [("wsrep_cluster_status", "Primary"), ("wsrep_ready", "ON")];
        let with = |state| status(&[&good[..], &[("wsrep_local_state", state)]].concat());
        assert_eq!(with("4").map(|status| (status.promoted, status.doubt)), Ok((true, None)));
        assert!(with("2").is_ok_and(|status| status.doubt.is_some()), "a donor is degraded");
        for state in ["0", "1", "3", "5", "x"] {
            assert!(with(state).is_err(), "{state}");
        }
        let alone = [("wsrep_cluster_status", "non-Primary"), ("wsrep_local_state", "4")];
        assert!(status(&alone).is_err_and(|report| report.reason.contains("no quorum")));
        assert!(status(&[]).is_err());
    }

    #[test]
    fn copies_are_scored_by_how_far_behind_they_are() {
        let copy = |pairs: &[(&str, &str)]| {
            let row: Row = pairs
                .iter()
                .map(|(name, value)| ((*name).to_owned(), Some((*value).to_owned())))
                .collect();
            let client = MySql::new("h:1").max_lag(Duration::from_mins(1));
            let status = client.judge(Some(&row), 20);
            (status.score, status.doubt.is_some())
        };
        let mariadb =
            |io, behind| copy(&[("Slave_IO_Running", io), ("Seconds_Behind_Master", behind)]);
        assert_eq!(mariadb("Yes", "0"), (Some(100), false));
        assert_eq!(mariadb("Yes", "30"), (Some(70), false));
        assert_eq!(mariadb("Yes", "60"), (Some(51), false));
        assert_eq!(mariadb("Yes", "61"), (Some(NEVER), true));
        assert_eq!(mariadb("Connecting", "NULL"), (Some(50), false));
        let mysql = [("Replica_IO_Running", "Yes"), ("Seconds_Behind_Source", "1")];
        assert_eq!(copy(&mysql), (Some(99), false));
        let broken = [("Slave_IO_Running", "Yes"), ("Last_SQL_Errno", "1062")];
        assert_eq!(copy(&broken), (Some(NEVER), true));
        for (names, io, number, expected) in [
            ("Slave", "No", "1236", (Some(NEVER), true)),
            ("Replica", "No", "13114", (Some(NEVER), true)),
            ("Slave", "No", "1593", (Some(NEVER), true)),
            // It could not reach its primary, and has given up; or somebody has stopped it.
            ("Slave", "No", "2003", (Some(50), false)),
            ("Replica", "No", "2013", (Some(50), false)),
            ("Slave", "No", "0", (Some(50), false)),
            // It tries again.
            ("Slave", "Connecting", "2003", (Some(50), false)),
            ("Replica", "Connecting", "1045", (Some(50), false)),
            ("Slave", "Yes", "1236", (Some(100), false)),
        ] {
            let running = format!("{names}_IO_Running");
            let row = [(running.as_str(), io), ("Last_IO_Errno", number)];
            assert_eq!(copy(&row), expected, "{row:?}");
        }
        assert_eq!(MySql::new("h:1").judge(None, 20).score, Some(50), "it has had no primary");
    }

    #[test]
    fn no_name_ends_its_quotes() {
        assert_eq!(quoted(r"a'b\"), r"'a\'b\\'");
    }
}

//! `PostgreSQL`.

mod server;
mod standby;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Config, Error, NoTls, SimpleQueryMessage};

pub use self::server::PostgresServer;
use self::standby::Standby;
use super::check::ServiceCheck;
use super::described;
use super::promotable::{NEVER, Replication, ReplicationStatus, checked};
use crate::agent::{Metadata, Report};
use crate::outcome::Outcome;
use crate::secret::Secret;

/// The scores of a primary, of a copy that hears of it, and of one that does not.
const PRIMARY_SCORE: i32 = 1000;
const COPY_SCORE: i32 = 100;
const BROKEN_SCORE: i32 = 50;
/// How long `pg_promote` waits, in seconds; the operation's own time comes first as a rule.
const PROMOTION: u32 = 3600;

/// Whether it is a copy, whether that hears of a primary, and for how many seconds it has had
/// nothing new to replay.
const STATUS: &str = "SELECT pg_is_in_recovery(), \
    EXISTS (SELECT FROM pg_stat_wal_receiver WHERE status = 'streaming'), \
    EXTRACT(EPOCH FROM now() - pg_last_xact_replay_timestamp())::bigint";
/// Writes to the log and waits until that is on disk, and with the synchronous copies.
const WRITE: &str = "SELECT pg_logical_emit_message(true, 'ha-agents', 'monitor')";

/// Asks and tells a `PostgreSQL` server, from version 12 on (`ocf:heartbeat:pgsql`): alone as a
/// [`ServiceCheck`], or promotable with [`Promotable`](super::Promotable).
///
/// | depth | asked |
/// |---|---|
/// | 0, 10 | a query: its role, and the score |
/// | 20 | the primary commits a message to its log (no table); a copy must not be behind by more than [`max_lag`](Self::max_lag), or it is degraded |
///
/// The promotion score is 1000 for the primary, 100 for a copy that hears of it, 50 for one that
/// does not. One that does not, and has replayed nothing for longer than `max_lag`, must not be
/// promoted. The positions of several copies are not compared: where no commit may be lost, let
/// the primary wait for them (`synchronous_standby_names`).
///
/// A copy is a server with the file `standby.signal`, which is written before it starts, with
/// `primary_conninfo` in `postgresql.auto.conf` as `pg_basebackup -R` writes it; a demotion is a
/// fast shutdown and a start. An old primary that has more in its log than was received follows
/// only after `pg_rewind`, which is not done here.
///
/// ```no_run
/// use ha_agents::native::{Postgres, PostgresServer, Promotable};
///
/// let data = "/var/lib/postgresql/15/main";
/// let postgres = Postgres::new("/run/postgresql", 5432, data).replication("user=replicator");
/// let agent = Promotable::new(PostgresServer::new(data), postgres);
/// ```
#[derive(Clone)]
pub struct Postgres {
    host: String,
    port: u16,
    data: PathBuf,
    user: String,
    password: Option<Secret>,
    database: String,
    replication: String,
    primary_port: u16,
    max_lag: Option<Duration>,
}

impl Postgres {
    /// The server on `host`, or with its socket in that directory, and on a data directory. The
    /// monitor connects without TLS: give the socket or an address of this computer.
    pub fn new(host: impl Into<String>, port: u16, data: impl Into<PathBuf>) -> Self {
        Self {
            host: host.into(),
            port,
            data: data.into(),
            user: "postgres".to_owned(),
            password: None,
            database: "postgres".to_owned(),
            replication: String::new(),
            primary_port: port,
            max_lag: None,
        }
    }

    /// Sets the user, who promotes: a superuser. Default: `postgres`.
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

    /// Sets the database that is asked. Default: `postgres`.
    #[must_use]
    pub fn database(mut self, database: impl Into<String>) -> Self {
        self.database = database.into();
        self
    }

    /// Sets what a copy says to its primary besides where that is, as in `primary_conninfo`, such
    /// as `user=replicator passfile=/etc/…`. Default: nothing.
    #[must_use]
    pub fn replication(mut self, words: impl Into<String>) -> Self {
        self.replication = words.into();
        self
    }

    /// Sets the port of the primary. Default: this server's.
    #[must_use]
    pub const fn primary_port(mut self, port: u16) -> Self {
        self.primary_port = port;
        self
    }

    /// Sets for how long a copy may have replayed nothing and still be promoted though it does not
    /// hear of a primary, and be well at depth 20. Default: any time.
    #[must_use]
    pub const fn max_lag(mut self, lag: Duration) -> Self {
        self.max_lag = Some(lag);
        self
    }

    /// Connects, asks, and closes; drives the connection itself, so that nothing is left when it
    /// is dropped.
    async fn ask(&self, queries: &[&str]) -> Result<Vec<Vec<Option<String>>>, Report> {
        let mut config = Config::new();
        config.host(&self.host).port(self.port).user(&self.user).dbname(&self.database);
        config.application_name("ha-agents");
        if let Some(password) = &self.password {
            config.password(password.reveal());
        }
        let opened = config.connect(NoTls).await.map_err(|error| self.refused(&error))?;
        let (client, connection) = opened;
        let work = talk(&client, queries);
        tokio::pin!(work, connection);
        let done = tokio::select! { biased;
            done = &mut work => done,
            ended = &mut connection => match ended {
                Ok(()) => work.await,
                Err(error) => Err(error),
            },
        };
        done.map_err(|error| self.refused(&error))
    }

    fn refused(&self, error: &Error) -> Report {
        let mut words = error.to_string();
        let mut cause = std::error::Error::source(error);
        let mut nobody = false;
        while let Some(inner) = cause {
            words = format!("{words}: {inner}");
            let kind = inner.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
            nobody |= matches!(
                kind,
                Some(std::io::ErrorKind::ConnectionRefused | std::io::ErrorKind::NotFound)
            );
            cause = inner.source();
        }
        let logins = [
            SqlState::INVALID_PASSWORD,
            SqlState::INVALID_AUTHORIZATION_SPECIFICATION,
            SqlState::INVALID_CATALOG_NAME,
        ];
        let login = error.code().is_some_and(|code| logins.contains(code));
        let outcome = if nobody {
            Outcome::NotRunning
        } else if login {
            Outcome::NotConfigured
        } else {
            Outcome::GenericError
        };
        let (host, port) = (&self.host, self.port);
        Report::new(outcome, format!("postgres at {host}, port {port}: {words}"))
    }
}

/// The rows of all queries, one after the other.
async fn talk(client: &Client, queries: &[&str]) -> Result<Vec<Vec<Option<String>>>, Error> {
    let mut rows = Vec::new();
    for query in queries {
        for message in client.simple_query(query).await? {
            if let SimpleQueryMessage::Row(row) = message {
                let field = |index| row.get(index).map(str::to_owned);
                rows.push((0..row.len()).map(field).collect());
            }
        }
    }
    Ok(rows)
}

#[async_trait]
impl Replication for Postgres {
    fn metadata(&self) -> Metadata {
        let parameters = [
            ("data", "the data directory", None),
            ("program", "the server", Some("that of the data's version")),
            ("config", "its configuration file", Some("that in data")),
            ("host", "where it listens, or the directory of its socket", Some("/run/postgresql")),
            ("port", "its port", Some("5432")),
            ("user", "a superuser, for the monitor and the promotion", Some("postgres")),
            ("password_file", "a file with that user's password", Some("")),
            ("database", "the database that is asked", Some("postgres")),
            ("promotable", "whether it has copies", Some("false")),
            ("primary", "the host that a copy follows at first", Some("")),
            ("primary_port", "the port of the primary", Some("that of port")),
            ("replication", "what a copy says to its primary, as primary_conninfo", Some("")),
            ("max_lag", "how far behind a copy may be promoted", Some("any")),
        ];
        described("postgres", "Runs a PostgreSQL server, alone or with copies", &parameters)
    }

    async fn status(&self, depth: u8) -> Result<ReplicationStatus, Report> {
        let rows = self.ask(&[STATUS]).await?;
        let field = |index: usize| rows.first()?.get(index)?.as_deref();
        if field(0) == Some("f") {
            if depth >= 20 {
                self.ask(&[WRITE]).await?;
            }
            let score = Some(PRIMARY_SCORE);
            return Ok(ReplicationStatus { promoted: true, score, doubt: None });
        }
        let hears = field(1) == Some("t");
        let quiet = field(2).and_then(|seconds| seconds.parse().ok()).map(Duration::from_secs);
        let late = self.max_lag.and_then(|max| quiet.filter(|quiet| !hears && *quiet > max));
        let score = match late {
            Some(_) => NEVER,
            None if hears => COPY_SCORE,
            None => BROKEN_SCORE,
        };
        let doubt = late.filter(|_| depth >= 20);
        let doubt = doubt.map(|late| {
            format!("it does not hear of a primary, and has replayed nothing for {late:?}")
        });
        Ok(ReplicationStatus { promoted: false, score: Some(score), doubt })
    }

    async fn promote(&self) -> Result<(), Report> {
        let rows = self.ask(&[&format!("SELECT pg_promote(true, {PROMOTION})")]).await?;
        let done = rows.first().and_then(|row| row.first()?.as_deref()) == Some("t");
        if done {
            return Ok(());
        }
        Err(Report::new(Outcome::GenericError, "the server has not promoted itself; see its log"))
    }

    async fn follow(&self, primary: Option<&str>) -> Result<(), Report> {
        let standby = Standby {
            data: self.data.clone(),
            primary: primary.map(str::to_owned),
            port: self.primary_port,
            words: self.replication.clone(),
        };
        let written = tokio::task::spawn_blocking(move || standby.write()).await;
        written.map_err(std::io::Error::from).flatten().map_err(|error| {
            let data = self.data.display();
            let absent = error.kind() == std::io::ErrorKind::NotFound;
            let outcome = if absent { Outcome::NotInstalled } else { Outcome::GenericError };
            Report::new(outcome, format!("cannot make {data} that of a copy: {error}"))
        })
    }

    fn is_offline(&self) -> bool {
        true
    }
}

#[async_trait]
impl ServiceCheck for Postgres {
    fn name(&self) -> String {
        format!("postgres {}:{}", self.host, self.port)
    }

    async fn check(&self) -> Report {
        checked(self.status(10).await)
    }
}

impl fmt::Debug for Postgres {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Postgres")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("data", &self.data)
            .finish_non_exhaustive()
    }
}

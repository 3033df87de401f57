//! Redis and Valkey.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use ::redis::aio::MultiplexedConnection;
use ::redis::{
    AsyncConnectionConfig, Cmd, ErrorKind, FromRedisValue, RedisConnectionInfo, RedisError, cmd,
};
use async_trait::async_trait;
use ha_core::time::{BootClock, Clock as _};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use super::check::ServiceCheck;
use super::promotable::{NEVER, Replication, ReplicationStatus, checked};
use super::{Process, described};
use crate::agent::{Metadata, Report};
use crate::outcome::Outcome;
use crate::secret::Secret;

/// Whom a copy follows while there is no primary: RFC 2606 has nobody of that name.
const NOBODY: &str = "no-primary.invalid";
/// The key that a monitor of depth 20 writes, for a minute.
const CHECK_KEY: &str = "ha-agents:check";
/// The scores of `ocf:heartbeat:redis` for a primary and for a copy that is up to date.
const PRIMARY_SCORE: i32 = 1000;
const COPY_SCORE: i32 = 100;
/// The score of a copy whose connection to the primary has just broken, the least score of one
/// that had such a connection, and that of one that never had.
const BROKEN_SCORE: i32 = 50;
const LEAST_SCORE: i32 = 2;
const UNLINKED_SCORE: i32 = 1;

/// Asks and tells a Redis server (`ocf:heartbeat:redis`): alone as a
/// [`ServiceCheck`], or promotable with [`Promotable`](super::Promotable).
///
/// | depth | asked |
/// |---|---|
/// | 0 | `INFO replication`: the role, and the score |
/// | 10 | `PING` besides |
/// | 20 | the primary writes a key and reads it back; a copy must not be behind by more than [`max_lag`](Self::max_lag), or it is degraded |
///
/// The promotion score is 1000 for the primary, and for a copy 100 less the seconds since it last
/// heard of its primary; while the connection is broken 50 less the seconds since then, so that of
/// two copies the one that heard longer is promoted. A copy that is receiving its first data, or is
/// behind by more than `max_lag`, must not be promoted. One that was never connected to a primary
/// since it was started, or was told to follow another, scores 1, and any that was at least 2:
/// after a stop of all, name the one with the newest data yourself.
///
/// A copy is read-only as long as the server's configuration leaves `replica-read-only` at `yes`.
///
/// ```no_run
/// use ha_agents::native::{Promotable, Redis};
///
/// let redis = Redis::new("10.0.0.1:6379").password("secret");
/// let agent = Promotable::new(Redis::server("/etc/redis/ha.conf"), redis);
/// ```
#[derive(Clone)]
pub struct Redis {
    address: String,
    user: Option<String>,
    password: Option<Secret>,
    primary_port: Option<u16>,
    max_lag: Option<Duration>,
}

impl Redis {
    /// The server at `address`: a host and a port, or the path of its socket.
    pub fn new(address: impl Into<String>) -> Self {
        let (user, password, primary_port, max_lag) = Default::default();
        Self { address: address.into(), user, password, primary_port, max_lag }
    }

    /// A process that is the server with this configuration, in the foreground. It begins as a
    /// copy of nobody, so that no client can write before it is promoted.
    pub fn server(config: impl Into<PathBuf>) -> Process {
        Self::server_by("redis-server", config)
    }

    /// A process that is a server without copies.
    pub fn single(config: impl Into<PathBuf>) -> Process {
        Self::single_by("redis-server", config)
    }

    pub(crate) fn server_by(program: &str, config: impl Into<PathBuf>) -> Process {
        Self::single_by(program, config).arg("--replicaof").arg(NOBODY).arg("1")
    }

    pub(crate) fn single_by(program: &str, config: impl Into<PathBuf>) -> Process {
        let process = Process::new(program).arg(config.into().into_os_string());
        process.arg("--daemonize").arg("no")
    }

    /// Sets the user; default: that of servers without users.
    #[must_use]
    pub fn user(mut self, user: impl Into<String>) -> Self {
        self.user = Some(user.into());
        self
    }

    /// Sets the password.
    #[must_use]
    pub fn password(mut self, password: impl Into<String>) -> Self {
        self.password = Some(Secret::new(password));
        self
    }

    /// Sets the port of the primary. Default: this server's, or 6379 if it has a socket only.
    #[must_use]
    pub const fn primary_port(mut self, port: u16) -> Self {
        self.primary_port = Some(port);
        self
    }

    /// Sets how long a copy may not have heard of its primary and still be promoted, and be well
    /// at depth 20. Default: any time.
    #[must_use]
    pub const fn max_lag(mut self, lag: Duration) -> Self {
        self.max_lag = Some(lag);
        self
    }

    /// Connects, lets `work` ask, and closes; drives the connection itself, so that nothing is left
    /// when it is dropped.
    async fn with<T>(
        &self,
        work: impl AsyncFnOnce(&mut MultiplexedConnection) -> Result<T, RedisError>,
    ) -> Result<T, Report> {
        let failed = |error: io::Error| self.unreachable(&error);
        let done = if self.address.starts_with('/') {
            let stream = UnixStream::connect(&self.address).await.map_err(failed)?;
            self.talk(stream, work).await
        } else {
            let stream = TcpStream::connect(&self.address).await.map_err(failed)?;
            self.talk(stream, work).await
        };
        done.map_err(|error| self.refused(&error))
    }

    async fn talk<T>(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        work: impl AsyncFnOnce(&mut MultiplexedConnection) -> Result<T, RedisError>,
    ) -> Result<T, RedisError> {
        let mut login = RedisConnectionInfo::default().set_skip_set_lib_name();
        if let Some(user) = &self.user {
            login = login.set_username(user);
        }
        if let Some(password) = &self.password {
            login = login.set_password(password.reveal());
        }
        // How long an answer may take is up to whoever asks.
        let patient = AsyncConnectionConfig::new().set_response_timeout(None);
        let opened = MultiplexedConnection::new_with_config(&login, stream, patient).await;
        let (mut connection, driver) = opened?;
        tokio::pin!(driver);
        let work = work(&mut connection);
        tokio::pin!(work);
        tokio::select! { biased;
            done = &mut work => done,
            () = &mut driver => work.await,
        }
    }

    fn unreachable(&self, error: &io::Error) -> Report {
        let nobody =
            matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound);
        let outcome = if nobody { Outcome::NotRunning } else { Outcome::GenericError };
        Report::new(outcome, format!("cannot connect to redis at {}: {error}", self.address))
    }

    fn refused(&self, error: &RedisError) -> Report {
        let wrong = error.kind() == ErrorKind::AuthenticationFailed;
        let outcome = if wrong { Outcome::NotConfigured } else { Outcome::GenericError };
        Report::new(outcome, format!("redis at {} answers: {error}", self.address))
    }

    /// What it says of its replication.
    fn judge(&self, info: &str) -> (ReplicationStatus, Option<Duration>) {
        let field = |name: &str| {
            let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.map(str::trim)
        };
        let seconds = |name: &str| field(name).and_then(|text| text.parse::<u64>().ok());
        if field("role") == Some("master") {
            let score = Some(PRIMARY_SCORE);
            return (ReplicationStatus { promoted: true, score, doubt: None }, None);
        }
        let is_up = field("master_link_status") == Some("up");
        let behind = if is_up {
            seconds("master_last_io_seconds_ago")
        } else {
            // -1, which is no number here: it never was up since the start.
            seconds("master_link_down_since_seconds")
        };
        let lag = behind.map(Duration::from_secs);
        let late = self.max_lag.is_some_and(|max| lag.is_some_and(|lag| lag > max));
        let less = i32::try_from(behind.unwrap_or_default()).unwrap_or(i32::MAX);
        let score = if field("master_sync_in_progress") == Some("1") || late {
            NEVER
        } else if is_up {
            COPY_SCORE.saturating_sub(less).max(BROKEN_SCORE + 1)
        } else if behind.is_some() {
            BROKEN_SCORE.saturating_sub(less).max(LEAST_SCORE)
        } else {
            UNLINKED_SCORE
        };
        (ReplicationStatus { promoted: false, score: Some(score), doubt: None }, lag)
    }
}

async fn query<T: FromRedisValue>(
    connection: &mut MultiplexedConnection,
    command: &mut Cmd,
) -> Result<T, RedisError> {
    command.query_async(connection).await
}

/// Writes and reads back.
async fn write(connection: &mut MultiplexedConnection) -> Result<bool, RedisError> {
    let value = BootClock::new().now().as_nanos();
    let mut set = cmd("SET");
    set.arg(CHECK_KEY).arg(value).arg("PX").arg(60_000);
    query::<()>(connection, &mut set).await?;
    let read: Option<u64> = query(connection, cmd("GET").arg(CHECK_KEY)).await?;
    Ok(read == Some(value))
}

#[async_trait]
impl Replication for Redis {
    fn metadata(&self) -> Metadata {
        let parameters = [
            ("config", "the server's configuration file", None),
            ("program", "the server", Some("redis-server")),
            ("address", "where it listens, or the path of its socket", Some("127.0.0.1:6379")),
            ("user", "its user for the monitor", Some("")),
            ("password_file", "a file with that user's password", Some("")),
            ("promotable", "whether it has copies", Some("false")),
            ("primary", "the host that a copy follows at first", Some("")),
            ("primary_port", "the port of the primary", Some("that of address")),
            ("max_lag", "how far behind a copy may be promoted", Some("any")),
            ("stop_grace", "the time from SIGTERM to SIGKILL", Some("10s")),
        ];
        described("redis", "Runs a Redis server, alone or with copies", &parameters)
    }

    async fn status(&self, depth: u8) -> Result<ReplicationStatus, Report> {
        let (info, written) = self
            .with(async |connection| {
                let info: String = query(connection, cmd("INFO").arg("replication")).await?;
                if depth >= 10 {
                    query::<String>(connection, &mut cmd("PING")).await?;
                }
                let writes = depth >= 20 && self.judge(&info).0.promoted;
                let written = if writes { write(connection).await? } else { true };
                Ok((info, written))
            })
            .await?;
        let (mut status, lag) = self.judge(&info);
        if !written {
            let reason = format!("redis at {} has lost what was just written", self.address);
            return Err(Report::new(Outcome::GenericError, reason));
        }
        let late = lag.filter(|lag| self.max_lag.is_some_and(|max| *lag > max));
        if let Some(late) = late.filter(|_| depth >= 20) {
            status.doubt = Some(format!("it last heard of its primary {late:?} ago"));
        }
        Ok(status)
    }

    async fn promote(&self) -> Result<(), Report> {
        let mut command = cmd("REPLICAOF");
        command.arg("NO").arg("ONE");
        self.with(async |connection| query::<()>(connection, &mut command).await).await
    }

    async fn follow(&self, primary: Option<&str>) -> Result<(), Report> {
        let own = self.address.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
        let port = self.primary_port.or(own).unwrap_or(6379);
        let mut command = cmd("REPLICAOF");
        match primary {
            Some(host) => command.arg(host).arg(port),
            None => command.arg(NOBODY).arg(1),
        };
        self.with(async |connection| query::<()>(connection, &mut command).await).await
    }
}

#[async_trait]
impl ServiceCheck for Redis {
    fn name(&self) -> String {
        format!("redis {}", self.address)
    }

    async fn check(&self) -> Report {
        checked(self.status(10).await)
    }
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redis").field("address", &self.address).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_that_was_never_connected_comes_after_all_that_were() {
        let score = |link: &str| {
            let info = format!("# Replication\r\nrole:slave\r\n{link}\r\n");
            Redis::new("h:1").judge(&info).0.score
        };
        let up = |ago: &str| {
            score(&format!("master_link_status:up\r\nmaster_last_io_seconds_ago:{ago}"))
        };
        assert_eq!([up("0"), up("30"), up("49"), up("999")], [100, 70, 51, 51].map(Some));
        let down = |since: &str| {
            score(&format!("master_link_status:down\r\nmaster_link_down_since_seconds:{since}"))
        };
        assert_eq!([down("0"), down("30"), down("48")], [50, 20, 2].map(Some));
        assert_eq!([down("49"), down("50"), down("99999999999")], [2; 3].map(Some));
        assert_eq!(down("-1"), Some(1), "it has had no primary");
        let first = "master_link_status:down\r\nmaster_sync_in_progress:1";
        assert_eq!(score(first), Some(NEVER), "its data are not whole");
    }
}

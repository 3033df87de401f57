//! A check that Redis answers, in the role it should have.

use std::time::Duration;

use async_trait::async_trait;

use super::dialog::Dialog;
use super::secret::Secret;
use super::security::Security;
#[cfg(feature = "tls")]
use super::tls::Tls;
use super::{Failed, HealthCheck, Passed, Target};

/// The longest answer to `INFO replication`, in bytes: a master lists each of its replicas.
const MAX_BULK: usize = 128 * 1024;

/// What a Redis server is in its replication.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RedisRole {
    /// It takes writes.
    Master,
    /// It follows a master.
    Replica,
}

/// Passes if Redis answers `PING` (HAProxy's `option redis-check`), and can ask for more.
///
/// A server that loads its data, has lost its master, or wants a password is named as such. With a
/// role, `INFO replication` must show it; a replica must then have its link to its master up.
/// Servers that speak Redis's protocol, such as Valkey, are checked alike.
///
/// ```
/// use std::time::Duration;
/// use ha_lb::health::redis::{RedisCheck, RedisRole};
///
/// let writers = RedisCheck::new().expect_role(RedisRole::Master);
/// let readers = RedisCheck::new()
///     .with_login("checker", "secret")
///     .expect_role(RedisRole::Replica)
///     .expect_lag(Duration::from_secs(15));
/// assert!(!format!("{readers:?}").contains("secret"));
/// # let _ = writers;
/// ```
#[derive(Debug, Clone, Default)]
pub struct RedisCheck {
    security: Security,
    login: Option<Login>,
    role: Option<RedisRole>,
    lag: Option<Duration>,
}

#[derive(Debug, Clone)]
struct Login {
    user: Option<String>,
    password: Secret<String>,
}

impl RedisCheck {
    /// A `PING`, without a login.
    #[must_use]
    pub const fn new() -> Self {
        Self { security: Security::clear(), login: None, role: None, lag: None }
    }

    /// Logs in as a user of the access control list first (Redis 6 and later).
    #[must_use]
    pub fn with_login(mut self, user: impl Into<String>, password: impl Into<String>) -> Self {
        let password = Secret::new(password.into());
        self.login = Some(Login { user: Some(user.into()), password });
        self
    }

    /// Logs in with the server's password (`requirepass`) first.
    #[must_use]
    pub fn with_password(mut self, password: impl Into<String>) -> Self {
        self.login = Some(Login { user: None, password: Secret::new(password.into()) });
        self
    }

    /// Speaks TLS from the start.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn with_tls(mut self, tls: Tls) -> Self {
        self.security = Security::tls(tls);
        self
    }

    /// Sets the role that the server must have. Default: any.
    #[must_use]
    pub const fn expect_role(mut self, role: RedisRole) -> Self {
        self.role = Some(role);
        self
    }

    /// Sets how long ago a replica may have heard of its master. Default: any time.
    ///
    /// In whole seconds, as Redis tells it (`master_last_io_seconds_ago`). A master says something
    /// every 10 s at least (`repl-ping-replica-period`), so less than that fails now and then.
    #[must_use]
    pub const fn expect_lag(mut self, at_most: Duration) -> Self {
        self.lag = Some(at_most);
        self
    }

    /// What the server said, in quotes, without the password.
    fn quote(&self, said: &str) -> String {
        match &self.login {
            Some(login) => format!("{:?}", login.password.hide(said)),
            None => format!("{said:?}"),
        }
    }

    /// The failure that an error reply, or an unexpected one, means.
    fn complaint(&self, command: &str, reply: &Reply) -> Failed {
        let said = match reply {
            Reply::Error(said) => said,
            Reply::Text(said) => {
                let said = self.quote(said);
                return Failed::because(format_args!("answers {command} with {said}"));
            }
            Reply::Null => {
                return Failed::because(format_args!("answers {command} with nothing"));
            }
        };
        let words = match said.split(' ').next().unwrap_or_default() {
            "BUSY" => "is busy with a script: ",
            "LOADING" => "loads its data: ",
            "MASTERDOWN" => "is a replica that has lost its master: ",
            "NOAUTH" => "wants a password: ",
            "NOPERM" => "does not let this user: ",
            "WRONGPASS" => "refuses the user or password: ",
            _ => "refuses: ",
        };
        Failed::because(format_args!("{words}{} to {command}", self.quote(said)))
    }

    async fn talk<S: super::dialog::Stream>(
        &self,
        dialog: &mut Dialog<S>,
    ) -> Result<Passed, Failed> {
        if let Some(login) = &self.login {
            let user = login.user.as_deref();
            let words: Vec<&str> = ["AUTH"]
                .into_iter()
                .chain(user)
                .chain([login.password.reveal().as_str()])
                .collect();
            let reply = ask(dialog, "AUTH", &words).await?;
            if !reply.is("OK") {
                return Err(self.complaint("AUTH", &reply));
            }
        }
        let reply = ask(dialog, "PING", &["PING"]).await?;
        if !reply.is("PONG") {
            return Err(self.complaint("PING", &reply));
        }
        if self.role.is_none() && self.lag.is_none() {
            return Ok(Passed::because("answers PING"));
        }
        match ask(dialog, "INFO", &["INFO", "replication"]).await? {
            Reply::Text(info) => self.judge(&info),
            reply @ (Reply::Error(_) | Reply::Null) => Err(self.complaint("INFO", &reply)),
        }
    }

    /// What `INFO replication` shows.
    fn judge(&self, info: &str) -> Result<Passed, Failed> {
        let value = |key: &str| {
            let mut lines = info.lines().filter_map(|line| line.split_once(':'));
            lines.find(|(name, _)| *name == key).map(|(_, value)| value.trim())
        };
        match (value("role"), self.role) {
            (Some("master"), None | Some(RedisRole::Master)) => Ok(Passed::because("is a master")),
            (Some("master"), Some(RedisRole::Replica)) => {
                Err(Failed::because("is a master, not a replica"))
            }
            (Some("slave"), Some(RedisRole::Master)) => {
                Err(Failed::because("is a replica, not a master"))
            }
            (Some("slave"), None | Some(RedisRole::Replica)) => {
                if value("master_sync_in_progress") == Some("1") {
                    return Err(Failed::because("is a replica that copies its master's data"));
                }
                if value("master_link_status") != Some("up") {
                    let since = value("master_link_down_since_seconds").unwrap_or("unknown");
                    let reason = format_args!("is a replica without its master for {since} s");
                    return Err(Failed::because(reason));
                }
                let heard = value("master_last_io_seconds_ago").and_then(|s| s.parse::<u64>().ok());
                match (heard, self.lag) {
                    (Some(heard), Some(lag)) if heard > lag.as_secs() => {
                        let lag = lag.as_secs();
                        let reason = "is a replica that last heard of its master";
                        Err(Failed::because(format_args!("{reason} {heard} s ago, not {lag} s")))
                    }
                    (None, Some(_)) => Err(Failed::because("does not say its lag")),
                    (Some(heard), _) => {
                        let reason = "is a replica that heard of its master";
                        Ok(Passed::because(format_args!("{reason} {heard} s ago")))
                    }
                    (None, None) => Ok(Passed::because("is a replica")),
                }
            }
            (Some(role), _) => Err(Failed::because(format_args!("its role is {role:?}"))),
            (None, _) => Err(Failed::because("does not say its role")),
        }
    }
}

/// As much of RESP as a check asks for.
#[derive(Debug, PartialEq, Eq)]
enum Reply {
    Error(String),
    Null,
    Text(String),
}

impl Reply {
    fn is(&self, expected: &str) -> bool {
        matches!(self, Self::Text(text) if text == expected)
    }
}

/// Sends a command as an array of strings and reads the reply.
async fn ask<S: super::dialog::Stream>(
    dialog: &mut Dialog<S>,
    name: &str,
    words: &[&str],
) -> Result<Reply, Failed> {
    let command = [format!("*{}\r\n", words.len())];
    let strings = words.iter().map(|word| format!("${}\r\n{word}\r\n", word.len()));
    let command: String = command.into_iter().chain(strings).collect();
    dialog.send(name, command.as_bytes()).await?;
    reply(dialog, &format!("its answer to {name}")).await
}

async fn reply<S: super::dialog::Stream>(
    dialog: &mut Dialog<S>,
    what: &str,
) -> Result<Reply, Failed> {
    let line = dialog.line(what).await?;
    let nonsense = || Failed::because(format_args!("{what} is not Redis's protocol"));
    let mut letters = line.chars();
    let (kind, rest) = (letters.next(), letters.as_str());
    match kind {
        Some('+' | ':') => Ok(Reply::Text(rest.to_owned())),
        Some('-') => Ok(Reply::Error(rest.to_owned())),
        Some('$') if rest == "-1" => Ok(Reply::Null),
        Some('$') => {
            let length: usize = rest.parse().map_err(|_| nonsense())?;
            if length > MAX_BULK {
                let reason = format_args!("{what} has {length} bytes, more than {MAX_BULK}");
                return Err(Failed::because(reason));
            }
            let bytes = dialog.exactly(what, length + 2).await?;
            let text = bytes.strip_suffix(b"\r\n").ok_or_else(nonsense)?;
            Ok(Reply::Text(String::from_utf8_lossy(text).into_owned()))
        }
        _ => Err(nonsense()),
    }
}

#[async_trait]
impl HealthCheck for RedisCheck {
    async fn check(&self, target: &Target) -> Result<Passed, Failed> {
        let mut dialog = self.security.open(target).await?;
        let result = self.talk(&mut dialog).await;
        dialog.part(b"").await;
        result
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use proptest::prelude::*;

    use super::*;

    /// What a check makes of all that a server says at once.
    fn hear(check: &RedisCheck, said: &[u8]) -> Result<Passed, Failed> {
        let mut dialog = Dialog::new(tokio::io::join(said, tokio::io::sink()));
        check.talk(&mut dialog).now_or_never().expect("all is there")
    }

    fn said(check: &RedisCheck, said: &str) -> String {
        match hear(check, said.as_bytes()) {
            Ok(passed) => format!("+{passed}"),
            Err(failed) => format!("-{failed}"),
        }
    }

    #[test]
    fn answers_are_put_in_words() {
        let plain = RedisCheck::new();
        assert_eq!(said(&plain, "+PONG\r\n"), "+answers PING");
        for (answer, expected) in [
            ("-LOADING later\r\n", "-loads its data: \"LOADING later\" to PING"),
            ("-NOAUTH no\r\n", "-wants a password: \"NOAUTH no\" to PING"),
            ("-MASTERDOWN x\r\n", "-is a replica that has lost its master: \"MASTERDOWN x\" to"),
            ("-ERR what\r\n", "-refuses: \"ERR what\" to PING"),
            ("+HELLO\r\n", "-answers PING with \"HELLO\""),
            ("$-1\r\n", "-answers PING with nothing"),
            ("220 mail\r\n", "-its answer to PING is not Redis's protocol"),
            ("$3\r\nabcde", "-its answer to PING is not Redis's protocol"),
            ("$999999\r\n", "-its answer to PING has 999999 bytes, more than 131072"),
            ("$18446744073709551615\r\n", "-its answer to PING has 18446744073709551615 bytes"),
            ("$99999999999999999999\r\n", "-its answer to PING is not Redis's protocol"),
            ("", "-closed the connection before its answer to PING"),
        ] {
            let said = said(&plain, answer);
            assert!(said.starts_with(expected), "{answer:?}: {said}");
        }
    }

    #[test]
    fn the_password_is_in_no_reason() {
        let check = RedisCheck::new().with_login("scott", "tiger");
        let echo = said(&check, "-ERR unknown AUTH scott tiger\r\n");
        assert_eq!(echo, "-refuses: \"ERR unknown AUTH scott ***\" to AUTH");
        assert_eq!(said(&check, "+tiger\r\n"), "-answers AUTH with \"***\"");
        assert!(!format!("{check:?}").contains("tiger"));
        assert_eq!(said(&check, "+OK\r\n+PONG\r\n"), "+answers PING");
    }

    #[test]
    fn roles_and_lag_are_judged() {
        let up = "role:slave\r\nmaster_link_status:up\r\nmaster_last_io_seconds_ago:7\r\n";
        let down = "role:slave\r\nmaster_link_status:down\r\nmaster_link_down_since_seconds:9\r\n";
        let copies = "role:slave\r\nmaster_link_status:down\r\nmaster_sync_in_progress:1\r\n";
        let role = |role| RedisCheck::new().expect_role(role);
        let (master, replica) = (role(RedisRole::Master), role(RedisRole::Replica));
        let lag = |seconds| replica.clone().expect_lag(Duration::from_secs(seconds));
        for (check, info, expected) in [
            (&master, "role:master", "+is a master"),
            (&master, up, "-is a replica, not a master"),
            (&replica, "role:master", "-is a master, not a replica"),
            (&replica, up, "+is a replica that heard of its master 7 s ago"),
            (&replica, down, "-is a replica without its master for 9 s"),
            (&replica, copies, "-is a replica that copies its master's data"),
            (&replica, "role:sentinel", "-its role is \"sentinel\""),
            (&replica, "", "-does not say its role"),
            (&lag(7), up, "+is a replica that heard of its master 7 s ago"),
            (&lag(6), up, "-is a replica that last heard of its master 7 s ago, not 6 s"),
            (&lag(6), "role:slave\nmaster_link_status:up", "-does not say its lag"),
        ] {
            let answer = format!("+PONG\r\n${}\r\n{info}\r\n", info.len());
            assert_eq!(said(check, &answer), expected, "{info}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_answers_are_judged(bytes: Vec<u8>) {
            prop_assert!(hear(&RedisCheck::new(), &bytes).is_err());
        }

        #[test]
        fn arbitrary_information_is_judged(info in "(role:[a-z]*\r\n)?([a-z_]{0,8}:?[0-9]*\r\n)*") {
            let answer = format!("+PONG\r\n${}\r\n{info}\r\n", info.len());
            let _any = hear(&RedisCheck::new().expect_role(RedisRole::Replica), answer.as_bytes());
        }
    }
}

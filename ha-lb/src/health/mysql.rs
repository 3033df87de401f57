//! A check that MySQL or MariaDB greets, and lets a user in.

use async_trait::async_trait;
use ha_core::config::ConfigError;

use super::dialog::{Dialog, Stream};
use super::mysql_protocol::{
    self as protocol, END, ERROR, Fields, Greeting, MAX_USER, OK, QUIT, packet, send, text,
};
use super::security::Security;
use super::{Failed, HealthCheck, Passed, Target};

/// Passes if a MySQL or MariaDB server greets (HAProxy's `option mysql-check`), or lets a user
/// without a password in (`option mysql-check user`).
///
/// Without a user the server counts the connection as one that failed: MySQL, and MariaDB where
/// `max_connect_errors` is low, then block this host ("Host is blocked", which the check reports).
/// So give a user that may nothing: `CREATE USER 'checker'@'192.0.2.1'`.
///
/// It passes on Galera nodes that must not be used: `GaleraCheck` (feature `mysql`) asks them.
///
/// ```
/// use ha_lb::health::mysql::MysqlCheck;
///
/// let check = MysqlCheck::new().with_user("checker")?;
/// # let _ = check;
/// # Ok::<(), ha_core::config::ConfigError>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct MysqlCheck {
    user: Option<String>,
}

impl MysqlCheck {
    /// Reads the greeting only.
    #[must_use]
    pub const fn new() -> Self {
        Self { user: None }
    }

    /// Logs in as this user, who must have no password; 1 to 512 bytes without a zero.
    ///
    /// # Errors
    ///
    /// When it is not such a name.
    pub fn with_user(mut self, user: &str) -> Result<Self, ConfigError> {
        self.user = Some(valid_user(user)?);
        Ok(self)
    }

    async fn talk<S: Stream>(&self, dialog: &mut Dialog<S>) -> Result<Passed, Failed> {
        let first = packet(dialog, "its greeting").await?;
        let greeting = Greeting::read(&first.content)?;
        let version = greeting.version;
        let Some(user) = &self.user else {
            return Ok(Passed::because(format_args!("greets as {version}")));
        };
        let response = protocol::response(false, user, &[], &greeting.plugin);
        send(dialog, "a login", first.number.wrapping_add(1), &response).await?;
        let mut answer = packet(dialog, "its answer to the login").await?;
        if answer.content.first() == Some(&END) {
            // Another method: it too has nothing to prove without a password.
            send(dialog, "a login", answer.number.wrapping_add(1), &[]).await?;
            answer = packet(dialog, "its answer to the login").await?;
        }
        match answer.content.first() {
            Some(&OK) => Ok(Passed::because(format_args!("lets {user} in, {version}"))),
            Some(&ERROR) => {
                let does = format!("refuses {user}");
                Err(protocol::complaint(&does, &answer.content, str::to_owned))
            }
            Some(&END) => {
                let method = text(Fields(answer.content.get(1..).unwrap_or_default()).until_zero());
                Err(Failed::because(format_args!("wants {user} to log in by {method:?}")))
            }
            _ => Err(Failed::because(format_args!("wants a password of {user}"))),
        }
    }
}

/// A user's name that fits the protocol.
pub(super) fn valid_user(user: &str) -> Result<String, ConfigError> {
    if (1..=MAX_USER).contains(&user.len()) && !user.contains('\0') {
        return Ok(user.to_owned());
    }
    Err(ConfigError::new("check.user", user, "1 to 512 bytes without a zero"))
}

#[async_trait]
impl HealthCheck for MysqlCheck {
    async fn check(&self, target: &Target) -> Result<Passed, Failed> {
        let mut dialog = Security::clear().open(target).await?;
        let result = self.talk(&mut dialog).await;
        let goodbye: &[u8] = if self.user.is_some() && result.is_ok() { &QUIT } else { &[] };
        dialog.part(goodbye).await;
        result
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use proptest::prelude::*;

    use super::super::mysql_protocol::tests::{framed, greeting};
    use super::*;

    fn hear(said: &[u8]) -> Result<Passed, Failed> {
        let check = MysqlCheck::new().with_user("checker").expect("a user");
        let mut dialog = Dialog::new(tokio::io::join(said, tokio::io::sink()));
        check.talk(&mut dialog).now_or_never().expect("all is there")
    }

    #[test]
    fn logins_are_judged() {
        let after = |packets: &[&[u8]]| {
            let greeting = greeting("mysql_native_password");
            let all = [greeting.as_slice()].into_iter().chain(packets.iter().copied()).zip(0..);
            let bytes: Vec<u8> = all.flat_map(|(packet, n)| framed(2 * n, packet)).collect();
            hear(&bytes).map_err(|failed| failed.reason().to_owned())
        };
        let welcome = Ok(Passed::because("lets checker in, 10.11.6-MariaDB"));
        assert_eq!(after(&[b"\0\0\0\x02\0"]), welcome);
        assert_eq!(after(&[b"\xfecaching_sha2_password\0abc", b"\0"]), welcome);
        for (packets, expected) in [
            (&[&b"\xff\x15\x04#28000Access denied"[..]][..], "refuses checker: error 1045: "),
            (&[b"\xfesha\0", b"\xfesha\0"], "wants checker to log in by \"sha\""),
            (&[b"\x01\x04"], "wants a password of checker"),
            (&[b""], "wants a password of checker"),
            (&[], "closed the connection before its answer to the login"),
        ] {
            let reason = after(packets).expect_err("refused");
            assert!(reason.starts_with(expected), "{reason}");
        }
        let long = hear(b"220 mail.example\r\n").expect_err("not MySQL");
        assert_eq!(long.reason(), "its greeting is a packet of 3158578 bytes, more than 65536");
        assert!(MysqlCheck::new().with_user("a\0b").is_err());
    }

    proptest! {
        #[test]
        fn arbitrary_servers_are_judged(bytes: Vec<u8>, packet: Vec<u8>) {
            prop_assert!(hear(&bytes).is_err());
            let _any = hear(&[framed(0, &greeting("x")), framed(2, &packet)].concat());
        }
    }
}

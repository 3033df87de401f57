//! A check that PostgreSQL takes connections, in the role it should have.

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;
use ha_core::config::ConfigError;

use super::dialog::{Dialog, Stream};
#[cfg(feature = "postgres")]
use super::postgres_login::{Scram, md5};
use super::secret::Secret;
use super::security::{AnyDialog, Security};
#[cfg(feature = "tls")]
use super::tls::Tls;
use super::{Failed, HealthCheck, Passed, Target};

/// The longest message that is taken, in bytes.
const MAX_MESSAGE: usize = 64 * 1024;

/// The most messages of one step: a server sends some dozens of parameters.
const MAX_MESSAGES: usize = 200;

const PROTOCOL_3: u32 = 3 << 16;
const SSL_REQUEST: u32 = 80_877_103;
const TERMINATE: [u8; 5] = [b'X', 0, 0, 0, 4];

/// What a PostgreSQL server is in its replication.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PostgresRole {
    /// It takes writes: `pg_is_in_recovery()` is false.
    Primary,
    /// It follows a primary, or recovers: `pg_is_in_recovery()` is true.
    Replica,
}

impl fmt::Display for PostgresRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Primary => "primary",
            Self::Replica => "replica",
        })
    }
}

/// Passes if PostgreSQL takes connections (HAProxy's `option pgsql-check`), and can ask for more.
///
/// Without a password it passes as soon as the server asks for one: that shows that it works, not
/// that anybody may use it. A server that starts up, shuts down or has too many connections fails
/// with its own words. With a role it must let the user in, and say which role it has.
///
/// Logging in with a password (feature `postgres`) is by SCRAM-SHA-256 or MD5; in the clear only
/// over TLS. Passwords are used as they are, without `SASLprep`: keep to ASCII.
///
/// ```
/// use ha_lb::health::postgres::{PostgresCheck, PostgresRole};
///
/// let check = PostgresCheck::new().with_user("checker")?.expect_role(PostgresRole::Primary);
/// # #[cfg(feature = "postgres")] {
/// let check = check.with_password("secret");
/// assert!(!format!("{check:?}").contains("secret"));
/// # }
/// # Ok::<(), ha_core::config::ConfigError>(())
/// ```
#[derive(Debug, Clone)]
pub struct PostgresCheck {
    user: String,
    database: String,
    password: Option<Secret<String>>,
    security: Security,
    role: Option<PostgresRole>,
}

impl Default for PostgresCheck {
    fn default() -> Self {
        Self::new()
    }
}

/// A name that fits the protocol.
fn valid(path: &str, name: &str) -> Result<String, ConfigError> {
    // NAMEDATALEN is 64; poolers have longer names.
    if (1..=512).contains(&name.len()) && !name.contains('\0') {
        return Ok(name.to_owned());
    }
    Err(ConfigError::new(path, name, "1 to 512 bytes without a zero"))
}

impl PostgresCheck {
    /// Knocks as user `postgres` at the database `postgres`.
    #[must_use]
    pub fn new() -> Self {
        Self {
            user: "postgres".to_owned(),
            database: "postgres".to_owned(),
            password: None,
            security: Security::clear(),
            role: None,
        }
    }

    /// Sets the user; 1 to 512 bytes. Default: `postgres`.
    ///
    /// # Errors
    ///
    /// When it is not such a name.
    pub fn with_user(mut self, user: &str) -> Result<Self, ConfigError> {
        self.user = valid("check.user", user)?;
        Ok(self)
    }

    /// Sets the database; 1 to 512 bytes. Default: `postgres`.
    ///
    /// # Errors
    ///
    /// When it is not such a name.
    pub fn with_database(mut self, database: &str) -> Result<Self, ConfigError> {
        self.database = valid("check.database", database)?;
        Ok(self)
    }

    /// Logs in with this password. Default: the check passes when it is asked for one.
    #[cfg(feature = "postgres")]
    #[must_use]
    pub fn with_password(mut self, password: impl Into<String>) -> Self {
        self.password = Some(Secret::new(password.into()));
        self
    }

    /// Secures the connection first (`SSLRequest`); a server without TLS fails.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn with_tls(mut self, tls: Tls) -> Self {
        self.security = Security::tls(tls);
        self
    }

    /// Sets the role that the server must have. Default: any, and the user need not be let in.
    #[must_use]
    pub const fn expect_role(mut self, role: PostgresRole) -> Self {
        self.role = Some(role);
        self
    }

    fn startup(&self) -> Vec<u8> {
        let mut content = PROTOCOL_3.to_be_bytes().to_vec();
        let parameters =
            [("user", &*self.user), ("database", &self.database), ("application_name", "ha-lb")];
        for (name, value) in parameters {
            content.extend_from_slice(name.as_bytes());
            content.push(0);
            content.extend_from_slice(value.as_bytes());
            content.push(0);
        }
        content.push(0);
        sized(&content)
    }

    async fn secure(&self, mut dialog: AnyDialog, target: &Target) -> Result<AnyDialog, Failed> {
        if !self.security.is_tls() {
            return Ok(dialog);
        }
        dialog.send("a wish for TLS", &sized(&SSL_REQUEST.to_be_bytes())).await?;
        match dialog.byte("its answer to a wish for TLS").await? {
            b'S' => self.security.upgrade(dialog, target).await,
            b'N' => Err(Failed::because("does not offer TLS")),
            b'E' => Err(Failed::because("answers a wish for TLS with an error")),
            _ => Err(Failed::because("its answer to a wish for TLS is not PostgreSQL")),
        }
    }

    async fn talk<S: Stream>(&self, dialog: &mut Dialog<S>) -> Result<Passed, Failed> {
        dialog.send("a startup packet", &self.startup()).await?;
        if !self.log_in(dialog).await? {
            return Ok(Passed::because("takes connections, asks for a password"));
        }
        self.until_ready(dialog).await?;
        let result = match self.role {
            Some(wanted) => self.ask(dialog, wanted).await,
            None => Ok(Passed::because(format_args!("lets {} in", self.user))),
        };
        let _parted = dialog.send("a goodbye", &TERMINATE).await;
        result
    }

    /// Asks a server that is ready for its role.
    async fn ask<S: Stream>(
        &self,
        dialog: &mut Dialog<S>,
        wanted: PostgresRole,
    ) -> Result<Passed, Failed> {
        let query = b"SELECT pg_catalog.pg_is_in_recovery()\0";
        dialog.send("a query", &[&b"Q"[..], &sized(query)].concat()).await?;
        let row = self.until_ready(dialog).await?;
        let role = match row.as_deref().and_then(only_value) {
            Some(b"f") => PostgresRole::Primary,
            Some(b"t") => PostgresRole::Replica,
            _ => return Err(Failed::because("does not say whether it is in recovery")),
        };
        if role == wanted {
            return Ok(Passed::because(format_args!("is a {role}")));
        }
        Err(Failed::because(format_args!("is a {role}, not a {wanted}")))
    }

    /// Answers what the server asks, until it lets the user in (true), or asks for a password that
    /// is not there and need not be (false).
    async fn log_in<S: Stream>(&self, dialog: &mut Dialog<S>) -> Result<bool, Failed> {
        let mut proof = Proof::default();
        for _ in 0..MAX_MESSAGES {
            let (kind, content) = message(dialog).await?;
            match kind {
                b'R' => {}
                b'E' => return Err(self.complaint(&content)),
                b'N' | b'v' => continue,
                _ => return Err(nonsense("the login")),
            }
            let code = content.split_at_checked(4).map(|(code, rest)| {
                (code.iter().fold(0_u32, |sum, byte| (sum << 8) | u32::from(*byte)), rest)
            });
            let Some((code, rest)) = code else { return Err(nonsense("the login")) };
            if code == 0 {
                proof.complete()?;
                return Ok(true);
            }
            let Some(password) = &self.password else {
                if self.role.is_none() {
                    return Ok(false);
                }
                let reason = "asks for a password, so its role cannot be asked";
                return Err(Failed::because(reason));
            };
            if let Some(answer) = self.answer(&mut proof, code, rest, password)? {
                dialog.send("a login", &[&b"p"[..], &sized(&answer)].concat()).await?;
            }
        }
        Err(Failed::because("its login has no end"))
    }

    /// What to say to a demand for authentication; nothing to the last word of SCRAM.
    #[cfg(feature = "postgres")]
    fn answer(
        &self,
        proof: &mut Proof,
        code: u32,
        rest: &[u8],
        password: &Secret<String>,
    ) -> Result<Option<Vec<u8>>, Failed> {
        let password = password.reveal();
        match code {
            3 if self.security.is_tls() => Ok(Some([password.as_bytes(), &[0]].concat())),
            3 => Err(Failed::because("wants the password in the clear, without TLS")),
            5 => Ok(Some(md5(&self.user, password, rest))),
            10 => proof.0.start(rest).map(Some),
            11 => proof.0.go_on(rest, password).map(Some),
            12 => proof.0.finish(rest).map(|()| None),
            2 | 7 | 8 => Err(Failed::because("wants a login by Kerberos")),
            9 => Err(Failed::because("wants a login by SSPI")),
            _ => Err(Failed::because(format_args!("wants a login by unknown method {code}"))),
        }
    }

    #[cfg(not(feature = "postgres"))]
    #[expect(clippy::unused_self, reason = "as with the feature")]
    fn answer(
        &self,
        _: &mut Proof,
        _: u32,
        _: &[u8],
        _: &Secret<String>,
    ) -> Result<Option<Vec<u8>>, Failed> {
        Err(Failed::because("asks for a password, which needs the feature `postgres`"))
    }

    /// Reads until the server is ready for a query; returns the last row that came before.
    async fn until_ready<S: Stream>(
        &self,
        dialog: &mut Dialog<S>,
    ) -> Result<Option<Bytes>, Failed> {
        let mut row = None;
        for _ in 0..MAX_MESSAGES {
            let (kind, content) = message(dialog).await?;
            match kind {
                b'Z' => return Ok(row),
                b'D' => row = Some(content),
                b'E' => return Err(self.complaint(&content)),
                b'C' | b'K' | b'N' | b'S' | b'T' => {}
                _ => return Err(nonsense("what it says")),
            }
        }
        Err(Failed::because("says too much before it is ready"))
    }

    /// An error in words.
    fn complaint(&self, content: &[u8]) -> Failed {
        let field = |wanted: u8| {
            let mut fields = content.split(|byte| *byte == 0);
            let field = fields.find_map(|field| field.strip_prefix(&[wanted]))?;
            Some(String::from_utf8_lossy(field).into_owned())
        };
        let said = field(b'M').unwrap_or_default();
        let said = match &self.password {
            Some(password) => password.hide(&said),
            None => said,
        };
        let code = field(b'C').unwrap_or_else(|| "without a code".to_owned());
        Failed::because(format_args!("{said} (error {code})"))
    }
}

/// The state of a login, and whether it must have shown that the server knows the password.
#[derive(Default)]
struct Proof(#[cfg(feature = "postgres")] Scram);

impl Proof {
    #[cfg_attr(
        not(feature = "postgres"),
        expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "as with the feature")
    )]
    fn complete(&self) -> Result<(), Failed> {
        #[cfg(feature = "postgres")]
        self.0.complete()?;
        Ok(())
    }
}

fn nonsense(what: &str) -> Failed {
    Failed::because(format_args!("{what} is not PostgreSQL"))
}

/// The content with its length before it, which counts itself.
fn sized(content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len() + 4).unwrap_or(u32::MAX);
    [&length.to_be_bytes()[..], content].concat()
}

/// Reads a message: its kind and its content.
async fn message<S: Stream>(dialog: &mut Dialog<S>) -> Result<(u8, Bytes), Failed> {
    let what = "its next message";
    let head = dialog.exactly(what, 5).await?;
    let Some((kind, length)) = head.split_first() else { return Err(nonsense(what)) };
    let length = length.iter().fold(0_usize, |sum, byte| (sum << 8) | usize::from(*byte));
    let Some(length) = length.checked_sub(4).filter(|length| *length <= MAX_MESSAGE) else {
        let reason = "is not PostgreSQL, or says more than";
        return Err(Failed::because(format_args!("{reason} {MAX_MESSAGE} bytes at once")));
    };
    Ok((*kind, dialog.exactly(what, length).await?))
}

/// The value of a row of one column.
fn only_value(row: &[u8]) -> Option<&[u8]> {
    let (columns, rest) = row.split_at_checked(2)?;
    let (length, rest) = rest.split_at_checked(4)?;
    let length = i32::from_be_bytes(length.try_into().ok()?);
    (columns == [0, 1]).then_some(())?;
    rest.get(..usize::try_from(length).ok()?)
}

#[async_trait]
impl HealthCheck for PostgresCheck {
    async fn check(&self, target: &Target) -> Result<Passed, Failed> {
        let dialog = Security::clear().open(target).await?;
        let mut dialog = self.secure(dialog, target).await?;
        let result = self.talk(&mut dialog).await;
        dialog.part(&[]).await;
        result
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use proptest::prelude::*;

    use super::*;

    fn hear(check: &PostgresCheck, said: &[u8]) -> Result<Passed, Failed> {
        let mut dialog = Dialog::new(tokio::io::join(said, tokio::io::sink()));
        check.talk(&mut dialog).now_or_never().expect("all is there")
    }

    fn say(messages: &[(u8, &[u8])]) -> Vec<u8> {
        messages.iter().flat_map(|(kind, content)| [vec![*kind], sized(content)].concat()).collect()
    }

    const WELCOME: (u8, &[u8]) = (b'R', &[0, 0, 0, 0]);
    const READY: (u8, &[u8]) = (b'Z', b"I");

    fn judged(check: &PostgresCheck, messages: &[(u8, &[u8])]) -> String {
        match hear(check, &say(messages)) {
            Ok(passed) => format!("+{passed}"),
            Err(failed) => format!("-{failed}"),
        }
    }

    #[test]
    fn servers_are_judged_without_a_password() {
        let check = PostgresCheck::new();
        let primary = check.clone().expect_role(PostgresRole::Primary);
        let parameter: (u8, &[u8]) = (b'S', b"server_version\x0015\0");
        let (no, yes) = (&[0, 1, 0, 0, 0, 1, b'f'][..], &[0, 1, 0, 0, 0, 1, b't'][..]);
        let starting: (u8, &[u8]) = (b'E', b"SFATAL\0C57P03\0Mit is starting up\0\0");
        for (check, messages, expected) in [
            (&check, &[(b'R', &[0, 0, 0, 10][..])][..], "+takes connections, asks for a password"),
            (&check, &[WELCOME, parameter, READY], "+lets postgres in"),
            (&check, &[starting], "-it is starting up (error 57P03)"),
            (&check, &[WELCOME, starting], "-it is starting up (error 57P03)"),
            (&check, &[(b'R', &[0])], "-the login is not PostgreSQL"),
            (&check, &[(b'G', &[0])], "-the login is not PostgreSQL"),
            (&check, &[WELCOME, (b'G', &[])], "-what it says is not PostgreSQL"),
            (&check, &[WELCOME], "-closed the connection before its next message"),
            (&check, &[(b'N', &b""[..]); 200], "-its login has no end"),
            (&primary, &[(b'R', &[0, 0, 0, 5, 1, 2, 3, 4])], "-asks for a password, so its role"),
            (&primary, &[WELCOME, READY, (b'D', no), READY], "+is a primary"),
            (&primary, &[WELCOME, READY, (b'D', yes), READY], "-is a replica, not a primary"),
            (&primary, &[WELCOME, READY, (b'D', &[0, 1, 255, 255, 255, 255]), READY], "-does not"),
            (&primary, &[WELCOME, READY, READY], "-does not say whether it is in recovery"),
        ] {
            let said = judged(check, messages);
            assert!(said.starts_with(expected), "{said}, not {expected}");
        }
        for wrong in [&b"R\0\0\0\x03"[..], b"R\xff\xff\xff\xff", b"HTTP/1.1 400 Bad\r\n\r\n"] {
            let failed = hear(&check, wrong).expect_err("malformed");
            assert!(failed.reason().starts_with("is not PostgreSQL, or says"), "{failed}");
        }
        assert!(PostgresCheck::new().with_user("").is_err());
        assert!(PostgresCheck::new().with_database("a\0b").is_err());
    }

    #[cfg(feature = "postgres")]
    #[test]
    fn passwords_are_neither_shown_nor_sent_in_the_clear() {
        let check = PostgresCheck::new().with_password("tiger");
        let refused: (u8, &[u8]) = (b'E', b"SFATAL\0C28P01\0Mtiger is wrong\0\0");
        let (clear, kerberos) = (&[0, 0, 0, 3][..], &[0, 0, 0, 7][..]);
        let scram: (u8, &[u8]) = (b'R', b"\0\0\0\x0aSCRAM-SHA-256\0\0");
        for (messages, expected) in [
            (&[(b'R', &[0, 0, 0, 5, 1, 2, 3, 4][..]), WELCOME, READY][..], "+lets postgres in"),
            (&[(b'R', &[0, 0, 0, 5, 1, 2, 3, 4]), refused], "-*** is wrong (error 28P01)"),
            (&[(b'R', clear)], "-wants the password in the clear, without TLS"),
            (&[(b'R', kerberos)], "-wants a login by Kerberos"),
            (&[scram, WELCOME], "-its SCRAM login ends before the server has proven itself"),
            (&[scram, (b'R', b"\0\0\0\x0cv=")], "-its SCRAM login is out of order"),
        ] {
            assert_eq!(judged(&check, messages), expected);
        }
        assert!(!format!("{check:?}").contains("tiger"));
    }

    proptest! {
        #[test]
        fn arbitrary_servers_are_judged(bytes: Vec<u8>, messages: Vec<(u8, Vec<u8>)>) {
            let check = PostgresCheck::new().expect_role(PostgresRole::Replica);
            prop_assert!(hear(&check, &bytes).is_err());
            let messages: Vec<(u8, &[u8])> =
                messages.iter().map(|(kind, content)| (*kind, content.as_slice())).collect();
            let _any = hear(&check, &say(&messages));
            let _any = hear(&check, &say(&[&[WELCOME, READY], &messages[..]].concat()));
            let _any = only_value(&bytes);
        }
    }
}

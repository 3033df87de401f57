//! A check that an LDAP server lets clients bind.

use async_trait::async_trait;
use ha_core::config::{ConfigError, Problems};

use super::ber::{Reader, element, number};
use super::dialog::{Dialog, Stream};
use super::secret::Secret;
use super::security::Security;
#[cfg(feature = "tls")]
use super::tls::Tls;
use super::{Failed, HealthCheck, Passed, Target};

/// The longest response that is read, in bytes: a bind's result is short.
const MAX_MESSAGE: usize = 64 * 1024;

/// The longest name or password, in bytes.
const MAX_CREDENTIAL: usize = 1024;

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const OCTETS: u8 = 0x04;
const ENUMERATED: u8 = 0x0a;
const BIND_REQUEST: u8 = 0x60;
const BIND_RESPONSE: u8 = 0x61;
const EXTENDED_RESPONSE: u8 = 0x78;
const SIMPLE: u8 = 0x80;
/// Message 2, `UnbindRequest`: an element without content.
const UNBIND: [u8; 7] = [SEQUENCE, 5, INTEGER, 1, 2, 0x42, 0];

/// Passes if an LDAP server (RFC 4511) accepts a bind: anonymous (HAProxy's `option ldap-check`),
/// or simple with a name and a password.
///
/// ```
/// use ha_lb::health::ldap::LdapCheck;
///
/// let check = LdapCheck::new().with_bind("cn=checker,dc=example", "secret")?;
/// assert!(!format!("{check:?}").contains("secret"));
/// # Ok::<(), ha_core::config::ConfigError>(())
/// ```
#[derive(Debug, Clone)]
pub struct LdapCheck {
    name: String,
    password: Secret<String>,
    security: Security,
}

impl Default for LdapCheck {
    fn default() -> Self {
        Self::new()
    }
}

impl LdapCheck {
    /// An anonymous bind.
    #[must_use]
    pub const fn new() -> Self {
        let password = Secret::new(String::new());
        Self { name: String::new(), password, security: Security::clear() }
    }

    /// Binds as `name` with `password`, each 1 to 1024 bytes; in the clear unless TLS is set.
    ///
    /// # Errors
    ///
    /// Each of the two that is empty (servers take a bind without a password as anonymous) or too
    /// long.
    pub fn with_bind(mut self, name: &str, password: &str) -> Result<Self, ConfigError> {
        let mut problems = Problems::new();
        let allowed = "1 to 1024 bytes";
        for (path, text, shown) in [
            ("check.name", name, name.to_owned()),
            ("check.password", password, format!("one of {} bytes", password.len())),
        ] {
            if !(1..=MAX_CREDENTIAL).contains(&text.len()) {
                problems.add(path, shown, allowed);
            }
        }
        name.clone_into(&mut self.name);
        self.password = Secret::new(password.to_owned());
        problems.into_result(self)
    }

    /// Speaks TLS from the start (`ldaps`).
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn with_tls(mut self, tls: Tls) -> Self {
        self.security = Security::tls(tls);
        self
    }

    fn request(&self) -> Vec<u8> {
        let bind = [
            element(INTEGER, &[3]), // the version of LDAP
            element(OCTETS, self.name.as_bytes()),
            element(SIMPLE, self.password.reveal().as_bytes()),
        ]
        .concat();
        element(SEQUENCE, &[element(INTEGER, &[1]), element(BIND_REQUEST, &bind)].concat())
    }

    async fn talk<S: Stream>(&self, dialog: &mut Dialog<S>) -> Result<Passed, Failed> {
        dialog.send("a bind", &self.request()).await?;
        let message = message(dialog).await?;
        let Some(outcome) = Outcome::read(&message) else {
            return Err(Failed::because("its answer to a bind is not LDAP"));
        };
        let said = self.password.hide(&outcome.said);
        let said = if said.is_empty() { String::new() } else { format!(": {said:?}") };
        let (code, name) = (outcome.code, name_of(outcome.code));
        match (outcome.kind, code) {
            (BIND_RESPONSE, 0) if self.name.is_empty() => Ok(Passed::because("anonymous bind")),
            (BIND_RESPONSE, 0) => Ok(Passed::because(format_args!("bind as {}", self.name))),
            (BIND_RESPONSE, _) => {
                Err(Failed::because(format_args!("refuses the bind with {code} ({name}){said}")))
            }
            (EXTENDED_RESPONSE, _) => {
                Err(Failed::because(format_args!("disconnects with {code} ({name}){said}")))
            }
            _ => Err(Failed::because("answers a bind with another operation")),
        }
    }
}

/// Reads the content of one message.
async fn message<S: Stream>(dialog: &mut Dialog<S>) -> Result<bytes::Bytes, Failed> {
    let what = "its answer to a bind";
    if dialog.byte(what).await? != SEQUENCE {
        return Err(Failed::because(format_args!("{what} is not LDAP")));
    }
    let length = match dialog.byte(what).await? {
        short @ 0..=0x7f => usize::from(short),
        long @ 0x81..=0x84 => number(&dialog.exactly(what, usize::from(long & 0x7f)).await?),
        0x80 | 0x85.. => return Err(Failed::because(format_args!("{what} is not LDAP"))),
    };
    if length > MAX_MESSAGE {
        let reason = format_args!("{what} has {length} bytes, more than {MAX_MESSAGE}");
        return Err(Failed::because(reason));
    }
    dialog.exactly(what, length).await
}

/// A result (RFC 4511 section 4.1.9).
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    kind: u8,
    code: usize,
    said: String,
}

impl Outcome {
    fn read(message: &[u8]) -> Option<Self> {
        let mut message = Reader::new(message);
        message.expect(INTEGER)?;
        let (kind, content) = message.element()?;
        let mut content = Reader::new(content);
        let code = content.expect(ENUMERATED).filter(|code| (1..=4).contains(&code.len()))?;
        content.expect(OCTETS)?; // the name that matched
        let said = String::from_utf8_lossy(content.expect(OCTETS)?).into_owned();
        Some(Self { kind, code: number(code), said })
    }
}

/// The names of RFC 4511 appendix A that a bind can meet.
const fn name_of(code: usize) -> &'static str {
    match code {
        0 => "success",
        1 => "operations error",
        2 => "protocol error",
        3 => "time limit exceeded",
        7 => "authentication method not supported",
        8 => "stronger authentication required",
        10 => "referral",
        11 => "administrative limit exceeded",
        13 => "confidentiality required",
        14 => "SASL bind in progress",
        32 => "no such object",
        34 => "invalid name syntax",
        48 => "inappropriate authentication",
        49 => "invalid credentials",
        50 => "insufficient access rights",
        51 => "busy",
        52 => "unavailable",
        53 => "unwilling to perform",
        80 => "other",
        _ => "an unknown code",
    }
}

#[async_trait]
impl HealthCheck for LdapCheck {
    async fn check(&self, target: &Target) -> Result<Passed, Failed> {
        let mut dialog = self.security.open(target).await?;
        let result = self.talk(&mut dialog).await;
        dialog.part(&UNBIND).await;
        result
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use proptest::prelude::*;

    use super::*;

    fn hear(check: &LdapCheck, said: &[u8]) -> Result<Passed, Failed> {
        let mut dialog = Dialog::new(tokio::io::join(said, tokio::io::sink()));
        check.talk(&mut dialog).now_or_never().expect("all is there")
    }

    fn answer(kind: u8, code: u8, said: &str) -> Vec<u8> {
        let said = element(OCTETS, said.as_bytes());
        let outcome = [element(ENUMERATED, &[code]), element(OCTETS, b""), said].concat();
        element(SEQUENCE, &[element(INTEGER, &[1]), element(kind, &outcome)].concat())
    }

    #[test]
    fn an_anonymous_bind_is_what_others_send() {
        // As recorded of ldapsearch -x.
        let recorded = [0x30, 0x0c, 0x02, 1, 1, 0x60, 7, 2, 1, 3, 4, 0, 0x80, 0];
        assert_eq!(LdapCheck::new().request(), recorded);
    }

    #[test]
    fn results_are_named_and_passwords_are_not() {
        let check = LdapCheck::new().with_bind("cn=a", "tiger").expect("both are there");
        assert_eq!(
            hear(&check, &answer(BIND_RESPONSE, 0, "")),
            Ok(Passed::because("bind as cn=a"))
        );
        for (bytes, expected) in [
            (
                answer(BIND_RESPONSE, 49, "not tiger"),
                "refuses the bind with 49 (invalid credentials): \"not ***\"",
            ),
            (answer(EXTENDED_RESPONSE, 52, ""), "disconnects with 52 (unavailable)"),
            (answer(0x65, 0, ""), "answers a bind with another operation"),
            (vec![SEQUENCE, 0], "its answer to a bind is not LDAP"),
            (vec![SEQUENCE, 0x80], "its answer to a bind is not LDAP"),
            (vec![SEQUENCE, 0x84, 0xff, 0xff, 0xff, 0xff], "its answer to a bind has 4294967295"),
            (b"220 mx\r\n".to_vec(), "its answer to a bind is not LDAP"),
            (vec![SEQUENCE, 9, 2], "closed the connection in the middle of its answer to a bind"),
        ] {
            let failed = hear(&check, &bytes).expect_err(expected);
            assert!(failed.reason().starts_with(expected), "{failed}");
        }
        let error = LdapCheck::new().with_bind("", &"p".repeat(1025)).expect_err("both wrong");
        assert_eq!(error.problems().len(), 2);
        assert!(!error.to_string().contains("ppp"));
    }

    proptest! {
        #[test]
        fn arbitrary_answers_are_judged(bytes: Vec<u8>, content: Vec<u8>) {
            prop_assert!(hear(&LdapCheck::new(), &bytes).is_err());
            let _any = hear(&LdapCheck::new(), &element(SEQUENCE, &content));
            let _any = Outcome::read(&content);
        }
    }
}

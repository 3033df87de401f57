//! A check that a mail server greets and answers.

use async_trait::async_trait;
use ha_core::config::ConfigError;

use super::dialog::{Dialog, Stream};
use super::security::Security;
#[cfg(feature = "tls")]
use super::tls::Tls;
use super::{Failed, HealthCheck, Passed, Target};

/// The most lines of one reply: each extension of a server is a line.
const MAX_LINES: usize = 100;

/// Passes if a mail server greets with 220 and answers `EHLO` with 250 (HAProxy's `option smtpchk
/// EHLO`); it ends with `QUIT`, so that servers do not log a lost connection.
///
/// ```
/// use ha_lb::health::smtp::SmtpCheck;
///
/// let check = SmtpCheck::new().with_name("lb.example")?;
/// assert!(SmtpCheck::new().with_name("two words").is_err());
/// # let _ = check;
/// # Ok::<(), ha_core::config::ConfigError>(())
/// ```
#[derive(Debug, Clone)]
pub struct SmtpCheck {
    name: String,
    security: Security,
}

impl Default for SmtpCheck {
    fn default() -> Self {
        Self::new()
    }
}

impl SmtpCheck {
    /// Introduces itself as `localhost`.
    #[must_use]
    pub fn new() -> Self {
        Self { name: "localhost".to_owned(), security: Security::clear() }
    }

    /// Sets the name by which the check introduces itself; 1 to 255 visible ASCII characters.
    ///
    /// # Errors
    ///
    /// When it is not such a name.
    pub fn with_name(mut self, name: &str) -> Result<Self, ConfigError> {
        if !(1..=255).contains(&name.len()) || !name.bytes().all(|b| b.is_ascii_graphic()) {
            let allowed = "a host name, or an address such as [192.0.2.1]";
            return Err(ConfigError::new("check.name", name, allowed));
        }
        name.clone_into(&mut self.name);
        Ok(self)
    }

    /// Speaks TLS from the start, as on port 465 (RFC 8314).
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn with_tls(mut self, tls: Tls) -> Self {
        self.security = Security::tls(tls);
        self
    }

    async fn talk<S: Stream>(&self, dialog: &mut Dialog<S>) -> Result<Passed, Failed> {
        let greeting = reply(dialog, "its greeting").await?;
        expect(&greeting, 220, "greets")?;
        let hello = format!("EHLO {}\r\n", self.name);
        dialog.send("EHLO", hello.as_bytes()).await?;
        let answer = reply(dialog, "its answer to EHLO").await?;
        expect(&answer, 250, "answers EHLO")?;
        Ok(Passed::because(format_args!("greets with {greeting:?}")))
    }
}

/// Whether a reply has this code.
fn expect(reply: &str, code: u16, does: &str) -> Result<(), Failed> {
    if reply.get(..3) == Some(code.to_string().as_str()) {
        return Ok(());
    }
    Err(Failed::because(format_args!("{does} with {reply:?}, not {code}")))
}

/// Reads a reply of one or more lines (RFC 5321 section 4.2.1) and returns its first line.
async fn reply<S: Stream>(dialog: &mut Dialog<S>, what: &str) -> Result<String, Failed> {
    let mut first: Option<String> = None;
    for _ in 0..MAX_LINES {
        let line = dialog.line(what).await?;
        let code = line.get(..3).filter(|code| code.bytes().all(|b| b.is_ascii_digit()));
        let same = first.as_ref().is_none_or(|first| first.get(..3) == code);
        let mark = line.as_bytes().get(3);
        if code.is_none() || !same || !matches!(mark, None | Some(b' ' | b'-')) {
            return Err(Failed::because(format_args!("{what} is not SMTP: {line:?}")));
        }
        let is_last = mark != Some(&b'-');
        let first = first.get_or_insert(line);
        if is_last {
            return Ok(first.clone());
        }
    }
    Err(Failed::because(format_args!("{what} has more than {MAX_LINES} lines")))
}

#[async_trait]
impl HealthCheck for SmtpCheck {
    async fn check(&self, target: &Target) -> Result<Passed, Failed> {
        let mut dialog = self.security.open(target).await?;
        let result = self.talk(&mut dialog).await;
        dialog.part(b"QUIT\r\n").await;
        result
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use proptest::prelude::*;

    use super::*;

    fn hear(said: &[u8]) -> Result<Passed, Failed> {
        let mut dialog = Dialog::new(tokio::io::join(said, tokio::io::sink()));
        SmtpCheck::new().talk(&mut dialog).now_or_never().expect("all is there")
    }

    #[test]
    fn replies_of_many_lines_are_read_and_others_named() {
        let good = "220-mx\r\n220 here\r\n250-mx\r\n250-SIZE\r\n250\r\n";
        assert_eq!(hear(good.as_bytes()), Ok(Passed::because("greets with \"220-mx\"")));
        for (said, expected) in [
            ("554 no\r\n", "greets with \"554 no\", not 220"),
            ("220 mx\r\n421 busy\r\n", "answers EHLO with \"421 busy\", not 250"),
            ("220-mx\r\n250 mx\r\n", "its greeting is not SMTP: \"250 mx\""),
            ("+OK pop\r\n", "its greeting is not SMTP: \"+OK pop\""),
            ("2200\r\n", "its greeting is not SMTP: \"2200\""),
            ("22é\r\n", "its greeting is not SMTP: \"22é\""),
            ("220 mx\r\n", "closed the connection before its answer to EHLO"),
            (&"220-mx\r\n".repeat(101), "its greeting has more than 100 lines"),
        ] {
            assert_eq!(hear(said.as_bytes()), Err(Failed::because(expected)));
        }
    }

    proptest! {
        #[test]
        fn arbitrary_replies_are_judged(bytes: Vec<u8>, text in "(220[ -][^\r\n]{0,3}\r\n)*") {
            prop_assert!(hear(&bytes).is_err());
            prop_assert!(hear(text.as_bytes()).is_err());
        }
    }
}

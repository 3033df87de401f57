//! Logging in to MySQL or MariaDB with a password, and asking for a few values.

use std::collections::BTreeMap;

use ring::digest::{Algorithm, Context, Digest, SHA1_FOR_LEGACY_USE_ONLY, SHA256};

use super::mysql_protocol::{
    self as protocol, END, ERROR, Fields, Greeting, MORE_DATA, OK, Packet, QUIT, SSL, packet, send,
    text,
};
use super::secret::Secret;
use super::security::{AnyDialog, Security};
use super::{Failed, Target};

/// The most rows of one answer.
const MAX_ROWS: usize = 1000;

/// How often a server may change its mind about how to log in.
const MAX_TURNS: usize = 4;

const LOGIN: &str = "its answer to the login";
const ANSWER: &str = "its answer to a query";

/// Who logs in.
#[derive(Debug, Clone)]
pub(super) struct Account {
    pub(super) user: String,
    pub(super) password: Secret<String>,
}

/// How the password is proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Method {
    /// `mysql_native_password`: SHA-1.
    Native,
    /// `caching_sha2_password`: SHA-256; the server asks for the password if it has no cache.
    CachingSha2,
}

impl Method {
    fn named(plugin: &str) -> Option<Self> {
        match plugin {
            "mysql_native_password" => Some(Self::Native),
            "caching_sha2_password" => Some(Self::CachingSha2),
            _ => None,
        }
    }

    /// What shows that the password is known, without showing it.
    fn proof(self, password: &str, nonce: &[u8]) -> Vec<u8> {
        if password.is_empty() {
            return Vec::new();
        }
        let hash = |algorithm: &'static Algorithm, parts: &[&[u8]]| -> Digest {
            let mut context = Context::new(algorithm);
            for part in parts {
                context.update(part);
            }
            context.finish()
        };
        let (once, mask) = match self {
            Self::Native => {
                let sha1 = |parts: &[&[u8]]| hash(&SHA1_FOR_LEGACY_USE_ONLY, parts);
                let once = sha1(&[password.as_bytes()]);
                (once, sha1(&[nonce, sha1(&[once.as_ref()]).as_ref()]))
            }
            Self::CachingSha2 => {
                let sha256 = |parts: &[&[u8]]| hash(&SHA256, parts);
                let once = sha256(&[password.as_bytes()]);
                (once, sha256(&[sha256(&[once.as_ref()]).as_ref(), nonce]))
            }
        };
        once.as_ref().iter().zip(mask.as_ref()).map(|(once, mask)| once ^ mask).collect()
    }
}

/// A session that is logged in.
pub(super) struct Session<'a> {
    dialog: AnyDialog,
    account: &'a Account,
    pub(super) version: String,
}

impl<'a> Session<'a> {
    /// Connects, secures the connection if that is wanted, and logs in.
    pub(super) async fn open(
        account: &'a Account,
        security: &Security,
        target: &Target,
    ) -> Result<Self, Failed> {
        let dialog = Security::clear().open(target).await?;
        Self::begin(dialog, account, security, target).await
    }

    async fn begin(
        mut dialog: AnyDialog,
        account: &'a Account,
        security: &Security,
        target: &Target,
    ) -> Result<Self, Failed> {
        let first = packet(&mut dialog, "its greeting").await?;
        let greeting = Greeting::read(&first.content)?;
        let mut number = first.number;
        let secured = security.is_tls();
        if secured {
            if greeting.capabilities & SSL == 0 {
                return Err(Failed::because("does not offer TLS"));
            }
            number = number.wrapping_add(1);
            let head = protocol::response_head(true);
            send(&mut dialog, "a wish for TLS", number, &head).await?;
            dialog = security.upgrade(dialog, target).await?;
        }
        let password = account.password.reveal();
        // A method that is not known here is changed by the server, once it knows the user.
        let known = Method::named(&greeting.plugin);
        let plugin = if known.is_some() { &greeting.plugin } else { "mysql_native_password" };
        let proof = known.unwrap_or(Method::Native).proof(password, &greeting.nonce);
        let response = protocol::response(secured, &account.user, &proof, plugin);
        send(&mut dialog, "a login", number.wrapping_add(1), &response).await?;
        let mut session = Self { dialog, account, version: greeting.version };
        session.log_in(secured).await?;
        Ok(session)
    }

    /// Goes on until the server lets the user in, or does not.
    async fn log_in(&mut self, secured: bool) -> Result<(), Failed> {
        let (user, password) = (&self.account.user, self.account.password.reveal());
        for _ in 0..MAX_TURNS {
            let Packet { number, content } = packet(&mut self.dialog, LOGIN).await?;
            let mut fields = Fields(&content);
            match fields.byte() {
                Some(OK) => return Ok(()),
                Some(ERROR) => return Err(self.complaint(&format!("refuses {user}"), &content)),
                Some(END) => {
                    let plugin = text(fields.until_zero());
                    let Some(method) = Method::named(&plugin) else {
                        let reason = format_args!("wants {user} to log in by {plugin:?}");
                        return Err(Failed::because(reason));
                    };
                    let nonce = fields.0.strip_suffix(&[0]).unwrap_or(fields.0);
                    let proof = method.proof(password, nonce);
                    send(&mut self.dialog, "a login", number.wrapping_add(1), &proof).await?;
                }
                // The server's cache knows the user (3), or does not (4).
                Some(MORE_DATA) if fields.0 == [3] => {}
                Some(MORE_DATA) if fields.0 == [4] && secured => {
                    let clear = [password.as_bytes(), &[0]].concat();
                    send(&mut self.dialog, "a login", number.wrapping_add(1), &clear).await?;
                }
                Some(MORE_DATA) if fields.0 == [4] => {
                    let reason = "wants the password itself, which is only sent over TLS: check \
                                  with TLS, or let this user log in elsewhere once";
                    return Err(Failed::because(reason));
                }
                _ => return Err(Failed::because(format_args!("{LOGIN} is malformed"))),
            }
        }
        Err(Failed::because(format_args!("{LOGIN} has no end")))
    }

    fn complaint(&self, does: &str, content: &[u8]) -> Failed {
        protocol::complaint(does, content, |said| self.account.password.hide(said))
    }

    /// Asks a query of two columns, a name and a value, and puts the rows into `found`.
    pub(super) async fn ask(
        &mut self,
        query: &str,
        found: &mut BTreeMap<String, String>,
    ) -> Result<(), Failed> {
        let command = [b"\x03", query.as_bytes()].concat();
        send(&mut self.dialog, "a query", 0, &command).await?;
        let malformed = || Failed::because(format_args!("{ANSWER} is malformed"));
        let head = packet(&mut self.dialog, ANSWER).await?.content;
        if head.first() == Some(&ERROR) {
            return Err(self.complaint("refuses a query", &head));
        }
        if Fields(&head).counted() != Some(2) {
            return Err(malformed());
        }
        // Two columns are described, and the descriptions end.
        for _ in 0..3 {
            packet(&mut self.dialog, ANSWER).await?;
        }
        for _ in 0..=MAX_ROWS {
            let row = packet(&mut self.dialog, ANSWER).await?.content;
            match row.first() {
                Some(&END) if row.len() < 9 => return Ok(()),
                Some(&ERROR) => return Err(self.complaint("ends a query", &row)),
                _ => {}
            }
            let mut fields = Fields(&row);
            let (Some(name), Some(value)) = (fields.string(), fields.string()) else {
                return Err(malformed());
            };
            found.insert(text(name).to_lowercase(), text(value));
        }
        Err(Failed::because(format_args!("{ANSWER} has more than {MAX_ROWS} rows")))
    }

    /// Says goodbye.
    pub(super) async fn close(self) {
        self.dialog.part(&QUIT).await;
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use proptest::prelude::*;

    use super::super::dialog::{Dialog, Stream};
    use super::super::mysql_protocol::tests::{framed, greeting};
    use super::*;

    fn account() -> Account {
        Account { user: "scott".to_owned(), password: Secret::new("tiger".to_owned()) }
    }

    /// Logs in and asks of all that a server says at once.
    fn hear(said: Vec<u8>) -> Result<BTreeMap<String, String>, Failed> {
        let said = std::io::Cursor::new(said);
        let stream: Box<dyn Stream> = Box::new(tokio::io::join(said, tokio::io::sink()));
        let (account, target) = (account(), "192.0.2.1:3306".parse::<std::net::SocketAddr>());
        let target = Target::from(target.expect("an address"));
        let asked = async {
            let clear = Security::clear();
            let mut session =
                Session::begin(Dialog::new(stream), &account, &clear, &target).await?;
            let mut found = BTreeMap::new();
            session.ask("SHOW", &mut found).await?;
            Ok(found)
        };
        asked.now_or_never().expect("all is there")
    }

    fn after_greeting(packets: &[&[u8]]) -> Result<BTreeMap<String, String>, String> {
        let greeting = greeting("mysql_native_password");
        let all = [greeting.as_slice()].into_iter().chain(packets.iter().copied());
        let bytes = all.flat_map(|packet| framed(0, packet)).collect();
        hear(bytes).map_err(|failed| failed.reason().to_owned())
    }

    #[test]
    fn proofs_are_those_of_the_documentation() {
        // The server has the hash of the password's hash, and can undo the mask.
        let nonce = b"abcdefghijklmnopqrst";
        let sha1 = |bytes: &[u8]| ring::digest::digest(&SHA1_FOR_LEGACY_USE_ONLY, bytes);
        let stored = sha1(sha1(b"tiger").as_ref());
        let mask = sha1(&[nonce, stored.as_ref()].concat());
        let proof = Method::Native.proof("tiger", nonce);
        let once: Vec<u8> = proof.iter().zip(mask.as_ref()).map(|(a, b)| a ^ b).collect();
        assert_eq!(sha1(&once).as_ref(), stored.as_ref());
        let sha256 = |bytes: &[u8]| ring::digest::digest(&SHA256, bytes);
        let stored = sha256(sha256(b"tiger").as_ref());
        let mask = sha256(&[stored.as_ref(), nonce].concat());
        let proof = Method::CachingSha2.proof("tiger", nonce);
        let once: Vec<u8> = proof.iter().zip(mask.as_ref()).map(|(a, b)| a ^ b).collect();
        assert_eq!(sha256(&once).as_ref(), stored.as_ref());
        assert_eq!(Method::Native.proof("", nonce), Vec::<u8>::new());
    }

    #[test]
    fn rows_are_read() {
        let end = &b"\xfe\0\0\x02\0"[..];
        let rows = [b"\x0bwsrep_READY\x02ON", &b"\x01a\0"[..], end].to_vec();
        let packets = [&b"\0\0\0\x02\0"[..], b"\x02", b"column", b"column", end];
        let found = after_greeting(&[packets.to_vec(), rows].concat()).expect("an answer");
        let expected = [("a", ""), ("wsrep_ready", "ON")];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(found, BTreeMap::from(expected));
    }

    #[test]
    fn what_goes_wrong_is_named_without_the_password() {
        let ok = &b"\0\0\0\x02\0"[..];
        let flood: Vec<&[u8]> = [ok, b"\x02", b"", b"", b"\xfe"]
            .into_iter()
            .chain(std::iter::repeat_n(&b"\x01a\x01b"[..], 1001))
            .collect();
        for (packets, expected) in [
            (&[&b"\xff\x15\x04#28000no tiger"[..]][..], "refuses scott: error 1045: \"no ***\""),
            (&[b"\xfeclient_ed25519\0abc"], "wants scott to log in by \"client_ed25519\""),
            (&[b"\xfemysql_clear_password\0"], "wants scott to log in by \"mysql_clear_password\""),
            (&[b"\x01\x04"], "wants the password itself, which is only sent over TLS"),
            (&[b"\x01\x03", b"\x01\x03", b"\x01\x03", b"\x01\x03"], "its answer to the login has"),
            (&[b"\x01\x05"], "its answer to the login is malformed"),
            (&[ok, b"\xff\x17\x04#08S01not ready"], "refuses a query: error 1047: \"not ready\""),
            (&[ok, b"\xfb/etc/passwd"], "its answer to a query is malformed"),
            (&[ok, b"\x03"], "its answer to a query is malformed"),
            (&[ok, b"\x02", b"", b"", b"", b"\x05a"], "its answer to a query is malformed"),
            (&[ok, b"\x02", b"", b"", b"", b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff"], "its answer"),
            (&flood, "its answer to a query has more than 1000 rows"),
        ] {
            let reason = after_greeting(packets).expect_err(expected);
            assert!(reason.starts_with(expected), "{reason}");
        }
        assert!(!format!("{:?}", account()).contains("tiger"));
    }

    proptest! {
        #[test]
        fn arbitrary_servers_are_judged(bytes: Vec<u8>, packets: Vec<Vec<u8>>) {
            prop_assert!(hear(bytes).is_err());
            let packets: Vec<&[u8]> = packets.iter().map(Vec::as_slice).collect();
            let _any = after_greeting(&packets);
            let answer = [&b"\0"[..], b"\x02", b"", b"", b""];
            let _any = after_greeting(&[&answer, &packets[..]].concat());
        }
    }
}

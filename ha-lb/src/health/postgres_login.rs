//! Proving to PostgreSQL that a password is known: SCRAM-SHA-256 (RFC 5802, RFC 7677) and MD5.

use std::num::NonZeroU32;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use md5::{Digest as _, Md5};
use ring::digest::{SHA256, digest};
use ring::hmac::{self, HMAC_SHA256};
use ring::pbkdf2::{self, PBKDF2_HMAC_SHA256};
use ring::rand::{SecureRandom, SystemRandom};

use super::Failed;

/// The most rounds that a server may ask for (`scram_iterations`, 4096 by default): they are
/// computed in place, some 100 ms at this limit.
const MAX_ITERATIONS: u32 = 200_000;

/// The longest message of a server; PostgreSQL's are below 200 bytes.
const MAX_WORDS: usize = 2048;

const MECHANISM: &[u8] = b"SCRAM-SHA-256";

/// The proof by MD5: `md5(md5(password user) salt)` in hexadecimal.
pub(super) fn md5(user: &str, password: &str, salt: &[u8]) -> Vec<u8> {
    let inner = Md5::new().chain_update(password).chain_update(user).finalize();
    let outer = Md5::new().chain_update(format!("{inner:x}")).chain_update(salt).finalize();
    format!("md5{outer:x}\0").into_bytes()
}

/// A dialog of SCRAM-SHA-256 from the client's side, without channel binding.
#[derive(Default)]
pub(super) enum Scram {
    /// Nothing was said.
    #[default]
    Idle,
    /// The client has introduced itself with this bare message.
    Introduced { bare: String, nonce: String },
    /// The client has given its proof, and waits for the server's.
    Proven { signature: Vec<u8> },
    /// The server has proven that it knows the password, too.
    Done,
}

fn wrong(what: &str) -> Failed {
    Failed::because(format_args!("its SCRAM login {what}"))
}

impl Scram {
    /// The first message, if the server offers the mechanism.
    pub(super) fn start(&mut self, mechanisms: &[u8]) -> Result<Vec<u8>, Failed> {
        if !mechanisms.split(|byte| *byte == 0).any(|name| name == MECHANISM) {
            return Err(Failed::because("does not offer a login by SCRAM-SHA-256"));
        }
        let mut random = [0; 18];
        let filled = SystemRandom::new().fill(&mut random);
        filled.map_err(|_| Failed::because("no random numbers on this host"))?;
        let bare = self.introduce("", BASE64.encode(random));
        let first = format!("n,,{bare}");
        let length = u32::try_from(first.len()).unwrap_or_default().to_be_bytes();
        Ok([MECHANISM, &[0], &length, first.as_bytes()].concat())
    }

    /// PostgreSQL takes the user's name from the startup packet.
    fn introduce(&mut self, user: &str, nonce: String) -> String {
        let bare = format!("n={user},r={nonce}");
        *self = Self::Introduced { bare: bare.clone(), nonce };
        bare
    }

    /// The proof, after the server's first message.
    pub(super) fn go_on(&mut self, said: &[u8], password: &str) -> Result<Vec<u8>, Failed> {
        let Self::Introduced { bare, nonce } = self else {
            return Err(wrong("is out of order"));
        };
        let said = std::str::from_utf8(said).ok().filter(|said| said.len() <= MAX_WORDS);
        let said = said.ok_or_else(|| wrong("is malformed"))?;
        let mut attributes = said.split(',');
        let mut next = |name: &str| {
            let attribute = attributes.next().and_then(|part| part.strip_prefix(name));
            attribute.ok_or_else(|| wrong("is malformed"))
        };
        let (both, salt, rounds) = (next("r=")?, next("s=")?, next("i=")?);
        if !both.starts_with(nonce.as_str()) || both.len() == nonce.len() {
            return Err(wrong("is not an answer to this one"));
        }
        let salt = BASE64.decode(salt).map_err(|_| wrong("is malformed"))?;
        let rounds = rounds.parse::<u32>().ok().and_then(NonZeroU32::new);
        let rounds = rounds.filter(|rounds| rounds.get() <= MAX_ITERATIONS);
        let rounds = rounds.ok_or_else(|| {
            wrong(&format!("asks for more than {MAX_ITERATIONS} iterations, or for none"))
        })?;
        let mut salted = [0; 32];
        pbkdf2::derive(PBKDF2_HMAC_SHA256, rounds, &salt, password.as_bytes(), &mut salted);
        let sign = |key: &[u8], words: &[u8]| hmac::sign(&hmac::Key::new(HMAC_SHA256, key), words);
        let client_key = sign(&salted, b"Client Key");
        let without_proof = format!("c=biws,r={both}");
        let all = format!("{bare},{said},{without_proof}");
        let mask = sign(digest(&SHA256, client_key.as_ref()).as_ref(), all.as_bytes());
        let pairs = client_key.as_ref().iter().zip(mask.as_ref());
        let proof: Vec<u8> = pairs.map(|(key, mask)| key ^ mask).collect();
        let server_key = sign(&salted, b"Server Key");
        let signature = sign(server_key.as_ref(), all.as_bytes()).as_ref().to_vec();
        *self = Self::Proven { signature };
        Ok(format!("{without_proof},p={}", BASE64.encode(proof)).into_bytes())
    }

    /// Checks the server's proof.
    pub(super) fn finish(&mut self, said: &[u8]) -> Result<(), Failed> {
        let Self::Proven { signature } = self else { return Err(wrong("is out of order")) };
        let proof = said.strip_prefix(b"v=").and_then(|proof| BASE64.decode(proof).ok());
        if proof.as_ref() != Some(signature) {
            return Err(wrong("does not show that the server knows the password"));
        }
        *self = Self::Done;
        Ok(())
    }

    /// Whether a login that has begun was carried through by the server, too.
    pub(super) fn complete(&self) -> Result<(), Failed> {
        match self {
            Self::Idle | Self::Done => Ok(()),
            Self::Introduced { .. } | Self::Proven { .. } => {
                Err(wrong("ends before the server has proven itself"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NONCE: &str = "rOprNGfwEbeRWgbNEkqO";
    const FIRST: &[u8] = b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                           s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";

    fn introduced() -> Scram {
        let mut scram = Scram::default();
        scram.introduce("user", NONCE.to_owned());
        scram
    }

    /// RFC 7677 section 3.
    #[test]
    fn the_example_of_the_rfc_is_reproduced() {
        let mut scram = introduced();
        let last = scram.go_on(FIRST, "pencil").expect("well-formed");
        let expected = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                        p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
        assert_eq!(String::from_utf8_lossy(&last), expected);
        assert!(scram.complete().is_err());
        let proof = b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";
        scram.finish(proof).expect("the server knows the password");
        scram.complete().expect("both have proven themselves");
        assert!(scram.finish(proof).is_err());
    }

    #[test]
    fn servers_that_cheat_are_refused() {
        let reply = |said: &str| introduced().go_on(said.as_bytes(), "pencil").map(|_| ());
        for (said, expected) in [
            ("r=other,s=W22Z,i=4096", "its SCRAM login is not an answer to this one"),
            ("r=rOprNGfwEbeRWgbNEkqO,s=W22Z,i=4096", "its SCRAM login is not an answer"),
            ("r=rOprNGfwEbeRWgbNEkqOx,s=W22Z,i=4294967295", "its SCRAM login asks for more"),
            ("r=rOprNGfwEbeRWgbNEkqOx,s=W22Z,i=0", "its SCRAM login asks for more"),
            ("r=rOprNGfwEbeRWgbNEkqOx,s=???,i=1", "its SCRAM login is malformed"),
            ("e=unknown-user", "its SCRAM login is malformed"),
        ] {
            let failed = reply(said).expect_err(said);
            assert!(failed.reason().starts_with(expected), "{failed}");
        }
        let mut scram = introduced();
        scram.go_on(FIRST, "wrong").expect("well-formed");
        assert!(scram.finish(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=").is_err());
        assert!(Scram::default().go_on(FIRST, "pencil").is_err());
        assert!(Scram::default().finish(b"v=").is_err());
        assert!(Scram::default().start(b"SCRAM-SHA-256-PLUS\0\0").is_err());
        assert!(Scram::default().start(b"SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0").is_ok());
    }

    proptest! {
        #[test]
        fn arbitrary_words_are_judged(bytes: Vec<u8>, text in "[a-z=,0-9]*") {
            let text = format!("r={NONCE}x,{text}");
            prop_assert!(introduced().go_on(&bytes, "pencil").is_err());
            let mut scram = introduced();
            if scram.go_on(text.as_bytes(), "pencil").is_ok() {
                prop_assert!(scram.finish(&bytes).is_err());
            }
            let _any = md5("user", "pencil", &bytes);
        }
    }
}

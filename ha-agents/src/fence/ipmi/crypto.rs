//! What a cipher suite computes: authentication codes, keys, sealed payloads.

use std::fmt;

use aes::Aes128;
use aes::cipher::block_padding::NoPadding;
use aes::cipher::{BlockDecryptMut, BlockEncryptMut, KeyIvInit};
use hmac::{Hmac, Mac};
use sha1::Sha1;
use sha2::Sha256;

/// The algorithms of a session: how it is authenticated, signed and encrypted.
///
/// Source: IPMI 2.0, table 22-20. Suites without encryption, or with MD5, are not offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum CipherSuite {
    /// Suite 3: HMAC-SHA1, HMAC-SHA1-96, AES-CBC-128. Every IPMI 2.0 board has it.
    Sha1,
    /// Suite 17: HMAC-SHA256, HMAC-SHA256-128, AES-CBC-128.
    Sha256,
}

impl CipherSuite {
    /// Its number in the standard: 3 or 17.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Sha1 => 3,
            Self::Sha256 => 17,
        }
    }

    /// The suite of a number; `None` for those that are not spoken.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            3 => Some(Self::Sha1),
            17 => Some(Self::Sha256),
            _ => None,
        }
    }

    /// Authentication, integrity and confidentiality algorithm (tables 13-17 to 13-19).
    pub(super) const fn algorithms(self) -> [u8; 3] {
        match self {
            Self::Sha1 => [0x01, 0x01, 0x01],
            Self::Sha256 => [0x03, 0x04, 0x01],
        }
    }

    /// The length of the codes that messages and RAKP 4 carry.
    pub(super) const fn short(self) -> usize {
        match self {
            Self::Sha1 => 12,
            Self::Sha256 => 16,
        }
    }

    /// The keyed hash of the parts, one after the other.
    pub(super) fn mac(self, key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
        match self {
            Self::Sha1 => fed::<Hmac<Sha1>>(key, parts).finalize().into_bytes().to_vec(),
            Self::Sha256 => fed::<Hmac<Sha256>>(key, parts).finalize().into_bytes().to_vec(),
        }
    }

    /// Whether `code` is the keyed hash of the parts; compares in constant time.
    pub(super) fn is_mac(self, key: &[u8], parts: &[&[u8]], code: &[u8]) -> bool {
        match self {
            Self::Sha1 => fed::<Hmac<Sha1>>(key, parts).verify_slice(code).is_ok(),
            Self::Sha256 => fed::<Hmac<Sha256>>(key, parts).verify_slice(code).is_ok(),
        }
    }

    /// Whether `code` is the shortened keyed hash of the parts; compares in constant time.
    pub(super) fn is_short_mac(self, key: &[u8], parts: &[&[u8]], code: &[u8]) -> bool {
        // A shorter code would be easier to guess.
        code.len() == self.short()
            && match self {
                Self::Sha1 => fed::<Hmac<Sha1>>(key, parts).verify_truncated_left(code).is_ok(),
                Self::Sha256 => fed::<Hmac<Sha256>>(key, parts).verify_truncated_left(code).is_ok(),
            }
    }
}

impl fmt::Display for CipherSuite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.number())
    }
}

fn fed<M: Mac + hmac::digest::KeyInit>(key: &[u8], parts: &[&[u8]]) -> M {
    #[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
    let mut mac = <M as Mac>::new_from_slice(key).expect("any length");
    for part in parts {
        mac.update(part);
    }
    mac
}

/// The keys of a session.
#[derive(Clone)]
pub(super) struct Keys {
    pub(super) suite: CipherSuite,
    /// K1, which signs messages.
    signing: Vec<u8>,
    /// The first half of K2, or more, which encrypts them.
    encrypting: [u8; 16],
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").field("suite", &self.suite).finish_non_exhaustive()
    }
}

impl Keys {
    /// The keys that follow from the session integrity key (13.32).
    pub(super) fn of(suite: CipherSuite, sik: &[u8]) -> Self {
        let signing = suite.mac(sik, &[&[0x01; 20]]);
        let mut encrypting = [0; 16];
        for (to, from) in encrypting.iter_mut().zip(suite.mac(sik, &[&[0x02; 20]])) {
            *to = from;
        }
        Self { suite, signing, encrypting }
    }

    /// The code under a message.
    pub(super) fn sign(&self, message: &[u8]) -> Vec<u8> {
        let mut code = self.suite.mac(&self.signing, &[message]);
        code.truncate(self.suite.short());
        code
    }

    /// Whether a message is genuine.
    pub(super) fn is_genuine(&self, message: &[u8], code: &[u8]) -> bool {
        self.suite.is_short_mac(&self.signing, &[message], code)
    }

    /// Encrypts a payload (13.29.2): the vector, then the payload with its padding.
    pub(super) fn encrypt(&self, vector: [u8; 16], payload: &[u8]) -> Vec<u8> {
        let mut plain = payload.to_vec();
        let padding = 15 - payload.len() % 16;
        plain.extend((1..=15).take(padding));
        plain.push(u8::try_from(padding).unwrap_or_default());
        let encryptor = cbc::Encryptor::<Aes128>::new(&self.encrypting.into(), &vector.into());
        let mut sealed = vector.to_vec();
        sealed.extend(encryptor.encrypt_padded_vec_mut::<NoPadding>(&plain));
        sealed
    }

    /// Decrypts a payload; `None` if it was not encrypted by [`encrypt`](Self::encrypt)'s rules.
    pub(super) fn decrypt(&self, sealed: &[u8]) -> Option<Vec<u8>> {
        let (vector, sealed) = sealed.split_first_chunk::<16>()?;
        let decryptor = cbc::Decryptor::<Aes128>::new(&self.encrypting.into(), &(*vector).into());
        let mut plain = decryptor.decrypt_padded_vec_mut::<NoPadding>(sealed).ok()?;
        let padding = plain.pop()?;
        let kept = plain.len().checked_sub(usize::from(padding))?;
        // 13.29.2: the padding is 1, 2, 3, … and less than a block.
        let is_padding = plain.iter().skip(kept).copied().eq(1..=padding);
        if padding > 15 || !is_padding {
            return None;
        }
        plain.truncate(kept);
        Some(plain)
    }
}

/// Random bytes from a seed: HMAC-SHA256 of a counter. The machine stays replayable, and what it
/// sends is as hard to guess as its seed.
pub(super) struct Entropy {
    seed: [u8; 32],
    drawn: u64,
}

impl fmt::Debug for Entropy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entropy").field("drawn", &self.drawn).finish_non_exhaustive()
    }
}

impl Entropy {
    pub(super) const fn new(seed: [u8; 32]) -> Self {
        Self { seed, drawn: 0 }
    }

    /// The next 16 bytes.
    pub(super) fn draw(&mut self) -> [u8; 16] {
        self.drawn += 1;
        let hash = CipherSuite::Sha256.mac(&self.seed, &[&self.drawn.to_be_bytes()]);
        let mut drawn = [0; 16];
        for (to, from) in drawn.iter_mut().zip(hash) {
            *to = from;
        }
        drawn
    }

    /// A number that is not zero.
    pub(super) fn number(&mut self) -> u32 {
        let [a, b, c, d, ..] = self.draw();
        u32::from_le_bytes([a, b, c, d]).max(1)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn codes_are_those_of_the_standards() {
        // RFC 2202 case 2, RFC 4231 case 2.
        let (key, text): (&[u8], &[u8]) = (b"Jefe", b"what do ya want for nothing?");
        let hex = |bytes: &[u8]| {
            bytes.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
        };
        let code = CipherSuite::Sha1.mac(key, &[text]);
        assert_eq!(hex(&code), "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79");
        let code = CipherSuite::Sha256.mac(key, &[text.split_at(4).0, text.split_at(4).1]);
        let wanted = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(hex(&code), wanted);
        assert!(CipherSuite::Sha256.is_mac(key, &[text], &code));
        assert!(CipherSuite::Sha256.is_short_mac(key, &[text], &code[..16]));
        assert!(!CipherSuite::Sha256.is_short_mac(key, &[text], &code[..1]), "too short to trust");
        assert!(!CipherSuite::Sha256.is_short_mac(key, &[text], &[]));
    }

    #[test]
    fn suites_have_their_numbers() {
        for suite in [CipherSuite::Sha1, CipherSuite::Sha256] {
            assert_eq!(CipherSuite::from_number(suite.number()), Some(suite));
        }
        assert_eq!(CipherSuite::from_number(0), None, "no authentication");
    }

    proptest! {
        #[test]
        fn what_is_encrypted_can_be_decrypted(payload: Vec<u8>, vector: [u8; 16], sik: [u8; 20]) {
            for suite in [CipherSuite::Sha1, CipherSuite::Sha256] {
                let keys = Keys::of(suite, &sik);
                let sealed = keys.encrypt(vector, &payload);
                prop_assert_eq!(sealed.len() % 16, 0);
                prop_assert_eq!(keys.decrypt(&sealed), Some(payload.clone()));
            }
        }

        #[test]
        fn what_was_never_encrypted_does_no_harm(sealed: Vec<u8>) {
            let keys = Keys::of(CipherSuite::Sha1, b"key");
            let _nonsense = keys.decrypt(&sealed);
        }
    }
}

//! The key that all members share.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// How many bytes a key has.
const KEY_LEN: usize = 32;
/// 64 hex digits with room for white space around them; a longer file is no key.
const MAX_FILE: u64 = 128;

/// A secret of 32 bytes that all members share; never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct SharedKey([u8; KEY_LEN]);

impl SharedKey {
    /// A key from its bytes; they must be random, not a password.
    #[must_use]
    pub const fn new(bytes: [u8; KEY_LEN]) -> Self {
        Self(bytes)
    }

    /// Reads a key file: 32 raw bytes, or 64 hex digits as `openssl rand -hex 32` writes them.
    ///
    /// # Errors
    ///
    /// [`KeyFileError`]: the file cannot be read, others may read it, or it holds no key.
    pub fn read(path: &Path) -> Result<Self, KeyFileError> {
        let file = || path.to_owned();
        let unreadable = |source| KeyFileError::Unreadable { file: file(), source };
        // The mode of the file that was opened, not of one that takes its place afterwards.
        let opened = File::open(path).map_err(unreadable)?;
        let mode = opened.metadata().map_err(unreadable)?.mode() & 0o777;
        if mode & 0o007 != 0 {
            return Err(KeyFileError::Exposed { file: file(), mode });
        }
        let mut bytes = Vec::new();
        opened.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(unreadable)?;
        let key = match <[u8; KEY_LEN]>::try_from(bytes.as_slice()) {
            Ok(raw) => Some(raw),
            Err(_) => hex(bytes.trim_ascii()),
        };
        key.map(Self).ok_or_else(|| KeyFileError::NoKey { file: file() })
    }

    pub(super) const fn bytes(&self) -> &[u8; KEY_LEN] {
        &self.0
    }
}

impl fmt::Debug for SharedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedKey(…)")
    }
}

fn hex(text: &[u8]) -> Option<[u8; KEY_LEN]> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|d| u8::try_from(d).ok());
    let digits: Option<Vec<u8>> = text.iter().map(|byte| digit(*byte)).collect();
    let digits = digits.filter(|digits| digits.len() == 2 * KEY_LEN)?;
    let bytes: Vec<u8> =
        digits.chunks_exact(2).map(|pair| pair.iter().fold(0, |b, d| b << 4 | d)).collect();
    bytes.try_into().ok()
}

/// A key file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFileError {
    /// Everybody on this computer may read or write it.
    #[error("cannot use the key in {file}: its mode {mode:o} lets every user at it; chmod 600 it")]
    Exposed {
        /// The file.
        file: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// It holds something else.
    #[error(
        "cannot use the key in {file}: it holds neither 32 bytes nor 64 hex digits; \
             make one with openssl rand -hex 32"
    )]
    NoKey {
        /// The file.
        file: PathBuf,
    },
    /// The system says no.
    #[error("cannot read the key in {file}: check that it exists and that this user may read it")]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

//! Reads one number from a file.

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// More than any number and some blanks.
const MAX_LEN: u64 = 128;

/// Why there is no number in a file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FileProblem {
    /// There is no file.
    #[error("cannot read {path:?}: there is no such file; write a number to it")]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// It holds something else.
    #[error(
        "cannot read a number from {path:?}: it holds {text:?}; write one whole number, \
         -2147483648 to 2147483647"
    )]
    NotANumber {
        /// The file.
        path: PathBuf,
        /// How it begins.
        text: String,
    },
    /// It is a directory, a pipe or a device.
    #[error("cannot read {path:?}: it is not a regular file; name one")]
    NotAFile {
        /// The file.
        path: PathBuf,
    },
    /// The system refused.
    #[error("cannot read {path:?}: {why}; look at its permissions and its file system")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        why: String,
    },
}

impl FileProblem {
    pub(super) fn unreadable(path: &Path, error: &io::Error) -> Self {
        let path = path.to_owned();
        if error.kind() == io::ErrorKind::NotFound {
            return Self::Missing { path };
        }
        Self::Unreadable { path, why: error.to_string() }
    }
}

/// The number in the file at `path`.
pub(super) fn number(path: &Path) -> Result<i32, FileProblem> {
    let text = content(path)?;
    parse(&text).ok_or_else(|| {
        let text = String::from_utf8_lossy(&text).chars().take(40).collect();
        FileProblem::NotANumber { path: path.to_owned(), text }
    })
}

fn content(path: &Path) -> Result<Vec<u8>, FileProblem> {
    let unreadable = |error: io::Error| FileProblem::unreadable(path, &error);
    let nonblock = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or_default();
    // Opening a pipe would wait for a writer.
    let file = OpenOptions::new().read(true).custom_flags(nonblock).open(path);
    let file = file.map_err(unreadable)?;
    if !file.metadata().map_err(unreadable)?.is_file() {
        return Err(FileProblem::NotAFile { path: path.to_owned() });
    }
    let mut text = Vec::new();
    file.take(MAX_LEN + 1).read_to_end(&mut text).map_err(unreadable)?;
    Ok(text)
}

/// One number, blanks around it; `None` if it is something else, or cut off.
fn parse(text: &[u8]) -> Option<i32> {
    let whole = u64::try_from(text.len()).is_ok_and(|len| len <= MAX_LEN);
    let text = std::str::from_utf8(text).ok().filter(|_| whole)?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_no_regular_file_is_told_at_once() {
        let read = |path: &str| number(Path::new(path)).expect_err("no number").to_string();
        assert!(read("/dev/zero").ends_with("it is not a regular file; name one"));
        assert!(read("/").contains("it is not a regular file"));
        assert!(read("/nowhere/to/be/found").contains("there is no such file"));
        assert!(read("/proc/self/comm").contains("write one whole number"));
    }

    proptest! {
        #[test]
        fn a_number_is_read_with_blanks_and_nothing_else(
            number: i32, blanks in "[ \n\t]{0,40}", rest in "[a-z.,-]{1,9}",
        ) {
            prop_assert_eq!(parse(format!("{blanks}{number}{blanks}").as_bytes()), Some(number));
            prop_assert_eq!(parse(format!("{number}{blanks}{rest}").as_bytes()), None);
            prop_assert_eq!(parse(format!("{number}{}", " ".repeat(128)).as_bytes()), None);
        }

        #[test]
        fn any_bytes_are_a_number_or_not(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _is_no_panic = parse(&bytes);
        }
    }
}

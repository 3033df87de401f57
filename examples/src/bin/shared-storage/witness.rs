//! The witness of exclusive use: a file on the shared disk that only one may write at a time.
//!
//! Whoever runs the service appends a line with its fencing token every few milliseconds. Before
//! each it reads what was written since its own last one. There is no lock: if somebody else wrote
//! meanwhile, both run at the same time, and that is what the witness is there to see.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use ha_core::time::{BootClock, Clock};
use serde::{Deserialize, Serialize};

/// Who writes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Writer {
    pub(crate) token: u64,
    pub(crate) node: String,
}

impl Writer {
    fn line(&self, at: u64) -> String {
        format!("{} {} {at}\n", self.token, self.node)
    }
}

/// The file, as one writer sees it.
#[derive(Debug)]
pub(crate) struct Witness {
    file: File,
    writer: Writer,
    /// How much of the file this writer has seen.
    seen: u64,
}

impl Witness {
    /// Opens the file; what stands in it is older than this writer, which `None` says; else who
    /// has written with a newer token.
    pub(crate) fn open(path: &Path, writer: Writer) -> io::Result<(Self, Option<String>)> {
        let file = OpenOptions::new().create(true).append(true).read(true).open(path)?;
        let mut witness = Self { file, writer, seen: 0 };
        let text = witness.news()?;
        let token = witness.writer.token;
        let older = |line: &&str| parse(line).is_none_or(|(writer, _)| writer.token >= token);
        let newer = text.lines().find(older).map(str::to_owned);
        Ok((witness, newer))
    }

    /// Writes a line, and tells what others have written since the last one, which is an overlap.
    pub(crate) fn write(&mut self) -> io::Result<Option<String>> {
        let overlap = self.overlap()?;
        let line = self.writer.line(BootClock::new().now().as_nanos());
        self.file.write_all(line.as_bytes())?;
        Ok(overlap)
    }

    fn overlap(&mut self) -> io::Result<Option<String>> {
        let text = self.news()?;
        let foreign = |line: &&str| parse(line).is_none_or(|(writer, _)| writer != self.writer);
        Ok(text.lines().find(foreign).map(str::to_owned))
    }

    fn news(&mut self) -> io::Result<String> {
        let mut text = String::new();
        self.file.seek(SeekFrom::Start(self.seen))?;
        self.seen += self.file.read_to_string(&mut text)? as u64;
        Ok(text)
    }
}

fn parse(line: &str) -> Option<(Writer, u64)> {
    let mut words = line.split(' ');
    let (token, node) = (words.next()?.parse().ok()?, words.next()?.to_owned());
    let at = words.next()?.parse().ok()?;
    Some((Writer { token, node }, at))
}

/// What the whole file says afterwards.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Audit {
    pub(crate) lines: usize,
    /// One after the other.
    pub(crate) writers: Vec<Writer>,
    /// Lines of a writer after those of a newer one, lines out of time, and lines that are none.
    pub(crate) violations: usize,
}

/// Reads the whole file: tokens and times may only grow.
pub(crate) fn audit(text: &str) -> Audit {
    let mut audit = Audit::default();
    let mut last_at = 0;
    for line in text.lines() {
        audit.lines += 1;
        let Some((writer, at)) = parse(line) else {
            audit.violations += 1;
            continue;
        };
        let in_order = match audit.writers.last() {
            Some(last) if *last == writer => true,
            Some(last) if last.token >= writer.token => false,
            _ => {
                audit.writers.push(writer);
                true
            }
        };
        audit.violations += usize::from(!in_order || at < last_at);
        last_at = at.max(last_at);
    }
    audit
}

#[cfg(test)]
mod tests {
    use super::*;

    fn writer(token: u64, node: &str) -> Writer {
        Writer { token, node: node.to_owned() }
    }

    #[test]
    fn one_after_the_other_is_no_overlap() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        for (token, node) in [(3, "n1"), (5, "n2")] {
            let (mut witness, newer) = Witness::open(&path, writer(token, node)).unwrap();
            assert_eq!(newer, None);
            for _ in 0..3 {
                assert_eq!(witness.write().unwrap(), None);
            }
        }
        let audit = audit(&std::fs::read_to_string(&path).unwrap());
        assert_eq!((audit.lines, audit.violations), (6, 0));
        assert_eq!(audit.writers, [writer(3, "n1"), writer(5, "n2")]);
    }

    #[test]
    fn two_at_a_time_see_each_other_and_the_file_tells() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let (mut old, _) = Witness::open(&path, writer(3, "n1")).unwrap();
        old.write().unwrap();
        let (mut new, newer) = Witness::open(&path, writer(5, "n2")).unwrap();
        assert_eq!((newer, new.write().unwrap()), (None, None));
        assert!(old.write().unwrap().is_some_and(|line| line.starts_with("5 n2 ")));
        assert!(new.write().unwrap().is_some_and(|line| line.starts_with("3 n1 ")));
        let audit = audit(&std::fs::read_to_string(&path).unwrap());
        assert_eq!(audit.violations, 1);
        let (_, newer) = Witness::open(&path, writer(4, "n3")).unwrap();
        assert!(newer.is_some_and(|line| line.starts_with("5 n2 ")), "a token that is too old");
    }
}

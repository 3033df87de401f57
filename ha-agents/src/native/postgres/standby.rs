//! The files that make a stopped server a copy.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, fchown};
use std::path::{Path, PathBuf};

/// The setting that names the primary.
const SETTING: &str = "primary_conninfo";
/// Where the server itself keeps settings.
const SETTINGS: &str = "postgresql.auto.conf";

/// A copy to be.
#[derive(Debug)]
pub(super) struct Standby {
    pub(super) data: PathBuf,
    pub(super) primary: Option<String>,
    pub(super) port: u16,
    pub(super) words: String,
}

impl Standby {
    /// Writes the files: first that it is a copy, so that it can never start as a primary in
    /// between.
    pub(super) fn write(&self) -> io::Result<()> {
        let signal = self.data.join("standby.signal");
        if !signal.exists() {
            put(&self.data, &signal, b"")?;
        }
        let file = self.data.join(SETTINGS);
        let old = match fs::read_to_string(&file) {
            Ok(old) => old,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error),
        };
        let new = self.settings(&old);
        if new == old { Ok(()) } else { put(&self.data, &file, new.as_bytes()) }
    }

    /// The settings with ours instead of the one before; the others stay.
    fn settings(&self, old: &str) -> String {
        let is_ours = |line: &str| {
            let name = line.split(['=', ' ', '\t']).find(|word| !word.is_empty());
            name.is_some_and(|name| name.eq_ignore_ascii_case(SETTING))
        };
        let mut new: String =
            old.lines().filter(|line| !is_ours(line)).flat_map(|line| [line, "\n"]).collect();
        let value = self.conninfo().replace('\\', r"\\").replace('\'', "''");
        let ours = format!("{SETTING} = '{value}'\n");
        new.push_str(&ours);
        new
    }

    fn conninfo(&self) -> String {
        let Some(primary) = &self.primary else { return String::new() };
        let host = primary.replace('\\', r"\\").replace('\'', r"\'");
        let whole = format!("host='{host}' port={} {}", self.port, self.words.trim());
        // A line end would begin another setting.
        whole.replace(char::is_control, " ").trim_end().to_owned()
    }
}

/// Writes a file wholly or not at all, with the owner of the directory.
fn put(data: &Path, file: &Path, text: &[u8]) -> io::Result<()> {
    let owner = fs::metadata(data)?;
    let fresh = file.with_extension("ha-new");
    let mut options = File::options();
    let mut written = options.write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
    fchown(&written, Some(owner.uid()), Some(owner.gid()))?;
    written.write_all(text)?;
    written.sync_all()?;
    fs::rename(&fresh, file)?;
    File::open(data)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standby(primary: Option<&str>, words: &str) -> Standby {
        let primary = primary.map(str::to_owned);
        Standby { data: PathBuf::new(), primary, port: 5432, words: words.to_owned() }
    }

    #[test]
    fn one_setting_is_replaced_and_the_others_stay() {
        let old = "# by hand\nwork_mem = '4MB'\nPRIMARY_CONNINFO='host=a'\nprimary_conninfo = 'b'";
        let new = standby(Some("n2"), "user=r").settings(old);
        let ours = "primary_conninfo = 'host=''n2'' port=5432 user=r'\n";
        assert_eq!(new, format!("# by hand\nwork_mem = '4MB'\n{ours}"));
        assert_eq!(standby(Some("n2"), "user=r").settings(&new), new);
        assert!(standby(None, "user=r").settings(&new).ends_with("primary_conninfo = ''\n"));
    }

    #[test]
    fn no_name_of_a_host_ends_the_setting() {
        let new = standby(Some("a'b\\c\nfsync = off"), "").settings("");
        assert_eq!(new.lines().count(), 1);
        assert_eq!(new, "primary_conninfo = 'host=''a\\\\''b\\\\\\\\c fsync = off'' port=5432'\n");
    }
}

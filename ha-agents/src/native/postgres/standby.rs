//! The files that make a stopped server a copy.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, fchown};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use rustix::io::Errno;

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
    /// between. The directory is the server's, which may be another user than this one: what is
    /// no plain file there is refused, and no link is followed.
    pub(super) fn write(&self) -> io::Result<()> {
        let signal = self.data.join("standby.signal");
        if read(&signal)?.is_none() {
            put(&self.data, &signal, b"")?;
        }
        let file = self.data.join(SETTINGS);
        let old = read(&file)?.unwrap_or_default();
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

/// What is in a plain file; `None`: there is none.
fn read(file: &Path) -> io::Result<Option<String>> {
    let refused = || {
        let words = "is no plain file; put a file there, or nothing";
        io::Error::new(io::ErrorKind::InvalidInput, format!("{} {words}", file.display()))
    };
    // Not to wait for the other end of a pipe.
    let loops = Some(Errno::LOOP.raw_os_error());
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let mut opened = match File::options().read(true).custom_flags(flags).open(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) if error.raw_os_error() == loops => return Err(refused()),
        opened => opened?,
    };
    if !opened.metadata()?.is_file() {
        return Err(refused());
    }
    let mut text = String::new();
    opened.read_to_string(&mut text)?;
    Ok(Some(text))
}

/// Writes a file wholly or not at all, with the owner of the directory.
fn put(data: &Path, file: &Path, text: &[u8]) -> io::Result<()> {
    let owner = fs::metadata(data)?;
    let fresh = file.with_extension("ha-new");
    match fs::remove_file(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        // What an earlier life left half written.
        Ok(()) | Err(_) => {}
    }
    let mut options = File::options();
    let mut written = options.write(true).create_new(true).mode(0o600).open(&fresh)?;
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
    fn nothing_outside_of_the_directory_is_written_or_read() {
        let dir = tempfile::tempdir().expect("a directory");
        let (data, outside) = (dir.path().join("data"), dir.path().join("outside"));
        fs::create_dir(&data).expect("made");
        fs::write(&outside, "secret = 'a'\n").expect("written");
        let copy = || Standby { data: data.clone(), ..standby(Some("n2"), "") };
        let link = |name: &str| std::os::unix::fs::symlink(&outside, data.join(name));
        // Where the new files are written before they get their names.
        link("standby.ha-new").expect("linked");
        link("postgresql.auto.ha-new").expect("linked");
        copy().write().expect("written");
        copy().write().expect("written again");
        assert_eq!(fs::read_to_string(&outside).expect("there"), "secret = 'a'\n");
        let settings = fs::read_to_string(data.join(SETTINGS)).expect("there");
        assert!(settings.starts_with("primary_conninfo = 'host=''n2''"), "{settings}");
        for name in ["standby.signal", SETTINGS] {
            let path = data.join(name);
            assert!(fs::symlink_metadata(&path).expect("there").is_file(), "{name}");
            let refused = |what: &str| {
                let error = copy().write().expect_err(what).to_string();
                assert!(error.contains("is no plain file"), "{what}: {error}");
            };
            fs::remove_file(&path).expect("removed");
            link(name).expect("linked");
            refused("a link to a file");
            fs::remove_file(&path).expect("removed");
            std::os::unix::fs::symlink(dir.path().join("nothing"), &path).expect("linked");
            refused("a link to nothing");
            fs::remove_file(&path).expect("removed");
            fs::create_dir(&path).expect("made");
            refused("a directory");
            fs::remove_dir(&path).expect("removed");
            rustix::fs::mkfifoat(rustix::fs::CWD, &path, 0o600.into()).expect("made");
            refused("a pipe");
            fs::remove_file(&path).expect("removed");
            copy().write().expect("written");
        }
    }

    #[test]
    fn no_name_of_a_host_ends_the_setting() {
        let new = standby(Some("a'b\\c\nfsync = off"), "").settings("");
        assert_eq!(new.lines().count(), 1);
        assert_eq!(new, "primary_conninfo = 'host=''a\\\\''b\\\\\\\\c fsync = off'' port=5432'\n");
    }
}

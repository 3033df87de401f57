//! Endpoints from a file that is looked at again and again.

mod lines;
mod settle;

use std::fs::{File, Metadata};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use ha_core::config::ConfigError;
use ha_core::driver::Alarm;
use ha_core::time::{BootClock, Clock, Instant};
use tokio::task::{JoinHandle, spawn_blocking};

use self::settle::{Seen, Settle, Verdict};
use super::{Discovery, DiscoveryError, Found};
use crate::endpoint::Endpoint;

/// The largest file that is read: 16 MiB.
pub const MAX_BYTES: u64 = 16 << 20;

/// How a file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Format {
    /// One endpoint a line, as `NAME=ADDRESS:PORT` or `ADDRESS:PORT`; after it, with spaces in
    /// between, `weight=0…256`, `max-connections=NUMBER`, `id=NUMBER`, `backup`. What follows a `#`
    /// is not read. A file without endpoints is an error.
    Lines,
    /// TOML: tables `[[endpoints]]` with `name`, `address`, and `weight`, `max-connections`,
    /// `backup`, `id` as [`Endpoint`] has them. `endpoints = []` is an empty list.
    Toml,
}

impl Format {
    fn of(path: &Path) -> Self {
        if path.extension().is_some_and(|extension| extension == "toml") {
            Self::Toml
        } else {
            Self::Lines
        }
    }

    /// Reads endpoints; `path` is for errors.
    ///
    /// ```
    /// use ha_lb::discovery::file::Format;
    ///
    /// let text = "a=192.0.2.1:80 weight=2\nb=192.0.2.2:80 backup\n";
    /// let list = Format::Lines.parse("backends", text)?;
    /// assert_eq!(list.len(), 2);
    /// let error = Format::Lines.parse("backends", "a=192.0.2.1:80 weigth=2").unwrap_err();
    /// assert!(error.to_string().starts_with("backends:1: weigth=2 is not allowed: "));
    /// # Ok::<(), ha_core::config::ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// What is wrong, each with `PATH:LINE`; the first 20 of many.
    pub fn parse(self, path: &str, text: &str) -> Result<Vec<Endpoint>, ConfigError> {
        match self {
            Self::Lines => lines::parse_lines(path, text),
            Self::Toml => lines::parse_toml(path, text),
        }
    }
}

/// Endpoints from a file, read again when it changes.
///
/// Its inode, size and time of change are looked at every so often; neither a rename over it nor a
/// file system that tells of no events is missed. New content counts once two looks in a row have
/// shown the same, so that a file which is being written is not taken for a shorter list; write a
/// new one beside it and rename it all the same. A broken file is an error that names its lines; a
/// missing one is an error, too.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use std::time::Duration;
/// use ha_lb::discovery::Discovery;
/// use ha_lb::discovery::file::WatchedFile;
///
/// # let path = std::env::temp_dir().join(format!("watched-file-example-{}", std::process::id()));
/// std::fs::write(&path, "a=192.0.2.1:80\nb=192.0.2.2:80 weight=2\n")?;
/// let mut file = WatchedFile::new(&path).with_interval(Duration::from_millis(10))?;
/// assert_eq!(file.next().await?.endpoints.len(), 2);
/// # std::fs::write(path.with_extension("new"), "a=192.0.2.1:80\n")?;
/// std::fs::rename(path.with_extension("new"), &path)?;
/// assert_eq!(file.next().await?.endpoints.len(), 1);
/// # std::fs::remove_file(&path)?;
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Debug)]
pub struct WatchedFile {
    path: PathBuf,
    format: Format,
    interval: Duration,
    alarm: Option<Alarm>,
    due: Option<Instant>,
    /// What the last look has shown; `None`: read it in any case.
    known: Option<Fingerprint>,
    settle: Settle,
    /// A look that goes on, also when nobody waits for it any more.
    look: Option<JoinHandle<io::Result<Look>>>,
}

impl WatchedFile {
    /// A file in the format of its name: TOML if it ends in `.toml`, lines otherwise.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        Self {
            format: Format::of(&path),
            path,
            interval: Duration::from_secs(1),
            alarm: None,
            due: None,
            known: None,
            settle: Settle::default(),
            look: None,
        }
    }

    /// Sets the format, whatever the file's name is.
    #[must_use]
    pub const fn with_format(mut self, format: Format) -> Self {
        self.format = format;
        self
    }

    /// Sets how often it is looked at.
    ///
    /// 10 ms to 1 h; default 1 s. A change is seen after once to twice this time.
    ///
    /// # Errors
    ///
    /// When it is out of range.
    pub fn with_interval(mut self, interval: Duration) -> Result<Self, ConfigError> {
        if !(Duration::from_millis(10)..=Duration::from_hours(1)).contains(&interval) {
            return Err(ConfigError::new("interval", format!("{interval:?}"), "10 ms to 1 h"));
        }
        self.interval = interval;
        Ok(self)
    }

    /// Waits for the time of the next look, and looks.
    async fn look(&mut self) -> io::Result<Look> {
        if self.look.is_none() {
            if self.alarm.is_none() {
                self.alarm = Some(Alarm::new()?);
            }
            if let (Some(alarm), Some(due)) = (&self.alarm, self.due) {
                alarm.until(Some(due)).await?;
            }
        }
        let look = self.look.get_or_insert_with(|| {
            let (path, known) = (self.path.clone(), self.known);
            spawn_blocking(move || look_at(&path, known))
        });
        let seen = look.await;
        self.look = None;
        self.due = Some(BootClock::new().now() + self.interval);
        // A panic, or a runtime that ends.
        seen.map_err(io::Error::other)?
    }

    fn parse(&self, bytes: Vec<u8>) -> Result<Found, DiscoveryError> {
        let path = self.path.display().to_string();
        let text = String::from_utf8(bytes).map_err(|error| {
            let before = error.as_bytes().iter().take(error.utf8_error().valid_up_to());
            let line = 1 + before.filter(|byte| **byte == b'\n').count();
            let value = "a byte that is not UTF-8";
            DiscoveryError::Content(ConfigError::new(format!("{path}:{line}"), value, "text"))
        })?;
        self.format.parse(&path, &text).map(Found::new).map_err(DiscoveryError::Content)
    }
}

#[async_trait]
impl Discovery for WatchedFile {
    fn source(&self) -> String {
        format!("file {}", self.path.display())
    }

    async fn next(&mut self) -> Result<Found, DiscoveryError> {
        loop {
            let look = self.look().await;
            let seen = match &look {
                Ok(Look::Unchanged) => Seen::Unchanged,
                Ok(Look::Read(_, bytes)) => Seen::Content(hash_of(bytes)),
                Err(error) => Seen::Failed(error.kind()),
            };
            let verdict = self.settle.judge(seen);
            // To be told of what changed while it was read, or within a tick of the clock.
            self.known = match (&look, verdict) {
                (Ok(Look::Read(fingerprint, _)), Verdict::Wait) => Some(*fingerprint),
                (Ok(Look::Unchanged), _) => self.known,
                (Ok(Look::Read(..)) | Err(_), _) => None,
            };
            match (look, verdict) {
                (Ok(Look::Read(_, bytes)), Verdict::Use) => return self.parse(bytes),
                (Err(error), Verdict::Tell) => {
                    let path = self.path.display().to_string();
                    return Err(DiscoveryError::Read { path, error });
                }
                (Ok(_) | Err(_), _) => {}
            }
        }
    }
}

/// What can be told of a file without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Fingerprint {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Fingerprint {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

#[derive(Debug)]
enum Look {
    Unchanged,
    /// Its content, and the fingerprint it had before.
    Read(Fingerprint, Vec<u8>),
}

/// Reads the file unless it is known.
fn look_at(path: &Path, known: Option<Fingerprint>) -> io::Result<Look> {
    let metadata = std::fs::metadata(path)?;
    if !metadata.is_file() {
        // A pipe would have us wait for its writer.
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
    }
    let fingerprint = Fingerprint::of(&metadata);
    if known == Some(fingerprint) {
        return Ok(Look::Unchanged);
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).is_ok_and(|len| len > MAX_BYTES) {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is larger than 16 MiB"));
    }
    Ok(Look::Read(fingerprint, bytes))
}

fn hash_of(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}

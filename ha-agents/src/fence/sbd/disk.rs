//! One SBD disk.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use ha_core::driver::pause;
use ha_core::effect::Effect;
use ha_core::id::NodeName;

use super::layout::{
    DiskTimes, Header, LayoutError, MAX_NODE_NAME, Mail, Slot, decode_mail, decode_node,
};
use super::thread::{DiskThread, Failure, Storage};

/// How much longer a whole disk may take than one sector.
const WHOLE: u32 = 10;

/// A disk, or a file, with SBD's slots; interoperates with the `sbd` tool.
///
/// Every read and write happens in a thread of this disk, past the page cache, and is given up
/// after the I/O timeout: a disk that hangs blocks nobody.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use std::time::Duration;
/// use ha_agents::fence::sbd::{DiskTimes, Mail, Message, SbdDisk};
///
/// let file = tempfile::NamedTempFile::new()?;
/// file.as_file().set_len(4 << 20)?;
/// let disk = SbdDisk::new(file.path(), Duration::from_secs(3))?;
/// let mut times = DiskTimes::default();
/// times.allocate = Duration::from_secs(1);
/// disk.create(times).await?;
/// let n1 = "n1".parse()?;
/// disk.allocate(&n1).await?;
/// disk.write(&n1, Mail::new(Message::Test, "n2")).await?;
/// assert_eq!(disk.read(&n1).await?.message, Message::Test);
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Debug)]
pub struct SbdDisk {
    path: PathBuf,
    thread: DiskThread,
    io: Duration,
}

/// Something about an SBD disk failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SbdError {
    /// The times do not fit together.
    #[error("cannot create an SBD disk on {disk}: its times do not fit; correct them all")]
    Config {
        /// The disk.
        disk: String,
        /// Each of them.
        #[source]
        source: ha_core::config::ConfigError,
    },
    /// All slots are taken.
    #[error("cannot give {node} a slot on {disk}: all are taken; remove nodes or use another disk")]
    Full {
        /// The disk.
        disk: String,
        /// The node.
        node: NodeName,
    },
    /// The kernel could not.
    #[error("cannot use SBD disk {disk}; check its path, size and connection")]
    Io {
        /// The disk.
        disk: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// What stands on it is not readable.
    #[error("cannot read SBD disk {disk}: {why}")]
    Layout {
        /// The disk.
        disk: String,
        /// Why.
        why: LayoutError,
    },
    /// No answer in time.
    #[error(
        "cannot tell what became of it: SBD disk {disk} gave no answer in {limit:?}; check its connection"
    )]
    NoAnswer {
        /// The disk.
        disk: String,
        /// How long it was given.
        limit: Duration,
    },
    /// The node has no slot.
    #[error("cannot find a slot of {node} on {disk}: it never watched it; allocate one")]
    NoSlot {
        /// The disk.
        disk: String,
        /// The node.
        node: NodeName,
    },
    /// The name is too long.
    #[error(
        "cannot use {node} on an SBD disk: a slot's name has at most {MAX_NODE_NAME} bytes; shorten it"
    )]
    TooLong {
        /// The node.
        node: NodeName,
    },
}

impl SbdError {
    /// Whether what was to be written may have been written all the same.
    #[must_use]
    pub const fn effect(&self) -> Effect {
        match self {
            Self::Io { .. } | Self::NoAnswer { .. } => Effect::Unknown,
            Self::Config { .. }
            | Self::Full { .. }
            | Self::Layout { .. }
            | Self::NoSlot { .. }
            | Self::TooLong { .. } => Effect::None,
        }
    }
}

/// What can go wrong within the thread.
enum Wrong {
    Io(io::Error),
    Layout(LayoutError),
}

impl From<io::Error> for Wrong {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<LayoutError> for Wrong {
    fn from(error: LayoutError) -> Self {
        Self::Layout(error)
    }
}

impl SbdDisk {
    /// The disk at `path`, not opened yet. A read or write of a sector may take as long as `io`
    /// (sbd's `-I`, by default 3 s), one of the whole disk ten times as long.
    ///
    /// # Errors
    ///
    /// [`SbdError::Io`]: no thread can be started.
    pub fn new(path: impl Into<PathBuf>, io: Duration) -> Result<Self, SbdError> {
        let path = path.into();
        let disk = path.display().to_string();
        let thread = DiskThread::start(path.clone());
        let thread = thread.map_err(|source| SbdError::Io { disk, source })?;
        Ok(Self { path, thread, io })
    }

    /// Its path.
    #[must_use]
    pub fn name(&self) -> String {
        self.path.display().to_string()
    }

    /// Writes a header and empty slots: **what was on the first megabyte is lost**. Returns the
    /// header. A plain file must be large enough, for 512-byte sectors 261,632 bytes.
    ///
    /// # Errors
    ///
    /// [`SbdError`].
    ///
    /// # Cancel safety
    ///
    /// Dropped, it may be half written; do it again.
    pub async fn create(&self, times: DiskTimes) -> Result<Header, SbdError> {
        let disk = self.name();
        times.check().map_err(|source| SbdError::Config { disk, source })?;
        self.run(WHOLE, move |storage| {
            let mut uuid: [u8; 16] = random()?;
            // RFC 9562 §5.4: version 4, random, of this variant.
            let [.., six, _, eight, _, _, _, _, _, _, _] = &mut uuid;
            *six = *six & 0x0f | 0x40;
            *eight = *eight & 0x3f | 0x80;
            let header = Header::new(storage.sector_size()?, times, uuid);
            let slots = usize::try_from(header.size()).unwrap_or(usize::MAX);
            // The header comes last: a disk that is half written has none.
            let empty = vec![0; slots.saturating_sub(header.sector_size)];
            storage.write(header.offset(0), &empty)?;
            storage.write(0, &header.encode())?;
            Ok(header)
        })
        .await
    }

    /// Reads the header.
    ///
    /// # Errors
    ///
    /// [`SbdError`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn header(&self) -> Result<Header, SbdError> {
        self.run(1, header).await
    }

    /// The slots in use.
    ///
    /// # Errors
    ///
    /// [`SbdError`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn list(&self) -> Result<Vec<Slot>, SbdError> {
        self.run(WHOLE, |storage| slots(storage).map(|(_, slots)| slots)).await
    }

    /// Gives a node a slot, the one that it has if it has one, and returns its number. Names are
    /// compared without regard to case, as `sbd` does.
    ///
    /// # Errors
    ///
    /// [`SbdError`].
    ///
    /// # Cancel safety
    ///
    /// Dropped, the node may have a slot; do it again.
    pub async fn allocate(&self, node: &NodeName) -> Result<u8, SbdError> {
        if node.as_str().len() > MAX_NODE_NAME {
            return Err(SbdError::TooLong { node: node.clone() });
        }
        // Each try is lost to another node that took the slot, so there are as many as slots.
        for _ in 0..=u8::MAX {
            let name = node.clone();
            let (found, taken, wait) = self
                .run(WHOLE, move |storage| {
                    let (header, slots) = slots(storage)?;
                    if let Some(slot) = slots.iter().find(|slot| is(slot, &name)) {
                        return Ok((Some(slot.number), None, Duration::ZERO));
                    }
                    let used = |number: &u8| slots.iter().any(|slot| slot.number == *number);
                    let Some(free) = (0..header.slots).find(|number| !used(number)) else {
                        return Ok((None, None, Duration::ZERO));
                    };
                    let mail = header.offset(free) + header.sector_size as u64;
                    storage.write(mail, &header.encode_mail(&Mail::NONE))?;
                    storage.write(header.offset(free), &header.encode_node(&name))?;
                    Ok((None, Some(free), header.times.allocate))
                })
                .await?;
            if let Some(number) = found {
                return Ok(number);
            }
            if taken.is_none() {
                return Err(SbdError::Full { disk: self.name(), node: node.clone() });
            }
            // Who took it at the same time has overwritten it by then; the next round looks.
            pause(wait).await.map_err(|source| self.io_error(source))?;
        }
        Err(SbdError::Full { disk: self.name(), node: node.clone() })
    }

    /// Reads what a node is told.
    ///
    /// # Errors
    ///
    /// [`SbdError`], also [`NoSlot`](SbdError::NoSlot).
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn read(&self, node: &NodeName) -> Result<Mail, SbdError> {
        self.on_slot(node, |storage, header, at| {
            Ok(decode_mail(&storage.read(at, header.sector_size)?)?)
        })
        .await
    }

    /// Tells a node something, over what stands in its slot; [`Mail::NONE`] clears it.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    ///
    /// # Cancel safety
    ///
    /// Dropped, it may have been written.
    pub async fn write(&self, node: &NodeName, mail: Mail) -> Result<(), SbdError> {
        self.on_slot(node, move |storage, header, at| {
            Ok(storage.write(at, &header.encode_mail(&mail))?)
        })
        .await
    }

    /// Writes `new` if `old` stands in a node's slot, and returns whether it did. What somebody
    /// writes at the very same time may be lost all the same: the layout knows no locks.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    ///
    /// # Cancel safety
    ///
    /// As [`write`](Self::write).
    pub async fn replace(&self, node: &NodeName, old: Mail, new: Mail) -> Result<bool, SbdError> {
        self.on_slot(node, move |storage, header, at| {
            if decode_mail(&storage.read(at, header.sector_size)?)? != old {
                return Ok(false);
            }
            storage.write(at, &header.encode_mail(&new))?;
            Ok(true)
        })
        .await
    }

    /// Runs `job` with the place of a node's mail, after a look that the slot is the node's.
    async fn on_slot<T: Send + 'static>(
        &self,
        node: &NodeName,
        job: impl FnOnce(&mut Storage, &Header, u64) -> Result<T, Wrong> + Send + 'static,
    ) -> Result<T, SbdError> {
        let name = node.clone();
        let done = self.run(1, move |storage| {
            let header = header(storage)?;
            let Some(number) = find(storage, &header, &name)? else { return Ok(None) };
            let at = header.offset(number) + header.sector_size as u64;
            job(storage, &header, at).map(Some)
        });
        done.await?.ok_or_else(|| {
            let (disk, node) = (self.name(), node.clone());
            SbdError::NoSlot { disk, node }
        })
    }

    fn io_error(&self, source: io::Error) -> SbdError {
        SbdError::Io { disk: self.name(), source }
    }

    async fn run<T: Send + 'static>(
        &self,
        times: u32,
        job: impl FnOnce(&mut Storage) -> Result<T, Wrong> + Send + 'static,
    ) -> Result<T, SbdError> {
        let limit = self.io.saturating_mul(times);
        let done = self.thread.run(limit, move |storage| match job(storage) {
            Ok(done) => Ok(Ok(done)),
            Err(Wrong::Layout(why)) => Ok(Err(why)),
            Err(Wrong::Io(error)) => Err(error),
        });
        let disk = self.name();
        match done.await {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(why)) => Err(SbdError::Layout { disk, why }),
            Err(Failure::Io(source)) => Err(SbdError::Io { disk, source }),
            Err(Failure::Late) => Err(SbdError::NoAnswer { disk, limit }),
        }
    }
}

fn is(slot: &Slot, node: &NodeName) -> bool {
    slot.node.eq_ignore_ascii_case(node.as_str())
}

/// The number of a node's slot: where it was before, if it still is there.
fn find(storage: &mut Storage, header: &Header, node: &NodeName) -> Result<Option<u8>, Wrong> {
    if let Some(&number) = storage.hints.get(node) {
        let sector = storage.read(header.offset(number), header.sector_size)?;
        if decode_node(&sector)?.is_some_and(|name| name.eq_ignore_ascii_case(node.as_str())) {
            return Ok(Some(number));
        }
        storage.hints.remove(node);
    }
    let found = slots(storage)?.1.into_iter().find(|slot| is(slot, node)).map(|slot| slot.number);
    if let Some(number) = found {
        storage.hints.insert(node.clone(), number);
    }
    Ok(found)
}

/// Bytes that nobody can guess.
pub(super) fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    io::Read::read_exact(&mut std::fs::File::open("/dev/urandom")?, &mut bytes)?;
    Ok(bytes)
}

fn header(storage: &mut Storage) -> Result<Header, Wrong> {
    let size = storage.sector_size()?;
    Ok(Header::decode(&storage.read(0, size)?)?)
}

fn slots(storage: &mut Storage) -> Result<(Header, Vec<Slot>), Wrong> {
    let header = header(storage)?;
    let start = header.offset(0);
    let length = usize::try_from(header.size() - start).unwrap_or_default();
    let bytes = storage.read(start, length)?;
    let mut slots = Vec::new();
    for (number, pair) in (0..header.slots).zip(bytes.chunks_exact(2 * header.sector_size)) {
        let (name, mail) = pair.split_at(header.sector_size);
        // One slot that is damaged must not hide the others.
        let Ok(Some(node)) = decode_node(name) else { continue };
        match decode_mail(mail) {
            Ok(mail) => slots.push(Slot { number, node, mail }),
            Err(error) => tracing::warn!(node, %error, "a slot that cannot be read"),
        }
    }
    Ok((header, slots))
}

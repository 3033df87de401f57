//! Reads and writes that may hang, in a thread that may hang with them.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use ha_core::driver::pause;
use ha_core::id::NodeName;
use rustix::fs::{OFlags, ioctl_blksszget};
use rustix::io::Errno;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::layout::MAX_SECTOR;

/// A job for the thread, with the right to be at work, which ends with it.
type Job = (Box<dyn FnOnce(&mut Storage) + Send>, OwnedSemaphorePermit);

/// The thread of a disk. A disk that hangs holds this thread and nothing else: it is one, however
/// often one asks. The thread ends when this is dropped and the disk lets go of it.
#[derive(Debug)]
pub(super) struct DiskThread {
    jobs: mpsc::Sender<Job>,
    free: Arc<Semaphore>,
}

/// Why there was no result.
pub(super) enum Failure {
    /// The kernel's words.
    Io(io::Error),
    /// None in time.
    Late,
}

impl DiskThread {
    /// Starts a thread; the disk is opened at its first use, and anew after an error.
    pub(super) fn start(path: PathBuf) -> io::Result<Self> {
        let (jobs, waiting) = mpsc::channel::<Job>();
        let mut storage = Storage { path, open: None, hints: BTreeMap::new() };
        std::thread::Builder::new().name("sbd-disk".to_owned()).spawn(move || {
            for (job, permit) in waiting {
                job(&mut storage);
                drop(permit);
            }
        })?;
        Ok(Self { jobs, free: Arc::new(Semaphore::new(1)) })
    }

    /// Runs `job` on the disk, for at most `limit`, including the wait for the job before.
    ///
    /// Cancel safe; what was begun goes on.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        limit: Duration,
        job: impl FnOnce(&mut Storage) -> io::Result<T> + Send + 'static,
    ) -> Result<T, Failure> {
        let work = async {
            let gone = |_| Failure::Io(io::Error::other("its thread has ended"));
            let permit = Arc::clone(&self.free).acquire_owned().await;
            let permit = permit.map_err(|_| Failure::Late)?;
            let (sender, result) = oneshot::channel();
            let job: Box<dyn FnOnce(&mut Storage) + Send> = Box::new(move |storage| {
                let done = job(storage).inspect_err(|_| storage.open = None);
                // Who asked may have given up.
                drop(sender.send(done));
            });
            self.jobs.send((job, permit)).map_err(|_| Failure::Late)?;
            result.await.map_err(gone)?.map_err(Failure::Io)
        };
        tokio::select! { biased;
            result = work => result,
            late = pause(limit) => Err(late.map_or_else(Failure::Io, |()| Failure::Late)),
        }
    }
}

/// An SBD disk, as the thread has it.
#[derive(Debug)]
pub(super) struct Storage {
    path: PathBuf,
    open: Option<File>,
    /// Where nodes had their slots when that was looked up last.
    pub(super) hints: BTreeMap<NodeName, u8>,
}

impl Storage {
    /// Opens it if it is not open, past the page cache where the file system can do that.
    fn file(&mut self) -> io::Result<&File> {
        if self.open.is_none() {
            self.open = Some(open(&self.path)?);
        }
        self.open.as_ref().ok_or_else(|| io::Error::other("not open"))
    }

    /// The size of the disk's sectors; that of a plain file is 512 bytes.
    pub(super) fn sector_size(&mut self) -> io::Result<usize> {
        let file = self.file()?;
        if !file.metadata()?.file_type().is_block_device() {
            return Ok(512);
        }
        usize::try_from(ioctl_blksszget(file)?).map_err(io::Error::other)
    }

    /// Reads `length` bytes.
    pub(super) fn read(&mut self, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let file = self.file()?;
        let mut buffer = Aligned::new(length);
        file.read_exact_at(buffer.bytes(), offset)?;
        Ok(buffer.bytes().to_vec())
    }

    /// Writes whole sectors, through to the disk.
    pub(super) fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let file = self.file()?;
        let mut buffer = Aligned::new(bytes.len());
        buffer.bytes().copy_from_slice(bytes);
        file.write_all_at(buffer.bytes(), offset)
    }
}

fn open(path: &Path) -> io::Result<File> {
    let with = |flags: OFlags| {
        let flags = i32::try_from(flags.bits()).unwrap_or_default();
        OpenOptions::new().read(true).write(true).custom_flags(flags).open(path)
    };
    match with(OFlags::DIRECT | OFlags::DSYNC) {
        // A file system without direct reads; those of a file shared over a network need them.
        Err(error) if error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => {
            tracing::warn!(path = %path.display(), "no direct reads of this file are possible");
            with(OFlags::DSYNC)
        }
        opened => opened,
    }
}

/// Memory that begins at a multiple of [`MAX_SECTOR`], as direct reads need.
struct Aligned {
    memory: Vec<u8>,
    start: usize,
    length: usize,
}

impl Aligned {
    fn new(length: usize) -> Self {
        let memory = vec![0; length + MAX_SECTOR];
        let start = memory.as_ptr().align_offset(MAX_SECTOR).min(MAX_SECTOR);
        Self { memory, start, length }
    }

    fn bytes(&mut self) -> &mut [u8] {
        self.memory.get_mut(self.start..self.start + self.length).unwrap_or_default()
    }
}

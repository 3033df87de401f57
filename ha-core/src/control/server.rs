//! The side of the program that is controlled.

use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;

use super::line::{Lines, encode};
use super::{
    Answer, ControlError, MAX_ANSWER, MAX_CONNECTIONS, MAX_REQUEST, Misunderstood, Responder,
};
use crate::driver::{Stop, Task, pause};

/// How long to wait after the kernel had no room for another connection.
const BREATH: Duration = Duration::from_millis(100);

/// What has happened on a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Tally {
    /// Connections taken.
    pub accepted: u64,
    /// Connections not taken, as there were too many.
    pub refused: u64,
    /// Connections that the kernel had no room for.
    pub failed: u64,
    /// Lines that made no sense.
    pub malformed: u64,
}

/// A control socket that is listened on; see the [module](super) for the protocol.
///
/// Dropping it stops it, too, but does not wait for the end.
#[derive(Debug)]
pub struct Server {
    socket: PathBuf,
    shared: Arc<Shared>,
    task: Task<()>,
}

#[derive(Debug)]
struct Shared {
    responder: Arc<dyn Responder>,
    accepted: AtomicU64,
    refused: AtomicU64,
    failed: AtomicU64,
    malformed: AtomicU64,
}

impl Server {
    /// Listens on `socket` and has `responder` answer the lines.
    ///
    /// A socket that a process left behind is replaced. Must be called inside a tokio runtime.
    ///
    /// # Errors
    ///
    /// [`ControlError::InUse`], [`ControlError::NotASocket`], [`ControlError::Listen`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: nothing is left behind.
    pub async fn bind(
        socket: impl Into<PathBuf>,
        responder: Arc<dyn Responder>,
    ) -> Result<Self, ControlError> {
        let socket = socket.into();
        make_way(&socket).await?;
        let listener = listen(&socket)
            .map_err(|source| ControlError::Listen { socket: socket.clone(), source })?;
        let (accepted, refused, failed, malformed) = Default::default();
        let shared = Arc::new(Shared { responder, accepted, refused, failed, malformed });
        let (inner, path) = (Arc::clone(&shared), socket.clone());
        let task = Task::spawn(|stop| async move {
            let ours = identity(&path);
            serve(&listener, &inner, stop).await;
            drop(listener);
            // A successor may have put its own there.
            if ours.is_some() && ours == identity(&path) {
                std::fs::remove_file(&path).unwrap_or_default();
            }
        });
        Ok(Self { socket, shared, task })
    }

    /// Where it listens.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// What has happened so far.
    #[must_use]
    pub fn tally(&self) -> Tally {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let Shared { accepted, refused, failed, malformed, .. } = &*self.shared;
        Tally {
            accepted: count(accepted),
            refused: count(refused),
            failed: count(failed),
            malformed: count(malformed),
        }
    }

    /// Ends all connections and removes the socket.
    ///
    /// # Cancel safety
    ///
    /// It has been told to stop from the first poll on.
    pub async fn stop(self) {
        let _it_is_gone_either_way = self.task.stop().await;
    }
}

/// Which file a path names.
fn identity(path: &Path) -> Option<(u64, u64)> {
    std::fs::symlink_metadata(path).ok().map(|file| (file.dev(), file.ino()))
}

/// Makes sure that nobody listens there, and that what is there may be replaced.
async fn make_way(socket: &Path) -> Result<(), ControlError> {
    let Ok(there) = std::fs::symlink_metadata(socket) else {
        // A folder that is missing is told when the socket is made.
        return Ok(());
    };
    if !there.file_type().is_socket() {
        return Err(ControlError::NotASocket { socket: socket.to_owned() });
    }
    match UnixStream::connect(socket).await {
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound
            ) =>
        {
            Ok(())
        }
        Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
            Err(ControlError::Listen { socket: socket.to_owned(), source: error })
        }
        Ok(_) | Err(_) => Err(ControlError::InUse { socket: socket.to_owned() }),
    }
}

/// Makes the socket under another name and moves it there, so that it is never there without its
/// mode, and takes the place of an old one at one moment.
fn listen(socket: &Path) -> io::Result<UnixListener> {
    static SOCKETS: AtomicU64 = AtomicU64::new(0);
    let number = SOCKETS.fetch_add(1, Ordering::Relaxed);
    let made = socket.with_file_name(format!(".{}-{number}", std::process::id()));
    // Of a process of this number that was killed here.
    std::fs::remove_file(&made).unwrap_or_default();
    let listener = UnixListener::bind(&made)?;
    let placed = std::fs::set_permissions(&made, PermissionsExt::from_mode(0o600))
        .and_then(|()| std::fs::rename(&made, socket));
    if let Err(error) = placed {
        std::fs::remove_file(&made).unwrap_or_default();
        return Err(error);
    }
    Ok(listener)
}

/// Takes connections until the end; those that are open then are cut.
async fn serve(listener: &UnixListener, shared: &Arc<Shared>, mut stop: Stop) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! { biased;
            () = stop.wait() => return,
            Some(_ended) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) if connections.len() < MAX_CONNECTIONS => {
                shared.accepted.fetch_add(1, Ordering::Relaxed);
                connections.spawn(converse(Lines::new(stream), Arc::clone(shared)));
            }
            Ok((stream, _)) => {
                shared.refused.fetch_add(1, Ordering::Relaxed);
                turn_away(&stream);
            }
            Err(_) => {
                shared.failed.fetch_add(1, Ordering::Relaxed);
                tokio::select! { biased;
                    () = stop.wait() => return,
                    _timer = pause(BREATH) => {}
                }
            }
        }
    }
}

/// Says why in one line; a new connection has room for it.
fn turn_away(stream: &UnixStream) {
    let error = format!("{MAX_CONNECTIONS} connections are open, and no more are taken; try later");
    let line = encode(&Misunderstood { error }).unwrap_or_default();
    stream.try_write(&line).unwrap_or_default();
}

/// Answers a connection's lines, one after the other.
async fn converse(mut lines: Lines, shared: Arc<Shared>) {
    loop {
        let answer = match lines.read(MAX_REQUEST).await {
            Ok(Some(line)) => shared.answer(&line, &mut lines).await,
            Err(error) if error.kind() == io::ErrorKind::FileTooLarge => {
                let error = format!("cannot read this line: it has more than {MAX_REQUEST} bytes");
                let line = shared.misunderstood(error);
                // Where the next line begins cannot be known.
                return lines.send(&line).await.unwrap_or_default();
            }
            Ok(None) | Err(_) => return,
        };
        let Some(answer) = answer else { return };
        if lines.send(&answer).await.is_err() {
            return;
        }
    }
}

impl Shared {
    /// The answer to a line, as a line; `None` if nobody waits for it any more.
    async fn answer(&self, line: &[u8], from: &mut Lines) -> Option<Vec<u8>> {
        match self.responder.respond(line, from).await {
            Answer::Line(line) if line.len() <= MAX_ANSWER => Some(line),
            Answer::Line(line) => {
                let len = line.len();
                let error =
                    format!("the answer has {len} bytes, more than {MAX_ANSWER}; ask for less");
                Some(encode(&Misunderstood { error }).unwrap_or_default())
            }
            Answer::Misunderstood(error) => Some(self.misunderstood(error)),
            Answer::Nobody => None,
        }
    }

    fn misunderstood(&self, error: String) -> Vec<u8> {
        self.malformed.fetch_add(1, Ordering::Relaxed);
        encode(&Misunderstood { error }).unwrap_or_default()
    }
}

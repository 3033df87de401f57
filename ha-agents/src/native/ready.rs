//! How a program tells that it serves.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use ha_core::driver::pause;
use tokio::net::TcpStream;
use tokio::process::Command;

use super::notify::NotifySocket;

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(1);
/// How much of a log is read at once.
const CHUNK: u64 = 256 * 1024;

pub(super) type ReadyFuture = Pin<Box<dyn Future<Output = bool> + Send>>;

/// What is configured.
#[derive(Clone, Default)]
pub(super) enum Ready {
    Asked(Arc<dyn Fn() -> ReadyFuture + Send + Sync>),
    /// It serves when it has been executed.
    #[default]
    Executed,
    Line {
        log: PathBuf,
        text: String,
    },
    Notified,
    Port(SocketAddr),
}

/// What a start waits for that happens once.
#[derive(Debug)]
pub(super) enum Awaited {
    Line {
        log: File,
        text: Vec<u8>,
        seen: Vec<u8>,
    },
    Notice(NotifySocket),
    /// It has happened, or there is nothing of the kind.
    Nothing,
}

impl Ready {
    /// Prepares for a program that is about to be executed.
    pub(super) fn prepare(&self, command: &mut Command) -> io::Result<Awaited> {
        match self {
            Self::Asked(_) | Self::Executed | Self::Port(_) => Ok(Awaited::Nothing),
            Self::Line { log, text } => {
                // It is there already: the output is appended to it.
                let mut log = File::open(log)?;
                log.seek(SeekFrom::End(0))?;
                let text = text.clone().into_bytes();
                Ok(Awaited::Line { log, text, seen: Vec::new() })
            }
            Self::Notified => {
                let socket = NotifySocket::bind()?;
                command.env("NOTIFY_SOCKET", socket.address());
                Ok(Awaited::Notice(socket))
            }
        }
    }

    /// Whether it serves as far as that can be asked at any time.
    pub(super) async fn ask(&self) -> bool {
        match self {
            Self::Asked(ready) => ready().await,
            Self::Executed | Self::Line { .. } | Self::Notified => true,
            Self::Port(address) => {
                tokio::select! { biased;
                    connected = TcpStream::connect(*address) => connected.is_ok(),
                    _late = pause(CONNECT) => false,
                }
            }
        }
    }
}

impl Awaited {
    /// Whether it has happened by now.
    pub(super) fn has_come(&mut self, leader: i32) -> bool {
        let come = match self {
            Self::Line { log, text, seen } => has_line(log, text, seen),
            Self::Notice(socket) => socket.is_ready(leader),
            Self::Nothing => true,
        };
        if come {
            // Nobody reads the socket any more; a program must not wait for that.
            *self = Self::Nothing;
        }
        come
    }

    /// What the program says that it is at.
    pub(super) fn status(&self) -> &str {
        match self {
            Self::Notice(socket) => &socket.status,
            Self::Line { .. } | Self::Nothing => "",
        }
    }
}

/// Reads on; whether the text has come, also in two pieces.
fn has_line(log: &mut File, text: &[u8], seen: &mut Vec<u8>) -> bool {
    // What cannot be read has not come.
    let _unread = log.by_ref().take(CHUNK).read_to_end(seen);
    if text.is_empty() || seen.windows(text.len()).any(|window| window == text) {
        return true;
    }
    let surplus = seen.len().saturating_sub(text.len().saturating_sub(1));
    seen.drain(..surplus);
    false
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn a_line_is_found_also_in_pieces_and_not_in_what_was_there_before() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let mut log = file.reopen().expect("open");
        log.write_all(b"ready to serve\n").expect("written");
        let ready = Ready::Line { log: file.path().to_owned(), text: "ready to serve".to_owned() };
        let mut awaited = ready.prepare(&mut Command::new("true")).expect("prepared");
        assert!(!awaited.has_come(1));
        log.write_all(b"not yet, read").expect("written");
        assert!(!awaited.has_come(1));
        log.write_all(b"y to \xff").expect("written");
        assert!(!awaited.has_come(1));
        log.write_all(b"ready to").expect("written");
        assert!(!awaited.has_come(1));
        log.write_all(b" serve").expect("written");
        assert!(awaited.has_come(1));
    }
}

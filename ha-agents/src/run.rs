//! One run of a program to its end: output kept, time limited, nothing left behind.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ha_core::driver::pause;
use ha_core::time::{BootClock, Clock};
use rustix::process::Signal;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;

use crate::agent::RunDetails;
use crate::diagnose::{Diagnosis, last_lines};
use crate::family::Family;
use crate::group::Group;

/// How much of an output's beginning is kept, and as much of its end.
const KEPT: usize = 32 * 1024;
/// How long the output of a program that has ended may stay open, by a daemon that it left.
const LAST_WORDS: Duration = Duration::from_millis(100);
/// How often those are looked for that have left a killed group.
const LAST_LOOKS: u32 = 20;
/// The time between two of these looks.
const LAST_LOOK: Duration = Duration::from_millis(10);
/// The variable by which the processes of a run are known.
const MARK: &str = "HA_OPERATION";

static RUNS: AtomicU64 = AtomicU64::new(0);

/// Who ends a run when this process is killed by `SIGKILL`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Guard {
    /// Nobody: the run changes nothing, and is not worth another process.
    Nobody,
    /// A warden: a start that goes on would be a surprise to whoever takes over.
    Warden,
}

/// How a run ended.
#[derive(Debug)]
pub(crate) enum Ended {
    /// By itself.
    Exited(ExitStatus, RunDetails),
    /// Its time was up: it was told to end, then killed.
    TimedOut(Diagnosis),
}

/// Runs `command` without input, for at most `limit`; then it has `grace` to end by itself.
///
/// # Errors
///
/// The kernel's, above all that the program cannot be executed.
///
/// # Cancel safety
///
/// A drop kills the process group.
pub(crate) async fn run(
    mut command: Command,
    limit: Duration,
    grace: Duration,
    guard: Guard,
) -> io::Result<Ended> {
    let number = RUNS.fetch_add(1, Ordering::Relaxed);
    let mark = format!("{}-{number}", std::process::id());
    command.env(MARK, &mark).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let began = BootClock::new().now();
    let mut group = match guard {
        Guard::Nobody => Group::spawn(&mut command)?,
        Guard::Warden => Group::spawn_guarded(&mut command)?,
    };
    let family = Family {
        leader: group.leader().as_raw_nonzero().get(),
        mark: format!("{MARK}={mark}"),
        all_sessions: guard == Guard::Nobody,
    };
    let (mut output, mut errors) = (Kept::default(), Kept::default());
    let (stdout, stderr) = (group.child.stdout.take(), group.child.stderr.take());
    let in_time = {
        let read = async { tokio::join!(output.drain(stdout), errors.drain(stderr)) };
        tokio::pin!(read);
        let exited = async {
            tokio::select! { biased;
                _ = &mut read => group.exited().await,
                ended = group.exited() => {
                    tokio::select! { biased;
                        _ = &mut read => {}
                        _late = pause(LAST_WORDS) => {}
                    }
                    ended
                }
            }
        };
        tokio::select! { biased;
            ended = exited => { ended?; true }
            late = pause(limit) => { late?; false }
        }
    };
    if !in_time {
        let mut diagnosis = end(&mut group, &family, grace).await?;
        diagnosis.output = last_lines(&output.text());
        diagnosis.errors = last_lines(&errors.text());
        return Ok(Ended::TimedOut(diagnosis));
    }
    let status = group.release().await?;
    let details = RunDetails {
        output: output.text(),
        errors: errors.text(),
        signal: status.signal(),
        duration: BootClock::new().now().since(began),
    };
    Ok(Ended::Exited(status, details))
}

/// The ladder: look, ask to end, wait, kill, reap; also those who left the group.
async fn end(group: &mut Group, family: &Family, grace: Duration) -> io::Result<Diagnosis> {
    let diagnosis = family.diagnose().await;
    family.signal_strays(Signal::TERM).await;
    group.signal(Signal::TERM);
    tokio::select! { biased;
        ended = group.all_ended() => ended?,
        late = pause(grace) => late?,
    }
    family.signal_strays(Signal::KILL).await;
    match group.reap().await {
        // What is still alive is in the diagnosis, and the effect of the run is unknown anyway.
        Err(error) if error.kind() == io::ErrorKind::TimedOut => {
            tracing::warn!(%error, "a run whose time was up is still alive");
        }
        ended => drop(ended?),
    }
    // Some may have left the group just before it was killed.
    for _ in 0..LAST_LOOKS {
        if family.signal_strays(Signal::KILL).await.is_none_or(|strays| strays == 0) {
            break;
        }
        pause(LAST_LOOK).await?;
    }
    Ok(diagnosis)
}

/// The beginning and the end of an output.
#[derive(Debug, Default)]
struct Kept {
    head: Vec<u8>,
    tail: Vec<u8>,
    lost: u64,
}

impl Kept {
    async fn drain(&mut self, source: Option<impl AsyncRead + Unpin>) {
        let mut buffer = [0; 4096];
        let Some(mut source) = source else { return };
        while let Ok(read @ 1..) = source.read(&mut buffer).await {
            self.take(buffer.get(..read).unwrap_or_default());
        }
    }

    fn take(&mut self, bytes: &[u8]) {
        let room = KEPT.saturating_sub(self.head.len()).min(bytes.len());
        let (head, tail) = bytes.split_at(room);
        self.head.extend_from_slice(head);
        self.tail.extend_from_slice(tail);
        // Cut seldom, so that a talkative program costs little.
        if self.tail.len() > 4 * KEPT {
            self.cut();
        }
    }

    fn cut(&mut self) {
        let surplus = self.tail.len().saturating_sub(KEPT);
        self.tail.drain(..surplus);
        self.lost = self.lost.saturating_add(surplus as u64);
    }

    fn text(mut self) -> String {
        self.cut();
        let (head, tail) =
            (String::from_utf8_lossy(&self.head), String::from_utf8_lossy(&self.tail));
        match self.lost {
            0 => format!("{head}{tail}"),
            lost => format!("{head}\n… {lost} bytes left out …\n{tail}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_output_keeps_its_beginning_and_its_end(pieces in prop::collection::vec(0..9000usize, 0..60)) {
            let mut kept = Kept::default();
            let mut all = String::new();
            for (index, length) in pieces.into_iter().enumerate() {
                let letter = char::from(b'a' + u8::try_from(index % 26).unwrap());
                let piece = String::from(letter).repeat(length);
                kept.take(piece.as_bytes());
                all.push_str(&piece);
            }
            let text = kept.text();
            if all.len() <= 2 * KEPT {
                prop_assert_eq!(text, all);
            } else {
                prop_assert!(text.len() < 2 * KEPT + 100);
                prop_assert!(text.starts_with(&all[..KEPT]) && text.ends_with(&all[all.len() - KEPT..]));
            }
        }
    }
}

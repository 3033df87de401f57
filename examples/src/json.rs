//! One JSON object a line on stdout, flushed; never in the way of the program's work.

use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use ha_core::event::{Event, Observer};
use ha_core::time::{BootClock, Clock};
use serde::Serialize;

/// Lines that wait for a reader; more are dropped and counted.
const WAITING: usize = 4096;

/// Writes JSON lines from a thread of its own, so that a reader that stalls stalls nobody else.
///
/// Each line begins with `"t"`, the seconds since 1970.
#[derive(Debug)]
pub struct JsonLines {
    lines: SyncSender<String>,
    done: std::sync::Mutex<Receiver<()>>,
    dropped: AtomicU64,
}

impl JsonLines {
    /// Lines on stdout.
    #[must_use]
    pub fn stdout() -> Self {
        let (lines, waiting) = sync_channel::<String>(WAITING);
        let (finished, done) = sync_channel(1);
        std::thread::spawn(move || {
            let mut stdout = std::io::stdout();
            for line in waiting {
                // Nobody reads any more: there is no one to tell.
                if line.is_empty() || writeln!(stdout, "{line}").and(stdout.flush()).is_err() {
                    break;
                }
            }
            finished.send(()).unwrap_or_default();
        });
        Self { lines, done: std::sync::Mutex::new(done), dropped: AtomicU64::new(0) }
    }

    /// Writes a line: the time, then the fields of `record`, which must be a struct or an enum
    /// with named fields.
    pub fn write(&self, record: &impl Serialize) {
        let t = BootClock::new().wall().as_secs_f64();
        let record = serde_json::to_string(record).unwrap_or_default();
        let line = match record.strip_prefix('{') {
            Some("}") | None => format!("{{\"t\":{t:.6}}}"),
            Some(fields) => format!("{{\"t\":{t:.6},{fields}"),
        };
        if self.lines.try_send(line).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits until everything is written, at most a second.
    pub fn finish(&self) {
        self.lines.try_send(String::new()).unwrap_or_default();
        if let Ok(done) = self.done.lock() {
            done.recv_timeout(Duration::from_secs(1)).unwrap_or_default();
        }
    }

    /// How many lines were dropped because nobody read.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

/// Writes each event as a line: its kind, subject and reason.
impl Observer for JsonLines {
    fn observe(&self, event: &Event) {
        // `at` counts from the kernel's boot; with it lines of several programs can be compared
        // even while the calendar jumps.
        self.write(event);
    }
}

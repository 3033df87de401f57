//! The service: writes to the shared disk all the time, and tells clients who it is.

use std::error::Error;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use ha_core::driver::Alarm;
use ha_core::time::{BootClock, Clock};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use crate::witness::{Witness, Writer};

/// The time between two lines of the witness.
const PACE: Duration = Duration::from_millis(3);

#[derive(Debug, Args)]
pub(crate) struct Service {
    /// The file of the witness, on the shared disk
    #[arg(long)]
    file: PathBuf,
    /// Where overlaps are told, not on the shared disk
    #[arg(long)]
    overlaps: PathBuf,
    #[arg(long)]
    listen: SocketAddr,
}

/// Serves until it is killed. The name of its node is that of its folder.
pub(crate) async fn run(service: &Service) -> Result<(), Box<dyn Error>> {
    let folder = std::env::current_dir()?;
    let node = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let token = std::env::var("HA_FENCING_TOKEN")
        .map_err(|_| "cannot serve: the cluster gave no fencing token; start it as a resource")?;
    let writer = Writer { token: token.parse()?, node };
    let answer = format!("{} {token}\n", writer.node);
    let listener = TcpListener::bind(service.listen).await?;
    let (mut witness, newer) = Witness::open(&service.file, writer)?;
    if let Some(line) = newer {
        tell(&service.overlaps, &answer, &line)?;
    }
    let (clock, alarm) = (BootClock::new(), Alarm::new()?);
    let mut next = clock.now();
    loop {
        tokio::select! { biased;
            due = alarm.until(Some(next)) => {
                due?;
                if let Some(line) = witness.write()? {
                    tell(&service.overlaps, &answer, &line)?;
                }
                next = clock.now() + PACE;
            }
            client = listener.accept() => {
                // A client that has gone needs no answer.
                if let Ok((mut client, _)) = client {
                    drop(client.write_all(answer.as_bytes()).await);
                }
            }
        }
    }
}

/// Tells of two that run at the same time: what nobody may ever read.
fn tell(overlaps: &Path, me: &str, line: &str) -> std::io::Result<()> {
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(overlaps)?;
    writeln!(file, "{} saw {line}", me.trim())
}

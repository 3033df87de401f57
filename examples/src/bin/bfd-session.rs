//! One session of Bidirectional Forwarding Detection: whether a neighbour is there, within
//! milliseconds.
//!
//! ```text
//! bfd-session --local 192.0.2.1 --peer 192.0.2.2 --min-tx-ms 3.3 --min-rx-ms 3.3 --multiplier 3
//! ```
//!
//! Stays in the foreground and writes each change as a JSON line on stdout. SIGTERM and SIGINT
//! end it: the neighbour is told that the session was taken down. Needs no privilege.

use std::error::Error;
use std::net::IpAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use ha_examples::cli::{self, FAILURE, USAGE};
use ha_examples::json::JsonLines;
use ha_vip::bfd::auth::{Auth, Key, Method};
use ha_vip::bfd::{Endpoints, Role, Service, SessionConfig};
use serde::Serialize;

/// Watches a neighbour with BFD (RFC 5880, 5881).
#[derive(Debug, Parser)]
#[command(version)]
struct Flags {
    /// Network interface to speak on; needed for link-local addresses
    #[arg(long, value_name = "IF")]
    iface: Option<String>,
    /// Address of this host
    #[arg(long, value_name = "IP")]
    local: IpAddr,
    /// Address of the neighbour
    #[arg(long, value_name = "IP")]
    peer: IpAddr,
    /// How often to send at most, in ms: 1 to 1000000, in steps of 0.001
    #[arg(long, value_name = "MS", default_value = "10", value_parser = millis)]
    min_tx_ms: Duration,
    /// How often packets are taken at most, in ms: 1 to 1000000, in steps of 0.001
    #[arg(long, value_name = "MS", default_value = "10", value_parser = millis)]
    min_rx_ms: Duration,
    /// How often to send while the session is not up, in ms: 1000 to 1000000
    #[arg(long, value_name = "MS", default_value = "1000", value_parser = millis)]
    idle_tx_ms: Duration,
    /// After how many missing packets the neighbour takes the session down: 1 to 255
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u8).range(1..))]
    multiplier: u8,
    /// Wait for the neighbour to speak first
    #[arg(long)]
    passive: bool,
    /// Authentication: simple, keyed-md5, meticulous-keyed-md5, keyed-sha1 or
    /// meticulous-keyed-sha1
    #[arg(long, value_name = "METHOD", requires = "key")]
    auth: Option<Method>,
    /// A key, such as 1:secret; the first one signs, all are accepted
    #[arg(long, value_name = "ID:SECRET", requires = "auth", value_parser = key)]
    key: Vec<Key>,
    /// Scheduling priority, -20 to 19: how much the kernel prefers this program on a busy host;
    /// 0 leaves it as it is, and not being allowed to is no error
    #[arg(long, value_name = "N", default_value_t = -10, allow_negative_numbers = true,
          value_parser = clap::value_parser!(i32).range(-20..=19))]
    nice: i32,
}

/// Milliseconds with at most three digits after the point.
fn millis(text: &str) -> Result<Duration, String> {
    let allowed = || "a number of milliseconds, such as 3.3".to_owned();
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || fraction.len() > 3 {
        return Err(allowed());
    }
    let whole: u32 = whole.parse().map_err(|_| allowed())?;
    let micros: u32 = format!("{fraction:0<3}").parse().map_err(|_| allowed())?;
    Ok(Duration::from_millis(whole.into()) + Duration::from_micros(micros.into()))
}

fn key(text: &str) -> Result<Key, String> {
    let allowed = "ID:SECRET, with an ID of 0 to 255";
    let (id, secret) = text.split_once(':').ok_or(allowed)?;
    Ok(Key::new(id.parse().map_err(|_| allowed)?, secret))
}

#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
enum Line<'a> {
    Ready { peer: &'a str, discriminator: u32 },
    Stopping { signal: &'a str },
    Stopped { sent: u64, received: u64, rejected: u64, came_up: u64 },
}

fn config(flags: &Flags) -> Result<SessionConfig, ha_core::config::ConfigError> {
    let mut builder = SessionConfig::builder()
        .min_tx(flags.min_tx_ms)
        .min_rx(flags.min_rx_ms)
        .idle_tx(flags.idle_tx_ms)
        .multiplier(flags.multiplier)
        .role(if flags.passive { Role::Passive } else { Role::Active });
    if let (Some(method), [first, more @ ..]) = (flags.auth, flags.key.as_slice()) {
        let auth = Auth::new(method, first.clone());
        builder = builder.auth(more.iter().cloned().fold(auth, Auth::also_accept));
    }
    builder.build()
}

fn main() -> ExitCode {
    let flags: Flags = match cli::parse() {
        Ok(flags) => flags,
        Err(status) => return status,
    };
    cli::log("warn");
    cli::prefer(flags.nice);
    let config = match config(&flags) {
        Ok(config) => config,
        Err(error) => return cli::fail(USAGE, &error.to_string()),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let watched = match runtime {
        Ok(runtime) => runtime.block_on(watch(flags, config)),
        Err(error) => return cli::fail(FAILURE, &error.to_string()),
    };
    match watched {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => cli::fail(FAILURE, &cli::chain(&*error)),
    }
}

async fn watch(flags: Flags, config: SessionConfig) -> Result<(), Box<dyn Error>> {
    let lines = Arc::new(JsonLines::stdout());
    let endpoints = Endpoints::new(flags.local, flags.peer);
    let endpoints = flags.iface.into_iter().fold(endpoints, Endpoints::on);
    let observer: Arc<JsonLines> = Arc::clone(&lines);
    let mut service = Service::new()?.observed(observer);
    let session = service.add(endpoints, config)?;
    let peer = session.endpoints().to_string();
    lines.write(&Line::Ready { peer: &peer, discriminator: session.discriminator().get() });
    let stop = async {
        match cli::asked_to_stop().await {
            Ok(signal) => lines.write(&Line::Stopping { signal }),
            // Without signals the program can still be killed; its silence tells the neighbour.
            Err(_) => std::future::pending().await,
        }
    };
    let stats = service.run(stop).await?.sessions;
    let rejected = stats.rejected.iter().sum();
    let (sent, received, came_up) = (stats.sent, stats.received, stats.came_up);
    lines.write(&Line::Stopped { sent, received, rejected, came_up });
    lines.finish();
    Ok(())
}

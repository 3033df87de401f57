//! A virtual router of VRRPv3 for one interface: the job of keepalived with one instance.
//!
//! ```text
//! vrrp-router --iface eth0 --vrid 51 --vip 192.0.2.10/24 --priority 150 --advert-ms 100
//! ```
//!
//! Stays in the foreground and writes each change as a JSON line on stdout. SIGTERM and SIGINT
//! end it: it says goodbye (priority 0), serves until a successor is heard, and removes the
//! address. Needs `CAP_NET_RAW` and `CAP_NET_ADMIN`.

use std::error::Error;
use std::net::IpAddr;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use ha_examples::cli::{self, FAILURE, USAGE};
use ha_examples::json::JsonLines;
use ha_examples::operate::Operate;
use ha_vip::VirtualAddress;
use ha_vip::bfd::{self, Endpoints, SessionConfig};
use ha_vip::vrrp::control::Control;
use ha_vip::vrrp::{HostConfig, Instance, RouterConfig, Service};
use serde::Serialize;

/// Serves floating addresses with VRRPv3 (RFC 9568).
#[derive(Debug, Parser)]
#[command(version)]
struct Flags {
    /// Network interface to speak on and to put the addresses on
    #[arg(long, value_name = "IF")]
    iface: String,
    /// Number of the virtual router, the same on all its routers: 1 to 255
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..))]
    vrid: u8,
    /// Who serves first: 1 to 254, or 255 for the owner of the addresses
    #[arg(long, value_name = "P", default_value_t = 100, value_parser = clap::value_parser!(u8).range(1..))]
    priority: u8,
    /// Address to serve; repeat it for several of one family
    #[arg(long, value_name = "A/LEN", required = true)]
    vip: Vec<VirtualAddress>,
    /// Time between adverts in ms: 10 to 40950, in steps of 10
    #[arg(long, value_name = "MS", default_value_t = 1000, value_parser = advert_ms)]
    advert_ms: u64,
    /// Take the addresses back from a router of lower priority
    #[arg(long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set)]
    preempt: bool,
    /// Another router of this program: it is named the heir on a goodbye; repeat it
    #[arg(long, value_name = "IP")]
    kin: Vec<IpAddr>,
    /// Time between beats to kin in ms, 1 to 1000: a crash is then seen after some four of them
    #[arg(long, value_name = "MS", requires = "kin", value_parser = clap::value_parser!(u64).range(1..=1000))]
    beat_ms: Option<u64>,
    /// Watch a neighbour with BFD and take over at once when it is lost; repeat it
    #[arg(long, value_name = "LOCAL,PEER", value_parser = endpoints)]
    bfd: Vec<Endpoints>,
    /// Time between BFD packets in ms, 1 to 1000; three missing ones are a loss
    #[arg(long, value_name = "MS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=1000))]
    bfd_ms: u64,
    /// Let the kernel remove the addresses so many seconds after this program was killed or has
    /// hung, 1 to 3600
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u64).range(1..=3600))]
    lease_s: Option<u64>,
    /// Run a second process that says goodbye and removes the addresses when this one is killed
    #[arg(long)]
    guardian: bool,
    /// Scheduling priority, -20 to 19: how much the kernel prefers this program on a busy host;
    /// 0 leaves it as it is, and not being allowed to is no error
    #[arg(long, value_name = "N", default_value_t = -10, allow_negative_numbers = true,
          value_parser = clap::value_parser!(i32).range(-20..=19))]
    nice: i32,
    #[command(flatten)]
    operate: Operate,
}

fn advert_ms(text: &str) -> Result<u64, String> {
    let allowed = "10 to 40950 in steps of 10";
    let ms: u64 = text.parse().map_err(|_| allowed.to_owned())?;
    if (10..=40_950).contains(&ms) && ms.is_multiple_of(10) { Ok(ms) } else { Err(allowed.into()) }
}

fn endpoints(text: &str) -> Result<Endpoints, String> {
    let (local, peer) = text.split_once(',').ok_or("LOCAL,PEER: two addresses")?;
    let ip = |text: &str| text.parse::<IpAddr>().map_err(|error| format!("{text}: {error}"));
    Ok(Endpoints::new(ip(local)?, ip(peer)?))
}

#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
enum Line<'a> {
    Ready { iface: &'a str, vrid: u8 },
    Stopping { signal: &'a str },
    Stopped { sent: u64, received: u64, became_active: u64 },
}

/// The flag of the guardian, which is this program, too.
const WATCH: &str = "--watch-over-parent";

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some(WATCH) {
        return match ha_vip::guardian::watch() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => cli::fail(FAILURE, &error.to_string()),
        };
    }
    let flags: Flags = match cli::parse() {
        Ok(flags) => flags,
        Err(status) => return status,
    };
    cli::log("warn");
    cli::prefer(flags.nice);
    let builder = RouterConfig::builder(flags.vrid)
        .priority(flags.priority)
        .advert_interval(Duration::from_millis(flags.advert_ms))
        .preempt(flags.preempt);
    let builder = flags.kin.iter().fold(builder, |builder, kin| builder.kin(*kin));
    let builder = match flags.beat_ms {
        Some(ms) => builder.beat_interval(Duration::from_millis(ms)),
        None => builder,
    };
    let config = flags.vip.iter().fold(builder, |builder, vip| builder.address(*vip)).build();
    let config = match config {
        Ok(config) => config,
        Err(error) => return cli::fail(USAGE, &error.to_string()),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let served = match runtime {
        Ok(runtime) => runtime.block_on(serve(&flags, config)),
        Err(error) => return cli::fail(FAILURE, &error.to_string()),
    };
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => cli::fail(FAILURE, &cli::chain(&*error)),
    }
}

async fn serve(flags: &Flags, config: RouterConfig) -> Result<(), Box<dyn Error>> {
    let lines = Arc::new(JsonLines::stdout());
    let instance = Instance::new(&flags.iface, &flags.iface, config);
    let host = HostConfig::builder().instance(instance).build()?;
    let observer: Arc<JsonLines> = Arc::clone(&lines);
    let mut builder = Service::builder(host).observed(format!("vrid {}", flags.vrid), observer);
    let watched: Arc<JsonLines> = Arc::clone(&lines);
    let mut neighbours = bfd::Service::new()?.observed(watched);
    let every = Duration::from_millis(flags.bfd_ms);
    for endpoints in &flags.bfd {
        let session = SessionConfig::builder().min_tx(every).min_rx(every).multiplier(3);
        builder = builder.detector(neighbours.add(endpoints.clone(), session.build()?)?);
    }
    if let Some(seconds) = flags.lease_s {
        builder = builder.lease(Duration::from_secs(seconds));
    }
    if flags.guardian {
        builder = builder.guardian(|| {
            let mut itself = Command::new("/proc/self/exe");
            itself.arg(WATCH);
            itself
        });
    }
    let service = builder.open().await?;
    let handle = service.handles();
    let operated = flags.operate.start(&handle, Control::new(handle.clone())).await?;
    let neighbours = neighbours.spawn();
    lines.write(&Line::Ready { iface: &flags.iface, vrid: flags.vrid });
    let stop = async {
        match cli::asked_to_stop().await {
            Ok(signal) => lines.write(&Line::Stopping { signal }),
            // Without signals the program can still be killed; the addresses are cleared then by
            // its next life.
            Err(_) => std::future::pending().await,
        }
    };
    let stats = service.run(stop).await?;
    operated.stop().await;
    neighbours.stop().await??;
    let (sent, received, became_active) = (stats.sent, stats.received, stats.became_active);
    lines.write(&Line::Stopped { sent, received, became_active });
    lines.finish();
    Ok(())
}

//! A virtual router whose address a cloud moves: VRRP between the servers decides who serves, and
//! the cloud's API is told.
//!
//! ```text
//! HCLOUD_TOKEN=… cloud-router --iface eth0 --vrid 51 --vip 203.0.113.7/32 --peer 10.0.0.3 \
//!     --floating-ip 4711 --server 42
//! ```
//!
//! Clouds carry no multicast: the peers are named. The address stands on every server's interface
//! for good. Writes each change as a JSON line on stdout. Needs `CAP_NET_RAW`.

use std::error::Error;
use std::net::IpAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use ha_examples::cli::{self, USAGE};
use ha_examples::cloud::FloatingIp;
use ha_examples::json::JsonLines;
use ha_examples::operate::Operate;
use ha_vip::VirtualAddress;
use ha_vip::vrrp::control::Control;
use ha_vip::vrrp::{HostConfig, Instance, RouterConfig, Service};

/// Serves a cloud's floating IP with VRRPv3 between the servers.
#[derive(Debug, Parser)]
#[command(version)]
struct Flags {
    /// Network interface to speak on
    #[arg(long, value_name = "IF")]
    iface: String,
    /// Number of the virtual router, the same on all its servers: 1 to 255
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..))]
    vrid: u8,
    /// Who serves first: 1 to 254
    #[arg(long, value_name = "P", default_value_t = 100, value_parser = clap::value_parser!(u8).range(1..=254))]
    priority: u8,
    /// The floating IP's address
    #[arg(long, value_name = "A/LEN")]
    vip: VirtualAddress,
    /// Another server of it; repeat it
    #[arg(long, value_name = "IP", required = true)]
    peer: Vec<IpAddr>,
    /// Time between adverts in ms: 10 to 40950, in steps of 10
    #[arg(long, value_name = "MS", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(10..=40_950))]
    advert_ms: u64,
    /// Number of the floating IP in the API
    #[arg(long, value_name = "ID")]
    floating_ip: u64,
    /// Number of this server in the API
    #[arg(long, value_name = "ID")]
    server: u64,
    /// Where the API is
    #[arg(long, value_name = "URL", default_value = "https://api.hetzner.cloud/v1")]
    api: String,
    #[command(flatten)]
    operate: Operate,
}

fn main() -> ExitCode {
    let flags: Flags = match cli::parse() {
        Ok(flags) => flags,
        Err(status) => return status,
    };
    let Ok(token) = std::env::var("HCLOUD_TOKEN") else {
        return cli::fail(USAGE, "HCLOUD_TOKEN is not in the environment: the API's token");
    };
    cli::log("warn");
    let builder = RouterConfig::builder(flags.vrid)
        .priority(flags.priority)
        .advert_interval(Duration::from_millis(flags.advert_ms))
        .address(flags.vip);
    let builder = flags.peer.iter().fold(builder, |builder, peer| builder.unicast_peer(*peer));
    match builder.build() {
        Ok(config) => cli::run(serve(flags, config, token)),
        Err(error) => cli::fail(USAGE, &error.to_string()),
    }
}

async fn serve(flags: Flags, config: RouterConfig, token: String) -> Result<(), Box<dyn Error>> {
    let backend = FloatingIp::new(&flags.api, token, flags.floating_ip, flags.server, flags.vip)?;
    let lines = Arc::new(JsonLines::stdout());
    let observer: Arc<JsonLines> = Arc::clone(&lines);
    let instance = Instance::new("floating-ip", &flags.iface, config);
    let host = HostConfig::builder().instance(instance).build()?;
    let service = Service::builder(host)
        .backend("floating-ip", Arc::new(backend))
        // The address stands on every server: that is no conflict.
        .conflicts(None)
        .observed(format!("vrid {}", flags.vrid), observer)
        .open()
        .await?;
    let handle = service.handles();
    let operated = flags.operate.start(&handle, Control::new(handle.clone())).await?;
    let stop = async {
        if cli::asked_to_stop().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    service.run(stop).await?;
    operated.stop().await;
    lines.finish();
    Ok(())
}

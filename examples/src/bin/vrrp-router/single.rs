//! One virtual router, by flags.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use ha_core::config::ConfigError;
use ha_examples::cli;
use ha_examples::json::JsonLines;
use ha_vip::bfd::{self, SessionConfig};
use ha_vip::vrrp::control::Control;
use ha_vip::vrrp::{HostConfig, Instance, RouterConfig, Service};
use serde::Serialize;

use crate::flags::Flags;

#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
enum Line<'a> {
    Ready { iface: &'a str, vrid: u8 },
    Stopping { signal: &'a str },
    Stopped { sent: u64, received: u64, became_active: u64 },
}

/// What the flags say of the router.
pub(crate) fn config(flags: &Flags) -> Result<RouterConfig, ConfigError> {
    let builder = RouterConfig::builder(flags.vrid.unwrap_or_default())
        .priority(flags.priority)
        .advert_interval(Duration::from_millis(flags.advert_ms))
        .preempt(flags.preempt);
    let builder = flags.kin.iter().fold(builder, |builder, kin| builder.kin(*kin));
    let builder = flags.peer.iter().fold(builder, |builder, peer| builder.unicast_peer(*peer));
    let builder = match flags.beat_ms {
        Some(ms) => builder.beat_interval(Duration::from_millis(ms)),
        None => builder,
    };
    flags.vip.iter().fold(builder, |builder, vip| builder.address(*vip)).build()
}

/// Serves until a signal ends it.
pub(crate) async fn serve(flags: &Flags, config: RouterConfig) -> Result<(), Box<dyn Error>> {
    let lines = Arc::new(JsonLines::stdout());
    let (iface, vrid) = (flags.iface.as_deref().unwrap_or_default(), config.vrid().get());
    let instance = Instance::new(iface, iface, config);
    let instance = instance.virtual_mac(flags.virtual_mac).accept(!flags.no_accept);
    let instance = flags.second_iface.iter().fold(instance, Instance::second_interface);
    let host = HostConfig::builder().instance(instance).build()?;
    let observer: Arc<JsonLines> = Arc::clone(&lines);
    let mut builder = Service::builder(host).observed(format!("vrid {vrid}"), observer);
    let watched: Arc<JsonLines> = Arc::clone(&lines);
    let mut neighbours = bfd::Service::new()?.observed(watched);
    let every = Duration::from_millis(flags.bfd_ms);
    for endpoints in &flags.bfd {
        let session = SessionConfig::builder().min_tx(every).min_rx(every).multiplier(3);
        builder = builder.detector(neighbours.add(endpoints.clone(), session.build()?)?);
    }
    let service = crate::guarded(builder, flags).open().await?;
    let handle = service.handles();
    let operated = flags.operate.start(&handle, Control::new(handle.clone())).await?;
    let neighbours = neighbours.spawn();
    lines.write(&Line::Ready { iface, vrid });
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

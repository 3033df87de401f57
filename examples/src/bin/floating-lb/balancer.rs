//! One balancer: a virtual router and an HTTP proxy in one process, as an application would
//! compose them.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use ha_core::driver::pause;
use ha_core::event::Observer;
use ha_examples::cli;
use ha_examples::json::JsonLines;
use ha_lb::algorithm::Algorithm;
use ha_lb::endpoint::parse_list;
use ha_lb::health::http::HttpCheck;
use ha_lb::health::monitor::Monitor;
use ha_lb::health::schedule::Pace;
use ha_lb::l7::{self, Proxy};
use ha_lb::pool::Pool;
use ha_lb::proxy;
use ha_vip::vrrp::{RouterConfig, RouterHandle, Service, StateName};
use ha_vip::{VipManager, VirtualAddress};
use tokio::signal::unix::{SignalKind, signal};

/// How long clients are asked not to keep connections before a switchover.
const LAME_DUCK: Duration = Duration::from_millis(100);
/// How long requests under way may take during a switchover.
const DRAIN: Duration = Duration::from_secs(1);

#[derive(Debug, Args)]
pub(crate) struct Balancer {
    #[arg(long)]
    pub(crate) name: String,
    #[arg(long)]
    pub(crate) priority: u8,
    #[arg(long)]
    pub(crate) vip: VirtualAddress,
    #[arg(long)]
    pub(crate) advert_ms: u64,
    #[arg(long, action = clap::ArgAction::Set)]
    pub(crate) preempt: bool,
    #[arg(long)]
    pub(crate) listen: SocketAddr,
    #[arg(long)]
    pub(crate) backends: String,
}

/// Balances until SIGTERM; SIGUSR1 hands the address over to the other balancer.
pub(crate) async fn run(balancer: &Balancer) -> Result<(), Box<dyn Error>> {
    cli::prefer(-10);
    let lines = Arc::new(JsonLines::stdout());
    let observer: Arc<dyn Observer> = lines.clone();
    let mut switchover = signal(SignalKind::user_defined1())?;

    let pool = Pool::new(&Algorithm::RoundRobin, parse_list(&balancer.backends)?)?;
    let pace = Pace::builder()
        .interval(Duration::from_millis(100))
        .fast_interval(Duration::from_millis(50))
        .rise(2)
        .fall(2)
        .build()?;
    let check = Arc::new(HttpCheck::new("/health")?);
    let monitor = Monitor::new(pool.clone(), check, pace).with_observer(observer.clone()).spawn();

    let config = RouterConfig::builder(51)
        .address(balancer.vip)
        .priority(balancer.priority)
        .preempt(balancer.preempt)
        .advert_interval(Duration::from_millis(balancer.advert_ms))
        .build()?;
    let service = Service::open(config, "eth0").await?.observed(&balancer.name, observer);
    let router = service.handle();
    let mut proxy = bind(balancer, &pool)?;
    // Whoever cannot serve yet does not ask for the address.
    until_a_backend_is_healthy(&pool).await;
    let routing = service.spawn();

    let mut stop = std::pin::pin!(cli::asked_to_stop());
    loop {
        let handle = proxy.handle();
        let serving = proxy.spawn();
        tokio::select! {
            _ = &mut stop => {
                let stats = routing.stop().await?;
                cut(serving.stop().await?);
                monitor.stop().await??;
                lines.finish();
                stats?;
                return Ok(());
            }
            _ = switchover.recv() => {}
        }
        // Clients let go of their connections, requests under way are finished, new ones wait
        // in the clients' kernels: then the address moves, and nothing is lost with it.
        handle.lame_duck();
        pause(LAME_DUCK).await?;
        handle.hold_off()?;
        drop(tokio::time::timeout(DRAIN, handle.drained()).await);
        hand_over(&router).await?;
        cut(serving.stop().await?);
        proxy = bind(balancer, &pool)?;
    }
}

/// Waits for the first good check, but not for ever: at least one balancer must have the address.
async fn until_a_backend_is_healthy(pool: &Pool) {
    let mut changes = pool.changes();
    let healthy =
        |pool: &Pool| pool.snapshot().iter().any(|(_, state)| state.health().is_healthy());
    let checked = changes.wait_for(|_| healthy(pool));
    drop(tokio::time::timeout(Duration::from_secs(2), checked).await);
}

/// Notes how many connections did not end within the grace time.
fn cut(ended: proxy::Ended) {
    tracing::info!(connections = ended.cut, "proxy ended");
}

async fn hand_over(router: &RouterHandle) -> Result<(), Box<dyn Error>> {
    if router.state() != StateName::Active {
        return Ok(());
    }
    router.hand_over().await?;
    router.until(|state| state != StateName::Active).await?;
    router.until(|state| state != StateName::Leaving).await?;
    Ok(())
}

fn bind(balancer: &Balancer, pool: &Pool) -> Result<Proxy, Box<dyn Error>> {
    // A backend that is gone without a word must not hold a request up for long.
    let config = proxy::Config::builder(balancer.listen).connect_timeout(Duration::from_millis(50));
    // The proxy before this one may still hold its last connections.
    let config = config.reuse_port(true).grace(Duration::from_millis(500)).build()?;
    Ok(Proxy::bind(l7::Config::new(config), pool.clone())?)
}

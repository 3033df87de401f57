//! A program that balances over its servers itself: no proxy in between.
//!
//! Three servers are started, one is stopped; the pool notices and the work goes on.
//!
//! ```text
//! cargo run -p ha-lb --example client_side
//!
//! 6 pieces of work: a=2 b=2 c=2
//! b: healthy → unhealthy (cannot connect: Connection refused (os error 111))
//! 6 pieces of work: a=3 c=3
//! the work went on without b
//! ```
#![expect(clippy::print_stdout, reason = "an example tells what it does")]

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use ha_core::event::{Event, Observer};
use ha_core::health::Health;
use ha_lb::algorithm::Algorithm;
use ha_lb::balancer::PickContext;
use ha_lb::endpoint::Endpoint;
use ha_lb::health::monitor::Monitor;
use ha_lb::health::schedule::Pace;
use ha_lb::health::tcp::TcpCheck;
use ha_lb::pick::Outcome;
use ha_lb::pool::Pool;
use tokio::net::{TcpListener, TcpStream};

/// Prints what the monitor sees, but for the first checks.
#[derive(Debug)]
struct Printer;

impl Observer for Printer {
    fn observe(&self, event: &Event) {
        let line = event.to_string();
        if !line.contains("unknown") {
            // Without the time, which differs from run to run.
            println!("{}", line.split_once(' ').map_or(line.as_str(), |(_, rest)| rest));
        }
    }
}

/// Does some pieces of work, each on a connection of its own.
async fn work(pool: &Pool) -> Result<(), Box<dyn Error>> {
    let mut done: BTreeMap<String, u32> = BTreeMap::new();
    for _ in 0..6 {
        let pick = pool.pick(&PickContext::new())?;
        match TcpStream::connect(pick.address()).await {
            Ok(_connection) => {
                *done.entry(pick.name().to_string()).or_default() += 1;
                pick.finish(Outcome::Completed);
            }
            Err(_) => pick.finish(Outcome::ConnectFailed),
        }
    }
    let shares: Vec<_> = done.iter().map(|(name, count)| format!("{name}={count}")).collect();
    println!("6 pieces of work: {}", shares.join(" "));
    Ok(())
}

/// Waits until the pool knows the health of an endpoint.
async fn until(pool: &Pool, name: &str, health: Health) -> Result<(), Box<dyn Error>> {
    let mut changes = pool.changes();
    while !pool
        .snapshot()
        .iter()
        .any(|(endpoint, state)| endpoint.name().as_str() == name && state.health() == health)
    {
        changes.changed().await?;
    }
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut servers = Vec::new();
    let mut endpoints = Vec::new();
    for name in ["a", "b", "c"] {
        let server = TcpListener::bind("127.0.0.1:0").await?;
        endpoints.push(Endpoint::new(name.parse()?, server.local_addr()?));
        servers.push(server);
    }
    let pool = Pool::new(&Algorithm::RoundRobin, endpoints)?;
    let pace = Pace::builder().interval(Duration::from_millis(50)).build()?;
    let monitor = Monitor::new(pool.clone(), Arc::new(TcpCheck::new()), pace)
        .with_observer(Arc::new(Printer))
        .spawn();
    for name in ["a", "b", "c"] {
        until(&pool, name, Health::Healthy).await?;
    }
    work(&pool).await?;
    drop(servers.remove(1));
    until(&pool, "b", Health::Unhealthy).await?;
    work(&pool).await?;
    monitor.stop().await??;
    println!("the work went on without b");
    Ok(())
}

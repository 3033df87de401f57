//! Keeps the services of a file running: starts them, checks them, restarts them when they fail,
//! with growing delays, and gives up on what fails too often. The executor alone: no cluster.
//!
//! ```text
//! supervise --config services.toml
//! ```
//!
//! ```toml
//! [service.web]
//! agent = "native:process"      # or native:mount, ocf:heartbeat:nginx, …
//! monitor_ms = 2000             # default 10000
//! restarts = 5                  # within window_ms; defaults 5 and 600000
//! parameters = { program = "/usr/sbin/nginx", args = "-g 'daemon off;'", ready = "port 127.0.0.1:80" }
//! ```
//!
//! Stays in the foreground and writes each change of a state as a JSON line on stdout. SIGTERM and
//! SIGINT end it: all services are stopped first; exit status 1 if one of them could not be.
//! `--check` only looks whether the file is right.

mod config;
mod service;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use ha_agents::ResourceAgent;
use ha_agents::executor::{self, ExecutorHandle, Order, Output};
use ha_agents::registry::Registry;
use ha_core::driver::{Alarm, Task};
use ha_core::id::ResourceName;
use ha_core::time::{BootClock, Clock, Instant};
use ha_examples::cli::{self, USAGE};
use ha_examples::json::JsonLines;
use serde::Serialize;
use tokio::sync::mpsc;

use config::Config;
use service::{Service, State};

type Failure = Box<dyn std::error::Error>;

/// Keeps the services of a file running.
#[derive(Debug, Parser)]
#[command(version)]
struct Flags {
    /// File with the services
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Only look whether the file is right
    #[arg(long)]
    check: bool,
}

#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
enum Line<'a> {
    Ready { services: usize },
    State { service: &'a ResourceName, state: &'a str, reason: &'a str, failures: u32 },
    Stopping { signal: &'a str },
    Stopped { runs: u64, failed: u64 },
}

fn main() -> ExitCode {
    let flags: Flags = match cli::parse() {
        Ok(flags) => flags,
        Err(status) => return status,
    };
    cli::log("warn");
    let config = match Config::read(&flags.config) {
        Ok(config) => config,
        Err(error) => return cli::fail(USAGE, &cli::chain(&*error)),
    };
    cli::run(async move {
        let agents = agents(&config).await?;
        if flags.check {
            return Ok(());
        }
        Supervisor::new(config, agents)?.run().await
    })
}

type Agents = BTreeMap<ResourceName, Arc<dyn ResourceAgent>>;

/// The agents of all services; the error names what is wrong with the first that is.
async fn agents(config: &Config) -> Result<Agents, Failure> {
    let registry = Registry::new();
    let mut agents = Agents::new();
    for (name, service) in &config.services {
        for doubt in registry.check(name, &service.agent, &service.parameters).await? {
            tracing::warn!(service = %name, doubt, "agent");
        }
        let agent = registry.resolve(name, &service.agent, &service.parameters).await?;
        agents.insert(name.clone(), agent);
    }
    Ok(agents)
}

/// The services with the executor that runs them.
struct Supervisor {
    executor: executor::Service,
    results: mpsc::Receiver<Output>,
    handle: ExecutorHandle,
    services: BTreeMap<ResourceName, Service>,
    lines: JsonLines,
    clock: BootClock,
    ops: u64,
}

impl Supervisor {
    fn new(config: Config, agents: Agents) -> Result<Self, Failure> {
        let (executor, results) = executor::Service::new(config.limits)?;
        let handle = executor.handle();
        for (name, agent) in agents {
            handle.add(name, agent);
        }
        let mut services = BTreeMap::new();
        for (seed, (name, settings)) in (1..).zip(config.services) {
            services.insert(name.clone(), Service::new(name, settings, seed)?);
        }
        let (lines, clock) = (JsonLines::stdout(), BootClock::new());
        Ok(Self { executor, results, handle, services, lines, clock, ops: 0 })
    }

    async fn run(mut self) -> Result<(), Failure> {
        let executor = self.executor;
        let (mut results, alarm) = (self.results, Alarm::new()?);
        // Results must be read while orders wait for room.
        let (orders, mut waiting) = mpsc::unbounded_channel::<Order>();
        let executing = self.handle.clone();
        let giver = Task::spawn(|mut stop| async move {
            loop {
                let order = tokio::select! {
                    order = waiting.recv() => order,
                    () = stop.wait() => return,
                };
                let Some(order) = order else { return };
                if executing.submit(order).await.is_err() {
                    return;
                }
            }
        });
        let mut crew = Crew {
            orders,
            handle: self.handle,
            services: std::mem::take(&mut self.services),
            lines: self.lines,
            ops: self.ops,
        };
        let task = executor.spawn();
        crew.lines.write(&Line::Ready { services: crew.services.len() });
        crew.each(self.clock.now(), |service, _| service.begin())?;
        let mut stop = std::pin::pin!(cli::asked_to_stop());
        let mut ending = false;
        while !(ending && crew.services.values().all(Service::is_down)) {
            tokio::select! { biased;
                signal = &mut stop, if !ending => {
                    ending = true;
                    crew.lines.write(&Line::Stopping { signal: signal? });
                    crew.each(self.clock.now(), |service, _| service.end())?;
                }
                result = results.recv() => {
                    let result = result.ok_or("the executor has ended")?;
                    crew.take(self.clock.now(), &result)?;
                }
                late = alarm.until(crew.deadline()) => {
                    late?;
                    crew.each(self.clock.now(), Service::tick)?;
                }
            }
        }
        let stats = crew.handle.look(executor::Executor::stats).await?;
        task.stop().await??;
        giver.stop().await?;
        crew.lines.write(&Line::Stopped { runs: stats.runs, failed: stats.failed });
        crew.lines.finish();
        let stuck = crew.services.values().filter(|service| service.state() == State::Blocked);
        match stuck.count() {
            0 => Ok(()),
            number => {
                Err(format!("cannot stop {number} of the services: see their reasons").into())
            }
        }
    }
}

/// The services, and how they are spoken to.
struct Crew {
    orders: mpsc::UnboundedSender<Order>,
    handle: ExecutorHandle,
    services: BTreeMap<ResourceName, Service>,
    lines: JsonLines,
    ops: u64,
}

impl Crew {
    /// Does something with each service, and what comes of it.
    fn each(
        &mut self,
        now: Instant,
        mut work: impl FnMut(&mut Service, Instant),
    ) -> Result<(), Failure> {
        for service in self.services.values_mut() {
            work(service, now);
            follow(service, &self.orders, &self.lines, &mut self.ops)?;
        }
        Ok(())
    }

    fn take(&mut self, now: Instant, result: &Output) -> Result<(), Failure> {
        let resource = match result {
            Output::Died { resource, .. }
            | Output::Ended { resource, .. }
            | Output::Monitored { resource, .. } => resource,
            Output::Refused { why, .. } => return Err(why.to_string().into()),
            Output::Event(_) | Output::Run(_) => return Ok(()),
        };
        let Some(service) = self.services.get_mut(resource) else { return Ok(()) };
        service.take(now, result);
        follow(service, &self.orders, &self.lines, &mut self.ops)
    }

    fn deadline(&self) -> Option<Instant> {
        self.services.values().filter_map(Service::deadline).min()
    }
}

/// Gives the service's order, and tells its new state.
fn follow(
    service: &mut Service,
    orders: &mpsc::UnboundedSender<Order>,
    lines: &JsonLines,
    ops: &mut u64,
) -> Result<(), Failure> {
    if let Some((state, reason)) = service.news() {
        let (service, failures) = (service.name(), service.failures());
        lines.write(&Line::State { service, state: state.name(), reason: &reason, failures });
    }
    while let Some(action) = service.wants() {
        *ops += 1;
        let context = service.context(action, *ops);
        orders.send(Order { term: None, action, context })?;
    }
    Ok(())
}

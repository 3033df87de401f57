//! What the hands of a cluster cost: native monitors beside shell agents, the executor beside a
//! plain spawn, how evenly many monitors are spread, how exact their period is, how soon a death is
//! told, and what a large host process pays for a spawn; in one run, on one machine.
//!
//! ```text
//! cargo build --release -p ha-benches --bin agents
//! target/release/agents > docs/measured/agents.md
//! ```
//!
//! Needs `ocf:heartbeat:Dummy` (Debian: resource-agents); ends after some two minutes.

#![expect(clippy::print_stdout, reason = "the table is the result")]

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use ha_agents::executor::{
    Action, Answer, Event, Events, Executor, ExecutorHandle, Limits, News, Order, Output, Service,
};
use ha_agents::native::{Dummy, Process};
use ha_agents::ocf::Ocf;
use ha_agents::{Check, OpContext, Outcome, ResourceAgent};
use ha_core::id::{OpId, ResourceName};
use ha_core::time::{BootClock, Clock, Instant};
use rustix::time::{ClockId, clock_gettime};
use tokio::sync::mpsc;

type Failure = Box<dyn Error>;

/// Ticks of the processor time in `/proc`, in a second.
const TICKS: f64 = 100.0;
const ROOT: &str = "/usr/lib/ocf";
const PROBE: Action = Action::Monitor(Check::PROBE);

/// Measures the executor and its agents.
#[derive(Debug, Parser)]
struct Flags {
    /// How many native operations are timed
    #[arg(long, default_value_t = 20_000)]
    native: u64,
    /// How many shell operations are timed
    #[arg(long, default_value_t = 500)]
    shell: u64,
    /// How many shell monitors recur
    #[arg(long, default_value_t = 500)]
    monitors: u64,
    /// How often each of them does, in s
    #[arg(long, default_value_t = 10)]
    interval_s: u64,
    /// How many deaths are timed
    #[arg(long, default_value_t = 200)]
    deaths: u64,
    /// How much memory the large host has, in MiB
    #[arg(long, default_value_t = 1_024)]
    large_mib: usize,
}

/// What one operation costs.
#[derive(Debug, Clone, Copy)]
struct Cost {
    /// Of 1000 operations, 500 take no longer.
    p50: Duration,
    p99: Duration,
    /// Processor time of this process for one operation, in ms.
    own_ms: f64,
    /// Processor time of its children for one operation, in ms.
    children_ms: f64,
}

/// An executor that runs.
struct Rig {
    handle: ExecutorHandle,
    results: mpsc::Receiver<Output>,
    events: Events,
    ops: u64,
}

impl Rig {
    fn new(limits: Limits) -> Result<(Self, ha_core::driver::Task<std::io::Result<()>>), Failure> {
        let (service, results) = Service::new(limits)?;
        let handle = service.handle();
        let events = handle.events().ok_or("an executor that runs")?;
        Ok((Self { handle, results, events, ops: 0 }, service.spawn()))
    }

    async fn order(&mut self, resource: &ResourceName, action: Action) -> Result<(), Failure> {
        self.ops += 1;
        let context = context(resource, self.ops);
        Ok(self.handle.submit(Order { term: None, action, context }).await?)
    }

    async fn run(&mut self, resource: &ResourceName, action: Action) -> Result<Answer, Failure> {
        self.order(resource, action).await?;
        match self.results.recv().await {
            Some(Output::Ended { answer, .. }) => Ok(answer),
            other => Err(format!("no end of {action}: {other:?}").into()),
        }
    }
}

fn context(resource: &ResourceName, op: u64) -> OpContext {
    let context = OpContext::new(resource.clone(), OpId::new(op));
    context.parameter("state", format!("/run/ha-bench-{resource}.state"))
}

fn main() -> Result<(), Failure> {
    let flags = Flags::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(measure(&flags))
}

async fn measure(flags: &Flags) -> Result<(), Failure> {
    if !Path::new(ROOT).join("resource.d/heartbeat/Dummy").exists() {
        return Err("ocf:heartbeat:Dummy is not here; install resource-agents".into());
    }
    operations(flags).await?;
    spread(flags).await?;
    period().await?;
    deaths(flags).await?;
    spawns(flags).await
}

/// One monitor of each kind, alone, one after the other.
async fn operations(flags: &Flags) -> Result<(), Failure> {
    let name: ResourceName = "one".parse()?;
    let shell = || Ocf::builder("heartbeat", "Dummy").load();
    let process = Process::new("sleep").arg("100000");
    let dummy = Dummy::new();
    let op = context(&name, 1);
    process.start(&op).await?;
    dummy.start(&op).await?;
    let ocf = shell().await?;
    println!("## One monitor\n");
    println!(
        "| what | p50, µs | p99, µs | own CPU, ms | children's CPU, ms |\n|---|---|---|---|---|"
    );
    let check = async |agent: &dyn ResourceAgent, expected: Outcome| -> Result<(), Failure> {
        let outcome = agent.monitor(&op, Check::PROBE).await?.outcome;
        if outcome == expected { Ok(()) } else { Err(format!("it answered {outcome}").into()) }
    };
    let native = time(flags.native, async || check(&process, Outcome::Success).await).await?;
    row("`native::Process`, asked directly", native);
    let cost = time(flags.native, async || check(&dummy, Outcome::Success).await).await?;
    row("`native::Dummy`, asked directly", cost);

    let (mut rig, task) = Rig::new(Limits::default())?;
    rig.handle.add(name.clone(), Arc::new(process));
    let cost = time(flags.native, async || expect(&rig.run(&name, PROBE).await?)).await?;
    row("`native::Process` through the executor", cost);
    let plain = time(flags.shell, async || spawn_dummy()).await?;
    row("ocf:heartbeat:Dummy by a plain spawn (`std::process`)", plain);
    let cost = time(flags.shell, async || check(&ocf, Outcome::NotRunning).await).await?;
    row("ocf:heartbeat:Dummy by `Ocf`, asked directly", cost);
    rig.handle.add(name.clone(), Arc::new(ocf));
    let through = time(flags.shell, async || expect(&rig.run(&name, PROBE).await?)).await?;
    row("ocf:heartbeat:Dummy through the executor", through);
    task.stop().await??;

    let all = |cost: Cost| cost.own_ms + cost.children_ms;
    println!(
        "\nA native monitor (Process, directly) takes 1 / {:.0} of the processor time of the shell's through the executor;",
        all(through) / all(native)
    );
    println!(
        "the executor's own processor time for a shell operation is {:.2} ms, a plain spawn's {:.2} ms.\n",
        through.own_ms, plain.own_ms
    );
    Ok(())
}

fn expect(answer: &Answer) -> Result<(), Failure> {
    match answer {
        Answer::Report(_) => Ok(()),
        Answer::Cancelled | Answer::NoAnswer { .. } => Err(format!("{answer:?}").into()),
    }
}

/// The same call of the script as `Ocf`'s, without anything around it.
fn spawn_dummy() -> Result<(), Failure> {
    let mut command = Command::new(format!("{ROOT}/resource.d/heartbeat/Dummy"));
    command
        .arg("monitor")
        .env_clear()
        .env("OCF_ROOT", ROOT)
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    command.env("OCF_RESKEY_state", "/run/ha-bench-one.state").env("OCF_RESOURCE_INSTANCE", "one");
    command.env("HA_LOGFACILITY", "none").env("LC_ALL", "C").stdin(Stdio::null());
    let output = command.output()?;
    if output.status.code() == Some(7) { Ok(()) } else { Err(format!("{output:?}").into()) }
}

/// Runs `work` so many times.
async fn time(
    times: u64,
    mut work: impl AsyncFnMut() -> Result<(), Failure>,
) -> Result<Cost, Failure> {
    let clock = BootClock::new();
    for _ in 0..(times / 20).min(100) {
        work().await?;
    }
    let (own, children) = (own_cpu(), children_cpu()?);
    let mut each = Vec::new();
    for _ in 0..times {
        let began = clock.now();
        work().await?;
        each.push(clock.now().since(began));
    }
    let number = f64::from(u32::try_from(times)?);
    let own_ms = (own_cpu() - own) * 1e3 / number;
    let children_ms = (children_cpu()? - children) * 1e3 / number;
    Ok(Cost { p50: share(&mut each, 50), p99: share(&mut each, 99), own_ms, children_ms })
}

fn row(what: &str, cost: Cost) {
    let micros = |time: Duration| time.as_secs_f64() * 1e6;
    let Cost { p50, p99, own_ms, children_ms } = cost;
    println!(
        "| {what} | {:.1} | {:.1} | {own_ms:.4} | {children_ms:.2} |",
        micros(p50),
        micros(p99)
    );
}

/// The time that so many percent do not exceed.
fn share(times: &mut [Duration], percent: usize) -> Duration {
    times.sort_unstable();
    let at = (times.len() * percent / 100).min(times.len().saturating_sub(1));
    times.get(at).copied().unwrap_or_default()
}

/// Seconds of this process.
fn own_cpu() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    let (seconds, nanos) = (u64::try_from(time.tv_sec), u32::try_from(time.tv_nsec));
    Duration::new(seconds.unwrap_or_default(), nanos.unwrap_or_default()).as_secs_f64()
}

/// Seconds of the children that were waited for.
fn children_cpu() -> Result<f64, Failure> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let tail = stat.rsplit_once(") ").ok_or("a line of proc(5)")?.1;
    let fields: Vec<&str> = tail.split(' ').collect();
    let ticks = |at: usize| fields.get(at).and_then(|text| text.parse::<f64>().ok());
    // Fields 16 and 17 of proc_pid_stat(5); the first here is the third.
    Ok((ticks(13).unwrap_or_default() + ticks(14).unwrap_or_default()) / TICKS)
}

/// Many shell monitors with one interval: how many of them start together.
async fn spread(flags: &Flags) -> Result<(), Failure> {
    let (mut rig, task) = Rig::new(Limits::default())?;
    let agent: Arc<dyn ResourceAgent> = Arc::new(Ocf::builder("heartbeat", "Dummy").load().await?);
    let interval = Duration::from_secs(flags.interval_s);
    let (own, children, clock) = (own_cpu(), children_cpu()?, BootClock::new());
    let mut names = Vec::new();
    for number in 0..flags.monitors {
        let name: ResourceName = format!("dummy-{number}").parse()?;
        rig.handle.add(name.clone(), Arc::clone(&agent));
        rig.ops += 1;
        let context = context(&name, rig.ops).every(interval);
        rig.handle.submit(Order { term: None, action: PROBE, context }).await?;
        names.push(name);
    }
    let end = clock.now() + interval * 2 + interval / 20;
    while clock.now() < end {
        tokio::select! {
            _result = rig.results.recv() => {}
            _late = ha_core::driver::pause(end.since(clock.now())) => {}
        }
    }
    let (own, children) = (own_cpu() - own, children_cpu()? - children);
    let began = rig.handle.look(move |executor| {
        let past = names.iter().flat_map(|name| executor.history(name));
        past.map(|past| past.began).collect::<Vec<Instant>>()
    });
    let mut began = began.await?;
    let runs = rig.handle.look(Executor::stats).await?;
    drop(rig);
    task.stop().await??;
    began.sort_unstable();
    let most = began.iter().enumerate().map(|(index, at)| {
        let later = began
            .iter()
            .skip(index)
            .take_while(|other| other.since(*at) < Duration::from_millis(50));
        later.count()
    });
    let control = paced(flags).await?;
    let (most, number) = (most.max().unwrap_or_default(), f64::from(u32::try_from(began.len())?));
    println!("## {} shell monitors every {} s\n", flags.monitors, flags.interval_s);
    println!(
        "{} runs in {:.1} s, {} skipped. Most starts in any 50 ms: {most}, {:.1} % of the {} of an interval.",
        began.len(),
        interval.as_secs_f64() * 2.05,
        runs.skipped,
        percent(most, flags.monitors)?,
        flags.monitors
    );
    println!(
        "Processor time for one run: the executor {:.2} ms, the agent {:.2} ms; of a plain spawn at the \
         same pace: {:.2} ms and {:.2} ms.\n",
        own * 1e3 / number,
        children * 1e3 / number,
        control.own_ms,
        control.children_ms
    );
    Ok(())
}

fn percent(part: usize, whole: u64) -> Result<f64, Failure> {
    Ok(f64::from(u32::try_from(part)?) * 100.0 / f64::from(u32::try_from(whole)?))
}

/// Plain spawns at the pace of the monitors, for a second interval: what they cost with caches as
/// cold.
async fn paced(flags: &Flags) -> Result<Cost, Failure> {
    let gap = Duration::from_secs(flags.interval_s) / u32::try_from(flags.monitors)?;
    let work = async || -> Result<(), Failure> {
        ha_core::driver::pause(gap).await?;
        spawn_dummy()
    };
    time(flags.monitors / 2, work).await
}

/// One monitor, a hundred runs: how exact its period is.
async fn period() -> Result<(), Failure> {
    let interval = Duration::from_millis(200);
    let (mut rig, task) = Rig::new(Limits::default())?;
    let name: ResourceName = "steady".parse()?;
    rig.handle.add(name.clone(), Arc::new(Ocf::builder("heartbeat", "Dummy").load().await?));
    let context = context(&name, 1).every(interval);
    rig.handle.submit(Order { term: None, action: PROBE, context }).await?;
    let clock = BootClock::new();
    let mut times = Vec::new();
    while times.len() < 101 {
        match rig.events.next().await.ok_or("an executor that runs")? {
            News::Event(Event::Began { .. }) => times.push(clock.now()),
            News::Event(_) => {}
            News::Lost(_) => return Err("events were lost".into()),
        }
    }
    task.stop().await??;
    let first = times.first().copied().unwrap_or_default();
    let whole = times.last().copied().unwrap_or_default().since(first).as_secs_f64();
    let error = (whole / (interval.as_secs_f64() * 100.0) - 1.0).abs() * 100.0;
    let off = times.iter().zip(0..).map(|(at, number)| {
        let due = interval.as_secs_f64() * f64::from(number);
        (at.since(first).as_secs_f64() - due).abs()
    });
    let worst = off.fold(0.0, f64::max) * 1e3;
    println!("## The period of a monitor\n");
    println!(
        "100 runs of a shell monitor every {interval:?}: the mean period is {error:.3} % off, the worst start {worst:.2} ms.\n"
    );
    Ok(())
}

/// A process of a resource is killed: how soon that is told.
async fn deaths(flags: &Flags) -> Result<(), Failure> {
    let (mut rig, task) = Rig::new(Limits::default())?;
    let (name, clock): (ResourceName, _) = ("brief".parse()?, BootClock::new());
    let process = Arc::new(Process::new("sleep").arg("100000"));
    rig.handle.add(name.clone(), Arc::clone(&process) as _);
    let mut each = Vec::new();
    for _ in 0..flags.deaths {
        expect(&rig.run(&name, Action::Start).await?)?;
        let id = process.id().await.ok_or("it runs")?;
        let id = rustix::process::Pid::from_raw(i32::try_from(id)?).ok_or("a process id")?;
        // The executor has begun to wait for the death once it takes another command.
        rig.handle.look(|_| ()).await?;
        let killed = clock.now();
        rustix::process::kill_process(id, rustix::process::Signal::KILL)?;
        match rig.results.recv().await {
            Some(Output::Died { .. }) => each.push(clock.now().since(killed)),
            other => return Err(format!("no death: {other:?}").into()),
        }
    }
    task.stop().await??;
    let millis = |time: Duration| time.as_secs_f64() * 1e3;
    let [p50, p99, most] = [50, 99, 100].map(|percent| millis(share(&mut each, percent)));
    println!("## The death of a supervised process\n");
    println!(
        "From the signal to the news, {} times: p50 {p50:.2} ms, p99 {p99:.2} ms, at most {most:.2} ms.\n",
        flags.deaths
    );
    Ok(())
}

/// A spawn from a small and from a large process, in turns.
async fn spawns(flags: &Flags) -> Result<(), Failure> {
    let name: ResourceName = "one".parse()?;
    let ocf = Ocf::builder("heartbeat", "Dummy").load().await?;
    let op = context(&name, 1);
    let mut each: BTreeMap<bool, Vec<Duration>> = BTreeMap::new();
    for round in 0..6 {
        let large = round % 2 == 1;
        let ballast = vec![1_u8; if large { flags.large_mib << 20 } else { 0 }];
        let work = async || -> Result<(), Failure> {
            let process = Process::new("/bin/true");
            process.start(&op).await?;
            process.stop(&op).await?;
            ocf.monitor(&op, Check::PROBE).await?;
            Ok(())
        };
        each.entry(large).or_default().push(time(flags.shell / 5, work).await?.p50);
        drop(std::hint::black_box(ballast));
    }
    let mut median = |large: bool| share(each.entry(large).or_default(), 50).as_secs_f64() * 1e3;
    let (small, large) = (median(false), median(true));
    println!("## A spawn from a large process\n");
    println!(
        "Start and stop of `/bin/true` and a monitor of ocf:heartbeat:Dummy, p50, medians of 3 rounds in turns: {small:.2} ms from a small process, {large:.2} ms from one of {} MiB: {:+.1} %.",
        flags.large_mib,
        (large / small - 1.0) * 100.0
    );
    Ok(())
}

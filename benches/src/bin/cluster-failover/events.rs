//! What is done to a cluster, and what it is measured by. All times are in seconds.

use std::time::Duration;

use ha_core::time::{Clock, Instant};
use ha_lab::Host;
use serde_json::Value;

use crate::Failure;
use crate::cost;
use crate::report::Measured;
use crate::rig::{NAMES, Rig, longest_gap, rest};

/// Does everything, `runs` times, to a new cluster.
pub(crate) fn all(
    rig: &Rig,
    runs: u32,
    window: Duration,
    measured: &mut Measured,
) -> Result<(), Failure> {
    let began = rig.clock.now();
    for host in rig.hosts() {
        rig.boot(host)?;
    }
    rig.cluster.configure(rig)?;
    measured.add("formed", serving(rig, began)?);
    rig.settle()?;
    for _ in 0..runs {
        cold_start(rig, measured)?;
        lose(rig, false, measured)?;
        lose(rig, true, measured)?;
        kill_service(rig, measured)?;
        planned_move(rig, measured)?;
        cut(rig, measured)?;
    }
    let holder = rig.settle()?;
    rest(Duration::from_secs(5));
    for (host, cost) in rig.hosts().iter().zip(cost::idle(rig.hosts(), window)) {
        let busy = host.name().as_str() == holder;
        let [cpu, pss, rss] = if busy {
            ["cpu busy", "pss busy", "rss busy"]
        } else {
            ["cpu idle", "pss idle", "rss idle"]
        };
        measured.add(cpu, cost.cpu);
        measured.add(pss, cost.pss_mib);
        measured.add(rss, cost.rss_mib);
    }
    Ok(())
}

/// Waits until the address and the service are somewhere.
fn serving(rig: &Rig, began: Instant) -> Result<f64, Failure> {
    rig.until("the service runs", || rig.holder().filter(|name| rig.serves(name)))?;
    Ok(rig.clock.now().since(began).as_secs_f64())
}

/// All power is lost, and comes back.
fn cold_start(rig: &Rig, measured: &mut Measured) -> Result<(), Failure> {
    rig.settle()?;
    for host in rig.hosts() {
        host.power_off()?;
        drop(std::fs::remove_file(rig.mark(host.name().as_str())));
    }
    rest(Duration::from_millis(500));
    let began = rig.clock.now();
    for host in rig.hosts() {
        host.power_on()?;
        rig.boot(host)?;
    }
    measured.add("cold", serving(rig, began)?);
    Ok(())
}

/// Sees to it that everything runs on the leader, or not there; returns who runs it.
fn place(rig: &Rig, on_leader: bool) -> Result<String, Failure> {
    let holder = rig.settle()?;
    let leader = rig.until("a leader", || rig.cluster.leader(rig))?;
    if (holder == leader) == on_leader {
        return Ok(holder);
    }
    let other = NAMES.iter().find(|name| **name != leader).copied().unwrap_or_default();
    let to = if on_leader { leader.as_str() } else { other };
    rig.cluster.order_move(rig, to)?;
    rig.until("it has moved", || (rig.holder().as_deref() == Some(to)).then_some(()))?;
    rig.settle()?;
    rig.cluster.take_back(rig)?;
    rig.settle()
}

/// Waits until the service runs on another node than `old`; when that was.
fn elsewhere(rig: &Rig, old: &str) -> Result<Instant, Failure> {
    let others: Vec<&str> = NAMES.into_iter().filter(|name| *name != old).collect();
    rig.until("it runs elsewhere", || {
        others.iter().any(|name| rig.serves(name)).then(|| rig.clock.now())
    })
}

/// The node that runs everything loses its power.
fn lose(rig: &Rig, leader: bool, measured: &mut Measured) -> Result<(), Failure> {
    let holder = place(rig, leader)?;
    rig.tidy(&holder);
    let prober = rig.probe(&holder)?;
    let began = rig.clock.now();
    rig.host(&holder)?.power_off()?;
    let served = elsewhere(rig, &holder)?;
    let new = rig.until("one holds it", || rig.holder().filter(|name| *name != holder))?;
    prober.wait_for_answer_by(&new.parse()?, Duration::from_secs(30))?;
    rest(Duration::from_millis(200));
    let gap = longest_gap(prober, began);
    let [gap_row, served_row] =
        if leader { ["leader gap", "leader service"] } else { ["node gap", "node service"] };
    measured.add(gap_row, gap.as_secs_f64());
    measured.add(served_row, served.since(began).as_secs_f64());
    steps(rig, &holder, leader, began, measured);
    Ok(())
}

/// What the events say of a loss of `lost`, of those who were left.
fn steps(rig: &Rig, lost: &str, leader: bool, began: Instant, measured: &mut Measured) {
    let events: Vec<(u64, Value)> = rig
        .lines()
        .into_iter()
        .filter(|(node, _)| node != lost)
        .filter_map(|(_, line)| serde_json::from_str::<Value>(&line.text).ok())
        .filter_map(|event| Some((event["at"].as_u64()?, event)))
        .filter(|(at, _)| *at >= began.as_nanos())
        .collect();
    let mut first = |row: &'static str, wanted: &dyn Fn(&Value) -> bool| {
        let at = events.iter().filter(|(_, event)| wanted(event)).map(|(at, _)| *at).min();
        if let Some(at) = at {
            let after = Duration::from_nanos(at.saturating_sub(began.as_nanos()));
            measured.add_step(leader, row, after.as_secs_f64());
        }
    };
    let is = |event: &Value, kind: &str| event["event"] == kind;
    let vip = |event: &Value, kind: &str| is(event, kind) && event["resource"] == "vip";
    first("not heard", &|event| is(event, "suspect"));
    first("view without it", &|event| {
        is(event, "membership")
            && event["members"].as_array().is_some_and(|all| !all.iter().any(|name| name == lost))
    });
    first("new leader", &|event| is(event, "leading") && event["leads"] == true);
    first("fencing asked for", &|event| is(event, "fence_requested"));
    first("fencing confirmed", &|event| is(event, "fence_reported") && event["confirmed"] == true);
    first("start of the address ordered", &|event| vip(event, "start_requested"));
    first("address started", &|event| vip(event, "started"));
}

fn kill_service(rig: &Rig, measured: &mut Measured) -> Result<(), Failure> {
    let holder = rig.settle()?;
    // So that the next monitor is not always as far away.
    let phase = crate::rig::random::<1>()?;
    rest(Duration::from_millis(phase.iter().map(|byte| u64::from(*byte) * 40).sum()));
    let host: &Host = rig.host(&holder)?;
    let began = rig.clock.now();
    rig.cluster.kill_service(rig, host)?;
    rig.until("it is started again", || rig.serves(&holder).then_some(()))?;
    measured.add("killed", rig.clock.now().since(began).as_secs_f64());
    rig.cluster.forget_failures(rig)?;
    Ok(())
}

fn planned_move(rig: &Rig, measured: &mut Measured) -> Result<(), Failure> {
    let holder = rig.settle()?;
    rig.tidy(&holder);
    let to = NAMES.iter().find(|name| **name != holder).copied().unwrap_or_default();
    let prober = rig.probe(&holder)?;
    let began = rig.clock.now();
    rig.cluster.order_move(rig, to)?;
    let served = elsewhere(rig, &holder)?;
    prober.wait_for_answer_by(&to.parse()?, Duration::from_secs(30))?;
    rest(Duration::from_millis(300));
    measured.add("move gap", longest_gap(prober, began).as_secs_f64());
    measured.add("move service", served.since(began).as_secs_f64());
    rig.settle()?;
    rig.cluster.take_back(rig)
}

/// The cable of the node that runs everything is cut: it must have stopped before others start.
fn cut(rig: &Rig, measured: &mut Measured) -> Result<(), Failure> {
    let holder = place(rig, false)?;
    rig.tidy(&holder);
    let prober = rig.probe(&holder)?;
    let began = rig.clock.now();
    let host = rig.host(&holder)?;
    host.cut()?;
    let taken = || rig.watch.holders().into_iter().find(|name| name.as_str() != holder);
    let new = rig.until("another holds it", taken)?;
    prober.wait_for_answer_by(&new, Duration::from_secs(30))?;
    rest(Duration::from_millis(200));
    measured.add("cut gap", longest_gap(prober, began).as_secs_f64());
    let report = rig.watch.report();
    let overlapped = report.overlaps.iter().filter(|overlap| overlap.to >= began);
    let overlapped: f64 = overlapped.map(|o| o.to.since(o.from).as_secs_f64()).sum();
    let vacant = report.vacancies.iter().find(|vacancy| vacancy.from >= began);
    let vacant = vacant.map_or(0.0, |v| v.to.since(v.from).as_secs_f64());
    measured.add("margin", if overlapped > 0.0 { -overlapped } else { vacant });
    host.uncut()?;
    Ok(())
}

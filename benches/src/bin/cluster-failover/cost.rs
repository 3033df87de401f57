//! What a node's programs cost while nothing happens.

use std::fs;
use std::time::Duration;

use ha_lab::Host;

use crate::rig::rest;

/// The kernel's clock ticks in a second (`USER_HZ`), the same on all of Linux's architectures here.
const TICKS: f64 = 100.0;

/// The cost of all processes of a node.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Cost {
    /// Of one core, in percent.
    pub(crate) cpu: f64,
    pub(crate) pss_mib: f64,
    pub(crate) rss_mib: f64,
}

/// Measures some hosts for a while.
pub(crate) fn idle(hosts: &[Host], window: Duration) -> Vec<Cost> {
    let before: Vec<f64> = hosts.iter().map(ticks).collect();
    rest(window);
    let cost = |(host, before): (&Host, f64)| {
        let cpu = (ticks(host) - before) / TICKS / window.as_secs_f64() * 100.0;
        let mib = |key| memory_kib(host, key) / 1024.0;
        Cost { cpu, pss_mib: mib("Pss:"), rss_mib: mib("Rss:") }
    };
    hosts.iter().zip(before).map(cost).collect()
}

/// What all processes of a host and their dead children have used.
fn ticks(host: &Host) -> f64 {
    let of = |pid: u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name may hold anything; after it user, system, and the same of the children
        // waited for are the fields 14 to 17 of proc_pid_stat(5).
        let fields = stat.rsplit_once(')')?.1.split_whitespace();
        let used: Vec<f64> = fields.skip(11).take(4).filter_map(|text| text.parse().ok()).collect();
        Some(used.iter().sum::<f64>())
    };
    host.processes().into_iter().filter_map(of).sum()
}

fn memory_kib(host: &Host, key: &str) -> f64 {
    let of = |pid: u32| {
        let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
        let line = text.lines().find(|line| line.starts_with(key))?;
        line.split_whitespace().nth(1)?.parse::<f64>().ok()
    };
    host.processes().into_iter().filter_map(of).sum()
}

//! What the nodes said, and what is read out of it.

use std::time::Duration;

use ha_core::event::{Event, EventKind};
use ha_core::id::{NodeName, ResourceName};
use ha_core::time::Instant;
use ha_crm::manager::ManagerEvent;
use ha_lab::Process;

use crate::node::NodeEvent;

/// The events of all nodes, also of lives that have ended, in order.
#[derive(Debug, Default, Clone)]
pub(crate) struct Told(Vec<NodeEvent>);

impl Told {
    /// Adds what a process has written.
    pub(crate) fn read(&mut self, process: &Process) {
        let lines = process.lines();
        let events = lines.iter().filter_map(|line| serde_json::from_str(&line.text).ok());
        self.0.extend(events);
        self.0.sort_by_key(|event| event.at);
    }

    /// Those since `from`, in order.
    pub(crate) fn since(&self, from: Instant) -> impl Iterator<Item = (Instant, &NodeEvent)> {
        let all = self.0.iter().map(|event| (instant(event.at), event));
        all.filter(move |(at, _)| *at >= from)
    }

    /// When a node first did this after `from`.
    pub(crate) fn first(
        &self,
        from: Instant,
        wanted: impl Fn(&NodeName, &ManagerEvent) -> bool,
    ) -> Option<Instant> {
        self.since(from).find(|(_, told)| wanted(&told.by, &told.event)).map(|(at, _)| at)
    }

    /// When these had all stopped on `node`.
    pub(crate) fn stopped(
        &self,
        from: Instant,
        node: &NodeName,
        names: &[&str],
    ) -> Option<Instant> {
        let stopped = |name: &&str| {
            self.first(from, |by, event| {
                by == node
                    && matches!(event, ManagerEvent::Stopped { resource } if is(resource, name))
            })
        };
        names.iter().map(stopped).collect::<Option<Vec<_>>>()?.into_iter().max()
    }

    /// When the first start was ordered on another node than `node`.
    pub(crate) fn start_elsewhere(&self, from: Instant, node: &NodeName) -> Option<Instant> {
        self.first(from, |by, event| {
            by != node && matches!(event, ManagerEvent::StartRequested { .. })
        })
    }

    /// When the fencing of `node` was asked for, and when it was confirmed.
    pub(crate) fn fenced(&self, from: Instant, node: &NodeName) -> Option<(Instant, Instant)> {
        let asked = self.first(from, |_, event| {
            let ManagerEvent::FenceRequested { node: of, .. } = event else { return false };
            of == node
        })?;
        let done = self.first(asked, |_, event| {
            let ManagerEvent::FenceReported { node: of, confirmed, .. } = event else {
                return false;
            };
            of == node && *confirmed
        })?;
        Some((asked, done))
    }

    /// The nodes whose fencing was confirmed.
    pub(crate) fn all_fenced(&self, from: Instant) -> Vec<String> {
        let fenced = self.since(from).filter_map(|(_, told)| {
            let ManagerEvent::FenceReported { node, confirmed: true, .. } = &told.event else {
                return None;
            };
            Some(node.to_string())
        });
        let mut fenced: Vec<String> = fenced.collect();
        fenced.sort_unstable();
        fenced.dedup();
        fenced
    }

    /// How many starts were ordered.
    pub(crate) fn starts(&self, from: Instant) -> usize {
        let starts = |event: &ManagerEvent| matches!(event, ManagerEvent::StartRequested { .. });
        self.since(from).filter(|(_, told)| starts(&told.event)).count()
    }

    /// For the timeline: what matters to somebody who looks at the whole.
    pub(crate) fn for_timeline(&self) -> impl Iterator<Item = Event> {
        self.0.iter().filter(|told| matters(&told.event)).map(|told| {
            let kind = EventKind::Note { text: told.event.to_string() };
            Event::new(instant(told.at), told.by.as_str(), kind)
        })
    }

    /// Everything since `from`, with the time since then.
    pub(crate) fn details(&self, from: Instant) -> Vec<String> {
        let line = |(at, told): (Instant, &NodeEvent)| {
            let ms = millis(at.since(from));
            format!("    {ms:>8.1} ms  {}  {}", told.by, told.event)
        };
        self.since(from).map(line).collect()
    }
}

pub(crate) fn is(resource: &ResourceName, name: &str) -> bool {
    resource.as_str() == name
}

pub(crate) fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

const fn instant(nanos: u64) -> Instant {
    Instant::from_nanos(nanos)
}

fn matters(event: &ManagerEvent) -> bool {
    if let ManagerEvent::Started { resource } | ManagerEvent::Stopped { resource } = event {
        return is(resource, "service") || is(resource, "disk");
    }
    matches!(
        event,
        ManagerEvent::FenceReported { .. }
            | ManagerEvent::FenceRequested { .. }
            | ManagerEvent::Leading { leads: true, .. }
            | ManagerEvent::OperationFailed { .. }
            | ManagerEvent::QuorumLost
            | ManagerEvent::SelfFence { .. }
    )
}

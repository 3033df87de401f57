//! The show: what happens to the nodes, and what each of it costs the clients.

use std::time::Duration;

use ha_core::availability::Ledger;
use ha_core::event::EventKind;
use ha_core::id::NodeName;
use ha_core::time::{BootClock, Clock, Instant};
use ha_crm::manager::{ManagerEvent, Request};
use ha_crm::model::NodeStatus;
use rustix::process::{Pid, Signal, kill_process};

use crate::Flags;
use crate::cluster::{GROUP, VIP};
use crate::events::{Told, is, millis};
use crate::report::{Row, account, table};
use crate::stage::{Failure, PATIENCE, Seat, Stage};

/// How long is looked at after each event, for what comes late.
const AFTERWARDS: Duration = Duration::from_secs(1);
/// How slow the power switch is while a node is cut off.
const SLOW: Duration = Duration::from_secs(2);

/// What an idle machine reaches, and the show asks for, times the slack of the flags.
mod reached {
    use std::time::Duration;

    pub(super) const COLD: Duration = Duration::from_secs(3);
    pub(super) const NODE_LOST: Duration = Duration::from_secs(1);
    pub(super) const SERVICE_LOST: Duration = Duration::from_millis(300);
    pub(super) const MOVED: Duration = Duration::from_millis(60);
}

/// Plays the show; whether everything went as promised.
pub(crate) fn play(flags: &Flags) -> Result<bool, Failure> {
    ha_lab::enter()?;
    let clock = BootClock::new();
    let mut show = Show {
        start: clock.now(),
        rows: Vec::new(),
        ledger: None,
        details: flags.details,
        slack: flags.slack,
    };
    show.say("building the laboratory: a client, three nodes, a power switch, a shared disk");
    let mut stage = Stage::build()?;
    show.say(&format!("the disk: {}", stage.disk.kind));
    show.cold_start(&stage)?;
    rest(AFTERWARDS);

    let lost = show.power_is_lost(&stage, "active node loses power")?;
    show.returns(&mut stage, &lost)?;
    if !flags.short {
        let frozen = show.frozen(&stage)?;
        show.returns(&mut stage, &frozen)?;
        let cut = show.cut_off(&mut stage)?;
        show.returns(&mut stage, &cut)?;
        show.service_is_killed(&stage)?;
        show.moved_to_the_leader(&stage)?;
        show.power_is_lost(&stage, "leader and active loses power")?;
    }
    show.end(stage, flags)
}

struct Show {
    start: Instant,
    rows: Vec<Row>,
    /// Opened with the first answer.
    ledger: Option<Ledger>,
    details: bool,
    slack: u32,
}

/// How things stand before an event.
struct Before {
    from: Instant,
    active: NodeName,
    leader: NodeName,
}

/// An event as it is to be reported.
struct Happened<'a> {
    event: &'a str,
    outcome: String,
    margin: Option<f64>,
    limit: Option<Duration>,
    missed: Vec<String>,
}

impl Show {
    fn cold_start(&mut self, stage: &Stage) -> Result<(), Failure> {
        self.say("three nodes start, and know nothing of each other but their addresses");
        let (at, by) = answered(stage, stage.started, |_| true)?;
        stage.note("client", EventKind::Served);
        self.ledger = Some(Ledger::new(format!("the service at {VIP}"), at));
        let before = before(stage)?;
        let before = Before { from: stage.started, ..before };
        let took = at.since(stage.started);
        self.say(&format!("  {by} serves, {} leads: {:.0} ms", before.leader, millis(took)));
        let happened = Happened {
            event: "cold start",
            outcome: format!("{by} serves"),
            margin: None,
            limit: Some(reached::COLD),
            missed: Vec::new(),
        };
        self.close(stage, &before, happened, at);
        Ok(())
    }

    /// The active node loses its power; returns its name.
    fn power_is_lost(&mut self, stage: &Stage, event: &str) -> Result<NodeName, Failure> {
        let before = before(stage)?;
        let node = before.active.clone();
        let leads = if before.leader == node { "and leads " } else { "" };
        self.say(&format!("{node}, which runs the service {leads}loses its power"));
        stage.seat(&node)?.host.power_off()?;
        self.fails_over(stage, &before, event)?;
        Ok(node)
    }

    fn frozen(&mut self, stage: &Stage) -> Result<NodeName, Failure> {
        let before = before(stage)?;
        let node = before.active.clone();
        self.say(&format!(
            "{node}, which runs the service, hangs: all of its processes stand still"
        ));
        stage.seat(&node)?.host.freeze()?;
        self.fails_over(stage, &before, "active node hangs")?;
        Ok(node)
    }

    /// Another node takes over, once the lost one is surely off.
    fn fails_over(&mut self, stage: &Stage, before: &Before, event: &str) -> Result<(), Failure> {
        let lost = before.active.as_str();
        let (_, by) = answered(stage, before.from, |by| by != lost)?;
        rest(AFTERWARDS);
        let told = stage.told();
        let started = told.start_elsewhere(before.from, &before.active);
        let fenced = told.fenced(before.from, &before.active).map(|(_, done)| done);
        let margin = difference(fenced, started);
        let mut missed = Vec::new();
        if margin.is_none_or(|margin| margin <= 0.0) {
            missed.push("started elsewhere before it was off".to_owned());
        }
        let outcome = format!("{by} serves");
        let limit = Some(reached::NODE_LOST);
        let happened = Happened { event, outcome, margin, limit, missed };
        self.close(stage, before, happened, BootClock::new().now());
        Ok(())
    }

    fn returns(&mut self, stage: &mut Stage, node: &NodeName) -> Result<(), Failure> {
        let before = before(stage)?;
        self.say(&format!("{node} returns"));
        stage.restart(node)?;
        wait("see it online", || {
            let status = stage.paths.status(&stage.running());
            let line = status.ok().and_then(|status| status.nodes.get(node).cloned());
            line.is_some_and(|line| line.present && line.status == NodeStatus::Online)
        })?;
        rest(AFTERWARDS);
        let mut missed = Vec::new();
        let moved = stage.told().starts(before.from);
        if moved > 0 {
            missed.push(format!("{moved} starts, where nothing had to move"));
        }
        let outcome = format!("{} keeps it", before.active);
        let happened = Happened { event: "it returns", outcome, margin: None, limit: None, missed };
        self.close(stage, &before, happened, BootClock::new().now());
        Ok(())
    }

    fn cut_off(&mut self, stage: &mut Stage) -> Result<NodeName, Failure> {
        stage.switch.delay(SLOW);
        let before = before(stage)?;
        let node = before.active.clone();
        self.say(&format!(
            "{node}, which runs the service, is cut off, while the power switch takes {} s",
            SLOW.as_secs()
        ));
        stage.cut(&node)?;
        let (_, by) = answered(stage, before.from, |by| by != node.as_str())?;
        rest(AFTERWARDS);
        stage.switch.delay(Duration::ZERO);
        let told = stage.told();
        // Nobody writes to the disk any more, and nobody answers clients; that the disk was
        // unmounted, too, takes its kernel longer on a busy machine, and the fence waits for it.
        let stopped = told.stopped(before.from, &node, &["service", "address"]);
        let unmounted = told.stopped(before.from, &node, &["disk"]);
        let asked = told.fenced(before.from, &node).map(|(asked, _)| asked);
        let margin = difference(stopped, told.start_elsewhere(before.from, &node));
        let mut missed = Vec::new();
        match (margin, difference(stopped, asked)) {
            (Some(margin), earlier) if margin > 0.0 => self.say(&format!(
                "  {node} had stopped its service by itself {margin:.0} ms before the first start \
                 on {by} and {:.0} ms before the switch was asked; the disk: {}",
                earlier.unwrap_or_default(),
                difference(unmounted, asked).map_or_else(
                    || "not unmounted in time, left to the fence".to_owned(),
                    |earlier| format!("{earlier:.0} ms before")
                )
            )),
            _ => missed.push(format!("{node} had not stopped before the start elsewhere")),
        }
        let happened = Happened {
            event: "cut off, slow fencing",
            outcome: format!("{by} serves"),
            margin,
            limit: Some(reached::NODE_LOST + SLOW),
            missed,
        };
        self.close(stage, &before, happened, BootClock::new().now());
        Ok(node)
    }

    fn service_is_killed(&mut self, stage: &Stage) -> Result<(), Failure> {
        let before = before(stage)?;
        self.say(&format!("the service on {} is killed", before.active));
        let what = "service killed".to_owned();
        stage.note(before.active.as_str(), EventKind::Fault { what });
        for pid in service(stage, &before.active)? {
            kill_process(pid, Signal::KILL)?;
        }
        wait("see the service started again", || {
            let again = |event: &ManagerEvent| {
                let ManagerEvent::Started { resource } = event else { return false };
                is(resource, "service")
            };
            stage.told().first(before.from, |_, event| again(event)).is_some()
        })?;
        let (_, by) = answered(stage, BootClock::new().now(), |_| true)?;
        rest(AFTERWARDS);
        let happened = Happened {
            event: "service killed",
            outcome: format!("{by} serves"),
            margin: None,
            limit: Some(reached::SERVICE_LOST),
            missed: Vec::new(),
        };
        self.close(stage, &before, happened, BootClock::new().now());
        Ok(())
    }

    /// A planned move, so that the leader runs the service; from it and back if it does already.
    fn moved_to_the_leader(&mut self, stage: &Stage) -> Result<(), Failure> {
        let Before { active, leader, .. } = before(stage)?;
        if active == leader {
            let other = stage.seats.iter().map(Seat::name).find(|name| **name != leader);
            self.moved(stage, &other.ok_or("there is no other node")?.clone())?;
        }
        self.moved(stage, &leader)
    }

    fn moved(&mut self, stage: &Stage, to: &NodeName) -> Result<(), Failure> {
        let before = before(stage)?;
        self.say(&format!("planned move from {} to {to}", before.active));
        let what = format!("move to {to}");
        stage.note(before.active.as_str(), EventKind::Command { what });
        let resource: ha_core::id::ResourceName = GROUP.parse()?;
        let request = Request::Move { resource: resource.clone(), node: to.clone() };
        stage.paths.ask(&stage.running(), &request)?;
        let (_, by) = answered(stage, before.from, |by| by == to.as_str())?;
        rest(AFTERWARDS);
        stage.paths.ask(&stage.running(), &Request::Clear { resource })?;
        let happened = Happened {
            event: "planned move",
            outcome: format!("{by} serves"),
            margin: None,
            limit: Some(reached::MOVED),
            missed: Vec::new(),
        };
        self.close(stage, &before, happened, BootClock::new().now());
        Ok(())
    }

    /// Measures what happened since `before`.
    fn close(&mut self, stage: &Stage, before: &Before, happened: Happened<'_>, to: Instant) {
        let Happened { event, outcome, margin, limit, mut missed } = happened;
        let from = before.from;
        let gaps = stage.prober.report().gaps.into_iter();
        let gaps = gaps.filter(|gap| from <= gap.to && gap.from <= to).map(|gap| gap.duration());
        let seen = stage.traffic.seen(from, to);
        if limit.is_some_and(|limit| seen.gap > limit * self.slack) {
            let limit = limit.unwrap_or_default();
            missed.push(format!("more than {} times {limit:?}", self.slack));
        }
        let told = stage.told();
        let fenced = told.all_fenced(from).join(", ");
        let fenced = if fenced.is_empty() { "nobody".to_owned() } else { fenced };
        let row = Row {
            event: event.to_owned(),
            outcome,
            leader: before.leader.to_string(),
            seen,
            address_gap: gaps.max().unwrap_or_default(),
            fenced,
            margin,
            missed,
        };
        let witness = match stage.overlaps().len() {
            0 => "nobody wrote beside another".to_owned(),
            count => format!("{count} OVERLAPS"),
        };
        if event != "cold start" {
            self.say(&format!(
                "  {}; clients waited {:.1} ms; fenced: {}; the witness: {witness}",
                row.outcome,
                millis(row.seen.gap),
                row.fenced
            ));
            self.book(stage, event, from);
        }
        self.rows.push(row);
        self.tell_details(&told, from);
    }

    /// Enters the times without service since `from` into the account.
    fn book(&mut self, stage: &Stage, event: &str, from: Instant) {
        let Some(ledger) = &mut self.ledger else { return };
        let gaps = stage.traffic.gaps(Duration::from_millis(20));
        for (down, up) in gaps.into_iter().filter(|(_, up)| *up >= from) {
            if event == "planned move" {
                ledger.planned_down(down, event);
            } else {
                ledger.down(down, event);
            }
            ledger.up(up);
        }
    }

    fn end(self, mut stage: Stage, flags: &Flags) -> Result<bool, Failure> {
        let active = before(&stage)?.active;
        let audit = stage.audit(&active)?;
        let (overlaps, report) = (stage.overlaps(), stage.watch.report());
        let blind = stage.prober.report().blind;
        let now = BootClock::new().now();
        let timeline = stage.finish()?;
        drop(stage);
        println!("\n{}", table(&self.rows));
        let holders: Vec<String> = audit.writers.iter().map(|writer| writer.node.clone()).collect();
        println!(
            "the witness: {} writes of {} holders one after the other ({}), {} out of turn, {} \
             overlaps seen by writers; address held twice: {}",
            audit.lines,
            holders.len(),
            holders.join(" "),
            audit.violations,
            overlaps.len(),
            report.overlaps.len()
        );
        if let Some(ledger) = &self.ledger {
            println!("{}", account(ledger, now));
        }
        println!("\ntimeline (seconds since the first event)\n{}", timeline.to_text());
        std::fs::write(&flags.svg, timeline.to_svg("three nodes share a disk, one at a time"))?;
        println!("longest time the 1 ms probe itself was held up: {:.1} ms", millis(blind));
        println!("picture: {}", flags.svg.display());
        let violations = audit.violations + overlaps.len() + report.overlaps.len();
        let good = violations == 0 && self.rows.iter().all(|row| row.missed.is_empty());
        let verdict = if good { "all as promised" } else { "NOT as promised" };
        println!("{verdict}: at-most-one violations = {violations}");
        for line in overlaps {
            println!("  {line}");
        }
        Ok(good)
    }

    fn tell_details(&self, told: &Told, from: Instant) {
        if self.details {
            for line in told.details(from) {
                println!("{line}");
            }
        }
    }

    fn say(&self, what: &str) {
        let now = BootClock::new().now().since(self.start);
        println!("[{:5.1} s] {what}", now.as_secs_f64());
    }
}

/// How things stand, as the leader knows it.
fn before(stage: &Stage) -> Result<Before, Failure> {
    let mut found = None;
    wait("know who leads and who is active", || {
        let Ok(status) = stage.paths.status(&stage.running()) else { return false };
        if status.resources.values().any(|line| line.active.len() != 1 || !line.busy.is_empty()) {
            return false;
        }
        let service = status.resources.iter().find(|(name, _)| is(name, "service"));
        found = service.and_then(|(_, line)| Some((line.active.first()?.clone(), status.leader)));
        found.is_some()
    })?;
    let (active, leader) = found.ok_or("nobody is active")?;
    Ok(Before { from: BootClock::new().now(), active, leader })
}

/// Waits until a client that began after `since` was answered by a node that is wanted.
fn answered(
    stage: &Stage,
    since: Instant,
    wanted: impl Fn(&str) -> bool,
) -> Result<(Instant, String), Failure> {
    let mut found = None;
    wait("see clients served", || {
        found = stage.traffic.answered(since, &wanted);
        found.is_some()
    })?;
    found.ok_or_else(|| "no client was served".into())
}

/// The processes of the service on a node, by their numbers outside of it.
fn service(stage: &Stage, node: &NodeName) -> Result<Vec<Pid>, Failure> {
    let is_service = |pid: &u32| {
        let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.split('\0').nth(1) == Some("service")
    };
    let pids = stage.seat(node)?.host.processes().into_iter().filter(is_service);
    let pids: Vec<Pid> = pids.filter_map(|pid| Pid::from_raw(pid.try_into().ok()?)).collect();
    if pids.is_empty() { Err(format!("no service runs on {node}").into()) } else { Ok(pids) }
}

/// How many milliseconds `to` is after `from`; less than zero if it is before.
fn difference(from: Option<Instant>, to: Option<Instant>) -> Option<f64> {
    let (from, to) = (from?, to?);
    Some(if to >= from { millis(to.since(from)) } else { -millis(from.since(to)) })
}

fn wait(what: &str, mut done: impl FnMut() -> bool) -> Result<(), Failure> {
    let clock = BootClock::new();
    let end = clock.now() + PATIENCE;
    while !done() {
        if clock.now() > end {
            return Err(format!("waited {PATIENCE:?} to {what}, in vain").into());
        }
        rest(Duration::from_millis(5));
    }
    Ok(())
}

/// Lets the show go on for a while.
fn rest(duration: Duration) {
    let clock = BootClock::new();
    let end = clock.now() + duration;
    while clock.now() < end {
        std::thread::park_timeout(end.since(clock.now()));
    }
}

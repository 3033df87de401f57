//! The show: four things happen to two balancers, and what each costs the clients is measured.

use std::thread;
use std::time::Duration;

use ha_core::event::EventKind;
use ha_core::time::{BootClock, Clock, Instant};
use ha_lab::ProcessSignal;

use crate::Flags;
use crate::report::{Row, table};
use crate::stage::{Failure, PATIENCE, Stage};

/// How long is looked at after each event, for what comes late.
const AFTERWARDS: Duration = Duration::from_millis(1500);

/// Plays the show; whether everything went as promised.
pub(crate) fn play(flags: &Flags) -> Result<bool, Failure> {
    ha_lab::enter()?;
    let clock = BootClock::new();
    let mut show = Show { start: clock.now(), rows: Vec::new(), limit: crash_limit(flags) };
    show.say("building the laboratory: a client, two balancers, three web servers");
    let mut stage = Stage::build(flags)?;
    show.say("lb1 serves 10.77.0.100; clients send 500 requests a second");
    rest(Duration::from_secs(1));

    show.web_server_dies(&mut stage)?;
    show.power_is_lost(&stage)?;
    show.balancer_returns(&mut stage, flags.preempt)?;
    show.switchover(&stage)?;

    let rows = show.rows;
    let (requests, failed) = rows
        .iter()
        .fold((0, 0), |(sent, failed), row| (sent + row.seen.sent, failed + row.seen.failed));
    let blind = stage.prober.report().blind;
    let timeline = stage.finish()?;
    println!("\n{}", table(&rows));
    println!("timeline (seconds since the first event)\n{}", timeline.to_text());
    std::fs::write(&flags.svg, timeline.to_svg("two balancers share a floating address"))?;
    let good = rows.iter().all(|row| row.passed);
    let verdict = if good { "all as promised" } else { "NOT as promised" };
    println!("longest time the 1 ms probe itself was held up: {:.1} ms", millis(blind));
    println!("picture: {}", flags.svg.display());
    println!("{verdict}: {requests} requests around the events, {failed} failed");
    Ok(good)
}

/// The longest outage that a crash may cause: three adverts, at most one for the skew, and what
/// the kernels need; 100 ms at the default of 10 ms.
fn crash_limit(flags: &Flags) -> Duration {
    Duration::from_millis(60 + 4 * flags.advert_ms)
}

struct Show {
    start: Instant,
    rows: Vec<Row>,
    limit: Duration,
}

impl Show {
    fn web_server_dies(&mut self, stage: &mut Stage) -> Result<(), Failure> {
        self.say("web1 dies: its process is killed");
        let from = stage.note("web1", EventKind::Fault { what: "web server killed".to_owned() });
        stage.webs[0].1.kill()?;
        let taken_out =
            |line: &str| line.contains("\"web1\"") && line.contains("\"to\":\"unhealthy\"");
        let line = stage.balancers[0].process.wait_for_line(PATIENCE, taken_out)?;
        let outcome = format!("taken out after {:.0} ms", millis(line.at.since(from)));
        rest(AFTERWARDS);
        self.close(stage, ("web server dies", outcome), from, |row| row.seen.failed == 0);
        stage.restart_web(0)?;
        rest(Duration::from_millis(500));
        Ok(())
    }

    fn power_is_lost(&mut self, stage: &Stage) -> Result<(), Failure> {
        self.say("lb1, the active balancer, loses power");
        let from = BootClock::new().now();
        let [first, second] = &stage.balancers;
        first.host.power_off()?;
        stage.watch.wait_for(&[second.host.name()], PATIENCE)?;
        rest(AFTERWARDS);
        let limit = self.limit;
        let kept = move |row: &Row| row.seen.failed == 0 && row.seen.gap < limit;
        self.close(stage, ("active loses power", "lb2 serves".to_owned()), from, kept);
        Ok(())
    }

    fn balancer_returns(&mut self, stage: &mut Stage, preempt: bool) -> Result<(), Failure> {
        self.say("lb1 returns");
        let from = BootClock::new().now();
        stage.balancers[0].host.power_on()?;
        stage.restart(0)?;
        let outcome = if preempt { "lb1 takes the address back" } else { "lb2 keeps the address" };
        if preempt {
            stage.watch.wait_for(&[stage.balancers[0].host.name()], PATIENCE)?;
        } else {
            let ready = |line: &str| line.contains("\"to\":\"backup\"");
            stage.balancers[0].process.wait_for_line(PATIENCE, ready)?;
        }
        rest(AFTERWARDS);
        self.close(stage, ("it returns", outcome.to_owned()), from, |row| row.seen.failed == 0);
        Ok(())
    }

    fn switchover(&mut self, stage: &Stage) -> Result<(), Failure> {
        let holders = stage.watch.holders();
        let [first, second] = &stage.balancers;
        let first_holds = holders.contains(first.host.name());
        let (old, new) = if first_holds { (first, second) } else { (second, first) };
        let (old_name, new_name) = (old.host.name(), new.host.name());
        self.say(&format!("planned switchover from {old_name} to {new_name}"));
        let asked = EventKind::Command { what: "switchover".to_owned() };
        let from = stage.note(old_name.as_str(), asked);
        old.process.signal(ProcessSignal::User1)?;
        stage.watch.wait_for(&[new_name], PATIENCE)?;
        rest(AFTERWARDS);
        let kept = |row: &Row| row.seen.failed == 0;
        self.close(stage, ("planned switchover", format!("{new_name} serves")), from, kept);
        Ok(())
    }

    /// Measures what happened since `from`.
    fn close(
        &mut self,
        stage: &Stage,
        (event, outcome): (&'static str, String),
        from: Instant,
        passed: impl FnOnce(&Row) -> bool,
    ) {
        let to = BootClock::new().now();
        let gaps = stage.prober.report().gaps.into_iter();
        let gaps = gaps.filter(|gap| from <= gap.to && gap.from <= to).map(|gap| gap.duration());
        let overlaps = stage.watch.report().overlaps.into_iter();
        let overlaps = overlaps.filter(|overlap| from <= overlap.to && overlap.from <= to);
        let mut row = Row {
            event,
            outcome,
            seen: stage.traffic.seen(from, to),
            address_gap: gaps.max().unwrap_or_default(),
            overlap: overlaps.map(|overlap| overlap.to.since(overlap.from)).sum(),
            passed: false,
        };
        row.passed = passed(&row);
        let (gap, failed) = (millis(row.seen.gap), row.seen.failed);
        self.say(&format!(
            "  {}: clients waited {gap:.1} ms, {failed} requests failed",
            row.outcome
        ));
        self.rows.push(row);
    }

    fn say(&self, what: &str) {
        let now = BootClock::new().now().since(self.start);
        println!("[{:5.1} s] {what}", now.as_secs_f64());
    }
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// Lets the show go on for a while.
fn rest(duration: Duration) {
    let clock = BootClock::new();
    let end = clock.now() + duration;
    while clock.now() < end {
        thread::park_timeout(end.since(clock.now()));
    }
}

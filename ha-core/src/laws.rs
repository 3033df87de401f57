//! The laws of [`Machine`], as a check that every machine's property tests run.

use std::fmt::Debug;
use std::time::Duration;

use crate::machine::Machine;
use crate::time::Instant;

/// One step of a schedule: how long to wait, and what then happens (`None`: only time passes).
pub type Step<I> = (Duration, Option<I>);

/// A law that a machine broke, with the step it broke it at.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
#[error("law {law} broken at step {step}: {what}")]
#[non_exhaustive]
pub struct Broken {
    /// The number of the law in the documentation of [`Machine`].
    pub law: u8,
    /// The index of the step in the schedule.
    pub step: usize,
    /// What was seen.
    pub what: String,
}

/// Runs `schedule` on machines made by `new` and checks the five laws of [`Machine`].
///
/// The machine is ticked at each of its deadlines on the way, as a driver would. At most 10,000
/// ticks are run between two inputs, so that a machine with a short timer and a schedule with
/// long waits still ends.
///
/// # Errors
///
/// [`Broken`] names the first law that does not hold, the step and what was seen.
///
/// ```
/// # use std::time::Duration;
/// # use ha_core::{laws, machine::Machine, time::Instant};
/// # #[derive(Debug)] struct Idle;
/// # impl Machine for Idle {
/// #     type Input = u8; type Output = (); const MAX_OUTPUTS: usize = 0;
/// #     fn handle(&mut self, _: Instant, _: u8, _: &mut Vec<()>) {}
/// #     fn tick(&mut self, _: Instant, _: &mut Vec<()>) {}
/// #     fn deadline(&self) -> Option<Instant> { None }
/// # }
/// let schedule = [(Duration::from_millis(5), Some(1)), (Duration::ZERO, None)];
/// laws::check(|| Idle, &schedule)?;
/// # Ok::<(), laws::Broken>(())
/// ```
pub fn check<M>(new: impl Fn() -> M, schedule: &[Step<M::Input>]) -> Result<(), Broken>
where
    M: Machine,
    M::Input: Clone,
    M::Output: Debug,
{
    let first = run(new(), schedule, Backwards::No)?;
    let second = run(new(), schedule, Backwards::No)?;
    compare(3, "two runs differ", &first, &second)?;
    let backwards =
        run(new(), schedule, Backwards::Yes).map_err(|broken| Broken { law: 4, ..broken })?;
    compare(4, "a clock that steps back changed the outputs", &first, &backwards)
}

/// Whether each input is preceded by a tick in the past.
#[derive(Clone, Copy, PartialEq)]
enum Backwards {
    No,
    Yes,
}

const START: Instant = Instant::from_secs(1_000);
const MAX_TICKS: usize = 10_000;

fn run<M>(
    mut machine: M,
    schedule: &[Step<M::Input>],
    backwards: Backwards,
) -> Result<Vec<String>, Broken>
where
    M: Machine,
    M::Input: Clone,
    M::Output: Debug,
{
    let mut trace = Vec::with_capacity(schedule.len());
    let mut out = Vec::new();
    let mut now = START;
    for (step, (wait, input)) in schedule.iter().enumerate() {
        let until = now + *wait;
        for _ in 0..MAX_TICKS {
            let Some(deadline) = machine.deadline().filter(|deadline| *deadline <= until) else {
                break;
            };
            now = deadline;
            early_tick(&mut machine, step, now, &mut out)?;
            machine.tick(now, &mut out);
            settle(&machine, step, now, &mut out, &mut trace)?;
        }
        now = until.max(now);
        let told = match backwards {
            Backwards::Yes => START,
            Backwards::No => now,
        };
        // A tick first, so that time has passed for the machine before the clock lies.
        machine.tick(now, &mut out);
        settle(&machine, step, now, &mut out, &mut trace)?;
        if let Some(input) = input {
            machine.handle(told, input.clone(), &mut out);
            settle(&machine, step, now, &mut out, &mut trace)?;
        }
    }
    Ok(trace)
}

/// Law 2: nothing comes of a tick one nanosecond early.
fn early_tick<M>(
    machine: &mut M,
    step: usize,
    deadline: Instant,
    out: &mut Vec<M::Output>,
) -> Result<(), Broken>
where
    M: Machine,
    M::Output: Debug,
{
    machine.tick(deadline - Duration::from_nanos(1), out);
    if out.is_empty() {
        return Ok(());
    }
    let what = format!("a tick before the deadline {deadline} emitted {out:?}");
    Err(Broken { law: 2, step, what })
}

/// Laws 1 and 5, after a call; moves the outputs to the trace.
fn settle<M>(
    machine: &M,
    step: usize,
    now: Instant,
    out: &mut Vec<M::Output>,
    trace: &mut Vec<String>,
) -> Result<(), Broken>
where
    M: Machine,
    M::Output: Debug,
{
    if let Some(deadline) = machine.deadline().filter(|deadline| *deadline <= now) {
        let what = format!("the deadline {deadline} is not after now, {now}");
        return Err(Broken { law: 1, step, what });
    }
    if out.len() > M::MAX_OUTPUTS {
        let what = format!("{} outputs, more than {}: {out:?}", out.len(), M::MAX_OUTPUTS);
        return Err(Broken { law: 5, step, what });
    }
    trace.extend(out.drain(..).map(|output| format!("{now} {output:?}")));
    Ok(())
}

fn compare(law: u8, what: &str, left: &[String], right: &[String]) -> Result<(), Broken> {
    if left == right {
        return Ok(());
    }
    let at = left.iter().zip(right).take_while(|(a, b)| a == b).count();
    let what = format!("{what}: {:?} against {:?}", left.get(at), right.get(at));
    Err(Broken { law, step: at, what })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine that can be told to break each law.
    #[derive(Debug)]
    struct Rogue {
        breaks: u8,
        next: Option<Instant>,
        last: Instant,
        runs: usize,
    }

    thread_local!(static RUNS: std::cell::Cell<usize> = const { std::cell::Cell::new(0) });

    impl Rogue {
        fn new(breaks: u8) -> Self {
            RUNS.set(RUNS.get() + 1);
            Self { breaks, next: None, last: Instant::ZERO, runs: RUNS.get() }
        }
    }

    impl Machine for Rogue {
        type Input = ();
        type Output = Instant;
        const MAX_OUTPUTS: usize = 3;

        fn handle(&mut self, now: Instant, (): (), out: &mut Vec<Instant>) {
            let now = if self.breaks == 4 { now } else { now.max(self.last) };
            self.last = now;
            let delay = if self.breaks == 1 { Duration::ZERO } else { Duration::from_millis(3) };
            self.next = Some(now + delay);
            let emitted = match self.breaks {
                3 => self.runs % 2,
                5 => 4,
                _ => 1,
            };
            out.extend(std::iter::repeat_n(now, emitted));
        }

        fn tick(&mut self, now: Instant, out: &mut Vec<Instant>) {
            self.last = self.last.max(now);
            if self.next.is_some_and(|next| next <= now)
                || (self.breaks == 2 && self.next.is_some())
            {
                self.next = None;
                out.push(self.last);
            }
        }

        fn deadline(&self) -> Option<Instant> {
            self.next
        }
    }

    #[test]
    fn a_lawful_machine_passes_and_each_broken_law_is_named() {
        let schedule = vec![(Duration::from_millis(2), Some(())); 8];
        assert_eq!(check(|| Rogue::new(0), &schedule), Ok(()));
        let long = vec![(Duration::from_millis(7), Some(())); 8];
        for law in 1..=5 {
            let broken = check(|| Rogue::new(law), &long).expect_err("the law is broken");
            assert_eq!(broken.law, law, "{broken}");
        }
    }
}

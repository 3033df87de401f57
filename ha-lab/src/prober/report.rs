//! What a prober saw, computed from its probes.

use std::fmt;
use std::time::Duration;

use ha_core::id::NodeName;
use ha_core::time::Instant;
use serde::Serialize;

/// One probe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Probe {
    /// When it was sent.
    pub sent: Instant,
    /// The first answer to it, however late.
    pub answer: Option<Answer>,
}

impl Probe {
    /// A probe with its answer.
    #[must_use]
    pub const fn new(sent: Instant, answer: Option<Answer>) -> Self {
        Self { sent, answer }
    }
}

/// An answer to a probe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Answer {
    /// When it came.
    pub at: Instant,
    /// The host that answered.
    pub by: NodeName,
}

impl Answer {
    /// An answer.
    #[must_use]
    pub const fn new(at: Instant, by: NodeName) -> Self {
        Self { at, by }
    }
}

/// A time without service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Gap {
    /// When the last probe before it was sent that was answered in time; at the start, the first.
    pub from: Instant,
    /// When the first probe after it was sent that was answered in time; at the end, the last.
    pub to: Instant,
    /// How many probes in between had no answer in time.
    pub lost: usize,
}

impl Gap {
    /// How long it was.
    #[must_use]
    pub const fn duration(&self) -> Duration {
        self.to.since(self.from)
    }
}

/// A time in which one host alone answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct AnswerSpan {
    /// The host.
    pub by: NodeName,
    /// When the first probe was sent that it answered.
    pub from: Instant,
    /// When the last such probe was sent.
    pub to: Instant,
}

/// What a prober saw.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ProbeReport {
    /// How many probes were sent.
    pub sent: usize,
    /// How many were answered in time.
    pub answered: usize,
    /// The times without service that reach the threshold, oldest first.
    ///
    /// A gap has at least one unanswered probe in it: a pause of the prober itself is none.
    pub gaps: Vec<Gap>,
    /// The longest of them; zero if there is none.
    pub longest_gap: Duration,
    /// Who answered when, oldest first; two that follow each other are of different hosts.
    pub spans: Vec<AnswerSpan>,
    /// How often another host answered than the one before.
    pub changes: usize,
    /// The longest time in which the prober sent nothing: the precision of its statements. Much
    /// more than its interval means that this machine was too busy to measure.
    pub blind: Duration,
}

impl ProbeReport {
    /// Computes it from probes in the order in which they were sent.
    ///
    /// An answer counts if it came within `patience`; a gap is reported from `threshold` on.
    #[must_use]
    pub fn of(probes: &[Probe], patience: Duration, threshold: Duration) -> Self {
        let mut report = Self {
            sent: probes.len(),
            answered: 0,
            gaps: Vec::new(),
            longest_gap: Duration::ZERO,
            spans: Vec::new(),
            changes: 0,
            blind: Duration::ZERO,
        };
        let Some(first) = probes.first() else { return report };
        let (mut good, mut lost, mut previous) = (first.sent, 0, first.sent);
        for probe in probes {
            report.blind = report.blind.max(probe.sent.since(previous));
            previous = probe.sent;
            let in_time = |answer: &&Answer| answer.at.since(probe.sent) <= patience;
            let Some(answer) = probe.answer.as_ref().filter(in_time) else {
                lost += 1;
                continue;
            };
            report.gap(Gap { from: good, to: probe.sent, lost }, threshold);
            (good, lost) = (probe.sent, 0);
            report.answered += 1;
            report.span(&answer.by, probe.sent);
        }
        report.gap(Gap { from: good, to: previous, lost }, threshold);
        report.changes = report.spans.len().saturating_sub(1);
        report
    }

    fn gap(&mut self, gap: Gap, threshold: Duration) {
        if gap.lost > 0 && gap.duration() >= threshold {
            self.longest_gap = self.longest_gap.max(gap.duration());
            self.gaps.push(gap);
        }
    }

    fn span(&mut self, by: &NodeName, sent: Instant) {
        match self.spans.last_mut() {
            Some(span) if span.by == *by => span.to = sent,
            _ => self.spans.push(AnswerSpan { by: by.clone(), from: sent, to: sent }),
        }
    }
}

impl fmt::Display for ProbeReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sent, answered, gaps, longest_gap, changes, .. } = self;
        let (gaps, longest) = (gaps.len(), longest_gap.as_secs_f64() * 1e3);
        write!(
            f,
            "{answered} of {sent} probes answered, {gaps} gaps, the longest {longest:.1} ms, \
             {changes} changes of host"
        )
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PATIENCE: Duration = Duration::from_millis(10);
    const THRESHOLD: Duration = Duration::from_millis(2);

    /// A probe each millisecond: who answered at once, `None` for nobody.
    fn probes(answers: &[Option<&str>]) -> Vec<Probe> {
        let name = |text: &str| NodeName::new(text).expect("a name");
        let probe = |(at, by): (usize, Option<&str>)| {
            let sent = Instant::from_millis(at as u64);
            Probe::new(sent, by.map(|by| Answer::new(sent, name(by))))
        };
        answers.iter().copied().enumerate().map(probe).collect()
    }

    #[test]
    fn a_failover_is_one_gap_and_one_change() {
        let answers = [Some("a"), Some("a"), None, None, None, Some("b"), Some("b")];
        let report = ProbeReport::of(&probes(&answers), PATIENCE, THRESHOLD);
        assert_eq!((report.sent, report.answered, report.changes), (7, 4, 1));
        let gap = Gap { from: Instant::from_millis(1), to: Instant::from_millis(5), lost: 3 };
        assert_eq!(report.gaps, [gap]);
        assert_eq!(report.longest_gap, Duration::from_millis(4));
        let names: Vec<_> = report.spans.iter().map(|span| span.by.as_str()).collect();
        assert_eq!(names, ["a", "b"]);
        assert!(report.to_string().contains("the longest 4.0 ms"), "{report}");
    }

    #[test]
    fn gaps_at_the_ends_count() {
        let answers = [None, None, None, Some("a"), None, None, None, None];
        let report = ProbeReport::of(&probes(&answers), PATIENCE, THRESHOLD);
        let gaps: Vec<_> = report.gaps.iter().map(Gap::duration).collect();
        assert_eq!(gaps, [Duration::from_millis(3), Duration::from_millis(4)]);
    }

    #[test]
    fn a_late_answer_is_no_service_and_a_pause_of_the_prober_no_gap() {
        let mut late = probes(&[Some("a"), Some("a"), Some("a"), Some("a")]);
        late[1].answer.as_mut().expect("answered").at = Instant::from_millis(100);
        let report = ProbeReport::of(&late, PATIENCE, THRESHOLD);
        assert_eq!((report.answered, report.longest_gap), (3, Duration::from_millis(2)));
        let mut paused = probes(&[Some("a"), Some("a")]);
        paused[1].sent = Instant::from_millis(500);
        paused[1].answer.as_mut().expect("answered").at = Instant::from_millis(500);
        let report = ProbeReport::of(&paused, PATIENCE, THRESHOLD);
        assert_eq!((report.gaps.len(), report.blind), (0, Duration::from_millis(500)));
    }

    proptest! {
        #[test]
        fn every_report_is_consistent(
            steps in proptest::collection::vec((0_u64..5, 0_u8..4, 0_u64..20), 0..200),
        ) {
            let mut now = 0;
            let probes: Vec<Probe> = steps.iter().map(|&(step, by, delay)| {
                now += step;
                let by = ["a", "b", "c"].get(usize::from(by)).map(|by| {
                    Answer::new(Instant::from_millis(now + delay), NodeName::new(by).expect("a name"))
                });
                Probe::new(Instant::from_millis(now), by)
            }).collect();
            let report = ProbeReport::of(&probes, PATIENCE, THRESHOLD);
            prop_assert!(report.answered <= report.sent && report.sent == probes.len());
            let lost: usize = report.gaps.iter().map(|gap| gap.lost).sum();
            prop_assert!(report.answered + lost <= report.sent);
            prop_assert!(report.gaps.iter().all(|gap| gap.duration() >= THRESHOLD));
            prop_assert!(report.gaps.is_sorted_by(|a, b| a.to <= b.from));
            prop_assert!(report.spans.is_sorted_by(|a, b| a.to <= b.from && a.by != b.by));
            let longest = report.gaps.iter().map(Gap::duration).max().unwrap_or_default();
            prop_assert_eq!(report.longest_gap, longest);
        }
    }
}

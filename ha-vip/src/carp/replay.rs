//! Which adverts are news, and which are copies.
//!
//! CARP's HMAC proves that somebody with the password once sent a counter; `advbase`, `advskew`
//! and the source address are not under it. Whoever has recorded one advert could send it again
//! as `advskew` 0 and depose the master for ever: ucarp 1.5.2 lets that happen.
//!
//! # The rules
//!
//! ucarp draws a random counter for each advert until it hears another host; from then on it
//! counts up by one from the counter it heard last (measured). So its counters are no sequence to
//! rely on, but they *answer*, and a master can ask:
//!
//! 1. **Each counter counts once.** The last [`MEMORY`] counters, received and sent, are
//!    remembered; a copy is dropped ([`Reject::Replay`]).
//! 2. **A master yields only to a proof.** The counter of its adverts jumps by an unforeseeable
//!    step. A better host that is alive hears them and goes on from there: a counter at most
//!    [`ANSWER`] beyond one of the last [`QUESTIONS`] sent proves that its sender was alive then.
//!    Without the proof the master sends an advert at once and serves on; a real ucarp gives the
//!    proof with its next advert, so a restarted one is accepted after one interval of its own.
//! 3. **A better host of this crate answers** a worse one's advert at once with its counter plus
//!    one, and preempts with the counter plus one.
//! 4. **A backup follows a sequence.** Once counters have followed one another twice, others are
//!    dropped ([`Reject::Stale`]) and do not keep the backup waiting. When the true master has
//!    begun another sequence, the backup takes over after the dead interval, asks as a master
//!    does, is answered and yields: it is wrong for one interval at the most.
//! 5. **All follow one sequence in the end.** Whoever becomes master begins beyond the highest
//!    counter that it has heard, also of those it did not follow. Without this rule two backups
//!    and a ucarp, which follows everybody, could depose each other for ever.
//!
//! # What remains
//!
//! A backup that has only ever heard a ucarp in its random phase has no sequence. Adverts recorded
//! before it started can keep it waiting once each. A host that cannot be heard by a better one
//! does not yield to it: both serve until the link works in both directions, and
//! [`require_proof(false)`](super::HostBuilder::require_proof) switches rule 2 off.
//!
//! [`Reject::Replay`]: super::wire::Reject::Replay
//! [`Reject::Stale`]: super::wire::Reject::Stale
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::collections::VecDeque;

use super::wire::Authenticator;

/// How many counters are remembered: 17 minutes of adverts of one second.
pub const MEMORY: usize = 1024;
/// How many of the last sent adverts a proof may answer. ucarp reads its packets once a second, so
/// some adverts are sent before it answers the first.
pub const QUESTIONS: usize = 8;
/// How far beyond a sent counter an answer may be: ucarp counts up by one with each advert.
pub const ANSWER: u64 = 64;

/// The largest step of a master's counter.
const LARGEST_STEP: u64 = 1 << 28;
/// The largest first step of a new master: far beyond what anybody has recorded, such as a ucarp
/// that counted up by one for a year, and yet within [`SEQUENCE`].
const LARGEST_LEAP: u64 = 1 << 39;
/// How far a follower may be behind: thousands of lost adverts, and yet so little of all counters
/// that an old one is not in it by chance.
const SEQUENCE: u64 = 1 << 40;
/// How often counters must have followed one another to be a sequence.
const FOLLOWED: u8 = 2;

/// What a counter tells of its sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "whoever judges must judge each")]
pub enum Freshness {
    /// It was seen or sent before.
    Copy,
    /// It answers one of our last adverts.
    Proven,
    /// It follows the last one that was accepted.
    Follows,
    /// It is new, and nothing more is known; there is no sequence that it could break.
    Unknown,
    /// It is new, and breaks the sequence.
    Stale,
}

/// The counters of a host: what it has heard and what it sends.
#[derive(Debug, Clone)]
pub(super) struct Counters {
    seed: u64,
    drawn: u64,
    /// What was received or sent, oldest first.
    seen: VecDeque<u64>,
    /// The counters of our last adverts that could not be foreseen, oldest first.
    questions: VecDeque<u64>,
    /// The last counter that was accepted, and how often in a row one followed another.
    heard: Option<u64>,
    followed: u8,
    /// The highest counter that was not followed.
    passed_over: Option<u64>,
    /// The last counter of our own sequence.
    own: Option<u64>,
    /// The last counter of the master before us.
    before: Option<u64>,
    /// Whether the next step is the first one of a new master.
    leaps: bool,
}

impl Counters {
    pub(super) const fn new(seed: u64) -> Self {
        Self {
            seed,
            drawn: 0,
            seen: VecDeque::new(),
            questions: VecDeque::new(),
            heard: None,
            followed: 0,
            passed_over: None,
            own: None,
            before: None,
            leaps: true,
        }
    }

    pub(super) fn judge(&self, counter: u64) -> Freshness {
        if self.seen.contains(&counter) {
            return Freshness::Copy;
        }
        let answers = |question: &u64| is_within(counter, *question, ANSWER);
        if self.questions.iter().any(answers) {
            return Freshness::Proven;
        }
        match self.heard {
            Some(heard) if is_within(counter, heard, SEQUENCE) => Freshness::Follows,
            Some(_) if self.followed >= FOLLOWED => Freshness::Stale,
            Some(_) | None => Freshness::Unknown,
        }
    }

    /// Follows the sender of `counter` from now on.
    pub(super) fn accept(&mut self, counter: u64) {
        let follows = self.heard.is_some_and(|heard| is_within(counter, heard, SEQUENCE));
        self.followed = if follows { self.followed.saturating_add(1) } else { 0 };
        self.heard = Some(counter);
        self.remember(counter);
    }

    /// Does not follow a genuine counter that breaks the sequence.
    pub(super) fn pass_over(&mut self, counter: u64) {
        self.passed_over = self.passed_over.max(Some(counter));
        self.remember(counter);
    }

    /// Remembers a counter without following it.
    pub(super) fn remember(&mut self, counter: u64) {
        if self.seen.len() >= MEMORY {
            self.seen.pop_front();
        }
        self.seen.push_back(counter);
    }

    /// Begins to be master with a sequence of our own, beyond every one that was heard.
    pub(super) fn begin(&mut self) {
        self.before = self.heard.take();
        self.own = self.before.or(self.own).max(self.passed_over.take());
        self.leaps = true;
        self.followed = 0;
        self.questions.clear();
    }

    /// Ends being master; the next one heard begins a sequence.
    pub(super) fn end(&mut self) {
        self.heard = None;
        self.followed = 0;
        self.questions.clear();
    }

    /// The next counter of our own sequence, which nobody could foresee.
    pub(super) fn question(&mut self, authenticator: &Authenticator) -> u64 {
        let drawn = authenticator.derive(self.seed, self.drawn);
        self.drawn = self.drawn.wrapping_add(1);
        let largest = if self.leaps { LARGEST_LEAP } else { LARGEST_STEP };
        self.leaps = false;
        let step = (drawn & (largest.wrapping_sub(1))).wrapping_add(ANSWER);
        // The first one of a life is in the lower quarter, so that no sequence wraps.
        let next = self.own.map_or(drawn >> 2, |own| own.wrapping_add(step));
        self.own = Some(next);
        if self.questions.len() >= QUESTIONS {
            self.questions.pop_front();
        }
        self.questions.push_back(next);
        self.remember(next);
        next
    }

    /// The counter that proves to the sender of `heard` that we have heard it.
    pub(super) fn answer(&mut self, heard: u64) -> u64 {
        let answer = heard.wrapping_add(1);
        self.remember(answer);
        answer
    }

    /// The counter that continues the sequence of the master that is to be preempted.
    pub(super) fn succeed(&mut self, authenticator: &Authenticator) -> u64 {
        match self.before {
            Some(heard) => self.answer(heard),
            None => self.question(authenticator),
        }
    }
}

/// Whether `counter` is after `start`, by `most` at most; counters wrap.
const fn is_within(counter: u64, start: u64, most: u64) -> bool {
    let ahead = counter.wrapping_sub(start);
    ahead >= 1 && ahead <= most
}

#[cfg(test)]
mod tests {
    use super::*;

    fn authenticator() -> Authenticator {
        Authenticator::new(b"secret", &[]).expect("a password")
    }

    #[test]
    fn a_counter_counts_once_whoever_sent_it() {
        let mut counters = Counters::new(1);
        counters.accept(77);
        assert_eq!(counters.judge(77), Freshness::Copy);
        let ours = counters.question(&authenticator());
        assert_eq!(counters.judge(ours), Freshness::Copy, "our own advert, sent back");
        let answer = counters.answer(500);
        assert_eq!(counters.judge(answer), Freshness::Copy);
    }

    #[test]
    fn only_an_answer_to_a_recent_question_is_a_proof() {
        let (mut counters, authenticator) = (Counters::new(1), authenticator());
        let first = counters.question(&authenticator);
        assert_eq!(counters.judge(first + 1), Freshness::Proven);
        assert_eq!(counters.judge(first + ANSWER), Freshness::Proven);
        assert_eq!(counters.judge(first - 1), Freshness::Unknown);
        for _ in 0..QUESTIONS {
            counters.question(&authenticator);
        }
        assert_ne!(counters.judge(first + 1), Freshness::Proven, "long ago");
    }

    #[test]
    fn a_sequence_once_followed_is_not_left_for_older_counters() {
        let mut counters = Counters::new(1);
        counters.accept(1 << 50);
        assert_eq!(counters.judge(5), Freshness::Unknown, "a ucarp that draws at random");
        counters.accept(5);
        counters.accept(6);
        counters.accept(1_000_000);
        assert_eq!(counters.judge(7), Freshness::Stale);
        assert_eq!(counters.judge(1 << 50), Freshness::Copy);
        assert_eq!(counters.judge(1_000_001), Freshness::Follows);
    }

    #[test]
    fn questions_grow_and_cannot_be_foreseen_without_the_password() {
        let other = Authenticator::new(b"other", &[]).expect("a password");
        let (mut ours, mut theirs) = (Counters::new(1), Counters::new(1));
        let mut last = 0;
        for _ in 0..2_000 {
            let next = ours.question(&authenticator());
            assert!(next > last);
            assert_ne!(next, theirs.question(&other));
            last = next;
        }
        assert_eq!(ours.seen.len(), MEMORY, "memory is bounded");
    }

    #[test]
    fn a_new_master_begins_beyond_all_that_it_has_heard_and_its_followers_follow() {
        let authenticator = authenticator();
        // The sequences of two backups are far apart; a ucarp follows whoever spoke last.
        for (ours, theirs) in [(1 << 50, 1 << 60), (1 << 60, 1 << 50)] {
            let [mut one, mut other] = [1, 2].map(Counters::new);
            for step in 0..4 {
                one.accept(ours + step);
                other.accept(theirs + step);
            }
            assert_eq!(one.judge(theirs + 4), Freshness::Stale);
            one.pass_over(theirs + 4);
            one.begin();
            let begun = one.question(&authenticator);
            assert!(begun > ours && begun > theirs);
            if ours < theirs {
                assert_eq!(other.judge(begun), Freshness::Follows);
            }
        }
    }
}

//! A router that serves: its adverts, its rivals, and how it leaves.

use std::net::IpAddr;
use std::time::Duration;

use ha_core::time::Instant;

use super::{After, Router, State};
use crate::vrrp::effects::{Destination, Output, Reason, RouterEvent, StateName};
use crate::vrrp::wire::View;
use crate::vrrp::wire::extension::{self, Beat};

/// When a new holder announces itself after the first time: soon, in case frames were lost, and
/// again when switches and hosts have settled; the last time is the configuration's.
const ANNOUNCE_AFTER: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(1)];

/// How long a leaving router serves on at most after the successor's first advert.
pub(super) const MAX_LINGER: Duration = Duration::from_millis(10);

/// How long a router that could not hold the addresses leaves them to others.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Adverts go out at the sixteenths of an interval: routers with one interval then share their
/// wake-ups, and one that is alone is at most a sixteenth early once.
const SLOTS: u64 = 16;

/// How a router serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Serving {
    advert_at: Instant,
    /// When the next beat goes to kin, if any get them.
    beat_at: Option<Instant>,
    announce_at: Instant,
    /// How many announcements of the schedule are done.
    announced: usize,
    since: Instant,
    /// No answer to a rival before this: a flood of adverts must not make us flood.
    assert_after: Instant,
    /// Announce once more: a rival was heard, and an announcement of its may still follow.
    settle_at: Option<Instant>,
    /// The rival that was told of; it is told of again after another one.
    rival: Option<Rival>,
    /// Until then it leaves a lower router active that it did not know of, if it does not preempt.
    yields_until: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Rival {
    from: IpAddr,
    first: Instant,
    last: Instant,
}

impl Serving {
    pub(super) fn deadline(&self) -> Instant {
        let next = self.announce_at.min(self.advert_at);
        let next = self.settle_at.map_or(next, |at| at.min(next));
        self.beat_at.map_or(next, |at| at.min(next))
    }
}

impl Router {
    pub(super) fn become_active(&mut self, reason: Reason, out: &mut Vec<Output>) {
        self.stats.became_active += 1;
        self.active_interval = self.config.advert_interval;
        self.heard_from = None;
        self.kin.forget_offered();
        let young = 2 * self.config.active_down(self.priority(), self.active_interval);
        let serving = Serving {
            advert_at: slot(self.now, self.config.advert_interval),
            beat_at: self.beat_after(self.now),
            announce_at: self.now + ANNOUNCE_AFTER[0],
            announced: 0,
            since: self.now,
            assert_after: self.now,
            settle_at: None,
            rival: None,
            yields_until: self.now + young,
        };
        self.change(State::Active(serving), reason, out);
        // RFC 9568 §6.4.2 (380-420): advert, then gratuitous ARP or neighbour advertisement.
        self.send(self.priority().get(), out);
        out.push(Output::Acquire);
        out.push(Output::Announce);
    }

    pub(super) fn advert_in_active(
        &mut self,
        from: IpAddr,
        advert: &View<'_>,
        out: &mut Vec<Output>,
    ) {
        let (theirs, ours) = (advert.priority(), self.priority().get());
        if theirs == 0 {
            // RFC 9568 §6.4.3 (620): another active router stops; say that this one goes on. It
            // was not alone: clients may know the other's link-layer address.
            self.assert(out);
            return;
        }
        self.meet_rival(from, theirs, out);
        if theirs > ours || (theirs == ours && from > self.source) {
            // RFC 9568 §6.4.3 (640): the other one wins. The last word tells it that it was not
            // alone, so that it announces the addresses again; they stay here for a moment, as
            // one that preempts may not have them yet.
            self.send(ours, out);
            self.learn(from, advert.interval());
            self.part_from_rival(out);
            let until = self.now + self.linger();
            let next = State::Leaving { until, next: After::Backup, successor_heard: true };
            self.change(next, Reason::HigherPriority, out);
        } else if self.yields_to_sitting() {
            self.part_from_rival(out);
            self.say_goodbye(After::Backup, Reason::NotPreempting, out);
        } else {
            // RFC 9568 §6.4.3 (675): assert the active state at once.
            self.assert(out);
        }
    }

    /// One that does not preempt, and has only just become active or just woken up, has missed
    /// the adverts of whoever was active already.
    fn yields_to_sitting(&self) -> bool {
        let State::Active(serving) = &self.state else {
            return false;
        };
        !self.preempts() && self.now < serving.yields_until
    }

    /// Tells of another active router once, not with each of its adverts.
    fn meet_rival(&mut self, from: IpAddr, priority: u8, out: &mut Vec<Output>) {
        let now = self.now;
        let State::Active(serving) = &mut self.state else {
            return;
        };
        match &mut serving.rival {
            Some(rival) if rival.from == from => rival.last = now,
            Some(_) | None => {
                self.part_from_rival(out);
                if let State::Active(serving) = &mut self.state {
                    serving.rival = Some(Rival { from, first: now, last: now });
                }
                out.push(Output::Event(RouterEvent::Rival { from, priority }));
            }
        }
    }

    fn part_from_rival(&mut self, out: &mut Vec<Output>) {
        if let State::Active(serving) = &mut self.state
            && let Some(Rival { from, first, last }) = serving.rival.take()
        {
            let lasted = last.since(first);
            out.push(Output::Event(RouterEvent::RivalGone { from, lasted }));
        }
    }

    /// Sends an advert and announces the addresses, at most twice an interval; and announces them
    /// once more a little later, since a client may hear the rival's announcement after this one.
    fn assert(&mut self, out: &mut Vec<Output>) {
        let interval = self.config.advert_interval;
        let now = self.now;
        if let State::Active(serving) = &mut self.state {
            serving.settle_at.get_or_insert(now + interval / 2);
            if serving.assert_after <= now {
                serving.assert_after = now + interval / 2;
                serving.advert_at = slot(now, interval);
                self.send(self.priority().get(), out);
                out.push(Output::Announce);
            }
        }
    }

    /// Fires the timers of [`State::Active`].
    pub(super) fn tick_active(&mut self, out: &mut Vec<Output>) {
        self.notice_oversleep();
        let now = self.now;
        let interval = self.config.advert_interval;
        let (delay, refresh) = (self.config.announce.delay, self.config.announce.refresh);
        let (mut advert, mut announce, mut alone) = (false, false, false);
        let State::Active(serving) = &mut self.state else {
            return;
        };
        if serving.advert_at <= now {
            // RFC 9568 §6.4.3 (600). A router that overslept by two adverts may have lost the
            // addresses to another: it says again where they are, or is told otherwise.
            announce = now.since(serving.advert_at) >= 2 * interval;
            advert = true;
            serving.advert_at = slot(now, interval);
            alone = serving.rival.is_some_and(|rival| now.since(rival.last) > 3 * interval);
        }
        announce |= serving.settle_at.take_if(|at| *at <= now).is_some();
        if serving.announce_at <= now {
            announce = true;
            while serving.announce_at <= now {
                serving.announced += 1;
                let scheduled = ANNOUNCE_AFTER.get(serving.announced).copied();
                let next =
                    scheduled.or((serving.announced == ANNOUNCE_AFTER.len()).then_some(delay));
                serving.announce_at = next.map_or(now + refresh, |after| serving.since + after);
            }
        }
        let beat = serving.beat_at.is_some_and(|at| at <= now);
        if alone {
            self.part_from_rival(out);
        }
        if advert {
            self.send(self.priority().get(), out);
        }
        if announce {
            out.push(Output::Announce);
        }
        if beat {
            self.send_beats(self.priority().get(), out);
        }
    }

    /// One that wakes up in the middle of a silence of its own may not be alone any more.
    pub(super) fn notice_oversleep(&mut self) {
        let (now, interval) = (self.now, self.config.advert_interval);
        if let State::Active(serving) = &mut self.state
            && now.since(serving.advert_at) >= 2 * interval
        {
            serving.yields_until = serving.yields_until.max(now + 2 * interval);
        }
    }

    /// When the next beat is due after `now`, if any kin gets beats.
    pub(super) fn beat_after(&self, now: Instant) -> Option<Instant> {
        let own = self.config.beat_interval?;
        self.kin.beats(own, now).map(|(_, interval)| slot(now, interval))
    }

    /// An offer came in: beats may begin.
    pub(super) fn begin_beats(&mut self) {
        let next = self.beat_after(self.now);
        if let State::Active(serving) = &mut self.state
            && serving.beat_at.is_none()
        {
            serving.beat_at = next;
        }
    }

    fn send_beats(&mut self, priority: u8, out: &mut Vec<Output>) {
        let own = self.config.beat_interval.unwrap_or(Duration::MAX);
        let (to, interval) = self.kin.beats(own, self.now).unwrap_or_default();
        let next = (!to.is_empty()).then(|| slot(self.now, interval));
        if let State::Active(serving) = &mut self.state {
            serving.beat_at = next;
        }
        let sequence = self.kin.next_sequence();
        let beat = Beat::new(self.config.vrid, priority, interval, sequence);
        for peer in to {
            let message = extension::encode(extension::Message::Beat(beat), self.source, peer);
            out.push(Output::Send(Destination::Peer(peer), message));
        }
    }

    /// RFC 9568 §6.4.3 (610) sends priority 0 and stops serving; here the addresses are served on
    /// until the successor is heard. One interval is longer than any successor's skew.
    pub(super) fn say_goodbye(&mut self, next: After, reason: Reason, out: &mut Vec<Output>) {
        self.send_goodbye(out);
        let skew = self.config.skew(crate::vrrp::Priority::DEFAULT, self.config.advert_interval);
        let patience = skew.max(self.config.advert_interval) + self.config.advert_interval / 2;
        let until = self.now + patience.max(Duration::from_millis(20));
        self.change(State::Leaving { until, next, successor_heard: false }, reason, out);
    }

    /// Priority 0 to all, and a word to the heir, by every way that there is to it: it need not
    /// wait for its skew.
    pub(super) fn send_goodbye(&mut self, out: &mut Vec<Output>) {
        if let Some(heir) = self.kin.heir(self.now) {
            let sequence = self.kin.next_sequence();
            let interval = self.config.beat_interval.unwrap_or_default();
            let beat = extension::Message::Beat(Beat::new(self.config.vrid, 0, interval, sequence));
            let message = extension::encode(beat, self.source, heir.address);
            out.push(Output::Send(Destination::Peer(heir.address), message));
            if let Some(second) = heir.second {
                let message = extension::encode(beat, self.source, second);
                out.push(Output::Send(Destination::Routed(second), message));
            }
        }
        self.send(0, out);
    }

    /// How long a leaving router serves on after the successor's first advert: the RFC lets that
    /// one send the advert before it has the addresses. Half an advert interval at most.
    pub(super) fn linger(&self) -> Duration {
        MAX_LINGER.min(self.config.advert_interval / 2)
    }

    pub(super) fn advert_in_leaving(&mut self, from: IpAddr, advert: &View<'_>) {
        let linger = self.linger();
        if advert.priority() == 0 {
            return;
        }
        self.learn(from, advert.interval());
        let now = self.now;
        if let State::Leaving { until, successor_heard, .. } = &mut self.state
            && !*successor_heard
        {
            *until = now + linger;
            *successor_heard = true;
        }
    }

    pub(super) fn leave(&mut self, next: After, reason: Reason, out: &mut Vec<Output>) {
        match next {
            After::Initialize => self.change(State::Initialize, reason, out),
            After::Backup | After::Yield => self.become_backup(reason, out),
        }
        out.push(Output::Release);
    }

    /// No successor was heard. A router that stops goes all the same; one that was to hand over
    /// serves on: at least one must.
    pub(super) fn give_up_leaving(&mut self, next: After, out: &mut Vec<Output>) {
        match next {
            After::Initialize | After::Yield => self.leave(next, Reason::NoSuccessor, out),
            After::Backup => {
                self.standing_back = false;
                self.become_active(Reason::NoSuccessor, out);
            }
        }
    }

    pub(super) fn acquire_failed(&mut self, out: &mut Vec<Output>) {
        if self.state().holds() {
            let retry_at = self.now + RETRY_AFTER.max(4 * self.config.advert_interval);
            self.drop_addresses(Some(retry_at), Reason::AcquireFailed, out);
        }
    }

    /// Goes into the fault state; a router that served says goodbye first.
    pub(super) fn drop_addresses(
        &mut self,
        retry_at: Option<Instant>,
        reason: Reason,
        out: &mut Vec<Output>,
    ) {
        // One that stops has said goodbye, and must not come back from the fault.
        if let State::Leaving { next: After::Initialize, .. } = self.state {
            return self.leave(After::Initialize, reason, out);
        }
        let held = self.state().holds();
        if self.state() == StateName::Active {
            self.part_from_rival(out);
        }
        if held {
            self.send_goodbye(out);
        }
        self.change(State::Fault { retry_at }, reason, out);
        if held {
            out.push(Output::Release);
        }
    }
}

/// The latest slot that is no later than one interval from now.
fn slot(now: Instant, interval: Duration) -> Instant {
    let step = u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX) / SLOTS;
    let at = (now + interval).as_nanos();
    Instant::from_nanos(at - at % step.max(1))
}

//! A router that listens: what it hears, and when it takes over.

use std::net::IpAddr;
use std::time::Duration;

use ha_core::time::Instant;

use super::kin::KinTable;
use super::{Router, State};
use crate::vrrp::config::Priority;
use crate::vrrp::effects::{Destination, HeldBack, Output, Reason, RouterEvent};
use crate::vrrp::wire::View;
use crate::vrrp::wire::extension::{self, Beat, Offer};

/// How many silent beat intervals, besides the skew of one, mean that kin is dead.
const SILENT_BEATS: u32 = 3;

/// A beat up to this many numbers behind is a duplicate or was overtaken on its way.
const REPLAYED: u32 = 1_000;

/// How a backup listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listening {
    /// When the silence has lasted long enough.
    pub(super) active_down_at: Instant,
    /// Why it would take over then.
    pub(super) expected: Reason,
    /// When it would take over because the beats of kin stay out.
    pub(super) beats_down_at: Option<Instant>,
    /// The number of the last beat, and whose it was.
    last_beat: Option<(IpAddr, u32)>,
    /// Since when only a lower active router has been heard that is to be preempted.
    lower_since: Option<Instant>,
    /// The time came, and it was held back.
    pub(super) overdue: bool,
    /// It has overslept once already, and listened again.
    listened_again: bool,
}

impl Listening {
    pub(super) const fn until(active_down_at: Instant, expected: Reason) -> Self {
        Self {
            active_down_at,
            expected,
            beats_down_at: None,
            last_beat: None,
            lower_since: None,
            overdue: false,
            listened_again: false,
        }
    }

    fn due(&self) -> (Instant, Reason) {
        match self.beats_down_at {
            Some(at) if at < self.active_down_at => (at, Reason::ActiveSilent),
            Some(_) | None => (self.active_down_at, self.expected),
        }
    }
}

impl Router {
    pub(super) fn advert_in_backup(
        &mut self,
        from: IpAddr,
        advert: &View<'_>,
        out: &mut Vec<Output>,
    ) {
        if advert.priority() == 0 {
            self.active_stops(from);
            return;
        }
        if self.bears(advert.priority()) {
            // RFC 9568 §6.4.2 (440): an active router that we accept is alive.
            if self.heard_from != Some(from) {
                let priority = advert.priority();
                out.push(Output::Event(RouterEvent::Follows { active: from, priority }));
            }
            self.learn(from, advert.interval());
            self.listen_on();
            self.offer(from, out);
        } else if let State::Backup(listening) = &mut self.state {
            // RFC 9568 §6.4.2 (460): a lower one is ignored, so that the timer runs out.
            listening.expected = Reason::Preempts;
        }
    }

    /// RFC 9568 §6.4.2 (430): the active router stops: wait for the skew alone. The goodbye of
    /// another one than that which was heard last is no reason: the one that serves goes on.
    fn active_stops(&mut self, from: IpAddr) {
        let skew = self.config.skew(self.priority(), self.active_interval);
        if self.heard_from.is_some_and(|active| active != from) {
            return;
        }
        if let State::Backup(listening) = &mut self.state {
            *listening = Listening::until(self.now + skew, Reason::ActiveStopped);
        }
    }

    /// Whether an active router of this priority is left to be active.
    fn bears(&mut self, priority: u8) -> bool {
        if priority >= self.priority().get() || !self.preempts() || self.standing_back {
            return true;
        }
        let (now, delay) = (self.now, self.config.preempt_delay);
        let State::Backup(listening) = &mut self.state else {
            return true;
        };
        let since = *listening.lower_since.get_or_insert(now);
        now < since + delay
    }

    /// Whether a lower active router is to be relieved; the owner always does so.
    pub(super) fn preempts(&self) -> bool {
        self.config.preempt || self.config.priority.is_owner()
    }

    /// Waits for the active-down interval from now on; beats and a preemption's delay go on.
    fn listen_on(&mut self) {
        let interval = self.config.active_down(self.priority(), self.active_interval);
        if let State::Backup(listening) = &mut self.state {
            listening.active_down_at = self.now + interval;
            listening.expected = Reason::ActiveSilent;
            listening.overdue = false;
            listening.listened_again = false;
        }
    }

    /// Tells the active router, if it is kin, that this one would be its heir.
    fn offer(&mut self, active: IpAddr, out: &mut Vec<Output>) {
        let due = self.kin.offer_due(active, &self.config, self.active_interval, self.now);
        let Some((min_rx, hold)) = due else { return };
        let priority = if self.standing_back { 1 } else { self.priority().get() };
        let offer = extension::Message::Offer(Offer::new(self.config.vrid, priority, min_rx, hold));
        let message = extension::encode(offer, self.source, active);
        out.push(Output::Send(Destination::Peer(active), message));
    }

    /// A beat of kin: it is alive, or it makes this router its heir.
    pub(super) fn beat(&mut self, from: IpAddr, beat: &Beat, out: &mut Vec<Output>) {
        let Some(kin) = KinTable::find(&self.config, from) else {
            return;
        };
        let bears = beat.priority > 0 && self.bears(beat.priority);
        let (priority, now) = (self.priority(), self.now);
        let State::Backup(listening) = &mut self.state else {
            return;
        };
        // A number that was heard already is a replay or a duplicate; one far behind is another
        // life of the sender's, which has begun anew.
        if let Some((of, last)) = listening.last_beat
            && of == kin.address
            && last.wrapping_sub(beat.sequence) < REPLAYED
        {
            return;
        }
        listening.last_beat = Some((kin.address, beat.sequence));
        if beat.priority == 0 {
            let known = self.heard_from.is_none_or(|active| active == kin.address);
            if known && !self.standing_back {
                self.take_over(Reason::Heir, out);
            }
        } else if beat.interval.is_zero() {
            listening.beats_down_at = None;
        } else if bears {
            let down = SILENT_BEATS * beat.interval + beat_skew(priority, beat.interval);
            listening.beats_down_at = Some(now + down);
            self.heard_from = Some(kin.address);
            self.listen_on();
        }
    }

    /// A detector says that a neighbour is gone. If that was the active router, its silence need
    /// not be waited for.
    pub(super) fn peer_lost(&mut self, peer: IpAddr, out: &mut Vec<Output>) {
        let is_active = self.heard_from == Some(peer)
            || KinTable::find(&self.config, peer)
                .is_some_and(|kin| self.heard_from == Some(kin.address));
        if is_active && matches!(self.state, State::Backup(_)) {
            self.take_over(Reason::PeerLost, out);
        }
    }

    /// Fires the timers of [`State::Backup`].
    pub(super) fn tick_backup(&mut self, out: &mut Vec<Output>) {
        let interval = self.active_interval;
        let now = self.now;
        let skew = self.config.skew(self.priority(), interval);
        if self.is_overdue() {
            self.reconsider(out);
            return;
        }
        let State::Backup(listening) = &mut self.state else {
            return;
        };
        let (due, reason) = listening.due();
        if now < due {
            return;
        }
        if now.since(due) > interval && !listening.listened_again {
            // Overslept: adverts may have come and gone unheard, so that this silence says
            // nothing. Whoever serves says so within one interval.
            *listening = Listening::until(now + interval + skew, listening.expected);
            listening.listened_again = true;
            return;
        }
        // RFC 9568 §6.4.2 (370): the active router is gone.
        self.take_over(reason, out);
    }

    /// Why it would take over.
    pub(super) fn expected_reason(&self) -> Reason {
        match &self.state {
            State::Backup(listening) => listening.expected,
            State::Initialize | State::Active(_) | State::Leaving { .. } | State::Fault { .. } => {
                Reason::ActiveSilent
            }
        }
    }

    /// Becomes active, unless something holds it back; then it is overdue until that has gone.
    pub(super) fn take_over(&mut self, reason: Reason, out: &mut Vec<Output>) {
        let held_back = self.held_back();
        let State::Backup(listening) = &mut self.state else {
            return;
        };
        let Some(by) = held_back else {
            self.become_active(reason, out);
            return;
        };
        listening.expected = reason;
        listening.beats_down_at = None;
        if !std::mem::replace(&mut listening.overdue, true) && by != HeldBack::Group {
            out.push(Output::Event(RouterEvent::HeldBack { by }));
        }
    }

    /// The owner of the addresses does not listen: only its group or its trackers are waited for.
    pub(super) const fn await_owners_turn(&mut self) {
        if let State::Backup(listening) = &mut self.state {
            listening.expected = Reason::Owner;
            listening.overdue = true;
        }
    }

    fn held_back(&self) -> Option<HeldBack> {
        if self.gates.waiting {
            return Some(HeldBack::Trackers);
        }
        if !self.gates.link_proven && self.now < self.gates.patience_until {
            return Some(HeldBack::Link);
        }
        self.gates.grouped.then_some(HeldBack::Group)
    }

    /// Takes over after all if what held it back has gone.
    pub(super) fn reconsider(&mut self, out: &mut Vec<Output>) {
        if self.is_overdue() && self.held_back().is_none() {
            self.take_over(self.expected_reason(), out);
        }
    }

    /// Whether its time has come, and only its group holds it back.
    pub(in crate::vrrp) fn waits_for_group(&self) -> bool {
        self.is_overdue() && self.held_back() == Some(HeldBack::Group)
    }

    fn is_overdue(&self) -> bool {
        matches!(&self.state, State::Backup(listening) if listening.overdue)
    }

    pub(super) fn backup_deadline(&self, listening: &Listening) -> Option<Instant> {
        if !listening.overdue {
            return Some(listening.due().0);
        }
        // Held back by an unproven link it waits for the end of its patience, else for an input.
        let by_link = self.held_back() == Some(HeldBack::Link);
        by_link.then_some(self.gates.patience_until)
    }
}

fn beat_skew(priority: Priority, interval: Duration) -> Duration {
    interval * (256 - u32::from(priority.get())) / 256
}

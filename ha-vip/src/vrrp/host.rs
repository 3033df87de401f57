//! All virtual routers of a host as one machine: packets and verdicts find their routers, groups
//! keep together, and one deadline stands for all.

mod group;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use ha_core::machine::Machine;
use ha_core::time::Instant;

use self::group::Group;
use super::config::{MAX_ROUTERS, Vrid};
use super::effects::{Heard, Input, Output, RouterEvent, StateName};
use super::router::Router;
use super::wire::extension::is_extension;
use crate::track::{Standing, Tally, Verdict};

/// Which of a host's virtual routers; never used again after its removal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouterId(usize);

impl RouterId {
    /// Its place in the order in which routers were added.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0
    }
}

impl fmt::Display for RouterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Where a virtual router is heard: an interface's index, and whether IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(clippy::exhaustive_structs, reason = "the two halves of a link's name")]
pub struct LinkId {
    /// The interface's index.
    pub interface: u32,
    /// Whether the packets are of IPv6.
    pub ipv6: bool,
}

/// What can happen to the routers of a host.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum HostInput {
    /// To every router.
    All(Input),
    /// To one router. [`Input::HandOver`] and [`Input::Resume`] reach its whole group.
    Router(RouterId, Input),
    /// A tracker of this name says something.
    Verdict(String, Verdict),
}

/// The virtual routers of one host.
///
/// ```
/// use ha_core::machine::Machine;
/// use ha_core::time::Instant;
/// use ha_vip::VirtualAddress;
/// use ha_vip::track::Tally;
/// use ha_vip::vrrp::{Host, HostInput, Input, LinkId, Router, RouterConfig, StateName};
///
/// let address: VirtualAddress = "192.0.2.10/24".parse()?;
/// let config = RouterConfig::builder(51).address(address).build()?;
/// let tally = Tally::new(config.priority(), Vec::new());
/// let router = Router::new(config, "192.0.2.1".parse()?);
///
/// let mut host = Host::new();
/// let id = host.add(router, tally, &[LinkId { interface: 2, ipv6: false }]);
/// let mut out = Vec::new();
/// host.handle(Instant::ZERO, HostInput::All(Input::Start), &mut out);
/// host.tick(host.deadline().expect("it listens"), &mut out);
/// assert_eq!(host.router(id).map(Router::state), Some(StateName::Active));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct Host {
    entries: Vec<Option<Entry>>,
    groups: Vec<Group>,
    /// Deadlines by time. One may be too early, since a later one is not looked for before it.
    timers: BTreeSet<(Instant, RouterId)>,
    by_number: BTreeMap<(LinkId, Vrid), Heading>,
    by_tracker: BTreeMap<String, Vec<RouterId>>,
    /// What each tracker said last: routers that come later hear it, too.
    verdicts: BTreeMap<String, Verdict>,
    now: Instant,
    /// What one router says, before its number is written beside it.
    said: Vec<Output>,
    /// Groups whose members have changed, and the member that had to yield, if one had to.
    changed: Vec<(usize, Option<RouterId>)>,
}

#[derive(Debug, Clone, Copy)]
struct Heading {
    id: RouterId,
    /// The router's own link rather than a second one, where only kin have a say.
    own: bool,
}

#[derive(Debug, Clone)]
struct Entry {
    router: Router,
    tally: Tally,
    /// The standing that the router was told last.
    told: Option<Standing>,
    armed: Option<Instant>,
    group: Option<usize>,
}

impl Host {
    /// A host without routers.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a router that is heard on `links`: its own first, then second ones. Of two with one
    /// number on one link the later one is heard.
    pub fn add(&mut self, router: Router, mut tally: Tally, links: &[LinkId]) -> RouterId {
        let id = RouterId(self.entries.len());
        self.head(id, router.config().vrid(), links);
        self.remind(&mut tally);
        for name in tally.names() {
            self.by_tracker.entry(name.to_owned()).or_default().push(id);
        }
        self.entries.push(Some(Entry { router, tally, told: None, armed: None, group: None }));
        id
    }

    /// Moves a router to other links, as when its interface was removed and is there again: it is
    /// heard on `links`, its own first, and sends from `source`.
    pub fn move_to(&mut self, id: RouterId, source: IpAddr, links: &[LinkId]) {
        self.by_number.retain(|_, heading| heading.id != id);
        if let Some(entry) = self.entry_mut(id) {
            entry.router.set_source(source);
            let vrid = entry.router.config().vrid();
            self.head(id, vrid, links);
        }
    }

    fn head(&mut self, id: RouterId, vrid: Vrid, links: &[LinkId]) {
        for (place, link) in links.iter().enumerate() {
            let heading = Heading { id, own: place == 0 };
            // One that takes the place of another that still says goodbye is heard instead of it.
            self.by_number.insert((*link, vrid), heading);
        }
    }

    fn remind(&self, tally: &mut Tally) {
        let names: Vec<String> = tally.names().map(str::to_owned).collect();
        for name in names {
            if let Some(verdict) = self.verdicts.get(&name) {
                tally.report(&name, *verdict);
            }
        }
    }

    /// Makes routers a group: they are active together or not at all.
    pub fn group(&mut self, members: &[RouterId]) {
        let number = self.groups.len();
        for id in members {
            if let Some(entry) = self.entry_mut(*id) {
                entry.group = Some(number);
                entry.router.set_grouped(true);
            }
        }
        self.groups.push(Group::new(members.to_vec()));
    }

    /// Takes all routers out of their groups, for a reload that groups them anew.
    pub fn ungroup(&mut self) {
        self.groups.clear();
        for entry in self.entries.iter_mut().flatten() {
            entry.group = None;
            entry.router.set_grouped(false);
        }
    }

    /// Forgets a router, which should have stopped.
    pub fn remove(&mut self, id: RouterId) {
        self.by_number.retain(|_, heading| heading.id != id);
        self.by_tracker.values_mut().for_each(|ids| ids.retain(|other| *other != id));
        self.by_tracker.retain(|_, ids| !ids.is_empty());
        if let Some(Entry { armed: Some(at), .. }) =
            self.entries.get_mut(id.0).and_then(Option::take)
        {
            self.timers.remove(&(at, id));
        }
    }

    /// Puts other trackers in the place of a router's.
    pub fn set_tally(
        &mut self,
        now: Instant,
        id: RouterId,
        mut tally: Tally,
        out: &mut Vec<HostOutput>,
    ) {
        self.now = self.now.max(now);
        self.remind(&mut tally);
        self.by_tracker.values_mut().for_each(|ids| ids.retain(|other| *other != id));
        for name in tally.names() {
            self.by_tracker.entry(name.to_owned()).or_default().push(id);
        }
        self.by_tracker.retain(|_, ids| !ids.is_empty());
        if let Some(entry) = self.entry_mut(id) {
            entry.tally = tally;
            self.tell_standing(id, out);
            self.keep_together(out);
        }
    }

    /// The router that a packet with this number on this link is for.
    #[must_use]
    pub fn find(&self, link: LinkId, vrid: Vrid) -> Option<RouterId> {
        self.by_number.get(&(link, vrid)).map(|heading| heading.id)
    }

    /// A router.
    #[must_use]
    pub fn router(&self, id: RouterId) -> Option<&Router> {
        self.entries.get(id.0)?.as_ref().map(|entry| &entry.router)
    }

    /// What the trackers of a router say.
    #[must_use]
    pub fn tally(&self, id: RouterId) -> Option<&Tally> {
        self.entries.get(id.0)?.as_ref().map(|entry| &entry.tally)
    }

    /// All routers.
    pub fn routers(&self) -> impl Iterator<Item = (RouterId, &Router)> {
        let entries = self.entries.iter().enumerate();
        entries.filter_map(|(index, entry)| Some((RouterId(index), &entry.as_ref()?.router)))
    }

    /// Takes in a packet that came over `link`, without copying it. A number that no router here
    /// has is nobody's: it is dropped without a count, as other people's routers may have it.
    pub fn receive(
        &mut self,
        now: Instant,
        link: LinkId,
        packet: Heard<'_>,
        out: &mut Vec<HostOutput>,
    ) {
        self.now = self.now.max(now);
        let vrid = packet.message.get(1).copied().and_then(Vrid::new);
        let Some(heading) = vrid.and_then(|vrid| self.by_number.get(&(link, vrid))) else {
            return;
        };
        let Heading { id, own } = *heading;
        if !own && !is_extension(packet.message) {
            return;
        }
        let now = self.now;
        self.with(id, out, |router, said| router.receive(now, packet, said));
        self.keep_together(out);
    }

    fn entry_mut(&mut self, id: RouterId) -> Option<&mut Entry> {
        self.entries.get_mut(id.0)?.as_mut()
    }

    /// Lets a router act, numbers what it says, and keeps its timer and its group up to date.
    fn with(
        &mut self,
        id: RouterId,
        out: &mut Vec<HostOutput>,
        act: impl FnOnce(&mut Router, &mut Vec<Output>),
    ) {
        let mut said = std::mem::take(&mut self.said);
        let Some(entry) = self.entries.get_mut(id.0).and_then(Option::as_mut) else {
            return;
        };
        let waited = entry.router.waits_for_group();
        act(&mut entry.router, &mut said);
        let group =
            entry.group.filter(|_| !said.is_empty() || entry.router.waits_for_group() != waited);
        let yields = said.iter().any(yields);
        let deadline = entry.router.deadline();
        let rearm = match (entry.armed, deadline) {
            (Some(armed), Some(deadline)) => deadline < armed,
            (armed, deadline) => armed.is_some() != deadline.is_some(),
        };
        if rearm {
            let armed = std::mem::replace(&mut entry.armed, deadline);
            self.set_timer(id, armed, deadline);
        }
        out.extend(said.drain(..).map(|output| (id, output)));
        self.said = said;
        if let Some(group) = group {
            self.changed.push((group, yields.then_some(id)));
        }
    }

    fn set_timer(&mut self, id: RouterId, before: Option<Instant>, after: Option<Instant>) {
        if let Some(at) = before {
            self.timers.remove(&(at, id));
        }
        if let Some(at) = after {
            self.timers.insert((at, id));
        }
    }

    fn verdict(&mut self, name: &str, verdict: Verdict, out: &mut Vec<HostOutput>) {
        self.verdicts.insert(name.to_owned(), verdict);
        for id in self.by_tracker.get(name).cloned().unwrap_or_default() {
            let changed = self.entry_mut(id).is_some_and(|entry| entry.tally.report(name, verdict));
            if changed {
                self.tell_standing(id, out);
            }
        }
    }

    /// Tells a router its standing if that is another than before: its own, or the fault of its
    /// group.
    fn tell_standing(&mut self, id: RouterId, out: &mut Vec<HostOutput>) {
        let faulty =
            |group: usize| self.groups.get(group).is_some_and(|group| group.is_faulty_for(id));
        let Some(entry) = self.entries.get(id.0).and_then(Option::as_ref) else {
            return;
        };
        let standing =
            if entry.group.is_some_and(faulty) { Standing::Fault } else { entry.tally.standing() };
        if entry.told == Some(standing) {
            return;
        }
        let now = self.now;
        if let Some(entry) = self.entry_mut(id) {
            entry.told = Some(standing);
        }
        self.with(id, out, |router, said| router.handle(now, Input::Standing(standing), said));
    }
}

/// What a router wants done and says, with the router's id.
pub type HostOutput = (RouterId, Output);

/// Whether a router said that it yields to another one.
fn yields(output: &Output) -> bool {
    use super::effects::Reason::{HigherPriority, NotPreempting};
    matches!(
        output,
        Output::Event(RouterEvent::StateChanged {
            to: StateName::Leaving,
            reason: HigherPriority | NotPreempting,
            ..
        })
    )
}

impl Machine for Host {
    type Input = HostInput;
    type Output = HostOutput;
    /// Every router may act in one call, and once more with its group.
    const MAX_OUTPUTS: usize = 4 * MAX_ROUTERS * Router::MAX_OUTPUTS;

    fn handle(&mut self, now: Instant, input: HostInput, out: &mut Vec<HostOutput>) {
        self.tick(now, out);
        let now = self.now;
        match input {
            HostInput::All(input) => {
                for index in 0..self.entries.len() {
                    let id = RouterId(index);
                    if input == Input::Start {
                        self.tell_standing(id, out);
                    }
                    self.with(id, out, |router, said| router.handle(now, input.clone(), said));
                }
            }
            HostInput::Router(id, input) => {
                for id in self.addressed(id, &input) {
                    if input == Input::Start {
                        self.tell_standing(id, out);
                    }
                    self.with(id, out, |router, said| router.handle(now, input.clone(), said));
                }
            }
            HostInput::Verdict(name, verdict) => self.verdict(&name, verdict, out),
        }
        self.keep_together(out);
    }

    fn tick(&mut self, now: Instant, out: &mut Vec<HostOutput>) {
        self.now = self.now.max(now);
        let now = self.now;
        while let Some((at, id)) = self.timers.first().copied()
            && at <= now
        {
            self.timers.pop_first();
            if let Some(entry) = self.entry_mut(id) {
                entry.armed = None;
            }
            self.with(id, out, |router, said| router.tick(now, said));
        }
        self.keep_together(out);
    }

    fn deadline(&self) -> Option<Instant> {
        self.timers.first().map(|(at, _)| *at)
    }
}

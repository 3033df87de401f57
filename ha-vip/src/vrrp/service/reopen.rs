//! Interfaces that go and come back: a new one of the same name has another index, and nothing
//! that was opened on the old one works there.

use std::time::Duration;

use ha_core::driver::Task;
use ha_core::machine::Machine;
use ha_core::time::Instant;

use super::ground::VirtualLink;
use super::opener::Opened;
use super::station::{Ear, Place, Station};
use super::watch::Word;
use super::{Service, ServiceError};
use crate::vrrp::effects::{Input, StateName};
use crate::vrrp::host::{HostInput, HostOutput, LinkId, RouterId};

/// How often a lost interface is looked for when nothing is heard of it.
const EVERY: Duration = Duration::from_secs(1);

impl Service {
    /// An interface is gone: whatever was opened on it is of no use.
    pub(super) fn lose_link(&mut self, now: Instant, index: u32) {
        let on = |link: &LinkId| link.interface == index;
        for station in self.stations.values_mut().filter(|station| station.links.iter().any(on)) {
            if station.is_on(index) {
                station.links.clear();
            } else {
                station.links.retain(|link| !on(link));
            }
            if !station.is_given_up() {
                station.place = Place::Lost { look_at: now + EVERY };
            }
        }
        self.ports.retain(|port| port.link().interface != index);
        self.proofs.remove(index);
        self.note_places();
    }

    /// An interface is new, or has changed: stations that had another one of this name move.
    pub(super) fn find_link(&mut self, now: Instant, index: u32, name: &str) {
        for station in self.stations.values_mut() {
            let moved = station.instance.interface() == name && !station.is_on(index);
            if moved && matches!(station.place, Place::Kept | Place::Lost { .. }) {
                station.place = Place::Lost { look_at: now };
            }
        }
        self.note_places();
    }

    /// Something that a lost station waits for may be there now.
    pub(super) fn look_soon(&mut self, now: Instant) {
        if self.look_at.is_none() {
            return;
        }
        for station in self.stations.values_mut() {
            if let Place::Lost { look_at } = &mut station.place {
                *look_at = now;
            }
        }
        self.note_places();
    }

    /// Notes when to look for a lost interface next; after each change of a station's place.
    fn note_places(&mut self) {
        let at = |station: &Station| match station.place {
            Place::Lost { look_at } => Some(look_at),
            Place::Kept | Place::Sought(_) | Place::GivenUp => None,
        };
        self.look_at = self.stations.values().filter_map(at).min();
    }

    /// Looks for the interfaces whose time has come, each in a task of its own.
    pub(super) fn seek(&mut self, now: Instant) {
        if self.look_at.is_none_or(|at| at > now) {
            return;
        }
        let spared = self.served_addresses();
        for (id, station) in self.stations.iter_mut() {
            if !matches!(station.place, Place::Lost { look_at } if look_at <= now) {
                continue;
            }
            let (opener, instance) = (self.opener.clone(), station.instance.clone());
            let (spared, words) = (spared.clone(), self.words.clone());
            station.place = Place::Sought(Task::spawn(move |mut stop| async move {
                let told = async {
                    let found = opener.open(&instance, &spared).await.map(Box::new);
                    // Without a driver nobody needs it.
                    words.send(Word::Opened(id, found)).await.unwrap_or_default();
                };
                tokio::select! { biased;
                    () = stop.wait() => {}
                    () = told => {}
                }
            }));
        }
        self.note_places();
    }

    /// Moves a station to what was found for it.
    pub(super) fn move_to(
        &mut self,
        now: Instant,
        id: RouterId,
        opened: Result<Box<Opened>, ServiceError>,
        out: &mut Vec<HostOutput>,
    ) {
        let Some(station) = self.stations.get_mut(id).filter(|station| !station.is_given_up())
        else {
            return;
        };
        station.place = Place::Lost { look_at: now + EVERY };
        self.look_at = Some(self.look_at.map_or(now + EVERY, |at| at.min(now + EVERY)));
        let opened = match opened {
            // What was changed by a reload meanwhile is looked for anew.
            Ok(opened) if self.is_still(id, &opened) => *opened,
            Ok(_) => return,
            Err(error) => return tracing::debug!(%error, "not back yet"),
        };
        let links: Vec<LinkId> = opened.links.iter().map(|(_, link)| *link).collect();
        let interface = opened.instance.interface().to_owned();
        if let Err(error) = self.open_ports(&opened) {
            return tracing::warn!(%error, interface, "cannot be used again yet");
        }
        let Some(station) = self.stations.get_mut(id) else {
            return;
        };
        tracing::info!(interface, subject = station.subject, "the interface is back");
        station.place = Place::Kept;
        station.links.clone_from(&links);
        let Opened { ground, addresses, listener, source, .. } = opened;
        station.holder = ground.holder(&addresses);
        let lost = std::mem::replace(&mut station.ground, ground).virtual_link;
        station.inherit(lost);
        station.ear = listener.map_or(Ear::Deaf, |listener| Ear::Ready(Box::new(listener)));
        station.listen(&self.words);
        if station.state.borrow().holds() {
            station.holder.acquire();
            station.holder.announce();
        }
        self.care.note_change();
        self.host.move_to(id, source, &links);
        let index = links.first().map_or(0, |link| link.interface);
        if self.proofs.add(index, &interface, now) {
            self.tell_link(now, index, &Input::LinkUnproven, out);
        }
        self.close_ports();
    }

    fn is_still(&self, id: RouterId, opened: &Opened) -> bool {
        self.stations.get(id).is_some_and(|station| station.instance == opened.instance)
    }

    /// Forgets the stations that have been given up and have stopped.
    pub(super) fn clear_out(&mut self) {
        if !self.gives_up {
            return;
        }
        let host = &self.host;
        let gone = self.stations.extract(|id, station| {
            let state = host.router(id).map(crate::vrrp::Router::state);
            let stopped = state.is_none_or(|state| state == StateName::Initialize);
            station.is_given_up() && stopped && station.holder.is_settled()
        });
        self.gives_up = self.stations.values().any(Station::is_given_up);
        if gone.is_empty() {
            return;
        }
        self.close_ports();
        for (id, mut station) in gone {
            self.host.remove(id);
            if let Some(link) = station.ground.virtual_link.take() {
                self.remove_virtual(link);
            }
        }
    }

    /// Removes an interface that was made for a router; its base goes on as before, unless another
    /// one over it needs that.
    fn remove_virtual(&mut self, mut link: VirtualLink) {
        let settings = link.give_settings();
        let mut links = self.stations.values_mut().filter_map(|s| s.ground.virtual_link.as_mut());
        match links.find(|other| other.base() == link.base()) {
            Some(other) => other.inherit(settings),
            None => settings.restore(),
        }
        self.farewells.push(Task::spawn(|_| async move { drop(link.remove().await) }));
    }

    /// Removes all interfaces that were made for routers, in the end.
    pub(super) async fn remove_all_virtual(&mut self) {
        for (_, mut station) in self.stations.extract(|_, _| true) {
            if let Some(link) = station.ground.virtual_link.take() {
                self.remove_virtual(link);
            }
        }
        for mut farewell in self.farewells.drain(..) {
            let _ended_either_way = farewell.ended().await;
        }
    }

    /// Closes the ears that no station has any more.
    pub(super) fn close_ports(&mut self) {
        let stations = &self.stations;
        let used = |link: LinkId| stations.values().any(|station| station.links.contains(&link));
        self.ports.retain(|port| used(port.link()));
    }

    /// Tells a router to stop, and forgets it when it has.
    pub(super) fn give_up(&mut self, now: Instant, id: RouterId, out: &mut Vec<HostOutput>) {
        if let Some(station) = self.stations.get_mut(id) {
            station.place = Place::GivenUp;
            self.gives_up = true;
            self.host.handle(now, HostInput::Router(id, Input::Stop), out);
        }
    }
}

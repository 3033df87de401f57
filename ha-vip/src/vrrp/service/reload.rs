//! Virtual routers come, go and change while the service runs.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ha_core::machine::Machine;
use ha_core::time::Instant;

use super::handle::{Changes, Reload, RouterHandle};
use super::opener::Opened;
use super::station::Station;
use super::watch::follow;
use super::{Service, ServiceError, builder};
use crate::address::VirtualAddress;
use crate::track::{LinkTracker, Tracker};
use crate::vrrp::auth::Authenticator;
use crate::vrrp::config::{HostConfig, Instance, SyncGroup};
use crate::vrrp::effects::Input;
use crate::vrrp::host::{HostInput, HostOutput, LinkId, RouterId};
use crate::vrrp::router::Router;
use crate::vrrp::socket::Port;

/// What is to be opened for another configuration, and which addresses are served meanwhile.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) open: Vec<Instance>,
    pub(super) spared: Vec<VirtualAddress>,
}

impl Service {
    /// What another configuration needs that is not there.
    pub(super) fn plan(&self, config: &HostConfig) -> Plan {
        let goes_on =
            |new: &&Instance| self.named(new.name()).is_some_and(|(_, old)| same_place(old, new));
        let open = config.instances().iter().filter(|new| !goes_on(new)).cloned().collect();
        Plan { open, spared: self.served_addresses() }
    }

    /// Takes another configuration over, or leaves everything as it is.
    pub(super) fn reload(
        &mut self,
        now: Instant,
        reload: Reload,
        out: &mut Vec<HostOutput>,
    ) -> Result<Changes, ServiceError> {
        let Reload { config, opened, trackers } = reload;
        // All that can fail comes first.
        if let Err(error) = opened.iter().try_for_each(|opened| self.open_ports(opened)) {
            self.close_ports();
            return Err(error);
        }
        let mut changes = Changes::default();
        let is_opened = |name: &str| opened.iter().any(|opened| opened.instance.name() == name);
        let ids: Vec<RouterId> = self.running().map(|(id, _)| id).collect();
        for id in ids {
            let Some(Station { instance, .. }) = self.stations.get(id) else {
                continue;
            };
            let name = instance.name().to_owned();
            let new = config.instances().iter().find(|new| new.name() == name);
            let Some(new) = new.filter(|_| !is_opened(&name)) else {
                let list =
                    if is_opened(&name) { &mut changes.restarted } else { &mut changes.removed };
                list.push(name);
                self.give_up(now, id, out);
                continue;
            };
            if *new != *instance {
                changes.changed.push(name);
                self.reconfigure(now, id, new, out);
            }
        }
        for opened in opened {
            let name = opened.instance.name().to_owned();
            let id = self.add(opened, config.groups());
            if let Some(station) = self.stations.get_mut(id) {
                station.listen(&self.words);
            }
            self.host.handle(now, HostInput::Router(id, Input::Start), out);
            if !changes.restarted.contains(&name) {
                changes.added.push(name);
            }
        }
        self.group(config.groups());
        self.follow_all(trackers, &config);
        let tallies: Vec<_> = self
            .running()
            .map(|(id, station)| (id, builder::tally_of(&station.instance, config.groups())))
            .collect();
        for (id, tally) in tallies {
            self.host.set_tally(now, id, tally, out);
        }
        self.care.note_change();
        self.publish();
        Ok(changes)
    }

    fn reconfigure(
        &mut self,
        now: Instant,
        id: RouterId,
        new: &Instance,
        out: &mut Vec<HostOutput>,
    ) {
        let Some(station) = self.stations.get_mut(id) else {
            return;
        };
        let addresses: Vec<_> =
            new.router.addresses.iter().chain(&new.router.unadvertised).copied().collect();
        if *station.addresses != *addresses {
            station.addresses = addresses.clone().into();
            station.holder.set_addresses(addresses);
        }
        station.instance = new.clone();
        match (&mut station.authenticator, new.hmac.clone()) {
            (Some(authenticator), Some(hmac)) => authenticator.reconfigure(hmac),
            (place, hmac) => *place = hmac.map(Authenticator::new),
        }
        let input = Input::Configure(Box::new(new.router.clone()));
        self.host.handle(now, HostInput::Router(id, input), out);
    }

    /// Makes a station of what was opened; its router waits to be started.
    pub(super) fn add(&mut self, opened: Opened, groups: &[SyncGroup]) -> RouterId {
        let tally = builder::tally_of(&opened.instance, groups);
        let router = Router::new(opened.instance.router().clone(), opened.source);
        let links: Vec<LinkId> = opened.links.iter().map(|(_, link)| *link).collect();
        for (name, link) in &opened.links {
            self.proofs.add(link.interface, name, Instant::ZERO);
        }
        self.care.note_lease(opened.ground.backend.lease());
        let id = self.host.add(router, tally, &links);
        let subject = self.naming.of(&opened.instance);
        self.stations.insert(id, Station::new(opened, id, subject, self.sender.clone()));
        id
    }

    /// Opens the ears of what was opened, where no other router has them already.
    pub(super) fn open_ports(&mut self, opened: &Opened) -> Result<(), ServiceError> {
        for (name, link) in &opened.links {
            let failed = |source| ServiceError::of_socket(name, source);
            if !self.ports.iter().any(|port| port.link() == *link) {
                self.ports.push(Port::open(name, *link).map_err(failed)?);
            }
            let own = opened.links.first().is_some_and(|(_, own)| own == link);
            let port = self.ports.iter_mut().find(|port| port.link() == *link);
            if let Some(port) = port.filter(|_| own) {
                port.speak_from(opened.source).map_err(failed)?;
                if let (IpAddr::V4(_), Some(made)) = (opened.source, &opened.ground.virtual_link) {
                    let vrid = opened.instance.router().vrid();
                    port.speak_through(opened.source, vrid, made.name()).map_err(failed)?;
                }
            }
        }
        Ok(())
    }

    /// Puts the routers into these groups, and no others.
    pub(super) fn group(&mut self, groups: &[SyncGroup]) {
        self.host.ungroup();
        for group in groups {
            let member = |name: &String| self.named(name).map(|(id, _)| id);
            let members: Vec<_> = group.members().iter().filter_map(member).collect();
            self.host.group(&members);
        }
    }

    /// Follows these trackers, and the links that are named and that no tracker has; those that
    /// nobody names any more are let go of.
    pub(super) fn follow_all(&mut self, trackers: Vec<Box<dyn Tracker>>, config: &HostConfig) {
        let mut named = BTreeSet::new();
        for instance in config.instances() {
            named.extend(builder::tally_of(instance, config.groups()).names().map(str::to_owned));
        }
        self.trackers.retain(|name, _| named.contains(name));
        for tracker in trackers.into_iter().filter(|tracker| named.contains(tracker.name())) {
            let task = follow(tracker, &self.words);
            self.trackers.insert(task.0, task.1);
        }
        for name in named {
            if !self.trackers.contains_key(&name) {
                let (name, task) =
                    follow(Box::new(LinkTracker::new(&self.monitor, &name)), &self.words);
                self.trackers.insert(name, task);
            }
        }
    }

    /// Shows the routers that run to those who hold handles.
    pub(super) fn publish(&self) {
        let handles: Vec<RouterHandle> =
            self.running().map(|(_, station)| station.handle.clone()).collect();
        self.published.send_replace(handles.into());
    }

    /// The stations that are configured.
    pub(super) fn running(&self) -> impl Iterator<Item = (RouterId, &Station)> {
        self.stations.iter().filter(|(_, station)| !station.is_given_up())
    }

    fn named(&self, name: &str) -> Option<(RouterId, &Station)> {
        self.running().find(|(_, station)| station.instance.name() == name)
    }

    pub(super) fn served_addresses(&self) -> Vec<VirtualAddress> {
        self.stations.values().flat_map(|station| station.addresses.iter().copied()).collect()
    }
}

/// Whether a router can go on where it is with this configuration.
fn same_place(old: &Station, new: &Instance) -> bool {
    let place = |instance: &Instance| {
        let router = instance.router();
        (
            (router.vrid, router.version, router.is_ipv6()),
            (instance.interface.clone(), instance.second_interfaces.clone(), instance.source),
            (instance.virtual_mac, instance.accepts(), instance.address_interfaces.clone()),
        )
    };
    place(&old.instance) == place(new)
}

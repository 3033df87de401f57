//! Another configuration for routers that run.

use ha_core::config::{ConfigError, Problems};
use ha_core::machine::Machine;
use ha_core::time::Instant;

use super::handle::Changes;
use super::station::Station;
use super::{Service, builder};
use crate::vrrp::auth::Authenticator;
use crate::vrrp::config::{HostConfig, RouterConfig};
use crate::vrrp::effects::Input;
use crate::vrrp::host::{HostInput, HostOutput, RouterId};

impl Service {
    /// Takes another configuration over, or leaves everything as it is.
    pub(super) fn reload(
        &mut self,
        now: Instant,
        config: &HostConfig,
        out: &mut Vec<HostOutput>,
    ) -> Result<Changes, ConfigError> {
        self.check_reload(config)?;
        let mut changed = Vec::new();
        let ids: Vec<RouterId> = self.host.routers().map(|(id, _)| id).collect();
        for (id, station) in ids.iter().zip(&mut self.stations) {
            let new = config.instances().iter().find(|new| new.name == station.instance.name);
            let Some(new) = new.filter(|new| **new != station.instance) else {
                continue;
            };
            changed.push(new.name.clone());
            let addresses: Vec<_> =
                new.router.addresses.iter().chain(&new.router.unadvertised).copied().collect();
            if *station.addresses != *addresses {
                station.addresses = addresses.clone().into();
                station.holder.set_addresses(addresses);
            }
            self.care.note_change();
            station.instance = new.clone();
            match (&mut station.authenticator, new.hmac.clone()) {
                (Some(authenticator), Some(hmac)) => authenticator.reconfigure(hmac),
                (place, hmac) => *place = hmac.map(Authenticator::new),
            }
            let input = Input::Configure(Box::new(new.router.clone()));
            self.host.handle(now, HostInput::Router(*id, input), out);
        }
        self.host.ungroup();
        let mut tallies = Vec::new();
        for (id, station) in ids.iter().zip(&self.stations) {
            tallies.push((*id, builder::tally_of(&station.instance, config.groups())));
        }
        for group in config.groups() {
            let in_group = |(id, station): (&RouterId, &Station)| {
                group.members.contains(&station.instance.name).then_some(*id)
            };
            let members: Vec<_> = ids.iter().zip(&self.stations).filter_map(in_group).collect();
            self.host.group(&members);
        }
        for (id, tally) in tallies {
            self.host.set_tally(now, id, tally, out);
        }
        Ok(Changes { changed })
    }

    fn check_reload(&self, config: &HostConfig) -> Result<(), ConfigError> {
        let mut problems = Problems::new();
        let names = |name: &str| config.instances().iter().any(|new| new.name == name);
        for station in self.stations.iter().filter(|station| !names(station.instance.name())) {
            let path = format!("instance.{}", station.instance.name());
            problems.add(path, "gone", "every virtual router that runs; stop it with its service");
        }
        for new in config.instances() {
            let path = |field: &str| format!("instance.{}.{field}", new.name);
            let old = self.stations.iter().find(|old| old.instance.name == new.name);
            let Some(old) = old.map(|station| &station.instance) else {
                problems.add(path("name"), "new", "no new virtual router; start a service for it");
                continue;
            };
            if old.interface != new.interface || old.second_interfaces != new.second_interfaces {
                problems.add(path("interface"), &new.interface, "the interfaces that it runs on");
            }
            let fixed = |router: &RouterConfig| (router.vrid, router.version, router.is_ipv6());
            if fixed(&old.router) != fixed(&new.router) || old.source != new.source {
                let allowed = "the number, version, family and source that it runs with";
                problems.add(path("vrid"), new.router.vrid, allowed);
            }
        }
        problems.into_result(())
    }
}

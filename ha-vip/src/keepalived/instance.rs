//! `vrrp_instance`: a virtual router.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use super::address::{self, Floating};
use super::block::Statement;
use super::check::{Checks, Kind};
use super::global::{self, Globals, OWN_GROUP, is_own_group, unknown};
use super::report::{Place, Report};
use super::script::Runner;
use super::values::Reference;
use super::{auth, group::Membership};
use crate::track::{Tracked, Weight};
use crate::vrrp::notify::Scripts;
use crate::vrrp::wire::{Checksum, Version};
use crate::vrrp::{Instance, RouterBuilder, RouterConfig};

/// What changes nothing here: what is always done, settings of the process, and pacing.
const HARMLESS: [&str; 16] = [
    "check_unicast_src",
    "debug",
    "garp_lower_prio_delay",
    "garp_lower_prio_repeat",
    "garp_master_refresh_repeat",
    "higher_prio_send_advert",
    "kernel_rx_buf_size",
    "linkbeat_use_polling",
    "lower_prio_no_advert",
    "native_ipv6",
    "notify_priority_changes",
    "preempt",
    "skip_check_adv_addr",
    "unicast_fault_no_peer",
    "use_vmac_addr",
    "vmac_xmit_base",
];

/// What cannot be had, and why.
const UNHONOURED: [(&str, &str); 10] = [
    ("garp_extra_if", "addresses are announced on their own interface"),
    ("lvs_sync_daemon_interface", "IPVS is not served here"),
    ("notify_deleted", "a virtual router ends with the program"),
    ("notify_master_rx_lower_pri", "notices tell states, and both routers' come right by itself"),
    ("promote_secondaries", "set the interface's sysctl instead"),
    ("track_src_ip", "the source address is not watched; track its interface"),
    ("use_ipvlan", "there are no ipvlans"),
    ("virtual_routes", "routes do not float; a notify script can set them"),
    ("virtual_rules", "rules do not float; a notify script can set them"),
    ("vrf", "give the instance its interface"),
];

/// Where the setting with this name, as [`RouterBuilder`] tells of it, stands.
type Places = BTreeMap<&'static str, Place>;

/// A virtual router that was read, with whoever is told of it.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) instance: Instance,
    pub(super) scripts: Scripts,
    pub(super) places: Places,
    pub(super) at: Place,
}

/// What is known while an instance is read.
#[expect(clippy::struct_excessive_bools, reason = "each is a keyword of its own")]
struct Draft<'a> {
    block: &'a Statement,
    name: &'a str,
    interface: &'a str,
    builder: RouterBuilder,
    places: Places,
    version: Option<Version>,
    floating: Vec<Floating>,
    excluded: Vec<Floating>,
    interval: Duration,
    initially_master: bool,
    preempt: bool,
    preempt_delay: Duration,
    peers: Vec<IpAddr>,
    hop_limits: Option<(u8, u8)>,
    password: Option<(String, &'a Place)>,
    hmac: Option<&'a Statement>,
    source: Option<IpAddr>,
    virtual_mac: bool,
    accept: bool,
    tracks_primary: bool,
    tracked: Vec<Tracked>,
    scripts: Scripts,
}

/// Reads an instance.
pub(super) fn read(
    block: &Statement,
    runner: &mut Runner<'_>,
    checks: &Checks,
    membership: &Membership,
    report: &mut Report,
) -> Option<Made> {
    let name = block.name(report)?;
    let (mut vrid, mut interface) = (None, None);
    for statement in block.inner() {
        match statement.keyword() {
            "virtual_router_id" => vrid = statement.number(report, 1..=255),
            "interface" => interface = statement.one(report, "the name of an interface"),
            _ => {}
        }
    }
    for (keyword, is_there) in
        [("virtual_router_id", vrid.is_some()), ("interface", interface.is_some())]
    {
        if !is_there && !block.inner().iter().any(|line| line.keyword() == keyword) {
            report.wrong(&block.at, block.text(), format!("it needs `{keyword}`"));
        }
    }
    let mut draft = Draft::new(block, name, vrid.unwrap_or(1), interface.unwrap_or_default());
    draft.announce_as(runner.globals);
    for statement in block.inner() {
        draft.note(statement);
        let taken = draft.take_router(statement, report)
            || draft.take_addresses(statement, report)
            || draft.take_announcing(statement, report)
            || draft.take_tracked(statement, checks, membership, report)
            || runner.take_notify(statement, &mut draft.scripts, report);
        if !taken {
            ignored(statement, report);
        }
    }
    let made = draft.finish(runner.globals, report);
    made.filter(|_| vrid.is_some() && interface.is_some())
}

/// What is not honoured, or need not be.
fn ignored(statement: &Statement, report: &mut Report) {
    let keyword = statement.keyword();
    let unhonoured = UNHONOURED.iter().find(|(known, _)| *known == keyword);
    match keyword {
        _ if HARMLESS.contains(&keyword) => {}
        "smtp_alert" => {
            if statement.is_on(report) == Some(true) {
                let why = "no mail is sent; use a notify script";
                report.refuse(&statement.at, "`smtp_alert`", why);
            }
        }
        "strict_mode" => {
            if statement.is_on(report) == Some(true) {
                report.refuse(&statement.at, "`strict_mode`", "the strict mode is not there");
            }
        }
        "mcast_dst_ip" if is_own_group(statement.arg(0)) => {}
        // Without these the peers would not hear one another, so that both would serve: nothing
        // to be lenient about.
        "mcast_dst_ip" => report.wrong(&statement.at, statement.text(), OWN_GROUP),
        "old_unicast_checksum" if statement.arg(0) == Some("never") => {}
        "old_unicast_checksum" => {
            let allowed = "`never`: the checksum of keepalived before 1.3.6 is not spoken";
            report.wrong(&statement.at, statement.text(), allowed);
        }
        "unicast_ttl" if statement.arg(0) == Some("255") => {}
        "unicast_ttl" => report.refuse(&statement.at, statement.text(), "adverts leave with 255"),
        _ => match unhonoured {
            Some((_, why)) => report.refuse(&statement.at, statement.quoted(), why),
            None => unknown(&statement.at, statement, "vrrp_instance", report),
        },
    }
}

impl<'a> Draft<'a> {
    fn new(block: &'a Statement, name: &'a str, vrid: u8, interface: &'a str) -> Self {
        Self {
            block,
            name,
            interface,
            builder: RouterConfig::builder(vrid),
            places: Places::new(),
            version: None,
            floating: Vec::new(),
            excluded: Vec::new(),
            interval: Duration::from_secs(1),
            initially_master: false,
            preempt: true,
            preempt_delay: Duration::ZERO,
            peers: Vec::new(),
            hop_limits: None,
            password: None,
            hmac: None,
            source: None,
            virtual_mac: false,
            accept: true,
            tracks_primary: true,
            tracked: Vec::new(),
            scripts: Scripts::new(),
        }
    }

    /// Changes the builder, which its setters consume.
    fn set(&mut self, change: impl FnOnce(RouterBuilder) -> RouterBuilder) {
        self.builder = change(self.builder.clone());
    }

    fn announce_as(&mut self, globals: &Globals) {
        if let Some(repeat) = globals.announce_repeat {
            self.set(|builder| builder.announce_repeat(repeat));
        }
        if let Some(delay) = globals.announce_delay {
            self.set(|builder| builder.announce_delay(delay));
        }
        if let Some(refresh) = globals.announce_refresh {
            self.set(|builder| builder.announce_refresh(refresh));
        }
        if let Some(adverts) = globals.down_adverts {
            self.set(|builder| builder.down_adverts(adverts));
        }
        if globals.message_checksum {
            self.set(|builder| builder.checksum(Checksum::MessageOnly));
        }
    }

    /// Remembers where the settings stand that are checked in the end only.
    fn note(&mut self, statement: &Statement) {
        let setting = match statement.keyword() {
            "virtual_router_id" => "vrid",
            "interface" => "interface",
            "priority" => "priority",
            "version" => "version",
            "advert_int" => "advert_interval",
            "virtual_ipaddress" => "address",
            "virtual_ipaddress_excluded" => "unadvertised",
            "unicast_peer" => "unicast_peer",
            "mcast_src_ip" | "unicast_src_ip" => "source",
            "authentication" => "password",
            _ => return,
        };
        self.places.insert(setting, statement.at.clone());
    }

    fn take_router(&mut self, statement: &'a Statement, report: &mut Report) -> bool {
        match statement.keyword() {
            "virtual_router_id" | "interface" => {}
            "state" => match statement.arg(0).map(str::to_ascii_uppercase).as_deref() {
                Some("MASTER") => self.initially_master = true,
                Some("BACKUP") => self.initially_master = false,
                Some(_) | None => {
                    report.wrong(&statement.at, statement.text(), "MASTER or BACKUP");
                }
            },
            "version" => self.version = global::version(statement, report),
            "priority" => {
                if let Some(priority) = statement.number(report, 1..=255) {
                    self.set(|builder| builder.priority(priority));
                }
            }
            "advert_int" => {
                self.interval = statement.seconds(report, 255).unwrap_or(self.interval);
            }
            "down_timer_adverts" => {
                if let Some(adverts) = statement.number(report, 1..=100) {
                    self.set(|builder| builder.down_adverts(adverts));
                }
            }
            "nopreempt" => self.preempt = false,
            "preempt_delay" => {
                self.preempt_delay = statement.seconds(report, 1000).unwrap_or_default();
            }
            "v3_checksum_as_v2" => {
                let only = statement.is_on(report).unwrap_or_default();
                let checksum = if only { Checksum::MessageOnly } else { Checksum::PseudoHeader };
                self.set(|builder| builder.checksum(checksum));
            }
            "authentication" => {
                self.password =
                    auth::password(statement, report).map(|password| (password, &statement.at));
            }
            "auth_hmac" => self.hmac = Some(statement),
            _ => return false,
        }
        true
    }

    fn take_addresses(&mut self, statement: &Statement, report: &mut Report) -> bool {
        match statement.keyword() {
            "virtual_ipaddress" => {
                self.floating.extend(address::read(statement, self.interface, report));
            }
            "virtual_ipaddress_excluded" => {
                self.excluded.extend(address::read(statement, self.interface, report));
            }
            "mcast_src_ip" | "unicast_src_ip" => self.source = statement.ip(report),
            "unicast_peer" => {
                for line in statement.inner() {
                    self.peer(line, report);
                }
            }
            "accept" => self.accept = true,
            "no_accept" => self.accept = false,
            "use_vmac" => {
                self.virtual_mac = true;
                for word in statement.args() {
                    if word.text.contains(':') {
                        let why = "the virtual router's link-layer address is the protocol's";
                        report.refuse(&statement.at, format!("`{}`", word.text), why);
                    } else {
                        let text = format!("the interface is not called `{}`", word.text);
                        report.warn(&statement.at, text);
                    }
                }
            }
            _ => return false,
        }
        true
    }

    /// `ADDRESS [min_ttl N] [max_ttl N]`; without them any time to live will do.
    fn peer(&mut self, line: &Statement, report: &mut Report) {
        let allowed = "an IP address, perhaps with `min_ttl` and `max_ttl` from 0 to 255";
        let (mut low, mut high, mut good) = (0_u8, 255_u8, true);
        for pair in line.args().chunks(2) {
            let value = pair.get(1).and_then(|word| word.text.parse().ok());
            match (pair.first().map(|word| word.text.as_str()), value) {
                (Some("min_ttl"), Some(value)) => low = value,
                (Some("max_ttl"), Some(value)) => high = value,
                (Some(_) | None, _) => good = false,
            }
        }
        let Some(peer) = line.keyword().parse().ok().filter(|_| good && low <= high) else {
            report.wrong(&line.at, line.text(), allowed);
            return;
        };
        self.peers.push(peer);
        // One range holds for all peers: the widest.
        let (lowest, highest) = self.hop_limits.unwrap_or((low, high));
        self.hop_limits = Some((lowest.min(low), highest.max(high)));
    }

    fn take_announcing(&mut self, statement: &Statement, report: &mut Report) -> bool {
        match statement.keyword() {
            "garp_master_repeat" => {
                if let Some(repeat) = global::announce_repeat(statement, report) {
                    self.set(|builder| builder.announce_repeat(repeat));
                }
            }
            "garp_master_delay" => {
                if let Some(delay) = global::announce_delay(statement, report) {
                    self.set(|builder| builder.announce_delay(delay));
                }
            }
            "garp_master_refresh" => {
                if let Some(refresh) = global::announce_refresh(statement, report) {
                    self.set(|builder| builder.announce_refresh(refresh));
                }
            }
            _ => return false,
        }
        true
    }

    fn take_tracked(
        &mut self,
        statement: &Statement,
        checks: &Checks,
        membership: &Membership,
        report: &mut Report,
    ) -> bool {
        if statement.keyword() == "dont_track_primary" {
            self.tracks_primary = false;
            return true;
        }
        let Some(tracked) = tracked(statement, checks, report) else {
            return false;
        };
        // Members of a group that weigh differently would be torn apart.
        let weighed = tracked.iter().any(|tracked| tracked.get_weight() != Weight::FAULT);
        if weighed && membership.loses_weights(self.name) {
            let text = format!("{}: weights count as 0 in a sync group", statement.quoted());
            report.warn(&statement.at, text);
            let unweighed = tracked.into_iter().map(|tracked| tracked.weight(Weight::FAULT));
            self.tracked.extend(unweighed);
        } else {
            self.tracked.extend(tracked);
        }
        true
    }

    fn finish(mut self, globals: &Globals, report: &mut Report) -> Option<Made> {
        let ipv6 = self.floating.first().is_some_and(|first| first.address.ip().is_ipv6());
        let given = self.version.or(globals.version);
        let version = if ipv6 { Version::V3 } else { given.unwrap_or(Version::V2) };
        self.settle_preemption(report);
        self.settle_interval(version, report);
        if let Some((password, at)) = self.password.take() {
            match version {
                _ if self.hmac.is_some() => {}
                Version::V2 => self.set(|builder| builder.password(password)),
                Version::V3 => report.warn(at, "VRRPv3 has no passwords: `authentication` is void"),
            }
        }
        // RFC 9568 §5.2.9: the link-local address is the first.
        let link_local = |ip: IpAddr| matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
        self.floating.sort_by_key(|floating| !link_local(floating.address.ip()));
        let (floating, excluded) =
            (std::mem::take(&mut self.floating), std::mem::take(&mut self.excluded));
        // keepalived takes the same address twice without a word.
        let mut seen = std::collections::BTreeSet::new();
        let mut floating = floating;
        floating.retain(|floating| seen.insert(floating.address));
        let hops = self.hop_limits;
        let peers = std::mem::take(&mut self.peers);
        self.set(|mut builder| {
            builder = peers.into_iter().fold(builder, RouterBuilder::unicast_peer);
            for Floating { address, .. } in &floating {
                builder = builder.address(*address);
            }
            for Floating { address, .. } in &excluded {
                builder = builder.unadvertised(*address);
            }
            match hops {
                Some((low, high)) => builder.version(version).hop_limits(low..=high),
                None => builder.version(version),
            }
        });
        let hmac = self.hmac.map(|block| auth::hmac(block, self.interval, report));
        let router = self.build(report)?;
        let mut instance = Instance::new(self.name, self.interface, router);
        for Floating { address, dev } in floating.iter().chain(&excluded) {
            if let Some(dev) = dev {
                instance = instance.address_on(address.ip(), dev);
            }
        }
        if let Some(source) = self.source {
            instance = instance.source(source);
        }
        if let Some(hmac) = hmac {
            instance = instance.hmac(hmac?);
        }
        if self.tracks_primary {
            // A weight of its own does not make its loss less of a fault.
            if self.tracked.iter().any(|tracked| tracked.name() == self.interface) {
                self.tracked.push(Tracked::new(self.interface));
            }
        } else {
            // What is tracked by name is not tracked once more; a weight of -1 is no fault, and
            // moves nothing as long as priorities are not next to each other.
            let weight = Weight::new(-1).unwrap_or_default();
            self.tracked.push(Tracked::new(self.interface).weight(weight));
        }
        instance = instance.virtual_mac(self.virtual_mac).accept(self.accept);
        let instance = self.tracked.drain(..).fold(instance, Instance::track);
        let at = self.block.at.clone();
        Some(Made { instance, scripts: self.scripts, places: self.places, at })
    }

    fn settle_preemption(&mut self, report: &mut Report) {
        let set = !self.preempt || !self.preempt_delay.is_zero();
        if self.initially_master && set {
            let text = format!(
                "`{}`: nopreempt and preempt_delay need `state BACKUP`, as in keepalived; void",
                self.name
            );
            report.warn(&self.block.at, text);
            (self.preempt, self.preempt_delay) = (true, Duration::ZERO);
        }
        let (preempt, delay) = (self.preempt, self.preempt_delay);
        self.set(|builder| builder.preempt(preempt).preempt_delay(delay));
    }

    /// Version 2 counts in seconds: fractions are rounded, as keepalived does.
    fn settle_interval(&mut self, version: Version, report: &mut Report) {
        let at = self.places.get("advert_interval").unwrap_or(&self.block.at);
        if version == Version::V2 && self.interval.subsec_nanos() != 0 {
            let half_up = u64::from(self.interval.subsec_millis() >= 500);
            let whole = Duration::from_secs((self.interval.as_secs() + half_up).max(1));
            let given = self.interval;
            report.warn(at, format!("advert_int {given:?} is {whole:?} in VRRPv2"));
            self.interval = whole;
        }
        let interval = self.interval;
        self.set(|builder| builder.advert_interval(interval));
    }

    /// The configuration, or what is wrong with it, each at its line.
    fn build(&mut self, report: &mut Report) -> Option<RouterConfig> {
        match self.builder.clone().build() {
            Ok(router) => Some(router),
            Err(error) => {
                for problem in error.problems() {
                    let at = self.places.get(problem.path.as_str()).unwrap_or(&self.block.at);
                    let what = format!("{} of `{}`: {}", problem.path, self.name, problem.value);
                    report.wrong(at, what, problem.allowed.clone());
                }
                None
            }
        }
    }
}

/// What a `track_…` block names; `None` if it is none.
pub(super) fn tracked(
    statement: &Statement,
    checks: &Checks,
    report: &mut Report,
) -> Option<Vec<Tracked>> {
    let (kind, what) = match statement.keyword() {
        "track_interface" => {
            let interfaces = statement.tracked(report).into_iter();
            let default = (Weight::FAULT, false);
            let interfaces =
                interfaces.map(|interface| interface.to_tracked(interface.name.into(), default));
            return Some(interfaces.collect());
        }
        "track_script" => (Kind::Script, "vrrp_script"),
        "track_process" => (Kind::Process, "vrrp_track_process"),
        "track_file" => (Kind::File, "track_file"),
        "track_bfd" => (Kind::Bfd, "bfd_instance"),
        _ => return None,
    };
    let mut found = Vec::new();
    for reference in statement.tracked(report) {
        let Reference { at, name, .. } = reference;
        match checks.get(&(kind, name.to_owned())) {
            Some((default, _)) => found.push(reference.to_tracked(kind.tracker(name), *default)),
            None => report.wrong(at, format!("`{name}`"), format!("the name of a `{what}`")),
        }
    }
    Some(found)
}

//! Reads a file, and puts together what it says.

use std::collections::BTreeMap;
use std::path::Path;

use ha_core::config::ConfigError;

use super::accounts::Accounts;
use super::block::{Statement, statements};
use super::check::{self, Checks, Kind};
use super::global::Globals;
use super::group::{self, MadeGroup, Membership};
use super::instance::{self, Made};
use super::neighbour::{self, Neighbour};
use super::report::{Place, Report};
use super::script::Runner;
use super::site::{Notification, Site};
use super::source::Source;
use crate::vrrp::notify::Subject;
use crate::vrrp::{HostConfig, Instance, MAX_ROUTERS, SyncGroup};

/// How a `keepalived.conf` is read.
///
/// ```
/// use ha_vip::keepalived::Reader;
///
/// let text = "vrrp_instance V {\n interface eth0\n virtual_router_id 7\n use_ipvlan\n \
///             @left priority 200\n virtual_ipaddress { 192.0.2.7/24 }\n}\n\
///             virtual_server 192.0.2.7 80 { }\n";
/// let site = Reader::new().lenient(true).config_id("left").parse(text, "k.conf")?;
/// assert_eq!(site.host().instances()[0].router().priority().get(), 200);
/// let warnings: Vec<String> = site.warnings().iter().map(ToString::to_string).collect();
/// assert!(warnings[0].starts_with("k.conf:4: `use_ipvlan` is ignored"), "{warnings:?}");
/// assert!(warnings[1].starts_with("k.conf:8: `virtual_server` is ignored"), "{warnings:?}");
/// # Ok::<(), ha_core::config::ConfigError>(())
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct Reader {
    lenient: bool,
    config_id: String,
}

impl Default for Reader {
    fn default() -> Self {
        Self::new()
    }
}

impl Reader {
    /// Reads strictly, with this host's name for `@` conditions.
    pub fn new() -> Self {
        let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let config_id = name.split('.').next().unwrap_or_default().to_owned();
        Self { lenient: false, config_id }
    }

    /// Makes warnings of what keepalived would do and this crate does not; default false. What is
    /// no configuration for keepalived either is an error all the same.
    pub const fn lenient(mut self, lenient: bool) -> Self {
        self.lenient = lenient;
        self
    }

    /// Sets which lines that begin with `@` count (keepalived's `--config-id`); default: the first
    /// part of the host's name.
    pub fn config_id(mut self, id: impl Into<String>) -> Self {
        self.config_id = id.into();
        self
    }

    /// Reads a file, and those that it includes: at most 4 MiB each, 16 MiB together with what
    /// definitions make of them, 1,000 files, 16 deep.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] with every problem: file and line, what stands there, what is allowed.
    pub fn read(&self, path: impl AsRef<Path>) -> Result<Site, ConfigError> {
        self.build(path.as_ref().parent(), |source| source.file(path.as_ref(), None, 0))
    }

    /// Reads a text, which errors call `name`; what it includes is looked for in the current
    /// folder.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    pub fn parse(&self, text: &str, name: &str) -> Result<Site, ConfigError> {
        self.build(None, |source| source.text(&name.into(), text, 0))
    }

    fn build(
        &self,
        folder: Option<&Path>,
        read: impl FnOnce(&mut Source<'_>),
    ) -> Result<Site, ConfigError> {
        let mut report = Report::new(self.lenient);
        let folder = folder.unwrap_or(Path::new("."));
        let mut source = Source::new(&mut report, &self.config_id, folder);
        read(&mut source);
        let lines = source.finish();
        let statements = statements(lines, &mut report);
        let parts = Parts::read(&statements, &mut report);
        let site = parts.into_site(&mut report);
        report.finish(|warnings| site.map(|site| site.with_warnings(warnings)))
    }
}

/// What of the file is not this crate's, and why.
const UNHONOURED: [(&str, &str); 13] = [
    ("SSL", "IPVS is not served here"),
    ("interface_up_down_delays", "links are not debounced"),
    ("net_namespace", "start the program in the namespace"),
    ("net_namespace_ipvs", "IPVS is not served here"),
    ("sock_pool", "IPVS is not served here"),
    ("static_addresses", "only addresses that float are served here"),
    ("static_ipaddress", "only addresses that float are served here"),
    ("static_routes", "only addresses that float are served here"),
    ("static_rules", "only addresses that float are served here"),
    ("track_group", "only addresses that float are served here"),
    ("virtual_server", "IPVS is not served here"),
    ("virtual_server_group", "IPVS is not served here"),
    ("real_server", "IPVS is not served here"),
];

/// What changes nothing here.
const HARMLESS: [&str; 8] = [
    "child_wait_time",
    "garp_group",
    "instance",
    "linkbeat_interfaces",
    "linkbeat_use_polling",
    "namespace_with_ipsets",
    "notify_fifo_script",
    "use_pid_dir",
];

/// What the file holds.
#[derive(Debug, Default)]
struct Parts {
    globals: Globals,
    checks: Checks,
    neighbours: Vec<Neighbour>,
    instances: Vec<Made>,
    groups: Vec<MadeGroup>,
}

impl Parts {
    fn read(statements: &[Statement], report: &mut Report) -> Self {
        let (mut parts, mut accounts) = (Self::default(), Accounts::default());
        let of = |wanted: &'static [&'static str]| {
            statements.iter().filter(move |statement| wanted.contains(&statement.keyword()))
        };
        for block in of(&["global_defs"]) {
            parts.globals.take(block, &mut accounts, report);
        }
        let globals = std::mem::take(&mut parts.globals);
        let mut runner = Runner { accounts: &mut accounts, globals: &globals };
        let kinds: [(&'static [&'static str], Kind); 3] = [
            (&["vrrp_script"], Kind::Script),
            (&["vrrp_track_process", "track_process"], Kind::Process),
            (&["track_file", "vrrp_track_file"], Kind::File),
        ];
        for (keywords, kind) in kinds {
            for block in of(keywords) {
                check::take(kind, block, &mut runner, &mut parts.checks, report);
            }
        }
        for block in of(&["bfd_instance"]) {
            neighbour::take(block, &mut parts.neighbours, &mut parts.checks, report);
        }
        tell_rest(statements, report);
        let mut membership = Membership::default();
        let mut members = 0;
        for block in of(&["vrrp_sync_group"]) {
            membership.take(block);
            let made = group::read(block, &mut runner, &parts.checks, report);
            // An instance is in one group, so there cannot be more members than instances.
            members += made.as_ref().map_or(0, |made| made.group.members().len().max(1));
            if members > MAX_ROUTERS {
                report.wrong(&block.at, "so many members", format!("at most {MAX_ROUTERS}"));
                break;
            }
            parts.groups.extend(made);
        }
        for block in of(&["vrrp_instance"]) {
            if parts.instances.len() >= MAX_ROUTERS || report.is_full() {
                report.wrong(&block.at, "so many instances", format!("at most {MAX_ROUTERS}"));
                break;
            }
            let made = instance::read(block, &mut runner, &parts.checks, &membership, report);
            parts.instances.extend(made);
        }
        if of(&["vrrp_instance"]).next().is_none() && !report.has_errors() {
            let end = statements.last().map(|statement| statement.at.clone());
            let at = end.unwrap_or(Place { file: "keepalived.conf".into(), line: 1 });
            report.wrong(
                &at,
                "a file without `vrrp_instance`",
                "at least one, as nothing else is served here",
            );
        }
        parts.globals = globals;
        parts
    }

    /// Puts it together; problems of the whole are told where the part begins.
    fn into_site(self, report: &mut Report) -> Option<Site> {
        let Self { globals, checks, neighbours, instances, groups } = self;
        let (mut builder, mut places) = (HostConfig::builder(), BTreeMap::new());
        let mut notifications = Vec::new();
        for Made { instance, scripts, places: within, at } in instances {
            let (name, priority) = (instance.name().to_owned(), instance.router().priority());
            if !scripts.is_empty() {
                let name = name.clone();
                let priority = priority.get();
                let subject = Subject::Instance;
                notifications.push(Notification { subject, name, priority, scripts });
            }
            for (setting, place) in within {
                places.insert(format!("instance.{name}.{setting}"), place);
            }
            places.insert(format!("instance.{name}"), at);
            builder = builder.instance(instance);
        }
        for MadeGroup { group, scripts, at } in groups {
            let name = group.name().to_owned();
            if !scripts.is_empty() {
                let (name, priority) = (name.clone(), 0);
                let subject = Subject::Group;
                notifications.push(Notification { subject, name, priority, scripts });
            }
            places.insert(format!("group.{name}"), at);
            builder = builder.group(group);
        }
        match builder.build() {
            Ok(host) => {
                let used = tracked_names(&host);
                let used = |kind: Kind, name: &str| used.contains(&kind.tracker(name).as_str());
                let checks = checks.into_iter().filter(|((kind, name), _)| used(*kind, name));
                let checks = checks
                    .filter_map(|((kind, name), (_, check))| Some((kind.tracker(&name), check?)))
                    .collect();
                let neighbours = neighbours.into_iter();
                let neighbours =
                    neighbours.filter(|neighbour| used(Kind::Bfd, neighbour.name())).collect();
                Some(Site::new(host, checks, neighbours, notifications, globals))
            }
            Err(error) => {
                for problem in error.problems() {
                    tell(&problem.path, &places, problem, report);
                }
                None
            }
        }
    }
}

/// Tells of what is not read at all.
fn tell_rest(statements: &[Statement], report: &mut Report) {
    let read = [
        "bfd_instance",
        "global_defs",
        "track_file",
        "track_process",
        "vrrp_instance",
        "vrrp_script",
        "vrrp_sync_group",
        "vrrp_track_file",
        "vrrp_track_process",
    ];
    for statement in statements {
        let keyword = statement.keyword();
        if read.contains(&keyword) && statement.block.is_none() {
            report.wrong(&statement.at, statement.text(), "a block in braces after it");
        }
        if read.contains(&keyword) || HARMLESS.contains(&keyword) {
            continue;
        }
        let why = UNHONOURED.iter().find(|(known, _)| *known == keyword);
        let why = why.map_or("there is no such block here", |(_, why)| why);
        report.refuse(&statement.at, statement.quoted(), why);
    }
}

/// The names of everything that is tracked.
fn tracked_names(host: &HostConfig) -> std::collections::BTreeSet<&str> {
    let by_instances = host.instances().iter().flat_map(Instance::tracked);
    let by_groups = host.groups().iter().flat_map(SyncGroup::tracked);
    by_instances.chain(by_groups).map(crate::track::Tracked::name).collect()
}

/// Tells a problem of the whole at the line that it is about.
fn tell(
    path: &str,
    places: &BTreeMap<String, Place>,
    problem: &ha_core::config::Problem,
    report: &mut Report,
) {
    let part = path.rsplit_once('.').map_or(path, |(part, _)| part);
    let nowhere = Place { file: "keepalived.conf".into(), line: 1 };
    let at = places.get(path).or_else(|| places.get(part)).unwrap_or(&nowhere);
    report.wrong(at, format!("{path}: {}", problem.value), problem.allowed.clone());
}

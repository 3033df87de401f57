//! `global_defs`: what holds for all instances.

use std::time::Duration;

use super::accounts::Accounts;
use super::block::Statement;
use super::report::{Place, Report};
use super::script;
use crate::vrrp::wire::Version;

/// What `global_defs` says.
#[derive(Debug, Default)]
pub(super) struct Globals {
    pub(super) router_id: Option<String>,
    pub(super) nice: Option<i32>,
    pub(super) startup_delay: Duration,
    pub(super) version: Option<Version>,
    pub(super) message_checksum: bool,
    pub(super) announce_repeat: Option<u8>,
    pub(super) announce_delay: Option<Duration>,
    pub(super) announce_refresh: Option<Duration>,
    pub(super) down_adverts: Option<u32>,
    /// Who runs scripts; `None`: this program's user.
    pub(super) script_user: Option<(u32, u32)>,
    /// Whether scripts that run as root must be root's alone.
    pub(super) script_security: bool,
}

/// What changes nothing here: names, mail that only `smtp_alert` would send, process and buffer
/// settings, the load balancer's settings, and what is always done here.
const HARMLESS: [&str; 62] = [
    "bfd_cpu_affinity",
    "bfd_no_swap",
    "bfd_priority",
    "bfd_process_name",
    "bfd_rlimit_rttime",
    "bfd_rt_priority",
    "checker_cpu_affinity",
    "checker_log_all_failures",
    "checker_no_swap",
    "checker_priority",
    "checker_process_name",
    "checker_rlimit_rttime",
    "checker_rt_priority",
    "config_save_dir",
    "data_use_instance",
    "default_interface",
    "disable_local_igmp",
    "include_check",
    "log_unknown_vrids",
    "lvs_flush",
    "lvs_flush_on_stop",
    "lvs_netlink_cmd_rcv_bufs",
    "lvs_netlink_cmd_rcv_bufs_force",
    "lvs_netlink_monitor_rcv_bufs",
    "lvs_netlink_monitor_rcv_bufs_force",
    "lvs_timeouts",
    "max_auto_priority",
    "min_auto_priority_delay",
    "no_checker_emails",
    "no_email_faults",
    "notification_email",
    "notification_email_from",
    "process_monitor_rcv_bufs",
    "process_monitor_rcv_bufs_force",
    "process_name",
    "process_names",
    "random_seed",
    "reload_check_config",
    "reload_repeat",
    "rs_init_notifies",
    "smtp_connect_timeout",
    "smtp_helo_name",
    "smtp_server",
    "tmp_config_directory",
    "umask",
    "use_pid_dir",
    "vrrp_check_unicast_src",
    "vrrp_cpu_affinity",
    "vrrp_garp_interval",
    "vrrp_garp_lower_prio_delay",
    "vrrp_garp_lower_prio_repeat",
    "vrrp_garp_master_refresh_repeat",
    "vrrp_gna_interval",
    "vrrp_higher_prio_send_advert",
    "vrrp_lower_prio_no_advert",
    "vrrp_min_garp",
    "vrrp_no_swap",
    "vrrp_process_name",
    "vrrp_rlimit_rttime",
    "vrrp_rt_priority",
    "vrrp_rx_bufs_policy",
    "vrrp_skip_check_adv_addr",
];

/// What is harmless as long as it begins so.
const HARMLESS_PREFIXES: [&str; 4] = ["vrrp_netlink_", "vrrp_rx_bufs_", "nftables", "vmac_"];

/// Commands of which only that they are switched on changes something, and what is missing then.
const UNHONOURED_SWITCHES: [(&str, &str); 3] = [
    ("smtp_alert", "no mail is sent; use a notify script"),
    ("smtp_alert_vrrp", "no mail is sent; use a notify script"),
    ("vrrp_strict", "the strict mode is not there"),
];

/// What cannot be had, and why.
const UNHONOURED: [(&str, &str); 15] = [
    ("dbus_service_name", "there is no D-Bus interface"),
    ("dynamic_interfaces", "interfaces must be there at the start"),
    ("enable_dbus", "there is no D-Bus interface"),
    ("enable_snmp_rfc", "there is no SNMP agent"),
    ("enable_snmp_rfcv2", "there is no SNMP agent"),
    ("enable_snmp_rfcv3", "there is no SNMP agent"),
    ("enable_snmp_vrrp", "there is no SNMP agent"),
    ("enable_traps", "there is no SNMP agent"),
    ("lvs_sync_daemon", "IPVS is not served here"),
    ("net_namespace", "start the program in the namespace"),
    ("notify_fifo", "there are no FIFOs; each change is a line of JSON on stdout"),
    ("shutdown_script", "it is the service manager's to run"),
    ("startup_script", "it is the service manager's to run"),
    ("vrrp_garp_extra_if", "addresses are announced on their own interface"),
    ("vrrp_notify_fifo", "there are no FIFOs; each change is a line of JSON on stdout"),
];

/// What is allowed where adverts would go elsewhere.
pub(super) const OWN_GROUP: &str = "224.0.0.18 or ff02::12: adverts go to the protocol's own group";

/// Whether an address is the group that adverts go to anyway.
pub(super) fn is_own_group(address: Option<&str>) -> bool {
    matches!(address, Some("224.0.0.18" | "ff02::12"))
}

impl Globals {
    pub(super) fn take(&mut self, block: &Statement, accounts: &mut Accounts, report: &mut Report) {
        for statement in block.inner() {
            self.take_one(statement, accounts, report);
        }
    }

    fn take_one(&mut self, statement: &Statement, accounts: &mut Accounts, report: &mut Report) {
        match statement.keyword() {
            "router_id" => {
                let id = statement.one(report, "one name");
                self.router_id = id.map(str::to_owned).or(self.router_id.take());
            }
            "vrrp_priority" => self.nice = statement.number(report, -20..=19).or(self.nice),
            "vrrp_startup_delay" => {
                self.startup_delay = statement.seconds(report, 3600).unwrap_or_default();
            }
            "vrrp_version" => self.version = version(statement, report).or(self.version),
            "vrrp_garp_master_repeat" => self.announce_repeat = announce_repeat(statement, report),
            "vrrp_garp_master_delay" => self.announce_delay = announce_delay(statement, report),
            "vrrp_garp_master_refresh" => {
                self.announce_refresh = announce_refresh(statement, report);
            }
            "vrrp_down_timer_adverts" => self.down_adverts = statement.number(report, 1..=100),
            "v3_checksum_as_v2" | "vrrp_v3_checksum_as_v2" => {
                self.message_checksum = statement.is_on(report).unwrap_or_default();
            }
            "script_user" => {
                let user = script::user(statement, statement.args(), accounts, report);
                self.script_user = user.or(self.script_user);
            }
            "enable_script_security" => self.script_security = true,
            keyword if is_harmless(keyword) => {}
            "vrrp_mcast_group4" | "vrrp_mcast_group6" if is_own_group(statement.arg(0)) => {}
            // Nothing to be lenient about: peers would not hear one another, and both serve.
            "vrrp_mcast_group4" | "vrrp_mcast_group6" => {
                report.wrong(&statement.at, statement.text(), OWN_GROUP);
            }
            keyword => unhonoured(keyword, statement, report),
        }
    }
}

fn is_harmless(keyword: &str) -> bool {
    HARMLESS.contains(&keyword)
        || HARMLESS_PREFIXES.iter().any(|prefix| keyword.starts_with(prefix))
}

fn unhonoured(keyword: &str, statement: &Statement, report: &mut Report) {
    let of = |list: &[(&'static str, &'static str)]| {
        list.iter().find(|(known, _)| *known == keyword).map(|(_, why)| *why)
    };
    if let Some(why) = of(&UNHONOURED_SWITCHES) {
        if statement.is_on(report) == Some(true) {
            report.refuse(&statement.at, statement.quoted(), why);
        }
    } else {
        let unknown = "`global_defs` has no such keyword here";
        report.refuse(&statement.at, statement.quoted(), of(&UNHONOURED).unwrap_or(unknown));
    }
}

pub(super) fn version(statement: &Statement, report: &mut Report) -> Option<Version> {
    match statement.number(report, 2..=3_u8)? {
        2 => Some(Version::V2),
        _ => Some(Version::V3),
    }
}

/// More than ten at a time, or none, are not sent.
pub(super) fn announce_repeat(statement: &Statement, report: &mut Report) -> Option<u8> {
    let given: u8 = statement.number(report, 0..=255)?;
    let repeat = given.clamp(1, 10);
    if repeat != given {
        let text = format!("{}: {repeat} announcements at a time", statement.text());
        report.warn(&statement.at, text);
    }
    Some(repeat)
}

/// Without a second set of announcements (0) the shortest time is taken: they cost nothing.
pub(super) fn announce_delay(statement: &Statement, report: &mut Report) -> Option<Duration> {
    let delay = statement.seconds(report, 1000)?;
    let allowed = Duration::from_secs(1)..=Duration::from_mins(1);
    if delay > *allowed.end() {
        let text = format!("{}: the last announcement comes after 60 s", statement.text());
        report.warn(&statement.at, text);
    }
    Some(delay.clamp(*allowed.start(), *allowed.end()))
}

/// 0 is keepalived's word for none; here addresses are always announced again.
pub(super) fn announce_refresh(statement: &Statement, report: &mut Report) -> Option<Duration> {
    let refresh = statement.seconds(report, 86_400)?;
    (!refresh.is_zero()).then(|| refresh.max(Duration::from_secs(1)))
}

/// Tells of a keyword that a block does not have here.
pub(super) fn unknown(at: &Place, statement: &Statement, of: &str, report: &mut Report) {
    report.refuse(at, statement.quoted(), format!("`{of}` has no such keyword here"));
}

//! One keepalived.conf for the real keepalived on one host and `vrrp-router` on the other.

use std::path::PathBuf;
use std::process::Command;

use ha_lab::{Host, Process, ProcessSignal};

use crate::rig::{PATIENCE, Rig, VIP, await_state, eventually, holds, stop};

/// The lines of the file that only one of the two programs, as one of the two hosts, obeys begin
/// with the name that it is started under.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Program {
    Ours,
    Theirs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rank {
    High,
    Low,
}

/// A file, and both programs.
struct Site {
    keepalived: PathBuf,
    folder: tempfile::TempDir,
}

/// A line for the program of this rank, whichever it is.
fn only(rank: Rank, line: &str) -> String {
    let of = |program| format!("@{} {line}\n", id(program, rank));
    of(Program::Ours) + &of(Program::Theirs)
}

fn id(program: Program, rank: Rank) -> String {
    format!("{program:?}{rank:?}").to_lowercase()
}

/// An instance whose priority goes by rank.
fn instance(name: &str, interface: &str, lines: &str) -> String {
    format!(
        "vrrp_instance {name} {{\n state BACKUP\n interface {interface}\n virtual_router_id 51\n\
         {}{}{lines}\n}}\n",
        only(Rank::High, "priority 150"),
        only(Rank::Low, "priority 100"),
    )
}

const GLOBALS: &str = "global_defs {\n vrrp_garp_master_repeat 1\n script_user root\n";

/// The parts of a site with one instance.
fn site(globals: &str, lines: &str, vips: &[&str]) -> String {
    let vips = vips.join("\n");
    let lines = format!("{lines}\n virtual_ipaddress {{\n {vips}\n }}");
    format!("{GLOBALS} {globals}\n}}\n{}", instance("V", "eth0", &lines))
}

impl Site {
    /// `None` when keepalived is not installed; the test is skipped then.
    fn new(text: &str) -> Option<Self> {
        let keepalived = ha_lab::require_program("keepalived")?;
        let folder = tempfile::tempdir().expect("a folder");
        let text = text.replace("$FOLDER", &folder.path().display().to_string());
        std::fs::write(folder.path().join("keepalived.conf"), text).expect("written");
        Some(Self { keepalived, folder })
    }

    fn start(&self, host: &Host, program: Program, rank: Rank) -> Process {
        let id = id(program, rank);
        let file = self.folder.path().join("keepalived.conf");
        let mut command = match program {
            Program::Ours => {
                let mut command = Command::new(env!("CARGO_BIN_EXE_vrrp-router"));
                command.arg("--keepalived").arg(file);
                command
            }
            Program::Theirs => {
                let mut command = Command::new(&self.keepalived);
                command.args(["--dont-fork", "--log-console", "--use-file"]).arg(file);
                for pid in ["pid", "vrrp_pid", "checkers_pid", "bfd_pid"] {
                    let path = self.folder.path().join(format!("{id}.{pid}"));
                    // A reboot empties /run: the pid of an earlier life may be that of something
                    // else now.
                    drop(std::fs::remove_file(&path));
                    command.arg(format!("--{pid}")).arg(path);
                }
                command
            }
        };
        host.spawn(command.args(["--config-id", &id])).expect("it runs")
    }
}

/// Each program once as the one that serves first.
const BOTH_WAYS: [(Program, Program); 2] =
    [(Program::Ours, Program::Theirs), (Program::Theirs, Program::Ours)];

fn only_serves(vip: &str, one: &Host, other: &Host, why: &str) {
    eventually(&format!("{why}: only {} serves", one.name()), || {
        holds(one, vip) && !holds(other, vip)
    });
}

/// A loss of power, a return and a planned stop move the address, with either program as the one
/// of the higher priority.
fn moves(text: &str, vip: &str) {
    moves_between(text, vip, |_| ());
}

/// As [`moves`], between hosts that are prepared so, also after each loss of power.
fn moves_between(text: &str, vip: &str, prepare: fn(&Host)) {
    ha_lab::run_test(|| {
        let Some(site) = Site::new(text) else { return };
        for (first, second) in BOTH_WAYS {
            let Rig { a, b, .. } = &Rig::new();
            prepare(a);
            prepare(b);
            let high = site.start(a, first, Rank::High);
            let low = site.start(b, second, Rank::Low);
            only_serves(vip, a, b, "at the start");
            // Whoever has just been preempted has to have heard of it.
            if second == Program::Ours {
                await_state(&low, "backup");
            }
            a.power_off().expect("off");
            drop(high);
            eventually("the other takes over", || holds(b, vip));

            a.power_on().expect("on");
            prepare(a);
            let high = site.start(a, first, Rank::High);
            only_serves(vip, a, b, "after the return");

            high.signal(ProcessSignal::Terminate).expect("it runs");
            only_serves(vip, b, a, "after a planned stop");
            if second == Program::Ours {
                stop(&low, ProcessSignal::Terminate);
                assert!(!holds(b, vip), "nobody serves in the end");
            }
        }
    });
}

#[test]
fn a_site_of_version_2_moves() {
    moves(&site("", "advert_int 1", &[VIP]), VIP);
}

#[test]
fn a_site_of_version_2_with_a_password_moves() {
    let lines = "authentication {\n auth_type PASS\n auth_pass secret\n }";
    moves(&site("", lines, &[VIP]), VIP);
}

#[test]
fn a_site_of_version_3_moves() {
    moves(&site("vrrp_version 3", "advert_int 0.1", &[VIP, "10.77.0.101/32"]), VIP);
}

#[test]
fn a_site_of_version_3_moves_whichever_reading_of_the_checksum_ours_begins_with() {
    let option = [Rank::High, Rank::Low].map(|rank| {
        let ours = id(Program::Ours, rank);
        format!("@{ours} v3_checksum_as_v2\n")
    });
    let lines = format!("version 3\n advert_int 0.1\n{}", option.concat());
    moves(&site("", &lines, &[VIP]), VIP);
}

#[test]
fn a_site_of_ipv6_moves() {
    moves(&site("", "advert_int 0.1", &["fe80::77:100/64", "fd77::100/64"]), "fd77::100/64");
}

#[test]
fn a_site_of_unicast_peers_moves() {
    let lines = format!(
        "advert_int 0.1\n{}{}unicast_peer {{\n{}{}}}",
        only(Rank::High, "unicast_src_ip 10.77.0.1"),
        only(Rank::Low, "unicast_src_ip 10.77.0.2"),
        only(Rank::High, "10.77.0.2"),
        only(Rank::Low, "10.77.0.1"),
    );
    moves(&site("vrrp_version 3", &lines, &[VIP]), VIP);
}

#[test]
fn a_site_of_unicast_peers_of_ipv6_moves() {
    // Such adverts of keepalived leave with a hop limit of 64.
    let lines = format!(
        "advert_int 0.1\n{}{}unicast_peer {{\n{}{}}}",
        only(Rank::High, "unicast_src_ip fd77::1"),
        only(Rank::Low, "unicast_src_ip fd77::2"),
        only(Rank::High, "fd77::2"),
        only(Rank::Low, "fd77::1"),
    );
    moves_between(&site("", &lines, &["fd77::100/64"]), "fd77::100/64", |host| {
        let own = if host.name().as_str() == "a" { "fd77::1/64" } else { "fd77::2/64" };
        if !holds(host, own) {
            host.add_address("eth0", own).expect("an address");
        }
    });
}

#[test]
fn a_site_with_the_virtual_routers_own_link_layer_address_moves() {
    moves(&site("vrrp_version 3", "advert_int 0.1\n use_vmac", &[VIP]), VIP);
}

#[test]
fn after_a_split_with_the_same_link_layer_address_on_both_sides_one_serves() {
    ha_lab::run_test(|| {
        let text = site("vrrp_version 3", "advert_int 0.1\n use_vmac", &[VIP]);
        let Some(site) = Site::new(&text) else { return };
        let both_ours = (Program::Ours, Program::Ours);
        for (first, second) in BOTH_WAYS.into_iter().chain([both_ours]) {
            let Rig { lab, a, b, .. } = &Rig::new();
            let _high = site.start(a, first, Rank::High);
            let _low = site.start(b, second, Rank::Low);
            only_serves(VIP, a, b, "at the start");
            lab.partition(&[a], &[b]).expect("cut");
            eventually("both serve", || holds(a, VIP) && holds(b, VIP));
            lab.heal().expect("healed");
            only_serves(VIP, a, b, "after the split");
        }
    });
}

#[test]
fn a_site_with_an_address_on_another_interface_moves() {
    ha_lab::run_test(|| {
        let vips = [VIP, &format!("{OUTSIDE_VIP} dev eth1")];
        let Some(site) = Site::new(&site("vrrp_version 3", "advert_int 0.1", &vips)) else {
            return;
        };
        let on = |host: &Host, interface: &str, vip: &str| {
            let addresses = host.addresses(interface).expect("the host's addresses");
            addresses.iter().any(|address| address.to_string() == vip)
        };
        for (first, second) in BOTH_WAYS {
            let Rig { lab, a, b, .. } = &Rig::new();
            let outside = lab.network("outside").expect("a network");
            a.join(&outside, "10.78.0.1/24").expect("joined");
            b.join(&outside, "10.78.0.2/24").expect("joined");
            let high = site.start(a, first, Rank::High);
            let _low = site.start(b, second, Rank::Low);
            let serves = |one: &Host, other: &Host, why: &str| {
                only_serves(OUTSIDE_VIP, one, other, why);
                only_serves(VIP, one, other, why);
                assert!(on(one, "eth0", VIP) && on(one, "eth1", OUTSIDE_VIP), "{why}");
            };
            serves(a, b, "at the start");
            high.signal(ProcessSignal::Terminate).expect("it runs");
            serves(b, a, "after a planned stop");
        }
    });
}

const OUTSIDE_VIP: &str = "10.78.0.100/24";

fn set_link(host: &Host, interface: &str, state: &str) {
    let mut command = Command::new("ip");
    let ip = host.spawn(command.args(["link", "set", interface, state])).expect("ip runs");
    assert!(ip.wait(PATIENCE).expect("it ends").success(), "{:?}", ip.lines());
}

#[test]
fn a_group_moves_as_one_when_one_of_its_members_has_a_fault() {
    ha_lab::run_test(|| {
        let lines = |vip| format!("advert_int 0.1\n virtual_ipaddress {{\n {vip}\n }}");
        let text = format!(
            "{GLOBALS} vrrp_version 3\n}}\n{}{}vrrp_sync_group G {{\n group {{\n inside\n \
             outside\n }}\n}}\n",
            instance("inside", "eth0", &lines(VIP)),
            instance("outside", "eth1", &lines(OUTSIDE_VIP)),
        );
        let Some(site) = Site::new(&text) else { return };
        if ha_lab::require_program("ip").is_none() {
            return;
        }
        for (first, second) in BOTH_WAYS {
            let Rig { lab, a, b, .. } = &Rig::new();
            let outside = lab.network("outside").expect("a network");
            a.join(&outside, "10.78.0.1/24").expect("joined");
            b.join(&outside, "10.78.0.2/24").expect("joined");
            let _high = site.start(a, first, Rank::High);
            let _low = site.start(b, second, Rank::Low);
            let both = |one: &Host, other: &Host, why: &str| {
                only_serves(VIP, one, other, why);
                only_serves(OUTSIDE_VIP, one, other, why);
            };
            both(a, b, "at the start");
            set_link(a, "eth1", "down");
            both(b, a, "with a fault of one");
            set_link(a, "eth1", "up");
            both(a, b, "when that is over");
        }
    });
}

#[test]
fn a_site_with_a_script_moves_when_it_fails() {
    ha_lab::run_test(|| {
        let text = format!(
            "vrrp_script healthy {{\n{}{} interval 1\n}}\n{}",
            only(Rank::High, "script \"/usr/bin/test -e $FOLDER/high\""),
            only(Rank::Low, "script \"/usr/bin/test -d '$FOLDER'\""),
            site("vrrp_version 3", "advert_int 0.1\n track_script {\n healthy\n }", &[VIP]),
        );
        let Some(site) = Site::new(&text) else { return };
        let healthy = site.folder.path().join("high");
        for (first, second) in BOTH_WAYS {
            let Rig { a, b, .. } = &Rig::new();
            std::fs::write(&healthy, "").expect("written");
            let _high = site.start(a, first, Rank::High);
            let _low = site.start(b, second, Rank::Low);
            only_serves(VIP, a, b, "at the start");
            std::fs::remove_file(&healthy).expect("removed");
            only_serves(VIP, b, a, "when the script fails");
            std::fs::write(&healthy, "").expect("written");
            only_serves(VIP, a, b, "when it passes again");
        }
    });
}

#[test]
fn a_site_with_a_file_moves_by_the_number_in_it() {
    ha_lab::run_test(|| {
        let text = format!(
            "track_file load {{\n{}{} weight 1\n}}\n{}",
            only(Rank::High, "file \"$FOLDER/high\""),
            only(Rank::Low, "file \"$FOLDER/low\""),
            site("vrrp_version 3", "advert_int 0.1\n track_file {\n load\n }", &[VIP]),
        );
        let Some(site) = Site::new(&text) else { return };
        let write = |name: &str, number: &str| {
            std::fs::write(site.folder.path().join(name), number).expect("written");
        };
        for (first, second) in BOTH_WAYS {
            let Rig { a, b, .. } = &Rig::new();
            write("high", "0\n");
            write("low", "10\n");
            let _high = site.start(a, first, Rank::High);
            let _low = site.start(b, second, Rank::Low);
            only_serves(VIP, a, b, "at the start");
            write("high", "-60\n");
            only_serves(VIP, b, a, "with 90 against 110");
            write("low", "-50\n");
            only_serves(VIP, a, b, "with 90 against 50");
        }
    });
}

#[test]
fn a_site_with_a_process_moves_when_it_ends() {
    ha_lab::run_test(|| {
        // keepalived hears of processes in the first network namespace only, so it tracks none.
        let ours = id(Program::Ours, Rank::High);
        let lines = format!("advert_int 0.1\n@{ours} track_process {{\n@{ours} server\n@{ours} }}");
        let text = format!(
            "vrrp_track_process server {{\n process /bin/sleep 98765\n weight 0\n}}\n{}",
            site("vrrp_version 3", &lines, &[VIP]),
        );
        let Some(site) = Site::new(&text) else { return };
        let Rig { a, b, .. } = &Rig::new();
        let server = || a.spawn(Command::new("/bin/sleep").arg("98765")).expect("the server runs");
        let running = server();
        let _high = site.start(a, Program::Ours, Rank::High);
        let _low = site.start(b, Program::Theirs, Rank::Low);
        only_serves(VIP, a, b, "at the start");
        running.kill().expect("it runs");
        running.wait(PATIENCE).expect("it is dead");
        only_serves(VIP, b, a, "without the process");
        let _running = server();
        only_serves(VIP, a, b, "with the process");
    });
}

#[test]
fn a_site_with_a_bfd_session_moves_when_it_is_lost() {
    ha_lab::run_test(|| {
        let text = format!(
            "bfd_instance gateway {{\n{}{}{}{} min_rx 50\n min_tx 50\n}}\n{}",
            only(Rank::High, "source_ip 10.77.0.1"),
            only(Rank::High, "neighbor_ip 10.77.0.8"),
            only(Rank::Low, "source_ip 10.77.0.2"),
            only(Rank::Low, "neighbor_ip 10.77.0.9"),
            site("vrrp_version 3", "advert_int 0.1\n track_bfd {\n gateway\n }", &[VIP]),
        );
        let Some(site) = Site::new(&text) else { return };
        for (first, second) in BOTH_WAYS {
            let Rig { lab, lan, a, b } = &Rig::new();
            // Each has a gateway of its own, so that one can be lost.
            let gateway = |name: &str, local: &str, peer: &str| {
                let host = lab.host(name).and_then(|host| host.join(lan, &format!("{local}/24")));
                let host = host.expect("a gateway");
                let mut command = Command::new(env!("CARGO_BIN_EXE_bfd-session"));
                command.args(["--local", local, "--peer", peer, "--min-tx-ms", "50"]);
                let session = host.spawn(command.args(["--min-rx-ms", "50"])).expect("it runs");
                (host, session)
            };
            let (of_a, _session) = gateway("gateway-a", "10.77.0.8", "10.77.0.1");
            let (_host, _other) = gateway("gateway-b", "10.77.0.9", "10.77.0.2");
            let _high = site.start(a, first, Rank::High);
            let _low = site.start(b, second, Rank::Low);
            only_serves(VIP, a, b, "at the start");
            of_a.cut().expect("cut");
            only_serves(VIP, b, a, "without its gateway");
            of_a.uncut().expect("mended");
            only_serves(VIP, a, b, "with its gateway");
        }
    });
}

#[test]
fn scripts_are_told_what_keepalived_tells_them() {
    ha_lab::run_test(|| {
        let log = "/bin/sh -c 'echo $0 $* >> $FOLDER/log'";
        let lines = format!(
            "advert_int 0.1\n notify_master \"{}\"\n notify \"{log}\"",
            log.replace("$0 $*", "to-master"),
        );
        let text = site("vrrp_version 3", &lines, &[VIP]);
        let said = |program| {
            let site = Site::new(&text)?;
            let Rig { a, .. } = &Rig::new();
            let one = site.start(a, program, Rank::High);
            let log =
                || std::fs::read_to_string(site.folder.path().join("log")).unwrap_or_default();
            eventually("it is told that it is master", || log().contains("MASTER"));
            one.signal(ProcessSignal::Terminate).expect("it runs");
            one.wait(PATIENCE).expect("it ends");
            eventually("it is told that it has stopped", || log().contains("STOP"));
            Some(log())
        };
        let (Some(theirs), Some(ours)) = (said(Program::Theirs), said(Program::Ours)) else {
            return;
        };
        // keepalived runs both commands of a state at once, in any order.
        let sorted = |log: &str| {
            let mut lines: Vec<String> = log.lines().map(str::to_owned).collect();
            lines.sort();
            lines
        };
        assert_eq!(sorted(&ours), sorted(&theirs));
    });
}

#[test]
fn sighup_reads_the_file_again_and_keeps_the_old_one_if_it_is_wrong() {
    ha_lab::run_test(|| {
        let text = |priority, vip| {
            format!(
                "vrrp_instance V {{\n interface eth0\n virtual_router_id 51\n priority {priority}\n \
                 version 3\n advert_int 0.1\n virtual_ipaddress {{ {vip} }}\n}}\n"
            )
        };
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("keepalived.conf");
        let write = |text: String| std::fs::write(&file, text).expect("written");
        write(text(100, VIP));
        let Rig { a, .. } = &Rig::new();
        let socket = folder.path().join("control");
        let mut command = Command::new(env!("CARGO_BIN_EXE_vrrp-router"));
        command.arg("--keepalived").arg(&file).arg("--control").arg(&socket);
        let ours = a.spawn(&mut command).expect("it runs");
        await_state(&ours, "active");
        eventually("it serves", || holds(a, VIP));

        write(text(300, VIP));
        ours.signal(ProcessSignal::Hangup).expect("it runs");
        ours.wait_for_line(PATIENCE, |line| {
            line.contains("not-reloaded") && line.contains("keepalived.conf:4: `priority 300`")
        })
        .expect("what is wrong is told");
        assert!(holds(a, VIP), "it serves on");

        let second = "10.77.0.101/24";
        write(text(120, second));
        let mut asked = Command::new(env!("CARGO_BIN_EXE_vipctl"));
        let answer = asked.arg("--socket").arg(&socket).arg("reload").output().expect("it runs");
        assert_eq!(String::from_utf8_lossy(&answer.stdout), "changed: V\n", "as SIGHUP does");
        says(&ours, "changed: V");
        eventually("the new address is served", || holds(a, second) && !holds(a, VIP));

        let log = folder.path().join("log");
        let told = format!("notify \"/bin/sh -c 'echo $1 $2 >> {}'\"", log.display());
        let other = text(100, VIP).replace("51", "52").replace('V', "W");
        let other = other.replace("version 3", &format!("version 3\n {told}"));
        write(text(120, second) + &other);
        ours.signal(ProcessSignal::Hangup).expect("it runs");
        says(&ours, "added: W");
        eventually("the new router serves", || holds(a, VIP) && holds(a, second));
        let said = || std::fs::read_to_string(&log).unwrap_or_default();
        eventually("its script is told", || said().ends_with("W MASTER\n"));

        write(text(120, second));
        ours.signal(ProcessSignal::Hangup).expect("it runs");
        says(&ours, "removed: W");
        eventually("it is gone", || !holds(a, VIP) && holds(a, second));
        eventually("its script is told", || said().ends_with("W STOP\n"));
        stop(&ours, ProcessSignal::Terminate);
        assert!(!holds(a, second));
    });
}

fn says(process: &Process, text: &str) {
    process
        .wait_for_line(PATIENCE, |line| line.contains(text))
        .unwrap_or_else(|error| panic!("{text}: {error}\n{:#?}", process.lines()));
}

#[test]
fn a_check_tells_what_is_there_or_everything_that_is_wrong() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("keepalived.conf");
    let check = |text: &str, flags: &[&str]| {
        std::fs::write(&file, text).expect("written");
        let mut command = Command::new(env!("CARGO_BIN_EXE_vrrp-router"));
        let output = command.arg("--keepalived").arg(&file).arg("--check").args(flags).output();
        let output = output.expect("it runs");
        let [said, errors] =
            [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text).into_owned());
        (output.status.code(), said, errors)
    };
    let good = site("vrrp_version 3", "@nobody priority 7", &[VIP]);
    let (status, said, errors) = check(&good, &[]);
    assert_eq!((status, errors.as_str()), (Some(0), ""));
    assert!(said.starts_with("ok: 1 instances"), "{said}");

    let wrong = site("vrrp_version 4", "use_ipvlan\n priority 0", &[VIP]);
    let (status, _, errors) = check(&wrong, &[]);
    assert_eq!((status, errors.lines().count()), (Some(2), 3), "{errors}");
    for word in ["vrrp_version 4", "use_ipvlan", "priority 0"] {
        assert!(errors.contains(word), "{errors}");
    }
    let bit_more = site("", "use_ipvlan", &[VIP]) + "virtual_server 192.0.2.1 80 {\n}\n";
    let (status, said, _) = check(&bit_more, &["--lenient"]);
    assert_eq!((status, said.lines().count()), (Some(0), 3), "{said}");
    assert!(said.contains("warning: ") && said.contains("`use_ipvlan` is ignored"), "{said}");

    let mut command = Command::new(env!("CARGO_BIN_EXE_vrrp-router"));
    command.args(["--keepalived", "x", "--iface", "eth0"]);
    let output = command.output().expect("it runs");
    assert_eq!(output.status.code(), Some(2), "one or the other");
}

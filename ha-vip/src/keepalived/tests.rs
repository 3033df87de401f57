use std::net::IpAddr;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::track::{Tracked, Weight};
use crate::vrrp::notify::{NotifyState, Subject};
use crate::vrrp::wire::Version;

fn read(text: &str) -> Site {
    Site::parse(text, "k.conf").unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// The problems of a text that is wrong, one a line.
fn wrong(text: &str) -> Vec<String> {
    let error = Site::parse(text, "k.conf").expect_err("it is wrong");
    error.problems().iter().map(ToString::to_string).collect()
}

/// An instance with these lines, number 51 on eth0.
fn instance(lines: &str) -> String {
    let more = if lines.contains("virtual_ipaddress") {
        ""
    } else {
        "\nvirtual_ipaddress {\n192.0.2.10/24\n}"
    };
    format!("vrrp_instance V {{\ninterface eth0\nvirtual_router_id 51\n{lines}{more}\n}}\n")
}

#[test]
fn a_gateway_lets_nobody_in_unless_it_owns_its_addresses() {
    for (priority, word, accepts) in [
        (100, "no_accept", false),
        (100, "accept", true),
        (100, "", true),
        (255, "no_accept", true),
    ] {
        let site = read(&format!(
            "vrrp_instance V {{\n interface eth0\n virtual_router_id 7\n priority {priority}\n \
             {word}\n virtual_ipaddress {{ 192.0.2.7/24 }}\n}}\n"
        ));
        assert_eq!(site.host().instances()[0].accepts(), accepts, "{priority} {word}");
    }
}

#[test]
fn a_whole_site_is_read() {
    let site = read(include_str!("../../testdata/keepalived.conf"));
    let [inside, outside, six] = site.host().instances() else { panic!("three instances") };
    assert_eq!((inside.name(), inside.interface()), ("inside", "eth1"));
    let router = inside.router();
    assert_eq!((router.vrid().get(), router.priority().get()), (51, 150));
    assert_eq!((router.version(), router.advert_interval().as_secs()), (Version::V2, 2));
    assert_eq!(router.addresses()[0].to_string(), "10.0.0.1/24");
    assert_eq!(router.addresses()[1].to_string(), "10.0.0.2/32", "alone without a length");
    assert_eq!(router.unadvertised()[0].to_string(), "2001:db8::1/64");
    assert_eq!((router.announce_repeat(), router.announce_refresh().as_secs()), (2, 30));
    assert_eq!(outside.router().unicast_peers(), ["198.51.100.2".parse::<IpAddr>().expect("IP")]);
    assert_eq!((six.router().version(), six.has_virtual_mac()), (Version::V3, true));
    assert_eq!(six.router().addresses()[0].to_string(), "fe80::10/64", "link-local comes first");
    assert_eq!(six.router().advert_interval(), Duration::from_millis(250));
    assert!(!six.router().preempt());

    let weight = |weight| Weight::new(weight).expect("in range");
    let of_six = [
        Tracked::new("eth9").weight(weight(-20)).reverse(true),
        Tracked::new("script chk").weight(weight(-30)),
        Tracked::new("process web").weight(weight(5)),
        Tracked::new("file load").weight(weight(1)),
        Tracked::new("bfd uplink"),
    ];
    assert_eq!(six.tracked(), of_six);
    let group = &site.host().groups()[0];
    assert_eq!((group.name(), group.members()), ("G", &["inside".into(), "outside".into()][..]));
    assert_eq!(group.tracked(), [Tracked::new("eth9")]);

    let checks: Vec<&str> = site.checks().collect();
    assert_eq!(checks, ["file load", "process web", "script chk"], "and none that nobody tracks");
    assert_eq!(site.trackers().expect("trackers").len(), 3);
    let [uplink] = site.neighbours() else { panic!("one neighbour") };
    assert_eq!(uplink.config().intervals().min_tx(), Duration::from_micros(33_300));
    assert_eq!(uplink.endpoints().expect("both ends").to_string(), "10.0.0.254");
    let told: Vec<_> = site.notifications().iter().map(|n| (n.subject(), n.name())).collect();
    assert_eq!(told, [(Subject::Instance, "six"), (Subject::Group, "G")]);
    let scripts = site.notifications()[0].scripts();
    let master = scripts.script_on(NotifyState::Master).expect("a command");
    assert_eq!((master.program(), master.arguments().len()), ("/bin/echo".as_ref(), 2));
    assert_eq!((site.router_id(), site.nice()), (Some("node1"), Some(-5)));
    assert_eq!(site.warnings(), [], "nothing is read otherwise");
}

#[test]
fn everything_that_is_wrong_is_told_at_once_with_its_line() {
    let text = "vrrp_instance V {\n interface eth0\n virtual_router_id 300\n priority 0\n \
                advert_int fast\n state PRIMARY\n track_script { nobody }\n version 4\n \
                virtual_ipaddress {\n 192.0.2.300/24\n 192.0.2.1/24 scope link\n }\n \
                authentication { auth_type AH }\n use_ipvlan\n nonsense 5\n}\nnonsense2 { }\n\
                virtual_server 192.0.2.1 80 {\n}\n";
    let expected = [
        "k.conf:3: `virtual_router_id 300` is not allowed: 1 to 255",
        "k.conf:4: `priority 0`",
        "k.conf:5: `advert_int fast`",
        "k.conf:6: `state PRIMARY` is not allowed: MASTER or BACKUP",
        "k.conf:7: `nobody` is not allowed: the name of a `vrrp_script`",
        "k.conf:8: `version 4` is not allowed: 2 to 3",
        "k.conf:10: `192.0.2.300/24` is not allowed: ADDRESS/PREFIX",
        "k.conf:11: `scope link`",
        "k.conf:13: `auth_type AH`",
        "k.conf:14: `use_ipvlan`",
        "k.conf:15: `nonsense`",
        "k.conf:17: `nonsense2`",
        "k.conf:18: `virtual_server`",
    ];
    let found = wrong(text);
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.starts_with(expected), "{found}\nnot {expected}");
    }
    assert_eq!(found.len(), expected.len(), "{found:#?}");
}

#[test]
fn what_is_wrong_with_the_whole_is_told_at_its_lines_too() {
    let found =
        wrong(&(instance("priority 9") + &instance("") + "vrrp_sync_group G {\ngroup {\nX\n}\n}"));
    let text = found.join("\n");
    for part in ["instance.V.name: V", "instance.V.vrid: 51", "group.G.members: X"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(found.iter().all(|problem| problem.starts_with("k.conf:")), "{found:#?}");
}

#[test]
fn the_file_must_be_complete() {
    for (text, part) in [
        ("", "at least one"),
        ("vrrp_instance V {\n", "a `}` for its `{`"),
        ("}\n", "as many `}` as `{`"),
        ("{\n", "a keyword before it"),
        ("vrrp_instance V\n", "a block in braces"),
        ("vrrp_instance V { }\n", "it needs `interface`"),
        ("router_id \"open\nvrrp_instance V { }", "a closing quote"),
    ] {
        let found = wrong(text).join("\n");
        assert!(found.contains(part), "{text:?}: {found}");
    }
    let deep = format!("{}{}", "a {\n".repeat(20), "}\n".repeat(20));
    assert!(wrong(&deep)[0].contains("16 blocks in one another"));
    assert!(wrong(&"nonsense\n".repeat(100_000)).len() <= 100, "bounded");
    assert!(wrong("include /nonexistent/file\n").len() == 1);
}

#[test]
fn a_file_that_is_too_much_is_an_error() {
    let peers = format!("unicast_peer {{\n{}\n}}", "10.0.0.1\n".repeat(50_000));
    let keys =
        format!("auth_hmac {{\n{}}}", "key 1 0123456789abcdef0123456789abcdef\n".repeat(50_000));
    let group = format!("vrrp_sync_group G {{\ngroup {{\n{}}}\n}}\n", "V\n".repeat(50_000));
    for (text, part) in [
        (instance(&peers), "at most 255 peers"),
        (instance(&keys), "at most 255 keys"),
        (instance("") + &group, "at most 4080"),
        (instance("").repeat(5_000), "at most 4080"),
        ("x\n".repeat(600_000), "16777216 bytes"),
        ("x ".repeat(1_100_000), "at most 1000000"),
    ] {
        let found = wrong(&text).join("\n");
        assert!(found.contains(part), "{part}: {found:.400}");
    }
}

#[test]
fn secrets_are_not_told() {
    for lines in [
        "authentication {\nauth_type PASS\nauth_pass very secret\n}",
        "auth_hmac {\nkey 0 verysecret\n}",
        "auth_hmac {\nkey 1 hex:verysecret\n}",
    ] {
        let found = wrong(&instance(lines)).join("\n");
        assert!(found.contains("auth_pass") || found.contains("key"), "{found}");
        assert!(!found.contains("secret") || !found.contains("very"), "{found}");
    }
}

#[test]
fn version_2_is_the_default_and_counts_in_seconds() {
    let of = |text: &str| {
        let site = read(text);
        let router = site.host().instances()[0].router();
        (router.version(), router.advert_interval().as_millis(), site.warnings().len())
    };
    assert_eq!(of(&instance("")), (Version::V2, 1000, 0));
    assert_eq!(of(&instance("advert_int 0.4")), (Version::V2, 1000, 1));
    assert_eq!(of(&instance("advert_int 1.5")), (Version::V2, 2000, 1));
    assert_eq!(of(&instance("version 3\nadvert_int 0.4")), (Version::V3, 400, 0));
    let global = "global_defs {\nvrrp_version 3\n}\n";
    assert_eq!(of(&(instance("advert_int .01") + global)), (Version::V3, 10, 0));
    let six = "version 2\nvirtual_ipaddress {\n2001:db8::5\n}";
    assert_eq!(of(&instance(six)), (Version::V3, 1000, 0), "IPv6 is version 3");
    let found = wrong(&instance("version 3\nadvert_int 0.009"));
    assert!(found[0].starts_with("k.conf:5: advert_interval of `V`: 9 ms"), "{found:?}");
}

#[test]
fn what_would_make_both_sides_serve_is_an_error_leniently_too() {
    for (lines, part) in [
        ("authentication { auth_type AH }", "`auth_type AH`"),
        ("mcast_dst_ip 224.0.0.19", "224.0.0.18"),
        ("old_unicast_checksum", "`never`"),
    ] {
        let error = Reader::new().lenient(true).parse(&instance(lines), "k.conf");
        let error = error.expect_err(lines).to_string();
        assert!(error.contains(part), "{error}");
    }
    read(&instance("mcast_dst_ip 224.0.0.18\nold_unicast_checksum never"));
}

#[test]
fn an_address_is_taken_once_and_may_be_on_another_interface() {
    let text = "virtual_ipaddress {\n192.0.2.1\n192.0.2.1 label eth0:1\n192.0.2.2 dev eth1\n}";
    let site = read(&instance(text));
    let instance = &site.host().instances()[0];
    assert_eq!(instance.router().addresses().len(), 2);
    assert!(format!("{instance:?}").contains(r#"{192.0.2.2: "eth1"}"#), "{instance:?}");
}

#[test]
fn the_reading_of_the_checksum_is_that_of_the_file() {
    let reading = |text: &str| format!("{:?}", read(text).host().instances()[0].router());
    let global = "global_defs {\nvrrp_version 3\n}\n".to_owned();
    assert!(reading(&(global.clone() + &instance(""))).contains("checksum: PseudoHeader"));
    let option = instance("v3_checksum_as_v2");
    assert!(reading(&(global.clone() + &option)).contains("checksum: MessageOnly"));
    let off = instance("v3_checksum_as_v2 off");
    assert!(reading(&(global + &off)).contains("checksum: PseudoHeader"));
}

#[test]
fn unicast_peers_may_be_as_far_away_as_the_file_says() {
    let hops = |peers: &str| {
        let lines = format!("unicast_peer {{\n{peers}\n}}");
        format!("{:?}", read(&instance(&lines)).host().instances()[0].router())
    };
    assert!(hops("10.0.0.2").contains("hop_limits: 0..=255"), "as in keepalived");
    let two = "10.0.0.2 min_ttl 250 max_ttl 254\n10.0.0.3 min_ttl 252";
    assert!(hops(two).contains("hop_limits: 250..=255"));
    for peer in ["10.0.0.2 min_ttl", "10.0.0.2 ttl 5", "10.0.0.2 min_ttl 9 max_ttl 8", "fd00::1"] {
        let found = wrong(&instance(&format!("unicast_peer {{\n{peer}\n}}")));
        assert_eq!(found.len(), 1, "{peer}: {found:?}");
    }
}

#[test]
fn a_master_from_the_start_always_preempts_as_in_keepalived() {
    let preempts = |text: &str| {
        let site = read(&instance(text));
        (site.host().instances()[0].router().preempt(), site.warnings().len())
    };
    assert_eq!(preempts("state BACKUP\nnopreempt"), (false, 0));
    assert_eq!(preempts("state MASTER\nnopreempt"), (true, 1));
    assert_eq!(preempts("nopreempt"), (false, 0));
}

#[test]
fn a_primary_interface_that_is_not_tracked_is_no_fault() {
    let site = read(&instance("dont_track_primary"));
    let tracked = &site.host().instances()[0].tracked()[0];
    assert_eq!((tracked.name(), tracked.get_weight().get()), ("eth0", -1));
    let site = read(&instance("track_interface {\neth0 weight 5\n}"));
    let weights: Vec<i16> =
        site.host().instances()[0].tracked().iter().map(|t| t.get_weight().get()).collect();
    assert_eq!(weights, [5, 0], "a weight of its own does not make it less of a fault");
}

#[test]
fn weights_of_members_of_a_group_count_as_nothing() {
    let script = "vrrp_script s {\nscript /bin/true\nweight 10\n}\n";
    let lines = "track_script {\ns\n}\ntrack_interface {\neth1 weight 5\neth2\n}";
    let group = |more: &str| format!("vrrp_sync_group G {{\ngroup {{ V }}\n{more}\n}}\n");
    let weights = |text: String| -> Vec<i16> {
        let site = read(&text);
        let tracked = site.host().instances()[0].tracked();
        tracked.iter().map(|tracked| tracked.get_weight().get()).collect()
    };
    let file = script.to_owned() + &instance(lines);
    assert_eq!(weights(file.clone()), [10, 5, 0]);
    assert_eq!(weights(file.clone() + &group("")), [0, 0, 0]);
    assert_eq!(weights(file + &group("sync_group_tracking_weight")), [10, 5, 0]);
}

#[test]
fn keys_are_read_in_all_their_forms() {
    let path = std::env::temp_dir().join(format!("ha-vip-key-{}", std::process::id()));
    std::fs::write(&path, format!("hex:{}\n", "07".repeat(32))).expect("written");
    let text = format!(
        "version 3\nadvert_int 4\nauth_hmac {{\nkey 1 hex:{}\nkey 2 {}\nkey 3 file:{}\n\
         active_key 2\nmode permissive\n}}",
        "0a".repeat(32),
        "x".repeat(40),
        path.display()
    );
    let site = read(&instance(&text));
    std::fs::remove_file(&path).expect("removed");
    let text = format!("{:?}", site.host().instances()[0]);
    for part in ["id: 1", "id: 2", "id: 3", "active: 2", "Permissive", "Some(12s)"] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn files_are_included_from_where_they_are() {
    let folder = std::env::temp_dir().join(format!("ha-vip-include-{}", std::process::id()));
    std::fs::create_dir_all(folder.join("conf.d")).expect("a folder");
    let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).expect("written");
    write("main.conf", "include conf.d/*.conf\n");
    write("conf.d/b.conf", &instance("priority 7").replace('V', "B"));
    write("conf.d/a.conf", "global_defs {\nvrrp_version 3\n}\ninclude ../{more,none}.inc\n");
    write("conf.d/c.conf.bak", "nonsense");
    write("more.inc", "global_defs {\nrouter_id ${_PWD}\n}\n");
    let site = Site::read(folder.join("main.conf")).expect("a site");
    assert_eq!(site.host().instances()[0].router().version(), Version::V3);
    assert!(site.router_id().is_some_and(|id| id.ends_with("conf.d/..")));

    write("conf.d/a.conf", "include a.conf\n");
    let error = Site::read(folder.join("main.conf")).expect_err("it includes itself").to_string();
    assert!(error.contains("a.conf:1") && error.contains("16 deep"), "{error}");
    write("conf.d/a.conf", "global_defs {\n wrong\n}\n");
    let error = Site::read(folder.join("main.conf")).expect_err("it is wrong").to_string();
    assert!(error.contains("conf.d/a.conf:2: `wrong`"), "{error}");
    std::fs::remove_dir_all(&folder).expect("removed");
    let error = Site::read(folder.join("main.conf")).expect_err("it is gone").to_string();
    assert!(error.contains("a file that can be read"), "{error}");
}

#[test]
fn a_check_without_quotes_is_not_what_it_seems() {
    let text = "vrrp_script s {\nscript /usr/bin/killall -0 haproxy\n}\n".to_owned();
    let text = text + &instance("track_script {\ns\n}");
    let found = wrong(&text);
    assert!(found[0].starts_with("k.conf:2: `-0` after a command"), "{found:?}");
    let site = Reader::new().lenient(true).parse(&text, "k.conf").expect("a site");
    assert_eq!(site.warnings().len(), 1);
}

#[test]
fn users_are_those_of_the_host() {
    let script = |user: &str| {
        format!("vrrp_script s {{\nscript /bin/true\nuser {user}\n}}\n")
            + &instance("track_script {\ns\n}")
    };
    read(&script("root"));
    read(&script("0 0"));
    let found = wrong(&script("nobody-has-this-name"));
    assert!(found[0].starts_with("k.conf:3: `user nobody-has-this-name`"), "{found:?}");
}

#[test]
fn root_runs_no_script_that_others_can_change() {
    let path = std::env::temp_dir().join(format!("ha-vip-script-{}", std::process::id()));
    std::fs::write(&path, "#!/bin/sh\n").expect("written");
    let site = |security: &str, program: &str| {
        format!("global_defs {{\n{security}\nscript_user root\n}}\n")
            + &instance(&format!("notify \"{program} x\""))
    };
    let own = path.display().to_string();
    read(&site("", &own));
    read(&site("enable_script_security", "/bin/true"));
    let found = wrong(&site("enable_script_security", &own));
    assert!(found[0].contains("only root can change"), "{found:?}");
    std::fs::remove_file(&path).expect("removed");
}

#[test]
fn a_reload_sets_going_what_is_new_and_keeps_the_neighbours() {
    let script = |seconds: u8| {
        format!("vrrp_script s {{\nscript /bin/true\ninterval {seconds}\n}}\n")
            + &instance("track_script {\ns\n}")
    };
    let names = |old: &str, new: &str| -> Vec<String> {
        let trackers = read(new).trackers_since(&read(old)).expect("trackers");
        trackers.iter().map(|tracker| tracker.name().to_owned()).collect()
    };
    assert_eq!(names(&script(1), &script(1)), [""; 0]);
    assert_eq!(names(&script(1), &script(2)), ["script s"]);
    assert_eq!(names(&instance(""), &script(1)), ["script s"]);
    assert_eq!(names(&script(1), &instance("")), [""; 0]);
    let neighbour = "bfd_instance b {\nneighbor_ip 192.0.2.2\n}\n".to_owned();
    let with = read(&(neighbour + &instance("track_bfd {\nb\n}")));
    let error = with.trackers_since(&read(&instance(""))).expect_err("another neighbour");
    assert!(error.to_string().contains("bfd_instance"), "{error}");
}

/// Number, priority, interval, preemption and its delay, whether of version 3.
type Written = (u8, u8, u64, bool, u64, bool);

prop_compose! {
    fn instances()(
        of in prop::collection::btree_map(
            1..=255_u8,
            (1..=254_u8, 1..=4095_u64, any::<bool>(), 0..=1000_u64, any::<bool>()),
            1..8,
        ),
    ) -> Vec<Written> {
        of.into_iter().map(|(vrid, (a, b, c, d, e))| (vrid, a, b, c, d, e)).collect()
    }
}

proptest! {
    #[test]
    fn any_text_is_a_site_or_an_error(text: String) {
        for lenient in [false, true] {
            drop(Reader::new().lenient(lenient).parse(&text, "x"));
        }
    }

    #[test]
    fn any_words_are_a_site_or_an_error(words in prop::collection::vec(word(), 0..60)) {
        for lenient in [false, true] {
            drop(Reader::new().lenient(lenient).parse(&words.join(" "), "x"));
        }
    }

    #[test]
    fn what_is_written_is_read_back(instances in instances(), style in 0..3_usize) {
        let (open, end) = [(" {\n", "\n"), ("\n{\n", "  # a comment\n"), (" {\n", " ! another\n")][style];
        let written = |(vrid, priority, cs, preempt, delay, third): &Written| {
            let (version, interval) = if *third {
                (3, format!("{}.{:02}", cs / 100, cs % 100))
            } else {
                (2, (cs % 255 + 1).to_string())
            };
            let lines = [
                format!("vrrp_instance \"V {vrid}\"{open}interface eth0"),
                format!("virtual_router_id {vrid}"),
                format!("priority {priority}"),
                format!("advert_int {interval}"),
                format!("version {version}"),
                if *preempt { "preempt" } else { "nopreempt" }.to_owned(),
                format!("preempt_delay {delay}"),
                format!("virtual_ipaddress{open}10.0.{vrid}.1/24 dev eth0 label x"),
                "}".to_owned(),
                format!("}}{end}"),
            ];
            lines.join(end)
        };
        let text: String = instances.iter().map(written).collect();
        let site = Site::parse(&text, "x");
        prop_assert!(site.is_ok(), "{}\n{}", site.unwrap_err(), text);
        let site = site.expect("a site");
        prop_assert_eq!(site.host().instances().len(), instances.len());
        for (made, (vrid, priority, cs, preempt, delay, third)) in
            site.host().instances().iter().zip(instances)
        {
            let router = made.router();
            prop_assert_eq!(made.name(), format!("V {vrid}"));
            prop_assert_eq!(router.vrid().get(), vrid);
            prop_assert_eq!(router.priority().get(), priority);
            let ms = if third { cs * 10 } else { (cs % 255 + 1) * 1000 };
            prop_assert_eq!(router.advert_interval(), Duration::from_millis(ms));
            prop_assert_eq!(router.preempt(), preempt);
            prop_assert_eq!(router.preempt_delay(), Duration::from_secs(delay));
            prop_assert_eq!(router.addresses()[0].to_string(), format!("10.0.{vrid}.1/24"));
        }
    }
}

/// Words that mean something, and others.
fn word() -> impl Strategy<Value = String> {
    let known = prop::sample::select(vec![
        "{",
        "}",
        "\n",
        "\n",
        "\n",
        "vrrp_instance",
        "vrrp_sync_group",
        "vrrp_script",
        "group",
        "global_defs",
        "bfd_instance",
        "track_file",
        "vrrp_track_process",
        "interface",
        "eth0",
        "virtual_router_id",
        "priority",
        "advert_int",
        "1",
        "0.01",
        "255",
        "-1",
        "unicast_peer",
        "virtual_ipaddress",
        "192.0.2.1/24",
        "fe80::1",
        "dev",
        "weight",
        "reverse",
        "notify",
        "track_script",
        "track_interface",
        "auth_hmac",
        "key",
        "authentication",
        "auth_pass",
        "$A=1",
        "$A",
        "${A}",
        "$A= \\",
        "@x",
        "@^x",
        "~SEQ(a,1)",
        "\"",
        "'",
        "\\",
        "#",
        "file",
        "min_ttl",
        "script",
        "process",
        "quorum",
        "init_file",
        "neighbor_ip",
        "state",
        "MASTER",
    ]);
    prop_oneof![8 => known.prop_map(str::to_owned), 1 => any::<String>()]
}

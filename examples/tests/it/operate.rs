//! Running routers are watched and told through the control socket and the metrics.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Output};

use ha_lab::ProcessSignal;

use crate::rig::{Rig, VIP, await_state, eventually, holds, router, says, stop};

fn vipctl(socket: &Path, words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vipctl"));
    command.arg("--socket").arg(socket).args(words);
    command.output().expect("vipctl runs")
}

fn told(socket: &Path, words: &[&str]) -> String {
    let output = vipctl(socket, words);
    assert!(output.status.success(), "{words:?}: {output:?}");
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn a_switchover_is_asked_for_and_taken_back_through_the_control_socket() {
    ha_lab::run_test(|| {
        let Rig { a, b, .. } = &Rig::new();
        let folder = tempfile::tempdir().expect("a folder");
        let sockets = [folder.path().join("a.sock"), folder.path().join("b.sock")];
        let flags = |socket: &Path| socket.to_str().expect("text").to_owned();
        let (first, second) = (flags(&sockets[0]), flags(&sockets[1]));
        let first = router(a, &["--vip", VIP, "--priority", "150", "--control", &first]);
        await_state(&first, "active");
        let second = router(b, &["--vip", VIP, "--control", &second]);
        says(&second, "10.77.0.1 is the active router");
        let status = told(&sockets[0], &["status"]);
        assert!(status.starts_with("eth0 (vrid 51 on eth0): active for "), "{status}");
        assert!(status.contains("10.77.0.100/24: served here"), "{status}");
        assert!(status.contains("eth0: up, +0"), "{status}");

        assert_eq!(told(&sockets[0], &["hand-over", "eth0"]), "done\n");
        await_state(&second, "active");
        await_state(&first, "backup");
        eventually("the address has moved", || !holds(a, VIP) && holds(b, VIP));
        let status = told(&sockets[0], &["status"]);
        assert!(status.contains("10.77.0.2 is active; stands back"), "{status}");
        let json = told(&sockets[1], &["status", "--json"]);
        let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
        assert_eq!(json["routers"][0]["state"], "active");
        assert_eq!(json["routers"][0]["addresses"][0], VIP);

        assert_eq!(told(&sockets[0], &["resume", "eth0"]), "done\n");
        await_state(&second, "backup");
        eventually("the address is back", || holds(a, VIP) && !holds(b, VIP));

        let output = vipctl(&sockets[0], &["hand-over", "web"]);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(text.contains("no virtual router \"web\"; there are: eth0"), "{text}");
        let output = vipctl(&sockets[0], &["reload"]);
        assert_eq!(output.status.code(), Some(1), "there is no file to read");
        stop(&first, ProcessSignal::Terminate);
        assert!(!sockets[0].exists(), "the socket goes with the program");
        let output = vipctl(&sockets[0], &["status"]);
        assert_eq!(output.status.code(), Some(1));
    });
}

/// What Prometheus would read on this host.
fn scrape(host: &ha_lab::Host) -> String {
    let get = || {
        let mut stream = TcpStream::connect("127.0.0.1:9650").ok()?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: router\r\n\r\n").ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok().map(|_| text)
    };
    host.run(get).expect("in the host").unwrap_or_default()
}

#[test]
fn the_metrics_say_what_is_at_the_moment_of_the_scrape() {
    ha_lab::run_test(|| {
        let Rig { a, .. } = &Rig::new();
        let ours = router(a, &["--vip", VIP, "--metrics", "127.0.0.1:9650"]);
        await_state(&ours, "backup");
        eventually("it answers", || scrape(a).contains("200 OK"));
        await_state(&ours, "active");
        let labels = "router=\"eth0\",interface=\"eth0\",vrid=\"51\"";
        let text = scrape(a);
        assert!(text.contains(&format!("ha_vrrp_state{{{labels},state=\"active\"}} 1")), "{text}");
        assert!(text.contains(&format!("ha_vrrp_state{{{labels},state=\"backup\"}} 0")), "{text}");
        assert!(text.contains(&format!("ha_vrrp_became_active_total{{{labels}}} 1")), "{text}");
        assert!(text.contains("# TYPE ha_vrrp_adverts_sent_total counter"), "{text}");
        stop(&ours, ProcessSignal::Terminate);
    });
}

//! An address that a cloud's API moves. The API is a mock of the two calls that are used: the real
//! one needs an account.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;

use ha_lab::{Host, Process, ProcessSignal};

use crate::rig::{Rig, await_state, eventually, stop};

/// What the cloud knows: where the address points to, and how many calls it will refuse.
#[derive(Debug, Default)]
struct Cloud {
    server: Option<u64>,
    refuse: usize,
    assigned: Vec<u64>,
    strangers: usize,
}

/// Listens on a host for as long as the test lives.
fn mock(host: &Host) -> Arc<Mutex<Cloud>> {
    let cloud = Arc::new(Mutex::new(Cloud::default()));
    let known = Arc::clone(&cloud);
    let listen = move || {
        let listener = TcpListener::bind("0.0.0.0:8080").expect("a listener");
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // A caller that was powered off says no more.
                drop(stream.set_read_timeout(Some(std::time::Duration::from_secs(5))));
                let known = Arc::clone(&known);
                thread::spawn(move || while answer(&stream, &known).is_some() {});
            }
        });
    };
    host.run(listen).expect("the lab runs");
    cloud
}

fn answer(mut stream: &TcpStream, cloud: &Mutex<Cloud>) -> Option<()> {
    let mut lines = BufReader::new(stream);
    let (mut head, mut len, mut known) = (String::new(), 0, false);
    lines.read_line(&mut head).ok().filter(|len| *len > 0)?;
    loop {
        let mut line = String::new();
        lines.read_line(&mut line).ok()?;
        let line = line.trim().to_ascii_lowercase();
        known |= line == "authorization: bearer secret";
        if let Some(text) = line.strip_prefix("content-length: ") {
            len = text.parse().ok()?;
        }
        if line.is_empty() {
            break;
        }
    }
    let mut body = vec![0; len];
    lines.read_exact(&mut body).ok()?;
    let mut cloud = cloud.lock().expect("no panic");
    cloud.strangers += usize::from(!known);
    let (status, text) = if cloud.refuse > 0 {
        cloud.refuse -= 1;
        ("503 Service Unavailable", "{\"error\":\"try later\"}".to_owned())
    } else if head.starts_with("POST /v1/floating_ips/4711/actions/assign ") {
        let body: serde_json::Value = serde_json::from_slice(&body).ok()?;
        cloud.server = body["server"].as_u64();
        cloud.assigned.extend(body["server"].as_u64());
        ("201 Created", "{\"action\":{}}".to_owned())
    } else if head.starts_with("GET /v1/floating_ips/4711 ") {
        let answer = serde_json::json!({ "floating_ip": { "id": 4711, "server": cloud.server } });
        ("200 OK", answer.to_string())
    } else {
        ("404 Not Found", String::new())
    };
    let len = text.len();
    write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {len}\r\n\r\n{text}").ok()
}

fn router(host: &Host, priority: &str, peer: &str, server: &str) -> Process {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cloud-router"));
    command.env("HCLOUD_TOKEN", "secret");
    command.args(["--iface", "eth0", "--vrid", "51", "--vip", "203.0.113.7/32"]);
    command.args(["--priority", priority, "--peer", peer, "--advert-ms", "100"]);
    command.args(["--api", "http://10.77.0.3:8080/v1", "--floating-ip", "4711"]);
    command.args(["--server", server]);
    host.spawn(&mut command).expect("cloud-router runs")
}

#[test]
fn the_cloud_is_told_until_it_has_understood_and_a_late_call_of_the_loser_does_not_stay() {
    ha_lab::run_test(|| {
        let Rig { lab, lan, a, b } = &Rig::new();
        let c = lab.host("c").and_then(|host| host.join(lan, "10.77.0.3/24")).expect("a host");
        let cloud = mock(&c);
        let points_to = |server: u64| cloud.lock().expect("no panic").server == Some(server);
        cloud.lock().expect("no panic").refuse = 2;

        let first = router(a, "150", "10.77.0.2", "1");
        eventually("the first server has it", || points_to(1));
        let second = router(b, "100", "10.77.0.1", "2");
        await_state(&second, "backup");
        a.power_off().expect("off");
        await_state(&second, "active");
        eventually("the second server has it", || points_to(2));

        // The first one's call was on its way for long.
        cloud.lock().expect("no panic").server = Some(1);
        eventually("it is put right", || points_to(2));
        stop(&second, ProcessSignal::Terminate);
        let cloud = cloud.lock().expect("no panic");
        assert_eq!(cloud.assigned, [1, 2, 2], "only what was wrong was changed");
        assert_eq!(cloud.strangers, 0, "each call has the token");
        drop(first);
    });
}

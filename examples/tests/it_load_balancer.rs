//! The program `load-balancer`, run as a user runs it, and beside a real HAProxy.
#![expect(clippy::expect_used, reason = "these are tests, and so are their helpers")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use socket2::{Domain, Socket, Type};

const PROGRAM: &str = env!("CARGO_BIN_EXE_load-balancer");

/// A backend that answers every connection with its number.
struct Backend {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Backend {
    /// Says its number as plain text, at once.
    fn tcp(number: usize) -> Self {
        Self::start(number, |stream, number| {
            let _gone = write!(stream, "{number}");
        })
    }

    /// Answers one HTTP request with its number.
    fn http(number: usize) -> Self {
        Self::start(number, |stream, number| {
            let mut reader = BufReader::new(&*stream);
            let mut line = String::new();
            while reader.read_line(&mut line).is_ok_and(|read| read > 2) {
                line.clear();
            }
            let text = number.to_string();
            let head = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length:";
            let _gone = write!(stream, "{head} {}\r\n\r\n{text}", text.len());
        })
    }

    fn start(number: usize, answer: fn(&mut TcpStream, usize)) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                if let Ok(mut stream) = stream {
                    answer(&mut stream, number);
                }
            }
        });
        Self { address, stop, thread: Some(thread) }
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _wakes_the_thread = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}

/// The program, running; killed when dropped.
struct Program {
    child: Child,
    events: BufReader<ChildStdout>,
    listen: SocketAddr,
}

impl Program {
    fn start(args: &[&str]) -> Self {
        let mut child = Command::new(PROGRAM)
            .args(args)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program was built");
        let events = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut program = Self { child, events, listen: SocketAddr::from(([0; 4], 0)) };
        let ready = program.event("ready");
        program.listen = ready["listen"].as_str().and_then(|a| a.parse().ok()).expect("an address");
        program
    }

    /// Reads events up to the next one of this name.
    fn event(&mut self, name: &str) -> Value {
        loop {
            let mut line = String::new();
            let read = self.events.read_line(&mut line).expect("text");
            assert!(read > 0, "the program ended before {name}");
            let event: Value = serde_json::from_str(&line).expect("a line of JSON");
            assert!(event["t"].as_f64().is_some_and(|t| t > 1e9), "{line}");
            if event["event"] == name {
                return event;
            }
        }
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).expect("a child");
        kill_process(pid, signal).expect("it runs");
    }

    fn end(mut self) -> Option<i32> {
        self.child.wait().expect("it runs").code()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// What the backend says that a client with this address reaches.
fn ask(from: IpAddr, to: SocketAddr) -> String {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::new(from, 0).into()).expect("all of 127.0.0.0/8 is ours");
    socket.connect(&to.into()).expect("it listens");
    let mut answer = String::new();
    match TcpStream::from(socket).read_to_string(&mut answer) {
        Ok(_) => answer,
        Err(error) => error.to_string(),
    }
}

fn get(to: SocketAddr) -> String {
    let mut stream = TcpStream::connect(to).expect("it listens");
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer.rsplit_once("\r\n\r\n").map(|(_, body)| body.to_owned()).expect("a body")
}

fn list(backends: &[Backend]) -> String {
    let addresses: Vec<_> = backends.iter().map(|backend| backend.address.to_string()).collect();
    addresses.join(",")
}

fn output(args: &[&str]) -> Output {
    Command::new(PROGRAM).args(args).output().expect("the program was built")
}

#[test]
fn wrong_flags_and_files_give_one_line_and_status_2() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(&file, "listen = \"127.0.0.1:0\"\nwieght = 3\n").expect("written");
    let file = file.path().to_str().expect("text");
    let good = ["--listen", "127.0.0.1:0", "--backends", "127.0.0.1:1"];
    for (wrong, words) in [
        (&["--mode", "udp"][..], ["--mode", "udp", "tcp or http"]),
        (&["--algorithm", "source,hash-type=x"], ["hash-type", "x", "map-based, consistent"]),
        (&["--backends", "127.0.0.1:1,a\nb"], ["--backends[1]", "a b", "ADDRESS:PORT"]),
        (&["--threads", "0"], ["--threads", "0", "1 to 256"]),
        (&["--no-such-flag"], ["--no-such-flag", "this flag", "--help"]),
        (&["--config", file], [file, "wieght", "backends"]),
    ] {
        let args: Vec<_> = good.iter().chain(wrong).copied().filter(|a| !a.is_empty()).collect();
        // A flag that is given twice is an error of its own.
        let args = if wrong[0] == "--backends" {
            ["--listen", "127.0.0.1:0"].iter().chain(wrong).copied().collect()
        } else {
            args
        };
        let output = output(&args);
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{complaint}");
        assert_eq!(complaint.trim_end().lines().count(), 1, "{complaint}");
        for word in words {
            assert!(complaint.contains(word), "{word:?} is missing in {complaint}");
        }
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn a_port_in_use_is_said_in_one_line_with_status_1() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("bound").to_string();
    for threads in ["1", "3"] {
        let args = ["--listen", &address, "--backends", "127.0.0.1:1", "--threads", threads];
        let output = output(&args);
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{complaint}");
        assert_eq!(complaint.trim_end().lines().count(), 1, "{complaint}");
        assert!(complaint.contains(&address) && complaint.contains("another port"), "{complaint}");
    }
}

#[test]
fn help_is_complete_and_goes_to_standard_output() {
    let output = output(&["--help"]);
    assert_eq!(output.status.code(), Some(0));
    let help = String::from_utf8_lossy(&output.stdout);
    for word in ["--backends", "--algorithm", "least-connections", "[[backends]]", "SIGTERM"] {
        assert!(help.contains(word), "{word} is missing");
    }
}

#[test]
fn a_backend_that_dies_is_taken_out_and_a_signal_ends_it_in_order() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut backends = vec![Backend::http(1), Backend::http(2)];
        let backend_list = list(&backends);
        let mut program = Program::start(&[
            "--listen",
            "127.0.0.1:0",
            "--backends",
            &backend_list,
            "--mode",
            "http",
            "--check",
            "http:/health",
            "--check-interval-ms",
            "200",
            "--fall",
            "2",
        ]);
        for _ in 0..2 {
            assert_eq!(program.event("health")["to"], "healthy");
        }
        let mut answers = [get(program.listen), get(program.listen)];
        answers.sort();
        assert_eq!(answers, ["1", "2"]);
        let gone = backends.remove(0).address.to_string();
        let event = program.event("health");
        assert_eq!(
            (event["backend"].as_str(), event["from"].as_str()),
            (Some(&*gone), Some("healthy"))
        );
        assert_eq!(event["to"], "unhealthy");
        assert!(event["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{event}");
        for _ in 0..3 {
            assert_eq!(get(program.listen), "2");
        }
        program.signal(signal);
        program.event("stopping");
        assert_eq!(program.event("stopped")["cut"], 0);
        assert_eq!(program.end(), Some(0));
    }
}

#[test]
fn a_second_signal_does_not_wait_for_connections() {
    let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = silent.local_addr().expect("bound").to_string();
    let mut program = Program::start(&[
        "--listen",
        "127.0.0.1:0",
        "--backends",
        &address,
        "--grace-ms",
        "86400000",
    ]);
    let client = TcpStream::connect(program.listen).expect("it listens");
    let _relayed = silent.accept().expect("the connection has come through");
    program.signal(Signal::TERM);
    program.event("stopping");
    program.signal(Signal::TERM);
    program.event("stopped");
    assert_eq!(program.end(), Some(0));
    drop(client);
}

#[test]
fn backends_come_from_a_file_that_changes() {
    let backends = [Backend::tcp(1), Backend::tcp(2)];
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("backends");
    // It comes as a whole, as people who replace files in use do it.
    let write = |backend: &Backend| {
        let new = folder.path().join("new");
        std::fs::write(&new, format!("{}\n", backend.address)).expect("written");
        std::fs::rename(&new, &file).expect("renamed");
    };
    write(&backends[0]);
    let source = format!("file:{}", file.display());
    let program = Program::start(&["--listen", "127.0.0.1:0", "--discover", &source]);
    let reaches = |expected: &str| {
        // Until then the pool is empty, or still has the other one: for two looks at the file.
        let reached = |_| ask(Ipv4Addr::LOCALHOST.into(), program.listen) == expected;
        assert!((0..200_000).any(reached), "{expected} is never reached");
    };
    reaches("1");
    write(&backends[1]);
    reaches("2");
    program.signal(Signal::TERM);
    assert_eq!(program.end(), Some(0));
}

#[test]
fn a_cookie_brings_clients_back_whatever_the_algorithm() {
    let backends = [Backend::http(1), Backend::http(2)];
    let list = list(&backends);
    let args = ["--listen", "127.0.0.1:0", "--mode", "http", "--backends", &list];
    let program = Program::start(&[&args[..], &["--cookie", "SERVERID"]].concat());
    let ask = |cookie: &str| {
        let mut stream = TcpStream::connect(program.listen).expect("it listens");
        let request = format!("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{cookie}\r\n");
        stream.write_all(request.as_bytes()).expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        answer.to_lowercase()
    };
    let first = ask("");
    let (_, set) = first.split_once("set-cookie: ").expect("a cookie");
    let (cookie, _) = set.split_once(';').expect("attributes");
    let cookie = format!("Cookie: {}\r\n", cookie.replace("serverid", "SERVERID"));
    let body = |answer: &str| answer.rsplit_once("\r\n\r\n").map(|(_, body)| body.to_owned());
    for _ in 0..4 {
        assert_eq!(body(&ask(&cookie)), body(&first));
    }
    program.signal(Signal::TERM);
    assert_eq!(program.end(), Some(0));
}

#[test]
fn several_threads_share_the_port() {
    let backends = [Backend::tcp(1), Backend::tcp(2)];
    let program = Program::start(&[
        "--listen",
        "127.0.0.1:0",
        "--backends",
        &list(&backends),
        "--threads",
        "3",
        "--algorithm",
        "least-connections",
    ]);
    for _ in 0..50 {
        let answer = ask(Ipv4Addr::LOCALHOST.into(), program.listen);
        assert!(answer == "1" || answer == "2", "{answer}");
    }
    program.signal(Signal::TERM);
    assert_eq!(program.end(), Some(0));
}

/// Fifty addresses of the loopback network.
fn clients() -> impl Iterator<Item = IpAddr> {
    (0..50_u8).map(|n| Ipv4Addr::new(127, n / 20, n.wrapping_mul(37), n.wrapping_mul(5) | 1).into())
}

/// A real HAProxy on a socket that it inherits; killed when dropped.
struct Haproxy {
    child: Child,
    listen: SocketAddr,
}

impl Haproxy {
    fn start(backends: &[Backend], weights: &[u16], hash_type: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let listen = listener.local_addr().expect("bound");
        let servers: Vec<String> = backends
            .iter()
            .zip(weights)
            .enumerate()
            .map(|(n, (backend, weight))| {
                format!("  server s{} {} weight {weight}\n", n + 1, backend.address)
            })
            .collect();
        let config = tempfile::NamedTempFile::new().expect("a file");
        let text = format!(
            "global\n  maxconn 100\ndefaults\n  mode tcp\n  timeout connect 5s\n  timeout client 5s\n  \
             timeout server 5s\nlisten test\n  bind fd@0\n  balance source\n  hash-type {hash_type}\n\
             {}",
            servers.concat()
        );
        std::fs::write(&config, text).expect("written");
        let child = Command::new("haproxy")
            // Not -q: it closes standard input, and with it the socket.
            .args(["-db", "-f"])
            .arg(config.path())
            .stdin(std::os::fd::OwnedFd::from(listener))
            .stderr(Stdio::null())
            .spawn()
            .expect("it is installed");
        let haproxy = Self { child, listen };
        // The configuration has been read once it answers; then the file may go.
        ask(Ipv4Addr::LOCALHOST.into(), haproxy.listen);
        haproxy
    }
}

impl Drop for Haproxy {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

#[test]
fn source_hashing_sends_clients_where_a_real_haproxy_sends_them() {
    if Command::new("haproxy").arg("-v").stdout(Stdio::null()).status().is_err() {
        let name = "source_hashing_sends_clients_where_a_real_haproxy_sends_them";
        let skipped = format!("skipped {name}: haproxy is not installed");
        assert!(std::env::var_os("HA_REQUIRE_ALL").is_none_or(|value| value != "1"), "{skipped}");
        eprintln!("{skipped}");
        return;
    }
    let backends: Vec<_> = (1..=5).map(Backend::tcp).collect();
    for weights in [[1, 1, 1, 1, 1], [10, 20, 30, 5, 1]] {
        let tables: Vec<String> = backends
            .iter()
            .zip(weights)
            .map(|(backend, weight)| {
                format!("[[backends]]\naddress = \"{}\"\nweight = {weight}\n", backend.address)
            })
            .collect();
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(&file, tables.concat()).expect("written");
        let file = file.path().to_str().expect("text");
        for hash_type in ["map-based", "consistent"] {
            let algorithm = format!("source,hash-type={hash_type}");
            let ours = Program::start(&[
                "--listen",
                "127.0.0.1:0",
                "--config",
                file,
                "--algorithm",
                &algorithm,
            ]);
            let theirs = Haproxy::start(&backends, &weights, hash_type);
            for client in clients() {
                let (ours, theirs) = (ask(client, ours.listen), ask(client, theirs.listen));
                assert_eq!(ours, theirs, "{client} with {hash_type} and weights {weights:?}");
            }
        }
    }
}

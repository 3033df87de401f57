//! BFD on real interfaces, in a laboratory.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use ha_core::sys::packet::packet_address;
use ha_core::time::{BootClock, Clock};
use ha_lab::{Host, Lab};
use ha_vip::bfd::wire::{Diagnostic, Reject, State, decode, encode};
use ha_vip::bfd::{
    Endpoints, Intervals, PORT, Service, ServiceError, ServiceHandle, ServiceStats, SessionConfig,
    SessionHandle,
};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::sync::oneshot;

const PATIENCE: Duration = Duration::from_secs(20);
const SESSIONS: u8 = 50;
const IPV4: u16 = 0x0800;

/// Slow enough for a busy machine: 500 ms of silence are a failure.
fn config() -> SessionConfig {
    let interval = Duration::from_millis(100);
    let builder = SessionConfig::builder().min_tx(interval).min_rx(interval).multiplier(5);
    builder.build().expect("a configuration")
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// A service that runs on a host, in a thread with a runtime of its own.
struct Running {
    service: ServiceHandle,
    sessions: Vec<SessionHandle>,
    stop: oneshot::Sender<()>,
    thread: thread::JoinHandle<ServiceStats>,
}

impl Running {
    fn start(host: &Host, endpoints: Vec<Endpoints>) -> Self {
        let (opened, handles) = mpsc::channel();
        let (stop, end) = oneshot::channel::<()>();
        let run = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                let mut service = Service::new().expect("a service");
                let add = |endpoints| service.add(endpoints, config()).expect("a session");
                let sessions: Vec<SessionHandle> = endpoints.into_iter().map(add).collect();
                opened.send((service.handle(), sessions)).expect("the test waits");
                service.run(async { drop(end.await) }).await.expect("it ends well")
            })
        };
        let thread = host.run(|| thread::spawn(run)).expect("the lab runs");
        let (service, sessions) = handles.recv_timeout(PATIENCE).expect("the service opens");
        Self { service, sessions, stop, thread }
    }

    fn await_all(&self, state: State) {
        for session in &self.sessions {
            await_state(session, state);
        }
    }

    fn stop(self) -> ServiceStats {
        self.stop.send(()).expect("it runs");
        self.thread.join().expect("no panic")
    }
}

fn await_state(session: &SessionHandle, state: State) {
    let clock = BootClock::new();
    let end = clock.now() + PATIENCE;
    while session.state() != state {
        let (peer, now) = (session.peer(), session.state());
        assert!(clock.now() < end, "the session with {peer} is {now}, never {state}");
        thread::park_timeout(Duration::from_millis(2));
    }
}

/// Does something in a runtime of its own, such as a command to a service.
fn block_on<R>(future: impl Future<Output = R>) -> R {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(future)
}

struct Rig {
    _lab: Lab,
    a: Host,
    b: Host,
}

impl Rig {
    fn new() -> Self {
        let lab = Lab::new().expect("a lab");
        let lan = lab.network("lan").expect("a network");
        let host = |name: &str, address: &str| {
            lab.host(name).and_then(|host| host.join(&lan, address)).expect("a host")
        };
        let (a, b) = (host("a", "10.77.0.1/16"), host("b", "10.77.0.2/16"));
        Self { _lab: lab, a, b }
    }

    fn pair(&self) -> [Running; 2] {
        let (a, b) = (ip("10.77.0.1"), ip("10.77.0.2"));
        let start = |host, local, peer| Running::start(host, vec![Endpoints::new(local, peer)]);
        [start(&self.a, a, b), start(&self.b, b, a)]
    }
}

/// Hears the IPv4 packets that arrive at a host's interface.
fn ear(host: &Host) -> Socket {
    host.run(|| {
        let any = Socket::new(Domain::IPV4, Type::DGRAM, None).expect("a socket");
        let index = rustix::net::netdevice::name_to_index(any, "eth0").expect("it has one");
        let protocol = Protocol::from(i32::from(IPV4.to_be()));
        let socket = Socket::new(Domain::PACKET, Type::RAW, Some(protocol)).expect("a socket");
        socket.bind(&packet_address(index, IPV4, [0; 6])).expect("bound");
        socket.set_read_timeout(Some(PATIENCE)).expect("set");
        socket
    })
    .expect("the lab runs")
}

#[test]
fn fifty_sessions_of_one_process_come_up_fail_and_end_each_for_itself() {
    ha_lab::run_test(|| {
        let Rig { a, b, .. } = &Rig::new();
        let peers: Vec<IpAddr> = (1..=SESSIONS).map(|n| ip(&format!("10.77.1.{n}"))).collect();
        for peer in &peers {
            b.add_address("eth0", &format!("{peer}/16")).expect("an address");
        }
        let ear = ear(b);
        let one = ip("10.77.0.1");
        let from_a = peers.iter().map(|peer| Endpoints::new(one, *peer).on("eth0"));
        let from_b = peers.iter().map(|peer| Endpoints::new(*peer, one));
        let ours = Running::start(a, from_a.collect());
        let theirs = Running::start(b, from_b.collect());
        ours.await_all(State::Up);
        theirs.await_all(State::Up);

        // What is on the wire (RFC 5881, sections 4 and 5).
        let mut ports = BTreeSet::new();
        let mut frame = [0; 200];
        while ports.len() < usize::from(SESSIONS) {
            let len = std::io::Read::read(&mut &ear, &mut frame).expect("frames in time");
            let packet = &frame[14..len];
            if packet[9] == 17 && packet[12..16] == [10, 77, 0, 1] {
                let port = |at: usize| u16::from_be_bytes([packet[at], packet[at + 1]]);
                assert_eq!(packet[8], 255, "the TTL");
                assert_eq!(port(22), PORT, "the destination port");
                assert!(port(20) >= 49_152, "the source port {}", port(20));
                ports.insert(port(20));
            }
        }

        a.cut().expect("cut");
        ours.await_all(State::Down);
        theirs.await_all(State::Down);
        let why = |session: &SessionHandle| session.diagnostic();
        assert!(ours.sessions.iter().map(why).all(|d| d == Diagnostic::DETECTION_TIME_EXPIRED));
        a.uncut().expect("mended");
        ours.await_all(State::Up);
        theirs.await_all(State::Up);

        let stats = ours.stop();
        theirs.await_all(State::Down);
        for session in &theirs.sessions {
            assert_eq!(session.diagnostic(), Diagnostic::NEIGHBOR_DOWN);
            assert_eq!(session.remote_state(), State::AdminDown);
        }
        assert!(stats.sessions.came_up >= 2 * u64::from(SESSIONS), "{stats:?}");
        theirs.stop();
    });
}

#[test]
fn ipv6_sessions_run_over_link_local_and_global_addresses() {
    ha_lab::run_test(|| {
        let Rig { a, b, .. } = &Rig::new();
        for (host, n) in [(a, 1), (b, 2)] {
            host.add_address("eth0", &format!("fd77::{n}/64")).expect("an address");
        }
        let link_local = |host: &Host| {
            let addresses = host.addresses("eth0").expect("addresses");
            let addresses = addresses.iter();
            let is = |ip: &IpAddr| matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
            addresses.map(|address| address.ip()).find(is).expect("every interface has one")
        };
        let (la, lb) = (link_local(a), link_local(b));
        let (ga, gb) = (ip("fd77::1"), ip("fd77::2"));
        let local = |from, to| Endpoints::new(from, to).on("eth0");
        let ours = Running::start(a, vec![local(la, lb), Endpoints::new(ga, gb)]);
        let theirs = Running::start(b, vec![local(lb, la), Endpoints::new(gb, ga)]);
        ours.await_all(State::Up);
        theirs.await_all(State::Up);
        b.cut().expect("cut");
        ours.await_all(State::Down);
        theirs.await_all(State::Down);
        ours.stop();
        theirs.stop();
    });
}

#[test]
fn a_packet_from_beyond_a_router_or_for_nobody_changes_nothing() {
    ha_lab::run_test(|| {
        let rig = &Rig::new();
        let [ours, theirs] = rig.pair();
        ours.await_all(State::Up);
        // The peer's own words, but Down: with the right TTL they would end the session.
        let ear = ear(&rig.a);
        let mut frame = [0; 200];
        let mut packet = loop {
            let len = std::io::Read::read(&mut &ear, &mut frame).expect("frames in time");
            let message = frame.get(14 + 28..len).and_then(|message| decode(message).ok());
            if let Some(packet) = message.filter(|packet| packet.state == State::Up) {
                break packet;
            }
        };
        packet.state = State::Down;
        let send = |ttl, message: Vec<u8>| {
            let sent = rig.b.run(|| {
                let socket = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
                socket.set_ttl_v4(ttl)?;
                socket.send_to(&message, &SocketAddr::from(([10, 77, 0, 1], PORT)).into())
            });
            sent.expect("the lab runs").expect("sent");
        };
        send(254, encode(&packet));
        let mut stranger = packet.clone();
        stranger.your_discriminator = None;
        let stranger = encode(&stranger);
        send(255, vec![0; 24]);
        for len in 0..100 {
            send(255, vec![0x21; len]);
        }
        rig.b.add_address("eth0", "10.77.9.9/16").expect("an address");
        let from_elsewhere = rig.b.run(|| {
            let socket = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
            socket.set_ttl_v4(255)?;
            socket.bind(&SocketAddr::from(([10, 77, 9, 9], 50_000)).into())?;
            socket.send_to(&stranger, &SocketAddr::from(([10, 77, 0, 1], PORT)).into())
        });
        from_elsewhere.expect("the lab runs").expect("sent");

        // Every one of them came before the goodbye of the real peer.
        theirs.stop();
        ours.await_all(State::Down);
        assert_eq!(ours.sessions[0].remote_state(), State::AdminDown);
        let stats = ours.stop();
        assert_eq!(stats.sessions.came_up, 1);
        assert_eq!(stats.sessions.rejected(Reject::HopLimit), 1);
        assert_eq!(stats.sessions.rejected(Reject::NoSession), 1);
        assert_eq!(stats.sessions.rejected(Reject::Version), 1);
        assert_eq!(stats.sessions.rejected.iter().sum::<u64>(), 103);
    });
}

#[test]
fn sessions_are_added_changed_held_down_and_removed_while_the_service_runs() {
    ha_lab::run_test(|| {
        let rig = &Rig::new();
        let [ours, theirs] = rig.pair();
        ours.await_all(State::Up);
        let (session, remote) = (&ours.sessions[0], &theirs.sessions[0]);

        block_on(session.disable()).expect("it runs");
        await_state(session, State::AdminDown);
        await_state(remote, State::Down);
        assert_eq!(remote.remote_state(), State::AdminDown);
        block_on(session.enable()).expect("it runs");
        await_state(session, State::Up);
        await_state(remote, State::Up);

        let fast = Intervals::new(Duration::from_millis(200), Duration::from_millis(50));
        block_on(session.set_intervals(fast.expect("allowed"))).expect("it runs");

        // A second one, over addresses that come only later.
        let (a, b) = (ip("fd77::1"), ip("fd77::2"));
        let add = |running: &Running, local, peer| {
            let added = running.service.add(Endpoints::new(local, peer), config());
            block_on(added).expect("a session")
        };
        let (second, other) = (add(&ours, a, b), add(&theirs, b, a));
        let twice = block_on(ours.service.add(Endpoints::new(a, b), config()));
        assert!(matches!(twice, Err(ServiceError::Exists { .. })), "{twice:?}");
        for (host, address) in [(&rig.a, "fd77::1/64"), (&rig.b, "fd77::2/64")] {
            host.add_address("eth0", address).expect("an address");
        }
        await_state(&second, State::Up);
        block_on(ours.service.remove(&second)).expect("it runs");
        await_state(&other, State::Down);
        let gone = block_on(second.until(|_| false));
        assert!(matches!(gone, Err(ServiceError::Ended)), "{gone:?}");
        assert_eq!(session.state(), State::Up, "the first one is as it was");
        let stats = ours.stop();
        assert_eq!(stats.sessions.came_up, 3);
        theirs.stop();
    });
}

#[test]
fn what_cannot_be_a_session_is_told() {
    ha_lab::run_test(|| {
        let rig = &Rig::new();
        let add = |service: &mut Service, local: &str, peer: &str, interface: Option<&str>| {
            let endpoints = Endpoints::new(ip(local), ip(peer));
            let endpoints = interface.into_iter().fold(endpoints, Endpoints::on);
            let error = service.add(endpoints, config()).expect_err("it cannot be");
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            format!("{error}: {}", cause.unwrap_or_default())
        };
        let in_a = rig.a.run(|| {
            block_on(async {
                let mut service = Service::new().expect("a service");
                let told = add(&mut service, "10.77.0.1", "10.77.0.2", Some("eth7"));
                assert!(told.contains("10.77.0.2%eth7: there is no such network interface"));
                for (local, peer, wrong) in [
                    ("10.77.0.1", "fd77::2", "peer: fd77::2"),
                    ("0.0.0.0", "10.77.0.2", "local: 0.0.0.0"),
                    ("10.77.0.1", "224.0.0.1", "peer: 224.0.0.1"),
                    ("fe80::1", "fe80::2", "a link-local address needs an interface"),
                ] {
                    let told = add(&mut service, local, peer, None);
                    assert!(told.contains(wrong), "{told}");
                }
                let taken = std::net::UdpSocket::bind((Ipv6Addr::UNSPECIFIED, PORT));
                let taken = taken.expect("what was refused has left nothing behind");
                let told = add(&mut service, "fd77::1", "fd77::2", None);
                assert!(told.contains("port 3784 is taken"), "{told}");
                drop(taken);
            });
        });
        in_a.expect("the lab runs");
    });
}

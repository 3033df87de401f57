//! The laboratory on a real kernel: as root, and in a user namespace otherwise.
#![expect(clippy::expect_used, reason = "helpers of tests fail as tests do")]

mod it {
    mod cleanup;
    mod faults;
    mod instruments;
    mod power;
    mod real_daemon;
    mod topology;
    mod unprivileged;
}

use std::net::UdpSocket;
use std::time::Duration;

use ha_lab::{Host, Lab, Network};

/// Longer than anything takes; only failures wait so long.
const LONG: Duration = Duration::from_secs(30);

/// The interval of probers.
const EVERY: Duration = Duration::from_millis(1);

/// A lab with one network and so many hosts, `h1` with 10.77.0.1 and so on.
fn lab<const N: usize>() -> (Lab, Network, [Host; N]) {
    let lab = Lab::new().expect("a lab");
    let lan = lab.network("lan").expect("a network");
    let hosts = std::array::from_fn(|i| {
        let host = lab.host(&format!("h{}", i + 1)).expect("a host");
        host.join(&lan, &format!("10.77.0.{}/24", i + 1)).expect("joined")
    });
    (lab, lan, hosts)
}

/// A pair of sockets on two hosts.
struct Line {
    from: UdpSocket,
    to: UdpSocket,
    address: String,
}

impl Line {
    fn new(from: &Host, to: &Host) -> Self {
        let ip = to
            .addresses("eth0")
            .expect("listed")
            .iter()
            .find(|a| a.ip().is_ipv4())
            .expect("one")
            .ip();
        let from = from.run(|| UdpSocket::bind("0.0.0.0:0")).expect("run").expect("bound");
        let to = to.run(|| UdpSocket::bind("0.0.0.0:0")).expect("run").expect("bound");
        let address = format!("{ip}:{}", to.local_addr().expect("bound").port());
        Self { from, to, address }
    }

    /// Whether a packet gets through: tries for long.
    fn works(&self) -> bool {
        self.to.set_read_timeout(Some(Duration::from_millis(50))).expect("set");
        (0..200).any(|_| {
            self.from.send_to(b"x", &self.address).ok();
            self.to.recv(&mut [0; 8]).is_ok()
        })
    }

    /// Whether no packet gets through in a fifth of a second.
    fn is_dead(&self) -> bool {
        self.drain();
        self.to.set_read_timeout(Some(Duration::from_millis(20))).expect("set");
        (0..10).all(|_| {
            self.from.send_to(b"x", &self.address).ok();
            self.to.recv(&mut [0; 8]).is_err()
        })
    }

    fn drain(&self) {
        self.to.set_nonblocking(true).expect("set");
        while self.to.recv(&mut [0; 8]).is_ok() {}
        self.to.set_nonblocking(false).expect("set");
    }
}

//! The driver: hears on one interface who else claims our addresses.

use std::collections::VecDeque;
use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use ha_core::driver::{Alarm, Readiness};
use ha_core::machine::Machine;
use ha_core::sys::packet::{packet_address, receive6, tell_hop_limit_and_destination};
use ha_core::time::{BootClock, Clock, Instant};
use socket2::{Domain, Protocol, Socket, Type};

use super::{
    Announcer, ConflictConfig, ConflictDetector, ConflictEvent, ConflictInput, ConflictOutput,
    ConflictStats, Mac, Sighting, Unreadable, arp_probe,
};

const ETHERTYPE_ARP: u16 = 0x0806;
const ICMPV6: i32 = 58;
/// An ARP frame has 42 bytes, with padding 60; an advertisement 32 and its options.
const BUFFER_LEN: usize = 2048;
/// How many packets are read in each [`WINDOW`]; the kernel drops the rest. A quiet network of a
/// thousand hosts has some hundred a second.
const PACKETS: u32 = 500;
const WINDOW: Duration = Duration::from_millis(50);

/// What a listener has counted since it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ListenerStats {
    /// Packets read.
    pub received: u64,
    /// How often reading was put off because there were too many.
    pub paused: u64,
    /// Packets that said nothing of an address, in the order of [`Unreadable::ALL`].
    pub unreadable: [u64; Unreadable::ALL.len()],
}

/// Runs a [`ConflictDetector`] on an interface: one packet socket for all IPv4 addresses, one of
/// `ICMPv6` where there are IPv6 addresses.
///
/// Needs `CAP_NET_RAW`. At most 10,000 packets a second are read, so that a storm costs little.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use std::sync::Arc;
/// use ha_vip::announce::{ConflictConfig, ConflictListener, Mac, PacketAnnouncer};
///
/// let (index, mac) = (2, Mac::new([2, 0, 0, 0, 0, 1])); // of eth0
/// let config = ConflictConfig::builder(mac).address("192.0.2.10/24".parse()?).build()?;
/// let announcer = Arc::new(PacketAnnouncer::open(index, mac)?);
/// let mut listener = ConflictListener::open("eth0", index, config, announcer)?;
/// listener.hold(); // as soon as the address is on eth0
/// loop {
///     println!("{:?}", listener.next().await?);
/// }
/// # }
/// ```
#[derive(Debug)]
pub struct ConflictListener {
    detector: ConflictDetector,
    announcer: Arc<dyn Announcer>,
    arp: Readiness,
    icmpv6: Option<Readiness>,
    speaking: Socket,
    interface: u32,
    mac: Mac,
    alarm: Alarm,
    clock: BootClock,
    out: Vec<ConflictOutput>,
    events: VecDeque<ConflictEvent>,
    arp_buffer: Vec<u8>,
    icmpv6_buffer: Vec<u8>,
    window_ends: Instant,
    left: u32,
    stats: ListenerStats,
}

impl ConflictListener {
    /// Opens the sockets on the interface with this name and index. Announcements in defence go
    /// out by `announcer`. Must be called inside a tokio runtime with I/O enabled.
    ///
    /// # Errors
    ///
    /// The kernel's; [`io::ErrorKind::PermissionDenied`] without `CAP_NET_RAW`.
    pub fn open(
        name: &str,
        interface: u32,
        config: ConflictConfig,
        announcer: Arc<dyn Announcer>,
    ) -> io::Result<Self> {
        let has_ipv6 = config.addresses().iter().any(|address| address.ip().is_ipv6());
        let speaking = Socket::new(Domain::PACKET, Type::RAW, None)?;
        speaking.set_nonblocking(true)?;
        let clock = BootClock::new();
        Ok(Self {
            arp: hear_arp(interface)?,
            icmpv6: if has_ipv6 { Some(hear_icmpv6(name)?) } else { None },
            speaking,
            interface,
            mac: config.mac(),
            alarm: Alarm::new()?,
            window_ends: clock.now() + WINDOW,
            clock,
            detector: ConflictDetector::new(config),
            announcer,
            out: Vec::new(),
            events: VecDeque::new(),
            arp_buffer: vec![0; BUFFER_LEN],
            icmpv6_buffer: vec![0; BUFFER_LEN],
            left: PACKETS,
            stats: ListenerStats::default(),
        })
    }

    /// The addresses are on this host from now on.
    pub fn hold(&mut self) {
        self.input(ConflictInput::Held);
    }

    /// The addresses are no longer on this host; its conflicts are resolved.
    pub fn release(&mut self) {
        self.input(ConflictInput::Released);
    }

    /// Waits for the next conflict, or the end of one.
    ///
    /// # Errors
    ///
    /// The kernel's. After [`ENETDOWN`](io::ErrorKind::NetworkDown), told once when the interface
    /// goes down, it can be called again.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: what was heard is kept. Only while it is polled are packets read and addresses
    /// defended.
    pub async fn next(&mut self) -> io::Result<ConflictEvent> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Ok(event);
            }
            let may_read = self.may_read();
            let deadline = self.detector.deadline();
            let window = (!may_read).then_some(self.window_ends);
            let deadline = [deadline, window].into_iter().flatten().min();
            let (arp, icmpv6) = (&mut self.arp_buffer, &mut self.icmpv6_buffer);
            let read = tokio::select! {
                waited = self.alarm.until(deadline) => { waited?; None }
                seen = read_arp(&self.arp, arp), if may_read => Some(seen?),
                seen = read_icmpv6(self.icmpv6.as_ref(), icmpv6), if may_read => Some(seen?),
            };
            self.take(read);
        }
    }

    /// The counters of the detector.
    #[must_use]
    pub const fn conflicts(&self) -> &ConflictStats {
        self.detector.stats()
    }

    /// The counters of the listener.
    #[must_use]
    pub const fn stats(&self) -> &ListenerStats {
        &self.stats
    }

    fn input(&mut self, input: ConflictInput) {
        let now = self.clock.now();
        self.detector.handle(now, input, &mut self.out);
        self.perform();
    }

    fn take(&mut self, read: Option<Result<Sighting, Unreadable>>) {
        if read.is_some() {
            self.stats.received += 1;
            self.left = self.left.saturating_sub(1);
        }
        match read {
            Some(Ok(sighting)) => self.input(ConflictInput::Seen(sighting)),
            Some(Err(why)) => {
                for (reason, count) in Unreadable::ALL.iter().zip(&mut self.stats.unreadable) {
                    *count += u64::from(*reason == why);
                }
            }
            None => {
                self.detector.tick(self.clock.now(), &mut self.out);
                self.perform();
            }
        }
    }

    /// Whether another packet may be read in this window.
    fn may_read(&mut self) -> bool {
        if self.left == 0 {
            let now = self.clock.now();
            if now < self.window_ends {
                self.stats.paused += 1;
                return false;
            }
            self.window_ends = now + WINDOW;
            self.left = PACKETS;
        }
        true
    }

    fn perform(&mut self) {
        for output in std::mem::take(&mut self.out) {
            match output {
                ConflictOutput::Event(event) => self.events.push_back(event),
                ConflictOutput::Defend(address) => {
                    if let Err(error) = self.announcer.announce(&[address]) {
                        tracing::warn!(%error, %address, "address not defended");
                    }
                }
                ConflictOutput::Look(address) => {
                    if let Err(error) = self.ask(address.ip()) {
                        tracing::debug!(%error, %address, "not asked whether it is elsewhere");
                    }
                }
            }
        }
    }

    fn ask(&self, ip: IpAddr) -> io::Result<()> {
        // Only IPv4 addresses are asked for.
        let IpAddr::V4(ip) = ip else { return Ok(()) };
        let everybody = Mac::BROADCAST.octets();
        let to = packet_address(self.interface, ETHERTYPE_ARP, everybody);
        self.speaking.send_to(&arp_probe(ip, self.mac), &to)?;
        Ok(())
    }
}

fn hear_arp(interface: u32) -> io::Result<Readiness> {
    // Without a protocol until it is bound: no frame of another interface comes in.
    let socket = Socket::new(Domain::PACKET, Type::RAW, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&packet_address(interface, ETHERTYPE_ARP, [0; 6]))?;
    Readiness::new(socket)
}

fn hear_icmpv6(name: &str) -> io::Result<Readiness> {
    let socket = Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::from(ICMPV6)))?;
    socket.set_nonblocking(true)?;
    socket.bind_device(Some(name.as_bytes()))?;
    tell_hop_limit_and_destination(socket.as_fd())?;
    Readiness::new(socket)
}

type Read = io::Result<Result<Sighting, Unreadable>>;

async fn read_arp(socket: &Readiness, buffer: &mut [u8]) -> Read {
    let flags = rustix::net::RecvFlags::empty();
    let read = socket.read(|socket| Ok(rustix::net::recv(socket, &mut *buffer, flags)?.0));
    let len = read.await?;
    Ok(Sighting::of_arp(buffer.get(..len).unwrap_or_default()))
}

/// Waits for ever where there is no IPv6 address to watch.
async fn read_icmpv6(socket: Option<&Readiness>, buffer: &mut [u8]) -> Read {
    let Some(socket) = socket else {
        return std::future::pending().await;
    };
    let received = socket.read(|socket| receive6(socket, buffer)).await?;
    let message = buffer.get(..received.len).unwrap_or_default();
    Ok(Sighting::of_advertisement(message, received.hop_limit.unwrap_or_default()))
}

//! A program with a guardian: what it has left is ended even when it is killed.
//!
//! Run: `cargo run -p ha-vip --example guarded`. It starts a guardian, kills it, and starts another
//! one, without privileges; it prints:
//!
//! ```text
//! the guardian runs
//! the guardian was killed
//! another guardian runs, and ends with a goodbye
//! ```
//!
//! With an interface, an address of it, and a virtual address (`guarded eth0 10.0.0.1
//! 10.0.0.100/24`, as root) it holds the virtual address until SIGTERM. After `kill -9` a priority-0
//! advert is on the wire, and the address is gone half a second later.
#![expect(clippy::print_stdout, reason = "an example is for people to read")]

use std::error::Error;
use std::net::IpAddr;
use std::process::{Command, ExitCode};
use std::time::Duration;

use ha_vip::VirtualAddress;
use ha_vip::backend::{AddressBackend, NetlinkBackend};
use ha_vip::guardian::{self, Guardian, Will, WillPacket};
use ha_vip::vrrp::Vrid;
use ha_vip::vrrp::wire::{self, Advert, Checksum, GROUP_V4, GROUP_V6, Version};
use rustix::process::{Pid, Signal, kill_process};
use tokio::signal::unix::{SignalKind, signal};

const HIDDEN_FLAG: &str = "--guardian";

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|flag| flag == HIDDEN_FLAG) {
        // Before anything else is started.
        return guardian::watch().map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let ended = runtime.map_err(Into::into).and_then(|runtime| {
        runtime.block_on(async {
            match &arguments[..] {
                [interface, source, address] => {
                    hold(interface, source.parse()?, address.parse()?).await
                }
                _ => show().await,
            }
        })
    });
    if let Err(error) = ended {
        println!("{error}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn start() -> std::io::Result<Guardian> {
    let mut itself = Command::new("/proc/self/exe");
    itself.arg(HIDDEN_FLAG);
    Guardian::spawn(itself)
}

async fn show() -> Result<(), Box<dyn Error>> {
    let guardian = start()?;
    guardian.set_will(&Will::default())?;
    println!("the guardian runs");
    let pid = Pid::from_raw(guardian.id().try_into()?).ok_or("no process")?;
    kill_process(pid, Signal::KILL)?;
    guardian.ended().await?;
    println!("the guardian was killed");
    let guardian = start()?;
    guardian.set_will(&Will::default())?;
    println!("another guardian runs, and ends with a goodbye");
    Ok(guardian.goodbye()?)
}

fn group(source: IpAddr) -> IpAddr {
    if source.is_ipv4() { GROUP_V4.into() } else { GROUP_V6.into() }
}

/// The message with which a router that was active takes its leave.
fn last_advert(source: IpAddr, address: VirtualAddress) -> Result<Vec<u8>, Box<dyn Error>> {
    let (vrid, interval) = (Vrid::new(51).ok_or("no router 0")?, Duration::from_millis(100));
    let advert = Advert::new(Version::V3, vrid, 0, interval, vec![address.ip()]);
    Ok(wire::encode(&advert, source, group(source), Checksum::PseudoHeader))
}

async fn hold(
    interface: &str,
    source: IpAddr,
    address: VirtualAddress,
) -> Result<(), Box<dyn Error>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let socket = std::net::UdpSocket::bind("0.0.0.0:0")?;
    let index = rustix::net::netdevice::name_to_index(&socket, interface)?;
    let guardian = start()?;
    // The will first: the address must never be there without it.
    guardian.set_will(&Will {
        packets: vec![WillPacket {
            interface: index,
            source,
            destination: group(source),
            message: last_advert(source, address)?,
        }],
        addresses: vec![(index, address)],
        linger: Duration::from_millis(500),
    })?;
    let backend = NetlinkBackend::open(interface).await?;
    backend.clear_leftovers(&[address]).await?;
    backend.add(address).await?;
    println!("held");
    tokio::select! {
        _ = terminate.recv() => {}
        ended = guardian.ended() => ended?,
    }
    // A program that lives on may do as it likes: here the address stays, to show that nobody
    // removes it.
    println!("goodbye");
    Ok(guardian.goodbye()?)
}

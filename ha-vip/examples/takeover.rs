//! Two virtual routers, one network, no privileges: what a failover looks like from inside.
//!
//! Run: `cargo run -p ha-vip --example takeover`. It simulates, and prints:
//!
//! ```text
//!     0 ms  a and b start
//!   302 ms  a becomes active and serves 192.0.2.10/24
//!  1000 ms  a loses power
//!  1263 ms  b becomes active and serves 192.0.2.10/24
//! failover took 263 ms: three adverts of 100 ms, the skew, less the time since the last advert
//! ```
#![expect(clippy::print_stdout, reason = "an example is for people to read")]

use std::error::Error;
use std::net::IpAddr;
use std::time::Duration;

use ha_core::machine::Machine;
use ha_core::time::Instant;
use ha_vip::VirtualAddress;
use ha_vip::vrrp::wire::GROUP_V4;
use ha_vip::vrrp::{Input, Output, Packet, Router, RouterConfig};

struct Node {
    name: &'static str,
    ip: IpAddr,
    router: Router,
}

fn node(name: &'static str, ip: [u8; 4], priority: u8) -> Result<Node, Box<dyn Error>> {
    let address: VirtualAddress = "192.0.2.10/24".parse()?;
    let builder = RouterConfig::builder(51).address(address).priority(priority);
    let config = builder.advert_interval(Duration::from_millis(100)).build()?;
    Ok(Node { name, ip: ip.into(), router: Router::new(config, ip.into()) })
}

/// Lets time pass until `end`: the earliest deadline fires, its adverts reach all the others.
fn run(nodes: &mut [Node], end: Instant) -> Option<Instant> {
    let (mut out, mut taken) = (Vec::new(), None);
    loop {
        let next =
            nodes.iter_mut().min_by_key(|node| node.router.deadline().unwrap_or(Instant::MAX));
        let Some(node) = next else { return taken };
        let now = node.router.deadline().filter(|now| *now <= end);
        let Some(now) = now else { return taken };
        node.router.tick(now, &mut out);
        let (name, source) = (node.name, node.ip);
        for output in std::mem::take(&mut out) {
            match output {
                Output::Acquire => {
                    taken = Some(now);
                    let ms = now.since(Instant::ZERO).as_millis();
                    println!("{ms:>5} ms  {name} becomes active and serves 192.0.2.10/24");
                }
                Output::Send(_, message) => {
                    let packet =
                        Packet { source, destination: GROUP_V4.into(), hop_limit: 255, message };
                    for other in nodes.iter_mut().filter(|other| other.ip != source) {
                        // A backup that hears an advert only waits anew.
                        other.router.handle(now, Input::Packet(packet.clone()), &mut out);
                    }
                    out.clear();
                }
                Output::Announce | Output::Event(_) | Output::Release => {}
            }
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut nodes = vec![node("a", [192, 0, 2, 1], 250)?, node("b", [192, 0, 2, 2], 100)?];
    println!("    0 ms  a and b start");
    for node in &mut nodes {
        node.router.handle(Instant::ZERO, Input::Start, &mut Vec::new());
    }
    let crash = Instant::from_secs(1);
    run(&mut nodes, crash);
    println!(" 1000 ms  a loses power");
    nodes.remove(0);
    let taken = run(&mut nodes, Instant::from_secs(2)).ok_or("b never took over")?;
    println!(
        "failover took {} ms: three adverts of 100 ms, the skew, less the time since the last advert",
        taken.since(crash).as_millis()
    );
    Ok(())
}

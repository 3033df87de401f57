//! Two hosts share an address; the one that holds it loses its power; what do clients notice?
//!
//! Run it with `cargo run -p ha-lab --example power_loss`, as root or as anybody. It prints, with
//! other numbers:
//!
//! ```text
//! a holds 10.77.0.100 and answers
//! fault: power off: a
//! b has taken 10.77.0.100 over
//! held 2 times, 0 overlaps (0.0 ms), 2 vacancies (5.2 ms)
//! 101 of 105 probes answered, 1 gaps, the longest 5.0 ms, 1 changes of host
//! failover took 5 ms
//! ```

use std::error::Error;
use std::net::{IpAddr, Ipv4Addr};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use ha_core::event::{Event, Observer};
use ha_lab::holders::HolderWatch;
use ha_lab::prober::{Prober, Responder};
use ha_lab::{Host, Lab};

const VIP: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 77, 0, 100));
const VIP_ON_LINK: &str = "10.77.0.100/24";
const LIMIT: Duration = Duration::from_secs(20);

#[derive(Debug)]
struct Printer;

impl Observer for Printer {
    #[expect(clippy::print_stdout, reason = "an example shows what happens")]
    fn observe(&self, event: &Event) {
        println!("{}: {}", event.kind, event.subject);
    }
}

/// What a VRRP router does when it becomes the active one, in two lines.
fn take_over(host: &Host, client: &Host) -> Result<(), Box<dyn Error>> {
    host.add_address("eth0", VIP_ON_LINK)?;
    // In place of the gratuitous ARP, after which clients know the new holder.
    client.forget_neighbours(Some(VIP))?;
    Ok(())
}

fn main() -> ExitCode {
    match failover() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stdout, reason = "an example shows what happens")]
fn failover() -> Result<(), Box<dyn Error>> {
    // Before anything else: an ordinary user's process becomes root of a namespace of its own.
    ha_lab::enter()?;

    let lab = Lab::new()?;
    lab.observe(Arc::new(Printer));
    let lan = lab.network("lan")?;
    let client = lab.host("client")?.join(&lan, "10.77.0.1/24")?;
    let a = lab.host("a")?.join(&lan, "10.77.0.2/24")?;
    let b = lab.host("b")?.join(&lan, "10.77.0.3/24")?;

    // The service is up on both: the address decides who serves.
    let _services = [Responder::start(&a, 7)?, Responder::start(&b, 7)?];
    let watch = HolderWatch::start(VIP, &[&a, &b])?;
    take_over(&a, &client)?;
    watch.wait_for(&[a.name()], LIMIT)?;

    let prober = Prober::start(&client, (VIP, 7).into(), Duration::from_millis(1))?;
    prober.wait_for_answer_by(a.name(), LIMIT)?;
    println!("a holds {VIP} and answers");
    prober.wait_for_probes(100, LIMIT)?;

    a.power_off()?;
    watch.wait_for(&[], LIMIT)?;
    take_over(&b, &client)?;
    prober.wait_for_answer_by(b.name(), LIMIT)?;
    println!("b has taken {VIP} over");

    println!("{}", watch.finish());
    let report = prober.finish();
    println!("{report}");
    println!("failover took {:.0} ms", report.longest_gap.as_secs_f64() * 1e3);
    Ok(())
}

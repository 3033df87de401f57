//! The program's flags.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::Parser;
use ha_examples::operate::Operate;
use ha_vip::VirtualAddress;
use ha_vip::bfd::Endpoints;
use ha_vip::vrrp::Kin;

/// Serves floating addresses with VRRPv3 (RFC 9568).
#[derive(Debug, Parser)]
#[command(version)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub(crate) struct Flags {
    /// Run the virtual routers of a keepalived.conf; SIGHUP reads it again
    #[arg(long, value_name = "FILE", conflicts_with_all = [
        "iface", "vrid", "priority", "vip", "advert_ms", "preempt", "kin", "beat_ms", "bfd", "bfd_ms",
        "second_iface", "peer", "virtual_mac", "no_accept",
    ])]
    pub(crate) keepalived: Option<PathBuf>,
    /// Go on without what the file asks for and this program does not have
    #[arg(long, requires = "keepalived")]
    pub(crate) lenient: bool,
    /// Only read the file, and tell what is in it or what is wrong
    #[arg(long, requires = "keepalived")]
    pub(crate) check: bool,
    /// Which lines of the file that begin with @ count; default: the host's name
    #[arg(long, value_name = "ID", requires = "keepalived")]
    pub(crate) config_id: Option<String>,
    /// Network interface to speak on and to put the addresses on
    #[arg(long, value_name = "IF", required_unless_present = "keepalived")]
    pub(crate) iface: Option<String>,
    /// Number of the virtual router, the same on all its routers: 1 to 255
    #[arg(long, value_name = "N", required_unless_present = "keepalived",
          value_parser = clap::value_parser!(u8).range(1..))]
    pub(crate) vrid: Option<u8>,
    /// Who serves first: 1 to 254, or 255 for the owner of the addresses
    #[arg(long, value_name = "P", default_value_t = 100, value_parser = clap::value_parser!(u8).range(1..))]
    pub(crate) priority: u8,
    /// Address to serve; repeat it for several of one family
    #[arg(long, value_name = "A/LEN", required_unless_present = "keepalived")]
    pub(crate) vip: Vec<VirtualAddress>,
    /// Time between adverts in ms: 10 to 40950, in steps of 10
    #[arg(long, value_name = "MS", default_value_t = 1000, value_parser = advert_ms)]
    pub(crate) advert_ms: u64,
    /// Take the addresses back from a router of lower priority
    #[arg(long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set)]
    pub(crate) preempt: bool,
    /// Another router of this program: it is named the heir on a goodbye; repeat it. SECOND is
    /// its address on another network, where it hears a goodbye when this one's link is lost
    #[arg(long, value_name = "IP[,SECOND]", value_parser = kin)]
    pub(crate) kin: Vec<Kin>,
    /// Another network interface on which kin are heard; repeat it
    #[arg(long, value_name = "IF", requires = "kin")]
    pub(crate) second_iface: Vec<String>,
    /// Send adverts to this router alone instead of the multicast group; repeat it
    #[arg(long, value_name = "IP")]
    pub(crate) peer: Vec<IpAddr>,
    /// Serve the addresses with the virtual router's own link-layer address
    #[arg(long)]
    pub(crate) virtual_mac: bool,
    /// Let nobody in at the addresses: a gateway that only passes on (needs nft)
    #[arg(long)]
    pub(crate) no_accept: bool,
    /// Time between beats to kin in ms, 1 to 1000: a crash is then seen after some four of them
    #[arg(long, value_name = "MS", requires = "kin", value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub(crate) beat_ms: Option<u64>,
    /// Watch a neighbour with BFD and take over at once when it is lost; repeat it
    #[arg(long, value_name = "LOCAL,PEER", value_parser = endpoints)]
    pub(crate) bfd: Vec<Endpoints>,
    /// Time between BFD packets in ms, 1 to 1000; three missing ones are a loss
    #[arg(long, value_name = "MS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub(crate) bfd_ms: u64,
    /// Let the kernel remove the addresses so many seconds after this program was killed or has
    /// hung, 1 to 3600
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub(crate) lease_s: Option<u64>,
    /// Run a second process that says goodbye and removes the addresses when this one is killed
    #[arg(long)]
    pub(crate) guardian: bool,
    /// Scheduling priority, -20 to 19: how much the kernel prefers this program on a busy host;
    /// 0 leaves it as it is, and not being allowed to is no error
    #[arg(long, value_name = "N", default_value_t = -10, allow_negative_numbers = true,
          value_parser = clap::value_parser!(i32).range(-20..=19))]
    pub(crate) nice: i32,
    #[command(flatten)]
    pub(crate) operate: Operate,
}

fn advert_ms(text: &str) -> Result<u64, String> {
    let allowed = "10 to 40950 in steps of 10";
    let ms: u64 = text.parse().map_err(|_| allowed.to_owned())?;
    if (10..=40_950).contains(&ms) && ms.is_multiple_of(10) { Ok(ms) } else { Err(allowed.into()) }
}

fn kin(text: &str) -> Result<Kin, String> {
    let ip = |text: &str| text.parse::<IpAddr>().map_err(|error| format!("{text}: {error}"));
    let (address, second) = match text.split_once(',') {
        Some((address, second)) => (address, Some(ip(second)?)),
        None => (text, None),
    };
    Ok(Kin { address: ip(address)?, second })
}

fn endpoints(text: &str) -> Result<Endpoints, String> {
    let (local, peer) = text.split_once(',').ok_or("LOCAL,PEER: two addresses")?;
    let ip = |text: &str| text.parse::<IpAddr>().map_err(|error| format!("{text}: {error}"));
    Ok(Endpoints::new(ip(local)?, ip(peer)?))
}

//! `virtual_ipaddress`: the addresses that float.

use std::net::IpAddr;

use super::block::Statement;
use super::report::Report;
use crate::address::VirtualAddress;

/// An address, and the interface that it belongs on if that is not the instance's.
#[derive(Debug)]
pub(super) struct Floating {
    pub(super) address: VirtualAddress,
    pub(super) dev: Option<String>,
}

/// The addresses of a block, one a line.
pub(super) fn read(block: &Statement, interface: &str, report: &mut Report) -> Vec<Floating> {
    block.inner().iter().filter_map(|line| one(line, interface, report)).collect()
}

fn one(line: &Statement, interface: &str, report: &mut Report) -> Option<Floating> {
    let address = match parse(line.keyword()) {
        Ok(address) => Some(address),
        Err(why) => {
            report.wrong(&line.at, line.text(), why);
            None
        }
    };
    let (mut dev, mut words) = (None, line.args().iter().map(|word| word.text.as_str()));
    while let Some(word) = words.next() {
        match word {
            // What `ip address` shows beside the address and what nothing here depends on; that a
            // deleted address is put back is always so.
            "label" | "brd" | "broadcast" => {
                words.next();
            }
            "no_track" => {}
            "dev" => dev = words.next(),
            "scope" => {
                let scope = words.next();
                if !matches!(scope, Some("global" | "0")) {
                    let what = format!("`scope {}`", scope.unwrap_or_default());
                    report.refuse(&line.at, what, "addresses are put there with scope global");
                }
            }
            "peer" | "preferred_lft" | "valid_lft" | "track_group" => {
                let what = format!("`{word} {}`", words.next().unwrap_or_default());
                report.refuse(&line.at, what, "addresses are put there without it");
            }
            other => {
                let what = format!("`{other}` after an address");
                report.refuse(&line.at, what, "addresses are put there without it");
            }
        }
    }
    let dev = dev.filter(|dev| *dev != interface).map(str::to_owned);
    address.map(|address| Floating { address, dev })
}

/// An address without a length stands for itself alone.
fn parse(text: &str) -> Result<VirtualAddress, String> {
    let parsed = if text.contains('/') {
        text.parse()
    } else {
        let ip: IpAddr = text.parse().map_err(|_| "ADDRESS/PREFIX, as 192.0.2.10/24".to_owned())?;
        VirtualAddress::new(ip, if ip.is_ipv4() { 32 } else { 128 })
    };
    parsed.map_err(|error| format!("ADDRESS/PREFIX, as 192.0.2.10/24 ({})", error.why))
}

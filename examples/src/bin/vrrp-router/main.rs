//! Virtual routers of VRRP: the job of keepalived.
//!
//! ```text
//! vrrp-router --iface eth0 --vrid 51 --vip 192.0.2.10/24 --priority 150 --advert-ms 100
//! vrrp-router --keepalived /etc/keepalived/keepalived.conf
//! ```
//!
//! Stays in the foreground and writes each change as a JSON line on stdout. SIGTERM and SIGINT
//! end it: it says goodbye (priority 0), serves until a successor is heard, and removes the
//! addresses. Needs `CAP_NET_RAW` and `CAP_NET_ADMIN`.

mod flags;
mod notices;
mod single;
mod site;

use std::process::{Command, ExitCode};
use std::time::Duration;

use ha_examples::cli::{self, FAILURE, USAGE};
use ha_vip::vrrp::ServiceBuilder;

use self::flags::Flags;

/// The flag of the guardian, which is this program, too.
const WATCH: &str = "--watch-over-parent";

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some(WATCH) {
        return match ha_vip::guardian::watch() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => cli::fail(FAILURE, &error.to_string()),
        };
    }
    let flags: Flags = match cli::parse() {
        Ok(flags) => flags,
        Err(status) => return status,
    };
    cli::log("warn");
    if let Some(file) = &flags.keepalived {
        return site::main(file, &flags);
    }
    cli::prefer(flags.nice);
    match single::config(&flags) {
        Ok(config) => cli::run(single::serve(&flags, config)),
        Err(error) => cli::fail(USAGE, &error.to_string()),
    }
}

/// What the flags say of addresses that are to go when this program is killed.
fn guarded(mut builder: ServiceBuilder, flags: &Flags) -> ServiceBuilder {
    if let Some(seconds) = flags.lease_s {
        builder = builder.lease(Duration::from_secs(seconds));
    }
    if flags.guardian {
        builder = builder.guardian(|| {
            let mut itself = Command::new("/proc/self/exe");
            itself.arg(WATCH);
            itself
        });
    }
    builder
}

//! Agents written in Rust: no shell, no fork for a monitor.

#[cfg(feature = "tokio")]
mod address;
#[cfg(feature = "tokio")]
mod adopted;
#[cfg(feature = "tokio")]
mod check;
#[cfg(feature = "tokio")]
mod claim;
#[cfg(feature = "tokio")]
mod closure;
#[cfg(feature = "tokio")]
mod deaths;
#[cfg(feature = "tokio")]
mod delay;
mod dummy;
#[cfg(feature = "tokio")]
mod held;
#[cfg(feature = "tokio")]
mod holders;
#[cfg(feature = "tokio")]
mod lxc;
#[cfg(feature = "tokio")]
mod mount;
#[cfg(feature = "tokio")]
mod mountinfo;
#[cfg(feature = "mysql")]
mod mysql;
#[cfg(feature = "nftables")]
mod nftables;
#[cfg(feature = "tokio")]
mod notify;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "tokio")]
mod process;
#[cfg(feature = "tokio")]
mod promotable;
#[cfg(feature = "tokio")]
mod ready;
#[cfg(feature = "redis")]
mod redis;
#[cfg(feature = "tokio")]
mod rescan;
#[cfg(feature = "route")]
mod route;
mod stateful;
#[cfg(feature = "tokio")]
mod symlink;
#[cfg(feature = "tokio")]
mod tool;
#[cfg(feature = "tokio")]
pub(crate) mod warden;

#[cfg(feature = "tokio")]
pub use self::address::{Address, AddressPort, MemoryAddress};
#[cfg(feature = "http")]
pub use self::check::HttpCheck;
#[cfg(feature = "tokio")]
pub use self::check::{Checked, MemoryCheck, ServiceCheck, TcpCheck, Watch};
#[cfg(feature = "tokio")]
pub use self::closure::Closures;
#[cfg(feature = "tokio")]
pub use self::deaths::Deaths;
#[cfg(feature = "tokio")]
pub use self::delay::Delay;
pub use self::dummy::Dummy;
#[cfg(feature = "tokio")]
pub use self::lxc::Lxc;
#[cfg(feature = "tokio")]
pub use self::mount::Mount;
#[cfg(feature = "mysql")]
pub use self::mysql::MySql;
#[cfg(feature = "nftables")]
pub use self::nftables::{BlockPort, Protocol};
#[cfg(feature = "postgres")]
pub use self::postgres::{Postgres, PostgresServer};
#[cfg(feature = "tokio")]
pub use self::process::Process;
#[cfg(feature = "tokio")]
pub use self::promotable::{MemoryReplication, NEVER, Promotable, Replication, ReplicationStatus};
#[cfg(feature = "redis")]
pub use self::redis::Redis;
#[cfg(feature = "route")]
pub use self::route::Route;
pub use self::stateful::Stateful;
#[cfg(feature = "tokio")]
pub use self::symlink::Symlink;

use crate::agent::{Metadata, Parameter};

/// What an agent says of itself, from the name, the purpose and the default of each parameter.
fn described(name: &str, summary: &str, parameters: &[(&str, &str, Option<&str>)]) -> Metadata {
    let parameter = |&(name, summary, default): &(&str, &str, Option<&str>)| Parameter {
        name: name.to_owned(),
        summary: summary.to_owned(),
        default: default.map(str::to_owned),
    };
    let parameters = parameters.iter().map(parameter).collect();
    Metadata { parameters, ..Metadata::new(name, summary) }
}

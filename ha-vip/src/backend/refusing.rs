//! Addresses that are held, but at which nobody is let in: `Accept_Mode` false.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use super::{AddressBackend, BackendError};
use crate::address::VirtualAddress;
use crate::child::{Spec, Stream};

/// nftables answers in milliseconds.
const LIMIT: Duration = Duration::from_secs(5);

/// Has the kernel drop what the network sends to the addresses of another backend while they are held
/// (RFC 9568, section 6.1, `Accept_Mode` false; keepalived's `no_accept`).
///
/// Packets *through* this node go on, so that it can be a gateway without being a host at that address;
/// ARP and neighbour discovery go on as well, and so does what this node itself sends to the address.
/// The rules are in a table of nftables of their own, set with the program `nft` before an address
/// is added, which takes some milliseconds, and taken away after it was removed. After a crash they stay:
/// a [`Service`](crate::vrrp::Service) clears those of its virtual routers when it is opened; without one,
/// `nft delete table inet NAME` does.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use std::sync::Arc;
/// use ha_vip::backend::{AddressBackend, CommandBackend, RefusingBackend};
///
/// let held = CommandBackend::builder("eth0")
///     .add_command(["ip", "address", "replace", "{address}", "dev", "{interface}"])
///     .remove_command(["ip", "address", "delete", "{address}", "dev", "{interface}"])
///     .build()?;
/// let backend = RefusingBackend::new(Arc::new(held), "gateway");
/// backend.add("192.0.2.1/24".parse()?).await?;
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct RefusingBackend {
    held: Arc<dyn AddressBackend>,
    table: String,
    refused: Mutex<BTreeSet<IpAddr>>,
}

impl RefusingBackend {
    /// Refuses what is sent to the addresses of `held`. The table is called `ha_vip_NAME`, with `_` for
    /// all but letters and digits; two backends of one name would share it.
    #[must_use]
    pub fn new(held: Arc<dyn AddressBackend>, name: &str) -> Self {
        Self { held, table: table(name), refused: Mutex::default() }
    }

    /// The name of the table.
    #[must_use]
    pub fn table(&self) -> &str {
        &self.table
    }

    fn refused(&self) -> MutexGuard<'_, BTreeSet<IpAddr>> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the table to these addresses in one transaction; whatever was in it before is gone.
    async fn refuse(&self, addresses: BTreeSet<IpAddr>) -> Result<(), BackendError> {
        nft(rules(&self.table, &addresses), Stream::Errors).await?;
        *self.refused() = addresses;
        Ok(())
    }
}

/// The name that a table has when its backend's name begins so.
fn table(name: &str) -> String {
    let fit = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    format!("ha_vip_{}", name.chars().take(64).map(fit).collect::<String>())
}

/// Runs one command of nft; returns what it said on the stream.
async fn nft(command: String, stream: Stream) -> Result<String, BackendError> {
    let failed = |source| BackendError::Command { program: "nft".to_owned(), source };
    let mut spec = Spec::new("nft".into());
    spec.args.push(command.into());
    let ended = spec.run_within(stream, LIMIT).await.map_err(failed)?;
    let Some((status, text)) = ended else {
        return Err(BackendError::NoAnswer { program: "nft".to_owned(), limit: LIMIT });
    };
    if !status.success() {
        let said = text.lines().next().unwrap_or_default();
        return Err(failed(io::Error::other(format!("{status}: {said:?}"))));
    }
    Ok(text)
}

/// Removes the tables that an earlier life has left of backends whose names begin so.
#[cfg(feature = "netlink")]
pub(crate) async fn clear_leftovers(beginnings: &[String]) -> Result<(), BackendError> {
    let listed = nft("list tables inet".to_owned(), Stream::Output).await?;
    let left = listed.lines().filter_map(|line| line.trim().strip_prefix("table inet "));
    let beginnings: Vec<String> = beginnings.iter().map(|name| table(name)).collect();
    for name in left.filter(|name| beginnings.iter().any(|beginning| name.starts_with(beginning))) {
        tracing::info!(table = name, "rules of an earlier life removed");
        nft(format!("delete table inet {name}"), Stream::Errors).await?;
    }
    Ok(())
}

/// What nft is told, all of it or nothing.
fn rules(table: &str, addresses: &BTreeSet<IpAddr>) -> String {
    // Adding a table that is there does nothing, so that deleting it never fails.
    let mut all = vec![format!("add table inet {table}"), format!("delete table inet {table}")];
    if !addresses.is_empty() {
        let hook = "type filter hook input priority -300; policy accept;";
        all.push(format!("add table inet {table}"));
        all.push(format!("add chain inet {table} input {{ {hook} }}"));
        all.push(format!("add rule inet {table} input iif lo accept"));
    }
    let mut drop = |what: String| all.push(format!("add rule inet {table} input {what} drop"));
    for address in addresses {
        match address {
            IpAddr::V4(ip) => drop(format!("ip daddr {ip}")),
            IpAddr::V6(ip) => {
                let neighbours = "{ nd-neighbor-solicit, nd-neighbor-advert }";
                drop(format!("ip6 daddr {ip} icmpv6 type != {neighbours}"));
                drop(format!("ip6 daddr {ip} meta l4proto != ipv6-icmp"));
            }
        }
    }
    all.join("; ")
}

#[async_trait]
impl AddressBackend for RefusingBackend {
    async fn add(&self, address: VirtualAddress) -> Result<(), BackendError> {
        self.add_all(&[address]).await
    }

    async fn remove(&self, address: VirtualAddress) -> Result<(), BackendError> {
        self.remove_all(&[address]).await
    }

    async fn list(&self) -> Result<Vec<VirtualAddress>, BackendError> {
        self.held.list().await
    }

    async fn add_all(&self, addresses: &[VirtualAddress]) -> Result<(), BackendError> {
        let mut refused = self.refused().clone();
        refused.extend(addresses.iter().map(VirtualAddress::ip));
        if refused != *self.refused() {
            self.refuse(refused).await?;
        }
        self.held.add_all(addresses).await
    }

    async fn remove_all(&self, addresses: &[VirtualAddress]) -> Result<(), BackendError> {
        self.held.remove_all(addresses).await?;
        let mut refused = self.refused().clone();
        refused.retain(|ip| !addresses.iter().any(|address| address.ip() == *ip));
        if refused != *self.refused() {
            self.refuse(refused).await?;
        }
        Ok(())
    }

    fn lease(&self) -> Option<Duration> {
        self.held.lease()
    }
}

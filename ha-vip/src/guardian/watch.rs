//! The guardian's own process.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::time::Duration;

use rtnetlink::Handle;
use tokio::signal::unix::{SignalKind, signal};

use super::Will;
use super::voice::Voice;
use super::wire::{Message, read};
use crate::address::VirtualAddress;
use crate::backend::{AddressBackend, BackendError, NetlinkBackend};
use crate::net::interface::{Interface, connect};

/// Longer is a mistake of the unit.
const LONGEST_LINGER: Duration = Duration::from_hours(1);

/// Does a guardian's work: reads wills from standard input until it ends, then carries out the
/// last one. To be called by the program that a [`Guardian`](super::Guardian) has started, from
/// `main`, before any runtime or thread is started; blocks until all is done.
///
/// It goes into a session of its own and does not react to SIGHUP, SIGINT and SIGTERM: they mean
/// the program, which says goodbye.
///
/// # Errors
///
/// The stream is not from a [`Guardian`](super::Guardian) of the same version; a timer or netlink
/// is not to be had. What could not be sent or removed is tried as far as possible; the first
/// error is told.
pub fn watch() -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let inside = runtime.enter();
    // A signal that somebody listens to no longer ends the process; nobody looks at them.
    let kinds = [SignalKind::hangup(), SignalKind::interrupt(), SignalKind::terminate()];
    let ignored = kinds.map(signal);
    drop(inside);
    // It fails for the leader of a group, which is out of the program's group already.
    let _own_group = rustix::process::setsid();
    let _no_mount_is_kept_busy = std::env::set_current_dir("/");

    let mut voice = Voice::default();
    let Some(will) = last_will(&mut io::stdin().lock(), &mut voice)? else {
        return Ok(());
    };
    // All are sent before anything else is done.
    let sent: Vec<_> = will.packets.iter().map(|packet| voice.send(packet)).collect();
    let removed = runtime.block_on(remove(&will));
    drop(ignored);
    sent.into_iter().chain([removed]).collect()
}

/// The will that holds at the end of the stream; `None` after a goodbye.
fn last_will(stream: &mut impl io::Read, voice: &mut Voice) -> io::Result<Option<Will>> {
    let mut last = Will::default();
    while let Some(message) = read(stream)? {
        match message {
            Message::Will(will) => {
                voice.prepare(&will.packets);
                last = will;
            }
            Message::Goodbye => return Ok(None),
        }
    }
    Ok(Some(last))
}

/// Removes the addresses that are there now and still are after the linger: one that a new life of
/// the program has put there meanwhile is its own.
async fn remove(will: &Will) -> io::Result<()> {
    let mut places: BTreeMap<u32, BTreeSet<VirtualAddress>> = BTreeMap::new();
    for (interface, address) in &will.addresses {
        places.entry(*interface).or_default().insert(*address);
    }
    if places.is_empty() {
        return Ok(());
    }
    let handle = connect()?;
    let mut left = Vec::new();
    for (interface, addresses) in places {
        let backend = backend(interface, &handle);
        match backend.stamped().await {
            Ok(stamped) => {
                let ours = stamped.into_iter().filter(|(address, _)| addresses.contains(address));
                left.push((backend, Ok(ours.collect())));
            }
            Err(error) => left.push((backend, Err(error))),
        }
    }
    ha_core::driver::pause(will.linger.min(LONGEST_LINGER)).await?;
    let mut failed = Ok(());
    for (backend, stamped) in left {
        let removed = match stamped {
            Ok(stamped) => remove_unchanged(&backend, &stamped).await,
            Err(error) => Err(error),
        };
        failed = failed.and(removed.map_err(io::Error::other));
    }
    failed
}

async fn remove_unchanged(
    backend: &NetlinkBackend,
    left: &BTreeSet<(VirtualAddress, u32)>,
) -> Result<(), BackendError> {
    let there = backend.stamped().await?;
    let addresses: Vec<_> = there.intersection(left).map(|(address, _)| *address).collect();
    backend.remove_all(&addresses).await
}

fn backend(interface: u32, handle: &Handle) -> NetlinkBackend {
    NetlinkBackend::new(Interface::numbered(interface), handle.clone())
}

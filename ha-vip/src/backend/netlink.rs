//! Addresses in the Linux kernel, through rtnetlink.

use std::collections::BTreeSet;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::{StreamExt, TryStreamExt, stream};
use netlink_packet_route::address::{
    AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, AddressProtocol, CacheInfo,
};
use rtnetlink::{AddressAddRequest, Handle};

use super::{AddressBackend, BackendError};
use crate::address::VirtualAddress;
use crate::net::interface::{Interface, address_of};

/// Marks an address as put there by us (`IFA_PROTO`, Linux 5.18 and later; VRRP's number, so that
/// `ip address` shows `proto 0x70`). A later life of this program knows its leftovers by it.
const OURS: AddressProtocol = AddressProtocol::Other(112);
/// Requests that wait for the kernel's answer at once: so many answers fit a socket's buffer.
const AT_ONCE: usize = 64;

/// Puts addresses on one interface of this host.
///
/// An address that was there before is left alone when it is to be removed. Addresses carry a
/// mark, so that [`clear_leftovers`](Self::clear_leftovers) finds those of a life that crashed.
/// IPv6 addresses skip duplicate address detection: they must serve at once.
#[derive(Debug)]
pub struct NetlinkBackend {
    interface: Interface,
    handle: Handle,
    /// What this value added, for kernels that do not keep the mark.
    added: Mutex<BTreeSet<VirtualAddress>>,
    /// Whole seconds; 0: none.
    lease: u32,
}

impl NetlinkBackend {
    /// A backend for `interface`; `handle` talks to the kernel of the same network namespace.
    pub(crate) const fn new(interface: Interface, handle: Handle) -> Self {
        Self { interface, handle, added: Mutex::new(BTreeSet::new()), lease: 0 }
    }

    /// Opens the interface named `name`.
    ///
    /// Must be called inside a tokio runtime, which then runs the netlink connection.
    ///
    /// # Errors
    ///
    /// [`BackendError::NoInterface`] when there is none of this name, and
    /// [`BackendError::Unreadable`] when the kernel could not be asked.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn open(name: &str) -> Result<Self, BackendError> {
        let failed = |error| unread(name, error);
        let handle = crate::net::interface::connect().map_err(failed)?;
        let interface = Interface::find(&handle, name).await.map_err(failed)?;
        Ok(Self::new(interface, handle))
    }

    /// Lets the kernel remove each address by itself when `lease` has passed since it was last
    /// added: an address does not outlive its process for longer than that, not even one that was
    /// killed or is stopped.
    ///
    /// Whole seconds, at least 1; fractions are rounded up. The kernel looks about once a second,
    /// so an address goes 0 to 1 seconds after its lease has ended. Default: no lease.
    ///
    /// Whoever drives the backend must add the addresses again every third of
    /// [`lease`](AddressBackend::lease).
    #[must_use]
    pub fn with_lease(mut self, lease: Duration) -> Self {
        let whole = lease.as_secs().saturating_add(u64::from(lease.subsec_nanos() > 0)).max(1);
        // All ones stand for ever.
        self.lease = u32::try_from(whole).unwrap_or(u32::MAX).min(u32::MAX - 1);
        self
    }

    /// Removes those of `addresses` that an earlier life of this program left behind, and tells
    /// which they were. What another program put there stays.
    ///
    /// # Errors
    ///
    /// As [`AddressBackend::remove`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: some leftovers may be gone already.
    pub async fn clear_leftovers(
        &self,
        addresses: &[VirtualAddress],
    ) -> Result<Vec<VirtualAddress>, BackendError> {
        let mut cleared = Vec::new();
        for address in self.list().await? {
            if addresses.iter().any(|ours| ours.ip() == address.ip()) {
                self.remove(address).await?;
                cleared.push(address);
            }
        }
        Ok(cleared)
    }

    /// Our addresses, and when each was put there (hundredths of a second since the boot).
    pub(crate) async fn stamped(&self) -> Result<BTreeSet<(VirtualAddress, u32)>, BackendError> {
        let messages = self.messages().await?;
        let stamp = |message: &AddressMessage| {
            message.attributes.iter().find_map(|attribute| {
                if let AddressAttribute::CacheInfo(info) = attribute {
                    Some(info.cstamp)
                } else {
                    None
                }
            })
        };
        let stamped = messages.iter().filter_map(|m| Some((self.is_ours(m)?, stamp(m)?)));
        Ok(stamped.collect())
    }

    fn request(
        &self,
        address: VirtualAddress,
        ours: &BTreeSet<VirtualAddress>,
    ) -> (VirtualAddress, AddressAddRequest) {
        let requests = self.handle.address();
        let mut request = requests.add(self.interface.index(), address.ip(), address.prefix_len());
        if ours.contains(&address) {
            request = request.replace();
        }
        let message = request.message_mut();
        message.attributes.push(AddressAttribute::Protocol(OURS));
        if address.ip().is_ipv6() {
            message.header.flags |= AddressHeaderFlags::Nodad;
            message.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
        }
        if self.lease > 0 {
            let mut info = CacheInfo::default();
            (info.ifa_valid, info.ifa_preferred) = (self.lease, self.lease);
            message.attributes.push(AddressAttribute::CacheInfo(info));
        }
        (address, request)
    }

    fn added(&self) -> MutexGuard<'_, BTreeSet<VirtualAddress>> {
        self.added.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn messages(&self) -> Result<Vec<AddressMessage>, BackendError> {
        let request = self.handle.address().get().set_link_index_filter(self.interface.index());
        let messages = request.execute().try_collect().await;
        messages.map_err(|error| unread(self.interface.name(), into_io(error)))
    }

    fn is_ours(&self, message: &AddressMessage) -> Option<VirtualAddress> {
        let address = address_of(message)?;
        let marked = message.attributes.contains(&AddressAttribute::Protocol(OURS));
        (marked || self.added().contains(&address)).then_some(address)
    }

    fn error(&self, address: VirtualAddress, error: rtnetlink::Error) -> BackendError {
        let interface = self.interface.name().to_owned();
        let source = into_io(error);
        match source.raw_os_error().map(rustix::io::Errno::from_raw_os_error) {
            Some(rustix::io::Errno::PERM) => BackendError::Privilege { interface },
            Some(rustix::io::Errno::NODEV) => BackendError::NoInterface { interface },
            _ => BackendError::Refused { address, interface, source },
        }
    }
}

#[async_trait]
impl AddressBackend for NetlinkBackend {
    async fn add(&self, address: VirtualAddress) -> Result<(), BackendError> {
        self.add_all(&[address]).await
    }

    async fn remove(&self, address: VirtualAddress) -> Result<(), BackendError> {
        self.remove_all(&[address]).await
    }

    async fn list(&self) -> Result<Vec<VirtualAddress>, BackendError> {
        let messages = self.messages().await?;
        Ok(messages.iter().filter_map(|message| self.is_ours(message)).collect())
    }

    async fn add_all(&self, addresses: &[VirtualAddress]) -> Result<(), BackendError> {
        // With a lease, what is there must be replaced to begin it anew, if it is ours.
        let mut there = BTreeSet::new();
        if self.lease > 0 {
            there.extend(self.list().await?);
        }
        let requests = addresses.iter().map(|address| self.request(*address, &there));
        // The requests are made before they are sent, all of them: no borrow is held.
        let requests: Vec<_> = requests.collect();
        let mut answers = stream::iter(requests)
            .map(|(address, request)| async move { (address, request.execute().await) })
            .buffer_unordered(AT_ONCE);
        let mut failed = None;
        while let Some((address, answer)) = answers.next().await {
            match answer {
                Ok(()) => {
                    self.added().insert(address);
                }
                // There already: ours from before, or another program's, which stays its own.
                Err(error) if is(&error, rustix::io::Errno::EXIST) => {}
                Err(error) => failed = Some(self.error(address, error)),
            }
        }
        failed.map_or(Ok(()), Err)
    }

    async fn remove_all(&self, addresses: &[VirtualAddress]) -> Result<(), BackendError> {
        if addresses.is_empty() {
            return Ok(());
        }
        let wanted: BTreeSet<_> = addresses.iter().copied().collect();
        let messages = self.messages().await?;
        let ours: Vec<_> = messages
            .into_iter()
            .filter_map(|message| Some((self.is_ours(&message)?, message)))
            .filter(|(address, _)| wanted.contains(address))
            .map(|(address, message)| (address, self.handle.address().del(message)))
            .collect();
        let mut answers = stream::iter(ours)
            .map(|(address, request)| async move { (address, request.execute().await) })
            .buffer_unordered(AT_ONCE);
        let (mut kept, mut failed) = (BTreeSet::new(), None);
        while let Some((address, answer)) = answers.next().await {
            match answer {
                Ok(()) => {}
                Err(error) if is(&error, rustix::io::Errno::ADDRNOTAVAIL) => {}
                Err(error) => {
                    kept.insert(address);
                    failed = Some(self.error(address, error));
                }
            }
        }
        self.added().retain(|address| !wanted.contains(address) || kept.contains(address));
        failed.map_or(Ok(()), Err)
    }

    fn lease(&self) -> Option<Duration> {
        (self.lease > 0).then(|| Duration::from_secs(self.lease.into()))
    }
}

/// What it means that the kernel did not tell of an interface.
fn unread(interface: &str, source: io::Error) -> BackendError {
    let interface = interface.to_owned();
    let is_gone = source.kind() == io::ErrorKind::NotFound
        || source.raw_os_error() == Some(rustix::io::Errno::NODEV.raw_os_error());
    if is_gone {
        return BackendError::NoInterface { interface };
    }
    BackendError::Unreadable { interface, source }
}

fn is(error: &rtnetlink::Error, errno: rustix::io::Errno) -> bool {
    let rtnetlink::Error::NetlinkError(message) = error else {
        return false;
    };
    message.to_io().raw_os_error() == Some(errno.raw_os_error())
}

pub(crate) fn into_io(error: rtnetlink::Error) -> io::Error {
    if let rtnetlink::Error::NetlinkError(message) = &error {
        return message.to_io();
    }
    io::Error::other(error)
}

#[cfg(test)]
mod tests {
    use ha_core::effect::Effect;

    use super::*;

    #[test]
    fn an_interface_is_gone_only_if_the_kernel_says_so() {
        let gone =
            [io::Error::from(io::ErrorKind::NotFound), io::Error::from(rustix::io::Errno::NODEV)];
        for error in gone {
            assert!(matches!(unread("eth0", error), BackendError::NoInterface { .. }));
        }
        for errno in [rustix::io::Errno::MFILE, rustix::io::Errno::NOBUFS, rustix::io::Errno::PERM]
        {
            let error = unread("eth0", errno.into());
            assert!(matches!(error, BackendError::Unreadable { .. }), "{error}");
            assert_eq!(error.effect(), Effect::None);
        }
    }
}

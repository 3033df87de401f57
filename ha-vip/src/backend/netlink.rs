//! Addresses in the Linux kernel, through rtnetlink.

use std::collections::BTreeSet;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use futures_util::TryStreamExt;
use netlink_packet_route::address::{
    AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, AddressProtocol,
};
use rtnetlink::Handle;

use super::{AddressBackend, BackendError};
use crate::address::VirtualAddress;
use crate::net::interface::{Interface, address_of};

/// Marks an address as put there by us (`IFA_PROTO`, Linux 5.18 and later; VRRP's number, so that
/// `ip address` shows `proto 0x70`). A later life of this program knows its leftovers by it.
const OURS: AddressProtocol = AddressProtocol::Other(112);

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
}

impl NetlinkBackend {
    /// A backend for `interface`; `handle` talks to the kernel of the same network namespace.
    pub(crate) const fn new(interface: Interface, handle: Handle) -> Self {
        Self { interface, handle, added: Mutex::new(BTreeSet::new()) }
    }

    /// Opens the interface named `name`.
    ///
    /// Must be called inside a tokio runtime, which then runs the netlink connection.
    ///
    /// # Errors
    ///
    /// [`BackendError::NoInterface`] when there is none of this name.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn open(name: &str) -> Result<Self, BackendError> {
        let no_interface = || BackendError::NoInterface { interface: name.to_owned() };
        let handle = crate::net::interface::connect().map_err(|_| no_interface())?;
        let interface = Interface::find(&handle, name).await.map_err(|_| no_interface())?;
        Ok(Self::new(interface, handle))
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

    fn added(&self) -> MutexGuard<'_, BTreeSet<VirtualAddress>> {
        self.added.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn messages(&self) -> Result<Vec<AddressMessage>, rtnetlink::Error> {
        let request = self.handle.address().get().set_link_index_filter(self.interface.index());
        request.execute().try_collect().await
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
        let requests = self.handle.address();
        let mut request = requests.add(self.interface.index(), address.ip(), address.prefix_len());
        let message = request.message_mut();
        message.attributes.push(AddressAttribute::Protocol(OURS));
        if address.ip().is_ipv6() {
            message.header.flags |= AddressHeaderFlags::Nodad;
            message.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
        }
        match request.execute().await {
            Ok(()) => {
                self.added().insert(address);
                Ok(())
            }
            // There already: ours from before, or another program's, which then stays its own.
            Err(error) if is(&error, rustix::io::Errno::EXIST) => Ok(()),
            Err(error) => Err(self.error(address, error)),
        }
    }

    async fn remove(&self, address: VirtualAddress) -> Result<(), BackendError> {
        let messages = self.messages().await.map_err(|error| self.error(address, error))?;
        let ours = messages.into_iter().find(|message| self.is_ours(message) == Some(address));
        if let Some(message) = ours {
            match self.handle.address().del(message).execute().await {
                Ok(()) => {}
                Err(error) if is(&error, rustix::io::Errno::ADDRNOTAVAIL) => {}
                Err(error) => return Err(self.error(address, error)),
            }
        }
        self.added().remove(&address);
        Ok(())
    }

    async fn list(&self) -> Result<Vec<VirtualAddress>, BackendError> {
        let messages = self.messages().await.map_err(|error| BackendError::NoInterface {
            interface: format!("{} ({})", self.interface.name(), into_io(error)),
        })?;
        Ok(messages.iter().filter_map(|message| self.is_ours(message)).collect())
    }
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

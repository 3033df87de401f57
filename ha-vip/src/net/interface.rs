//! Network interfaces, as the kernel tells of them over rtnetlink.

use std::io;
use std::net::IpAddr;

use futures_util::TryStreamExt;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{LinkAttribute, LinkFlags};
use rtnetlink::Handle;

use crate::address::VirtualAddress;
use crate::announce::Mac;

/// A network interface, as it was when it was looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Interface {
    name: String,
    index: u32,
    mac: Mac,
    up: bool,
}

/// Opens a netlink connection; the current tokio runtime runs it until the handle is dropped.
pub(crate) fn connect() -> io::Result<Handle> {
    let (connection, handle, _) = rtnetlink::new_connection()?;
    #[expect(clippy::disallowed_methods, reason = "the connection ends with its last handle")]
    tokio::spawn(connection);
    Ok(handle)
}

impl Interface {
    /// Looks the interface up by its name.
    pub(crate) async fn find(handle: &Handle, name: &str) -> io::Result<Self> {
        let mut links = handle.link().get().match_name(name).execute();
        let link = links.try_next().await.map_err(crate::backend::into_io)?;
        let link = link.ok_or(io::ErrorKind::NotFound)?;
        let mac = link.attributes.iter().find_map(|attribute| {
            let LinkAttribute::Address(bytes) = attribute else {
                return None;
            };
            <[u8; 6]>::try_from(bytes.as_slice()).ok()
        });
        Ok(Self {
            name: name.to_owned(),
            index: link.header.index,
            mac: Mac::new(mac.unwrap_or_default()),
            up: link.header.flags.contains(LinkFlags::Up),
        })
    }

    /// An interface of which only the number matters; its name is told in errors.
    pub(crate) fn numbered(index: u32) -> Self {
        Self { name: format!("interface {index}"), index, mac: Mac::new([0; 6]), up: false }
    }

    /// The addresses that are on the interface now.
    pub(crate) async fn addresses(&self, handle: &Handle) -> io::Result<Vec<VirtualAddress>> {
        let request = handle.address().get().set_link_index_filter(self.index);
        let messages: Vec<AddressMessage> =
            request.execute().try_collect().await.map_err(crate::backend::into_io)?;
        Ok(messages.iter().filter_map(address_of).collect())
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) const fn index(&self) -> u32 {
        self.index
    }

    pub(crate) const fn mac(&self) -> Mac {
        self.mac
    }

    pub(crate) const fn is_up(&self) -> bool {
        self.up
    }
}

/// The address in a netlink message: `IFA_LOCAL` where there is one, since on point-to-point
/// links `IFA_ADDRESS` is the other end's.
pub(crate) fn address_of(message: &AddressMessage) -> Option<VirtualAddress> {
    let local = message.attributes.iter().find_map(|attribute| {
        if let AddressAttribute::Local(ip) = attribute { Some(*ip) } else { None }
    });
    let address = message.attributes.iter().find_map(|attribute| {
        if let AddressAttribute::Address(ip) = attribute { Some(*ip) } else { None }
    });
    let ip: IpAddr = local.or(address)?;
    VirtualAddress::new(ip, message.header.prefix_len).ok()
}

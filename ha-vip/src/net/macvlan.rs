//! Interfaces with a virtual router's own link-layer address (RFC 9568, section 7.3).

use std::io;

use futures_util::TryStreamExt;
use netlink_packet_route::link::{
    AfSpecInet6, AfSpecUnspec, In6AddrGenMode, InfoKind, LinkAttribute, LinkInfo, LinkMessage,
    MacVlanMode,
};
use rtnetlink::{Handle, LinkMacVlan, LinkUnspec};

use super::interface::connect;
use crate::announce::Mac;
use crate::backend::into_io;
use crate::vrrp::Vrid;

/// Marks an interface as made by us (`ip link` shows it as `alias`).
const OURS: &str = "ha-vip";

/// Which of a virtual router's two link-layer addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "the two families of RFC 9568")]
pub enum VirtualMac {
    /// `00:00:5e:00:01:VRID`, for IPv4.
    V4(Vrid),
    /// `00:00:5e:00:02:VRID`, for IPv6.
    V6(Vrid),
}

impl VirtualMac {
    /// The link-layer address (RFC 9568, section 7.3).
    #[must_use]
    pub const fn mac(self) -> Mac {
        match self {
            Self::V4(vrid) => Mac::new([0, 0, 0x5e, 0, 1, vrid.get()]),
            Self::V6(vrid) => Mac::new([0, 0, 0x5e, 0, 2, vrid.get()]),
        }
    }

    /// The name of its interface: `vrrp.VRID` or `vrrp6.VRID`, as keepalived's `use_vmac` has it.
    #[must_use]
    pub fn interface(self) -> String {
        match self {
            Self::V4(vrid) => format!("vrrp.{vrid}"),
            Self::V6(vrid) => format!("vrrp6.{vrid}"),
        }
    }
}

/// A macvlan with a virtual router's link-layer address, over a base interface.
///
/// It is made without addresses, also without a link-local one, and up. What another program made
/// under its name is never touched. The settings that keep the base interface from answering ARP
/// for the virtual addresses (`arp_ignore`, `arp_filter`, `rp_filter`) are left to the caller.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use ha_vip::net::macvlan::{MacVlan, VirtualMac};
/// use ha_vip::vrrp::Vrid;
///
/// let vrid = Vrid::new(51).ok_or("0")?;
/// let interface = MacVlan::open("eth0", VirtualMac::V4(vrid)).await?;
/// assert_eq!(interface.name(), "vrrp.51");
/// interface.remove().await?;
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct MacVlan {
    name: String,
    index: u32,
    handle: Handle,
}

impl MacVlan {
    /// Makes the interface over the one named `base`, in place of one that an earlier life of
    /// this program has left.
    ///
    /// Must be called inside a tokio runtime.
    ///
    /// # Errors
    ///
    /// [`MacVlanError`]: no such base, a foreign interface of its name, or the kernel's refusal.
    ///
    /// # Cancel safety
    ///
    /// The interface may be there afterwards; call it again, or [`remove_leftover`].
    ///
    /// [`remove_leftover`]: Self::remove_leftover
    pub async fn open(base: &str, mac: VirtualMac) -> Result<Self, MacVlanError> {
        let name = mac.interface();
        let refused = |source| MacVlanError::Refused { name: name.clone(), source };
        let handle = connect().map_err(refused)?;
        let lower = find(&handle, base).await.map_err(refused)?;
        let lower = lower.ok_or_else(|| MacVlanError::NoBase { base: base.to_owned() })?;
        let lower = lower.header.index;
        if let Some(there) = find(&handle, &name).await.map_err(refused)? {
            if !is_ours(&there) {
                return Err(MacVlanError::Foreign { name });
            }
            // One over another base, or half made, is of no use.
            handle
                .link()
                .del(there.header.index)
                .execute()
                .await
                .map_err(into_io)
                .map_err(refused)?;
        }
        // The kernel takes no alias with this request. One that is left without it, since its
        // maker was killed between the two, is down, and counts as foreign.
        let octets = mac.mac().octets().to_vec();
        // Not private: the adverts of a peer with the same link-layer address, as two routers that
        // are both active have, would then reach this interface alone, and nobody listens there.
        let link = LinkMacVlan::new(&name, lower, MacVlanMode::Bridge).address(octets);
        let made = handle.link().add(link.build()).execute().await;
        match made.map_err(into_io) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(MacVlanError::Foreign { name });
            }
            made => made.map_err(refused)?,
        }
        let link =
            find(&handle, &name).await.and_then(|link| Ok(link.ok_or(io::ErrorKind::NotFound)?));
        let index = link.map_err(refused)?.header.index;
        if let Err(error) = finish(&handle, index).await {
            let removed = handle.link().del(index).execute().await;
            if let Err(error) = removed {
                tracing::error!(%error, name, "interface left behind");
            }
            return Err(refused(error));
        }
        Ok(Self { name, index, handle })
    }

    /// Removes what an earlier life of this program has left of this interface, and tells whether
    /// there was something.
    ///
    /// # Errors
    ///
    /// [`MacVlanError::Refused`]. A foreign interface is left alone, which is no error.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: it may be gone already.
    pub async fn remove_leftover(mac: VirtualMac) -> Result<bool, MacVlanError> {
        let name = mac.interface();
        let refused = |source| MacVlanError::Refused { name: name.clone(), source };
        let handle = connect().map_err(refused)?;
        let there = find(&handle, &name).await.map_err(refused)?;
        let Some(link) = there.filter(is_ours) else {
            return Ok(false);
        };
        handle.link().del(link.header.index).execute().await.map_err(into_io).map_err(refused)?;
        Ok(true)
    }

    /// Removes the interface with its addresses. One that is gone is no error.
    ///
    /// # Errors
    ///
    /// [`MacVlanError::Refused`].
    ///
    /// # Cancel safety
    ///
    /// It may be there or not afterwards.
    pub async fn remove(self) -> Result<(), MacVlanError> {
        // By its number: another one may have its name by now.
        match self.handle.link().del(self.index).execute().await.map_err(into_io) {
            Err(error) if is(&error, rustix::io::Errno::NODEV) => Ok(()),
            removed => removed.map_err(|source| MacVlanError::Refused { name: self.name, source }),
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its number.
    #[must_use]
    pub const fn index(&self) -> u32 {
        self.index
    }
}

/// Marks the interface, keeps the kernel from giving it a link-local address, and sets it up.
async fn finish(handle: &Handle, index: u32) -> io::Result<()> {
    let no_address = AfSpecInet6::AddrGenMode(In6AddrGenMode::None);
    let marked = LinkUnspec::new_with_index(index)
        .append_extra_attribute(LinkAttribute::IfAlias(OURS.to_owned()))
        .append_extra_attribute(LinkAttribute::AfSpecUnspec(vec![AfSpecUnspec::Inet6(vec![
            no_address,
        ])]));
    handle.link().set(marked.build()).execute().await.map_err(into_io)?;
    let up = LinkUnspec::new_with_index(index).up();
    handle.link().set(up.build()).execute().await.map_err(into_io)
}

async fn find(handle: &Handle, name: &str) -> io::Result<Option<LinkMessage>> {
    let mut links = handle.link().get().match_name(name).execute();
    match links.try_next().await.map_err(into_io) {
        Err(error) if is(&error, rustix::io::Errno::NODEV) => Ok(None),
        found => found,
    }
}

fn is_ours(link: &LinkMessage) -> bool {
    let marked = link.attributes.contains(&LinkAttribute::IfAlias(OURS.to_owned()));
    let macvlan = |info: &LinkInfo| *info == LinkInfo::Kind(InfoKind::MacVlan);
    let kind = link.attributes.iter().any(
        |attribute| matches!(attribute, LinkAttribute::LinkInfo(info) if info.iter().any(macvlan)),
    );
    marked && kind
}

fn is(error: &io::Error, errno: rustix::io::Errno) -> bool {
    error.raw_os_error() == Some(errno.raw_os_error())
}

/// An interface with a virtual link-layer address could not be made or removed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MacVlanError {
    /// Another program has an interface of this name.
    #[error("cannot make {name}: another program has an interface of this name; remove it first")]
    Foreign {
        /// The name.
        name: String,
    },
    /// There is no base interface.
    #[error("cannot make a virtual interface over {base}: there is no such network interface")]
    NoBase {
        /// The base interface.
        base: String,
    },
    /// The kernel refused.
    #[error(
        "cannot change {name}: the system refused; CAP_NET_ADMIN and the module macvlan are needed"
    )]
    Refused {
        /// The interface.
        name: String,
        /// What it said.
        #[source]
        source: io::Error,
    },
}

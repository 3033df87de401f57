//! Addresses in several places: each has the backend of its own interface.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::{AddressBackend, BackendError};
use crate::address::VirtualAddress;
use crate::announce::Announcer;

/// Divides the addresses of a virtual router among backends: the first one has all that none of
/// the others names.
#[derive(Debug)]
pub(crate) struct DividedBackend {
    first: Arc<dyn AddressBackend>,
    others: BTreeMap<IpAddr, Arc<dyn AddressBackend>>,
}

impl DividedBackend {
    pub(crate) fn new(
        first: Arc<dyn AddressBackend>,
        others: BTreeMap<IpAddr, Arc<dyn AddressBackend>>,
    ) -> Self {
        Self { first, others }
    }

    fn of(&self, address: VirtualAddress) -> &Arc<dyn AddressBackend> {
        self.others.get(&address.ip()).unwrap_or(&self.first)
    }
}

#[async_trait]
impl AddressBackend for DividedBackend {
    async fn add(&self, address: VirtualAddress) -> Result<(), BackendError> {
        self.of(address).add(address).await
    }

    async fn remove(&self, address: VirtualAddress) -> Result<(), BackendError> {
        self.of(address).remove(address).await
    }

    async fn list(&self) -> Result<Vec<VirtualAddress>, BackendError> {
        let mut all = self.first.list().await?;
        all.retain(|address| !self.others.contains_key(&address.ip()));
        for (ip, other) in &self.others {
            all.extend(other.list().await?.into_iter().filter(|address| address.ip() == *ip));
        }
        Ok(all)
    }

    fn lease(&self) -> Option<Duration> {
        self.others.values().map(AddressBackend::lease).fold(self.first.lease(), shorter)
    }
}

fn shorter(a: Option<Duration>, b: Option<Duration>) -> Option<Duration> {
    a.into_iter().chain(b).min()
}

/// Announces each address on its own interface.
#[derive(Debug)]
pub(crate) struct DividedAnnouncer {
    pub(crate) first: Arc<dyn Announcer>,
    pub(crate) others: BTreeMap<IpAddr, Arc<dyn Announcer>>,
}

impl Announcer for DividedAnnouncer {
    fn announce(&self, addresses: &[VirtualAddress]) -> io::Result<()> {
        let of_first = |address: &&VirtualAddress| !self.others.contains_key(&address.ip());
        let first: Vec<VirtualAddress> = addresses.iter().filter(of_first).copied().collect();
        let mut told = if first.is_empty() { Ok(()) } else { self.first.announce(&first) };
        for address in addresses {
            if let Some(other) = self.others.get(&address.ip()) {
                told = told.and(other.announce(&[*address]));
            }
        }
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::MemoryBackend;

    #[tokio::test]
    async fn each_address_is_where_it_belongs_and_nowhere_else() {
        let [a, b] = ["192.0.2.1/24", "198.51.100.1/24"]
            .map(|text| text.parse::<VirtualAddress>().expect("an address"));
        let [first, second] = [MemoryBackend::new("d0"), MemoryBackend::new("d1")].map(Arc::new);
        let others = BTreeMap::from([(b.ip(), second.clone() as Arc<dyn AddressBackend>)]);
        let divided = DividedBackend::new(first.clone(), others);
        divided.add_all(&[a, b]).await.expect("added");
        assert_eq!(first.list().await.expect("listed"), [a]);
        assert_eq!(second.list().await.expect("listed"), [b]);
        assert_eq!(divided.list().await.expect("listed"), [a, b]);
        divided.remove(b).await.expect("removed");
        assert_eq!(divided.list().await.expect("listed"), [a]);
    }
}

//! What the driver keeps for each virtual router beside the machine.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use tokio::sync::watch;

use crate::address::VirtualAddress;
use crate::announce::ConflictListener;
use crate::holder::{Holder, Settled};
use crate::vrrp::auth::Authenticator;
use crate::vrrp::config::Instance;
use crate::vrrp::effects::StateName;
use crate::vrrp::host::LinkId;

/// A virtual router's place, its addresses, and who watches it.
#[derive(Debug)]
pub(super) struct Station {
    pub(super) instance: Instance,
    pub(super) subject: String,
    pub(super) link: LinkId,
    pub(super) holder: Holder,
    /// Who else claims the addresses; it moves to a task of its own when the service runs.
    pub(super) listener: Option<ConflictListener>,
    pub(super) addresses: Arc<[VirtualAddress]>,
    pub(super) authenticator: Option<Authenticator>,
    pub(super) state: watch::Sender<StateName>,
}

/// Waits until one of the stations has done what it was about; tells which, and how it went.
///
/// # Cancel safety
///
/// Cancel safe: what is under way goes on at the next call.
pub(super) async fn settle_any(stations: &mut [Station]) -> (usize, Settled) {
    poll_fn(|context| {
        for (index, station) in stations.iter_mut().enumerate() {
            if station.holder.is_settled() {
                continue;
            }
            if let Poll::Ready(settled) = pin!(station.holder.settled()).poll(context) {
                return Poll::Ready((index, settled));
            }
        }
        Poll::Pending
    })
    .await
}

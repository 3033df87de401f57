//! What the driver keeps for each virtual router beside the machine.

use std::sync::Arc;

use ha_core::driver::Task;
use ha_core::time::Instant;
use tokio::sync::{mpsc, watch};

use super::ground::{Ground, VirtualLink};
use super::handle::{Command, RouterHandle};
use super::opener::Opened;
use super::watch::{Word, listen};
use crate::address::VirtualAddress;
use crate::announce::ConflictListener;
use crate::holder::Holder;
use crate::vrrp::auth::Authenticator;
use crate::vrrp::config::Instance;
use crate::vrrp::effects::StateName;
use crate::vrrp::host::{LinkId, RouterId};

/// A virtual router's place, its addresses, and who watches it.
#[derive(Debug)]
pub(super) struct Station {
    pub(super) instance: Instance,
    pub(super) subject: String,
    /// Its own link first, then second ones.
    pub(super) links: Vec<LinkId>,
    pub(super) holder: Holder,
    pub(super) ground: Ground,
    pub(super) addresses: Arc<[VirtualAddress]>,
    pub(super) authenticator: Option<Authenticator>,
    pub(super) state: watch::Sender<StateName>,
    pub(super) handle: RouterHandle,
    pub(super) ear: Ear,
    pub(super) place: Place,
}

/// Who else claims the addresses.
#[derive(Debug)]
pub(super) enum Ear {
    /// Nobody looks.
    Deaf,
    /// It begins when the service runs.
    Ready(Box<ConflictListener>),
    /// A task of its own listens, until this is dropped.
    Listening(#[expect(dead_code, reason = "it ends the task when it is dropped")] Task<()>),
}

/// Whether the router has its place in the system.
#[derive(Debug)]
pub(super) enum Place {
    /// It has.
    Kept,
    /// An interface is gone; it is looked for again then.
    Lost { look_at: Instant },
    /// It is being looked for.
    Sought(#[expect(dead_code, reason = "it ends the search when it is dropped")] Task<()>),
    /// The router is no longer configured, and stops.
    GivenUp,
}

impl Station {
    pub(super) fn new(
        opened: Opened,
        id: RouterId,
        subject: String,
        commands: mpsc::Sender<Command>,
    ) -> Self {
        let Opened { instance, links, addresses, ground, listener, .. } = opened;
        let state = watch::channel(StateName::Initialize).0;
        let handle = RouterHandle {
            id,
            name: instance.name().into(),
            addresses: Arc::clone(&addresses),
            commands,
            state: state.subscribe(),
        };
        Self {
            authenticator: instance.hmac.clone().map(Authenticator::new),
            instance,
            subject,
            links: links.into_iter().map(|(_, link)| link).collect(),
            holder: ground.holder(&addresses),
            ground,
            addresses,
            state,
            handle,
            ear: listener.map_or(Ear::Deaf, |listener| Ear::Ready(Box::new(listener))),
            place: Place::Kept,
        }
    }

    /// The interface that its adverts go through; `None` while it has none.
    pub(super) fn link(&self) -> Option<LinkId> {
        self.links.first().copied()
    }

    pub(super) fn is_on(&self, interface: u32) -> bool {
        self.link().is_some_and(|link| link.interface == interface)
    }

    pub(super) const fn is_given_up(&self) -> bool {
        matches!(self.place, Place::GivenUp)
    }

    /// Takes over what an interface that is gone was to put back.
    pub(super) fn inherit(&mut self, lost: Option<VirtualLink>) {
        if let (Some(link), Some(mut lost)) = (&mut self.ground.virtual_link, lost) {
            link.inherit(lost.give_settings());
        }
    }

    /// Begins to listen for conflicts, if it is to and does not yet.
    pub(super) fn listen(&mut self, words: &mpsc::Sender<Word>) {
        self.ear = match std::mem::replace(&mut self.ear, Ear::Deaf) {
            Ear::Ready(listener) => {
                let state = self.state.subscribe();
                Ear::Listening(listen(*listener, state, self.handle.id, words))
            }
            ear @ (Ear::Deaf | Ear::Listening(_)) => ear,
        };
    }
}

//! What a manager wants done, and says.

use std::sync::Arc;

use ha_agents::executor::Order;
use ha_core::id::{NodeName, OpId, ResourceName};
use ha_membership::store::Expected;

use super::event::ManagerEvent;
use super::ledger::Ledger;
use super::message::Message;
use super::request::{RequestId, Response};
use crate::model::Fencing;

/// What a [`Manager`](super::Manager) wants done, or says.
#[derive(Debug, Clone)]
#[expect(clippy::exhaustive_enums, reason = "a driver that ignores one loses an action")]
pub enum Output {
    /// This node may, or may not, stand for leader of the store.
    Campaign(bool),
    /// Forget the failures of a resource in the executor.
    CleanUp(ResourceName),
    /// Tell the membership that a node is confirmed to be off.
    ConfirmFenced(NodeName),
    /// Something to be told.
    Event(ManagerEvent),
    /// Give this to the executor.
    Execute(Box<Execution>),
    /// Make sure that a node is off.
    Fence {
        /// To be named in [`Input::Fenced`](super::Input::Fenced).
        op: OpId,
        /// The node.
        node: NodeName,
        /// By which devices.
        fencing: Box<Fencing>,
    },
    /// This node runs nothing any more, and may go.
    Left,
    /// Read the ledger, linearizably.
    Read {
        /// To be named in [`Input::Read`](super::Input::Read).
        op: OpId,
    },
    /// The answer to a request.
    Reply {
        /// Which.
        to: RequestId,
        /// The answer.
        response: Response,
    },
    /// Make this node harmless at once, whatever it takes: these could not be stopped in time.
    SelfFence {
        /// The resources.
        resources: Vec<ResourceName>,
    },
    /// Send a message to a node's manager; it may get lost.
    Send {
        /// Where to.
        to: NodeName,
        /// What.
        message: Message,
    },
    /// Write the ledger, if what is there is as expected.
    Write {
        /// To be named in [`Input::Written`](super::Input::Written).
        op: OpId,
        /// What must be there.
        expected: Expected,
        /// The ledger.
        ledger: Arc<Ledger>,
    },
}

/// An order to the executor, with the agent that carries it out.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "drivers take it apart")]
pub struct Execution {
    /// The name of the agent, such as `ocf:heartbeat:IPaddr2`.
    pub agent: String,
    /// Differs when the agent or a parameter is another one.
    pub digest: u64,
    /// The order.
    pub order: Order,
}

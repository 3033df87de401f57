//! The manager: a node's part in running what the policy decides.
//!
//! ```text
//!   membership ──View, quorate until──▶ ┌───────── Manager (a Machine) ─────────┐
//!   store ──leader, ledger─────────────▶│ Guard: this node      Dc: the cluster,│
//!   other managers ──Message───────────▶│  obeys, or stops       while it leads │
//!   executor ──results─────────────────▶└──┬──────────┬──────────┬──────────┬───┘
//!   persons ──Request──────────────────▶   ▼          ▼          ▼          ▼
//!                                       Execute     Send    Write, Read   Fence
//! ```
//!
//! # Why at-most-one holds
//!
//! 1. Only the leader of the store commands, and only what the store has ([`Ledger`]): the ledger
//!    is written by compare-and-set, so of two that believe to lead one cannot write.
//! 2. A new leader first says its term to every member. From its answer on a member refuses what
//!    earlier leaders send; so what it reports stays true.
//! 3. A node that is not heard any more is fenced, and the fencing confirmed and written down,
//!    before anything that is at-most-one starts elsewhere.
//! 4. A node knows until when it is quorate even if it hears nobody any more. From then on it
//!    starts nothing, and within [`ManagerConfig::stop_within`] it has stopped what is
//!    at-most-one, or fences itself. Others lose it no earlier than a tenth of the membership's
//!    `dead_after` later, and fence it [`ManagerConfig::fence_delay`] after that: so a node that
//!    is only cut off has stopped by then, with that tenth as a margin.
//! 5. Each start has a [token](ha_core::id::FencingToken) higher than all before: the revision of
//!    the ledger that has the decision.

mod dc;
mod event;
mod guard;
mod input;
mod ledger;
mod machine;
mod message;
mod output;
mod request;
#[cfg(feature = "service")]
mod service;
mod settings;

pub use self::event::ManagerEvent;
pub use self::input::{Input, Read, Written};
pub use self::ledger::{
    DecisionRecord, FailureRecord, Fate, LEDGER_KEY, Ledger, LedgerError, NodeRecord,
};
pub use self::machine::Manager;
pub use self::message::{Command, CommandAction, Message, Report, ResourceReport};
pub use self::output::{Execution, Output};
pub use self::request::{NodeLine, Request, RequestId, ResourceLine, Response, Status};
#[cfg(feature = "service")]
pub use self::service::{Ask, AskError, Parts, SelfFence, Service, ServiceError, Told};
pub use self::settings::{ManagerConfig, ManagerConfigBuilder, Safeguards};

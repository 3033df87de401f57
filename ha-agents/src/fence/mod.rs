//! Fencing: making sure that a node can do no harm.

#[cfg(feature = "tokio")]
mod command;
#[cfg(feature = "tokio")]
mod device;
mod evidence;
#[cfg(feature = "ipmi")]
pub mod ipmi;
mod memory;
#[cfg(feature = "tokio")]
mod native;
#[cfg(feature = "redfish")]
pub mod redfish;
pub mod runner;
pub mod sbd;
#[cfg(feature = "tokio")]
mod ssh;
pub mod topology;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use ha_core::effect::Effect;
use ha_core::id::NodeName;

#[cfg(feature = "tokio")]
pub use self::command::{FenceCommand, FenceCommandBuilder};
#[cfg(feature = "tokio")]
pub use self::device::{Device, DeviceError, resolve};
pub use self::evidence::{Evidence, FenceAction};
pub use self::memory::{Failure, PowerSwitch};
#[cfg(feature = "tokio")]
pub use self::native::{NativeAgent, NativeParameter};
#[cfg(feature = "tokio")]
pub use self::ssh::{Ssh, SshBuilder};

/// Whether a node has power, as its fence device says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "the two answers of the fence agent API")]
pub enum Power {
    /// It has.
    On,
    /// It has not: it does nothing.
    Off,
}

/// One fence device: a power switch, a management board, a hypervisor.
///
/// `Ok` of [`off`](Self::off) and [`reboot`](Self::reboot) is a *confirmation*: at some moment
/// after the call began the node was off. Resources are started elsewhere on the strength of it;
/// an agent that is not sure answers an error.
///
/// # Cancel safety
///
/// When the future of an action is dropped, the action may have happened.
#[async_trait]
pub trait FenceAgent: fmt::Debug + Send + Sync {
    /// The name of the device, for errors and logs.
    fn device(&self) -> &str;

    /// Cuts the node's power and waits until it is off.
    ///
    /// # Errors
    ///
    /// [`FenceError`]; ask it for its [effect](FenceError::effect).
    async fn off(&self, node: &NodeName) -> Result<(), FenceError>;

    /// Gives the node power.
    ///
    /// # Errors
    ///
    /// As [`off`](Self::off).
    async fn on(&self, node: &NodeName) -> Result<(), FenceError>;

    /// Whether the node has power; changes nothing.
    ///
    /// # Errors
    ///
    /// As [`off`](Self::off).
    async fn status(&self, node: &NodeName) -> Result<Power, FenceError>;

    /// The nodes that the device can fence; empty if it cannot tell.
    ///
    /// # Errors
    ///
    /// As [`off`](Self::off).
    async fn list(&self) -> Result<Vec<NodeName>, FenceError>;

    /// Off, then on. That the node stays off when power does not come back is not an error: it is
    /// fenced.
    ///
    /// # Errors
    ///
    /// As [`off`](Self::off).
    async fn reboot(&self, node: &NodeName) -> Result<(), FenceError> {
        self.off(node).await?;
        if let Err(error) = self.on(node).await {
            tracing::warn!(device = self.device(), %node, %error, "fenced but not powered on again");
        }
        Ok(())
    }

    /// Whether the device itself answers.
    ///
    /// # Errors
    ///
    /// As [`off`](Self::off).
    async fn monitor(&self) -> Result<(), FenceError> {
        self.list().await.map(|_| ())
    }

    /// What an `Ok` of [`off`](Self::off) and [`reboot`](Self::reboot) is worth at least. Default:
    /// [`Evidence::Acknowledged`], which a status after an off can raise.
    fn evidence(&self) -> Evidence {
        Evidence::Acknowledged
    }

    /// Does what `action` says, and tells what the success is worth: for a device whose evidence
    /// differs from one time to the next. Default: the action's own method, and
    /// [`evidence`](Self::evidence).
    ///
    /// # Errors
    ///
    /// As [`off`](Self::off).
    async fn perform(&self, node: &NodeName, action: FenceAction) -> Result<Evidence, FenceError> {
        match action {
            FenceAction::Off => self.off(node).await?,
            FenceAction::On => self.on(node).await?,
            FenceAction::Reboot => self.reboot(node).await?,
        }
        Ok(self.evidence())
    }
}

macro_rules! forward {
    ($($pointer:ty),*) => {$(
        #[async_trait]
        impl<F: FenceAgent + ?Sized> FenceAgent for $pointer {
            fn device(&self) -> &str {
                (**self).device()
            }
            async fn off(&self, node: &NodeName) -> Result<(), FenceError> {
                (**self).off(node).await
            }
            async fn on(&self, node: &NodeName) -> Result<(), FenceError> {
                (**self).on(node).await
            }
            async fn status(&self, node: &NodeName) -> Result<Power, FenceError> {
                (**self).status(node).await
            }
            async fn list(&self) -> Result<Vec<NodeName>, FenceError> {
                (**self).list().await
            }
            async fn reboot(&self, node: &NodeName) -> Result<(), FenceError> {
                (**self).reboot(node).await
            }
            async fn monitor(&self) -> Result<(), FenceError> {
                (**self).monitor().await
            }
            fn evidence(&self) -> Evidence {
                (**self).evidence()
            }
            async fn perform(
                &self,
                node: &NodeName,
                action: FenceAction,
            ) -> Result<Evidence, FenceError> {
                (**self).perform(node, action).await
            }
        }
    )*};
}

forward!(&F, Box<F>, Arc<F>);

/// A fence device could not do what was asked, or could not say so.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FenceError {
    /// The device, or its agent, reported a failure.
    #[error(
        "cannot {action} {target}: {device} answered {answer:?}; check the device, and the node by other means"
    )]
    Failed {
        /// The device.
        device: String,
        /// What was asked for.
        action: &'static str,
        /// The node, or the device itself.
        target: String,
        /// Its last words.
        answer: String,
    },
    /// No answer in time.
    #[error(
        "cannot tell whether {action} of {target} was done: {device} gave no answer in {limit:?}; raise its timeout or add a second fence level"
    )]
    NoAnswer {
        /// The device.
        device: String,
        /// What was asked for.
        action: &'static str,
        /// The node, or the device itself.
        target: String,
        /// How long it was given.
        limit: Duration,
    },
    /// The device does not answer, does not let us in, or cannot do that: nothing was done.
    #[error("cannot use {device}: {why}")]
    Unusable {
        /// The device.
        device: String,
        /// Why, and what to do.
        why: String,
    },
    /// The agent could not even be asked.
    #[error(
        "cannot ask {device}: its agent {program} does not run; install it or correct its path"
    )]
    NotAsked {
        /// The device.
        device: String,
        /// The agent.
        program: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It would have been wrong to do it.
    #[error("cannot {action} {target} by {device}: {why}; use another device")]
    Refused {
        /// The device.
        device: String,
        /// What was asked for.
        action: &'static str,
        /// The node.
        target: String,
        /// Why.
        why: &'static str,
    },
    /// The device does not have the node.
    #[error("cannot fence {node}: {device} does not know it; name the node's plug")]
    UnknownNode {
        /// The device.
        device: String,
        /// The node.
        node: NodeName,
    },
}

impl FenceError {
    /// Whether the node may have been fenced all the same.
    #[must_use]
    pub const fn effect(&self) -> Effect {
        match self {
            Self::NotAsked { .. }
            | Self::Refused { .. }
            | Self::UnknownNode { .. }
            | Self::Unusable { .. } => Effect::None,
            Self::Failed { .. } | Self::NoAnswer { .. } => Effect::Unknown,
        }
    }
}

//! Who is there: the trait, and a membership that never changes.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use ha_core::effect::Effect;
use ha_core::id::{Incarnation, NodeName, ViewId};

use crate::view::{Member, Standing, View};

/// Who is a member of the cluster, as this node sees it.
///
/// Implementations differ in what they promise about the views of *different* nodes, and say so:
/// the in-process bus and gossip give each node its own views, numbered by itself; a membership
/// with agreed views gives all members of a view the same one under the same number. Decisions
/// that need agreement are made on a [`ClusterStore`](crate::store::ClusterStore), not on a view.
#[async_trait]
pub trait Membership: fmt::Debug + Send + Sync {
    /// The name of this node.
    fn me(&self) -> &NodeName;

    /// The present view; cheap.
    fn view(&self) -> Arc<View>;

    /// Waits for a view with a higher number than `seen`; several may have been skipped.
    ///
    /// # Errors
    ///
    /// [`MembershipError::Ended`] when there will be no more views: this node left.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: the view is still there for the next call.
    async fn changed(&self, seen: ViewId) -> Result<Arc<View>, MembershipError>;

    /// Leaves the cluster in order: the others are told, and need not suspect this node first.
    ///
    /// Stop what must not run without the cluster *before*. Leaving twice is well.
    ///
    /// # Errors
    ///
    /// [`MembershipError::Unavailable`] when the others could not be told; they will find out.
    ///
    /// # Cancel safety
    ///
    /// The leave goes on; dropping the future only no longer waits for it.
    async fn leave(&self) -> Result<(), MembershipError>;
}

macro_rules! forward {
    ($($pointer:ty),*) => {$(
        #[async_trait]
        impl<M: Membership + ?Sized> Membership for $pointer {
            fn me(&self) -> &NodeName {
                (**self).me()
            }
            fn view(&self) -> Arc<View> {
                (**self).view()
            }
            async fn changed(&self, seen: ViewId) -> Result<Arc<View>, MembershipError> {
                (**self).changed(seen).await
            }
            async fn leave(&self) -> Result<(), MembershipError> {
                (**self).leave().await
            }
        }
    )*};
}

forward!(&M, Box<M>, Arc<M>);

/// A membership could not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MembershipError {
    /// This node is no longer a member.
    #[error("cannot follow the membership: {node} has left it; join again")]
    Ended {
        /// This node.
        node: NodeName,
    },
    /// The others, or the daemon that speaks to them, could not be reached.
    #[error("cannot reach the other members from {node}: check the network and the daemon")]
    Unavailable {
        /// This node.
        node: NodeName,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl MembershipError {
    /// Whether the action may have happened all the same.
    #[must_use]
    pub const fn effect(&self) -> Effect {
        match self {
            Self::Ended { .. } => Effect::None,
            Self::Unavailable { .. } => Effect::Unknown,
        }
    }
}

/// A membership that never changes: for one node alone, for tests, and where something outside
/// restarts the program on every change.
///
/// ```
/// use ha_membership::{Membership, StaticMembership};
///
/// let alone = StaticMembership::new("db1".parse()?, ["db1".parse()?], true);
/// assert!(alone.view().is_quorate());
/// # Ok::<(), ha_core::id::NameError>(())
/// ```
#[derive(Debug, Clone)]
pub struct StaticMembership {
    me: NodeName,
    view: Arc<View>,
}

impl StaticMembership {
    /// These nodes are members, all of them alive, for ever.
    pub fn new(me: NodeName, members: impl IntoIterator<Item = NodeName>, quorate: bool) -> Self {
        let member = Member { incarnation: Incarnation::FIRST, standing: Standing::Alive };
        let members = members.into_iter().map(|name| (name, member));
        Self { me, view: Arc::new(View::new(ViewId::FIRST, members, quorate)) }
    }
}

#[async_trait]
impl Membership for StaticMembership {
    fn me(&self) -> &NodeName {
        &self.me
    }

    fn view(&self) -> Arc<View> {
        Arc::clone(&self.view)
    }

    async fn changed(&self, seen: ViewId) -> Result<Arc<View>, MembershipError> {
        if self.view.id() > seen {
            return Ok(self.view());
        }
        std::future::pending().await
    }

    async fn leave(&self) -> Result<(), MembershipError> {
        Ok(())
    }
}

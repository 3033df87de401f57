//! Single writer: all work to one endpoint, chosen alike by balancers that do not talk.
//!
//! # Source
//!
//! What is done for Galera and for primaries with HAProxy (one active server, the others `backup`)
//! and `MaxScale` (`galeramon`: the lowest rank is the writer). All work goes to the usable endpoint
//! of the lowest rank: its `id` ([`Endpoint::with_id`]), else its position in the list. Balancers with the
//! same list and the same view of health choose the same writer without a word between them.
//!
//! # Failback
//!
//! With [`Failback::Never`] a writer keeps the work until it fails, also when one of a lower rank
//! comes back: no second interruption. A balancer that was started meanwhile does not know that, and
//! would choose the lower rank: two writers, which Galera allows but answers with conflicts. Choose
//! [`Failback::Always`] if balancers are restarted one by one.
//!
//! It keeps the number of writers low; it does not make sure that there is one at most. That is a
//! matter of fencing.
//!
//! [`Endpoint::with_id`]: crate::endpoint::Endpoint::with_id

use std::num::NonZeroU32;
use std::sync::Arc;

use arc_swap::ArcSwapOption;

use crate::balancer::{Balancer, PickContext};
use crate::endpoint::Endpoint;
use crate::snapshot::{EndpointIndex, Endpoints};
use crate::state::EndpointState;

/// What happens when an endpoint of a lower rank than the writer's comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[expect(clippy::exhaustive_enums, reason = "there is no third way")]
pub enum Failback {
    /// It becomes the writer at once. The default: all balancers agree at any time.
    #[default]
    Always,
    /// The writer stays until it fails.
    Never,
}

/// All work to the usable endpoint of the lowest rank.
#[derive(Debug, Default)]
pub struct SingleWriter {
    failback: Failback,
    writer: ArcSwapOption<EndpointState>,
}

impl SingleWriter {
    /// Chooses by rank, with this rule for those that come back.
    #[must_use]
    pub fn new(failback: Failback) -> Self {
        Self { failback, writer: ArcSwapOption::empty() }
    }

    /// The one that has the work until it fails, if it can take this pick.
    fn kept(&self, endpoints: &Endpoints) -> Option<EndpointIndex> {
        let writer = self.writer.load();
        let writer = writer.as_ref()?;
        let same = |index: &EndpointIndex| {
            endpoints.state(*index).is_some_and(|state| Arc::ptr_eq(state, writer))
        };
        endpoints.usable().find(same)
    }
}

/// Usable endpoints first by rank.
fn ranked(endpoints: &Endpoints) -> Option<EndpointIndex> {
    endpoints.usable().min_by_key(|index| rank(endpoints, *index))
}

fn rank(endpoints: &Endpoints, index: EndpointIndex) -> (u32, EndpointIndex) {
    let id = endpoints.endpoint(index).and_then(Endpoint::id).map(NonZeroU32::get);
    let position = endpoints.list_position(index).and_then(|at| u32::try_from(at).ok());
    (id.or(position.map(|at| at.saturating_add(1))).unwrap_or(u32::MAX), index)
}

impl Balancer for SingleWriter {
    fn name(&self) -> &'static str {
        "single-writer"
    }

    fn pick(&self, endpoints: &Endpoints, context: &PickContext<'_>) -> Option<EndpointIndex> {
        let chosen = match self.failback {
            Failback::Always => ranked(endpoints)?,
            Failback::Never => {
                if let Some(kept) = self.kept(endpoints) {
                    kept
                } else {
                    let chosen = ranked(endpoints)?;
                    self.writer.store(endpoints.state(chosen).cloned());
                    chosen
                }
            }
        };
        // If it is full or was tried, nobody else may take its place.
        endpoints.admits(chosen, context).then_some(chosen)
    }

    fn explain(&self, endpoints: &Endpoints, _: &PickContext<'_>, picked: EndpointIndex) -> String {
        let (rank, _) = rank(endpoints, picked);
        match self.failback {
            Failback::Always => format!("the writer: the lowest usable rank, {rank}"),
            Failback::Never => format!("the writer until it fails, of rank {rank}"),
        }
    }
}

//! A check that answers as it is told.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;

use super::ServiceCheck;
use crate::agent::Report;
use crate::outcome::Outcome;

/// A check that asks nobody, for tests; its clones answer alike.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// use ha_agents::Outcome;
/// use ha_agents::native::{MemoryCheck, ServiceCheck};
///
/// let check = MemoryCheck::new();
/// assert_eq!(check.check().await.outcome, Outcome::Success);
/// check.answer(Outcome::NotRunning);
/// assert_eq!(check.check().await.outcome, Outcome::NotRunning);
/// # });
/// ```
#[derive(Debug, Clone)]
pub struct MemoryCheck {
    outcome: Arc<Mutex<Outcome>>,
}

impl MemoryCheck {
    /// A check that is passed.
    #[must_use]
    pub fn new() -> Self {
        Self { outcome: Arc::new(Mutex::new(Outcome::Success)) }
    }

    /// Sets what it answers from now on.
    pub fn answer(&self, outcome: Outcome) {
        *self.outcome.lock().unwrap_or_else(PoisonError::into_inner) = outcome;
    }
}

impl Default for MemoryCheck {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl ServiceCheck for MemoryCheck {
    fn name(&self) -> String {
        "memory".to_owned()
    }

    async fn check(&self) -> Report {
        let outcome = *self.outcome.lock().unwrap_or_else(PoisonError::into_inner);
        let reason = if outcome == Outcome::Success { "" } else { "told to answer so" };
        Report::new(outcome, reason)
    }
}

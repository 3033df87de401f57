//! Whether a failed action may have happened all the same.

/// What an action that did not succeed has left behind.
///
/// Every error of an action in these crates has an `effect()` method. A timeout is never a
/// failure, it is [`Unknown`](Effect::Unknown): in this field the difference is split brain.
///
/// ```
/// use ha_core::effect::Effect;
///
/// let refused = Effect::None; // connection refused: the command never arrived
/// assert!(refused.may_retry());
/// assert!(!Effect::Unknown.may_retry());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(
    clippy::exhaustive_enums,
    reason = "there is no third answer, and callers must match both"
)]
pub enum Effect {
    /// Nothing happened: retry at will.
    None,
    /// It may have happened: probe before anything is built on either answer.
    Unknown,
}

impl Effect {
    /// Whether the action may be repeated without a probe first.
    #[must_use]
    pub const fn may_retry(self) -> bool {
        matches!(self, Self::None)
    }
}

//! The shape of every protocol and policy here: a plain struct without I/O.

use crate::time::Instant;

/// A protocol or policy without socket, clock, task or randomness of its own.
///
/// Time comes in as an argument, random numbers from a seed in the configuration, packets as
/// inputs; what is to be done comes out as outputs. The same machine therefore runs under
/// proptest, the simulator, the fuzzer and in production, and a run can be replayed exactly.
///
/// # The laws
///
/// [`laws::check`](crate::laws::check) tests them for any machine and any inputs:
///
/// 1. After any call the deadline is `None` or after `now`: no busy loop.
/// 2. A tick before the deadline emits nothing.
/// 3. Same configuration, seed and inputs give the same outputs.
/// 4. A `now` that goes back counts as the last one.
/// 5. Outputs per call are bounded by [`MAX_OUTPUTS`](Machine::MAX_OUTPUTS).
///
/// ```
/// use std::time::Duration;
/// use ha_core::machine::Machine;
/// use ha_core::time::Instant;
///
/// /// Says `Late` when nothing was heard for a second.
/// struct Watch { heard_at: Instant, late: bool }
///
/// #[derive(Debug, PartialEq)]
/// struct Late;
///
/// impl Machine for Watch {
///     type Input = ();
///     type Output = Late;
///     const MAX_OUTPUTS: usize = 1;
///     fn handle(&mut self, now: Instant, (): (), _out: &mut Vec<Late>) {
///         self.heard_at = now.max(self.heard_at);
///         self.late = false;
///     }
///     fn tick(&mut self, now: Instant, out: &mut Vec<Late>) {
///         if self.deadline().is_some_and(|deadline| deadline <= now) {
///             self.late = true;
///             out.push(Late);
///         }
///     }
///     fn deadline(&self) -> Option<Instant> {
///         (!self.late).then(|| self.heard_at + Duration::from_secs(1))
///     }
/// }
///
/// let mut watch = Watch { heard_at: Instant::ZERO, late: false };
/// let mut out = Vec::new();
/// watch.tick(Instant::from_secs(2), &mut out);
/// assert_eq!(out, [Late]);
/// ```
pub trait Machine {
    /// What can happen to the machine.
    type Input;
    /// What the machine wants done (effects) and says (events).
    type Output;

    /// The largest number of outputs that one call appends.
    ///
    /// `usize::MAX` (the default) means that the machine states no bound; every machine of this
    /// workspace states one.
    const MAX_OUTPUTS: usize = usize::MAX;

    /// Fires what is due at `now`, then takes `input`; appends to `out`.
    fn handle(&mut self, now: Instant, input: Self::Input, out: &mut Vec<Self::Output>);

    /// Fires what is due at `now`; a spurious call does nothing.
    fn tick(&mut self, now: Instant, out: &mut Vec<Self::Output>);

    /// When to call [`tick`](Machine::tick) at the latest; `None` while nothing is awaited.
    fn deadline(&self) -> Option<Instant>;
}

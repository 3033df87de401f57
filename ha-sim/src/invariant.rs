//! What must always hold, and the report of the moment when it did not.

use std::fmt;

use ha_core::time::Instant;

use crate::node::Node;
use crate::world::World;

/// Something that must hold after every event of a world.
///
/// It may remember what it saw, so that it can speak about the past: "tokens only grow", "nobody
/// started before the old holder stopped". For a condition on the present alone, [`always`] takes
/// a closure.
pub trait Invariant<N: Node> {
    /// A short name, as a sentence in snake case: `one_holder_per_address`.
    fn name(&self) -> &'static str;

    /// Looks at the world after an event.
    ///
    /// # Errors
    ///
    /// What was seen that must not be, in words.
    fn check(&mut self, world: &World<N>, now: Instant) -> Result<(), String>;
}

/// An invariant on the present, from a closure.
///
/// ```no_run
/// # fn add<N: ha_sim::Node>(builder: ha_sim::Builder<N>) -> ha_sim::Builder<N> {
/// builder.invariant(ha_sim::always("someone_is_up", |world, _now| {
///     if world.nodes().any(|(index, _)| world.is_running(index)) { Ok(()) } else { Err("all down".into()) }
/// }))
/// # }
/// ```
pub fn always<N, F>(name: &'static str, check: F) -> Always<F>
where
    N: Node,
    F: FnMut(&World<N>, Instant) -> Result<(), String>,
{
    Always { name, check }
}

/// What [`always`] makes.
#[derive(Clone)]
pub struct Always<F> {
    name: &'static str,
    check: F,
}

impl<F> fmt::Debug for Always<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Always").field("name", &self.name).finish_non_exhaustive()
    }
}

impl<N, F> Invariant<N> for Always<F>
where
    N: Node,
    F: FnMut(&World<N>, Instant) -> Result<(), String>,
{
    fn name(&self) -> &'static str {
        self.name
    }

    fn check(&mut self, world: &World<N>, now: Instant) -> Result<(), String> {
        (self.check)(world, now)
    }
}

/// An invariant did not hold.
///
/// Its text, in `Display` and in `Debug`, has the seed, the command that replays the run, and the
/// last lines of the trace; a test that returns `Result<(), Violation>` prints all of it.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Violation {
    /// The seed of the world.
    pub seed: u64,
    /// When, in the world's time.
    pub at: Instant,
    /// The name of the invariant.
    pub invariant: String,
    /// What was seen.
    pub what: String,
    /// The last things that happened, oldest first.
    pub trace: Vec<String>,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} does not hold at {} with seed {}: {}",
            self.invariant, self.at, self.seed, self.what
        )?;
        writeln!(f, "  the last {} events:", self.trace.len())?;
        for line in &self.trace {
            writeln!(f, "    {line}")?;
        }
        write!(f, "  replay: {}", Replay(self.seed))
    }
}

impl fmt::Debug for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Violation {}

/// The command that runs the present test with one seed.
pub(crate) struct Replay(pub(crate) u64);

impl fmt::Display for Replay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HA_SEED={} cargo test", self.0)?;
        if let Ok(package) = std::env::var("CARGO_PKG_NAME") {
            write!(f, " -p {package}")?;
        }
        // The test harness names the thread after the test.
        match std::thread::current().name() {
            Some(name) if name != "main" => write!(f, " {name}"),
            _ => Ok(()),
        }
    }
}

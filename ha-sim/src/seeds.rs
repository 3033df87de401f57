//! One test, many worlds.

use std::ops::Range;

use ha_core::time::Instant;

use crate::invariant::{Replay, Violation};

/// Runs `scenario` with the seeds from 0 to `default_count` − 1 and stops at the first violation.
///
/// See [`Seeds`] for the environment variables; returns how many seeds were run.
///
/// # Errors
///
/// The violation that the scenario returned.
///
/// ```
/// use ha_sim::{Violation, for_seeds};
///
/// fn one_world(seed: u64) -> Result<(), Violation> {
///     // build a world from `seed`, run it
///     Ok(())
/// }
/// # // HA_SEED and HA_SEEDS may be set for another test.
/// assert!(for_seeds(20, one_world)? > 0);
/// # Ok::<(), Violation>(())
/// ```
pub fn for_seeds(
    default_count: u64,
    scenario: impl FnMut(u64) -> Result<(), Violation>,
) -> Result<u64, Violation> {
    Seeds::new(default_count).run(scenario)
}

/// Which seeds a test runs.
///
/// - `HA_SEED=n` in the environment: only seed `n`, to replay a failure.
/// - `HA_SEEDS=count`: that many seeds instead of the test's own number, for a long night.
/// - else: the [regressions](Self::regressions) first, then 0, 1, 2…, as many as the test says.
#[derive(Debug, Clone)]
pub struct Seeds {
    count: u64,
    regressions: Vec<u64>,
    only: Option<String>,
    count_instead: Option<String>,
}

impl Seeds {
    /// As many seeds as `default_count`, unless the environment says otherwise.
    #[must_use]
    pub fn new(default_count: u64) -> Self {
        Self {
            count: default_count,
            regressions: Vec::new(),
            only: std::env::var("HA_SEED").ok(),
            count_instead: std::env::var("HA_SEEDS").ok(),
        }
    }

    /// Adds seeds that once failed; they run first, every time.
    #[must_use]
    pub fn regressions(mut self, seeds: &[u64]) -> Self {
        self.regressions.extend_from_slice(seeds);
        self
    }

    /// Runs `scenario` with each seed; returns how many there were.
    ///
    /// A panic in the scenario is let through, after a line on stderr that names the seed.
    ///
    /// # Errors
    ///
    /// The first violation; also if `HA_SEED` or `HA_SEEDS` is not a number.
    pub fn run(
        &self,
        mut scenario: impl FnMut(u64) -> Result<(), Violation>,
    ) -> Result<u64, Violation> {
        let mut count = 0;
        let (first, range) = self.list()?;
        for seed in first.into_iter().chain(range) {
            let _names_the_seed_of_a_panic = PanicNote(seed);
            scenario(seed)?;
            count += 1;
        }
        Ok(count)
    }

    fn list(&self) -> Result<(Vec<u64>, Range<u64>), Violation> {
        if let Some(only) = &self.only {
            return Ok((vec![number("HA_SEED", only)?], 0..0));
        }
        let count = match &self.count_instead {
            Some(count) => number("HA_SEEDS", count)?,
            None => self.count,
        };
        Ok((self.regressions.clone(), 0..count))
    }
}

fn number(variable: &str, text: &str) -> Result<u64, Violation> {
    text.trim().parse().map_err(|_| Violation {
        seed: 0,
        at: Instant::ZERO,
        invariant: format!("{variable}_is_a_number"),
        what: format!("{variable}={text:?}; set it to a number from 0 to {}", u64::MAX),
        trace: Vec::new(),
    })
}

struct PanicNote(u64);

impl Drop for PanicNote {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("panic with seed {}; replay: {}", self.0, Replay(self.0));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seeds(only: Option<&str>, count: Option<&str>) -> Seeds {
        Seeds {
            count: 3,
            regressions: vec![77],
            only: only.map(str::to_owned),
            count_instead: count.map(str::to_owned),
        }
    }

    #[test]
    fn the_environment_chooses_the_seeds() {
        let ran = |seeds: Seeds| {
            let mut ran = Vec::new();
            seeds.run(|seed| {
                ran.push(seed);
                Ok(())
            })?;
            Ok::<_, Violation>(ran)
        };
        assert_eq!(ran(seeds(None, None)), Ok(vec![77, 0, 1, 2]));
        assert_eq!(ran(seeds(None, Some("1"))), Ok(vec![77, 0]));
        assert_eq!(ran(seeds(Some("5"), Some("9"))), Ok(vec![5]));
        let error = ran(seeds(Some("five"), None)).expect_err("not a number");
        assert!(error.to_string().contains("HA_SEED=\"five\""), "{error}");
    }

    #[test]
    fn the_first_violation_ends_the_run() {
        let mut ran = 0;
        let result = seeds(None, None).run(|seed| {
            ran += 1;
            number("HA_SEED", if seed == 1 { "x" } else { "1" }).map(|_| ())
        });
        assert!(result.is_err());
        assert_eq!(ran, 3);
    }
}

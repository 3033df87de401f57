//! How a pool is made.

use std::sync::Arc;
use std::time::Duration;

use ha_core::config::{ConfigError, Problems};

use super::{Pool, SlowStart};
use crate::balancer::Balancer;
use crate::endpoint::Endpoint;
#[cfg(feature = "tokio")]
use crate::queue::QueueConfig;
use crate::snapshot::Policy;
use crate::stick::StickTable;

/// Makes a [`Pool`]; see [`Pool::builder`].
///
/// ```
/// use std::time::Duration;
/// use ha_lb::algorithm::Algorithm;
/// use ha_lb::endpoint::parse_list;
/// use ha_lb::pool::{Pool, SlowStart};
///
/// let pool = Pool::builder(Algorithm::RoundRobin.balancer())
///     .endpoints(parse_list("a=192.0.2.1:80,b=192.0.2.2:80")?)
///     .zone("eu-west")
///     .panic_threshold(50)
///     .slow_start(SlowStart::new(Duration::from_secs(30)))
///     .build()?;
/// assert_eq!(pool.snapshot().len(), 2);
/// # Ok::<(), ha_core::config::ConfigError>(())
/// ```
#[derive(Debug)]
#[must_use = "a builder does nothing until it is built"]
pub struct PoolBuilder {
    balancer: Arc<dyn Balancer>,
    endpoints: Vec<Endpoint>,
    policy: Policy,
    slow_start: Option<SlowStart>,
    latency_decay: Option<Duration>,
    stick_table: Option<StickTable>,
    #[cfg(feature = "tokio")]
    queue: Option<QueueConfig>,
}

impl PoolBuilder {
    pub(super) fn new(balancer: Arc<dyn Balancer>) -> Self {
        Self {
            balancer,
            endpoints: Vec::new(),
            policy: Policy::default(),
            slow_start: None,
            latency_decay: None,
            stick_table: None,
            #[cfg(feature = "tokio")]
            queue: None,
        }
    }

    /// Sets the endpoints. Default: none; [`Pool::update`] can bring them later.
    pub fn endpoints(mut self, endpoints: Vec<Endpoint>) -> Self {
        self.endpoints = endpoints;
        self
    }

    /// Sets whether an endpoint that was not checked yet takes work.
    ///
    /// Default: true (HAProxy's `init-state up`), which is also right without any health check.
    /// Choose false if a new endpoint must prove itself first (`init-state down`).
    pub const fn trust_unchecked(mut self, trust: bool) -> Self {
        self.policy.trust_unchecked = trust;
        self
    }

    /// Sets the zone that this pool's program is in. Default: none, zones do not matter.
    ///
    /// Work then stays in the zone as far as its endpoints can carry it: each zone is taken to have
    /// as many clients as any other, so with a third of the usable weight in each of three zones
    /// all work stays; with a sixth in the own one, half of it. The rest goes to the other zones.
    pub fn zone(mut self, zone: impl Into<Arc<str>>) -> Self {
        self.policy.zone = Some(zone.into());
        self
    }

    /// Sets how much more work than its part a level's usable endpoints can take, in percent; 100
    /// or more. Default: 140 (Envoy's `overprovisioning_factor`).
    ///
    /// With 140, a priority level gets all work until fewer than 72 % of its endpoints are usable; at
    /// 50 % it gets 70 %, and the next level 30 %.
    pub const fn overprovisioning(mut self, percent: u16) -> Self {
        self.policy.overprovisioning = percent;
        self
    }

    /// Sets below which part of healthy endpoints, in percent, a level ignores their health, if all
    /// levels together cannot take the work: 0, the default, is never (as HAProxy); Envoy has 50.
    ///
    /// If most endpoints look unhealthy at once, the checks may be wrong, or the rest would break
    /// under the whole load: then all that no operator took out are used.
    pub const fn panic_threshold(mut self, percent: u8) -> Self {
        self.policy.panic_threshold = percent;
        self
    }

    /// Sets how an endpoint that comes back takes up work. Default: at once.
    pub const fn slow_start(mut self, slow_start: SlowStart) -> Self {
        self.slow_start = Some(slow_start);
        self
    }

    /// Has the time of all work measured, whatever the balancer asks for, with a moving average that
    /// forgets with `decay`. Default: as the balancer asks, with its own decay.
    ///
    /// Outlier detection by latency looks at it; it costs two looks at the clock.
    pub const fn measure_latency(mut self, decay: Duration) -> Self {
        self.latency_decay = Some(decay);
        self
    }

    /// Sets a table of who had which endpoint: picks with a
    /// [stick key](crate::balancer::PickContext::with_stick_key) go there again while it works, also
    /// while it is drained, and are remembered. Default: none.
    ///
    /// HAProxy's `stick-table` with `stick on`. A cookie's
    /// [preference](crate::balancer::PickContext::with_preferred) comes before the table's.
    pub fn stick_table(mut self, table: StickTable) -> Self {
        self.stick_table = Some(table);
        self
    }

    /// Sets how [`Pool::acquire`] waits while every endpoint is full. Default: it does not.
    #[cfg(feature = "tokio")]
    pub const fn queue(mut self, queue: QueueConfig) -> Self {
        self.queue = Some(queue);
        self
    }

    /// Makes the pool.
    ///
    /// # Errors
    ///
    /// As [`Pool::update`], and for percentages out of range.
    pub fn build(self) -> Result<Pool, ConfigError> {
        let mut problems = Problems::new();
        if self.policy.overprovisioning < 100 {
            let allowed = "100 (percent) or more";
            problems.add("overprovisioning", self.policy.overprovisioning, allowed);
        }
        if self.policy.panic_threshold > 100 {
            problems.add("panic-threshold", self.policy.panic_threshold, "0 to 100 (percent)");
        }
        problems.into_result(())?;
        let pool = Pool::start(
            self.balancer,
            self.policy,
            self.slow_start,
            self.latency_decay,
            self.stick_table,
            #[cfg(feature = "tokio")]
            self.queue,
        );
        pool.update(self.endpoints)?;
        Ok(pool)
    }
}

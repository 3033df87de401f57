//! Stickiness: a client comes back to the endpoint that it had.
//!
//! A [`StickTable`] remembers who had which endpoint; a [`Cookie`] has the client remember it. Both
//! give a name to [`PickContext::with_preferred`], and the pick goes there if the endpoint still does
//! its work, also while it is drained.
//!
//! ```
//! use std::time::Duration;
//! use ha_core::time::{BootClock, Clock};
//! use ha_lb::algorithm::Algorithm;
//! use ha_lb::balancer::PickContext;
//! use ha_lb::endpoint::parse_list;
//! use ha_lb::pool::Pool;
//! use ha_lb::stick::StickTable;
//!
//! let pool = Pool::new(&Algorithm::RoundRobin, parse_list("a=192.0.2.1:80,b=192.0.2.2:80")?)?;
//! let table = StickTable::new(100_000, Duration::from_secs(1_800));
//! let clock = BootClock::new();
//! for _ in 0..3 {
//!     let known = table.get(b"session-17", clock.now());
//!     let mut context = PickContext::new();
//!     if let Some(name) = &known {
//!         context = context.with_preferred(name);
//!     }
//!     let pick = pool.pick(&context)?;
//!     table.set(b"session-17", pick.name(), clock.now());
//!     assert_eq!(pick.name().as_str(), "a");
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`PickContext::with_preferred`]: crate::balancer::PickContext::with_preferred

mod cookie;
mod table;

pub use self::cookie::{Cookie, CookieMode, Found};
pub use self::table::StickTable;

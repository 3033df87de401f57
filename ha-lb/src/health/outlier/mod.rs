//! Passive health: what the work itself tells of the endpoints.

mod error_limit;

pub use self::error_limit::{ErrorLimit, Observe};

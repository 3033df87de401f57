//! What channels count.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// What was counted since the start; all counters only grow.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        #[non_exhaustive]
        pub struct ChannelStats {
            $($(#[$doc])* pub $name: u64,)*
        }

        #[derive(Debug, Default)]
        pub(super) struct Counters {
            $(pub(super) $name: AtomicU64,)*
        }

        impl Counters {
            pub(super) fn read(&self) -> ChannelStats {
                ChannelStats { $($name: self.$name.load(Ordering::Relaxed),)* }
            }
        }
    };
}

counters! {
    /// Connections of members that were let in.
    accepted,
    /// Requests of members that were handled.
    handled,
    /// Connections to members that were made.
    connected,
    /// Connections that were turned away because there were too many.
    refused_crowded,
    /// Handshakes under another key, changed or recorded.
    refused_key,
    /// Handshakes from or for a name that is not known.
    refused_name,
    /// Connections of something that is no channel, or that broke during the handshake.
    refused_stranger,
    /// Connections that speak another version.
    refused_version,
    /// Handshakes that took too long.
    refused_slow,
    /// Connections that were dropped because of something that is no message: changed, repeated,
    /// out of order or too large.
    malformed,
}

pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

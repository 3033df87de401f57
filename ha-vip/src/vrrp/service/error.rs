//! Why virtual routers cannot run.

use std::io;

/// A virtual router cannot run on an interface.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServiceError {
    /// The interface's addresses cannot be changed.
    #[error(transparent)]
    Backend(#[from] crate::backend::BackendError),
    /// The configuration cannot be used.
    #[error("cannot run a virtual router")]
    Config {
        /// What is wrong with it.
        #[source]
        source: ha_core::config::ConfigError,
    },
    /// The interface is down.
    #[error("cannot run a virtual router on {interface}: it is down; set it up first")]
    Down {
        /// The interface.
        interface: String,
    },
    /// There is no such interface.
    #[error("cannot run a virtual router on {interface}: there is no such network interface")]
    NoInterface {
        /// The interface.
        interface: String,
    },
    /// The interface has no address that adverts could come from.
    #[error(
        "cannot run a virtual router on {interface}: it has no primary address to send adverts \
         from; give it one besides the virtual addresses (link-local for IPv6)"
    )]
    NoSource {
        /// The interface.
        interface: String,
    },
    /// The process may not open raw sockets.
    #[error(
        "cannot run a virtual router on {interface}: the capability CAP_NET_RAW is missing; run \
         as root, or grant CAP_NET_RAW and CAP_NET_ADMIN with AmbientCapabilities= or setcap"
    )]
    Privilege {
        /// The interface.
        interface: String,
    },
    /// A socket failed.
    #[error("cannot run a virtual router on {interface}: a socket failed")]
    Socket {
        /// The interface.
        interface: String,
        /// The kernel's error.
        #[source]
        source: io::Error,
    },
    /// The interface with the virtual link-layer address could not be made.
    #[error("cannot run a virtual router with a virtual MAC over {interface}")]
    VirtualLink {
        /// The base interface.
        interface: String,
        /// Why.
        #[source]
        source: crate::net::macvlan::MacVlanError,
    },
}

impl ServiceError {
    pub(super) fn of_socket(interface: &str, source: io::Error) -> Self {
        let interface = interface.to_owned();
        if source.kind() == io::ErrorKind::PermissionDenied {
            return Self::Privilege { interface };
        }
        Self::Socket { interface, source }
    }
}

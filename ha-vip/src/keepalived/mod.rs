//! Reads `keepalived.conf`: an existing site runs as it is.
//!
//! ```text
//!  keepalived.conf ──▶ Reader ──▶ Site: HostConfig, trackers, BFD neighbours, notifications
//!   + included files     │          │
//!                        │          ├─ service(…) ──▶ ServiceBuilder
//!                        │          └─ notifiers(…) ──▶ Notifier, one for each `notify`
//!                        └▶ ConfigError: everything that is wrong, with its line
//! ```
//!
//! What is read is the VRRP half of the file as keepalived 2.2 documents it, and `auth_hmac` of
//! 2.4: `global_defs`, `vrrp_instance`, `vrrp_sync_group`, `vrrp_script`, `vrrp_track_process`,
//! `track_file`, `bfd_instance`; with comments, quotes, `include`, `$DEFINITIONS=` and `@host`
//! conditions. A keyword that changes nothing here (process priorities, buffer sizes, what is
//! always done) is taken silently; one that means something which cannot be had here is an error,
//! as a site must not come up with less than it says. [`Reader::lenient`] makes warnings of those.
//!
//! ```
//! use std::time::Duration;
//! use ha_vip::keepalived::Site;
//!
//! let site = Site::parse(
//!     r#"
//!     global_defs { vrrp_version 3 }
//!     vrrp_script chk_haproxy {
//!         script "/usr/bin/killall -0 haproxy"   # exit status 0: it runs
//!         interval 2
//!         weight -60
//!     }
//!     vrrp_instance VI_1 {
//!         state BACKUP
//!         interface eth0
//!         virtual_router_id 51
//!         priority 150
//!         advert_int 0.1
//!         virtual_ipaddress {
//!             192.0.2.10/24
//!         }
//!         track_script { chk_haproxy }
//!         notify "/usr/local/bin/told"
//!     }
//!     "#,
//!     "keepalived.conf",
//! )?;
//! let instance = &site.host().instances()[0];
//! assert_eq!(instance.router().advert_interval(), Duration::from_millis(100));
//! assert_eq!(instance.tracked()[0].name(), "script chk_haproxy");
//!
//! let error = Site::parse("vrrp_instance V {\n priority 300\n use_ipvlan\n}", "k.conf").unwrap_err();
//! let text = error.to_string();
//! assert!(text.contains("k.conf:2: `priority 300` is not allowed: 1 to 255"), "{text}");
//! assert!(text.contains("k.conf:3: `use_ipvlan` is not allowed: leave it out"), "{text}");
//! # Ok::<(), ha_core::config::ConfigError>(())
//! ```
//!
//! # Where it differs
//!
//! The interface of an instance is always watched; an instance that does not track a script waits
//! for nothing. Announcements go out at once, after 100 ms, 1 s and `garp_master_delay`, and every
//! minute if `garp_master_refresh` says nothing else. Notices tell what *is* and are repeated when
//! their script fails ([`notify`](crate::vrrp::notify)); their priority is the configured one.
//! Weights of members of a sync group count as 0, as in keepalived.

mod accounts;
mod address;
mod auth;
mod block;
mod check;
mod glob;
mod global;
mod group;
mod instance;
mod lexer;
mod limits;
mod neighbour;
mod reader;
mod report;
mod script;
mod site;
mod source;
#[cfg(test)]
mod tests;
mod values;

pub use neighbour::Neighbour;
pub use reader::Reader;
pub use report::Warning;
#[cfg(feature = "netlink")]
pub use site::SiteError;
pub use site::{Notification, Site};

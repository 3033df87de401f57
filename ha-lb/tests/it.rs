//! The proxies and the monitor on real sockets of the loopback interface.
#![cfg(feature = "http")]
#![expect(clippy::expect_used, reason = "these are tests, and so are their helpers")]

#[path = "it/agent.rs"]
mod agent;
#[cfg(all(feature = "command", feature = "file"))]
#[path = "it/command.rs"]
mod command;
#[cfg(feature = "file")]
#[path = "it/discovery.rs"]
mod discovery;
#[cfg(all(feature = "dns", feature = "file"))]
#[path = "it/dns.rs"]
mod dns;
#[path = "it/drain.rs"]
mod drain;
#[cfg(all(feature = "grpc", feature = "mysql", feature = "postgres", feature = "tls"))]
#[path = "it/health.rs"]
mod health;
#[path = "it/l4.rs"]
mod l4;
#[path = "it/l7.rs"]
mod l7;
#[path = "it/malformed.rs"]
mod malformed;
#[path = "it/marks.rs"]
mod marks;
#[path = "it/monitor.rs"]
mod monitor;
#[cfg(all(feature = "dns", feature = "file"))]
#[path = "it/name_server.rs"]
mod name_server;
#[path = "it/outlier.rs"]
mod outlier;
#[path = "it/queue.rs"]
mod queue;
#[path = "it/report.rs"]
mod report;
#[path = "it/script.rs"]
mod script;
#[path = "it/sticky.rs"]
mod sticky;
#[path = "it/support.rs"]
mod support;

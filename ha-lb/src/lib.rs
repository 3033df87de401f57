//! Load balancing: pick an endpoint for each piece of work, know which ones are up, proxy bytes.
//!
//! ```text
//!  list, weights ─▶ Pool::update ─┐                      ┌─▶ Pick (counts, reports its outcome)
//!  operator ──────▶ set_admin ────┼─▶ Endpoints ─▶ Balancer::pick
//!  Monitor ───────▶ set_health ───┘   immutable    wait-free  │
//!     ▲ Passed / Failed               snapshot                ▼
//!  HealthCheck: HTTP, SQL, …, closure             l4::Proxy, l7::Proxy, or your own client
//! ```
//!
//! Use it inside a program that has many servers to talk to, or as a proxy in front of them.
//!
//! ```
//! use ha_core::health::Health;
//! use ha_lb::algorithm::Algorithm;
//! use ha_lb::balancer::PickContext;
//! use ha_lb::endpoint::parse_list;
//! use ha_lb::pick::Outcome;
//! use ha_lb::pool::Pool;
//!
//! let servers = parse_list("eu-1=192.0.2.1:5432,eu-2=192.0.2.2:5432")?;
//! let pool = Pool::new(&"least-connections".parse::<Algorithm>()?, servers)?;
//! pool.set_health(&"eu-2".parse()?, Health::Unhealthy, "connection refused");
//! println!("{}", pool.explain(&PickContext::new()));
//! let pick = pool.pick(&PickContext::new())?; // counts as a connection while it is kept
//! assert_eq!(pick.address().to_string(), "192.0.2.1:5432");
//! pick.finish(Outcome::Completed);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Where to look
//!
//! - [`pool`]: the endpoints and how they change; [`endpoint`], [`snapshot`], [`state`], [`pick`].
//! - [`algorithm`]: in turn, by load, by latency, at random, by the hash of a key.
//!   [`balancer`] is the trait for your own.
//! - [`stick`]: who had which endpoint, by a table or a cookie; `queue`: who waits for a full pool.
//! - [`discovery`]: where a pool's endpoints come from: lists, files, DNS.
//! - [`subset`]: which of very many servers one of very many clients uses.
//! - [`resilience`]: breakers, limits, retries, hedges, deadlines; each usable without a pool.
//! - [`health`]: checks, their schedule, and the monitor that makes them; agents, and outliers by how
//!   their work goes.
//! - `client`: a tower service over a pool, with retries and hedges (feature `tower`).
//! - [`report`]: what endpoints say of their load, and the shares that follow.
//! - `l4`: the TCP proxy (feature `tokio`); `l7`: the HTTP/1.1 proxy (feature `http`); `proxy`:
//!   what they share, and how to take one out of service without losing a request.
//!
//! # How it differs from HAProxy
//!
//! It is a library: the pool lives in your process, and the proxies are two values you can start,
//! watch and stop. Algorithms take no lock, and a change of health builds no table anew. The defaults are
//! HAProxy's where it has them, and each setting names its HAProxy counterpart; hashing places every key
//! exactly as HAProxy does, but all backups are used at once (`option allbackups`), and a pool without
//! a health check trusts every endpoint. Priority levels, zones and panic are Envoy's. There is no TLS and
//! no HTTP/2 in the proxies.
//!
//! # Guarantees and their limits
//!
//! Balancing is an *at least one* matter: it keeps a service reachable, it never makes sure that
//! only one endpoint works. An endpoint that is unhealthy, drained or full is not picked; one that
//! fails between two checks is, and is then tried again elsewhere where that is safe.
//!
//! # Features
//!
//! - `tokio` (default): health checks and the TCP proxy on tokio.
//! - `http`: the HTTP/1.1 proxy and HTTP health checks, on hyper.
//! - `command`: health checks that are commands.
//! - `file`: endpoints from a file that is watched, lines or TOML.
//! - `dns`: endpoints from DNS, addresses and SRV, on hickory-resolver.
//! - `tls`: TLS in health checks (TLS, HTTP, gRPC, Redis, PostgreSQL, Galera, SMTP, LDAP), on rustls
//!   with ring.
//! - `http2`: HTTP/2 in HTTP health checks.
//! - `grpc`: health checks by `grpc.health.v1`.
//! - `mysql`: health checks that log in to MySQL with a password: Galera.
//! - `postgres`: health checks that log in to PostgreSQL with a password.
//! - `tower`: a client for programs, as a tower service.

#![forbid(unsafe_code)]

pub mod algorithm;
pub mod balancer;
#[cfg(any(feature = "tokio", all(test, loom)))]
#[cfg_attr(not(feature = "tokio"), expect(dead_code, reason = "the models need not all of it"))]
mod bells;
#[cfg(feature = "tower")]
pub mod client;
mod context;
pub mod discovery;
pub mod endpoint;
pub mod health;
#[cfg(feature = "tokio")]
pub mod l4;
#[cfg(feature = "http")]
pub mod l7;
pub mod pick;
pub mod pool;
#[cfg(feature = "tokio")]
pub mod proxy;
#[cfg(feature = "tokio")]
pub mod queue;
mod random;
pub mod report;
pub mod resilience;
pub mod simulation;
pub mod snapshot;
pub mod state;
pub mod stick;
pub mod subset;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}

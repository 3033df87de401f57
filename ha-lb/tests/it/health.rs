//! The health checks, against the real servers of Debian and against hostile ones.

#[path = "health_daemon.rs"]
mod daemon;
#[path = "health_databases.rs"]
mod databases;
#[path = "health_galera.rs"]
mod galera;
#[path = "health_hostile.rs"]
mod hostile;
#[path = "health_services.rs"]
mod services;
#[path = "health_web.rs"]
mod web;

//! The process that a resource is, ours or adopted.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use ha_core::driver::Readiness;
use rustix::process::Pid;

use super::adopted::Adopted;
use super::ready::Awaited;
use crate::group::{Group, is_over};

/// A process that runs, or has ended unseen.
#[derive(Debug)]
pub(super) struct Held {
    kind: Kind,
    pub(super) awaited: Awaited,
}

#[derive(Debug)]
enum Kind {
    Adopted(Adopted),
    Child(Box<Group>),
}

impl Held {
    pub(super) fn child(group: Group, awaited: Awaited) -> Self {
        Self { kind: Kind::Child(Box::new(group)), awaited }
    }

    pub(super) const fn adopted(adopted: Adopted) -> Self {
        Self { kind: Kind::Adopted(adopted), awaited: Awaited::Nothing }
    }

    pub(super) const fn is_adopted(&self) -> bool {
        matches!(self.kind, Kind::Adopted(_))
    }

    pub(super) fn exit(&self) -> Arc<Readiness> {
        match &self.kind {
            Kind::Adopted(adopted) => adopted.exit(),
            Kind::Child(group) => group.exit(),
        }
    }

    pub(super) fn pid(&self) -> Pid {
        match &self.kind {
            Kind::Adopted(adopted) => adopted.pid(),
            Kind::Child(group) => group.leader(),
        }
    }

    pub(super) fn has_exited(&self) -> bool {
        match &self.kind {
            Kind::Adopted(adopted) => is_over(&*adopted.exit()).unwrap_or(true),
            Kind::Child(group) => group.has_exited(),
        }
    }

    /// Asks it to end, kills it after `grace`, with all that belongs to it; says how it ended.
    ///
    /// Cancel safe: called again, it begins again.
    pub(super) async fn end(&mut self, grace: Duration) -> io::Result<String> {
        match &mut self.kind {
            Kind::Adopted(adopted) => adopted.end(grace).await.map(|()| String::new()),
            Kind::Child(group) => group.end(grace).await.map(|status| status.to_string()),
        }
    }

    /// Kills what is left of it; says how it ended.
    ///
    /// Cancel safe: called again, it goes on.
    pub(super) async fn reap(&mut self) -> io::Result<String> {
        match &mut self.kind {
            Kind::Adopted(adopted) => adopted.bury().await.map(|()| "unseen".to_owned()),
            Kind::Child(group) => group.reap().await.map(|status| status.to_string()),
        }
    }

    /// Lets go of a leader that has ended and says that all is well; false: it does not.
    ///
    /// Cancel safe: it is let go from the first poll on.
    pub(super) async fn release(&mut self) -> io::Result<bool> {
        match &mut self.kind {
            Kind::Adopted(_) => Ok(true),
            Kind::Child(group) if group.has_succeeded() => {
                group.release().await?;
                Ok(true)
            }
            Kind::Child(_) => Ok(false),
        }
    }
}

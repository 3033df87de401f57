//! The scripts that are told of states, while the routers come and go.

use std::time::Duration;

use ha_core::driver::{Task, pause};
use ha_vip::keepalived::{Notification, Site};
use ha_vip::vrrp::notify::{Notifier, Subject};
use ha_vip::vrrp::{Changes, ServiceHandle};

/// Those who tell scripts.
#[derive(Debug, Default)]
pub(crate) struct Notices {
    running: Vec<(Notification, Task<()>)>,
    /// Their routers are gone: they have to tell that.
    ending: Vec<Task<()>>,
}

impl Notices {
    pub(crate) fn start(site: &Site, service: &ServiceHandle) -> Self {
        let mut notices = Self::default();
        notices.go_on(None, site, service, &Changes::default());
        notices
    }

    /// Goes on with another site, of which these routers have changed.
    pub(crate) fn go_on(
        &mut self,
        old: Option<&Site>,
        new: &Site,
        service: &ServiceHandle,
        changes: &Changes,
    ) {
        let mut before = std::mem::take(&mut self.running);
        for told in new.notifications() {
            let place = before
                .iter()
                .position(|(old, _)| (old.subject(), old.name()) == (told.subject(), told.name()));
            let running = place.map(|place| before.swap_remove(place));
            match running {
                Some((known, task)) if known == *told && !is_other(told, old, new, changes) => {
                    self.running.push((known, task));
                }
                running => {
                    let task = running.map(|(_, task)| task);
                    if let Some(notifier) = new.notifier(told, service) {
                        let waits = changes.restarted.iter().any(|name| name == told.name());
                        let task = after(task.filter(|_| waits), notifier);
                        self.running.push((told.clone(), task));
                    }
                }
            }
        }
        let gone = |told: &Notification| changes.removed.iter().any(|name| name == told.name());
        let gone = before.into_iter().filter(|(told, _)| gone(told));
        self.ending.extend(gone.map(|(_, task)| task));
    }

    /// Waits until all is told, but not for ever.
    pub(crate) async fn end(self, limit: Duration) {
        let running = self.running.into_iter().map(|(_, task)| task);
        let told = async {
            for mut task in running.chain(self.ending) {
                // One that has panicked tells nothing more.
                drop(task.ended().await);
            }
        };
        tokio::select! { biased;
            () = told => {}
            _ = pause(limit) => {}
        }
    }
}

/// Whether the routers that are told of are others than before.
fn is_other(told: &Notification, old: Option<&Site>, new: &Site, changes: &Changes) -> bool {
    let other = |name: &String| changes.added.contains(name) || changes.restarted.contains(name);
    match told.subject() {
        Subject::Instance => other(&told.name().to_owned()),
        Subject::Group => {
            let members = |site: &Site| {
                let group = site.host().groups().iter().find(|group| group.name() == told.name());
                group.map(|group| group.members().to_vec()).unwrap_or_default()
            };
            let now = members(new);
            now.iter().any(other) || old.is_none_or(|old| members(old) != now)
        }
    }
}

/// Tells once `earlier` has told that its router has stopped.
fn after(earlier: Option<Task<()>>, notifier: Notifier) -> Task<()> {
    Task::spawn(|mut stop| async move {
        let all = async {
            if let Some(mut earlier) = earlier {
                drop(earlier.ended().await);
            }
            notifier.run().await;
        };
        tokio::select! { biased;
            () = stop.wait() => {}
            () = all => {}
        }
    })
}

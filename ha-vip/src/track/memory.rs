//! A tracker that is told what to say.

use async_trait::async_trait;
use tokio::sync::watch;

use super::{TrackError, Tracker, Verdict, WatchTracker};

/// A tracker that says what its handle was told last: for tests, and for what only the program
/// itself knows.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// use ha_vip::track::{MemoryTracker, Standing, Tally, Tracked, Tracker, Verdict};
/// use ha_vip::vrrp::Priority;
///
/// let mut database = MemoryTracker::new("database");
/// let handle = database.handle();
/// let mut tally = Tally::new(Priority::DEFAULT, vec![Tracked::new("database")]);
///
/// handle.set(Verdict::Up);
/// let verdict = database.changed().await?;
/// tally.report(database.name(), verdict);
/// assert_eq!(tally.standing(), Standing::Priority(Priority::DEFAULT));
///
/// handle.set(Verdict::Down);
/// let verdict = database.changed().await?;
/// tally.report(database.name(), verdict);
/// assert_eq!(tally.standing(), Standing::Fault);
/// # Ok::<(), ha_vip::track::TrackError>(()) }).unwrap();
/// ```
#[derive(Debug)]
pub struct MemoryTracker {
    watch: WatchTracker<Verdict>,
    sender: watch::Sender<Verdict>,
}

impl MemoryTracker {
    /// A tracker that knows nothing yet.
    pub fn new(name: impl Into<String>) -> Self {
        let (sender, receiver) = watch::channel(Verdict::Unknown);
        Self { watch: WatchTracker::new(name, receiver, |verdict| *verdict), sender }
    }

    /// Tells the tracker what to say; any number may be had. They may go away: the tracker then
    /// stays with what it was told last.
    #[must_use]
    pub fn handle(&self) -> MemoryHandle {
        MemoryHandle(self.sender.clone())
    }
}

#[async_trait]
impl Tracker for MemoryTracker {
    fn name(&self) -> &str {
        self.watch.name()
    }

    async fn changed(&mut self) -> Result<Verdict, TrackError> {
        self.watch.changed().await
    }
}

/// Tells a [`MemoryTracker`] what to say; cheap to clone.
#[derive(Debug, Clone)]
pub struct MemoryHandle(watch::Sender<Verdict>);

impl MemoryHandle {
    /// From now on says `verdict`.
    pub fn set(&self, verdict: Verdict) {
        self.0.send_replace(verdict);
    }
}

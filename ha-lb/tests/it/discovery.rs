//! Pools that follow a file or a channel.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ha_core::timeline::Timeline;
use ha_lb::algorithm::Algorithm;
use ha_lb::balancer::PickContext;
use ha_lb::discovery::channel::ChannelList;
use ha_lb::discovery::file::WatchedFile;
use ha_lb::discovery::follow::{Follower, Status, follow};
use ha_lb::discovery::{Discovery, DiscoveryError, Found, StaticList};
use ha_lb::endpoint::parse_list;
use ha_lb::pool::Pool;
use tokio::sync::watch;

pub(crate) fn empty_pool() -> Pool {
    Pool::new(&Algorithm::RoundRobin, Vec::new()).expect("empty")
}

/// The names of a pool's endpoints, with a space after each.
pub(crate) fn names(pool: &Pool) -> String {
    pool.snapshot().iter().flat_map(|(e, _)| [e.name().to_string(), " ".to_owned()]).collect()
}

/// Waits until the status is as wanted.
pub(crate) async fn until(
    status: &mut watch::Receiver<Status>,
    wanted: impl FnMut(&Status) -> bool,
) -> Status {
    let found = tokio::time::timeout(Duration::from_mins(1), status.wait_for(wanted)).await;
    found.expect("in time").expect("it follows").clone()
}

fn watched(path: &Path) -> WatchedFile {
    WatchedFile::new(path).with_interval(Duration::from_millis(10)).expect("in range")
}

#[tokio::test]
async fn a_pool_follows_a_file_through_changes_errors_and_renames() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("backends");
    let pool = empty_pool();
    let timeline = Arc::new(Mutex::new(Timeline::default()));
    let follower =
        Follower::new(watched(&path), pool.clone()).with_observer(Arc::clone(&timeline) as _);
    let mut status = follower.status();
    let task = follower.spawn();

    // Not there yet.
    let missing = until(&mut status, |status| status.error.is_some()).await;
    let error = missing.error.expect("missing");
    assert!(error.starts_with(&format!("cannot read {}: No such file", path.display())), "{error}");

    std::fs::write(&path, "a=192.0.2.1:80\nb=192.0.2.2:80 weight=3\n").expect("written");
    until(&mut status, |status| status.endpoints == 2 && status.error.is_none()).await;
    assert_eq!(names(&pool), "a b ");
    let held = std::iter::repeat_with(|| pool.pick(&PickContext::new()).expect("two are usable"))
        .take(10)
        .find(|pick| pick.name().as_str() == "a")
        .expect("its turn comes");

    // A broken file leaves all as it is, and says where it is broken.
    std::fs::write(&path, "a=192.0.2.1:80\nb=nonsense\n").expect("written");
    let broken = until(&mut status, |status| status.error.is_some()).await;
    let error = broken.error.expect("broken");
    let expected = format!("cannot read the endpoints: {}:2: b=nonsense is not", path.display());
    assert!(error.starts_with(&expected), "{error}");
    assert_eq!(names(&pool), "a b ");

    // An atomic rename.
    let new = folder.path().join("new");
    std::fs::write(&new, "a=192.0.2.1:80\nc=192.0.2.3:80\n").expect("written");
    std::fs::rename(&new, &path).expect("renamed");
    until(&mut status, |status| status.error.is_none()).await;
    assert_eq!(names(&pool), "a c ");
    let state = {
        let snapshot = pool.snapshot();
        let (_, state) = snapshot.iter().next().expect("a is first");
        Arc::clone(state)
    };
    assert!(Arc::ptr_eq(&state, held.state()), "a is what it was");

    // Gone, and back as it was.
    std::fs::rename(&path, &new).expect("renamed");
    until(&mut status, |status| status.error.is_some()).await;
    assert_eq!(names(&pool), "a c ");
    std::fs::rename(&new, &path).expect("renamed");
    until(&mut status, |status| status.error.is_none()).await;
    task.stop().await.expect("no panic").expect("a timer");

    let timeline = timeline.lock().expect("no panic");
    let told: Vec<_> = timeline.events().map(|event| event.kind.to_string()).collect();
    assert!(told.contains(&"2 endpoints: 2 added, 0 removed, 0 changed".to_owned()), "{told:?}");
    assert!(told.contains(&"2 endpoints: 1 added, 1 removed, 0 changed".to_owned()), "{told:?}");
    assert!(told.iter().any(|text| text.contains(":2: b=nonsense")), "{told:?}");
}

#[tokio::test]
async fn a_write_within_a_tick_of_the_file_systems_clock_is_seen() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("backends");
    for round in 0..20 {
        std::fs::write(&path, "a=192.0.2.1:80\n").expect("written");
        let mut file = watched(&path);
        let first = file.next().await.expect("well formed");
        // Of the same size, in the same inode, perhaps at the same time.
        std::fs::write(&path, "b=192.0.2.2:80\n").expect("written");
        if first.endpoints[0].name().as_str() == "a" {
            let second = tokio::time::timeout(Duration::from_mins(1), file.next()).await;
            let second = second.expect("it is seen").expect("well formed");
            assert_eq!(second.endpoints[0].name().as_str(), "b", "round {round}");
        }
    }
}

#[tokio::test]
async fn a_file_that_is_written_slowly_is_not_taken_for_a_shorter_list() {
    use std::io::Write;

    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("backends");
    let lines: Vec<_> = (1..=200).map(|n| format!("s{n}=192.0.2.{n}:80\n")).collect();
    std::fs::write(&path, lines.concat()).expect("written");
    // Looks are far apart, writes close together.
    let mut file = WatchedFile::new(&path).with_interval(Duration::from_millis(300)).expect("ok");
    assert_eq!(file.next().await.expect("well formed").endpoints.len(), 200);
    let writer = tokio::task::spawn_blocking(move || {
        let mut file = std::fs::File::create(&path).expect("truncated");
        for line in &lines[..199] {
            file.write_all(line.as_bytes()).expect("written");
            std::thread::yield_now();
        }
    });
    let next = tokio::time::timeout(Duration::from_mins(1), file.next()).await;
    writer.await.expect("written");
    assert_eq!(next.expect("seen").expect("well formed").endpoints.len(), 199);
}

#[tokio::test]
async fn what_is_no_regular_file_or_too_large_is_an_error_and_does_not_hang() {
    let folder = tempfile::tempdir().expect("a folder");
    let error = watched(folder.path()).next().await.expect_err("a folder");
    assert!(matches!(error, DiscoveryError::Read { .. }), "{error}");
    let pipe = folder.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().expect("coreutils");
    assert!(made.success());
    let answer = tokio::time::timeout(Duration::from_mins(1), async {
        watched(&pipe).next().await.expect_err("a pipe")
    });
    assert!(matches!(answer.await.expect("no hang"), DiscoveryError::Read { .. }));
    let large = folder.path().join("large");
    std::fs::File::create(&large).and_then(|file| file.set_len(1 << 40)).expect("sparse");
    let error = watched(&large).next().await.expect_err("a terabyte");
    let cause = std::error::Error::source(&error).expect("a cause").to_string();
    assert_eq!(cause, "it is larger than 16 MiB");
    let bytes = folder.path().join("bytes");
    std::fs::write(&bytes, b"a=192.0.2.1:80\n\xff\xfe\n").expect("written");
    let error = watched(&bytes).next().await.expect_err("not text");
    let cause = std::error::Error::source(&error).expect("a cause").to_string();
    assert!(cause.contains("bytes:2: "), "{cause}");
}

#[tokio::test]
async fn dropped_looks_lose_no_change() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("backends");
    std::fs::write(&path, "a=192.0.2.1:80\n").expect("written");
    let mut file = watched(&path);
    file.next().await.expect("well formed");
    std::fs::write(&path, "a=192.0.2.1:80\nb=192.0.2.2:80\n").expect("written");
    let found = tokio::time::timeout(Duration::from_mins(1), async {
        loop {
            // Given up again and again, in the middle of whatever it does.
            tokio::select! {
                found = file.next() => return found.expect("well formed"),
                () = tokio::task::yield_now() => {}
            }
        }
    });
    assert_eq!(found.await.expect("seen").endpoints.len(), 2);
}

/// Gives what it is told to, at once.
#[derive(Debug)]
struct Scripted(Vec<Result<Found, DiscoveryError>>);

#[async_trait::async_trait]
impl Discovery for Scripted {
    fn source(&self) -> String {
        "script".to_owned()
    }

    async fn next(&mut self) -> Result<Found, DiscoveryError> {
        self.0.pop().unwrap_or(Err(DiscoveryError::Ended))
    }
}

#[tokio::test]
async fn a_list_that_the_pool_refuses_changes_nothing() {
    let pool = empty_pool();
    let good = parse_list("a=192.0.2.1:80,b=192.0.2.2:80").expect("endpoints");
    let twice = parse_list("c=192.0.2.1:80,c=192.0.2.2:80").expect("endpoints");
    let script = vec![Ok(Found::new(twice)), Ok(Found::new(good).with_note("of two kinds"))];
    let timeline = Arc::new(Mutex::new(Timeline::default()));
    let follower =
        Follower::new(Scripted(script), pool.clone()).with_observer(Arc::clone(&timeline) as _);
    let mut status = follower.status();
    let mut task = follower.spawn();
    let ended = until(&mut status, |status| status.ended).await;
    task.ended().await.expect("no panic").expect("a timer");
    assert_eq!(names(&pool), "a b ");
    assert_eq!((ended.updates, ended.failures, ended.endpoints), (1, 1, 2));
    assert!(ended.error.expect("refused").contains("every name once"));
    let timeline = timeline.lock().expect("no panic");
    assert!(timeline.events().any(|event| event.kind.to_string() == "of two kinds"));
}

#[tokio::test]
async fn a_source_that_always_fails_is_not_asked_without_a_pause() {
    /// Fails at once, each time.
    #[derive(Debug)]
    struct Failing(Arc<std::sync::atomic::AtomicU32>);

    #[async_trait::async_trait]
    impl Discovery for Failing {
        fn source(&self) -> String {
            "failing".to_owned()
        }

        async fn next(&mut self) -> Result<Found, DiscoveryError> {
            self.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            Err(DiscoveryError::Failed { what: "as always".to_owned() })
        }
    }

    let asked = Arc::new(std::sync::atomic::AtomicU32::new(0));
    let follower = Follower::new(Failing(Arc::clone(&asked)), empty_pool());
    let mut status = follower.status();
    let task = follower.spawn();
    until(&mut status, |status| status.failures == 3).await;
    task.stop().await.expect("no panic").expect("a timer");
    assert!(asked.load(std::sync::atomic::Ordering::SeqCst) <= 4);
}

#[tokio::test]
async fn lists_that_are_static_or_sent_reach_the_pool() {
    let pool = empty_pool();
    let list = parse_list("a=192.0.2.1:80").expect("endpoints");
    let mut task = follow(StaticList::new(list), pool.clone());
    task.ended().await.expect("no panic").expect("a timer");
    assert_eq!(names(&pool), "a ");

    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    let mut changes = pool.changes();
    let task = follow(ChannelList::new(receiver), pool.clone());
    changes.borrow_and_update();
    sender.send(parse_list("b=192.0.2.2:80").expect("endpoints")).await.expect("received");
    changes.changed().await.expect("the pool lives");
    assert_eq!(names(&pool), "b ");
    task.stop().await.expect("no panic").expect("a timer");
}

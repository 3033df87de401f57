//! Files that cannot be used are refused, and left as they are; a disk that is full loses nothing.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use ha_membership::store::{ClusterStore, OpenError, RaftStore, RaftStoreConfig, StoreError};
use ha_membership::transport::SharedKey;
use ha_membership::transport::channel::{Channels, ChannelsConfig};

use super::cluster::{LONG, run};
use crate::name;

async fn channels(index: usize) -> Channels {
    let any = "127.0.0.1:0".parse().expect("an address");
    let config = ChannelsConfig::builder(name(index), any).key(SharedKey::new([5; 32]));
    Channels::bind(config.build().expect("settings")).await.expect("a port")
}

async fn open(index: usize, file: &Path) -> Result<RaftStore, OpenError> {
    let config = RaftStoreConfig::builder(name(index), file).build().expect("settings");
    RaftStore::open(config, &channels(index).await).await
}

/// A file with something in it.
async fn written(file: &Path) {
    let store = open(0, file).await.expect("it opens");
    for index in 0..20 {
        let key = format!("k/{index}").parse().expect("a key");
        store.put(&key, (*b"value").into()).await.expect("acknowledged");
    }
    store.shutdown().await;
}

#[test]
fn a_damaged_file_is_named_and_left_as_it_is() {
    run(async {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("store");
        written(&file).await;
        let whole = fs::read(&file).expect("readable");
        let half = whole[..whole.len() / 2].to_vec();
        let headless = whole[..100].to_vec();
        let mut overwritten = whole.clone();
        overwritten[..512].fill(0x55);
        let text = b"this is no store".to_vec();
        for damaged in [vec![], text, headless, half, overwritten] {
            fs::write(&file, &damaged).expect("writable");
            let error = open(0, &file).await.err();
            let Some(OpenError::Corrupt { file: named, .. }) = &error else {
                panic!("{} bytes: {error:?}", damaged.len())
            };
            assert_eq!(*named, file);
            assert!(fs::read(&file).expect("readable") == damaged, "the file was changed");
        }
        fs::write(&file, &whole).expect("writable");
        let store = open(0, &file).await.expect("the whole file is well");
        let key = "k/19".parse().expect("a key");
        assert!(store.get(&key).await.expect("an answer").is_some());
    });
}

#[test]
fn wherever_a_bit_has_rotted_it_is_noticed_or_does_no_harm() {
    run(async {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("store");
        written(&file).await;
        let whole = fs::read(&file).expect("readable");
        let (mut refused, step) = (0, whole.len() / 61);
        for position in (0..whole.len()).step_by(step).chain([8, 9, 60, 70, 200, 330, 4096, 4100]) {
            let mut rotten = whole.clone();
            rotten[position] ^= 0x10;
            fs::write(&file, &rotten).expect("writable");
            match open(0, &file).await {
                Ok(store) => {
                    let (entries, _) = store.list("k/").await.expect("a list");
                    assert_eq!(entries.len(), 20, "bit at {position}");
                    assert!(entries.iter().all(|(_, entry)| *entry.value == *b"value"));
                    store.shutdown().await;
                }
                Err(error) => {
                    assert!(matches!(error, OpenError::Corrupt { .. }), "{position}: {error:?}");
                    let left = fs::read(&file).expect("readable");
                    assert!(left == rotten, "the file was changed, bit at {position}");
                    refused += 1;
                }
            }
        }
        assert!(refused > 0, "nothing was hit");
    });
}

#[test]
fn what_a_crash_leaves_has_everything_that_was_acknowledged() {
    run(async {
        let folder = tempfile::tempdir().expect("a folder");
        let (file, left) = (folder.path().join("store"), folder.path().join("left"));
        let store = open(0, &file).await.expect("it opens");
        for index in 0..20 {
            let key = format!("k/{index}").parse().expect("a key");
            store.put(&key, (*b"value").into()).await.expect("acknowledged");
            // As it is on disk now, without an orderly end.
            fs::copy(&file, &left).expect("readable");
            let after_crash = open(0, &left).await.expect("it opens");
            let (entries, _) = after_crash.list("k/").await.expect("a list");
            assert_eq!(entries.len(), index + 1);
            after_crash.shutdown().await;
        }
    });
}

#[test]
fn a_file_has_one_user_at_a_time() {
    run(async {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("store");
        let store = open(0, &file).await.expect("it opens");
        let error = open(0, &file).await.expect_err("in use");
        assert!(matches!(error, OpenError::Locked { .. }), "{error}");
        store.shutdown().await;
        open(0, &file).await.expect("free again");
    });
}

#[test]
fn a_file_of_another_node_or_other_members_is_refused() {
    run(async {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("store");
        written(&file).await;
        let error = open(1, &file).await.expect_err("another name");
        assert!(matches!(error, OpenError::Foreign { .. }), "{error}");
        let config = RaftStoreConfig::builder(name(0), &file).member(name(1)).build();
        let opened = RaftStore::open(config.expect("settings"), &channels(0).await).await;
        let error = opened.expect_err("another member");
        assert!(matches!(error, OpenError::Members { .. }), "{error}");
    });
}

#[test]
fn a_folder_that_is_missing_is_named() {
    run(async {
        let error = open(0, Path::new("/nonexistent/store")).await.expect_err("no folder");
        assert!(matches!(error, OpenError::Io { .. }), "{error}");
        assert!(error.to_string().contains("/nonexistent/store"), "{error}");
    });
}

/// A small file system in memory, unmounted when dropped; `None` where this user may not mount.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount(options: &str) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder");
        let disk = Self(folder);
        disk.run("mount", &["-t", "tmpfs", "-o", options, "tmpfs"]).then_some(disk)
    }

    fn run(&self, program: &str, arguments: &[&str]) -> bool {
        let command = Command::new(program).args(arguments).arg(self.0.path()).output();
        command.is_ok_and(|output| output.status.success())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        self.run("umount", &["-l"]);
    }
}

#[test]
fn on_a_full_disk_a_write_fails_the_node_steps_back_and_nothing_acknowledged_is_lost() {
    let Some(disk) = SmallDisk::mount("size=8m") else {
        eprintln!("skipped: this user may not mount a tmpfs");
        return;
    };
    run(async {
        let file = disk.0.path().join("store");
        let store = open(0, &file).await.expect("it opens");
        let value: Arc<[u8]> = vec![7; 100_000].into();
        let key = |index: usize| format!("k/{index}").parse().expect("a key");
        let mut acknowledged = 0;
        let error = loop {
            match store.put(&key(acknowledged % 40), value.clone()).await {
                Ok(_) => acknowledged += 1,
                Err(error) => break error,
            }
            assert!(acknowledged < 10_000, "the disk is never full");
        };
        let StoreError::Unavailable { source } = &error else { panic!("{error}") };
        assert!(!source.to_string().is_empty());
        let mut leadership = store.leadership();
        let stepped_back = leadership.wait_for(|now| now.leader.is_none() && !now.is_me);
        tokio::time::timeout(LONG, stepped_back).await.expect("in time").expect("it runs");
        let again = store.put(&key(0), value.clone()).await.expect_err("it has stopped");
        let StoreError::Unavailable { source } = &again else { panic!("{again}") };
        assert!(source.to_string().contains("has stopped"), "{source}");
        store.shutdown().await;
        drop(store);

        assert!(disk.run("mount", &["-o", "remount,size=200m"]), "more room");
        let store = open(0, &file).await.expect("it opens again");
        for index in 0..acknowledged.min(40) {
            let entry = store.get(&key(index)).await.expect("an answer");
            assert!(entry.is_some(), "{index} is lost");
        }
        store.put(&key(0), value.clone()).await.expect("room");
        store.shutdown().await;
    });
}

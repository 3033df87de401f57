//! The laws of stores, against a plain map; every store of the crate is held to them.

use std::collections::BTreeMap;
use std::sync::Arc;

use ha_core::effect::Effect;
use ha_membership::store::{
    ClusterStore, Entry, Expected, MAX_VALUE_LEN, MemoryStore, StoreError, Write,
};
use ha_membership::{Key, Revision};
use proptest::prelude::*;

use super::block_on;

fn key(index: usize) -> Key {
    Key::new(&format!("k/{index}")).expect("a key")
}

/// A write of a test.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    key: usize,
    value: Option<u8>,
    /// `Some(back)`: expect the entry as it was so many writes to this key ago.
    expected: Option<usize>,
    absent: bool,
}

prop_compose! {
    pub(crate) fn any_step()(
        key in 0usize..4, value: Option<u8>,
        expected in prop::option::of(0usize..3), absent in prop::bool::weighted(0.2),
    ) -> Step {
        Step { key, value, expected, absent }
    }
}

/// A write happens if and only if its condition holds, and all see it. Writes go to the stores in
/// turn, and reads to the next one.
pub(crate) async fn writes_are_as_in_a_map(stores: &[&dyn ClusterStore], steps: Vec<Step>) {
    let mut model: BTreeMap<Key, Entry> = BTreeMap::new();
    let mut history: BTreeMap<Key, Vec<Revision>> = BTreeMap::new();
    let (existing, mut last) = stores[0].list("k/").await.expect("a list");
    for (key, entry) in existing {
        history.entry(key.clone()).or_default().push(entry.revision);
        model.insert(key, entry);
    }
    for (turn, step) in steps.into_iter().enumerate() {
        let [store, next] = [turn, turn + 1].map(|turn| stores[turn % stores.len()]);
        let key = key(step.key);
        let past = history.entry(key.clone()).or_default();
        let expected = match step.expected.and_then(|back| past.iter().rev().nth(back)) {
            _ if step.absent => Expected::Absent,
            Some(revision) => Expected::Revision(*revision),
            None => Expected::Any,
        };
        let found = model.get(&key).map(|entry| entry.revision);
        let holds = match expected {
            Expected::Any => true,
            Expected::Absent => found.is_none(),
            Expected::Revision(revision) => found == Some(revision),
        };
        let value = step.value.map(|byte| Arc::from([byte].as_slice()));
        match store.write(Write { key: key.clone(), expected, value: value.clone() }).await {
            Ok(revision) => {
                assert!(holds);
                assert!(revision > last, "revisions grow");
                last = revision;
                past.push(revision);
                match value {
                    Some(value) => model.insert(key.clone(), Entry { value, revision }),
                    None => model.remove(&key),
                };
                let change = next.next_change("k/", Revision::new(revision.get() - 1)).await;
                let change = change.expect("kept");
                assert_eq!((change.key, change.revision), (key.clone(), revision));
            }
            Err(StoreError::Conflict { found: told, .. }) => {
                assert!(!holds);
                assert_eq!(told, found);
            }
            failed @ Err(_) => drop(failed.expect("written or in conflict")),
        }
        assert_eq!(next.get(&key).await.expect("an answer"), model.get(&key).cloned());
    }
    let (listed, revision) = stores[0].list("k/").await.expect("a list");
    assert_eq!(listed, model.into_iter().collect::<Vec<_>>());
    assert_eq!(revision, last);
}

proptest! {
    #[test]
    fn a_write_happens_if_and_only_if_its_condition_holds(
        steps in prop::collection::vec(any_step(), 0..100),
    ) {
        block_on(writes_are_as_in_a_map(&[&MemoryStore::new()], steps));
    }
}

/// A watcher of one store sees every change of another in order, also while it waits.
pub(crate) async fn a_watcher_sees_everything(
    watched: &dyn ClusterStore,
    written: &dyn ClusterStore,
) {
    let watch = async {
        let mut seen = Vec::new();
        let mut after = Revision::ZERO;
        while seen.len() < 50 {
            let change = watched.next_change("k/1", after).await.expect("kept");
            after = change.revision;
            seen.push(change.value.expect("no deletes")[0]);
        }
        seen
    };
    let write = async {
        for byte in 0..50_u8 {
            written.put(&key(2), [byte].as_slice().into()).await.expect("room");
            written.put(&key(1), [byte].as_slice().into()).await.expect("room");
            tokio::task::yield_now().await;
        }
    };
    let (seen, ()) = tokio::join!(watch, write);
    assert_eq!(seen, (0..50).collect::<Vec<_>>());
}

#[test]
fn a_watcher_sees_every_change_in_order_also_those_that_come_while_it_waits() {
    let store = MemoryStore::new();
    block_on(a_watcher_sees_everything(&store, &store));
}

/// Limits are errors that changed nothing; the store takes a value of the largest size and 100
/// bytes more.
pub(crate) async fn limits_are_errors(store: &dyn ClusterStore, writes: usize) {
    for index in 0..4 {
        store.delete(&key(index)).await.expect("a delete always fits");
    }
    let before = store.put(&key(1), [0].as_slice().into()).await.expect("room");
    for _ in 0..writes {
        store.put(&key(1), [0].as_slice().into()).await.expect("room");
    }
    let compacted = store.next_change("", before).await;
    let large: Arc<[u8]> = vec![0; MAX_VALUE_LEN + 1].into();
    let write = Write { key: key(1), expected: Expected::Absent, value: Some(large.clone()) };
    let conflict = store.write(write).await.expect_err("the condition counts first");
    assert!(matches!(conflict, StoreError::Conflict { .. }), "{conflict}");
    let large = store.put(&key(1), large).await.expect_err("too large");
    store.put(&key(2), vec![0; MAX_VALUE_LEN].into()).await.expect("just fits");
    let full = store.put(&key(3), vec![0; 100].into()).await.expect_err("full");
    assert!(matches!(large, StoreError::TooLarge { .. }), "{large}");
    assert!(matches!(full, StoreError::Full { .. }), "{full}");
    if writes > 1024 {
        let compacted = compacted.expect_err("too old");
        assert!(matches!(compacted, StoreError::Compacted { .. }), "{compacted}");
        assert_eq!(compacted.effect(), Effect::None);
    }
    for error in [large, full] {
        assert_eq!(error.effect(), Effect::None);
    }
    store.delete(&key(2)).await.expect("a delete always fits");
    store.put(&key(3), vec![0; 100].into()).await.expect("room again");
    // A value of that size pushes the smaller changes out of the history, not the newest.
    let (_, now) = store.list("").await.expect("a list");
    let last = store.next_change("", Revision::new(now.get() - 1)).await.expect("kept");
    assert_eq!(last.key, key(3));
}

#[test]
fn what_is_too_old_too_large_or_too_much_is_an_error_that_changed_nothing() {
    block_on(limits_are_errors(&MemoryStore::with_limit(MAX_VALUE_LEN + 100), 2_000));
}

#[test]
fn keys_are_checked() {
    for bad in ["", "a\nb", &"x".repeat(1025)] {
        let error = Key::new(bad).expect_err("not a key");
        assert!(error.text.len() <= 80);
    }
    assert_eq!("a/b c".parse::<Key>().expect("a key").to_string(), "a/b c");
}

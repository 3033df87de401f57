//! The store in memory against a plain map.

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

#[derive(Debug, Clone)]
struct Step {
    key: usize,
    value: Option<u8>,
    /// `Some(back)`: expect the entry as it was so many writes to this key ago.
    expected: Option<usize>,
    absent: bool,
}

prop_compose! {
    fn any_step()(
        key in 0usize..4, value: Option<u8>,
        expected in prop::option::of(0usize..3), absent in prop::bool::weighted(0.2),
    ) -> Step {
        Step { key, value, expected, absent }
    }
}

proptest! {
    #[test]
    fn a_write_happens_if_and_only_if_its_condition_holds(
        steps in prop::collection::vec(any_step(), 0..100),
    ) {
        let store: Box<dyn ClusterStore> = Box::new(MemoryStore::new());
        let mut model: BTreeMap<Key, Entry> = BTreeMap::new();
        let mut history: BTreeMap<Key, Vec<Revision>> = BTreeMap::new();
        let mut last = Revision::ZERO;
        for step in steps {
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
            let write = Write { key: key.clone(), expected, value: value.clone() };
            match block_on(store.write(write)) {
                Ok(revision) => {
                    prop_assert!(holds);
                    prop_assert!(revision > last, "revisions grow");
                    last = revision;
                    past.push(revision);
                    match value {
                        Some(value) => { model.insert(key.clone(), Entry { value, revision }); }
                        None => { model.remove(&key); }
                    }
                    let change = block_on(store.next_change("k/", Revision::new(revision.get() - 1)));
                    let change = change.expect("kept");
                    prop_assert_eq!((change.key, change.revision), (key.clone(), revision));
                }
                Err(StoreError::Conflict { found: told, .. }) => {
                    prop_assert!(!holds);
                    prop_assert_eq!(told, found);
                }
                Err(error) => prop_assert!(false, "{}", error),
            }
            prop_assert_eq!(block_on(store.get(&key)).expect("memory"), model.get(&key).cloned());
        }
        let (listed, revision) = block_on(store.list("k/")).expect("memory");
        prop_assert_eq!(listed, model.into_iter().collect::<Vec<_>>());
        prop_assert_eq!(revision, last);
    }
}

#[test]
fn a_watcher_sees_every_change_in_order_also_those_that_come_while_it_waits() {
    block_on(async {
        let store = Arc::new(MemoryStore::new());
        let watch = async {
            let mut seen = Vec::new();
            let mut after = Revision::ZERO;
            while seen.len() < 50 {
                let change = store.next_change("k/1", after).await.expect("kept");
                after = change.revision;
                seen.push(change.value.expect("no deletes")[0]);
            }
            seen
        };
        let write = async {
            for byte in 0..50_u8 {
                store.put(&key(2), [byte].as_slice().into()).await.expect("room");
                store.put(&key(1), [byte].as_slice().into()).await.expect("room");
                tokio::task::yield_now().await;
            }
        };
        let (seen, ()) = tokio::join!(watch, write);
        assert_eq!(seen, (0..50).collect::<Vec<_>>());
    });
}

#[test]
fn what_is_too_old_too_large_or_too_much_is_an_error_that_changed_nothing() {
    block_on(async {
        let store = MemoryStore::with_limit(MAX_VALUE_LEN + 100);
        for _ in 0..2_000 {
            store.put(&key(1), [0].as_slice().into()).await.expect("room");
        }
        let compacted = store.next_change("", Revision::ZERO).await.expect_err("too old");
        let large = vec![0; MAX_VALUE_LEN + 1];
        let large = store.put(&key(1), large.into()).await.expect_err("too large");
        store.put(&key(2), vec![0; MAX_VALUE_LEN].into()).await.expect("just fits");
        let full = store.put(&key(3), vec![0; 100].into()).await.expect_err("full");
        assert!(matches!(compacted, StoreError::Compacted { .. }), "{compacted}");
        assert!(matches!(large, StoreError::TooLarge { .. }), "{large}");
        assert!(matches!(full, StoreError::Full { .. }), "{full}");
        for error in [compacted, large, full] {
            assert_eq!(error.effect(), Effect::None);
        }
        store.delete(&key(2)).await.expect("a delete always fits");
        store.put(&key(3), vec![0; 100].into()).await.expect("room again");
        // A value of that size pushes the smaller changes out of the history, not the newest.
        let (_, now) = store.list("").await.expect("memory");
        let last = store.next_change("", Revision::new(now.get() - 1)).await.expect("kept");
        assert_eq!(last.key, key(3));
    });
}

#[test]
fn keys_are_checked() {
    for bad in ["", "a\nb", &"x".repeat(1025)] {
        let error = Key::new(bad).expect_err("not a key");
        assert!(error.text.len() <= 80);
    }
    assert_eq!("a/b c".parse::<Key>().expect("a key").to_string(), "a/b c");
}

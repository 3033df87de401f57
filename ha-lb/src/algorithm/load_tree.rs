//! A group's endpoints ordered by a cost, so that the least is found without looking at all.

use crate::resilience::atomics::{AtomicU32, Ordering};

/// Children of a node: a cache line of costs. Loom's models would not end with as many.
const ARITY: usize = if cfg!(all(test, loom)) { 2 } else { 16 };

/// Of endpoints that take no work.
const NEVER: u32 = u32::MAX;

/// A tree of minima over costs, read and written by all threads without a lock.
///
/// Leaves are the costs, as bits of non-negative `f32`, which order as the numbers do. Each node above
/// is the least of its sixteen children. Whoever changes a leaf sets the nodes above it anew, and looks
/// at the children once more after it has set a node: so the last of several writers leaves
/// the right minimum. While they are at it a reader may be led to an endpoint that is not quite the least.
#[derive(Debug)]
pub(crate) struct LoadTree {
    /// The leaves first, then each level above, up to one of at most sixteen.
    levels: Box<[Box<[AtomicU32]>]>,
}

impl LoadTree {
    /// So many endpoints, none of which takes work.
    pub(crate) fn new(len: usize) -> Self {
        let mut levels = vec![level(len)];
        let mut below = len;
        while below > ARITY {
            below = below.div_ceil(ARITY);
            levels.push(level(below));
        }
        Self { levels: levels.into() }
    }

    /// Sets the cost of an endpoint; `None` if it takes no work.
    pub(crate) fn set(&self, index: usize, cost: Option<f32>) {
        let bits = cost.map_or(NEVER, |cost| cost.max(0.0).to_bits());
        let Some(leaf) = self.levels.first().and_then(|leaves| leaves.get(index)) else {
            return;
        };
        let before = leaf.swap(bits, Ordering::SeqCst);
        in_order();
        if before == bits {
            return;
        }
        let mut at = index;
        for pair in self.levels.windows(2) {
            let [below, above] = pair else { return };
            at /= ARITY;
            let Some(node) = above.get(at) else { return };
            let mut least = minimum(below, at);
            if node.load(Ordering::SeqCst) == least {
                // Nothing changes above; whoever changes this node meanwhile looks after it.
                return;
            }
            loop {
                node.store(least, Ordering::SeqCst);
                in_order();
                let now = minimum(below, at);
                if now == least {
                    break;
                }
                least = now;
            }
        }
    }

    /// An endpoint of the least cost; those of the same cost take turns by `turn`. `None` if
    /// none takes work.
    pub(crate) fn least(&self, turn: usize) -> Option<usize> {
        let mut at = 0;
        let mut turn = turn;
        for level in self.levels.iter().rev() {
            let start = at * ARITY;
            let end = (start + ARITY).min(level.len());
            let children = level.get(start..end)?;
            let mut best = NEVER;
            let mut ties = 0;
            for child in children {
                let cost = child.load(Ordering::Relaxed);
                if cost < best {
                    (best, ties) = (cost, 0);
                }
                ties += usize::from(cost == best);
            }
            if best == NEVER {
                return None;
            }
            let mut nth = turn % ties.max(1);
            turn /= ties.max(1);
            let mut chosen = None;
            for (child, cost) in children.iter().enumerate() {
                if cost.load(Ordering::Relaxed) == best {
                    chosen = Some(child);
                    if nth == 0 {
                        break;
                    }
                    nth -= 1;
                }
            }
            // Between the two looks all may have changed: any child will do then.
            at = start + chosen.unwrap_or(0);
        }
        Some(at)
    }
}

/// Loom takes accesses that are sequentially consistent for weaker ones, but knows such fences.
#[cfg(all(test, loom))]
fn in_order() {
    crate::resilience::atomics::fence(Ordering::SeqCst);
}

#[cfg(not(all(test, loom)))]
#[inline]
const fn in_order() {}

fn level(len: usize) -> Box<[AtomicU32]> {
    (0..len).map(|_| AtomicU32::new(NEVER)).collect()
}

/// The least of a node's children.
fn minimum(below: &[AtomicU32], node: usize) -> u32 {
    let start = node * ARITY;
    let end = (start + ARITY).min(below.len());
    let costs = below.get(start..end).unwrap_or_default().iter();
    costs.map(|cost| cost.load(Ordering::SeqCst)).min().unwrap_or(NEVER)
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_least_is_found(
            len in 1_usize..700, changes: Vec<(u16, Option<u16>)>, turn: usize,
        ) {
            let tree = LoadTree::new(len);
            let mut model = vec![None; len];
            for (index, cost) in changes {
                let (index, cost) = (usize::from(index) % len, cost.map(f32::from));
                tree.set(index, cost);
                model[index] = cost;
                let least = model.iter().flatten().copied().min_by(f32::total_cmp);
                let found = tree.least(turn).map(|index| model[index]);
                prop_assert_eq!(found, least.map(Some));
            }
        }

        #[test]
        fn equals_take_turns(len in 1_usize..300) {
            let tree = LoadTree::new(len);
            (0..len).for_each(|index| tree.set(index, Some(1.0)));
            let mut counts = vec![0_usize; len];
            for turn in 0..len * 16 {
                counts[tree.least(turn).expect("all take work")] += 1;
            }
            // Nodes are not all full, so that turns are not quite equal; nobody is left out.
            prop_assert!(counts.iter().all(|count| *count > 0), "{:?}", counts);
        }
    }

    #[test]
    fn writers_at_the_same_time_leave_the_right_minimum() {
        let tree = Arc::new(LoadTree::new(500));
        std::thread::scope(|scope| {
            for thread in 0..4_usize {
                let tree = Arc::clone(&tree);
                scope.spawn(move || {
                    for step in 0..20_000_usize {
                        let index = (step * 7 + thread) % 125 * 4 + thread;
                        let cost = u16::try_from((step * 31 + thread * 17) % 1_000).expect("small");
                        tree.set(index, (step % 11 != 0).then(|| f32::from(cost)));
                    }
                });
            }
        });
        let leaves: Vec<u32> =
            tree.levels[0].iter().map(|leaf| leaf.load(Ordering::SeqCst)).collect();
        for pair in tree.levels.windows(2) {
            for (at, node) in pair[1].iter().enumerate() {
                assert_eq!(node.load(Ordering::SeqCst), minimum(&pair[0], at));
            }
        }
        let least = tree.least(3).expect("some take work");
        assert_eq!(Some(&leaves[least]), leaves.iter().min());
    }
}

#[cfg(test)]
#[cfg(loom)]
mod loom_tests {
    use loom::sync::Arc;
    use loom::thread;

    use super::*;

    /// What the nodes say is what their children are.
    fn assert_minima(tree: &LoadTree) {
        for pair in tree.levels.windows(2) {
            for (at, node) in pair[1].iter().enumerate() {
                assert_eq!(node.load(Ordering::SeqCst), minimum(&pair[0], at));
            }
        }
    }

    fn model(first: [Option<f32>; 2], second: (usize, Option<f32>)) {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(3);
        builder.check(move || {
            // Leaves 0 and 1 below one node, 2 below another one.
            let tree = Arc::new(LoadTree::new(3));
            tree.set(0, Some(5.0));
            tree.set(1, Some(7.0));
            let other = Arc::clone(&tree);
            let thread = thread::spawn(move || other.set(second.0, second.1));
            for cost in first {
                tree.set(0, cost);
            }
            thread.join().unwrap();
            assert_minima(&tree);
        });
    }

    #[test]
    fn loom_writers_of_one_node_leave_the_right_minimum() {
        model([Some(3.0), Some(9.0)], (1, Some(4.0)));
    }

    #[test]
    fn loom_one_that_goes_leaves_the_other_as_the_least() {
        model([None, Some(8.0)], (1, Some(6.0)));
    }

    #[test]
    fn loom_writers_of_one_leaf_leave_what_the_last_one_said() {
        model([Some(1.0), None], (0, Some(2.0)));
    }

    #[test]
    fn loom_a_reader_meanwhile_is_led_to_a_leaf_that_is_there() {
        loom::model(|| {
            let tree = Arc::new(LoadTree::new(3));
            tree.set(0, Some(5.0));
            let other = Arc::clone(&tree);
            let thread = thread::spawn(move || other.set(2, Some(1.0)));
            assert!(tree.least(0).is_some_and(|leaf| leaf < 3));
            thread.join().unwrap();
            assert_eq!(tree.least(0), Some(2));
        });
    }
}

//! Positions of nodes, resources and actions in a decision, and sets of nodes.

/// Defines a position in an arena.
macro_rules! position {
    ($(#[$meta:meta])* $name:ident) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub(crate) struct $name(u32);

        impl $name {
            pub(crate) fn new(index: usize) -> Self {
                Self(u32::try_from(index).unwrap_or(u32::MAX))
            }

            pub(crate) const fn index(self) -> usize {
                self.0 as usize
            }
        }
    };
}

position! {
    /// A node.
    NodeId
}
position! {
    /// A resource: a primitive, an instance of one, or a collective.
    RscId
}
position! {
    /// An action.
    ActId
}

/// A set of nodes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct NodeSet(Vec<u64>);

impl NodeSet {
    pub(crate) fn insert(&mut self, node: NodeId) {
        let (word, bit) = (node.index() / 64, node.index() % 64);
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        self.0[word] |= 1 << bit;
    }

    pub(crate) fn contains(&self, node: NodeId) -> bool {
        self.0.get(node.index() / 64).is_some_and(|word| word >> (node.index() % 64) & 1 == 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_knows_what_was_put_in() {
        let mut set = NodeSet::default();
        for index in [0, 63, 64, 200] {
            assert!(!set.contains(NodeId::new(index)));
            set.insert(NodeId::new(index));
            assert!(set.contains(NodeId::new(index)));
        }
        assert!(!set.contains(NodeId::new(1)) && !set.contains(NodeId::new(5000)));
    }
}

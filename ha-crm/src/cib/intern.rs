//! Equal strings are kept once.

#[expect(clippy::disallowed_types, reason = "nothing iterates over it")]
use std::collections::HashSet;
use std::sync::Arc;

/// Gives out shared strings.
#[derive(Debug, Default)]
pub(super) struct Interner {
    #[expect(clippy::disallowed_types, reason = "nothing iterates over it")]
    seen: HashSet<Arc<str>>,
}

impl Interner {
    pub(super) fn get(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.seen.get(text) {
            return Arc::clone(known);
        }
        let new: Arc<str> = text.into();
        self.seen.insert(Arc::clone(&new));
        new
    }
}

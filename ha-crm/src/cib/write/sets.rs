//! Sets of name and value, and what has only those: nodes.

use std::sync::Arc;

use super::{Out, Seen, Tag};
use crate::cib::attributes::AttributeSet;
use crate::cib::form::sets::pair_id;
use crate::cib::node::ConfiguredNode;

impl<'c> Out<'c> {
    pub(super) fn sets(&mut self, element: &'static str, sets: &'c [Arc<AttributeSet>], of: &str) {
        for set in sets {
            self.set(element, set, &format!("{of}-{element}"));
        }
    }

    /// A set; `base` is its id if it has none.
    pub(super) fn set(&mut self, element: &'static str, set: &'c AttributeSet, base: &str) {
        if self.is_known(element, set.id.as_ref(), Seen::Set(set)) {
            return self.empty(Tag::new(element).text("id-ref", set.id.as_deref()));
        }
        let id = self.id(set.id.as_ref(), base);
        let tag = Tag::new(element).text("id", Some(&id)).value("score", set.score.as_ref());
        if set.rules.is_empty() && set.pairs.is_empty() {
            return self.empty(tag);
        }
        self.open(tag);
        for rule in &set.rules {
            self.rule(rule, &id);
        }
        for pair in &set.pairs {
            let known = pair.id.as_deref().filter(|_| self.refers);
            let known = known.and_then(|id| self.seen.get(&("nvpair", id))).copied();
            if let (Some(Seen::Pair(first)), Some(own)) = (known, &pair.id)
                && first.value == pair.value
            {
                let name = (first.name != pair.name).then_some(&*pair.name);
                self.empty(Tag::new("nvpair").text("id-ref", Some(own)).text("name", name));
                continue;
            }
            self.is_known("nvpair", pair.id.as_ref(), Seen::Pair(pair));
            let own = self.id(pair.id.as_ref(), &pair_id(&id, &pair.name));
            let tag = Tag::new("nvpair")
                .text("id", Some(&own))
                .text("name", Some(&pair.name))
                .text("value", pair.value.as_deref());
            self.empty(tag);
        }
        self.close(element);
    }

    pub(super) fn node(&mut self, node: &'c ConfiguredNode) {
        let tag = Tag::new("node")
            .text("id", Some(&node.id))
            .text("uname", node.uname.as_deref())
            .value("type", node.kind.as_ref())
            .value("score", node.score.as_ref());
        if node.attributes.is_empty() && node.utilization.is_empty() {
            return self.empty(tag);
        }
        self.open(tag);
        let of = format!("nodes-{}", node.id);
        self.sets("instance_attributes", &node.attributes, &of);
        self.sets("utilization", &node.utilization, &of);
        self.close("node");
    }
}

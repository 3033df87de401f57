//! The description, so that names can be looked up.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::finding::list;
use super::known::{self, CLUSTER_OPTIONS};
use crate::cib::{
    AttributeSet, Cib, CibResource, CibValue, Cloned, Place, Primitive, RuleElement, option_name,
};
use crate::model::Score;

/// How many members of tags, sets and templates are looked at in all: a small text may refer to a
/// large part of itself many times.
const MAX_LOOKUPS: usize = 10_000_000;

/// What an item is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ItemKind {
    Bundle,
    Clone,
    Group,
    Primitive,
}

/// A resource of any level.
#[derive(Debug)]
pub(super) struct Item<'a> {
    pub(super) id: &'a str,
    pub(super) kind: ItemKind,
    pub(super) parent: Option<usize>,
    pub(super) children: Vec<usize>,
    /// Whether copies of it have roles.
    pub(super) is_promotable: bool,
    pub(super) primitive: Option<&'a Primitive>,
    pub(super) place: &'a Place,
    meta: BTreeMap<&'a str, &'a str>,
}

/// The description, so that names can be looked up.
#[derive(Debug)]
pub(super) struct Scene<'a> {
    pub(super) cib: &'a Cib,
    pub(super) items: Vec<Item<'a>>,
    by_id: BTreeMap<&'a str, usize>,
    pub(super) templates: BTreeMap<&'a str, &'a Primitive>,
    users: BTreeMap<&'a str, Vec<usize>>,
    tags: BTreeMap<&'a str, &'a [Arc<str>]>,
    options: BTreeMap<&'a str, &'a str>,
    defaults: BTreeMap<&'a str, &'a str>,
    /// All nodes on which resources may run: members, remote and guest nodes.
    pub(super) nodes: BTreeSet<&'a str>,
    /// Names that stand for nodes of other kinds: of bundles, and ids.
    other_nodes: BTreeSet<&'a str>,
    lower_nodes: BTreeSet<String>,
    template_meta: BTreeMap<&'a str, BTreeMap<&'a str, &'a str>>,
    /// Names of some nodes, for messages.
    pub(super) shown_nodes: String,
    lookups: Cell<usize>,
}

/// The values of pairs that hold always: the first of each name.
fn values<'a>(sets: &'a [Arc<AttributeSet>], cache: &mut Cache<'a>) -> BTreeMap<&'a str, &'a str> {
    let mut found = BTreeMap::new();
    for set in sets.iter().filter(|set| set.rules.is_empty()) {
        let pairs = cache.entry(Arc::as_ptr(set).addr()).or_insert_with(|| {
            let known = |name: &str| known::find(known::RESOURCE_META, name).is_some();
            let mut pairs = BTreeMap::new();
            for pair in set.pairs.iter().filter(|pair| known(&pair.name)) {
                let Some(value) = pair.value.as_deref() else { continue };
                pairs.entry(&*pair.name).or_insert(value);
            }
            pairs
        });
        for (name, value) in pairs.iter() {
            found.entry(*name).or_insert(*value);
        }
    }
    found
}

/// What shared sets say, by their address.
type Cache<'a> = BTreeMap<usize, BTreeMap<&'a str, &'a str>>;

impl<'a> Item<'a> {
    /// What the resource itself says.
    pub(super) fn own_meta(&self, name: &str) -> Option<&'a str> {
        self.meta.get(name).copied()
    }
}

impl<'a> Scene<'a> {
    pub(super) fn new(cib: &'a Cib) -> Self {
        let mut scene = Self {
            cib,
            items: Vec::new(),
            by_id: BTreeMap::new(),
            templates: cib.templates.iter().map(|one| (&*one.id, one)).collect(),
            users: BTreeMap::new(),
            tags: cib.tags.iter().map(|tag| (&*tag.id, &*tag.references)).collect(),
            options: BTreeMap::new(),
            defaults: BTreeMap::new(),
            nodes: BTreeSet::new(),
            other_nodes: BTreeSet::new(),
            lower_nodes: BTreeSet::new(),
            template_meta: BTreeMap::new(),
            shown_nodes: String::new(),
            lookups: Cell::new(0),
        };
        let mut cache = Cache::new();
        scene.defaults = values(&cib.resource_defaults, &mut cache);
        scene.read_options();
        let templates = cib.templates.iter();
        scene.template_meta =
            templates.map(|one| (&*one.id, values(&one.meta, &mut cache))).collect();
        for resource in &cib.resources {
            scene.add(resource, &mut cache);
        }
        scene.read_nodes();
        scene
    }

    fn read_options(&mut self) {
        // The set that tools write to counts before the others.
        let first = |set: &Arc<AttributeSet>| set.id.as_deref() != Some("cib-bootstrap-options");
        let mut sets: Vec<&'a Arc<AttributeSet>> = self.cib.options.iter().collect();
        sets.sort_by_key(|set| (first(set), std::cmp::Reverse(set.score.map_or(0, Score::get))));
        for pair in sets.iter().filter(|set| set.rules.is_empty()).flat_map(|set| &set.pairs) {
            if let Some(value) = pair.value.as_deref() {
                self.options.entry(option_name(&pair.name)).or_insert(value);
            }
        }
    }

    fn add(&mut self, resource: &'a CibResource, cache: &mut Cache<'a>) {
        match resource {
            CibResource::Primitive(primitive) => {
                self.add_primitive(primitive, None, cache);
            }
            CibResource::Group(group) => {
                let meta = values(&group.meta, cache);
                let index = self.add_item(&group.id, ItemKind::Group, None, &group.place, meta);
                for primitive in &group.primitives {
                    self.add_primitive(primitive, Some(index), cache);
                }
            }
            CibResource::Bundle(bundle) => {
                let meta = values(&bundle.meta, cache);
                let index = self.add_item(&bundle.id, ItemKind::Bundle, None, &bundle.place, meta);
                let promoted = bundle.container.as_ref().and_then(|c| c.promoted_max).unwrap_or(0);
                let said = self.items.get(index).and_then(|item| item.meta.get("promotable"));
                let said = said.copied().and_then(bool::read) == Some(true);
                self.set_promotable(index, promoted > 0 || said);
                if let Some(primitive) = &bundle.primitive {
                    self.add_primitive(primitive, Some(index), cache);
                }
            }
            CibResource::Clone(set) => {
                let meta = values(&set.meta, cache);
                let said = meta.get("promotable").copied();
                let index = self.add_item(&set.id, ItemKind::Clone, None, &set.place, meta);
                let said = said.or_else(|| self.defaults.get("promotable").copied());
                self.set_promotable(
                    index,
                    set.is_master || said.and_then(bool::read) == Some(true),
                );
                match &set.inner {
                    Some(Cloned::Primitive(primitive)) => {
                        self.add_primitive(primitive, Some(index), cache);
                    }
                    Some(Cloned::Group(group)) => {
                        let meta = values(&group.meta, cache);
                        let inner = self.add_item(
                            &group.id,
                            ItemKind::Group,
                            Some(index),
                            &group.place,
                            meta,
                        );
                        for primitive in &group.primitives {
                            self.add_primitive(primitive, Some(inner), cache);
                        }
                    }
                    None => {}
                }
            }
        }
    }

    fn add_primitive(
        &mut self,
        primitive: &'a Primitive,
        parent: Option<usize>,
        cache: &mut Cache<'a>,
    ) {
        let mut meta = values(&primitive.meta, cache);
        if let Some(name) = &primitive.template {
            for (name, value) in self.template_meta.get(&**name).into_iter().flatten() {
                meta.entry(name).or_insert(value);
            }
        }
        let kind = ItemKind::Primitive;
        let index = self.add_item(&primitive.id, kind, parent, &primitive.place, meta);
        if let Some(item) = self.items.get_mut(index) {
            item.primitive = Some(primitive);
        }
        if let Some(name) = &primitive.template {
            self.users.entry(name).or_default().push(index);
        }
    }

    fn add_item(
        &mut self,
        id: &'a str,
        kind: ItemKind,
        parent: Option<usize>,
        place: &'a Place,
        meta: BTreeMap<&'a str, &'a str>,
    ) -> usize {
        let index = self.items.len();
        let outer = parent.and_then(|parent| self.items.get_mut(parent));
        let is_promotable = outer.is_some_and(|outer| {
            outer.children.push(index);
            outer.is_promotable
        });
        let children = Vec::new();
        let primitive = None;
        self.items.push(Item { id, kind, parent, children, is_promotable, primitive, place, meta });
        self.by_id.entry(id).or_insert(index);
        index
    }

    fn set_promotable(&mut self, index: usize, promotable: bool) {
        if let Some(item) = self.items.get_mut(index) {
            item.is_promotable = promotable;
        }
    }

    fn read_nodes(&mut self) {
        for node in &self.cib.nodes {
            let name = node.uname.as_deref().unwrap_or(&node.id);
            if node.kind != Some(crate::cib::NodeKind::Ping) {
                self.nodes.insert(name);
            }
            self.other_nodes.extend([name, &*node.id]);
        }
        for state in &self.cib.node_states {
            let name = state.uname.as_deref().or(state.id.as_deref());
            if self.cib.nodes.is_empty() {
                self.nodes.extend(name);
            }
            self.other_nodes.extend(name);
        }
        for item in &self.items {
            self.nodes.extend(item.meta.get("remote-node").copied());
            let is_remote = self.agent(item).is_some_and(|agent| agent == ("ocf", "remote"));
            if is_remote {
                self.nodes.insert(item.id);
            }
        }
        self.shown_nodes = list(self.nodes.iter().copied());
        self.lower_nodes = self.nodes.iter().map(|node| node.to_ascii_lowercase()).collect();
    }

    /// The standard and the agent of a primitive; its template's if it says none itself.
    pub(super) fn agent(&self, item: &Item<'a>) -> Option<(&'a str, &'a str)> {
        let primitive = item.primitive?;
        let template = primitive.template.as_deref().and_then(|name| self.templates.get(name));
        let class = primitive.class.as_deref().or_else(|| template?.class.as_deref())?;
        let kind = primitive.kind.as_deref().or_else(|| template?.kind.as_deref())?;
        Some((class, kind))
    }

    /// Whether it is a fence device.
    pub(super) fn is_fence_device(&self, item: &Item<'a>) -> bool {
        self.agent(item).is_some_and(|(class, _)| class == "stonith")
    }

    /// A resource's template.
    pub(super) fn template(&self, primitive: &Primitive) -> Option<&'a Primitive> {
        self.templates.get(primitive.template.as_deref()?).copied()
    }

    pub(super) fn item(&self, index: usize) -> Option<&Item<'a>> {
        self.items.get(index)
    }

    /// The resource of this id; the instance's number may follow it.
    pub(super) fn find(&self, name: &str) -> Option<usize> {
        if let Some(index) = self.by_id.get(name) {
            return Some(*index);
        }
        let (base, number) = name.rsplit_once(':')?;
        number.parse::<u32>().ok()?;
        self.by_id.get(base).copied()
    }

    /// Whether a constraint may name it: a resource, a template, a tag, or a part of a bundle.
    pub(super) fn is_resource(&self, name: &str) -> bool {
        let is_part = || {
            let ends = name.match_indices('-').take(64);
            let mut ends = ends.filter_map(|(at, _)| name.get(..at));
            ends.any(|base| {
                let item = self.by_id.get(base).and_then(|index| self.items.get(*index));
                item.is_some_and(|item| item.kind == ItemKind::Bundle)
            })
        };
        self.find(name).is_some()
            || self.templates.contains_key(name)
            || self.tags.contains_key(name)
            || is_part()
    }

    pub(super) fn is_node(&self, name: &str) -> bool {
        // Names of nodes are the same in upper and lower case.
        self.nodes.contains(name)
            || self.other_nodes.contains(name)
            || self.lower_nodes.contains(&name.to_ascii_lowercase())
            || self.is_resource(name)
    }

    /// Ids that a constraint may name.
    pub(super) fn resource_names(&self) -> impl Iterator<Item = &'a str> {
        let ids = self.by_id.keys().chain(self.templates.keys()).chain(self.tags.keys());
        ids.copied()
    }

    /// The resources that a name in a constraint stands for.
    pub(super) fn resolve(&self, name: &str) -> Vec<usize> {
        if let Some(index) = self.find(name) {
            return vec![index];
        }
        if let Some(users) = self.users.get(name) {
            return if self.spend(users.len()) { users.clone() } else { Vec::new() };
        }
        let Some(references) = self.tags.get(name) else { return Vec::new() };
        let mut found = Vec::new();
        for reference in *references {
            let users = self.users.get(&**reference).map_or(&[] as &[usize], Vec::as_slice);
            if !self.spend(users.len() + 1) {
                return Vec::new();
            }
            found.extend(self.find(reference).into_iter().chain(users.iter().copied()));
        }
        found
    }

    /// Counts work that a small text could make large; `false` when there was too much.
    pub(super) fn spend(&self, work: usize) -> bool {
        let spent = self.lookups.get().saturating_add(work);
        self.lookups.set(spent);
        spent <= MAX_LOOKUPS
    }

    /// Whether a rule is small enough to be looked at with all it refers to.
    pub(super) fn can_read(&self, rule: &RuleElement) -> bool {
        let mut open = vec![rule];
        while let Some(element) = open.pop() {
            if !self.spend(1 + element.children.len()) {
                return false;
            }
            open.extend(element.children.iter().map(|child| &**child));
        }
        true
    }

    /// A cluster option; its default if it is not given.
    pub(super) fn option(&self, name: &str) -> Option<&'a str> {
        let default = || known::find(CLUSTER_OPTIONS, name)?.default;
        self.options.get(name).copied().or_else(default)
    }

    /// A cluster option that is a boolean; one that cannot be read counts as not given.
    pub(super) fn flag(&self, name: &str) -> bool {
        let given = self.option(name).and_then(bool::read);
        let default = || known::find(CLUSTER_OPTIONS, name)?.default.and_then(bool::read);
        given.or_else(default).unwrap_or(false)
    }

    /// Whether failed nodes are fenced.
    pub(super) fn has_fencing(&self) -> bool {
        self.flag("fencing-enabled")
    }

    /// A meta-attribute of a resource, of what it is in, or of the defaults.
    pub(super) fn meta(&self, item: &Item<'a>, name: &str) -> Option<&'a str> {
        let mut here = item;
        loop {
            if let Some(value) = here.meta.get(name) {
                return Some(value);
            }
            match here.parent.and_then(|parent| self.items.get(parent)) {
                Some(parent) => here = parent,
                None => return self.defaults.get(name).copied(),
            }
        }
    }
}

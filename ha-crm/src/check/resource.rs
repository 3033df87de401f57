//! Resources and nodes: numbers, roles and capacities that do not fit.

use std::collections::BTreeMap;
use std::sync::Arc;

use ha_core::role::Role;

use super::finding::{FindingKind, Findings, quote};
use super::scene::{Item, ItemKind, Scene};
use crate::cib::{AttributeSet, CibValue, NodeKind, Place};

pub(super) fn check(scene: &Scene<'_>, findings: &mut Findings) {
    for item in &scene.items {
        match item.kind {
            ItemKind::Clone => clone(item, findings),
            ItemKind::Group if item.children.len() == 1 => {
                let what = format!("the group {} has one member", quote(item.id));
                let remedy = "add members, or use the member alone".to_owned();
                findings.hint(FindingKind::GroupOfOne, item.place.clone(), what, remedy);
            }
            ItemKind::Bundle | ItemKind::Group | ItemKind::Primitive => {}
        }
        target_role(item, findings);
    }
    nodes(scene, findings);
    utilization(scene, findings);
}

fn meta_place(item: &Item<'_>, name: &str) -> Place {
    let mut place = item.place.clone();
    place.path = format!("{}/meta_attributes/nvpair[@name='{name}']", place.path).into();
    place
}

fn number(item: &Item<'_>, names: &[&str]) -> Option<u64> {
    names.iter().find_map(|name| item.own_meta(name)).and_then(u64::read)
}

fn clone(item: &Item<'_>, findings: &mut Findings) {
    let max = number(item, &["clone-max"]);
    let id = quote(item.id);
    let mut tell = |name: &str, what: String, remedy: &str| {
        findings.warn(FindingKind::CloneLimit, meta_place(item, name), what, remedy.to_owned());
    };
    if max == Some(0) {
        let what = format!("clone-max of {id} is 0, so there are no copies of it");
        tell("clone-max", what, "give the number of copies, or say target-role=Stopped");
    }
    if number(item, &["clone-node-max"]) == Some(0) {
        let what = format!("clone-node-max of {id} is 0, so no node may have a copy of it");
        tell("clone-node-max", what, "give 1 or more");
    }
    let min = number(item, &["clone-min"]);
    if let (Some(min), Some(max)) = (min, max)
        && min > max
        && max > 0
    {
        let what = format!(
            "clone-min of {id} is {min}, more than clone-max ({max}), so what comes \
             after it never starts"
        );
        tell("clone-min", what, "lower clone-min");
    }
    if !item.is_promotable {
        return;
    }
    let promoted = number(item, &["promoted-max", "master-max"]);
    if promoted == Some(0) {
        let what = format!("promoted-max of {id} is 0, so no copy is ever promoted");
        findings.hint(
            FindingKind::CloneLimit,
            meta_place(item, "promoted-max"),
            what,
            "leave it if it is promoted by hand later".to_owned(),
        );
    }
}

fn target_role(item: &Item<'_>, findings: &mut Findings) {
    let own = item.own_meta("target-role");
    let role = own.and_then(Role::read);
    if matches!(role, Some(Role::Promoted | Role::Unpromoted)) && !item.is_promotable {
        let what = format!(
            "target-role of {} is {}, but it is not promotable",
            quote(item.id),
            quote(own.unwrap_or_default())
        );
        let remedy = "say Started, or make it a clone with promotable=true".to_owned();
        findings.warn(FindingKind::Role, meta_place(item, "target-role"), what, remedy);
    }
    let is_managed = item.own_meta("is-managed").and_then(bool::read);
    if role == Some(Role::Stopped) && is_managed == Some(false) {
        let what = format!(
            "target-role of {} is Stopped, but is-managed is false, so it is not \
             stopped",
            quote(item.id)
        );
        let remedy = "take one of them out".to_owned();
        let place = meta_place(item, "is-managed");
        findings.hint(FindingKind::SettingsContradict, place, what, remedy);
    }
}

fn nodes(scene: &Scene<'_>, findings: &mut Findings) {
    let mut seen: BTreeMap<&str, &Place> = BTreeMap::new();
    for node in &scene.cib.nodes {
        let name = node.uname.as_deref().unwrap_or(&node.id);
        if let Some(first) = seen.get(name) {
            let what = format!("there is a node {} already ({})", quote(name), first.spot);
            let remedy = "take one of them out".to_owned();
            findings.error(FindingKind::NodeTwice, node.place.clone(), what, remedy);
        }
        seen.insert(name, &node.place);
        let item = scene.find(name).and_then(|index| scene.item(index));
        let is_remote = item
            .is_some_and(|item| item.id == name && scene.agent(item) == Some(("ocf", "remote")));
        let is_member = matches!(node.kind, None | Some(NodeKind::Member));
        if is_remote && is_member {
            let what =
                format!("{} is a node of the cluster and a remote node at once", quote(name));
            let remedy = "say type=\"remote\" here, or give the remote resource another id";
            findings.warn(FindingKind::NodeTwice, node.place.clone(), what, remedy.to_owned());
        }
    }
}

/// The greatest of each capacity.
fn capacities<'a>(scene: &Scene<'a>) -> BTreeMap<&'a str, i64> {
    let mut most: BTreeMap<&str, i64> = BTreeMap::new();
    let lasting = scene.cib.nodes.iter().flat_map(|node| &node.utilization);
    let passing = scene.cib.node_states.iter().flat_map(|state| &state.utilization);
    for set in lasting.chain(passing).filter(|set| scene.spend(set.pairs.len())) {
        for pair in &set.pairs {
            let value = pair.value.as_deref().and_then(|text| text.trim().parse().ok());
            let known = most.entry(&pair.name).or_insert(i64::MIN);
            *known = (*known).max(value.unwrap_or(i64::MAX));
        }
    }
    most
}

fn utilization(scene: &Scene<'_>, findings: &mut Findings) {
    let strategy = scene.option("placement-strategy").unwrap_or("default");
    if strategy.trim().eq_ignore_ascii_case("default") {
        return;
    }
    let most = capacities(scene);
    let tell = |set: &Arc<AttributeSet>, item: &Item<'_>, findings: &mut Findings| {
        for pair in &set.pairs {
            let needed = pair.value.as_deref().and_then(|text| text.trim().parse::<i64>().ok());
            let Some(needed) = needed.filter(|needed| *needed > 0) else { continue };
            let (id, name) = (quote(item.id), quote(&pair.name));
            let what = match most.get(&*pair.name) {
                None => format!("{id} needs {needed} of {name}, which no node has"),
                Some(most) if *most < needed => {
                    format!("{id} needs {needed} of {name}, but no node has more than {most}")
                }
                Some(_) => continue,
            };
            let remedy = "give it to the nodes, or lower what is needed".to_owned();
            findings.warn(FindingKind::Utilization, set.place_of(pair), what, remedy);
        }
    };
    for item in &scene.items {
        for set in item.primitive.into_iter().flat_map(|primitive| &primitive.utilization) {
            if set.rules.is_empty() && scene.spend(set.pairs.len()) {
                tell(set, item, findings);
            }
        }
    }
}

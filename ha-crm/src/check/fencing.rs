//! Fencing: whether there is any, and whether its levels can do their work.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::finding::{FindingKind, Findings, list, quote, top};
use super::nearest::nearest;
use super::scene::{Item, Scene};
use crate::cib::{FencingLevel, FencingTarget, Place};

/// Levels that are tried; others are not.
const LEVELS: std::ops::RangeInclusive<u32> = 1..=9;

pub(super) fn check(scene: &Scene<'_>, findings: &mut Findings) {
    let devices: BTreeMap<&str, &Item<'_>> = scene
        .items
        .iter()
        .filter(|item| scene.is_fence_device(item))
        .map(|item| (item.id, item))
        .collect();
    switch(scene, devices.is_empty(), findings);
    let mut seen: BTreeMap<(String, u32), Place> = BTreeMap::new();
    for level in &scene.cib.fencing_levels {
        index(level, &mut seen, findings);
        self::devices(scene, level, &devices, findings);
        target(scene, level, &devices, findings);
    }
}

/// The place of an option's value, or of the options.
fn option_place(scene: &Scene<'_>, names: &[&str]) -> Place {
    for set in &scene.cib.options {
        if let Some(pair) = set.pairs.iter().find(|pair| names.contains(&&*pair.name)) {
            return set.place_of(pair);
        }
    }
    let first = scene.cib.options.first().map(|set| set.place.clone());
    first.unwrap_or_else(|| top("crm_config"))
}

fn switch(scene: &Scene<'_>, is_bare: bool, findings: &mut Findings) {
    let resources = || scene.items.iter().filter(|item| item.primitive.is_some());
    if !resources().any(|item| !scene.is_fence_device(item)) {
        return;
    }
    let place = || option_place(scene, &["fencing-enabled", "stonith-enabled"]);
    if scene.has_fencing() {
        let watchdog = scene.option("fencing-watchdog-timeout").map(str::trim);
        let has_watchdog = scene.flag("have-watchdog") || watchdog.is_some_and(|text| text != "0");
        if is_bare && !has_watchdog {
            let what = "fencing-enabled is true, but there is no fence device, so no resource is \
                 started"
                .to_owned();
            let remedy = "add a primitive of the class stonith, or set up a watchdog".to_owned();
            findings.warn(FindingKind::NoFenceDevice, place(), what, remedy);
        }
        return;
    }
    // Of a primitive that has no copies the cluster promises that it runs once at most.
    let plain = resources().filter(|item| {
        let outer = item.parent.and_then(|parent| scene.item(parent));
        let is_plain = |item: &Item<'_>| {
            item.parent.is_none()
                && matches!(
                    item.kind,
                    super::scene::ItemKind::Group | super::scene::ItemKind::Primitive
                )
        };
        is_plain(outer.unwrap_or(item)) && !scene.is_fence_device(item)
    });
    let mut plain = plain.peekable();
    if plain.peek().is_some() && scene.nodes.len() > 1 {
        let names = list(plain.map(|item| item.id));
        let what = format!(
            "fencing-enabled is false, so nothing but luck keeps these from running \
             twice when a node is lost: {names}"
        );
        let remedy = "switch it on where running twice does harm".to_owned();
        findings.hint(FindingKind::FencingDisabled, place(), what, remedy);
    }
    let policy = scene.option("no-quorum-policy").unwrap_or_default();
    if policy.trim().eq_ignore_ascii_case("ignore") && scene.nodes.len() > 1 {
        let what = "no-quorum-policy is \"ignore\" and fencing is off, so each part of a cluster \
             that falls apart runs all"
            .to_owned();
        let remedy = "use stop, or switch fencing on".to_owned();
        findings.hint(
            FindingKind::NoQuorum,
            option_place(scene, &["no-quorum-policy"]),
            what,
            remedy,
        );
    }
}

fn index(level: &FencingLevel, seen: &mut BTreeMap<(String, u32), Place>, findings: &mut Findings) {
    // One that cannot be read is told of already.
    let Some(index) = level.index else { return };
    let place = level.place.attribute("index");
    if !LEVELS.contains(&index) {
        let what = format!("there is no level {index}, so it is never tried");
        let remedy = "give an index from 1 to 9".to_owned();
        findings.error(FindingKind::FencingLevel, place, what, remedy);
        return;
    }
    let target = match &level.target {
        FencingTarget::Attribute { name, value } => format!("a {name}\u{0}{value}"),
        FencingTarget::Node(name) => format!("n {name}"),
        FencingTarget::Pattern(pattern) => format!("p {pattern}"),
    };
    if let Some(first) = seen.get(&(target.clone(), index)) {
        let what = format!("there is a level {index} for the same nodes already ({})", first.spot);
        let remedy = "put the devices into one level, or give it another index".to_owned();
        findings.warn(FindingKind::FencingLevel, place, what, remedy);
    } else {
        seen.insert((target, index), level.place.clone());
    }
}

fn devices(
    scene: &Scene<'_>,
    level: &FencingLevel,
    devices: &BTreeMap<&str, &Item<'_>>,
    findings: &mut Findings,
) {
    let place = || level.place.attribute("devices");
    if level.devices.is_empty() {
        let what = "the level has no devices".to_owned();
        findings.error(FindingKind::FencingLevel, place(), what, "name the devices".to_owned());
    }
    for name in level.devices.iter().filter(|name| !devices.contains_key(&***name)) {
        // The watchdog is a device that the cluster has by itself.
        if &**name == "watchdog" {
            continue;
        }
        let is_other = scene.find(name).is_some();
        let near = || {
            let known = scene.spend(devices.len()).then(|| devices.keys().copied());
            known.and_then(|known| nearest(name, known))
        };
        let (what, remedy) = if is_other {
            (format!("{} is no fence device", quote(name)), "name one of class stonith".to_owned())
        } else {
            let what =
                format!("there is no fence device {}, so the level always fails", quote(name));
            let can = scene.spend(devices.len());
            let known = || list(devices.keys().copied().filter(|_| can));
            let known = || format!("devices are {}", known());
            let near = near().map(|near| format!("did you mean {near}?"));
            (what, near.unwrap_or_else(known))
        };
        findings.error(FindingKind::FencingLevel, place(), what, remedy);
    }
}

fn target(
    scene: &Scene<'_>,
    level: &FencingLevel,
    devices: &BTreeMap<&str, &Item<'_>>,
    findings: &mut Findings,
) {
    let FencingTarget::Node(name) = &level.target else { return };
    if !scene.is_node(name) {
        let can = scene.spend(scene.nodes.len());
        let near = can.then(|| nearest(name, scene.nodes.iter().copied())).flatten();
        let near = near.map(|near| format!("did you mean {near}? ")).unwrap_or_default();
        let what = format!("no node is called {}, so the level is never used", quote(name));
        let remedy = format!("{near}nodes are {}", scene.shown_nodes);
        let place = level.place.attribute("target");
        findings.warn(FindingKind::FencingLevel, place, what, remedy);
        return;
    }
    for device in &level.devices {
        let Some(hosts) = devices.get(&**device).and_then(|item| hosts(scene, item)) else {
            continue;
        };
        if !hosts.iter().any(|host| host.eq_ignore_ascii_case(name)) {
            let what = format!(
                "the device {} is for {} alone, not for {}",
                quote(device),
                list(hosts.iter().copied()),
                quote(name)
            );
            let remedy = "add the node to pcmk_host_list or pcmk_host_map of the device".to_owned();
            let place = level.place.attribute("devices");
            findings.warn(FindingKind::FencingLevel, place, what, remedy);
        }
    }
}

/// The nodes that a device says it can fence; `None` if it says nothing certain.
fn hosts<'a>(scene: &Scene<'a>, item: &Item<'a>) -> Option<BTreeSet<&'a str>> {
    let primitive = item.primitive?;
    let template = scene.template(primitive);
    let count = template.map_or(0, |one| one.instance.len()) + primitive.instance.len();
    scene.spend(count).then_some(())?;
    let sets: Vec<&'a Arc<_>> =
        primitive.instance.iter().chain(template.into_iter().flat_map(|t| &t.instance)).collect();
    if sets.iter().any(|set| !set.rules.is_empty() || !scene.spend(set.pairs.len())) {
        return None;
    }
    let get = |name: &str| sets.iter().find_map(|set| set.get(name));
    let check = get("pcmk_host_check").map_or("", str::trim);
    if !check.is_empty() && !check.eq_ignore_ascii_case("static-list") {
        return None;
    }
    let lists = [get("pcmk_host_list"), get("pcmk_host_map")].into_iter().flatten();
    scene.spend(lists.map(str::len).sum()).then_some(())?;
    let split = |c: char| matches!(c, ' ' | ',' | ';' | '\t' | '\n');
    let names = get("pcmk_host_list").unwrap_or_default().split(split);
    let map = get("pcmk_host_map").unwrap_or_default().split(split);
    let map = map.filter_map(|pair| pair.split_once([':', '=']).map(|(name, _)| name));
    let hosts: BTreeSet<&str> = names.chain(map).filter(|name| !name.is_empty()).collect();
    (!hosts.is_empty()).then_some(hosts)
}

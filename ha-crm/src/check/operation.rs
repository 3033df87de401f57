//! Operations: what is done twice, never, or too quickly.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use ha_core::role::Role;

use super::finding::{FindingKind, Findings, list, quote};
use super::known::OPERATIONS;
use super::nearest::nearest;
use super::scene::{Item, Scene};
use crate::cib::{CibValue, OnFail, Operation, Operations, Primitive};

pub(super) fn check(scene: &Scene<'_>, findings: &mut Findings) {
    let mut seen = BTreeSet::new();
    let templates = scene.cib.templates.iter().map(|one| (one, None));
    let items = scene.items.iter().filter_map(|item| Some((item.primitive?, Some(item))));
    for (primitive, item) in templates.chain(items) {
        for operations in &primitive.operations {
            if seen.insert(Arc::as_ptr(operations).addr()) {
                for operation in &operations.operations {
                    one(scene, item, operation, findings);
                }
                twice(operations, findings);
            }
        }
    }
    monitors(scene, findings);
    slow(scene, findings);
    promoted(scene, findings);
}

/// An attribute of an operation that may also be one of its meta-attributes.
fn meta<T: CibValue>(operation: &Operation, given: Option<T>, name: &str) -> Option<T> {
    given.or_else(|| {
        let mut sets = operation.meta.iter().filter(|set| set.rules.is_empty());
        sets.find_map(|set| set.get(name)).and_then(T::read)
    })
}

fn is_off(operation: &Operation) -> bool {
    meta(operation, operation.enabled, "enabled") == Some(false)
}

fn interval(operation: &Operation) -> Duration {
    meta(operation, operation.interval, "interval").unwrap_or_default()
}

fn one(scene: &Scene<'_>, item: Option<&Item<'_>>, operation: &Operation, into: &mut Findings) {
    let name = &*operation.name;
    let is_device = item.is_some_and(|item| scene.is_fence_device(item));
    if !OPERATIONS.contains(&name) && !is_device {
        let what = format!("no operation {} is known", quote(name));
        let place = operation.place.attribute("name");
        if let Some(near) = nearest(name, OPERATIONS.iter().copied()) {
            into.warn(FindingKind::UnknownName, place, what, format!("did you mean {near}?"));
        } else {
            let remedy = "leave it if the agent has such an operation".to_owned();
            into.hint(FindingKind::UnknownName, place, what, remedy);
        }
    }
    let has_interval = meta(operation, operation.interval, "interval").is_some();
    if name == "monitor" && !has_interval && !is_off(operation) {
        let what = "this monitor has no interval that can be read, so it is not repeated, and \
             failures are not noticed"
            .to_owned();
        let remedy = "give it an interval, such as 10s".to_owned();
        into.warn(FindingKind::NoMonitor, operation.place.clone(), what, remedy);
    }
    timeout(scene, operation, into);
    on_fail(scene, operation, into);
    let role = meta(operation, operation.role, "role");
    let has_roles = item.is_none_or(|item| item.is_promotable);
    if let (Some(role @ (Role::Promoted | Role::Unpromoted)), false) = (role, has_roles)
        && name == "monitor"
    {
        let what = format!(
            "it is for the role {}, but the resource is not promotable, so \
             it is never done",
            super::role_name(role)
        );
        let remedy = "take the role out, or make the clone promotable".to_owned();
        into.warn(FindingKind::Role, operation.place.attribute("role"), what, remedy);
    }
}

fn timeout(scene: &Scene<'_>, operation: &Operation, into: &mut Findings) {
    let Some(timeout) = meta(operation, operation.timeout, "timeout") else { return };
    let place = operation.place.attribute("timeout");
    let name = &*operation.name;
    if timeout.is_zero() {
        let what = format!("the timeout of {} is 0: nothing can be done in no time", quote(name));
        let remedy = "give the time that it takes at worst, such as 20s".to_owned();
        into.warn(FindingKind::Timeout, place, what, remedy);
        return;
    }
    let limit = scene.option("shutdown-escalation").and_then(Duration::read);
    if let (Some(limit), "stop") = (limit, name)
        && timeout > limit
    {
        let what = format!(
            "the timeout {timeout:?} is longer than shutdown-escalation \
             ({limit:?}), so a node that is shut down may be given up while it stops"
        );
        let remedy = "lower the timeout, or raise shutdown-escalation".to_owned();
        into.warn(FindingKind::Timeout, place, what, remedy);
    }
}

fn on_fail(scene: &Scene<'_>, operation: &Operation, into: &mut Findings) {
    let Some(on_fail) = meta(operation, operation.on_fail, "on-fail") else { return };
    let name = &*operation.name;
    let place = operation.place.attribute("on-fail");
    match on_fail {
        OnFail::Fence if !scene.has_fencing() => {
            let what = format!(
                "a failed {name} is to fence the node (\"fence\"), but \
                 fencing-enabled is false"
            );
            let remedy = "switch fencing on, or choose another on-fail".to_owned();
            into.warn(FindingKind::FencingNeeded, place, what, remedy);
        }
        OnFail::Demote => {
            let role = meta(operation, operation.role, "role");
            let is_recurring = !interval(operation).is_zero();
            let may = name == "promote"
                || (name == "monitor" && is_recurring && role == Some(Role::Promoted));
            if !may {
                let what = format!("\"demote\" is not possible for {}", quote(name));
                let remedy = "use it for promote, and for monitors of the role Promoted".to_owned();
                into.error(FindingKind::OnFail, place, what, remedy);
            }
        }
        OnFail::Block
        | OnFail::Fence
        | OnFail::Ignore
        | OnFail::Restart
        | OnFail::RestartContainer
        | OnFail::Standby
        | OnFail::Stop => {}
    }
}

/// Promotable resources that are watched, but not where they are promoted: said once.
fn promoted(scene: &Scene<'_>, into: &mut Findings) {
    let monitors = |item: &Item<'_>, is_right: fn(Option<Role>) -> bool| {
        let own = item.primitive.into_iter();
        let template = own.clone().filter_map(|primitive| scene.template(primitive));
        let template = template.filter(|template| scene.spend(template.operations.len()));
        let mut lists = own.chain(template).flat_map(|primitive| &primitive.operations);
        lists.any(|list| {
            scene.spend(list.operations.len())
                && list.operations.iter().any(|operation| {
                    &*operation.name == "monitor"
                        && is_right(meta(operation, operation.role, "role"))
                })
        })
    };
    let is_promoted = |role: Option<Role>| role == Some(Role::Promoted);
    let unwatched = scene.items.iter().filter(|item| {
        item.is_promotable && monitors(item, |_| true) && !monitors(item, is_promoted)
    });
    let unwatched: Vec<&Item<'_>> = unwatched.collect();
    let Some(first) = unwatched.first() else { return };
    let what = format!(
        "these are promotable, but no monitor is for the role Promoted, so a \
         promoted copy is not watched: {}",
        list(unwatched.iter().map(|item| item.id))
    );
    let remedy = "add a monitor with role=\"Promoted\" and an interval of its own".to_owned();
    into.hint(FindingKind::NoMonitor, first.place.clone(), what, remedy);
}

/// Monitors that may take longer than their interval, which is common: said once.
fn slow(scene: &Scene<'_>, into: &mut Findings) {
    let mut seen = BTreeSet::new();
    let lists = scene.items.iter().filter_map(|item| item.primitive);
    let lists = lists.flat_map(|primitive| &primitive.operations);
    let lists = lists.filter(|list| seen.insert(Arc::as_ptr(list).addr()));
    let slow = lists.flat_map(|list| &list.operations).filter(|operation| {
        let (span, timeout) = (interval(operation), operation.timeout.unwrap_or_default());
        &*operation.name == "monitor" && !span.is_zero() && timeout > span && !is_off(operation)
    });
    let slow: Vec<&Operation> = slow.collect();
    let Some(first) = slow.first() else { return };
    let names = list(slow.iter().map(|operation| operation.id.as_deref().unwrap_or("")));
    let what = format!(
        "the timeouts of these are longer than their intervals, so one that hangs \
         delays the next: {names}"
    );
    let remedy = "nothing, if the agents are slow at worst".to_owned();
    into.hint(FindingKind::Timeout, first.place.attribute("timeout"), what, remedy);
}

/// Pacemaker tells operations of a resource apart by name and interval alone.
fn twice(operations: &Operations, into: &mut Findings) {
    let mut before: BTreeMap<(&str, Duration), (Option<Role>, &Operation)> = BTreeMap::new();
    for operation in operations.operations.iter().filter(|operation| !is_off(operation)) {
        let role = meta(operation, operation.role, "role").filter(|role| *role != Role::Started);
        let (name, interval) = (&*operation.name, interval(operation));
        let Some((first_role, first)) = before.get(&(name, interval)) else {
            before.insert((name, interval), (role, operation));
            continue;
        };
        let place = operation.place.clone();
        let at = first.place.spot;
        let what = if interval.is_zero() {
            format!("there is an operation {} already ({at})", quote(name))
        } else {
            format!("there is {} with the interval {interval:?} already ({at})", quote(name))
        };
        let kind = FindingKind::DuplicateOperation;
        if *first_role == role {
            into.error(kind, place, what, "take one out, or give them other intervals".to_owned());
        } else {
            let what = format!("{what}, though for another role, which does not tell them apart");
            into.warn(kind, place, what, "give them other intervals".to_owned());
        }
    }
}

fn watches(primitive: &Primitive, cache: &mut BTreeMap<usize, bool>) -> bool {
    primitive.operations.iter().any(|operations| {
        *cache.entry(Arc::as_ptr(operations).addr()).or_insert_with(|| {
            operations.operations.iter().any(|operation| {
                &*operation.name == "monitor"
                    && !is_off(operation)
                    // An interval that cannot be read is told of already.
                    && (operation.interval.is_none() || !interval(operation).is_zero())
            })
        })
    })
}

/// Whether resources are watched; see the module's documentation.
fn monitors(scene: &Scene<'_>, into: &mut Findings) {
    let mut cache = BTreeMap::new();
    let mut templates = BTreeMap::new();
    let mut unwatched: Vec<&Item<'_>> = Vec::new();
    let mut watched = 0_usize;
    for item in scene.items.iter().filter(|item| !scene.is_fence_device(item)) {
        let Some(primitive) = item.primitive else { continue };
        let template = scene.template(primitive);
        let is_watched = watches(primitive, &mut cache)
            || template.is_some_and(|template| {
                let key = std::ptr::from_ref(template).addr();
                *templates.entry(key).or_insert_with(|| watches(template, &mut cache))
            });
        if is_watched {
            watched += 1;
        } else {
            unwatched.push(item);
        }
    }
    let Some(first) = unwatched.first() else { return };
    // Who lists operations, none of them a monitor, not even one that is switched off, forgot it.
    let is_monitor = |operation: &Operation| &*operation.name == "monitor";
    let forgot = |item: &&&Item<'_>| {
        let lists = item.primitive.map_or(&[] as &[Arc<Operations>], |one| &one.operations);
        let spent = lists.iter().map(|list| list.operations.len()).sum();
        let mut all = lists.iter().flat_map(|list| &list.operations);
        !lists.is_empty() && scene.spend(spent) && !all.any(is_monitor)
    };
    let listed = unwatched.iter().find(forgot).filter(|_| watched == 0);
    let names = list(unwatched.iter().map(|item| item.id));
    let what = if watched == 0 {
        format!("no resource has a monitor, so no failure of one is noticed: {names}")
    } else {
        format!("without a monitor no failure of these is noticed: {names}")
    };
    let remedy = "add <op name=\"monitor\" interval=\"10s\" …/> to their operations".to_owned();
    match listed {
        Some(item) => into.warn(FindingKind::NoMonitor, item.place.clone(), what, remedy),
        None => into.hint(FindingKind::NoMonitor, first.place.clone(), what, remedy),
    }
}

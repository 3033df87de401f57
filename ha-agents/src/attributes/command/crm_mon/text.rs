//! The answer for people.

use std::fmt::{self, Write as _};

use super::{Picture, role};
use crate::attributes::Member;

pub(super) fn write(picture: &Picture) -> String {
    let mut out = String::new();
    // A string takes everything.
    told(picture, &mut out).unwrap_or_default();
    out
}

fn told(picture: &Picture, out: &mut String) -> fmt::Result {
    let members = &picture.membership.members;
    writeln!(out, "Node List:")?;
    if picture.by_node {
        for member in members {
            writeln!(out, "  * Node {}: {}:", member.name, state(member))?;
            writeln!(out, "    * Resources:")?;
            for resource in picture.on(member) {
                let role = role(resource);
                writeln!(out, "      * {} ({}): {role}", resource.resource, resource.agent)?;
            }
        }
    } else {
        let online = ["online", "standby", "UNCLEAN (online)", "UNCLEAN (offline)", "OFFLINE"];
        for wanted in online {
            let names: Vec<_> = members.iter().filter(|member| state(member) == wanted).collect();
            if !names.is_empty() {
                let names: Vec<&str> = names.iter().map(|member| member.name.as_str()).collect();
                writeln!(out, "  * {wanted}: [ {} ]", names.join(" "))?;
            }
        }
        writeln!(out, "\nActive Resources:")?;
        for resource in picture.resources.iter().filter(|resource| resource.role.is_active()) {
            let (role, node) = (role(resource), &resource.node);
            writeln!(out, "  * {} ({}): {role} {node}", resource.resource, resource.agent)?;
        }
    }
    if !picture.attributes.is_empty() {
        writeln!(out, "\nNode Attributes:")?;
    }
    for (node, attributes) in &picture.attributes {
        writeln!(out, "  * Node: {node}:")?;
        for (name, value) in attributes {
            writeln!(out, "    * {name} : {value:?}")?;
        }
    }
    Ok(())
}

const fn state(member: &Member) -> &'static str {
    match (member.is_online, member.is_unclean, member.is_standby) {
        (true, true, _) => "UNCLEAN (online)",
        (false, true, _) => "UNCLEAN (offline)",
        (false, false, _) => "OFFLINE",
        (true, false, true) => "standby",
        (true, false, false) => "online",
    }
}

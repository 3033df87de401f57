//! The answer for agents, as the schema of `crm_mon`'s results has it.
//!
//! Agents find things in it by line and by the order of attributes, so that both are kept: each
//! element on a line of its own, a node's name before the rest, a resource's id before its role.
//!
//! # Source
//!
//! The schemas that Debian's `pacemaker-common` installs: `api-result-2.25.rng` and below.

use std::borrow::Cow;
use std::io;

use quick_xml::Writer;
use quick_xml::escape::escape;
use quick_xml::events::attributes::Attribute;
use quick_xml::name::QName;
use quick_xml::writer::ElementWriter;

use super::{Picture, role};
use crate::attributes::{Member, ResourceState};

type Xml = Writer<Vec<u8>>;

/// Writes it with the root element of `request`, or else with the older one.
pub(super) fn write(picture: &Picture, request: Option<&str>) -> String {
    let mut xml = Writer::new_with_indent(Vec::new(), b' ', 2);
    let written = match request {
        Some(request) => {
            let root = [("api-version", "2.25"), ("request", request)];
            inside(&mut xml, "pacemaker-result", &root, |xml| {
                body(xml, picture)?;
                empty(xml, "status", &[("code", "0"), ("message", "OK")])
            })
        }
        None => inside(&mut xml, "crm_mon", &[("version", "2.1.5")], |xml| body(xml, picture)),
    };
    // Memory takes everything.
    written.unwrap_or_default();
    let mut text = String::from_utf8_lossy(&xml.into_inner()).into_owned();
    text.push('\n');
    text
}

fn body(xml: &mut Xml, picture: &Picture) -> io::Result<()> {
    let members = &picture.membership.members;
    inside(xml, "summary", &[], |xml| {
        empty(xml, "current_dc", &[("present", "false")])?;
        empty(xml, "nodes_configured", &[("number", &members.len().to_string())])?;
        let number = picture.resources.len().to_string();
        let counts = [("number", number.as_str()), ("disabled", "0"), ("blocked", "0")];
        empty(xml, "resources_configured", &counts)
    })?;
    inside(xml, "nodes", &[], |xml| members.iter().try_for_each(|one| node(xml, picture, one)))?;
    inside(xml, "resources", &[], |xml| resources(xml, picture))?;
    if picture.attributes.is_empty() {
        return Ok(());
    }
    inside(xml, "node_attributes", &[], |xml| {
        for (node, attributes) in &picture.attributes {
            inside(xml, "node", &[("name", node.as_str())], |xml| {
                attributes.iter().try_for_each(|(name, value)| {
                    empty(xml, "attribute", &[("name", name), ("value", value)])
                })
            })?;
        }
        Ok(())
    })
}

fn node(xml: &mut Xml, picture: &Picture, member: &Member) -> io::Result<()> {
    let (number, running) = (member.number.to_string(), picture.on(member).count().to_string());
    let attributes = [
        ("name", member.name.as_str()),
        ("id", &number),
        ("online", word(member.is_online)),
        ("standby", word(member.is_standby)),
        ("standby_onfail", "false"),
        ("maintenance", "false"),
        ("pending", "false"),
        ("unclean", word(member.is_unclean)),
        ("shutdown", "false"),
        ("expected_up", word(member.is_online)),
        ("is_dc", "false"),
        ("resources_running", &running),
        ("type", "member"),
    ];
    if !picture.by_node {
        return empty(xml, "node", &attributes);
    }
    inside(xml, "node", &attributes, |xml| {
        picture.on(member).try_for_each(|state| resource(xml, picture, state))
    })
}

fn resources(xml: &mut Xml, picture: &Picture) -> io::Result<()> {
    let members = &picture.membership.members;
    let is_shown = |state: &ResourceState| {
        // With its node already, if there is one.
        !picture.by_node || !members.iter().any(|member| super::is_on(state, member))
    };
    for copies in picture.resources.chunk_by(|a, b| a.clone.is_some() && a.clone == b.clone) {
        let Some(id) = copies.first().and_then(|first| first.clone.as_ref()) else {
            let mut shown = copies.iter().filter(|state| is_shown(state));
            shown.try_for_each(|state| resource(xml, picture, state))?;
            continue;
        };
        let is_promotable =
            |state: &ResourceState| matches!(role(state), "Promoted" | "Unpromoted");
        let attributes = [
            ("id", id.as_str()),
            ("multi_state", word(copies.iter().any(is_promotable))),
            ("unique", "false"),
            ("managed", word(copies.iter().all(|state| state.is_managed))),
            ("disabled", "false"),
            ("failed", word(copies.iter().any(|state| state.is_failed))),
            ("failure_ignored", "false"),
        ];
        inside(xml, "clone", &attributes, |xml| {
            // As of the program, a clone is whole here also when its copies are with their nodes.
            copies.iter().try_for_each(|state| resource(xml, picture, state))
        })?;
    }
    Ok(())
}

fn resource(xml: &mut Xml, picture: &Picture, state: &ResourceState) -> io::Result<()> {
    let is_active = state.role.is_active();
    let attributes = [
        ("id", state.resource.as_str()),
        ("resource_agent", &state.agent),
        ("role", role(state)),
        ("active", word(is_active)),
        ("orphaned", word(state.is_orphan)),
        ("blocked", "false"),
        ("managed", word(state.is_managed)),
        ("failed", word(state.is_failed)),
        ("failure_ignored", "false"),
        ("nodes_running_on", if is_active { "1" } else { "0" }),
    ];
    if !is_active {
        return empty(xml, "resource", &attributes);
    }
    inside(xml, "resource", &attributes, |xml| {
        let number = picture.number(&state.node);
        let attributes = [("name", state.node.as_str()), ("id", &number), ("cached", "true")];
        empty(xml, "node", &attributes)
    })
}

const fn word(is: bool) -> &'static str {
    if is { "true" } else { "false" }
}

fn element<'a>(
    xml: &'a mut Xml,
    name: &'a str,
    attributes: &[(&str, &str)],
) -> ElementWriter<'a, Vec<u8>> {
    attributes.iter().fold(xml.create_element(name), |element, (name, value)| {
        let value = Cow::Owned(escaped(value).into_bytes());
        element.with_attribute(Attribute { key: QName(name.as_bytes()), value })
    })
}

fn empty(xml: &mut Xml, name: &str, attributes: &[(&str, &str)]) -> io::Result<()> {
    element(xml, name, attributes).write_empty().map(|_| ())
}

fn inside(
    xml: &mut Xml,
    name: &str,
    attributes: &[(&str, &str)],
    body: impl FnOnce(&mut Xml) -> io::Result<()>,
) -> io::Result<()> {
    element(xml, name, attributes).write_inner_content(body).map(|_| ())
}

/// What XML cannot have becomes U+FFFD. Besides what XML needs, ends of lines are escaped, as
/// agents look at lines; and `%` and `\`, as `pgsql` gives all of it to `printf` as a format.
fn escaped(text: &str) -> String {
    let is_xml = |c| matches!(c, '\t' | '\n' | '\r' | '\u{20}'..='\u{fffd}' | '\u{10000}'..);
    let clean: String = text.chars().map(|c| if is_xml(c) { c } else { '\u{fffd}' }).collect();
    let mut out = String::with_capacity(clean.len());
    for c in escape(clean).chars() {
        match c {
            '\t' => out.push_str("&#9;"),
            '\n' => out.push_str("&#10;"),
            '\r' => out.push_str("&#13;"),
            '%' => out.push_str("&#37;"),
            '\\' => out.push_str("&#92;"),
            c => out.push(c),
        }
    }
    out
}

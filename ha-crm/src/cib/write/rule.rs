//! Rules.

use std::borrow::Cow;

use ha_core::role::Role;

use super::tag::is_name;
use super::{Out, Seen, Tag};
use crate::cib::rule::{LocationRule, RuleElement};
use crate::cib::value::CibValue;
use crate::model::Score;

impl<'c> Out<'c> {
    /// A rule of an element whose id is `of`.
    pub(super) fn rule(&mut self, rule: &'c RuleElement, of: &str) {
        let id = rule.attributes.iter().find(|(name, _)| &**name == "id").map(|(_, id)| id);
        if self.is_known(&rule.name, id, Seen::Rule(rule)) {
            return self.empty(Tag::new(&rule.name).text("id-ref", id.map(|id| &**id)));
        }
        self.element(rule, id.map(|id| &**id), of);
    }

    pub(super) fn location_rule(&mut self, rule: &'c LocationRule, of: &str) {
        match rule.element() {
            Cow::Borrowed(element) => self.rule(element, of),
            Cow::Owned(element) => {
                let id = element.attribute("id").map(str::to_owned);
                let refers = std::mem::replace(&mut self.refers, false);
                self.whole_element(&element, id.as_deref(), of);
                self.refers = refers;
            }
        }
    }

    fn element(&mut self, element: &'c RuleElement, id: Option<&str>, of: &str) {
        let Some((tag, id)) = self.start(element, id, of) else { return };
        if element.children.is_empty() {
            return self.empty(tag);
        }
        self.open(tag);
        for child in &element.children {
            self.rule(child, &id);
        }
        self.close(&element.name);
    }

    /// The same of an element that nobody can refer to.
    fn whole_element(&mut self, element: &RuleElement, id: Option<&str>, of: &str) {
        let Some((tag, own)) = self.start(element, id, of) else { return };
        if element.children.is_empty() {
            return self.empty(tag);
        }
        self.open(tag);
        for child in &element.children {
            self.whole_element(child, child.attribute("id"), &own);
        }
        self.close(&element.name);
    }

    fn start(
        &mut self,
        element: &RuleElement,
        id: Option<&str>,
        of: &str,
    ) -> Option<(Tag, String)> {
        if !is_name(&element.name) {
            self.is_whole = false;
            return None;
        }
        let word = match &*element.name {
            "expression" => "expr",
            "date_expression" => "date",
            name => name,
        };
        let own = match id {
            Some(id) => id.to_owned(),
            None => self.id(None, &format!("{of}-{word}")),
        };
        let mut tag = Tag::new(&element.name);
        if id.is_none() {
            tag = tag.text("id", Some(&own));
        }
        for (name, value) in &element.attributes {
            tag = tag.text(name, Some(value));
        }
        Some((tag, own))
    }
}

impl LocationRule {
    /// The rule with score and role as attributes, as they stand in the XML.
    pub(in crate::cib) fn element(&self) -> Cow<'_, RuleElement> {
        // What says the same as the element is left as it stands there.
        let stands = |name: &str| self.rule.attribute(name);
        let score = self.score.filter(|own| stands("score").and_then(Score::read) != Some(*own));
        let role = self.role.filter(|own| stands("role").and_then(Role::read) != Some(*own));
        let by = self.score_attribute.as_deref();
        let by = by.filter(|own| stands("score-attribute") != Some(*own));
        let given = [
            ("score", score.map(|score| score.write())),
            ("score-attribute", by.map(str::to_owned)),
            ("role", role.map(|role| role.write())),
        ];
        let mut element = Cow::Borrowed(&*self.rule);
        for (name, value) in given {
            let Some(value) = value else { continue };
            let attributes = &mut element.to_mut().attributes;
            attributes.retain(|(known, _)| &**known != name);
            attributes.push((name.into(), value.into()));
        }
        element
    }
}

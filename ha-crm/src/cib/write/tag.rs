//! A start tag with its attributes.

use quick_xml::escape::escape;
use quick_xml::events::BytesStart;

use crate::cib::value::CibValue;

#[derive(Debug)]
pub(super) struct Tag {
    pub(super) start: BytesStart<'static>,
    /// Whether all attributes are as they were given.
    pub(super) is_whole: bool,
}

impl Tag {
    pub(super) fn new(name: &str) -> Self {
        Self { start: BytesStart::new(name.to_owned()), is_whole: true }
    }

    /// An attribute, if it is given.
    pub(super) fn text(mut self, name: &str, value: Option<&str>) -> Self {
        let Some(value) = value else { return self };
        if !is_name(name) {
            self.is_whole = false;
            return self;
        }
        let clean: String = value.chars().map(|c| if is_xml(c) { c } else { '\u{fffd}' }).collect();
        self.is_whole &= clean == value;
        // A reader takes raw line ends and tabs for spaces.
        let escaped =
            escape(clean).replace('\n', "&#10;").replace('\t', "&#9;").replace('\r', "&#13;");
        self.start.push_attribute((name.as_bytes(), escaped.as_bytes()));
        self
    }

    /// A typed attribute, if it is given.
    pub(super) fn value<T: CibValue>(self, name: &str, value: Option<&T>) -> Self {
        match value {
            Some(value) => self.text(name, Some(&value.write())),
            None => self,
        }
    }
}

/// Whether XML 1.0 can have this character.
const fn is_xml(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | '\u{20}'..='\u{fffd}' | '\u{10000}'..)
}

/// Whether it can be the name of an element or an attribute here.
pub(super) fn is_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
        && !name.eq_ignore_ascii_case("xmlns")
}

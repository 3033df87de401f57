//! The way in and out: TOML and JSON.

use std::io;

use crate::cib::document::Cib;
use crate::cib::error::CibError;
use crate::cib::note::{Note, Spot};
use crate::cib::scan::MAX_CIB;
use crate::cib::write;

impl Cib {
    /// Reads a cluster's description in TOML, and says what is wrong with it.
    ///
    /// The words are Pacemaker's, in kebab-case; spans of time are `"30s"`, scores numbers or
    /// `"INFINITY"`. Elements without an id get one. Notes and findings of [`check`] name places by
    /// their path, such as `resources/primitive[@id='db']`; they have no line.
    ///
    /// ```
    /// use ha_crm::check::check;
    /// use ha_crm::cib::Cib;
    ///
    /// let (cib, notes) = Cib::from_toml(r#"
    ///     nodes = [{ id = "1", uname = "n1" }, { id = "2", uname = "n2" }]
    ///
    ///     [options]
    ///     no-quorum-policy = "stop"
    ///
    ///     [[resources]]
    ///     kind = "primitive"
    ///     id = "db"
    ///     class = "ocf"
    ///     provider = "heartbeat"
    ///     type = "pgsql"
    ///     meta = { target-role = "Startd" }
    ///     operations = [{ name = "monitor", interval = "10s", timeout = "30s" }]
    ///
    ///     [[constraints.location]]
    ///     id = "db-here"
    ///     rsc = "db"
    ///     node = "n1"
    ///     score = "INFINITY"
    /// "#)?;
    /// let findings = check(&cib, &notes);
    /// let places: Vec<&str> = findings.iter().map(|finding| &*finding.place.path).collect();
    /// assert!(places.iter().any(|place| place.starts_with(
    ///     "resources/primitive[@id='db']/meta_attributes[@id='db-meta_attributes']"
    /// )));
    /// # Ok::<(), ha_crm::cib::CibError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`CibError`]: not TOML, names or types that are not known, or beyond a bound of
    /// [`parse`](Self::parse).
    ///
    /// [`check`]: crate::check::check
    pub fn from_toml(text: &str) -> Result<(Self, Vec<Note>), CibError> {
        bounded(text)?;
        let read: Self = toml::from_str(text).map_err(|error| {
            let offset = error.span().map_or(0, |span| span.start);
            CibError::NotToml { why: cut(error.message()), spot: spot(text, offset) }
        })?;
        read.settle()
    }

    /// The same in JSON.
    ///
    /// # Errors
    ///
    /// [`CibError`], as for TOML.
    pub fn from_json(text: &str) -> Result<(Self, Vec<Note>), CibError> {
        bounded(text)?;
        let read: Self = serde_json::from_str(text).map_err(|error| {
            let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
            let spot = Spot { line: number(error.line()), column: number(error.column()) };
            CibError::NotJson { why: cut(&error.to_string()), spot }
        })?;
        read.settle()
    }

    /// The description, with the status if there is one, in TOML.
    ///
    /// # Errors
    ///
    /// [`CibError::NotWritten`] if a number is beyond what TOML can have, or if it is larger than
    /// can be read again ([`MAX_CIB`](crate::cib::MAX_CIB)): what several refer to is written out
    /// for each.
    pub fn to_toml(&self) -> Result<String, CibError> {
        self.to_json()?; // it is about as large
        toml::to_string_pretty(self)
            .map_err(|error| CibError::NotWritten { why: cut(&error.to_string()) })
    }

    /// The description, with the status if there is one, in JSON.
    ///
    /// # Errors
    ///
    /// [`CibError::NotWritten`], for its size, as [`to_toml`](Self::to_toml).
    pub fn to_json(&self) -> Result<String, CibError> {
        let mut out = Bounded(Vec::new());
        serde_json::to_writer_pretty(&mut out, self)
            .map_err(|error| CibError::NotWritten { why: cut(&error.to_string()) })?;
        Ok(String::from_utf8_lossy(&out.0).into_owned())
    }

    /// Fills in ids and places, by way of the XML, so that both ways in lead to the same.
    fn settle(self) -> Result<(Self, Vec<Note>), CibError> {
        let (text, is_whole) = write::document(&self);
        if !is_whole {
            let why = "a text or a name in it has characters that XML cannot have".to_owned();
            return Err(CibError::NotWritten { why });
        }
        Self::parse_placeless(&text)
    }
}

/// Takes as much as can be read again.
struct Bounded(Vec<u8>);

impl io::Write for Bounded {
    fn write(&mut self, part: &[u8]) -> io::Result<usize> {
        if self.0.len().saturating_add(part.len()) > MAX_CIB {
            let why = "what several refer to, written out for each, is too large; write XML";
            return Err(io::Error::other(why));
        }
        self.0.extend_from_slice(part);
        Ok(part.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

const fn bounded(text: &str) -> Result<(), CibError> {
    if text.len() > MAX_CIB { Err(CibError::TooLarge { size: text.len() }) } else { Ok(()) }
}

fn cut(text: &str) -> String {
    text.chars().take(400).collect()
}

fn spot(text: &str, offset: usize) -> Spot {
    let before = text.as_bytes().get(..offset).unwrap_or_default();
    let line = before.split(|byte| *byte == b'\n').count();
    let column = before.iter().rev().take_while(|byte| **byte != b'\n').count() + 1;
    let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    Spot { line: number(line), column: number(column) }
}

//! The status read piece by piece: most of a large CIB is histories, and the tree of all of them
//! takes three times as much memory as what is kept of them.

/// A text with its `node_state` elements taken out.
///
/// In a text without comments, CDATA and instructions every `<` begins a tag, or the text is no
/// XML; so the elements can be found without reading it. Each is replaced by an empty one, that
/// the rest is XML just where the whole is.
#[derive(Debug)]
pub(super) struct Pieces<'a> {
    /// The text without them.
    pub(super) rest: String,
    /// The elements, in their order.
    pub(super) elements: Vec<&'a str>,
    /// Where in the rest each one is missing, and how much was missing before it.
    cuts: Vec<(usize, usize)>,
}

const START: &str = "<node_state";
const END: &str = "</node_state>";
/// What stands for a piece.
const EMPTY: &str = "<node_state/>";

impl<'a> Pieces<'a> {
    /// Takes them out; `None` if they cannot be found so, or that would gain nothing.
    pub(super) fn cut(text: &'a str) -> Option<Self> {
        let status = text.find(START)?;
        let end = text.rfind(END)? + END.len();
        let body = text.strip_prefix("<?xml").unwrap_or(text);
        let inside = text.get(status..end)?;
        // References lead out of a piece, and so do prefixes of names.
        let leads_out = inside.contains("id-ref") || text.contains("xmlns");
        if leads_out || body.contains("<!") || body.contains("<?") {
            return None;
        }
        let mut pieces = Self {
            rest: String::with_capacity(text.len() - inside.len() + 1024),
            elements: Vec::new(),
            cuts: Vec::new(),
        };
        let (mut from, mut missing) = (0, 0);
        while let Some(start) = find_start(text, from) {
            let Some(length) = text.get(start..).and_then(|rest| rest.find(END)) else { break };
            let end = start + length + END.len();
            let element = text.get(start..end)?;
            pieces.rest.push_str(text.get(from..start)?);
            pieces.cuts.push((pieces.rest.len(), missing));
            pieces.rest.push_str(EMPTY);
            pieces.elements.push(element);
            missing += element.len() - EMPTY.len();
            from = end;
        }
        pieces.rest.push_str(text.get(from..)?);
        pieces.cuts.push((usize::MAX, missing));
        (!pieces.elements.is_empty()).then_some(pieces)
    }

    /// The number of the piece that stands at an offset of the rest.
    pub(super) fn at(&self, offset: usize) -> Option<usize> {
        self.cuts.binary_search_by_key(&offset, |(cut, _)| *cut).ok()
    }

    /// The offset in the whole text of one in the rest.
    pub(super) fn offset(&self, rest: usize) -> usize {
        let after = self.cuts.partition_point(|(cut, _)| *cut < rest);
        rest + self.cuts.get(after).map_or(0, |(_, missing)| *missing)
    }
}

/// Where the next element begins that is called just so, and has something in it.
///
/// Every part of the text is looked at once, whatever the text is.
fn find_start(text: &str, mut from: usize) -> Option<usize> {
    loop {
        let start = from + text.get(from..)?.find(START)?;
        from = start + START.len();
        let tag = text.get(from..)?;
        if !tag.starts_with(|c: char| c.is_ascii_whitespace() || c == '>') {
            continue;
        }
        // A value may have a `>` in it: then this is no end, and the element is left in the rest.
        let close = tag.find('>')?;
        if !tag.get(..close)?.ends_with('/') {
            return Some(start);
        }
        from += close;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_out_is_found_again() {
        let text = "<cib><status>\n<node_state id='1'><a/></node_state>\n<node_state id='2'/>\n\
                    <node_states/><node_state>x</node_state><b/></status></cib>";
        let pieces = Pieces::cut(text).unwrap();
        let found = ["<node_state id='1'><a/></node_state>", "<node_state>x</node_state>"];
        assert_eq!(pieces.elements, found);
        for (number, element) in found.iter().enumerate() {
            let there = pieces.rest.match_indices(EMPTY).nth(number).unwrap().0;
            assert_eq!(pieces.at(there), Some(number));
            assert_eq!(pieces.offset(there), text.find(element).unwrap());
        }
        for tag in ["<cib>", "<node_state id='2'/>", "<node_states/>", "<b/>", "</status>"] {
            let there = pieces.rest.find(tag).unwrap();
            assert_eq!((pieces.at(there), pieces.offset(there)), (None, text.find(tag).unwrap()));
        }
    }

    #[test]
    fn where_a_tag_need_not_be_one_nothing_is_taken_out() {
        for text in [
            "<cib><!-- <node_state><a/></node_state> --></cib>",
            "<cib><![CDATA[<node_state><a/></node_state>]]></cib>",
            "<cib><?x <node_state><a/></node_state> ?></cib>",
            "<cib xmlns:a='b'><node_state><a:a/></node_state></cib>",
            "<cib><node_state><x id-ref='y'/></node_state></cib>",
            "<cib/>",
        ] {
            assert!(Pieces::cut(text).is_none(), "{text}");
        }
    }

    #[test]
    fn tags_without_an_end_take_no_time() {
        // Looking for the end of each anew would take minutes.
        for tag in ["<node_state ", "<node_states", "<node_state a='/"] {
            let text = format!("{}/></node_state>", tag.repeat(700_000));
            assert!(Pieces::cut(&text).is_none_or(|pieces| pieces.elements.len() <= 1));
        }
    }
}

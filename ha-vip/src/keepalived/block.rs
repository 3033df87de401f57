//! Lines into statements: a keyword, its arguments, and the block in braces after it.

use super::lexer::{Token, Word, tokens};
use super::limits;
use super::report::{Place, Report};
use super::source::Line;

/// A keyword with its arguments and its block.
#[derive(Debug)]
pub(super) struct Statement {
    pub(super) at: Place,
    pub(super) words: Vec<Word>,
    pub(super) block: Option<Vec<Statement>>,
}

impl Statement {
    pub(super) fn keyword(&self) -> &str {
        self.words.first().map_or("", |word| &word.text)
    }

    /// What follows the keyword.
    pub(super) fn args(&self) -> &[Word] {
        self.words.get(1..).unwrap_or_default()
    }

    pub(super) fn arg(&self, index: usize) -> Option<&str> {
        self.args().get(index).map(|word| word.text.as_str())
    }

    /// The statements of its block.
    pub(super) fn inner(&self) -> &[Self] {
        self.block.as_deref().unwrap_or_default()
    }

    /// The keyword in quotes, for messages.
    pub(super) fn quoted(&self) -> String {
        format!("`{}`", self.keyword())
    }

    /// The whole statement without its block, for messages.
    pub(super) fn text(&self) -> String {
        let words: Vec<&str> = self.words.iter().map(|word| word.text.as_str()).collect();
        format!("`{}`", words.join(" "))
    }

    /// All words of its block, line by line: a list of names.
    pub(super) fn names(&self) -> impl Iterator<Item = (&Place, &Word)> {
        self.inner().iter().flat_map(|line| line.words.iter().map(|word| (&line.at, word)))
    }
}

/// Reads lines into statements; what stands in braces is nested at most so deep.
pub(super) fn statements(lines: Vec<Line>, report: &mut Report) -> Vec<Statement> {
    let mut nest = Nest { open: Vec::new(), list: Vec::new(), current: None, fresh: false };
    let mut words = 0;
    for Line { at, text } in lines {
        let Some(tokens) = tokens(&text) else {
            report.wrong(&at, "a quote that does not end on its line", "a closing quote");
            continue;
        };
        words += tokens.len();
        if words > limits::WORDS {
            report.wrong(&at, "so many words", format!("at most {}", limits::WORDS));
            return Vec::new();
        }
        for token in tokens {
            let taken = match token {
                Token::Word(word) => {
                    nest.word(&at, word);
                    Ok(())
                }
                Token::Open => nest.open(),
                Token::Close => nest.close(),
            };
            if let Err((what, allowed)) = taken {
                report.wrong(&at, what, allowed);
                return Vec::new();
            }
        }
        nest.end_line();
    }
    if let Some(unclosed) = nest.open.last() {
        report.wrong(&unclosed.0.at, unclosed.0.quoted(), "a `}` for its `{`");
    }
    nest.list
}

/// What is being read.
struct Nest {
    /// The blocks around, each with what stood before it.
    open: Vec<(Statement, Vec<Statement>)>,
    list: Vec<Statement>,
    current: Option<Statement>,
    /// The last statement of the list may still get a block, on a line of its own.
    fresh: bool,
}

type Taken = Result<(), (&'static str, String)>;

impl Nest {
    fn word(&mut self, at: &Place, word: Word) {
        let new = || Statement { at: at.clone(), words: Vec::new(), block: None };
        self.current.get_or_insert_with(new).words.push(word);
    }

    fn open(&mut self) -> Taken {
        let fresh = self.fresh;
        let before = self.current.take().or_else(|| self.list.pop_if(|_| fresh));
        let Some(before) = before else {
            return Err(("a `{` with nothing before it", "a keyword before it".to_owned()));
        };
        if self.open.len() >= limits::NESTING {
            return Err(("a `{` so deep", format!("{} blocks in one another", limits::NESTING)));
        }
        self.open.push((before, std::mem::take(&mut self.list)));
        self.fresh = false;
        Ok(())
    }

    fn close(&mut self) -> Taken {
        self.end_line();
        let Some((mut statement, around)) = self.open.pop() else {
            return Err(("a `}` with no `{` before it", "as many `}` as `{`".to_owned()));
        };
        let block = std::mem::replace(&mut self.list, around);
        statement.block = Some(block);
        self.list.push(statement);
        self.fresh = false;
        Ok(())
    }

    fn end_line(&mut self) {
        if let Some(statement) = self.current.take() {
            self.list.push(statement);
            self.fresh = true;
        }
    }
}

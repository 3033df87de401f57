//! A line into words.

/// A word of a line; quoted ones may hold spaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Word {
    pub(super) text: String,
    pub(super) quoted: bool,
}

/// A part of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    Open,
    Close,
    Word(Word),
}

/// The line without its comment, which `#` or `!` begin outside of quotes.
pub(super) fn without_comment(line: &str) -> &str {
    let (mut quote, mut escaped) = (None, false);
    for (at, c) in line.char_indices() {
        match quote {
            _ if escaped => escaped = false,
            Some(_) if c == '\\' => escaped = true,
            Some(open) if c == open => quote = None,
            None if c == '"' || c == '\'' => quote = Some(c),
            None if c == '#' || c == '!' => return line.get(..at).unwrap_or_default(),
            Some(_) | None => {}
        }
    }
    line
}

/// The line's words and braces; `None` if a quote is not closed.
pub(super) fn tokens(line: &str) -> Option<Vec<Token>> {
    let (mut tokens, mut word): (Vec<Token>, Option<Word>) = (Vec::new(), None);
    let mut rest = line.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '"' | '\'' => {
                let word = word.get_or_insert(Word { text: String::new(), quoted: true });
                word.quoted = true;
                loop {
                    match rest.next()? {
                        end if end == c => break,
                        '\\' => escape(&mut rest, &mut word.text)?,
                        other => word.text.push(other),
                    }
                }
            }
            // A definition that nobody made stays as it is.
            '$' if rest.peek() == Some(&'{') => {
                let word = word.get_or_insert(Word { text: String::new(), quoted: false });
                word.text.push('$');
                for c in rest.by_ref() {
                    word.text.push(c);
                    if c == '}' {
                        break;
                    }
                }
            }
            '{' | '}' => {
                tokens.extend(word.take().map(Token::Word));
                tokens.push(if c == '{' { Token::Open } else { Token::Close });
            }
            c if c.is_whitespace() => tokens.extend(word.take().map(Token::Word)),
            c => {
                let word = word.get_or_insert(Word { text: String::new(), quoted: false });
                word.text.push(c);
            }
        }
    }
    tokens.extend(word.map(Token::Word));
    Some(tokens)
}

/// What follows a backslash in quotes, as in a shell.
fn escape(rest: &mut std::iter::Peekable<std::str::Chars<'_>>, to: &mut String) -> Option<()> {
    let c = rest.next()?;
    let made = match c {
        'a' => '\x07',
        'b' => '\x08',
        'E' => '\x1b',
        'f' => '\x0c',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'v' => '\x0b',
        'c' => char::from(u8::try_from(rest.next()?).ok()? & 0x1f),
        'x' => number(rest, 16, 2, 0)?,
        '0'..='7' => number(rest, 8, 2, c.to_digit(8)?)?,
        other => other,
    };
    to.push(made);
    Some(())
}

fn number(
    rest: &mut std::iter::Peekable<std::str::Chars<'_>>,
    radix: u32,
    most: usize,
    first: u32,
) -> Option<char> {
    let mut number = first;
    for _ in 0..most {
        let Some(digit) = rest.peek().and_then(|c| c.to_digit(radix)) else {
            break;
        };
        number = number.checked_mul(radix)?.checked_add(digit)?;
        rest.next();
    }
    char::from_u32(number)
}

/// A command and its arguments: words, of which quotes hold together those with spaces.
pub(super) fn command(text: &str) -> Option<Vec<String>> {
    let (mut words, mut word, mut quote): (_, Option<String>, _) = (Vec::new(), None, None);
    for c in text.chars() {
        match quote {
            Some(open) if c == open => quote = None,
            None if c == '\'' || c == '"' => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            None if c.is_whitespace() => words.extend(word.take()),
            Some(_) | None => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    (quote.is_none() && !words.is_empty()).then_some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        let text = |token| match token {
            Token::Open => "{".to_owned(),
            Token::Close => "}".to_owned(),
            Token::Word(word) => word.text,
        };
        tokens(line).expect("closed quotes").into_iter().map(text).collect()
    }

    #[test]
    fn quotes_hold_words_together_and_the_quotes_go() {
        assert_eq!(words(r#"abcd" efg h jkl "mnop"#), ["abcd efg h jkl mnop"]);
        assert_eq!(words(r#"abcd "efg h jkl" mnop"#), ["abcd", "efg h jkl", "mnop"]);
        assert_eq!(words(r#""it is 'one'" 'and "another"'"#), ["it is 'one'", "and \"another\""]);
        assert_eq!(words(r#""\"\\\x41\101\t""#), ["\"\\AA\t"]);
        assert_eq!(words("group{A B}"), ["group", "{", "A", "B", "}"]);
        assert_eq!(words("x ${Y}z"), ["x", "${Y}z"]);
        assert!(tokens("\"open").is_none());
    }

    #[test]
    fn comments_begin_outside_of_quotes_only() {
        assert_eq!(without_comment("a b # c ! d"), "a b ");
        assert_eq!(without_comment("! all of it"), "");
        assert_eq!(without_comment(r#"p "x # \" ! y" # z"#), r#"p "x # \" ! y" "#);
    }

    #[test]
    fn a_command_is_split_at_spaces_outside_of_quotes() {
        let split = command("/bin/check -a 'two words'  end").expect("a command");
        assert_eq!(split, ["/bin/check", "-a", "two words", "end"]);
        assert!(command("/bin/check 'open").is_none() && command("  ").is_none());
    }
}

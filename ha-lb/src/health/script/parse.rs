//! Scripts as text: HAProxy's `tcp-check` lines.

use std::str::FromStr;

use ha_core::config::{ConfigError, Problems};

use super::{Pattern, Script, ScriptBuilder};

const ALLOWED: &str = "connect [port N], send TEXT, send-binary HEX, expect [!] string TEXT, expect \
                       [!] binary HEX, expect [!] wild TEXT, comment TEXT; TEXT with \\r \\n \\t \\\\ \
                       \\xHH and \\ before a space";

impl FromStr for Script {
    type Err = ConfigError;

    /// Reads one step a line, with or without `tcp-check` before it; empty lines and those that begin
    /// with `#` are passed over. A `comment` is for the steps that follow it.
    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let mut problems = Problems::new();
        let mut script = Self::new();
        let mut comment = String::new();
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            let line = line.strip_prefix("tcp-check ").unwrap_or(line).trim_start();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if let Some(text) = line.strip_prefix("comment ") {
                text.trim().clone_into(&mut comment);
            } else if let Some(next) = step(script.clone(), line) {
                script = next.comment(comment.clone());
            } else {
                problems.add(format!("script.line[{number}]"), line, ALLOWED);
            }
        }
        match script.build() {
            Ok(script) => problems.into_result(script),
            Err(error) => {
                problems.absorb(error);
                problems.into_result(Self { steps: Vec::new() })
            }
        }
    }
}

/// The script with the step of this line.
fn step(script: ScriptBuilder, line: &str) -> Option<ScriptBuilder> {
    let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
    let rest = rest.trim_start();
    match word {
        "connect" if rest.is_empty() => Some(script.connect()),
        "connect" => {
            let port = rest.strip_prefix("port ")?.trim().parse().ok()?;
            Some(script.connect_to(port))
        }
        "send" => Some(script.send(unescape(rest)?)),
        "send-binary" => Some(script.send(hex(rest)?)),
        "expect" => {
            let (wanted, rest) = match rest.strip_prefix('!') {
                Some(rest) => (false, rest.trim_start()),
                None => (true, rest),
            };
            let (kind, what) = rest.split_once(' ')?;
            let pattern = match kind {
                "string" => Pattern::exact(unescape(what)?),
                "binary" => Pattern::exact(hex(what)?),
                "wild" => Pattern::wild(unescape(what)?),
                _ => return None,
            };
            Some(if wanted { script.expect_pattern(pattern) } else { script.expect_not(pattern) })
        }
        _ => None,
    }
}

fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        bytes.push(match rest.next()? {
            b'r' => b'\r',
            b'n' => b'\n',
            b't' => b'\t',
            b'x' => digit(rest.next()?)? << 4 | digit(rest.next()?)?,
            plain @ (b'\\' | b' ' | b'#' | b'"' | b'\'') => plain,
            _ => return None,
        });
    }
    Some(bytes)
}

fn hex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text.trim().bytes().map(digit).collect();
    let digits = digits?;
    let pairs = digits.chunks(2).map(|pair| match pair {
        [high, low] => Some(high << 4 | low),
        _ => None,
    });
    pairs.collect()
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_script_is_read_as_it_is_built() {
        let text = "# SMTP\n tcp-check connect port 25\ncomment greets\nexpect wild 220 *\\r\\n\n\
                    send QUIT\\r\\n\ncomment  says goodbye \nexpect string 221\n\
                    expect ! binary 0aFF\nsend-binary 00ff\nsend a\\ \\x41\\\\\nconnect\n";
        let built = Script::new()
            .connect_to(25)
            .expect_pattern(Pattern::wild("220 *\r\n"))
            .comment("greets")
            .send("QUIT\r\n")
            .comment("greets")
            .expect("221")
            .comment("says goodbye")
            .expect_not(Pattern::exact([0x0a, 0xff]))
            .comment("says goodbye")
            .send([0x00, 0xff])
            .comment("says goodbye")
            .send("a A\\")
            .comment("says goodbye")
            .connect()
            .comment("says goodbye")
            .build();
        assert_eq!(text.parse::<Script>(), built);
    }

    #[test]
    fn every_wrong_line_is_named() {
        let wrong = "send\nsend ok\nexpect +PONG\nexpect rstring .*\nsend-binary 0\nsend \\q\n\
                     connect port 65536\nconnect port 0\nquit";
        let error = wrong.parse::<Script>().expect_err("many are wrong");
        let paths: Vec<_> = error.problems().iter().map(|problem| problem.path.as_str()).collect();
        let lines = [3, 4, 5, 6, 7, 9].map(|number| format!("script.line[{number}]"));
        let steps = ["script.step[1]", "script.step[3].port"];
        assert_eq!(paths, lines.iter().map(String::as_str).chain(steps).collect::<Vec<_>>());
        assert!("send x\n".repeat(101).parse::<Script>().is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_a_script_or_an_error(text: String, bytes: Vec<u8>) {
            let _answer = text.parse::<Script>();
            let pattern = Pattern::wild(&text);
            if let Some(end) = pattern.find(&bytes) {
                prop_assert!(end <= bytes.len());
            }
        }

        #[test]
        fn what_has_the_parts_in_order_matches(
            parts in prop::collection::vec("[ab]{1,3}", 1..4), gaps in prop::collection::vec("[abc]{0,4}", 5),
        ) {
            let mut text = String::new();
            for (part, gap) in parts.iter().zip(&gaps) {
                text.push_str(gap);
                text.push_str(part);
            }
            prop_assert!(Pattern::wild(parts.join("*")).find(text.as_bytes()).is_some());
        }
    }
}

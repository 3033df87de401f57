//! Endpoints as text: one a line, or TOML.

use std::collections::BTreeMap;

use ha_core::config::{ConfigError, Problems};
use ha_core::id::EndpointName;
use serde::Deserialize;
use toml::Spanned;

use crate::endpoint::{Endpoint, Weight};
use crate::pool::MAX_ENDPOINTS;

/// So many problems of a file are told.
const MAX_PROBLEMS: usize = 20;

/// Reads one endpoint a line; see [`Format::Lines`](super::Format::Lines).
///
/// # Errors
///
/// What is wrong, with `PATH:LINE`.
pub(super) fn parse_lines(path: &str, text: &str) -> Result<Vec<Endpoint>, ConfigError> {
    let mut list = List::new(path);
    for (index, line) in text.lines().enumerate() {
        let content = line.split('#').next().unwrap_or_default().trim();
        if !content.is_empty() {
            list.add(index + 1, endpoint(content));
        }
    }
    if list.endpoints.is_empty() && list.problems.is_empty() {
        let allowed = "a line for each endpoint; an empty file may be half of a new one";
        return Err(ConfigError::new(path, "no endpoint", allowed));
    }
    list.into_result()
}

/// Reads TOML; see [`Format::Toml`](super::Format::Toml).
///
/// # Errors
///
/// What is wrong, with `PATH:LINE`.
pub(super) fn parse_toml(path: &str, text: &str) -> Result<Vec<Endpoint>, ConfigError> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct File {
        endpoints: Vec<Spanned<Endpoint>>,
    }
    let line_of = |at: usize| 1 + text.bytes().take(at).filter(|byte| *byte == b'\n').count();
    let file: File = toml::from_str(text).map_err(|error| {
        let line = line_of(error.span().map_or(0, |span| span.start));
        let value = text.lines().nth(line - 1).unwrap_or_default().trim();
        ConfigError::new(format!("{path}:{line}"), value, error.message())
    })?;
    let mut list = List::new(path);
    for entry in file.endpoints {
        list.add(line_of(entry.span().start), checked(entry.into_inner()));
    }
    list.into_result()
}

/// An endpoint must have a port, in whatever form it is written.
fn checked(endpoint: Endpoint) -> Result<Endpoint, ConfigError> {
    if endpoint.address().port() == 0 {
        let address = endpoint.address();
        return Err(ConfigError::new("address", address, "a port from 1 to 65535"));
    }
    Ok(endpoint)
}

fn endpoint(content: &str) -> Result<Endpoint, ConfigError> {
    let mut words = content.split_whitespace();
    let mut endpoint: Endpoint = words.next().unwrap_or_default().parse()?;
    let mut problems = Problems::new();
    for word in words {
        let number = |text: &str| text.parse::<u32>().ok();
        let set = match word.split_once('=') {
            Some(("weight", text)) => text
                .parse()
                .ok()
                .and_then(|weight| Weight::new(weight).ok())
                .map(|weight| endpoint.clone().with_weight(weight)),
            Some(("max-connections", text)) => {
                number(text).map(|limit| endpoint.clone().with_max_connections(limit))
            }
            Some(("id", text)) => number(text).map(|id| endpoint.clone().with_id(id)),
            None if word == "backup" => Some(endpoint.clone().with_backup(true)),
            Some(_) | None => None,
        };
        match set {
            Some(set) => endpoint = set,
            None => problems.add("setting", word, SETTINGS),
        }
    }
    problems.into_result(endpoint)
}

const SETTINGS: &str = "weight=0 to 256, max-connections=NUMBER, id=NUMBER, backup";

/// The endpoints of a file, with the lines they stand on.
struct List<'a> {
    path: &'a str,
    endpoints: Vec<Endpoint>,
    lines: BTreeMap<EndpointName, usize>,
    problems: Problems,
    found: usize,
}

impl<'a> List<'a> {
    const fn new(path: &'a str) -> Self {
        let problems = Problems::new();
        Self { path, endpoints: Vec::new(), lines: BTreeMap::new(), problems, found: 0 }
    }

    fn add(&mut self, line: usize, endpoint: Result<Endpoint, ConfigError>) {
        match endpoint {
            Ok(endpoint) => {
                if self.endpoints.len() >= MAX_ENDPOINTS {
                    return self.complain(line, endpoint.name(), "no endpoint beyond 2^20");
                }
                if let Some(first) = self.lines.insert(endpoint.name().clone(), line) {
                    let allowed = format!("every name once; line {first} has it already");
                    self.complain(line, endpoint.name(), &allowed);
                }
                self.endpoints.push(endpoint);
            }
            Err(error) => {
                for problem in error.problems() {
                    self.complain(line, &problem.value, &problem.allowed);
                }
            }
        }
    }

    fn complain(&mut self, line: usize, value: impl std::fmt::Display, allowed: &str) {
        self.found += 1;
        if self.found <= MAX_PROBLEMS {
            self.problems.add(format!("{}:{line}", self.path), value, allowed);
        }
    }

    fn into_result(mut self) -> Result<Vec<Endpoint>, ConfigError> {
        if self.found > MAX_PROBLEMS {
            let more = self.found - MAX_PROBLEMS;
            self.problems.add(self.path, format!("{more} lines more"), "see the first ones");
        }
        self.problems.into_result(self.endpoints)
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LINES: &str = "\
# the web servers
web-1=192.0.2.1:80 weight=3 max-connections=200
  web-2=[2001:db8::1]:80 backup id=7  # far away

192.0.2.3:80
";

    const TOML: &str = r#"
[[endpoints]]
name = "web-1"
address = "192.0.2.1:80"
weight = 3
max-connections = 200

[[endpoints]]
name = "web-2"
address = "[2001:db8::1]:80"
backup = true
id = 7

[[endpoints]]
name = "192.0.2.3:80"
address = "192.0.2.3:80"
"#;

    fn problems(result: Result<Vec<Endpoint>, ConfigError>) -> Vec<String> {
        let error = result.expect_err("it is wrong");
        error.problems().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn both_forms_say_the_same() {
        let lines = parse_lines("f", LINES).expect("well formed");
        assert_eq!(parse_toml("f", TOML), Ok(lines.clone()));
        assert_eq!(lines.len(), 3);
        let [first, second, third] = lines.as_slice() else { panic!("three") };
        assert_eq!((first.weight().get(), first.max_connections().map(u32::from)), (3, Some(200)));
        assert_eq!((second.is_backup(), second.id().map(u32::from)), (true, Some(7)));
        assert_eq!(third.name().as_str(), "192.0.2.3:80");
    }

    #[test]
    fn each_wrong_line_is_named() {
        let text =
            "a=192.0.2.1:80\nb=nowhere\n\na=192.0.2.2:80 wieght=3 weight=257\n a=192.0.2.9:1";
        let told = problems(parse_lines("/etc/b", text));
        assert!(told[0].starts_with("/etc/b:2: b=nowhere is not allowed: "), "{told:?}");
        assert!(told[1].starts_with("/etc/b:4: wieght=3 is not allowed: weight=0 to 256"));
        assert!(told[2].starts_with("/etc/b:4: weight=257 is not allowed: "));
        let twice = "/etc/b:5: a is not allowed: every name once; line 1 has it already";
        assert_eq!(told[3..], [twice]);
    }

    #[test]
    fn toml_errors_have_their_line() {
        let wrong_weight = TOML.replace("weight = 3", "weight = 300");
        let told = problems(parse_toml("f.toml", &wrong_weight));
        assert!(told[0].starts_with("f.toml:5: weight = 300 is not allowed: "), "{told:?}");
        let unknown = TOML.replace("backup", "bakcup");
        assert!(problems(parse_toml("f.toml", &unknown))[0].contains("bakcup"));
        let syntax = problems(parse_toml("f.toml", "[[endpoints]]\nname = \n"));
        assert!(syntax[0].starts_with("f.toml:2: name ="), "{syntax:?}");
        let twice = format!("{TOML}\n[[endpoints]]\nname = \"web-1\"\naddress = \"192.0.2.4:80\"");
        let told = problems(parse_toml("f.toml", &twice));
        assert!(
            told[0].starts_with("f.toml:18: web-1 is not allowed: every name once"),
            "{told:?}"
        );
        let no_port = TOML.replace("192.0.2.1:80", "192.0.2.1:0");
        assert!(problems(parse_toml("f.toml", &no_port))[0].contains("a port from 1"));
    }

    #[test]
    fn nothing_is_an_error_unless_it_is_said() {
        assert!(parse_lines("f", "").is_err());
        assert!(parse_lines("f", "# all gone\n\n").is_err());
        assert!(parse_toml("f", "").is_err());
        assert_eq!(parse_toml("f", "endpoints = []"), Ok(Vec::new()));
    }

    #[test]
    fn a_file_of_nonsense_gives_a_bounded_error() {
        let told = problems(parse_lines("f", &"nonsense\n".repeat(5_000)));
        assert_eq!(told.len(), MAX_PROBLEMS + 1);
        assert!(told[MAX_PROBLEMS].contains("4980 lines more"));
    }

    proptest! {
        #[test]
        fn any_text_is_a_list_or_an_error(text: String) {
            let _answer = parse_lines("f", &text);
            let _answer = parse_toml("f", &text);
        }

        #[test]
        fn what_is_written_is_read(
            addresses in prop::collection::btree_map(
                "[a-z][a-z0-9-]{0,9}", (any::<std::net::SocketAddr>(), 0u16..=256), 1..20),
        ) {
            prop_assume!(addresses.values().all(|(address, _)| address.port() != 0));
            let lines = addresses
                .iter()
                .map(|(name, (address, weight))| format!("{name}={address} weight={weight}"));
            let text = lines.collect::<Vec<_>>().join("\n");
            let list = parse_lines("f", &text).expect("well formed");
            prop_assert_eq!(list.len(), addresses.len());
            for endpoint in list {
                let (address, weight) = addresses[endpoint.name().as_str()];
                prop_assert_eq!(endpoint.address().to_string(), address.to_string());
                prop_assert_eq!(endpoint.weight().get(), weight);
            }
        }
    }
}

//! `authentication` and `auth_hmac`.

use std::io::Read;
use std::time::Duration;

use super::block::Statement;
use super::global::unknown;
use super::report::Report;
use crate::vrrp::auth::{HmacBuilder, HmacConfig, Key, Rollout};

/// The password of an `authentication` block.
pub(super) fn password(block: &Statement, report: &mut Report) -> Option<String> {
    let mut password = None;
    for statement in block.inner() {
        match statement.keyword() {
            "auth_type" if statement.arg(0) == Some("PASS") => {}
            // Nothing to be lenient about: peers would not hear one another, and both serve.
            "auth_type" => {
                let allowed = "PASS: IPsec headers are not spoken; auth_hmac is";
                report.wrong(&statement.at, statement.text(), allowed);
            }
            // The password itself is never told.
            "auth_pass" => match statement.args() {
                [word] if !word.text.is_empty() => password = Some(word.text.clone()),
                _ => report.wrong(&statement.at, "`auth_pass`", "one password"),
            },
            _ => unknown(&statement.at, statement, "authentication", report),
        }
    }
    password
}

/// One for each number.
const MOST_KEYS: usize = 255;

/// The keys of an `auth_hmac` block.
pub(super) fn hmac(
    block: &Statement,
    advert_interval: Duration,
    report: &mut Report,
) -> Option<HmacConfig> {
    let mut builder = HmacConfig::builder();
    let mut window = (advert_interval * 3).max(HmacConfig::DEFAULT_WINDOW);
    let (mut monotonic, mut keys) = (false, 0);
    for statement in block.inner() {
        match statement.keyword() {
            "key" if keys == MOST_KEYS => {
                report.wrong(&statement.at, "`key`", format!("at most {MOST_KEYS} keys"));
                return None;
            }
            "key" => {
                keys += 1;
                builder = key(statement, builder.clone(), report).unwrap_or(builder);
            }
            "active_key" => {
                if let Some(id) = statement.number(report, 1..=255) {
                    builder = builder.active(id);
                }
            }
            "anti_replay" => match statement.arg(0) {
                Some("time") => monotonic = false,
                Some("monotonic") => monotonic = true,
                Some(_) | None => report.wrong(&statement.at, statement.text(), "time, monotonic"),
            },
            "time_window" => {
                let given = statement.number(report, 1..=300_u64).map(Duration::from_secs);
                window = given.unwrap_or(window);
            }
            "mode" => match statement.arg(0) {
                Some("enforce") => builder = builder.rollout(Rollout::Enforce),
                Some("permissive") => builder = builder.rollout(Rollout::Permissive),
                Some("receive_only") => builder = builder.rollout(Rollout::ReceiveOnly),
                Some(_) | None => {
                    let allowed = "enforce, permissive or receive_only";
                    report.wrong(&statement.at, statement.text(), allowed);
                }
            },
            _ => unknown(&statement.at, statement, "auth_hmac", report),
        }
    }
    let builder = if monotonic {
        builder.monotonic()
    } else {
        builder.window(window.min(HmacConfig::MAX_WINDOW))
    };
    match builder.build() {
        Ok(config) => Some(config),
        Err(error) => {
            for problem in error.problems() {
                let what = format!("`auth_hmac`: {} {}", problem.path, problem.value);
                report.wrong(&block.at, what, problem.allowed.clone());
            }
            None
        }
    }
}

/// `key ID VALUE`: `hex:…`, `file:…` of one of the two, or the secret itself. It is never told.
fn key(statement: &Statement, builder: HmacBuilder, report: &mut Report) -> Option<HmacBuilder> {
    let [id, value] = statement.args() else {
        report.wrong(&statement.at, "`key`", "a number and a secret");
        return None;
    };
    let secret = match value.text.strip_prefix("file:") {
        Some(path) => match read(path) {
            Ok(text) => secret(text.trim_end_matches(['\n', '\r'])),
            Err(error) => {
                report.wrong(&statement.at, format!("{path} ({error})"), "a readable key file");
                return None;
            }
        },
        None => secret(&value.text),
    };
    if let Some((id, secret)) = id.text.parse().ok().zip(secret) {
        return Some(builder.key(id, secret));
    }
    let allowed = "a number from 1 to 255, and `hex:` with hexadecimal digits, `file:` with a \
                   path, or a text";
    report.wrong(&statement.at, "`key`", allowed);
    None
}

fn read(path: &str) -> std::io::Result<String> {
    // Twice the longest secret in hexadecimal digits, the prefix and the end of the line.
    let most = u64::try_from(Key::MAX_LEN * 2 + 64).unwrap_or_default();
    if !std::fs::metadata(path)?.is_file() {
        return Err(std::io::Error::other("not a file"));
    }
    let mut text = String::new();
    std::fs::File::open(path)?.take(most).read_to_string(&mut text)?;
    Ok(text)
}

fn secret(text: &str) -> Option<Vec<u8>> {
    let Some(digits) = text.strip_prefix("hex:") else {
        return Some(text.as_bytes().to_vec());
    };
    if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) || digits.len() % 2 != 0 {
        return None;
    }
    let pairs = digits.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

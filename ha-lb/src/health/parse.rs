//! Checks as flags and files name them.

use std::sync::Arc;

use ha_core::config::ConfigError;

use super::HealthCheck;
#[cfg(feature = "command")]
use super::command::CommandCheck;
#[cfg(feature = "mysql")]
use super::galera::{GaleraCheck, GaleraRules};
#[cfg(feature = "grpc")]
use super::grpc::GrpcCheck;
#[cfg(feature = "http")]
use super::http::HttpCheck;
#[cfg(feature = "http2")]
use super::http::HttpVersion;
use super::ldap::LdapCheck;
use super::mysql::MysqlCheck;
use super::postgres::{PostgresCheck, PostgresRole};
use super::redis::{RedisCheck, RedisRole};
use super::smtp::SmtpCheck;
use super::tcp::TcpCheck;
#[cfg(feature = "tls")]
use super::tls::{Tls, TlsCheck};

type Parsed = Result<Arc<dyn HealthCheck>, ConfigError>;

/// All forms, for errors; in the order of the table of [`parse`].
const FORMS: &[&str] = &[
    "tcp",
    #[cfg(feature = "http")]
    "http:/PATH",
    #[cfg(all(feature = "http", feature = "tls"))]
    "https:/PATH",
    #[cfg(feature = "http2")]
    "h2:/PATH",
    #[cfg(all(feature = "http2", feature = "tls"))]
    "h2s:/PATH",
    #[cfg(feature = "grpc")]
    "grpc[:SERVICE]",
    #[cfg(all(feature = "grpc", feature = "tls"))]
    "grpcs[:SERVICE]",
    #[cfg(feature = "tls")]
    "tls[:NAME]",
    "redis[:master|:replica][@[USER]:PASSWORD]",
    #[cfg(not(feature = "postgres"))]
    "postgres[:primary|:replica][@USER]",
    #[cfg(feature = "postgres")]
    "postgres[:primary|:replica][@USER[:PASSWORD]]",
    "mysql[@USER]",
    #[cfg(feature = "mysql")]
    "galera[:writer|:donor|:writer+donor]@USER[:PASSWORD]",
    "smtp[:NAME]",
    "ldap[@NAME:PASSWORD]",
    #[cfg(feature = "command")]
    "command:/PROGRAM [ARGUMENT…]",
];

/// Reads a check as flags and files name it.
///
/// | form | check | feature |
/// |---|---|---|
/// | `tcp` | a connection is accepted | |
/// | `http:/PATH` | `GET` is answered with 200 to 399 | `http` |
/// | `https:/PATH` | the same over TLS | `http`, `tls` |
/// | `h2:/PATH` | the same by HTTP/2 in the clear, with prior knowledge | `http2` |
/// | `h2s:/PATH` | the same by HTTP/2 over TLS | `http2`, `tls` |
/// | `grpc[:SERVICE]` | `grpc.health.v1` says `SERVING` of the service, or of the server | `grpc` |
/// | `grpcs[:SERVICE]` | the same over TLS | `grpc`, `tls` |
/// | `tls[:NAME]` | a TLS handshake, which asks for the name | `tls` |
/// | `redis[:master\|:replica][@[USER]:PASSWORD]` | Redis answers, in this role | |
/// | `postgres[:primary\|:replica][@USER]` | PostgreSQL answers, in this role | |
/// | `postgres[…]@USER:PASSWORD` | the same with a login | `postgres` |
/// | `mysql[@USER]` | MySQL greets; or lets the user in, without a password | |
/// | `galera[:writer\|:donor\|:writer+donor]@USER[:PASSWORD]` | a Galera node is usable; not read-only; even as a donor | `mysql` |
/// | `smtp[:NAME]` | a mail server answers `EHLO` of this name | |
/// | `ldap[@NAME:PASSWORD]` | an anonymous bind, or one as this name | |
/// | `command:/PROGRAM [ARGUMENT…]` | a program ends with code 0; arguments are what spaces divide, HAProxy's if there are none | `command` |
///
/// What follows a password's colon is the password, whatever is in it. Logins are sent in the
/// clear where the protocol has no better; the forms with TLS **do not verify certificates**, as
/// Kubernetes' probes do not: make those checks in code where that matters
/// (`Tls::trusting`). Errors do not show passwords; the command line of a process does: keep them
/// in files.
///
/// ```
/// assert!(ha_lb::health::parse("tcp").is_ok());
/// assert!(ha_lb::health::parse("redis:master@:secret").is_ok());
/// # #[cfg(feature = "http")] {
/// let error = ha_lb::health::parse("http:health").unwrap_err().to_string();
/// assert!(error.starts_with("check.path: health is not allowed: a path that starts with '/'"));
/// # }
/// let error = ha_lb::health::parse("ping").unwrap_err().to_string();
/// assert!(error.starts_with("check: ping is not allowed: tcp, "));
/// ```
///
/// # Errors
///
/// When it is none of these, or says something that its check does not allow.
pub fn parse(text: &str) -> Parsed {
    let end = text.find([':', '@']).unwrap_or(text.len());
    let (name, rest) = text.split_at_checked(end).unwrap_or((text, ""));
    // Everything after the colon; with a login, what is before the `@` and the login.
    let argument = rest.strip_prefix(':');
    let words = || Words::read(name, rest);
    match name {
        "tcp" if rest.is_empty() => checked(TcpCheck::new()),
        #[cfg(feature = "command")]
        "command" => command(argument.unwrap_or_default()),
        #[cfg(feature = "http")]
        "http" => checked(HttpCheck::new(argument.unwrap_or_default())?),
        #[cfg(all(feature = "http", feature = "tls"))]
        "https" => {
            let check = HttpCheck::new(argument.unwrap_or_default())?;
            checked(check.with_tls(Tls::without_verification()))
        }
        #[cfg(feature = "http2")]
        "h2" => {
            let check = HttpCheck::new(argument.unwrap_or_default())?;
            checked(check.with_version(HttpVersion::Http2))
        }
        #[cfg(all(feature = "http2", feature = "tls"))]
        "h2s" => {
            let check = HttpCheck::new(argument.unwrap_or_default())?;
            let check = check.with_version(HttpVersion::Http2);
            checked(check.with_tls(Tls::without_verification()))
        }
        #[cfg(feature = "grpc")]
        "grpc" if !rest.starts_with('@') => {
            checked(GrpcCheck::new().with_service(argument.unwrap_or_default())?)
        }
        #[cfg(all(feature = "grpc", feature = "tls"))]
        "grpcs" if !rest.starts_with('@') => {
            let check = GrpcCheck::new().with_service(argument.unwrap_or_default())?;
            checked(check.with_tls(Tls::without_verification()))
        }
        #[cfg(feature = "tls")]
        "tls" if !rest.starts_with('@') => {
            let tls = Tls::without_verification();
            let named = argument.map(|name| tls.clone().with_server_name(name)).transpose()?;
            checked(TlsCheck::new(named.unwrap_or(tls)))
        }
        "redis" => redis(&words()),
        "postgres" => postgres(&words()),
        "mysql" => mysql(&words()),
        #[cfg(feature = "mysql")]
        "galera" => galera(&words()),
        "smtp" if !rest.starts_with('@') => {
            let check = SmtpCheck::new();
            checked(argument.map_or(Ok(check.clone()), |name| check.with_name(name))?)
        }
        "ldap" => ldap(&words()),
        // A check that is written elsewhere: an arm here, its form above and in the table.
        _ => Err(refused(name, rest)),
    }
}

#[expect(clippy::unnecessary_wraps, reason = "it ends arms that can fail")]
fn checked(check: impl HealthCheck + 'static) -> Parsed {
    Ok(Arc::new(check))
}

/// The error of a text that is no form; what may be a password is left out.
fn refused(name: &str, rest: &str) -> ConfigError {
    let shown = rest.split_once('@').map_or(rest.to_owned(), |(what, _)| format!("{what}@…"));
    ConfigError::new("check", format!("{name}{shown}"), FORMS.join(", "))
}

/// `NAME[:WHAT][@USER[:PASSWORD]]`, taken apart.
struct Words<'a> {
    name: &'a str,
    rest: &'a str,
    what: Option<&'a str>,
    user: Option<&'a str>,
    password: Option<&'a str>,
}

impl<'a> Words<'a> {
    fn read(name: &'a str, rest: &'a str) -> Self {
        let (what, login) = match rest.split_once('@') {
            Some((what, login)) => (what, Some(login)),
            None => (rest, None),
        };
        let (user, password) = match login.map(|login| login.split_once(':').ok_or(login)) {
            Some(Ok((user, password))) => (Some(user), Some(password)),
            Some(Err(user)) => (Some(user), None),
            None => (None, None),
        };
        Self { name, rest, what: what.strip_prefix(':'), user, password }
    }

    fn refused(&self) -> ConfigError {
        refused(self.name, self.rest)
    }
}

fn redis(words: &Words<'_>) -> Parsed {
    let check = match words.what {
        None => RedisCheck::new(),
        Some("master") => RedisCheck::new().expect_role(RedisRole::Master),
        Some("replica") => RedisCheck::new().expect_role(RedisRole::Replica),
        Some(_) => return Err(words.refused()),
    };
    match (words.user, words.password) {
        (None, _) => checked(check),
        (Some(""), Some(password)) => checked(check.with_password(password)),
        (Some(user), Some(password)) => checked(check.with_login(user, password)),
        (Some(_), None) => Err(words.refused()),
    }
}

fn postgres(words: &Words<'_>) -> Parsed {
    let check = match words.what {
        None => PostgresCheck::new(),
        Some("primary") => PostgresCheck::new().expect_role(PostgresRole::Primary),
        Some("replica") => PostgresCheck::new().expect_role(PostgresRole::Replica),
        Some(_) => return Err(words.refused()),
    };
    let check = match words.user {
        Some(user) => check.with_user(user)?,
        None => check,
    };
    match words.password {
        None => checked(check),
        #[cfg(feature = "postgres")]
        Some(password) => checked(check.with_password(password)),
        #[cfg(not(feature = "postgres"))]
        Some(_) => Err(words.refused()),
    }
}

#[cfg(feature = "command")]
fn command(line: &str) -> Parsed {
    let mut words = line.split_whitespace();
    let check = CommandCheck::new(words.next().unwrap_or_default())?;
    let arguments: Vec<&str> = words.collect();
    checked(if arguments.is_empty() { check } else { check.with_arguments(arguments) })
}

fn mysql(words: &Words<'_>) -> Parsed {
    match (words.what, words.user, words.password) {
        (None, None, None) => checked(MysqlCheck::new()),
        (None, Some(user), None) => checked(MysqlCheck::new().with_user(user)?),
        _ => Err(words.refused()),
    }
}

#[cfg(feature = "mysql")]
fn galera(words: &Words<'_>) -> Parsed {
    let rules = match words.what {
        None => GaleraRules::new(),
        Some("writer") => GaleraRules::writer(),
        Some("donor") => GaleraRules::new().available_when_donor(),
        Some("writer+donor" | "donor+writer") => GaleraRules::writer().available_when_donor(),
        Some(_) => return Err(words.refused()),
    };
    let user = words.user.ok_or_else(|| words.refused())?;
    let check = GaleraCheck::new(user, words.password.unwrap_or_default())?;
    checked(check.with_rules(rules))
}

fn ldap(words: &Words<'_>) -> Parsed {
    match (words.what, words.user, words.password) {
        (None, None, _) => checked(LdapCheck::new()),
        (None, Some(name), Some(password)) => checked(LdapCheck::new().with_bind(name, password)?),
        (Some(_), ..) | (None, Some(_), None) => Err(words.refused()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_form_is_read() {
        for good in [
            "tcp",
            "redis",
            "redis:master",
            "redis:replica@checker:a:b@c",
            "redis@:secret",
            "postgres",
            "postgres:primary",
            "postgres:replica@checker",
            "mysql",
            "mysql@checker",
            "smtp",
            "smtp:lb.example",
            "ldap",
            "ldap@cn=a,dc=b:secret",
        ] {
            assert!(parse(good).is_ok(), "{good}");
        }
    }

    #[cfg(all(feature = "grpc", feature = "mysql", feature = "postgres", feature = "tls"))]
    #[test]
    fn every_form_of_a_feature_is_read() {
        for (good, part) in [
            ("http:/a@b", "/a@b"),
            ("https:/", "verifies: false"),
            ("h2:/", "version: Http2"),
            ("h2s:/", "version: Http2"),
            ("grpc", "service: \"\""),
            ("grpc:shop.Orders", "service: \"shop.Orders\""),
            ("grpcs", "verifies: false"),
            ("tls", "server_name: None"),
            ("tls:a.example", "server_name: Some(\"a.example\")"),
            ("postgres@checker:secret", "password: Some(***)"),
            ("galera@checker", "writer: false"),
            ("galera:writer@checker:a:@secret", "writer: true"),
            ("galera:writer+donor@checker:x", "when_donor: true, writer: true"),
        ] {
            let shown = format!("{:?}", parse(good).expect(good));
            assert!(shown.contains(part) && !shown.contains("secret"), "{good}: {shown}");
        }
    }

    #[test]
    fn what_is_wrong_is_named_without_the_password() {
        for wrong in [
            "",
            "tcp:80",
            "http",
            "https:health",
            "redis:slave",
            "redis@secret",
            "redis:slave@checker:secret",
            "postgres:master",
            "postgres@:secret",
            "mysql@checker:secret",
            "mysql:x@a:secret",
            "galera",
            "galera:reader@checker:secret",
            "galera@:secret",
            "smtp:two words",
            "ldap:x",
            "ldap@cn=a",
            "ldap@:secret",
            "script@secret:secret",
        ] {
            let error = parse(wrong).expect_err(wrong).to_string();
            assert!(error.starts_with("check"), "{wrong}: {error}");
            assert!(!error.contains("secret"), "{wrong}: {error}");
        }
        let error = parse("redis:slave@checker:secret").expect_err("no such role").to_string();
        assert!(error.starts_with("check: redis:slave@… is not allowed: tcp, "), "{error}");
    }

    proptest! {
        #[test]
        fn arbitrary_texts_are_judged(text: String, form in "(redis|galera|tls)[:@]{0,2}.{0,9}") {
            let _any = parse(&text);
            let _any = parse(&form);
        }
    }
}

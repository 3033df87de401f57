//! How algorithms are written: `NAME[,option=value…]`.

use std::num::NonZeroU8;
use std::str::FromStr;

use ha_core::config::{ConfigError, Problems};

use super::Algorithm;
use super::hash::{Function, HashConfig, Key, Method, UriKey};
use super::single_writer::Failback;

/// The most draws of `random`.
const MAX_DRAWS: u8 = 16;
pub(super) const TWO: NonZeroU8 = NonZeroU8::MIN.saturating_add(1);

const NAMES: &str = "round-robin (roundrobin), static-rr, least-connections (leastconn), least-time, \
                     random[,draws=1…16], peak-ewma, first, single-writer[,failback=always|never], \
                     source, uri[,len=N][,depth=N][,whole=true|false], query,name=PARAMETER, \
                     header,name=HEADER, cookie,name=COOKIE, hash; the last six with \
                     [,hash-type=map-based|consistent|ketama|nginx|maglev|rendezvous|multi-probe|jump]\
                     [,size=N][,function=sdbm|djb2|wt6|crc32|none][,avalanche=true|false]\
                     [,balance-factor=101…65535]";

/// Reads an algorithm with its options.
pub(super) fn algorithm(text: &str) -> Result<Algorithm, ConfigError> {
    let mut parts = text.split(',');
    let name = parts.next().unwrap_or_default();
    let mut options = Options::read(parts, text)?;
    let algorithm = match name {
        "round-robin" | "roundrobin" => Algorithm::RoundRobin,
        "static-rr" => Algorithm::StaticRoundRobin,
        "least-connections" | "leastconn" => Algorithm::LeastConnections,
        "least-time" => Algorithm::LeastTime,
        "random" => Algorithm::Random { draws: draws(&mut options)? },
        "peak-ewma" => Algorithm::PeakEwma,
        "first" => Algorithm::First,
        "single-writer" => Algorithm::SingleWriter { failback: failback(&mut options)? },
        _ => match key(name, &mut options)? {
            Some(key) => Algorithm::Hash(hash(key, &mut options)?),
            None => return Err(ConfigError::new("algorithm", text, NAMES)),
        },
    };
    options.none_left(name)?;
    Ok(algorithm)
}

/// The options of an algorithm that were not looked at yet, and the names of those that were.
struct Options<'a> {
    left: Vec<(&'a str, &'a str)>,
    known: Vec<&'static str>,
}

impl<'a> Options<'a> {
    fn read(parts: impl Iterator<Item = &'a str>, text: &str) -> Result<Self, ConfigError> {
        let mut left: Vec<(&str, &str)> = Vec::new();
        for part in parts {
            let Some((key, value)) = part.split_once('=') else {
                return Err(ConfigError::new("algorithm", text, "NAME[,option=value…]"));
            };
            if left.iter().any(|(known, _)| *known == key) {
                let path = format!("algorithm.{key}");
                return Err(ConfigError::new(path, value, "every option once"));
            }
            left.push((key, value));
        }
        Ok(Self { left, known: Vec::new() })
    }

    fn take(&mut self, key: &'static str) -> Option<&'a str> {
        self.known.push(key);
        let position = self.left.iter().position(|(known, _)| *known == key)?;
        Some(self.left.swap_remove(position).1)
    }

    /// An option that is read by its type and may be restricted further.
    fn parse<T: FromStr>(
        &mut self,
        key: &'static str,
        allowed: &str,
        fits: impl Fn(&T) -> bool,
    ) -> Result<Option<T>, ConfigError> {
        let Some(text) = self.take(key) else {
            return Ok(None);
        };
        let value = text.parse().ok().filter(fits);
        let error = || ConfigError::new(format!("algorithm.{key}"), text, allowed);
        value.map(Some).ok_or_else(error)
    }

    fn flag(&mut self, key: &'static str) -> Result<Option<bool>, ConfigError> {
        self.parse(key, "true or false", |_| true)
    }

    fn none_left(&self, name: &str) -> Result<(), ConfigError> {
        let Some((key, value)) = self.left.first() else {
            return Ok(());
        };
        let allowed = match &*self.known {
            [] => format!("{name} has no options"),
            [only] => format!("{name} has the option {only}"),
            several => format!("{name} has the options {}", several.join(", ")),
        };
        Err(ConfigError::new(format!("algorithm.{key}"), value, allowed))
    }
}

fn draws(options: &mut Options<'_>) -> Result<NonZeroU8, ConfigError> {
    let draws = options.parse("draws", "1 to 16", |draws: &NonZeroU8| draws.get() <= MAX_DRAWS)?;
    Ok(draws.unwrap_or(TWO))
}

fn failback(options: &mut Options<'_>) -> Result<Failback, ConfigError> {
    match options.take("failback") {
        None | Some("always") => Ok(Failback::Always),
        Some("never") => Ok(Failback::Never),
        Some(other) => Err(ConfigError::new("algorithm.failback", other, "always or never")),
    }
}

/// Reads what requests are told apart by, as the algorithms that hash are written.
pub(super) fn key_alone(text: &str) -> Result<Key, ConfigError> {
    let allowed = "source, uri[,len=N][,depth=N][,whole=true|false], query,name=PARAMETER, \
                   header,name=HEADER or cookie,name=COOKIE";
    let mut parts = text.split(',');
    let name = parts.next().unwrap_or_default();
    let wrong = |error: &ConfigError| renamed(error, "key");
    let mut options = Options::read(parts, text).map_err(|error| wrong(&error))?;
    let key = key(name, &mut options).map_err(|error| wrong(&error))?;
    let key = key.filter(|key| *key != Key::Bytes);
    let key = key.ok_or_else(|| ConfigError::new("key", text, allowed))?;
    options.none_left(name).map_err(|error| wrong(&error))?;
    Ok(key)
}

/// The same problems of something that is not an algorithm.
fn renamed(error: &ConfigError, name: &str) -> ConfigError {
    let mut problems = Problems::new();
    for problem in error.problems() {
        let path = problem.path.replacen("algorithm", name, 1);
        problems.add(path, &problem.value, problem.allowed.clone());
    }
    problems.into_result(()).err().unwrap_or_else(|| error.clone())
}

/// What an algorithm of this name places by; `None` if it is none that hashes.
fn key(name: &str, options: &mut Options<'_>) -> Result<Option<Key>, ConfigError> {
    Ok(Some(match name {
        "source" => Key::Source,
        "hash" => Key::Bytes,
        "uri" => {
            let number = "0 to 65535; 0 is no limit";
            let len = options.parse("len", number, |_| true)?.unwrap_or_default();
            let depth = options.parse("depth", number, |_| true)?.unwrap_or_default();
            let whole = options.flag("whole")?.unwrap_or_default();
            Key::Uri(UriKey::default().with_len(len).with_depth(depth).with_whole(whole))
        }
        "query" | "header" | "cookie" => {
            let allowed = "a name of 1 to 128 printable characters without = and ,";
            let fits = |name: &String| {
                (1..=128).contains(&name.len())
                    && name.chars().all(|c| c.is_ascii_graphic() && c != '=')
            };
            let Some(field) = options.parse("name", allowed, fits)? else {
                return Err(ConfigError::new("algorithm.name", "nothing", allowed));
            };
            match name {
                "query" => Key::Query(field.into()),
                "header" => Key::Header(field.into()),
                _ => Key::Cookie(field.into()),
            }
        }
        _ => return Ok(None),
    }))
}

fn hash(key: Key, options: &mut Options<'_>) -> Result<HashConfig, ConfigError> {
    let method = match options.take("hash-type") {
        None | Some("map-based") => Method::MapBased,
        Some("consistent") => Method::Consistent,
        Some("ketama") => Method::Ketama,
        Some("nginx") => Method::Nginx,
        Some("maglev") => {
            let most = super::hash::MAX_MAGLEV_SIZE;
            let allowed = format!("2 to {most}, up to the next prime");
            let size = options.parse("size", &allowed, |size| (2..=most).contains(size))?;
            Method::Maglev { size: size.unwrap_or(super::hash::MAGLEV_SIZE) }
        }
        Some("rendezvous") => Method::Rendezvous,
        Some("multi-probe") => Method::MultiProbe,
        Some("jump") => Method::Jump,
        Some(other) => {
            let allowed =
                "map-based, consistent, ketama, nginx, maglev, rendezvous, multi-probe or jump";
            return Err(ConfigError::new("algorithm.hash-type", other, allowed));
        }
    };
    let mut config = HashConfig::new(key, method);
    if method.is_haproxys() {
        if let Some(function) = options.take("function").map(str::parse::<Function>).transpose()? {
            config = config.with_function(function);
        }
        if let Some(avalanche) = options.flag("avalanche")? {
            config = config.with_avalanche(avalanche);
        }
    }
    let allowed = "101 to 65535 (percent)";
    if let Some(factor) = options.parse("balance-factor", allowed, |factor: &u16| *factor > 100)? {
        config = config.with_balance_factor(factor);
    }
    Ok(config)
}

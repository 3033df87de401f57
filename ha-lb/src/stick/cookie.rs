//! A cookie that names the endpoint.
//!
//! # Source
//!
//! HAProxy's `cookie NAME insert|prefix|rewrite [indirect] [httponly] [secure] [domain] [maxlife]`;
//! cookies themselves are RFC 6265.

use std::str::FromStr;
use std::time::Duration;

use ha_core::config::{ConfigError, Problems};
use ha_core::id::EndpointName;

/// What stands between an endpoint's name and the application's value, as in HAProxy.
const DELIMITER: char = '~';

/// Whose cookie it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[expect(clippy::exhaustive_enums, reason = "those of HAProxy")]
pub enum CookieMode {
    /// A cookie of the balancer's own, which endpoints do not see. The default.
    #[default]
    Insert,
    /// The application's cookie, with the endpoint's name before its value; endpoints see their value.
    Prefix,
    /// The application sets a cookie of this name for the balancer, which puts the name in.
    Rewrite,
}

/// How the client's cookie names its endpoint.
///
/// ```
/// use ha_lb::stick::{Cookie, CookieMode};
///
/// let cookie = Cookie::new("SERVERID", CookieMode::Insert)?;
/// let found = cookie.read("lang=en; SERVERID=web-1");
/// assert_eq!(found.endpoint.as_ref().map(|name| name.as_str()), Some("web-1"));
/// assert_eq!(found.forward.as_deref(), Some("lang=en"), "endpoints do not see it");
/// assert_eq!(cookie.set(&"web-1".parse()?), "SERVERID=web-1; Path=/; HttpOnly");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cookie {
    name: Box<str>,
    mode: CookieMode,
    secure: bool,
    domain: Option<Box<str>>,
    max_age: Option<Duration>,
}

/// What was read in a request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Found {
    /// The endpoint that the cookie names.
    pub endpoint: Option<EndpointName>,
    /// The `Cookie` header for the endpoint; `None` if nothing is left of it.
    pub forward: Option<String>,
}

impl Cookie {
    /// A cookie of this name.
    ///
    /// # Errors
    ///
    /// When the name is not a token of RFC 6265, section 4.1.1, of 1 to 64 characters.
    pub fn new(name: &str, mode: CookieMode) -> Result<Self, ConfigError> {
        let token = |c: char| c.is_ascii_graphic() && !"()<>@,;:\\\"/[]?={}".contains(c);
        if name.is_empty() || name.len() > 64 || !name.chars().all(token) {
            let allowed = "1 to 64 letters, digits and !#$%&'*+-.^_`|~";
            return Err(ConfigError::new("cookie", name, allowed));
        }
        Ok(Self { name: name.into(), mode, secure: false, domain: None, max_age: None })
    }

    /// Sets whether it is for encrypted connections only (HAProxy's `secure`). Default: no.
    #[must_use]
    pub const fn with_secure(mut self, secure: bool) -> Self {
        self.secure = secure;
        self
    }

    /// Sets the domain that it is for (HAProxy's `domain`). Default: the host that was asked.
    ///
    /// # Errors
    ///
    /// When it has other characters than letters, digits, dots and hyphens.
    pub fn with_domain(mut self, domain: &str) -> Result<Self, ConfigError> {
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == '-';
        if domain.is_empty() || domain.len() > 253 || !domain.chars().all(fits) {
            let allowed = "a domain of letters, digits, dots and hyphens";
            return Err(ConfigError::new("cookie.domain", domain, allowed));
        }
        self.domain = Some(domain.into());
        Ok(self)
    }

    /// Sets how long clients keep it, in whole seconds (HAProxy's `maxlife`). Default: until the
    /// browser is closed.
    #[must_use]
    pub const fn with_max_age(mut self, max_age: Duration) -> Self {
        self.max_age = Some(max_age);
        self
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whose cookie it is.
    #[must_use]
    pub const fn mode(&self) -> CookieMode {
        self.mode
    }

    /// Reads a `Cookie` header: which endpoint it names, and what the endpoint is to see of it.
    #[must_use]
    pub fn read(&self, header: &str) -> Found {
        let mut found = Found::default();
        let mut forward: Vec<String> = Vec::new();
        for pair in header.split(';').map(str::trim).filter(|pair| !pair.is_empty()) {
            let ours = pair.split_once('=').filter(|(name, _)| *name == &*self.name);
            let Some((name, value)) = ours else {
                forward.push(pair.to_owned());
                continue;
            };
            let (endpoint, rest) = match (self.mode, value.split_once(DELIMITER)) {
                (CookieMode::Insert, _) => (value, None),
                (CookieMode::Rewrite, _) => (value, Some(value)),
                (CookieMode::Prefix, Some((endpoint, rest))) => (endpoint, Some(rest)),
                // Of the time before the balancer.
                (CookieMode::Prefix, None) => ("", Some(value)),
            };
            if found.endpoint.is_none() {
                found.endpoint = EndpointName::new(endpoint).ok();
            }
            forward.extend(rest.map(|rest| format!("{name}={rest}")));
        }
        found.forward = (!forward.is_empty()).then(|| forward.join("; "));
        found
    }

    /// The `Set-Cookie` header that has a client remember its endpoint, in the mode
    /// [`Insert`](CookieMode::Insert).
    #[must_use]
    pub fn set(&self, endpoint: &EndpointName) -> String {
        let mut text = format!("{}={endpoint}; Path=/; HttpOnly", self.name);
        if self.secure {
            text.push_str("; Secure");
        }
        if let Some(domain) = &self.domain {
            text.push_str("; Domain=");
            text.push_str(domain);
        }
        if let Some(max_age) = self.max_age {
            text.push_str("; Max-Age=");
            text.push_str(&max_age.as_secs().to_string());
        }
        text
    }

    /// The `Set-Cookie` header of an endpoint with its name in it, in the modes
    /// [`Prefix`](CookieMode::Prefix) and [`Rewrite`](CookieMode::Rewrite); `None` if it is to
    /// be passed on as it is.
    #[must_use]
    pub fn rewrite(&self, set_cookie: &str, endpoint: &EndpointName) -> Option<String> {
        let (name, rest) = set_cookie.split_once('=')?;
        if name.trim() != &*self.name {
            return None;
        }
        let (value, attributes) = match rest.split_once(';') {
            Some((value, attributes)) => (value, Some(attributes)),
            None => (rest, None),
        };
        let value = match self.mode {
            CookieMode::Insert => return None,
            CookieMode::Prefix => format!("{endpoint}{DELIMITER}{}", value.trim()),
            CookieMode::Rewrite => endpoint.to_string(),
        };
        let attributes = attributes.map(|attributes| format!(";{attributes}")).unwrap_or_default();
        Some(format!("{}={value}{attributes}", self.name))
    }
}

impl FromStr for Cookie {
    type Err = ConfigError;

    /// Reads `NAME[,mode=insert|prefix|rewrite][,secure=true|false][,domain=D][,max-age=SECONDS]`.
    ///
    /// ```
    /// use ha_lb::stick::{Cookie, CookieMode};
    ///
    /// let cookie: Cookie = "SERVERID,secure=true,max-age=3600".parse()?;
    /// assert_eq!((cookie.name(), cookie.mode()), ("SERVERID", CookieMode::Insert));
    /// let error = "SERVERID,mode=hide,colour=red".parse::<Cookie>().unwrap_err().to_string();
    /// assert!(error.contains("cookie.mode: hide") && error.contains("cookie.colour: red"));
    /// # Ok::<(), ha_core::config::ConfigError>(())
    /// ```
    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let mut parts = text.split(',');
        let mut cookie = Self::new(parts.next().unwrap_or_default(), CookieMode::Insert)?;
        let mut problems = Problems::new();
        for part in parts {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            let path = format!("cookie.{key}");
            match (key, value) {
                ("mode", "insert") => cookie.mode = CookieMode::Insert,
                ("mode", "prefix") => cookie.mode = CookieMode::Prefix,
                ("mode", "rewrite") => cookie.mode = CookieMode::Rewrite,
                ("mode", other) => problems.add(path, other, "insert, prefix or rewrite"),
                ("secure", "true") => cookie.secure = true,
                ("secure", "false") => cookie.secure = false,
                ("secure", other) => problems.add(path, other, "true or false"),
                ("domain", domain) => match cookie.clone().with_domain(domain) {
                    Ok(with_domain) => cookie = with_domain,
                    Err(error) => problems.absorb(error),
                },
                ("max-age", seconds) => match seconds.parse::<u32>() {
                    Ok(seconds) => cookie.max_age = Some(Duration::from_secs(seconds.into())),
                    Err(_) => problems.add(path, seconds, "0 to 4294967295 (seconds)"),
                },
                (_, value) => problems.add(path, value, "mode, secure, domain or max-age"),
            }
        }
        problems.into_result(cookie)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_prefix_comes_and_goes() {
        let cookie = Cookie::new("SID", CookieMode::Prefix).expect("a token");
        let s1 = "s1".parse().expect("a name");
        let set = cookie.rewrite("SID=a~b; Path=/app", &s1);
        assert_eq!(set.as_deref(), Some("SID=s1~a~b; Path=/app"));
        let found = cookie.read("SID=s1~a~b; x=1");
        assert_eq!((found.endpoint, found.forward.as_deref()), (Some(s1), Some("SID=a~b; x=1")));
        let old = cookie.read("SID=ab");
        assert_eq!((old.endpoint, old.forward.as_deref()), (None, Some("SID=ab")));
    }

    #[test]
    fn others_cookies_are_left_alone() {
        let cookie = Cookie::new("SID", CookieMode::Rewrite).expect("a token");
        let s1 = "s1".parse().expect("a name");
        assert_eq!(cookie.rewrite("other=1; Path=/", &s1), None);
        assert_eq!(cookie.rewrite("SID=; Path=/", &s1).as_deref(), Some("SID=s1; Path=/"));
        assert_eq!(cookie.read("XSID=s1").endpoint, None);
        assert!(Cookie::new("a b", CookieMode::Insert).is_err());
    }

    proptest! {
        #[test]
        fn any_header_is_read(header: String, mode in 0..3_usize) {
            let mode = [CookieMode::Insert, CookieMode::Prefix, CookieMode::Rewrite][mode];
            let cookie = Cookie::new("SID", mode).expect("a token");
            let found = cookie.read(&header);
            if mode == CookieMode::Insert {
                prop_assert!(!found.forward.unwrap_or_default().split("; ").any(|p| p.starts_with("SID=")));
            }
            let _answer = cookie.rewrite(&header, &"s1".parse().expect("a name"));
        }
    }
}

//! What a proxy does to heads: vet, strip what is for one hop only, say who asked.

use std::net::IpAddr;

use ha_core::id::EndpointName;
use hyper::header::{
    CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, HOST, HeaderMap, HeaderName,
    HeaderValue, SET_COOKIE, TE, TRANSFER_ENCODING, UPGRADE,
};
use hyper::http::request;
use hyper::http::uri::Authority;
use hyper::{Method, StatusCode, Uri, Version};

use crate::algorithm::hash::{Key, cookie, query_parameter};
use crate::stick::{Cookie, CookieMode};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// A request that is answered by the proxy itself.
pub(super) type Refusal = (StatusCode, &'static str);

/// Refuses what must not be passed on.
pub(super) fn vet(head: &request::Parts) -> Result<(), Refusal> {
    if head.method == Method::CONNECT {
        return Err((StatusCode::NOT_IMPLEMENTED, "CONNECT is not possible here"));
    }
    // RFC 9112 §3.2: no Host in HTTP/1.1, or more than one, is answered by 400.
    let mut hosts = head.headers.get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(_), Some(_)) => Err((StatusCode::BAD_REQUEST, "more than one Host header")),
        (None, _) if head.version == Version::HTTP_11 => {
            Err((StatusCode::BAD_REQUEST, "the Host header is missing"))
        }
        _ => Ok(()),
    }
}

/// The bytes that a request is placed by; none if it does not have them.
pub(super) fn key(head: &request::Parts, key: &Key) -> Vec<u8> {
    let target = head.uri.path_and_query().map_or("", |target| target.as_str()).as_bytes();
    let bytes = match key {
        Key::Source | Key::Bytes => None,
        Key::Uri(uri) => Some(uri.of(target)),
        Key::Query(name) => query_parameter(target, name),
        Key::Header(name) => head.headers.get(&**name).map(HeaderValue::as_bytes),
        Key::Cookie(name) => {
            let mut cookies = head.headers.get_all(COOKIE).iter();
            cookies.find_map(|header| cookie(header.as_bytes(), name))
        }
    };
    bytes.unwrap_or_default().to_vec()
}

/// The endpoint that a client's cookie names; takes from the head what the endpoint is not to see.
pub(super) fn take_cookie(headers: &mut HeaderMap, cookie: &Cookie) -> Option<EndpointName> {
    // RFC 6265 §5.4 allows one header; some clients send more.
    let texts: Vec<&str> =
        headers.get_all(COOKIE).iter().map(HeaderValue::to_str).collect::<Result<_, _>>().ok()?;
    if texts.is_empty() {
        return None;
    }
    let found = cookie.read(&texts.join("; "));
    match found.forward.map(HeaderValue::try_from) {
        Some(Ok(rest)) => {
            headers.insert(COOKIE, rest);
        }
        // Nothing is left; what was a header before can be one again, so an error is not reached.
        None | Some(Err(_)) => {
            headers.remove(COOKIE);
        }
    }
    found.endpoint
}

/// Has the client remember the endpoint that answered, unless it does already.
pub(super) fn set_cookie(
    headers: &mut HeaderMap,
    cookie: &Cookie,
    known: Option<&EndpointName>,
    answered: &EndpointName,
) {
    match cookie.mode() {
        CookieMode::Insert => {
            if known != Some(answered)
                && let Ok(set) = HeaderValue::try_from(cookie.set(answered))
            {
                headers.append(SET_COOKIE, set);
                headers.append(CACHE_CONTROL, HeaderValue::from_static("private"));
            }
        }
        CookieMode::Prefix | CookieMode::Rewrite => {
            let named = |value: &HeaderValue| {
                let set = cookie.rewrite(value.to_str().ok()?, answered)?;
                HeaderValue::try_from(set).ok()
            };
            let before: Vec<HeaderValue> = headers.get_all(SET_COOKIE).iter().cloned().collect();
            if before.iter().any(|value| named(value).is_some()) {
                headers.remove(SET_COOKIE);
                for value in before {
                    headers.append(SET_COOKIE, named(&value).unwrap_or(value));
                }
                headers.append(CACHE_CONTROL, HeaderValue::from_static("private"));
            }
        }
    }
}

/// Makes the head that goes to the endpoint.
pub(super) fn forward_request(head: &mut request::Parts, client: IpAddr) {
    origin_form(head);
    let upgrade = strip(&mut head.headers);
    // It was answered by this hop's server already.
    head.headers.remove(EXPECT);
    append_client(&mut head.headers, client);
    if let Some(protocol) = upgrade {
        restore_upgrade(&mut head.headers, protocol);
    }
    head.version = Version::HTTP_11;
}

/// Makes the head that goes to the client; an upgrade is kept if the status says so.
pub(super) fn forward_response(status: StatusCode, headers: &mut HeaderMap) {
    let upgrade = strip(headers);
    if let (Some(protocol), StatusCode::SWITCHING_PROTOCOLS) = (upgrade, status) {
        restore_upgrade(headers, protocol);
    }
}

/// RFC 9112 §3.2.2: a target in absolute form names the host, whatever `Host` says.
fn origin_form(head: &mut request::Parts) {
    if let Some(host) = head.uri.authority().map(Authority::as_str) {
        let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
        if let Ok(host) = HeaderValue::from_str(host) {
            head.headers.insert(HOST, host);
        }
    }
    if head.uri.scheme().is_some() || head.uri.authority().is_some() {
        let path = head.uri.path_and_query().cloned();
        head.uri = path.map_or_else(Uri::default, Uri::from);
    }
}

/// Removes what is for one hop only (RFC 9110 §7.6.1); returns the protocol of an upgrade.
fn strip(headers: &mut HeaderMap) -> Option<HeaderValue> {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|token| token.trim().parse().ok())
        .collect();
    let upgrade = named.contains(&UPGRADE).then(|| headers.get(UPGRADE).cloned()).flatten();
    for name in &named {
        // What frames and routes a message is not for a client to remove.
        if *name != HOST && *name != CONTENT_LENGTH {
            headers.remove(name);
        }
    }
    for name in [CONNECTION, KEEP_ALIVE, PROXY_CONNECTION, TE, TRANSFER_ENCODING, UPGRADE] {
        headers.remove(name);
    }
    upgrade
}

fn restore_upgrade(headers: &mut HeaderMap, protocol: HeaderValue) {
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, protocol);
}

fn append_client(headers: &mut HeaderMap, client: IpAddr) {
    let mut all = Vec::new();
    for value in headers.get_all(FORWARDED_FOR) {
        all.extend_from_slice(value.as_bytes());
        all.extend_from_slice(b", ");
    }
    all.extend_from_slice(client.to_string().as_bytes());
    if let Ok(value) = HeaderValue::from_bytes(&all) {
        headers.insert(FORWARDED_FOR, value);
    }
}

#[cfg(test)]
mod tests {
    use hyper::Request;

    use super::*;

    fn forwarded(request: request::Builder) -> request::Parts {
        let mut head = request.body(()).expect("a request").into_parts().0;
        forward_request(&mut head, [192, 0, 2, 7].into());
        head
    }

    #[test]
    fn what_is_for_one_hop_only_is_not_passed_on() {
        let head = forwarded(
            Request::get("/a?b")
                .header("host", "shop")
                .header("connection", "keep-alive, X-Hop, host")
                .header("x-hop", "1")
                .header("te", "trailers")
                .header("proxy-connection", "keep-alive")
                .header("upgrade", "h2c")
                .header("x-kept", "1"),
        );
        let names: Vec<_> = head.headers.keys().map(HeaderName::as_str).collect();
        assert_eq!(names, ["host", "x-kept", "x-forwarded-for"]);
    }

    #[test]
    fn the_client_is_appended_to_those_before_it() {
        let head = forwarded(
            Request::get("/").header("x-forwarded-for", "a").header("x-forwarded-for", "b"),
        );
        assert_eq!(head.headers["x-forwarded-for"], "a, b, 192.0.2.7");
    }

    #[test]
    fn an_absolute_target_becomes_a_path_and_names_the_host() {
        let head = forwarded(Request::get("http://me@other:81/p?q").header("host", "shop"));
        assert_eq!(head.uri, "/p?q");
        assert_eq!(head.headers["host"], "other:81");
        let head = forwarded(Request::get("http://other").header("host", "shop"));
        assert_eq!(head.uri, "/");
    }

    #[test]
    fn an_upgrade_is_kept_only_if_connection_names_it() {
        let request = || Request::get("/").header("upgrade", "websocket");
        let head = forwarded(request().header("connection", "Upgrade"));
        assert_eq!(
            (&head.headers["connection"], &head.headers["upgrade"]),
            (&HeaderValue::from_static("upgrade"), &HeaderValue::from_static("websocket"),)
        );
        assert!(!forwarded(request()).headers.contains_key("upgrade"));
    }
}

//! HTTP/1.1 and HTTP/2 of nginx and nghttpd, in the clear and over TLS, and gRPC's Python server.

use std::net::SocketAddr;

use ha_lb::health::grpc::GrpcCheck;
use ha_lb::health::http::{HttpCheck, HttpVersion, Statuses};
use ha_lb::health::tls::Tls;

use super::daemon::{Place, certificates, free, missing, once, passes};

fn path(path: &str) -> HttpCheck {
    HttpCheck::new(path).expect("a path")
}

#[tokio::test]
async fn nginx_is_asked_by_both_versions_in_the_clear_and_over_tls() {
    let needed = ["nginx", "openssl"];
    if missing("nginx_is_asked_by_both_versions_in_the_clear_and_over_tls", &needed) {
        return;
    }
    let place = Place::new();
    certificates(&place);
    let [clear, tls, only_one] = free().await;
    let folder = place.path().display();
    let config = format!(
        r#"daemon off; master_process off; pid {folder}/pid; error_log stderr; user root;
        events {{}}
        http {{ access_log off; client_body_temp_path {folder}/a; proxy_temp_path {folder}/b;
          fastcgi_temp_path {folder}/c; uwsgi_temp_path {folder}/d; scgi_temp_path {folder}/e;
          ssl_certificate {folder}/server.pem; ssl_certificate_key {folder}/server.key;
          server {{ listen {clear}; listen {tls} ssl http2; listen {only_one} ssl;
            add_header x-ready yes; add_header x-version $server_protocol;
            location /health {{ return 200 "all is well by $server_protocol for $host"; }}
            location /token {{ if ($http_x_token != "geheim") {{ return 403; }} return 204; }}
            location /post {{ if ($request_method != POST) {{ return 405; }}
              if ($content_length != 4) {{ return 400; }} return 200; }}
            location /gone {{ return 503; }} location /moved {{ return 301 /health; }} }} }}"#
    );
    let file = place.write("nginx.conf", config);
    let _server = place.start("nginx", &["-c", &file, "-e", "stderr"]);
    assert_eq!(passes(&path("/health"), clear).await, "status 200 OK");

    let two = |check: HttpCheck| check.with_version(HttpVersion::Http2);
    let either = |check: HttpCheck| check.with_version(HttpVersion::Negotiated);
    let root = std::fs::read(place.join("root.pem")).expect("made");
    let trusting = Tls::trusting(root).expect("a root");
    let secured = |check: HttpCheck| check.with_tls(trusting.clone());
    let said = |version: &str| path("/health").expect_body(format!("well by {version}"));
    for (check, address) in [
        (said("HTTP/1.1"), clear),
        (secured(said("HTTP/1.1")), tls),
        (secured(two(said("HTTP/2.0"))), tls),
        (secured(either(said("HTTP/2.0"))), tls),
        (secured(either(said("HTTP/1.1"))), only_one),
        (either(said("HTTP/1.1")), clear),
        (path("/health").with_port(clear.port()), tls),
    ] {
        assert_eq!(once(&check, address).await, "+status 200 OK", "{check:?}");
    }
    let refused = once(&secured(two(path("/health"))), only_one).await;
    assert!(refused.starts_with("-no TLS: ") || refused.ends_with("by ALPN"), "{refused}");
    let untrusted = once(
        &path("/").with_tls(
            Tls::trusting(include_str!("../../testdata/health/root.pem")).expect("a root"),
        ),
        tls,
    )
    .await;
    assert!(untrusted.starts_with("-no TLS: invalid peer certificate: "), "{untrusted}");

    responses_are_judged(&secured, tls).await;
    responses_are_judged(|check| two(secured(check)), tls).await;
}

async fn responses_are_judged(over: impl Fn(HttpCheck) -> HttpCheck, address: SocketAddr) {
    let ask = |check: HttpCheck| {
        let check = over(check);
        async move { once(&check, address).await }
    };
    let token = path("/token").with_header("x-token", "geheim").expect("a header");
    assert_eq!(ask(token).await, "+status 204 No Content");
    assert_eq!(ask(path("/token")).await, "-status 403 Forbidden, not 200-399");
    let post = path("/post").with_method("POST").expect("a method").with_body("ping");
    assert_eq!(ask(post).await, "+status 200 OK");
    assert_eq!(ask(path("/moved")).await, "+status 301 Moved Permanently");
    let some: Statuses = "200-299,304".parse().expect("statuses");
    let some = path("/moved").expect_status(some);
    assert_eq!(ask(some).await, "-status 301 Moved Permanently, not 200-299,304");
    assert_eq!(ask(path("/gone").expect_status(503)).await, "+status 503 Service Unavailable");
    let ready = |value| path("/health").expect_header_value("x-ready", value).expect("a header");
    assert_eq!(ask(ready("yes")).await, "+status 200 OK");
    let not = ask(ready("no")).await;
    assert_eq!(not, "-status 200 OK, header x-ready is \"yes\", not \"no\"");
    let absent = path("/health").expect_header("x-absent").expect("a header");
    assert_eq!(ask(absent).await, "-status 200 OK, header x-absent is missing");
    let host = path("/health").with_host("shop.example").expect("a host");
    assert_eq!(ask(host.expect_body("for shop.example")).await, "+status 200 OK");
    let well = ask(path("/health").reject_body("well")).await;
    assert_eq!(well, "-status 200 OK, \"well\" in body");
}

#[tokio::test]
async fn nghttpd_is_asked_with_prior_knowledge() {
    if missing("nghttpd_is_asked_with_prior_knowledge", &["nghttpd"]) {
        return;
    }
    let place = Place::new();
    place.write("index.html", "ready".repeat(100_000));
    let [address] = free().await;
    let port = address.port().to_string();
    let folder = place.path().to_str().expect("text");
    let _server = place.start("nghttpd", &["--no-tls", "-a", "127.0.0.1", "-d", folder, &port]);
    let two = |path_: &str| path(path_).with_version(HttpVersion::Http2);
    assert_eq!(passes(&two("/index.html"), address).await, "status 200 OK");
    // More than is read of a body: the check ends all the same.
    assert_eq!(once(&two("/index.html").expect_body("ready"), address).await, "+status 200 OK");
    let absent = once(&two("/index.html").expect_body("steady"), address).await;
    assert_eq!(absent, "-status 200 OK, no \"steady\" in body");
    assert_eq!(once(&two("/none"), address).await, "-status 404 Not Found, not 200-399");
    let one = once(&path("/index.html"), address).await;
    assert!(one.starts_with("-no answer: "), "{one}");
    let not = once(&GrpcCheck::new(), address).await;
    assert_eq!(not, "-status 404 Not Found, not gRPC");
}

/// The health service, written with gRPC's own library but without generated code.
const SERVER: &str = r#"
import sys, time
from concurrent import futures
import grpc

def check(request, context):
    service = request[2:].decode()
    if service == "boom":
        context.abort(grpc.StatusCode.INTERNAL, "the disk is on fire")
    answers = {"": 1, "shop.Orders": 1, "down": 2, "strange": 3}
    if service not in answers:
        context.abort(grpc.StatusCode.NOT_FOUND, "no " + service)
    return bytes([8, answers[service]])

handler = grpc.method_handlers_generic_handler("grpc.health.v1.Health", {
    "Check": grpc.unary_unary_rpc_method_handler(check, lambda b: b, lambda b: b)})
server = grpc.server(futures.ThreadPoolExecutor(max_workers=2))
server.add_generic_rpc_handlers((handler,))
server.add_insecure_port(sys.argv[1])
read = lambda name: open(name, "rb").read()
pair = (read("server.key"), read("server.pem"))
server.add_secure_port(sys.argv[2], grpc.ssl_server_credentials([pair]))
empty = grpc.server(futures.ThreadPoolExecutor(max_workers=1))
empty.add_insecure_port(sys.argv[3])
server.start()
empty.start()
while True:
    time.sleep(1000)
"#;

#[tokio::test]
async fn a_server_of_grpc_says_its_status() {
    let needed = ["openssl", "python3", "/usr/lib/python3/dist-packages/grpc"];
    if missing("a_server_of_grpc_says_its_status", &needed) {
        return;
    }
    let place = Place::new();
    certificates(&place);
    let [clear, tls, empty] = free().await;
    let file = place.write("server.py", SERVER);
    let addresses = [clear, tls, empty].map(|address| address.to_string());
    let args = [&file, &addresses[0], &addresses[1], &addresses[2]];
    let _server = place.start("python3", &args.map(String::as_str));
    let of = |service| GrpcCheck::new().with_service(service).expect("short");
    assert_eq!(passes(&GrpcCheck::new(), clear).await, "SERVING");
    let root = std::fs::read(place.join("root.pem")).expect("made");
    let trusting = Tls::trusting(root).expect("a root");
    let trusting = trusting.with_server_name("shop.example").expect("a name");
    for (address, secured) in [(clear, false), (tls, true)] {
        for (service, expected) in [
            ("", "+SERVING"),
            ("shop.Orders", "+SERVING is the status of shop.Orders"),
            ("down", "-NOT_SERVING is the status of down"),
            ("strange", "-SERVICE_UNKNOWN is the status of strange"),
            ("none", "-grpc-status 5 (NOT_FOUND: it does not know this service): \"no none\""),
            ("boom", "-grpc-status 13 (INTERNAL): \"the disk is on fire\""),
        ] {
            let check = if secured { of(service).with_tls(trusting.clone()) } else { of(service) };
            assert_eq!(once(&check, address).await, expected, "{address}");
        }
    }
    let without = once(&GrpcCheck::new(), empty).await;
    assert!(without.starts_with("-grpc-status 12 (UNIMPLEMENTED: "), "{without}");
}

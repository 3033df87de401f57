//! The examples print what their headers promise.
#![cfg(all(feature = "tower", feature = "http"))]

#[path = "../examples/http2_client.rs"]
#[expect(dead_code, reason = "`main` only prints what `run` returns")]
mod http2_client;
#[path = "../examples/hyper_client.rs"]
#[expect(dead_code, reason = "`main` only prints what `run` returns")]
mod hyper_client;

/// What the header of an example says that it prints.
fn promised(source: &str) -> Vec<&str> {
    let header = source.lines().map_while(|line| line.strip_prefix("//!")).map(str::trim);
    let printed = header.skip_while(|line| !line.starts_with("cargo run")).skip(2);
    printed.take_while(|line| *line != "```").collect()
}

#[tokio::test]
async fn a_client_of_http_1_goes_on_without_a_server_and_with_it() {
    let told = hyper_client::run().await.expect("no request fails");
    let promised = promised(include_str!("../examples/hyper_client.rs"));
    assert_eq!((told.len(), told), (3, promised.into_iter().map(str::to_owned).collect()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_of_http_2_has_one_connection_for_each_server() {
    let told = http2_client::run().await.expect("no request fails");
    let promised = promised(include_str!("../examples/http2_client.rs"));
    assert_eq!((told.len(), told), (1, promised.into_iter().map(str::to_owned).collect()));
}

//! Checks of services: TCP with real sockets, HTTP and HTTPS with the real nginx.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use ha_agents::native::{
    Checked, Dummy, HttpCheck, MemoryCheck, Process, ServiceCheck, TcpCheck, Watch,
};
use ha_agents::registry::Registry;
use ha_agents::{Check, Outcome, Report, ResourceAgent};
use ha_core::driver::pause;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;

use super::{block_on, context};

const DEEP: Check = Check { depth: 10, ..Check::STARTED };

/// A port that was free a moment ago.
pub(crate) fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

async fn asked(check: &dyn ServiceCheck, outcome: Outcome, words: &str) {
    let report = check.check().await;
    assert_eq!(report.outcome, outcome, "{report:?}");
    assert!(report.reason.contains(words), "{report:?}");
}

#[test]
fn a_port_that_listens_is_there_and_what_it_says_is_looked_at() {
    block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let serve = async {
            loop {
                let (mut stream, _) = listener.accept().await.expect("a client");
                let _gone = stream.write_all(b"220 mail.example ESMTP\r\n").await;
            }
        };
        let ask = async {
            let check = TcpCheck::new(&address);
            asked(&check, Outcome::Success, "").await;
            asked(&check.clone().expect("220 "), Outcome::Success, "").await;
            let wrong = check.clone().expect("+PONG");
            asked(&wrong, Outcome::GenericError, "220 mail.example").await;
        };
        tokio::select! { () = serve => {}, () = ask => {} }
        // The kernel accepts, and nobody answers.
        let mute = TcpCheck::new(&address).expect("220 ").limit(Duration::from_millis(50));
        asked(&mute, Outcome::GenericError, "no answer in 50ms").await;
        drop(listener);
        asked(&mute, Outcome::NotRunning, "cannot connect to it").await;
    });
}

#[test]
fn an_endless_answer_is_cut() {
    block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let check = TcpCheck::new(listener.local_addr().expect("an address").to_string());
        let serve = async {
            let (mut stream, _) = listener.accept().await.expect("a client");
            while stream.write_all(&[b'x'; 4096]).await.is_ok() {}
        };
        let check = check.expect("end").limit(Duration::from_mins(1));
        tokio::join!(serve, asked(&check, Outcome::GenericError, "xxx"));
    });
}

#[test]
fn a_watch_waits_for_what_it_watches_and_stops_nothing() {
    block_on(async {
        let check = MemoryCheck::new();
        let agent = Watch::new(check.clone());
        let look =
            async || agent.monitor(&context(), Check::PROBE).await.expect("an answer").outcome;
        assert_eq!(look().await, Outcome::NotRunning, "not watched yet");
        check.answer(Outcome::NotRunning);
        let hurry = context().timeout(Duration::from_millis(100));
        let report = agent.start(&hurry).await.expect("an answer before the time is up");
        assert_eq!(report.outcome, Outcome::GenericError, "{report:?}");
        check.answer(Outcome::Success);
        for _ in 0..2 {
            assert_eq!(agent.start(&context()).await.expect("an answer"), Report::success());
        }
        assert_eq!(look().await, Outcome::Success);
        check.answer(Outcome::NotRunning);
        assert_eq!(look().await, Outcome::NotRunning);
        for _ in 0..2 {
            assert_eq!(agent.stop(&context()).await.expect("an answer"), Report::success());
        }
        check.answer(Outcome::Success);
        assert_eq!(look().await, Outcome::NotRunning);
    });
}

#[test]
fn a_check_makes_good_answers_worse_and_bad_ones_not_better() {
    block_on(async {
        let (dummy, check) = (Arc::new(Dummy::new()), MemoryCheck::new());
        let agent = Checked::new(Arc::clone(&dummy), check.clone());
        let look = async |check| agent.monitor(&context(), check).await.expect("an answer").outcome;
        assert_eq!(look(DEEP).await, Outcome::NotRunning, "the check is passed by another");
        agent.start(&context()).await.expect("an answer");
        assert_eq!(look(DEEP).await, Outcome::Success);
        check.answer(Outcome::NotRunning);
        assert_eq!(look(Check::STARTED).await, Outcome::Success, "not deep enough to ask");
        assert_eq!(look(DEEP).await, Outcome::GenericError, "it does run");
        agent.promote(&context()).await.expect("an answer");
        assert_eq!(look(DEEP).await, Outcome::FailedPromoted);
        dummy.fail_next("monitor", Outcome::NotRunning);
        check.answer(Outcome::Success);
        assert_eq!(look(DEEP).await, Outcome::NotRunning);
        agent.stop(&context()).await.expect("an answer");
        assert_eq!(dummy.calls().last(), Some(&"stop"));
    });
}

#[test]
fn a_start_waits_for_the_service_and_for_no_dead_process() {
    block_on(async {
        let port = free_port();
        let script = format!(
            "sleep 0.1; exec perl -MIO::Socket::INET -e 'my $s = IO::Socket::INET->new(LocalAddr => \"127.0.0.1:{port}\", Listen => 5, ReuseAddr => 1) or die; sleep 1000'"
        );
        let check = TcpCheck::new(format!("127.0.0.1:{port}"));
        let shell = |script: &str| Process::new("/bin/sh").arg("-c").arg(script);
        let agent = Checked::new(shell(&script), check.clone());
        assert_eq!(agent.start(&context()).await.expect("an answer"), Report::success());
        asked(&check, Outcome::Success, "").await;
        agent.stop(&context()).await.expect("an answer");
        asked(&check, Outcome::NotRunning, "").await;
        let dies = Checked::new(shell("exit 4"), check.clone());
        let report = dies.start(&context()).await.expect("long before the time is up");
        assert_eq!(report.outcome, Outcome::GenericError);
        assert!(report.reason.contains("exit status: 4"), "{report:?}");
        let mute = Checked::new(shell("exec sleep 1000"), check);
        let hurry = context().timeout(Duration::from_millis(300));
        let report = mute.start(&hurry).await.expect("an answer before the time is up");
        assert!(report.reason.contains(&port.to_string()), "{report:?}");
        assert_eq!(mute.monitor(&context(), Check::PROBE).await.expect("one"), Report::success());
        mute.stop(&context()).await.expect("an answer");
    });
}

/// nginx with a certificate of its own, on two free ports: the plain one and that with TLS.
fn nginx(dir: &Path) -> Option<(Process, u16, u16)> {
    let (nginx, openssl) = (ha_lab::require_program("nginx")?, ha_lab::require_program("openssl")?);
    let made = Command::new(openssl)
        .args([
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=localhost",
        ])
        .args(["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .args(["-keyout", "key.pem", "-out", "cert.pem"])
        .current_dir(dir)
        .output();
    assert!(made.expect("openssl").status.success());
    let (plain, secure) = (free_port(), free_port());
    std::fs::create_dir(dir.join("www")).expect("made");
    std::fs::write(dir.join("www/index.html"), "all is well").expect("written");
    let at = dir.display();
    let config = format!(
        "user root; pid {at}/pid; error_log {at}/errors; events {{}}
         http {{ access_log off; client_body_temp_path {at}/body; proxy_temp_path {at}/proxy;
           fastcgi_temp_path {at}/fastcgi; uwsgi_temp_path {at}/uwsgi; scgi_temp_path {at}/scgi;
           server {{ listen 127.0.0.1:{plain}; listen 127.0.0.1:{secure} ssl; root {at}/www;
             ssl_certificate {at}/cert.pem; ssl_certificate_key {at}/key.pem;
             location /moved {{ return 302 /; }} location /sick {{ return 503; }}
             location /host {{ return 200 \"to $http_host by $request_method\"; }} }} }}"
    );
    std::fs::write(dir.join("nginx.conf"), config).expect("written");
    let file = dir.join("nginx.conf");
    let process = Process::new(nginx).arg("-c").arg(file).arg("-g").arg("daemon off;");
    Some((process, plain, secure))
}

#[test]
fn nginx_is_asked_by_http_and_https() {
    ha_lab::run_test(|| {
        block_on(async {
            let dir = tempfile::tempdir().expect("a directory");
            let Some((process, plain, secure)) = nginx(dir.path()) else { return };
            let http = |path: &str| HttpCheck::new(&format!("http://127.0.0.1:{plain}/{path}"));
            let check = http("").expect("a URL").contains("all is well");
            let agent = Checked::new(process, check.clone());
            asked(&check, Outcome::NotRunning, "").await;
            assert_eq!(agent.start(&context()).await.expect("an answer"), Report::success());
            let report = agent.monitor(&context(), DEEP).await.expect("an answer");
            assert_eq!(report, Report::success());
            asked(&http("moved").expect("a URL"), Outcome::Success, "").await;
            let strict = http("moved").expect("a URL").status(200..=299);
            asked(&strict, Outcome::GenericError, "302").await;
            asked(&http("sick").expect("a URL"), Outcome::GenericError, "503").await;
            let wrong = check.clone().contains("all is lost");
            asked(&wrong, Outcome::GenericError, "all is well").await;
            let named = http("host").expect("a URL").header("Host", "www.example").expect("one");
            let named = named.method("POST").expect("a method").contains("to www.example by POST");
            asked(&named, Outcome::Success, "").await;

            let https = |host| HttpCheck::new(&format!("https://{host}:{secure}/")).expect("a URL");
            let ours = dir.path().join("cert.pem");
            for host in ["localhost", "127.0.0.1"] {
                asked(&https(host).authority(&ours), Outcome::Success, "").await;
            }
            asked(&https("localhost"), Outcome::GenericError, "certificate").await;
            let none = https("localhost").authority(dir.path().join("none"));
            asked(&none, Outcome::GenericError, "authorities").await;
            let mixed = HttpCheck::new(&format!("https://127.0.0.1:{plain}/")).expect("a URL");
            asked(&mixed.authority(&ours), Outcome::GenericError, "TLS").await;
            agent.stop(&context()).await.expect("an answer");
            asked(&check, Outcome::NotRunning, "").await;
        });
    });
}

#[test]
fn checks_are_made_from_their_parameters() {
    block_on(async {
        let registry = Registry::new();
        let make = async |agent: &str, pairs: &[(&str, &str)]| {
            let given: BTreeMap<String, String> =
                pairs.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
            let made = registry.resolve(&"r1".parse().expect("a name"), agent, &given).await;
            made.map_err(|error| match std::error::Error::source(&error) {
                Some(source) => source.to_string(),
                None => error.to_string(),
            })
        };
        // An address of its own: on another's port somebody might answer.
        let listener = TcpListener::bind("127.0.77.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let agent = make("native:tcp", &[("address", &address)]).await.expect("made");
        assert_eq!(agent.start(&context()).await.expect("an answer"), Report::success());
        let wrong = [("address", "localhost"), ("limit", "soon"), ("sent", "x")];
        let told = make("native:tcp", &wrong).await.expect_err("wrong");
        assert!(["address:", "limit:", "sent:"].iter().all(|name| told.contains(name)), "{told}");

        make("native:http", &[("url", "https://[::1]/"), ("status", "200")]).await.expect("made");
        let wrong = [("url", "http://me:secret@h/"), ("status", "99"), ("header.a b", "c")];
        let told = make("native:http", &wrong).await.expect_err("wrong");
        assert!(["url:", "status:", "header:"].iter().all(|name| told.contains(name)), "{told}");
        assert!(!told.contains("secret"), "{told}");

        let sleep = [("program", "sleep"), ("args", "1000")];
        let pairs = [&sleep[..], &[("check.address", &address), ("check.depth", "0")]].concat();
        let agent = make("native:process", &pairs).await.expect("made");
        assert_eq!(agent.start(&context()).await.expect("an answer"), Report::success());
        drop(listener);
        // A process that is just being started elsewhere may have its socket for a moment.
        while agent.monitor(&context(), Check::STARTED).await.expect("an answer").outcome
            != Outcome::GenericError
        {
            pause(Duration::from_millis(5)).await.expect("a timer");
        }
        agent.stop(&context()).await.expect("an answer");
        let wrong = [("arg", "1"), ("check.depth", "deep"), ("check.url", "gopher://x")];
        let told = make("native:process", &wrong).await.expect_err("wrong");
        let names = ["program:", "arg:", "check.depth:", "check.url:"];
        assert!(names.iter().all(|name| told.contains(name)), "{told}");
    });
}

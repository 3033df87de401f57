//! Mail, directories and TLS.

use std::time::Duration;

use ha_lb::health::ldap::LdapCheck;
use ha_lb::health::smtp::SmtpCheck;
use ha_lb::health::tls::{Tls, TlsCheck};

use super::daemon::{Place, certificates, free, missing, once, passes};

#[tokio::test]
async fn a_mail_server_answers() {
    if missing("a_mail_server_answers", &["aiosmtpd"]) {
        return;
    }
    let [address] = free().await;
    let place = Place::new();
    let listen = address.to_string();
    let sink = ["-n", "-l", &listen, "-c", "aiosmtpd.handlers.Sink", "stderr"];
    let _server = place.start("aiosmtpd", &sink[..5]);
    let check = SmtpCheck::new().with_name("lb.example").expect("a name");
    let greeting = passes(&check, address).await;
    assert!(greeting.starts_with("greets with \"220 "), "{greeting}");
    assert_eq!(once(&LdapCheck::new(), address).await, "-its answer to a bind is not LDAP");
}

#[tokio::test]
async fn a_directory_lets_clients_bind_or_says_why_not() {
    let needed = ["slapd", "/usr/lib/ldap/back_mdb.so"];
    if missing("a_directory_lets_clients_bind_or_says_why_not", &needed) {
        return;
    }
    let [open, closed] = free().await;
    let place = Place::new();
    let mut servers = Vec::new();
    for (name, address, rule) in [("open", open, ""), ("closed", closed, "disallow bind_anon")] {
        place.run("mkdir", &[name]);
        let folder = place.join(name);
        let config = format!(
            "include /etc/ldap/schema/core.schema\nmodulepath /usr/lib/ldap\nmoduleload back_mdb\n\
             {rule}\ndatabase mdb\nsuffix \"dc=example\"\nrootdn \"cn=admin,dc=example\"\n\
             rootpw geheim\nmaxsize 1048576\ndirectory {folder}\n"
        );
        let file = place.write(&format!("{name}.conf"), config);
        let url = format!("ldap://{address}/");
        servers.push(place.start("slapd", &["-f", &file, "-h", &url, "-d", "0"]));
    }
    assert_eq!(passes(&LdapCheck::new(), open).await, "anonymous bind");
    let bind = |password| {
        LdapCheck::new().with_bind("cn=admin,dc=example", password).expect("both are there")
    };
    assert_eq!(once(&bind("geheim"), open).await, "+bind as cn=admin,dc=example");
    let wrong = once(&bind("falsch"), open).await;
    assert_eq!(wrong, "-refuses the bind with 49 (invalid credentials)");
    assert_eq!(passes(&bind("geheim"), closed).await, "bind as cn=admin,dc=example");
    let refused = once(&LdapCheck::new(), closed).await;
    let expected = "-refuses the bind with 48 (inappropriate authentication): \
                    \"anonymous bind disallowed\"";
    assert_eq!(refused, expected);
}

#[tokio::test]
async fn tls_is_looked_at_with_its_certificate_and_protocol() {
    if missing("tls_is_looked_at_with_its_certificate_and_protocol", &["openssl"]) {
        return;
    }
    let place = Place::new();
    certificates(&place);
    let [address, old, ancient] = free().await;
    let server = |address: std::net::SocketAddr, more: &[&str]| {
        let accept = address.to_string();
        let args = ["s_server", "-accept", &accept, "-cert", "server.pem", "-key", "server.key"];
        place.start("openssl", &[&args[..], &["-www"], more].concat())
    };
    let _server = server(address, &["-alpn", "h2"]);
    let _old = server(old, &["-tls1_2"]);
    let _ancient = server(ancient, &["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"]);
    let root = std::fs::read(place.join("root.pem")).expect("made");
    let trusting = Tls::trusting(&root).expect("a root");
    let check = |tls: &Tls| TlsCheck::new(tls.clone());

    let seen = passes(&check(&trusting.clone().with_alpn(["h2"])).expect_alpn("h2"), address).await;
    assert_eq!(seen, "TLS 1.3, ALPN h2, the certificate ends in 2 days");
    let named = trusting.clone().with_server_name("shop.example").expect("a name");
    let seen = once(&check(&named), address).await;
    assert_eq!(seen, "+TLS 1.3, the certificate ends in 2 days");
    let other = trusting.clone().with_server_name("other.example").expect("a name");
    let refused = once(&check(&other), address).await;
    assert!(refused.starts_with("-no TLS: invalid peer certificate: "), "{refused}");
    assert!(refused.contains("other.example"), "{refused}");
    let strangers = include_str!("../../testdata/health/root.pem");
    let strangers = Tls::trusting(strangers).expect("a root");
    let refused = once(&check(&strangers), address).await;
    assert!(refused.starts_with("-no TLS: invalid peer certificate: "), "{refused}");
    let any = once(&check(&Tls::without_verification()), address).await;
    assert_eq!(any, "+TLS 1.3, certificate not verified, the certificate ends in 2 days");

    let days = |days: u64| Duration::from_hours(24 * days);
    let warned = once(&check(&trusting).warn_before_expiry(days(10)), address).await;
    assert!(warned.starts_with("+warning: TLS 1.3, "), "{warned}");
    let soon = once(&check(&trusting).expect_validity(days(10)), address).await;
    assert_eq!(soon, "-the certificate ends in 2 days; 10 days are asked for");
    let none = once(&check(&trusting).expect_alpn("h2"), address).await;
    assert_eq!(none, "-ALPN is none, not h2");
    let seen = passes(&check(&trusting), old).await;
    assert_eq!(seen, "TLS 1.2, the certificate ends in 2 days");
    super::daemon::fails(&check(&trusting), ancient, "no TLS: ").await;
}

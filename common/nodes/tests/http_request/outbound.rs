//! What a node may connect to: real sockets, and a resolver that says what a test tells it.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use flowmill_nodes::outbound::{AllowRule, Resolver};
use futures::future::BoxFuture;

use super::*;

/// Names and what they resolve to: the first time, the second time; the last repeats.
#[derive(Debug, Default)]
struct Names {
    known: HashMap<&'static str, Vec<Vec<IpAddr>>>,
    asked: AtomicUsize,
}

impl Names {
    fn of(names: &[(&'static str, &[&str])]) -> Arc<Self> {
        let parse = |answers: &&str| answers.split(' ').map(|ip| ip.parse().unwrap()).collect();
        let known =
            names.iter().map(|(name, answers)| (*name, answers.iter().map(parse).collect()));
        Arc::new(Self { known: known.collect(), asked: AtomicUsize::new(0) })
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

impl Resolver for Names {
    fn resolve<'a>(&'a self, host: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        let turn = self.asked.fetch_add(1, Ordering::Relaxed);
        let answers = self.known.get(host).and_then(|answers| answers.get(turn).or(answers.last()));
        let found = answers.cloned().ok_or_else(|| io::Error::other("Name or service not known"));
        Box::pin(async move { found })
    }
}

fn allowing(rules: &[&str]) -> OutboundPolicy {
    let allow = rules.iter().map(|rule| rule.parse::<AllowRule>().unwrap()).collect();
    OutboundPolicy { allow, ..OutboundPolicy::default() }
}

fn by(names: &Arc<Names>, policy: OutboundPolicy) -> Options {
    Options { policy, resolver: names.clone(), ..Options::default() }
}

/// Refused as Dify refuses it, for this reason.
#[track_caller]
fn assert_denied(result: Result<Success, NodeError>, why: &str) {
    let error = result.unwrap_err();
    assert_eq!((&*error.kind, error.class), ("WorkflowNodeError", ErrorClass::Denied), "{error:?}");
    let message = &error.message;
    assert!(message.starts_with("Access to 'http"), "{message}");
    assert!(message.contains("' was blocked by SSRF protection. "), "{message}");
    assert!(message.contains(why), "{why} is missing in {message}");
}

#[tokio::test]
async fn this_machine_is_refused_however_it_is_written() {
    let server = Server::start(|_| reply("200 OK", "", b"secret")).await;
    let port = server.port;
    let hosts = [
        "127.0.0.1",
        "127.1",
        "127.0.1",
        "2130706433",
        "0x7f000001",
        "0x7f.0x0.0x0.0x1",
        "017700000001",
        "127.0.0.1.",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "0.0.0.0",
        "0",
        "[::]",
        "[::1]",
        "localhost",
        "public.example@127.0.0.1",
        "public.example:80@127.0.0.1",
        "8.8.8.8%40@127.1",
        "[fe80::1%25lo]",
    ];
    let http: Arc<dyn HttpClient> = Arc::new(client(options(), Options::default()));
    let get = async |host: &str| {
        let node = node(&format!("http://{host}:{port}/"), "{}");
        node.execute(&Variables::default(), &context(1, http.clone(), None)).await
    };
    for host in hosts {
        let error = get(host).await.expect_err(host);
        assert!(error.message.contains("blocked by SSRF protection"), "{host}: {}", error.message);
    }
    // what is no host at all is not sent either
    for host in [
        "0177.0.0.1",
        "127\u{3002}0\u{3002}0\u{3002}1",
        "\u{ff11}\u{ff12}\u{ff17}.0.0.1",
        "public.example\\\\@127.0.0.1",
        "127.0.0.1#@public.example",
    ] {
        assert!(get(host).await.is_err(), "{host}");
    }
    assert!(server.seen().is_empty(), "{:?}", server.seen());
}

#[tokio::test]
async fn metadata_services_are_refused_even_where_private_networks_are_not() {
    for host in [
        "169.254.169.254",
        "2852039166",
        "[fd00:ec2::254]",
        "100.100.100.200",
        "[::ffff:a9fe:a9fe]",
    ] {
        let url = format!("http://{host}/latest/meta-data/");
        assert_denied(reaching(local(), &url, "{}").await, "metadata service");
    }
}

#[tokio::test]
async fn names_are_refused_for_what_they_resolve_to() {
    let names =
        Names::of(&[("intra.example", &["10.0.0.7"]), ("both.example", &["10.0.0.7 fd00::1"])]);
    let result =
        reaching(by(&names, OutboundPolicy::default()), "http://intra.example/", "{}").await;
    assert_denied(
        result,
        "intra.example leads to 10.0.0.7, a private address: --allow-net intra.example or",
    );
    let result =
        reaching(by(&names, OutboundPolicy::default()), "https://both.example/", "{}").await;
    assert_denied(result, "both.example leads to 10.0.0.7");
    let result =
        reaching(by(&names, OutboundPolicy::default()), "http://none.example/", "{}").await;
    assert_eq!(&*result.unwrap_err().message, "[Errno -2] Name or service not known");
}

#[tokio::test]
async fn only_the_allowed_addresses_of_a_name_are_connected_to() {
    let server = Server::start(|_| reply("200 OK", "", b"here")).await;
    let names = Names::of(&[("mixed.example", &["127.0.0.2 127.0.0.1"])]);
    let policy = allowing(&["127.0.0.1"]);
    let url = format!("http://mixed.example:{}/", server.port);
    assert_eq!(body(&reaching(by(&names, policy), &url, "{}").await.unwrap()), "here");
    assert_eq!(names.asked(), 1);
}

#[tokio::test]
async fn a_name_that_changes_its_answer_gains_nothing() {
    let server = Server::start(|_| reply("200 OK", "", b"secret")).await;
    let other = Server::start_at("127.0.0.2:0", |_| reply("200 OK", "", b"allowed")).await;
    // allowed when it is asked for the first time, and refused ever after
    let names = Names::of(&[("rebind.example", &["127.0.0.2", "127.0.0.1"])]);
    let reach = by(&names, allowing(&["127.0.0.2"]));
    let http = Arc::new(client(options(), reach));
    let get = async |port: u16| {
        let node = node(&format!("http://rebind.example:{port}/"), "{}");
        node.execute(&Variables::default(), &context(1, http.clone(), None)).await
    };
    assert_eq!(body(&get(other.port).await.unwrap()), "allowed");
    assert_eq!(names.asked(), 1, "what was checked is what was connected to");
    assert_denied(get(server.port).await, "rebind.example leads to 127.0.0.1");
    assert!(server.seen().is_empty());
}

#[tokio::test]
async fn every_redirect_is_checked() {
    let inner = Server::start(|_| reply("200 OK", "", b"secret")).await;
    let outer = Server::start_at("127.0.0.2:0", |path| {
        let (host, port) = path.trim_start_matches('/').split_once('/').unwrap();
        redirect("302 Found", &format!("http://{host}:{port}/"))
    })
    .await;
    let names = Names::of(&[
        ("intra.example", &["127.0.0.1"]),
        ("again.example", &["127.0.0.2", "127.0.0.1"]),
    ]);
    for host in
        ["127.0.0.1", "2130706433", "0x7f.1", "[::ffff:127.0.0.1]", "intra.example", "public@127.1"]
    {
        let url = format!("http://127.0.0.2:{}/{host}/{}", outer.port, inner.port);
        let result = reaching(by(&names, allowing(&["127.0.0.2"])), &url, "{}").await;
        assert_denied(result, "127.0.0.1");
    }
    assert!(inner.seen().is_empty());
    assert_eq!(outer.seen().len(), 6);
    let allowed = allowing(&["127.0.0.0/8"]);
    let url = format!("http://127.0.0.2:{}/intra.example/{}", outer.port, inner.port);
    assert_eq!(body(&reaching(by(&names, allowed), &url, "{}").await.unwrap()), "secret");
}

#[tokio::test]
async fn rules_allow_hosts_networks_and_ports() {
    let server = Server::start(|_| reply("200 OK", "", b"ok")).await;
    let six = Server::start_at("[::1]:0", |_| reply("200 OK", "", b"ok")).await;
    let names = Names::of(&[("db.intra.example", &["127.0.0.1"])]);
    let (port, other) = (server.port, server.port ^ 1);
    let here = format!("127.0.0.1:{port}");
    let named = format!("db.intra.example:{port}");
    let sixth = format!("[::1]:{}", six.port);
    let cases = [
        (&here, "127.0.0.1".to_owned(), true),
        (&here, format!("127.0.0.1:{port}"), true),
        (&here, format!("127.0.0.1:{other}"), false),
        (&here, "127.0.0.0/8".to_owned(), true),
        (&here, format!("127.0.0.0/8:{port}"), true),
        (&here, format!("127.0.0.0/8:{other}"), false),
        (&here, "10.0.0.0/8".to_owned(), false),
        (&here, "localhost".to_owned(), false),
        (&named, "db.intra.example".to_owned(), true),
        (&named, format!("DB.intra.example:{port}"), true),
        (&named, format!("db.intra.example:{other}"), false),
        (&named, "*.intra.example".to_owned(), true),
        (&named, "*.example.com".to_owned(), false),
        (&named, format!("127.0.0.1:{port}"), true),
        (&named, format!("127.0.0.1:{other}"), false),
        (&sixth, "::1".to_owned(), true),
        (&sixth, sixth.clone(), true),
        (&sixth, "127.0.0.1".to_owned(), false),
    ];
    for (host, rule, wanted) in cases {
        let url = format!("http://{host}/");
        let result = reaching(by(&names, allowing(&[&rule])), &url, "{}").await;
        assert_eq!(result.is_ok(), wanted, "{host} by {rule}: {result:?}");
    }
}

#[tokio::test]
async fn a_proxy_looks_up_names_and_addresses_are_checked_all_the_same() {
    let proxy = Server::start(|path| match path {
        "http://refused.example/" => reply("403 Forbidden", "Via: 1.1 p (squid/6)\r\n", b""),
        _ => reply("200 OK", "", b"by proxy"),
    })
    .await;
    let names = Names::of(&[("proxy.local", &["127.0.0.1"])]);
    let reach = || Options {
        http_proxy: Some(format!("http://proxy.local:{}", proxy.port)),
        ..by(&names, OutboundPolicy::default())
    };
    let success = reaching(reach(), "http://name.example/", "{}").await.unwrap();
    assert_eq!(body(&success), "by proxy");
    for url in [
        "http://127.1/",
        "http://[::ffff:10.0.0.1]/",
        "http://2852039166/",
        "http://[fe80::1%25eth0]/",
    ] {
        assert_denied(reaching(reach(), url, "{}").await, "--allow-net");
    }
    assert_eq!(proxy.seen().len(), 1);
    let context = context(1, Arc::new(client(HttpOptions::default(), reach())), None);
    let refused =
        node("http://refused.example/", "{}").execute(&Variables::default(), &context).await;
    assert_denied(refused, "The URL may point to a private or local network address.");
}

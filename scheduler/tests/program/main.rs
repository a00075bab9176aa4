//! The program as those use it who run it: settings in; signals; answers, logs and exit codes out.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod process;

use process::{Place, Process, program};

/// What is tested.
const PROGRAM: &str = env!("CARGO_BIN_EXE_flowmill-scheduler");

#[test]
fn wrong_settings_are_all_told_before_anything_begins() {
    let environment =
        [("FLOWMILL_API__KYE", "hidden-hidden-hidden"), ("FLOWMILL_POSTGRES__WRITERS", "hidden")];
    let ended = program(&environment, &["--check-config"]);
    assert_eq!(ended.code, 2, "{ended:?}");
    assert!(ended.err.contains("did you mean api.key?"), "{ended:?}");
    assert!(ended.err.contains("FLOWMILL_POSTGRES__WRITERS"), "{ended:?}");
    assert!(!ended.err.contains("hidden"), "{ended:?}");
    let open = program(&[("FLOWMILL_HTTP__LISTEN", "0.0.0.0:8080")], &[]);
    assert_eq!(open.code, 2, "{open:?}");
    assert!(open.err.contains("api.key: others can reach http.listen"), "{open:?}");
    let hooks = [
        ("FLOWMILL_ROLES", ""),
        ("FLOWMILL_WEBHOOKS__TIMEOUT", "5m"),
        ("FLOWMILL_WEBHOOKS__KEEP", "1d"),
        ("FLOWMILL_WEBHOOKS__ALLOW_URLS", "https://a.example/?x"),
        ("FLOWMILL_WEBHOOKS__PUBLIC_URL", "a.example"),
        ("FLOWMILL_WEBHOOKS__ALLOW_NET", "10.0.0.0/99"),
    ];
    let ended = program(&hooks, &["--check-config"]);
    let settings = ["timeout", "keep", "allow_urls", "url_secret", "public_url", "allow_net"];
    let keys = settings.map(|key| format!("webhooks.{key}: "));
    for key in keys.iter().map(String::as_str).chain(["roles: "]) {
        assert!(ended.err.contains(key), "{key} {ended:?}");
    }
    let good = program(&[("FLOWMILL_SLOTS__LLM", "a worker's")], &["--check-config"]);
    assert_eq!((good.code, good.out.as_str()), (0, "the settings can be used\n"));
}

#[test]
fn certificates_that_cannot_be_used_are_named() {
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"));
    let [certificate, key, other] = ["client.pem", "client.key", "other.key"].map(|name| {
        let file = folder.join(name);
        file.to_str().unwrap().to_owned()
    });
    let pair = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec!["scheduler".to_owned()]).unwrap();
    std::fs::write(&certificate, params.self_signed(&pair).unwrap().pem()).unwrap();
    std::fs::write(&key, pair.serialize_pem()).unwrap();
    std::fs::write(&other, rcgen::KeyPair::generate().unwrap().serialize_pem()).unwrap();
    let told = |settings: &[(&'static str, &str)], why: &str| {
        let ended = program(settings, &["--check-config"]);
        assert!(ended.code == 2 && ended.err.contains(why), "{why} {ended:?}");
    };
    let (amqps, rediss) = ("amqps://broker:5671/%2f", "rediss://cache:6379/0");
    let of_broker = |certificate, key| {
        [
            ("FLOWMILL_RABBITMQ__URL", amqps),
            ("FLOWMILL_RABBITMQ__CERTIFICATE", certificate),
            ("FLOWMILL_RABBITMQ__KEY", key),
        ]
    };
    told(&of_broker("/none.pem", &key), "rabbitmq.certificate: failed to read /none.pem");
    told(&of_broker(&certificate, &other), "rabbitmq.certificate: the certificate");
    told(&of_broker(&certificate, ""), "rabbitmq.key: a certificate and its key");
    told(&of_broker(&certificate, &key)[1..], "rabbitmq.certificate: it is of use");
    let of_cache = |certificate, key| {
        [
            ("FLOWMILL_REDIS__URL", rediss),
            ("FLOWMILL_REDIS__CERTIFICATE", certificate),
            ("FLOWMILL_REDIS__KEY", key),
        ]
    };
    told(&of_cache(&certificate, &certificate), "redis.certificate: ");
    told(&of_cache("", &key), "redis.certificate: a certificate and its key");
    let of_callers = [
        ("FLOWMILL_LISTENER__CERTIFICATE", &*certificate),
        ("FLOWMILL_LISTENER__KEY", &*key),
        ("FLOWMILL_LISTENER__CLIENT_CA", &*key),
    ];
    told(&of_callers, "client.key holds no certificate as PEM");
    told(&of_callers[2..], "listener.client_ca: callers show certificates");
    let good = [of_broker(&certificate, &key), of_cache(&certificate, &key)].concat();
    let good = program(&good, &["--check-config"]);
    assert_eq!(good.code, 0, "{good:?}");
}

#[test]
fn settings_are_shown_without_secrets_and_can_be_read_again() {
    let environment = [
        ("FLOWMILL_API__KEY", "hidden-hidden-hidden"),
        ("FLOWMILL_POSTGRES__URL", "postgres://me:hidden@db/flowmill"),
    ];
    let shown = program(&environment, &["--print-config", "--set", "shards.lease=1m"]);
    assert_eq!(shown.code, 0, "{shown:?}");
    assert!(!shown.out.contains("hidden"), "{shown:?}");
    assert!(shown.out.contains("key = \"***\"  # FLOWMILL_API__KEY"), "{shown:?}");
    assert!(shown.out.contains("postgres://me:***@db/flowmill"), "{shown:?}");
    assert!(shown.out.contains("lease = \"1m\"  # --set shards.lease"), "{shown:?}");
    let defaults = program(&[], &["--print-defaults"]);
    let file = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("scheduler.toml");
    std::fs::write(&file, &defaults.out).unwrap();
    let checked = program(&[], &["--check-config", "--config", file.to_str().unwrap()]);
    assert_eq!(checked.code, 0, "{checked:?}");
}

#[test]
fn a_database_without_our_tables_is_refused() {
    let place = Place::new("unknown");
    let ended = Process::start(&place.settings()).ended();
    assert_eq!(ended.code, 3, "{ended:?}");
    assert!(ended.err.contains("flowmill migrate"), "{ended:?}");
}

#[test]
fn one_that_only_sends_webhooks_needs_no_broker() {
    let place = Place::migrated("sends");
    let mut settings = place.settings();
    settings.retain(|(key, _)| *key != "FLOWMILL_RABBITMQ__URL");
    settings.push(("FLOWMILL_RABBITMQ__URL", "amqp://127.0.0.1:9/%2f".to_owned()));
    settings.push(("FLOWMILL_ROLES", "webhooks".to_owned()));
    let mut process = Process::start(&settings);
    assert!(process.until_ready().contains("\"ready\":true"));
    assert_eq!(process.get("/healthz").0, 200);
    assert_eq!(process.get("/api/v1/runs").0, 404, "it answers nobody else");
    process.signal("TERM");
    let ended = process.ended();
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.err.contains("sending webhooks"), "{ended:?}");
}

#[test]
fn it_serves_until_it_is_told_to_stop() {
    let place = Place::migrated("serves");
    let mut process = Process::start(&place.settings());
    assert!(process.until_ready().contains("\"ready\":true"));
    assert_eq!(process.get("/healthz").0, 200);
    let (status, body) = process.get("/api/v1/runs");
    assert_eq!((status, body.contains("\"data\"")), (200, true), "{body}");
    process.signal("TERM");
    let ended = process.ended();
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(!ended.err.contains("ERROR"), "{ended:?}");
}

#[test]
fn while_a_server_is_away_it_lives_and_says_what_is_missing() {
    let place = Place::migrated("away");
    let mut settings = place.settings();
    settings.push(("FLOWMILL_RABBITMQ__URL", "amqp://me:hidden@127.0.0.1:9/%2f".to_owned()));
    let mut process = Process::start(&settings);
    process.until("a server cannot be used");
    assert_eq!(process.get("/healthz").0, 200);
    let (status, body) = process.get("/readyz");
    assert_eq!(status, 503, "{body}");
    assert!(body.contains("\"rabbitmq\"") && body.contains("127.0.0.1:9"), "{body}");
    assert_eq!(process.get("/api/v1/runs").0, 503);
    process.signal("INT");
    let ended = process.ended();
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(!ended.err.contains("hidden"), "{ended:?}");
}

#[test]
fn a_port_that_is_taken_is_told() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let at = taken.local_addr().unwrap().to_string();
    let ended = program(&[("FLOWMILL_HTTP__LISTEN", &at)], &[]);
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.err.contains(&at) && ended.err.contains("http.listen"), "{ended:?}");
}

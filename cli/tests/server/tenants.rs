//! Tenants and keys by the command line.

use flowmill_scheduler::api::Key;
use serde_json::json;

use crate::server::{Server, greeting};
use crate::{Ran, command, file, ran};

const ADMIN: &str = "0123456789abcdef";

async fn ask(server: &Server, key: &str, arguments: &[&str]) -> Ran {
    let mut command = command(&server.base, arguments);
    command.env("FLOWMILL_API_KEY", key).env_remove("FLOWMILL_TENANT");
    ran(command).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_gets_a_key_and_works_with_it() {
    let server = Server::with(|settings| settings.key = Some(Key::of(ADMIN))).await;
    let admin = async |arguments: &[&str]| ask(&server, ADMIN, arguments).await;
    let made = admin(&["tenants", "create", "acme", "other"]).await.expect(0);
    assert_eq!(made.out, "tenant acme is there\ntenant other is there\n");
    admin(&["tenants", "create", "acme"]).await.expect(2).says("tenant_exists");
    admin(&["tenants", "create", "Acme"]).await.expect(2).says("a-z, 0-9 and -");
    let listed = admin(&["tenants", "list"]).await.expect(0).out;
    let names: Vec<&str> = listed.lines().map(|line| line.split("  ").next().unwrap()).collect();
    assert_eq!(names, ["acme", "default", "other"]);
    let lines = admin(&["tenants", "list", "--json"]).await.expect(0).out;
    assert_eq!(lines.lines().count(), 3);

    let create = ["keys", "create", "--tenant", "acme", "--name", "nightly", "--role", "operator"];
    let made = admin(&[&create[..], &["--expires", "90d"]].concat()).await.expect(0);
    let key = made.out.strip_suffix('\n').unwrap().to_owned();
    assert!(key.starts_with("fm_") && !key.contains(char::is_whitespace), "{key}");
    let id = key[3..15].to_owned();
    assert!(!made.err.contains(&key), "the key is on stdout alone: {}", made.err);
    made.says(&format!("key {id} of tenant acme for the role operator, until 2"))
        .says("shown this once");
    let read =
        ["keys", "create", "--name", "look", "--scope", "read", "--tenant", "acme", "--json"];
    let read = admin(&read).await.expect(0).json();
    assert_eq!((&read["tenant"], &read["expires_at"]), (&json!("acme"), &json!(null)));
    let read = read["key"].as_str().unwrap().to_owned();
    admin(&["keys", "create", "--name", "x", "--scope", "all"])
        .await
        .expect(2)
        .says("read, submit, write, admin");
    let soon = ["keys", "create", "--name", "x", "--scope", "read", "--expires", "soon"];
    admin(&soon).await.expect(2).says("90d");
    let stray = ["keys", "create", "--name", "x", "--scope", "read", "--tenant", "nobody"];
    admin(&stray).await.expect(2).says("tenant_not_found").says("flowmill tenants");

    let (_folder, path) = file(&greeting(), "greeting.yml");
    let acme = async |arguments: &[&str]| ask(&server, &key, arguments).await;
    acme(&["workflows", "push", &path]).await.expect(0);
    let refused = ask(&server, &read, &["workflows", "push", &path]).await.expect(2);
    refused.says("scope read").says("forbidden");
    ask(&server, &read, &["workflows", "show", "greeting"]).await.expect(0);
    acme(&["tenants", "list"]).await.expect(2).says("scope admin").says("forbidden");
    acme(&["runs", "list", "--tenant", "other"]).await.expect(2).says("tenant \"acme\"");

    // whoever looks after all chooses
    let workflows = async |more: &[&str]| {
        admin(&[&["workflows", "list"], more].concat()).await.expect(0).out.lines().count()
    };
    assert_eq!(workflows(&[]).await, 0);
    assert_eq!(workflows(&["--tenant", "acme"]).await, 1);
    let mut of_environment = command(&server.base, &["workflows", "list"]);
    of_environment.env("FLOWMILL_API_KEY", ADMIN).env("FLOWMILL_TENANT", "acme");
    assert_eq!(ran(of_environment).await.expect(0).out.lines().count(), 1);
    let nobody = admin(&["workflows", "list", "--tenant", "nobody"]).await.expect(2);
    nobody.says("tenant_not_found");
    let wrong = admin(&["workflows", "list", "--tenant", "No one"]).await.expect(2);
    wrong.says("a-z, 0-9 and -");

    let listed = admin(&["keys", "list"]).await.expect(0).out;
    assert!(listed.contains(&format!("{id}  acme  operator  nightly  expires 2")), "{listed}");
    assert!(!listed.contains(&key[16..]), "{listed}");
    let none = admin(&["keys", "list", "--tenant", "other"]).await.expect(0);
    assert_eq!(none.out, "");
    admin(&["keys", "revoke", &id]).await.expect(0);
    let listed = admin(&["keys", "list", "--tenant", "acme"]).await.expect(0).out;
    assert!(listed.contains("nightly  revoked 2"), "{listed}");
    acme(&["runs", "list"]).await.expect(2).says("was revoked").says("key_revoked");
    admin(&["keys", "revoke", "abcdefghijkl"]).await.expect(2).says("key_not_found");

    let gone = admin(&["tenants", "remove", "other"]).await.expect(0);
    assert_eq!(gone.out, "tenant other is removed\n");
    admin(&["tenants", "remove", "other"]).await.expect(2).says("tenant_not_found");
    admin(&["tenants", "remove", "default"]).await.expect(2).says("tenant_needed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_gets_another_secret_and_what_was_done_is_listed() {
    let server = Server::with(|settings| settings.key = Some(Key::of(ADMIN))).await;
    let admin = async |arguments: &[&str]| ask(&server, ADMIN, arguments).await;
    let create = ["keys", "create", "--name", "ci", "--role", "submitter", "--rate", "50"];
    let first = admin(&create).await.expect(0).out.trim_end().to_owned();
    let id = &first[3..15];
    admin(&["keys", "create", "--name", "x"]).await.expect(2).says("--role");
    let listed = admin(&["keys", "list"]).await.expect(0).out;
    assert!(
        listed.contains(&format!("{id}  default  submitter  ci  50/s, 100 at once")),
        "{listed}"
    );

    let rotate = ["keys", "rotate", id, "--overlap", "1h", "--expires", "90d"];
    let made = admin(&rotate).await.expect(0).says("the secret of before is of use until 2");
    let second = made.out.trim_end().to_owned();
    assert!(second.starts_with(&format!("fm_{id}_")) && second != first, "{second}");
    for key in [&first, &second] {
        ask(&server, key, &["runs", "list"]).await.expect(0);
    }
    let listed = admin(&["keys", "list"]).await.expect(0).out;
    assert!(listed.contains("former secret until 2"), "{listed}");
    let third = admin(&["keys", "rotate", id, "--overlap", "0s", "--json"]).await.expect(0).json();
    ask(&server, third["key"].as_str().unwrap(), &["runs", "list"]).await.expect(0);
    let over = ask(&server, &second, &["runs", "list"]).await.expect(2);
    over.says("key_expired").says("flowmill keys create");
    admin(&["keys", "rotate", "abcdefghijkl"]).await.expect(2).says("key_not_found");

    let listed = admin(&["audit", "list", "--since", "1h"]).await.expect(0).out;
    let rows: Vec<&str> = listed.lines().collect();
    assert_eq!(rows.len(), 4, "{listed}");
    let last = "default  api  keys.rotate  abcdefghijkl  key_not_found  from 127.0.0.1";
    assert!(rows[0].ends_with(last), "{listed}");
    assert!(rows[3].ends_with(&format!("keys.create  {id}  done  from 127.0.0.1")), "{listed}");
    let few = admin(&["audit", "list", "--action", "keys.rotate", "--limit", "2", "--json"]).await;
    let few = few.expect(0).out;
    assert_eq!(few.lines().count(), 2, "{few}");
    for key in [&first, &second] {
        assert!(!listed.contains(&key[16..]) && !few.contains(&key[16..]));
    }
    let none = admin(&["audit", "list", "--actor", "nobody"]).await.expect(0).out;
    assert_eq!(none, "");
    ask(&server, third["key"].as_str().unwrap(), &["audit", "list"])
        .await
        .expect(2)
        .says("operator");
    // nothing is sealed here, and nothing could be
    let status = admin(&["secrets", "status"]).await.expect(0).says("no key that seals");
    assert_eq!(status.out, "");
    admin(&["secrets", "rotate"]).await.expect(2).says("key_missing");
}

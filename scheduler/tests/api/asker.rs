//! Those who ask a server that knows tenants.

use flowmill_scheduler::api::{Key, Pepper, Settings};
use reqwest::Method;
use serde_json::{Value as Json, json};

use crate::server::{Answer, Server, send};

pub(crate) const ADMIN: &str = "0123456789abcdef";

pub(crate) fn locked(settings: &mut Settings) {
    settings.key = Some(Key::of(ADMIN));
    settings.pepper = Pepper::of("hush");
    settings.allow_mocks = true;
}

/// Somebody who asks a server.
#[derive(Clone, Copy)]
pub(crate) struct Asker<'a> {
    pub(crate) server: &'a Server,
    pub(crate) key: &'a str,
    /// For whom, if that is said.
    pub(crate) tenant: Option<&'a str>,
}

impl<'a> Asker<'a> {
    pub(crate) fn new(server: &'a Server, key: &'a str) -> Self {
        Self { server, key, tenant: None }
    }

    /// Whoever looks after the deployment, for a tenant.
    pub(crate) fn admin(server: &'a Server, tenant: &'a str) -> Self {
        Self { tenant: Some(tenant), ..Self::new(server, ADMIN) }
    }

    pub(crate) async fn ask(
        &self,
        method: Method,
        path: &str,
        body: &str,
        more: &[(&str, &str)],
    ) -> Answer {
        let mut request = self.server.request(method, path).bearer_auth(self.key);
        for (name, value) in self.tenant.iter().map(|tenant| ("flowmill-tenant", *tenant)) {
            request = request.header(name, value);
        }
        for (name, value) in more {
            request = request.header(*name, *value);
        }
        send(request.body(body.to_owned())).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask(Method::GET, path, "", &[]).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Json) -> Answer {
        self.ask(Method::POST, path, &body.to_string(), &[]).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.ask(Method::DELETE, path, "", &[]).await
    }

    pub(crate) async fn push(&self, document: &str) -> Json {
        self.ask(Method::POST, "/api/v1/workflows", document, &[]).await.json(201)
    }

    pub(crate) async fn submit(&self, body: &Json) -> String {
        id(&self.post("/api/v1/runs", body).await.json(202))
    }

    pub(crate) async fn ended(&self, run: &str) -> Json {
        self.get(&format!("/api/v1/runs/{run}?wait=30s")).await.json(200)
    }
}

pub(crate) fn id(of: &Json) -> String {
    of["id"].as_str().unwrap().to_owned()
}

/// A tenant with a key, which is told.
pub(crate) async fn tenant(server: &Server, name: &str, scope: &str) -> String {
    let admin = Asker::new(server, ADMIN);
    if name != "default" {
        admin.post("/api/v1/tenants", &json!({"name": name})).await.json(201);
    }
    let asked = json!({"tenant": name, "name": format!("of {name}"), "scope": scope});
    let made = admin.post("/api/v1/keys", &asked).await.json(201);
    made["key"].as_str().unwrap().to_owned()
}

/// A key of a tenant that is there.
pub(crate) async fn tenant_key(server: &Server, tenant: &str) -> String {
    let asked = json!({"tenant": tenant, "name": "k", "scope": "write"});
    let made = Asker::new(server, ADMIN).post("/api/v1/keys", &asked).await.json(201);
    made["key"].as_str().unwrap().to_owned()
}

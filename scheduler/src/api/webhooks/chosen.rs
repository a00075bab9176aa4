//! Addresses of endpoints: which may be one, and which endpoint a submission names.

use flowmill_engine::time::Time;
use flowmill_engine::value::Name;
use flowmill_infra::store::StoreError;
use flowmill_infra::webhooks::{Added, EVENTS, Endpoint, Format, MOST_ENDPOINTS, Webhooks};
use flowmill_workflow::digest;
use reqwest::Url;

use crate::api::problem::{Code, Problem};
use crate::api::request::Webhook;

/// Bytes of an address.
const URL: usize = 2048;

/// Addresses that submissions may name: those of the same server whose path begins alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowedUrl(Url);

impl std::str::FromStr for AllowedUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let url = read_url(text)?;
        if url.query().is_some() {
            return Err("it is what addresses begin with: leave the query away".to_owned());
        }
        Ok(Self(url))
    }
}

impl AllowedUrl {
    fn covers(&self, url: &Url) -> bool {
        let (own, path) = (self.0.path(), url.path());
        let rest = path.strip_prefix(own);
        let is_below =
            rest.is_some_and(|rest| own.ends_with('/') || rest.is_empty() || rest.starts_with('/'));
        self.0.origin() == url.origin() && is_below
    }
}

/// An address that something can be sent to.
///
/// # Errors
/// Why it is none, a fragment.
pub(super) fn read_url(text: &str) -> Result<Url, String> {
    if text.len() > URL {
        return Err(format!("it has {} bytes; at most {URL} are taken", text.len()));
    }
    let url = Url::parse(text).map_err(|error| format!("it is no address: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err("it must begin with https:// or http://".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("it must not hold a user or a password: deliveries are signed".to_owned());
    }
    if url.fragment().is_some() {
        return Err("a part after # is never sent".to_owned());
    }
    Ok(url)
}

/// The endpoint that a submission names, and what its submitter should know of it. An address that
/// may be named is an endpoint from the first time on.
pub(in crate::api) async fn chosen<S: Webhooks>(
    store: &S,
    tenant: &Name,
    allowed: &[AllowedUrl],
    webhook: &Webhook,
) -> Result<(Name, Option<String>), Problem> {
    let id = match webhook {
        Webhook::Endpoint(id) => id.clone(),
        Webhook::Url(url) => named(store, tenant, allowed, url).await?,
    };
    let Some(found) = store.endpoint(tenant, &id).await? else {
        return Err(Problem::no_endpoint(&id));
    };
    let warning = found.disabled.map(|why| format!("webhook: endpoint {id} gets nothing: {why}"));
    Ok((id, warning))
}

async fn named<S: Webhooks>(
    store: &S,
    tenant: &Name,
    allowed: &[AllowedUrl],
    text: &Name,
) -> Result<Name, Problem> {
    let url = read_url(text).map_err(|why| Problem::request(format!("webhook.url: {why}")))?;
    if !allowed.iter().any(|allowed| allowed.covers(&url)) {
        let detail = format!(
            "webhook.url {text:?} is none of those that submissions may name (webhooks.allow_urls); \
             add an endpoint and name that"
        );
        return Err(Problem::new(Code::WebhookRefused, detail));
    }
    let id = id_of(&url);
    if store.endpoint(tenant, &id).await?.is_none() {
        match store.add_endpoint(tenant, &of_url(id.clone(), &url)).await? {
            Added::New | Added::There => {}
            Added::Full => return Err(full()),
        }
    }
    Ok(id)
}

/// What is said when there are too many endpoints.
pub(super) fn full() -> Problem {
    let detail = format!("there are {MOST_ENDPOINTS} endpoints, which is the most: remove some");
    Problem::new(Code::TooManyEndpoints, detail)
}

/// The same address is the same endpoint.
fn id_of(url: &Url) -> Name {
    let digest = digest(url.as_str());
    format!("url_{}", digest.get(..32).unwrap_or(&digest)).into()
}

fn of_url(id: Name, url: &Url) -> Endpoint {
    Endpoint {
        id,
        url: url.as_str().into(),
        events: EVENTS.map(Name::from).to_vec(),
        is_for_all: false,
        description: "named by submissions".into(),
        format: Format::Standard,
        status_names: Vec::new(),
        disabled: None,
        secrets: Ok::<_, StoreError>(Vec::new()),
        created_at: Time(0),
        revision: 0,
        failures: 0,
        rests_until: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_may_be_named_that_lie_below_those_that_are_allowed() {
        let cases = [
            ("https://a.example/hooks/", "https://a.example/hooks/x?y=1", true),
            ("https://a.example/hooks", "https://a.example/hooks", true),
            ("https://a.example/hooks", "https://a.example:443/hooks/x", true),
            ("https://a.example/hooks", "https://a.example/hooksx", false),
            ("https://a.example/hooks/", "https://a.example/hooks/../admin", false),
            ("https://a.example", "https://a.example/anything", true),
            ("https://a.example", "http://a.example/anything", false),
            ("https://a.example", "https://a.example:8443/", false),
            ("https://a.example", "https://a.example.evil.example/", false),
        ];
        for (allowed, url, wanted) in cases {
            let allowed: AllowedUrl = allowed.parse().unwrap();
            assert_eq!(allowed.covers(&Url::parse(url).unwrap()), wanted, "{allowed:?} {url}");
        }
    }

    #[test]
    fn what_is_no_address_of_an_endpoint_is_told() {
        for (text, why) in [
            ("", "no address"),
            ("ftp://a.example", "https:// or http://"),
            ("https://me:hush@a.example", "user or a password"),
            ("https://a.example/#x", "after #"),
        ] {
            assert!(read_url(text).unwrap_err().contains(why), "{text}");
        }
        assert!(read_url(&format!("https://a.example/{}", "x".repeat(URL))).is_err());
        assert!("https://a.example/?x".parse::<AllowedUrl>().is_err());
        let same = |text: &str| id_of(&read_url(text).unwrap());
        assert_eq!(same("https://A.example:443/x"), same("https://a.example/x"));
    }
}

//! Cookies within one chain of redirects, so that a login page can hand over to the next.
//! They are forgotten when the chain ends.

use reqwest::header::HeaderMap;

use super::url::Url;

/// The most cookies kept, and the most bytes of one.
const MAX_COOKIES: usize = 100;
const MAX_BYTES: usize = 4096;

/// The cookies of one chain.
#[derive(Debug, Default)]
pub(super) struct Jar {
    cookies: Vec<Cookie>,
}

#[derive(Debug)]
struct Cookie {
    name: String,
    value: String,
    /// A host, or a domain with its leading dot.
    domain: String,
    path: String,
    secure: bool,
}

impl Jar {
    /// Keeps what an answer sets.
    pub(super) fn keep(&mut self, url: &Url, headers: &HeaderMap) {
        let lines = headers.get_all("set-cookie").iter().filter_map(|line| line.to_str().ok());
        for line in lines.filter(|line| line.len() <= MAX_BYTES) {
            self.keep_one(url, line);
        }
    }

    /// The `Cookie` header for an address.
    pub(super) fn header(&self, url: &Url) -> Option<String> {
        let fitting = self.cookies.iter().filter(|cookie| cookie.fits(url));
        let pairs: Vec<String> =
            fitting.map(|cookie| format!("{}={}", cookie.name, cookie.value)).collect();
        (!pairs.is_empty()).then(|| pairs.join("; "))
    }

    fn keep_one(&mut self, url: &Url, line: &str) {
        let mut parts = line.split(';').map(str::trim);
        let Some((name, value)) = parts.next().and_then(|pair| pair.split_once('=')) else {
            return;
        };
        let folder = url.path.rfind('/').filter(|at| *at > 0).map_or("/", |at| &url.path[..at]);
        let mut cookie = Cookie {
            name: name.trim().to_owned(),
            value: value.trim().to_owned(),
            domain: url.host.clone(),
            path: folder.to_owned(),
            secure: false,
        };
        let mut expired = false;
        for part in parts {
            let (attribute, value) = part.split_once('=').unwrap_or((part, ""));
            match &*attribute.trim().to_ascii_lowercase() {
                "domain" => {
                    let domain =
                        format!(".{}", value.trim().trim_start_matches('.').to_lowercase());
                    if !is_within(&url.host, &domain) {
                        return;
                    }
                    cookie.domain = domain;
                }
                "path" if value.starts_with('/') => value.trim().clone_into(&mut cookie.path),
                "secure" => cookie.secure = true,
                "max-age" => expired = value.trim().parse().is_ok_and(|seconds: i64| seconds <= 0),
                _ => {}
            }
        }
        self.cookies.retain(|held| {
            (&held.name, &held.domain, &held.path) != (&cookie.name, &cookie.domain, &cookie.path)
        });
        if !expired && self.cookies.len() < MAX_COOKIES {
            self.cookies.push(cookie);
        }
    }
}

impl Cookie {
    fn fits(&self, url: &Url) -> bool {
        let path = if url.path.is_empty() { "/" } else { &url.path };
        let below = path.strip_prefix(&*self.path).is_some_and(|rest| {
            rest.is_empty() || rest.starts_with('/') || self.path.ends_with('/')
        });
        below && is_within(&url.host, &self.domain) && (!self.secure || url.scheme == "https")
    }
}

/// Whether a host is the one named or, for a domain with a leading dot, below it.
fn is_within(host: &str, domain: &str) -> bool {
    match domain.strip_prefix('.') {
        Some(bare) => bare.contains('.') && (host == bare || host.ends_with(domain)),
        None => host == domain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_return_only_where_they_came_from() {
        let mut jar = Jar::default();
        let url = Url::parse("http://a.example.com/login/start").unwrap();
        jar.keep_one(&url, "own=1");
        jar.keep_one(&url, "wide=2; Domain=example.com; Path=/");
        jar.keep_one(&url, "evil=3; Domain=other.com; Path=/");
        jar.keep_one(&url, "tld=4; Domain=com; Path=/");
        jar.keep_one(&url, "safe=5; Path=/; Secure");
        let header = |text: &str| jar.header(&Url::parse(text).unwrap());
        assert_eq!(header("http://a.example.com/login/done").unwrap(), "own=1; wide=2");
        assert_eq!(header("https://a.example.com/").unwrap(), "wide=2; safe=5");
        assert_eq!(header("http://b.example.com/x").unwrap(), "wide=2");
        assert_eq!(header("http://other.com/"), None);
    }
}

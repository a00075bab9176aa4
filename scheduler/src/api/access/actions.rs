//! What can be asked, which scope it needs, and whether it is noted who did it.
//!
//! Whatever changes something and stands in no row needs the right to do everything for its tenant,
//! and is noted: nothing new is open or unseen because somebody forgot a row.

use axum::http::Method;
use flowmill_infra::tenants::Scope;

/// Something that can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Action {
    /// What it is called where it is noted.
    pub(in super::super) name: &'static str,
    /// What whoever asks must be let do.
    pub(in super::super) needs: Scope,
    /// Whether it is noted. What a run begins with or is answered with stands in the run itself.
    pub(in super::super) is_noted: bool,
}

/// Looks that anybody may take who may ask at all.
const LOOK: Action = Action { name: "look", needs: Scope::Read, is_noted: false };

const fn look(name: &'static str, needs: Scope) -> Action {
    Action { name, needs, is_noted: false }
}

const fn work(name: &'static str) -> Action {
    Action { name, needs: Scope::Submit, is_noted: false }
}

const fn deed(name: &'static str, needs: Scope) -> Action {
    Action { name, needs, is_noted: true }
}

/// By method and path below `/api/v1/`. Looks that stand nowhere need the scope to read.
const ACTIONS: [(&str, &str, Action); 39] = [
    ("POST", "runs", work("runs.submit")),
    ("POST", "batches", work("batches.submit")),
    ("POST", "files", work("files.upload")),
    ("POST", "runs/{run}/forms/{form}", work("forms.answer")),
    ("POST", "runs/{run}/rerun", deed("runs.rerun", Scope::Submit)),
    ("POST", "batches/{batch}/rerun", deed("batches.rerun", Scope::Submit)),
    ("POST", "workflows", deed("workflows.push", Scope::Write)),
    ("POST", "runs/{run}/cancel", deed("runs.cancel", Scope::Write)),
    ("POST", "runs/{run}/pause", deed("runs.pause", Scope::Write)),
    ("POST", "runs/{run}/resume", deed("runs.resume", Scope::Write)),
    ("POST", "batches/{batch}/cancel", deed("batches.cancel", Scope::Write)),
    ("POST", "batches/{batch}/pause", deed("batches.pause", Scope::Write)),
    ("POST", "batches/{batch}/resume", deed("batches.resume", Scope::Write)),
    ("PUT", "limits/tenant", deed("limits.set", Scope::Admin)),
    ("DELETE", "limits/tenant", deed("limits.clear", Scope::Admin)),
    ("PUT", "limits/{kind}/{name}", deed("limits.set", Scope::Write)),
    ("DELETE", "limits/{kind}/{name}", deed("limits.clear", Scope::Write)),
    ("PUT", "retention", deed("retention.set", Scope::Admin)),
    ("DELETE", "retention", deed("retention.clear", Scope::Admin)),
    ("DELETE", "dead-letters/{id}", deed("letters.drop", Scope::Write)),
    ("POST", "dead-letters/{id}/replay", deed("letters.replay", Scope::Write)),
    ("POST", "webhooks/endpoints", deed("endpoints.create", Scope::Write)),
    ("PATCH", "webhooks/endpoints/{id}", deed("endpoints.change", Scope::Write)),
    ("DELETE", "webhooks/endpoints/{id}", deed("endpoints.remove", Scope::Write)),
    ("POST", "webhooks/endpoints/{id}/rotate", deed("endpoints.rotate", Scope::Write)),
    ("POST", "webhooks/endpoints/{id}/test", deed("endpoints.test", Scope::Write)),
    ("POST", "webhooks/deliveries/{id}/replay", deed("deliveries.replay", Scope::Write)),
    ("POST", "webhooks/replay", deed("deliveries.replay", Scope::Write)),
    ("GET", "audit", look("audit.list", Scope::Write)),
    ("GET", "tenants", look("tenants.list", Scope::Admin)),
    ("POST", "tenants", deed("tenants.create", Scope::Admin)),
    ("GET", "tenants/{tenant}", look("tenants.show", Scope::Admin)),
    ("DELETE", "tenants/{tenant}", deed("tenants.remove", Scope::Admin)),
    ("GET", "keys", look("keys.list", Scope::Admin)),
    ("POST", "keys", deed("keys.create", Scope::Admin)),
    ("DELETE", "keys/{id}", deed("keys.revoke", Scope::Admin)),
    ("POST", "keys/{id}/rotate", deed("keys.rotate", Scope::Admin)),
    ("GET", "secrets", look("secrets.status", Scope::Admin)),
    ("POST", "secrets/rotate", deed("secrets.rotate", Scope::Admin)),
];

impl Action {
    /// What a request asks for, by its method and the pattern that its path fits.
    pub(in super::super) fn of(method: &Method, pattern: Option<&str>) -> Self {
        let path = pattern.and_then(|pattern| pattern.strip_prefix("/api/v1/"));
        // without a body it is the same look
        let asked = if *method == Method::HEAD { "GET" } else { method.as_str() };
        let known = ACTIONS
            .iter()
            .find(|(verb, known, _)| *verb == asked && Some(*known) == path)
            .map(|(_, _, action)| *action);
        match known {
            Some(action) => action,
            None if [Method::GET, Method::HEAD].contains(method) => LOOK,
            // there is nothing that could be done
            None if path.is_none() => Self { is_noted: false, ..deed("other", Scope::Write) },
            None => deed("other", Scope::Write),
        }
    }

    /// On what: the parts of a path that its pattern leaves open.
    pub(in super::super) fn object(pattern: &str, path: &str) -> String {
        let open = pattern.split('/').zip(path.split('/'));
        let open = open.filter(|(known, _)| known.starts_with('{')).map(|(_, given)| given);
        let mut object = open.collect::<Vec<_>>().join("/");
        // nothing that is there has a longer name
        let end = object.char_indices().nth(OBJECT).map_or(object.len(), |(at, _)| at);
        object.truncate(end);
        object
    }
}

/// Letters of an object, at most.
const OBJECT: usize = 300;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_request_stands_in_one_row_and_is_called_by_what_it_is_on() {
        for (at, (verb, path, action)) in ACTIONS.iter().enumerate() {
            let is_same =
                |(other, known, _): &&(&str, &str, Action)| (other, known) == (verb, path);
            assert_eq!(ACTIONS.iter().position(|row| is_same(&row)), Some(at), "{verb} {path}");
            assert!(action.name.contains('.'), "{}", action.name);
            assert!(*verb != "GET" || !action.is_noted, "{verb} {path}");
        }
    }

    #[test]
    fn what_is_in_no_row_needs_everything_and_is_noted() {
        let action = Action::of(&Method::DELETE, Some("/api/v1/runs"));
        assert_eq!((action.needs, action.is_noted), (Scope::Write, true));
        let nowhere = Action::of(&Method::POST, None);
        assert_eq!((nowhere.needs, nowhere.is_noted), (Scope::Write, false));
        assert_eq!(Action::of(&Method::GET, Some("/api/v1/runs/{run}")), LOOK);
        let cancel = Action::of(&Method::POST, Some("/api/v1/runs/{run}/cancel"));
        assert_eq!(cancel.name, "runs.cancel");
    }

    #[test]
    fn an_object_is_what_a_path_leaves_open() {
        let object = Action::object("/api/v1/limits/{kind}/{name}", "/api/v1/limits/batches/b1");
        assert_eq!(object, "batches/b1");
        assert_eq!(Action::object("/api/v1/keys", "/api/v1/keys"), "");
        let long = format!("/api/v1/keys/{}", "\u{e9}".repeat(OBJECT + 1));
        assert_eq!(Action::object("/api/v1/keys/{id}", &long).chars().count(), OBJECT);
    }
}

//! What a process calls itself among its like.

/// The name that was given, or one that no other process has now: the host's and the process's
/// number.
pub fn name_or(given: &str) -> String {
    if !given.is_empty() {
        return given.to_owned();
    }
    let host = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
    format!("{}-{}", host.as_deref().unwrap_or("host"), std::process::id())
}

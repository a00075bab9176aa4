//! What no file of the repository contains.

use crate::tree::{File, files, none, numbered};

/// Where a file may name a path of the machine after all, and why.
const MAY_NAME_PATHS: &[(&str, &str)] = &[];

/// Folders that belong to one machine or one person.
const FOLDERS: [&str; 4] =
    [concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/ho", "me/"), concat!("/t", "mp/")];

/// Hosts that dependencies come from. Cargo writes the first into its lock file itself.
const HOSTS: [&str; 6] = [
    concat!("crates", ".io"),
    concat!("pypi", ".org"),
    concat!("pythonhosted", ".org"),
    concat!("npmjs", ".org"),
    concat!("npmjs", ".com"),
    concat!("debian", ".org"),
];

/// Whether an absolute path into one of the folders begins somewhere in the line.
fn names_a_folder(line: &str) -> bool {
    let goes_on = |before: char| before.is_alphanumeric() || "_-.~)}$*".contains(before);
    let begins =
        |folder: &str| line.match_indices(folder).any(|(at, _)| !line[..at].ends_with(goes_on));
    FOLDERS.iter().any(|folder| begins(folder))
}

#[test]
fn files_work_on_every_machine() {
    let bound = |file: &File| !MAY_NAME_PATHS.iter().any(|(path, _)| file.path.starts_with(path));
    let places = |file: File| {
        let lines = numbered(&file.text).filter(|(_, line)| names_a_folder(line));
        let place = |(at, line): (usize, &str)| {
            let start: String = line.trim().chars().take(100).collect();
            format!("{}:{at}: {start}", file.path)
        };
        lines.map(place).collect::<Vec<_>>()
    };
    let found: Vec<String> = files().into_iter().filter(bound).flat_map(places).collect();
    let advice = "These paths exist on one machine only. Use a path within the repository, \
                  std::env::temp_dir() or a variable; where a file must say such a path, add it \
                  with the reason to MAY_NAME_PATHS (tests/tidy/src/every_file.rs).";
    none(&found, advice);
}

#[test]
fn dependencies_come_through_their_clients() {
    let own = |file: &File| file.path != "Cargo.lock" && !file.is_test_data();
    let places = |file: File| {
        let lines = numbered(&file.text);
        let named = lines.filter(|(_, line)| HOSTS.iter().any(|host| line.contains(host)));
        named.map(|(at, line)| format!("{}:{at}: {}", file.path, line.trim())).collect::<Vec<_>>()
    };
    let found: Vec<String> = files().into_iter().filter(own).flat_map(places).collect();
    let advice = "Name the package, not the host: cargo, pip and apt-get find their registries as \
                  each machine has them set up, mirrors and proxies included.";
    none(&found, advice);
}

#[test]
fn absolute_paths_are_told_from_others() {
    let [first, .., last] = FOLDERS;
    assert!(names_a_folder(&format!("cd {first}main")));
    assert!(names_a_folder(&format!("open('{last}x')")));
    assert!(!names_a_folder(&format!("docs{first}main")));
    assert!(!names_a_folder(&format!("${{DIR}}{last}x")));
}

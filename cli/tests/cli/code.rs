//! Code nodes from the command line: the sandbox, and the ways around it.

use super::*;

/// Asks for its environment's rights and ends with what it found.
fn looks() -> String {
    let code = "{id: c, data: {type: code, title: Look, code_language: python3, variables: [], \
                outputs: {says: {type: string}}, code: \"def main():\\n    try:\\n        \
                return {'says': open('/etc/passwd').read() and 'open'}\\n    \
                except PermissionError:\\n        return {'says': 'closed'}\\n\"}}";
    let edges = ["{source: s, target: c}", "{source: c, target: e}"];
    workflow(&[&start(""), code, &end("says", "c, says")], &edges)
}

#[test]
fn python_runs_in_the_sandbox_unless_it_is_waived() {
    assert_eq!(run(&looks(), &[]).expect(0).out, "says: closed\n");
    assert_eq!(run(&looks(), &["--trusted-code"]).expect(0).out, "says: closed\n");
    assert_eq!(run(&looks(), &["--unsafe-code"]).expect(0).out, "says: open\n");
}

#[test]
fn the_sandbox_is_described() {
    let ran = flowmill(&["sandbox"]).expect(0);
    let (code, converter) = ran.out.split_once("converter of documents:\n").unwrap();
    for layer in [
        "privileges: active (uid ",
        "files: active (Landlock version ",
        "system calls: active\n",
        "limits: active\n",
    ] {
        assert!(code.contains(layer) && converter.contains(layer), "{ran}");
    }
}

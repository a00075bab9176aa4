//! Where code and templates run: here, or in a sandbox service.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::process::Command;

use super::*;

/// What only the real Jinja2 renders.
fn document() -> String {
    let template = "{id: t, data: {type: template-transform, title: T, \
                    template: '{{ [1] | pprint }}{{ x }}', variables: \
                    [{variable: x, value_selector: [s, n]}]}}";
    let edges = ["{source: s, target: t}", "{source: t, target: e}"];
    workflow(&[&start(NUMBER), template, &end("out", "t, output")], &edges)
}

#[test]
fn the_real_jinja_renders_what_is_not_rendered_natively() {
    let arguments = ["--input", "n=2"];
    let python = Command::new("/usr/bin/python3").args(["-I", "-c", "import jinja2"]).output();
    if python.is_ok_and(|python| python.status.success()) {
        for flags in [&[][..], &["--trusted-code"], &["--unsafe-code"]] {
            let ran = run(&document(), &[&arguments[..], flags].concat()).expect(0);
            assert_eq!(ran.says("only the real Jinja2 renders").out, "out: [1]2\n");
        }
    }
    let missing = ["--output", "json", "--jinja-python", "/nowhere/python"];
    let refused = run(&document(), &[&arguments[..], &missing].concat()).expect(1).json();
    let said = "the template uses the filter `pprint`, which only the real Jinja2 renders: \
                failed to start /nowhere/python";
    assert!(refused["error"].as_str().unwrap().starts_with(said), "{refused}");
}

#[test]
fn a_service_is_asked_with_its_key() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let service = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let (mut head, mut length) = (String::new(), 0);
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            if let Some(count) = line.to_lowercase().strip_prefix("content-length: ") {
                length = count.trim().parse().unwrap();
            }
            if line.trim().is_empty() {
                break;
            }
            head.push_str(&line);
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        let answer =
            r#"{"code": 0, "message": "success", "data": {"stdout": "<<RESULT>>far<<RESULT>>"}}"#;
        let length = answer.len();
        write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{answer}").unwrap();
        head
    });
    let path = file("far.yml", &document());
    let arguments = ["run", &path, "--input", "n=2", "--output", "json", "--sandbox-url", &url];
    let mut command = command(&arguments);
    let ran = Ran::of(command.env("FLOWMILL_SANDBOX_API_KEY", "opens").output().unwrap()).expect(0);
    assert_eq!(ran.json()["outputs"]["out"], "far");
    let head = service.join().unwrap();
    assert!(head.starts_with("POST /v1/sandbox/run"), "{head}");
    assert!(head.to_lowercase().contains("x-api-key: opens"), "{head}");
}

#[test]
fn an_address_that_is_none_is_refused_before_the_run() {
    run(&document(), &["--input", "n=2", "--sandbox-url", "localhost:8194"])
        .expect(2)
        .says("--sandbox-url: localhost:8194 is not the address of a sandbox");
}

//! Messages as bytes: what was written once is read for ever, and nothing makes a reader panic.
#![cfg(feature = "rabbitmq")]
#![expect(clippy::unwrap_used, clippy::unwrap_in_result, reason = "a test that cannot go on stops")]

use std::time::Duration;

use flowmill_engine::error::NodeError;
use flowmill_engine::fact::{FramePath, Passes, Returned, TaskId};
use flowmill_engine::plan::{Success, TaskClass};
use flowmill_engine::run::{Completion, End, Fragment, Outcome};
use flowmill_engine::time::Time;
use flowmill_engine::value::Value;
use flowmill_engine::variables::{Variable, Variables};
use flowmill_infra::message::{Beat, Control, Delivery, PlanKey, Shard, Task};
use flowmill_infra::wire::{
    DecodeError, Kind, decode_control, decode_delivery, decode_task, encode_control,
    encode_delivery, encode_task,
};
use proptest::collection::vec;
use proptest::prelude::*;

fn id() -> TaskId {
    TaskId { frame: "it[37]/inner[2]".into(), node: "llm".into(), generation: 3 }
}

fn task(text: &str, number: i64) -> Task {
    let variables = [
        ("start", "query", Value::Str(text.into())),
        ("start", "count", Value::int(number)),
        ("a", "list", Value::array(vec![Value::int(number), Value::Str(text.into())])),
    ];
    let variable = |(node, name, value): (&str, &str, Value)| {
        (node.into(), name.into(), Variable::infer(value))
    };
    Task {
        tenant: "default".into(),
        run: text.into(),
        shard: Shard(7),
        plan: PlanKey { workflow: "digest".into(), dify_sizes: true, mocks: Some("m".into()) },
        task: id(),
        attempt: 2,
        dispatch: 4,
        number: number.unsigned_abs(),
        class: TaskClass::Llm,
        fragment: Fragment::Nodes(vec!["llm".into(), "next".into()]),
        is_fused: true,
        variables: variables.into_iter().map(variable).collect::<Variables>(),
        timeout: Duration::from_millis(1500),
        sent_at: None,
        trace: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into()),
    }
}

/// A task for passes of a container.
fn chunk() -> Task {
    let passes = Passes { first: 37, count: 2, lanes: 2 };
    let task = TaskId { frame: "it[37]".into(), node: "it".into(), generation: 1 };
    let items = vec![Value::None, Value::Str("b".into())];
    Task { task, fragment: Fragment::Passes(passes, items), ..self::task("r", 3) }
}

fn completed(outcome: Result<Success, NodeError>) -> Delivery {
    let (started_at, elapsed_us) = (Time(1_700_000_000_000_000), 1234);
    let outcome = Outcome { task: id(), attempt: 2, outcome, started_at, elapsed_us };
    Delivery::Completed { run: "r".into(), completion: Completion::of(4, outcome) }
}

/// Several outcomes of passes, and how their task goes on.
fn some(end: End) -> Delivery {
    let one = |pass: u64| {
        let task = TaskId { frame: FramePath::default().pass("it", pass), ..id() };
        let outcome = Ok(Success::default());
        Outcome { task, attempt: 1, outcome, started_at: Time(pass), elapsed_us: 7 }
    };
    let Task { task, attempt, dispatch, .. } = chunk();
    let outcomes = vec![one(38), one(37)];
    let completion = Completion { task, attempt, dispatch, outcomes, end };
    Delivery::Completed { run: "r".into(), completion }
}

fn returned(reason: Returned) -> Delivery {
    Delivery::Returned { run: "r".into(), task: id(), attempt: 2, dispatch: 4, reason }
}

/// One message of each kind under the name of its file, of some more than one.
fn samples() -> Vec<(&'static str, Vec<u8>)> {
    let success = Success::of([("text".into(), Value::Str("a".into()))]).with_handle("true");
    let beat = Beat {
        worker: "w".into(),
        began: Time(5),
        slots: [1, 2, 3, 400],
        held: vec![(Shard(7), vec![1, 300]), (Shard(8), Vec::new())],
        waits: Vec::new(),
    };
    let dropped = Control::Drop { run: "r".into(), task: Some(id()), before: 9 };
    let delivery = |delivery| encode_delivery(&delivery, 1).unwrap();
    vec![
        ("task", encode_task(&task("grün", -5), 1).unwrap()),
        ("chunk", encode_task(&chunk(), 1).unwrap()),
        ("completed", delivery(completed(Ok(success)))),
        ("failed", delivery(completed(Err(NodeError::new("Kind", "why"))))),
        ("some", delivery(some(End::More))),
        ("some-returned", delivery(some(End::Returned(Returned::Suspected)))),
        ("returned", delivery(returned(Returned::WorkerLost))),
        ("poke", delivery(Delivery::Poke { run: "r".into() })),
        ("beat", delivery(Delivery::Beat(beat))),
        ("lost", delivery(Delivery::Lost { shard: Shard(7) })),
        ("drop", encode_control(&dropped, 1).unwrap()),
        ("halt", encode_control(&Control::Halt { run: "r".into(), before: 9 }, 1).unwrap()),
        ("ask", encode_control(&Control::Beat, 1).unwrap()),
    ]
}

/// Reads a message and writes it again.
fn again(bytes: &[u8]) -> Result<Vec<u8>, DecodeError> {
    match decode_task(bytes, 1) {
        Err(DecodeError::Misplaced { .. }) => {}
        task => return Ok(encode_task(&task?, 1).unwrap()),
    }
    match decode_delivery(bytes, 1) {
        Err(DecodeError::Misplaced { .. }) => {}
        delivery => return Ok(encode_delivery(&delivery?, 1).unwrap()),
    }
    Ok(encode_control(&decode_control(bytes, 1)?, 1).unwrap())
}

fn hex(bytes: &[u8]) -> String {
    let line = |line: &[u8]| {
        let each: Vec<String> = line.iter().map(|byte| format!("{byte:02x}")).collect();
        each.join(" ") + "\n"
    };
    bytes.chunks(32).map(line).collect()
}

#[test]
fn what_is_written_stays_as_it_was() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    for (name, bytes) in samples() {
        let path = folder.join(format!("{name}.v1.hex"));
        if !path.exists() && std::env::var_os("FLOWMILL_WRITE_GOLDEN").is_some() {
            std::fs::write(&path, hex(&bytes)).unwrap();
        }
        let kept = std::fs::read_to_string(&path).unwrap_or_else(|error| {
            panic!("{}: {error}. FLOWMILL_WRITE_GOLDEN=1 writes what is new", path.display())
        });
        assert_eq!(hex(&bytes), kept, "{name}: a frozen version changed; make the next version");
        let kept: Vec<u8> =
            kept.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect();
        assert_eq!(again(&kept).unwrap(), kept, "{name}");
    }
}

#[test]
fn what_cannot_be_read_is_named() {
    let (_, mut bytes) = samples().remove(0);
    bytes.push(0);
    let told = decode_task(&bytes, 1).unwrap_err().to_string();
    assert!(told.contains("1 bytes are left over"), "{told}");
    let later = decode_task(b"FmT\x02...", 1).unwrap_err();
    assert_eq!(later, DecodeError::Version { kind: Kind::Task, version: 2, reads: 1 });
    assert!(later.is_later() && decode_task(b"Fm?\x01", 1).unwrap_err().is_later());
    let never = decode_task(b"FmT\x00...", 2).unwrap_err();
    assert_eq!(never, DecodeError::Version { kind: Kind::Task, version: 0, reads: 2 });
    assert!(!never.is_later());
    assert!(!decode_task(b"{\"a\": 1}", 1).unwrap_err().is_later());
    assert_eq!(decode_task(b"Fm", 1).unwrap_err(), DecodeError::Short { bytes: 2 });
}

#[test]
fn a_later_release_reads_what_earlier_ones_wrote_and_not_the_other_way_round() {
    let written = task("grün", -5);
    let [early, late] = [1, 2].map(|version| encode_task(&written, version).unwrap());
    // a kind that a version does not change keeps its body
    assert_eq!((early[3], late[3], &early[4..]), (1, 2, &late[4..]));
    for bytes in [&early, &late] {
        assert_eq!(decode_task(bytes, 2).unwrap().task, written.task);
    }
    assert!(decode_task(&early, 1).is_ok());
    assert!(decode_task(&late, 1).unwrap_err().is_later());
    let word = encode_control(&Control::Beat, 2).unwrap();
    assert!(decode_control(&word, 1).unwrap_err().is_later());
    assert!(matches!(decode_control(&word, 2), Ok(Control::Beat)));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    #[test]
    fn a_task_is_read_as_it_was_written(text in ".{0,20}", number: i64) {
        let written = task(&text, number);
        let read = decode_task(&encode_task(&written, 1).unwrap(), 1).unwrap();
        prop_assert_eq!(read.variables.sorted(), written.variables.sorted());
        let rest = |task: Task| (
            (task.tenant, task.run, task.shard, task.plan, task.task, task.attempt),
            (task.dispatch, task.number, task.class, task.timeout, task.trace),
            (task.fragment, task.is_fused),
        );
        prop_assert_eq!(rest(read), rest(written));
    }

    #[test]
    fn no_bytes_make_a_reader_panic(
        which in 0..13_usize,
        body in vec(any::<u8>(), 0..200),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
    ) {
        let (_, mut bytes) = samples().remove(which);
        let mut made = bytes[..4].to_vec();
        made.extend(&body);
        again(&made).ok();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        again(&bytes).ok();
        again(&body).ok();
    }
}

//! Notes of shard owners: the latest of each shard is there, or none.

use flowmill_engine::time::Time;
use flowmill_infra::message::Shard;
use flowmill_infra::notes::{Note, Notes, WorkerNote};
use flowmill_infra::waits::Waiting;
use flowmill_services::models::limits::Why;

pub(crate) async fn all<N: Notes>(make: impl AsyncFn() -> N) {
    the_latest_note_of_a_shard_is_read(make().await).await;
}

fn waiting(number: u64) -> Waiting {
    let (provider, why) = ("p".into(), Why::Cooling);
    Waiting { shard: Shard(1), number, provider, why, until: Some(Time(5)) }
}

fn note(at: u64) -> Note {
    let worker = |name: &str, held: &[u64]| WorkerNote {
        name: name.into(),
        heard_at: Time(at),
        slots: [1, 2, 3, 4],
        held: held.to_vec(),
        waits: held.iter().map(|number| waiting(*number)).collect(),
    };
    Note {
        scheduler: "one \u{1F600}".into(),
        at: Time(at),
        mark: u64::MAX,
        out: [1, 0, 3, 4],
        window: [5, 6, 7, usize::MAX],
        workers: vec![worker("a", &[]), worker("b", &[7, 9])],
    }
}

async fn the_latest_note_of_a_shard_is_read<N: Notes>(notes: N) {
    assert_eq!(notes.note(Shard(1)).await, None);
    notes.leave(&[]).await;
    notes.leave(&[(Shard(1), note(1)), (Shard(2), note(2))]).await;
    notes.leave(&[(Shard(1), note(3))]).await;
    assert_eq!(notes.note(Shard(1)).await, Some(note(3)));
    assert_eq!(notes.note(Shard(2)).await, Some(note(2)));
    assert_eq!(notes.note(Shard(3)).await, None);
    let read = notes.note(Shard(1)).await.unwrap();
    assert_eq!(read.holder(9).map(|worker| &*worker.name), Some("b"));
    assert_eq!(read.holder(8), None);
}

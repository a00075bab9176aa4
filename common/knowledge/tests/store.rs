//! One suite for every place where knowledge bases may lie: what a store promises holds in a file
//! and in a `PostgreSQL` database, whoever compares the vectors.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod suite;

/// Runs every case of the suite in one place.
macro_rules! suite {
    ($place:ident: $($case:ident),+ $(,)?) => {
        mod $place {
            $(
                #[tokio::test]
                async fn $case() {
                    super::suite::$case(super::suite::World::$place()).await;
                }
            )+
        }
    };
}

macro_rules! everywhere {
    ($($case:ident),+ $(,)?) => {
        suite!(sqlite: $($case),+);
        suite!(postgres: $($case),+);
        suite!(pgvector: $($case),+);
        suite!(indexed: $($case),+);
    };
}

everywhere!(
    bases_are_made_listed_and_dropped,
    a_base_that_is_not_there_is_told_with_the_nearest_name,
    words_are_found_without_any_model,
    chinese_and_japanese_are_found_by_words,
    meaning_is_found_by_vectors,
    both_count_in_a_hybrid_search,
    small_pieces_lead_to_their_passage,
    pairs_are_found_by_the_words_of_both,
    filters_and_thresholds_hold,
    a_model_puts_passages_in_order,
    what_is_kept_twice_is_kept_once,
    a_document_is_replaced_as_a_whole,
    a_document_that_was_cut_off_goes_on_and_pays_for_nothing_twice,
    vectors_of_another_length_are_refused,
    tenants_see_nothing_of_each_other,
    hits_are_counted,
    fields_are_told_with_their_kinds,
    a_document_is_removed,
);

#[tokio::test]
async fn asking_makes_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sub/knowledge.db");
    let url = format!("sqlite:{}", file.display());
    let store = flowmill_knowledge::open(&url, suite::no_models()).unwrap();
    let error = store.base("", "handbook").await.unwrap_err();
    assert_eq!(error.kind, flowmill_services::knowledge::KnowledgeErrorKind::NoBase);
    assert!(error.message.contains("flowmill knowledge create handbook"), "{error}");
    assert!(store.bases("").await.unwrap().is_empty() && !file.exists());
    store.create("", "handbook", "", &flowmill_knowledge::Settings::default()).await.unwrap();
    assert!(file.exists());
}

#[tokio::test]
async fn a_file_of_another_program_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("notes.db");
    std::fs::write(&file, "not a database at all, but a text of some length").unwrap();
    let store = flowmill_knowledge::open(file.to_str().unwrap(), suite::no_models()).unwrap();
    let error = store.bases("").await.unwrap_err();
    assert!(error.message.contains("notes.db"), "{error}");
    assert!(std::fs::read_to_string(&file).unwrap().starts_with("not a database"));
}

#[test]
fn addresses_are_read() {
    let open = |url: &str| {
        flowmill_knowledge::open(url, suite::no_models())
            .map(drop)
            .map_err(|error| error.to_string())
    };
    let told = open("mysql://me:secret@host/db").unwrap_err();
    assert!(told.contains("mysql://…") && !told.contains("secret"), "{told}");
    assert!(open("sqlite:").is_err());
}

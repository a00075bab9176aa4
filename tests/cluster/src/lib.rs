//! Tests of schedulers and workers over real servers; see `tests/cluster`.

//! Tests of the programs over servers of their own; see `tests/e2e`.

//! The simulation is a test: see `tests/simulation`.

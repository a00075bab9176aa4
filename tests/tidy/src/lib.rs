//! The house rules that no compiler checks, as tests: how long files may be, which crates may know
//! which, what no file may contain. Each rule is one test, and a test that fails says what to do.
//!
//! Nothing depends on this crate. Run it alone with `cargo test -p flowmill-tidy`.

#[cfg(test)]
mod crates;
#[cfg(test)]
mod documents;
#[cfg(test)]
mod every_file;
#[cfg(test)]
mod sources;
#[cfg(test)]
mod tree;

//! What tests of the core share: a tiny catalogue of node types, a text notation for graphs and a
//! driver that keeps a run, its facts and its replay side by side.

pub(crate) mod catalogue;
pub(crate) mod driver;
pub(crate) mod notation;

//! What tests of the core share: a tiny catalogue of node types, a text notation for graphs and a
//! driver that keeps a run, its facts and its replay side by side.

#![allow(dead_code, unreachable_pub, reason = "each test uses a part of it")]

pub mod catalogue;
pub mod driver;
pub mod notation;

//! What a row of the table is made of.

use std::marker::PhantomData;

use super::handles::{Counter, Gauge, Histogram};

/// A program that counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// `flowmill-scheduler`, whatever its roles.
    Scheduler,
    /// `flowmill-worker`.
    Worker,
    /// `flowmill serve`.
    Serve,
}

/// A row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Spec {
    /// What it is called.
    pub name: &'static str,
    /// How it counts.
    pub kind: Kind,
    /// By what it is told apart.
    pub labels: &'static [Label],
    /// Which programs have it.
    pub programs: &'static [Program],
    /// What it says, for people.
    pub meaning: &'static str,
}

/// How a metric counts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// Upwards.
    Counter,
    /// Up and down.
    Gauge,
    /// By size, with the upper ends of its classes in seconds.
    Histogram(&'static [f64]),
}

/// By what a metric is told apart.
#[derive(Clone, Copy, Debug)]
pub struct Label {
    /// What it is called.
    pub name: &'static str,
    /// What it can be.
    pub values: Values,
}

/// What a label can be.
#[derive(Clone, Copy, Debug)]
pub enum Values {
    /// One of these; whatever else there is counts as the last.
    Known(&'static [&'static str]),
    /// Named elsewhere, and few: where.
    Bounded(&'static str),
}

/// A row, with what it is counted with.
#[derive(Clone, Copy, Debug)]
pub struct Metric<I> {
    pub(super) spec: Spec,
    counted_with: PhantomData<I>,
}

type Labels = &'static [Label];
type Programs = &'static [Program];

pub(super) const fn known(name: &'static str, values: &'static [&'static str]) -> Label {
    Label { name, values: Values::Known(values) }
}

pub(super) const fn bounded(name: &'static str, values: &'static str) -> Label {
    Label { name, values: Values::Bounded(values) }
}

pub(super) const fn counter(
    name: &'static str,
    labels: Labels,
    programs: Programs,
    meaning: &'static str,
) -> Metric<Counter> {
    let spec = Spec { name, kind: Kind::Counter, labels, programs, meaning };
    Metric { spec, counted_with: PhantomData }
}

pub(super) const fn gauge(
    name: &'static str,
    labels: Labels,
    programs: Programs,
    meaning: &'static str,
) -> Metric<Gauge> {
    let spec = Spec { name, kind: Kind::Gauge, labels, programs, meaning };
    Metric { spec, counted_with: PhantomData }
}

pub(super) const fn histogram(
    name: &'static str,
    buckets: &'static [f64],
    (labels, programs): (Labels, Programs),
    meaning: &'static str,
) -> Metric<Histogram> {
    let spec = Spec { name, kind: Kind::Histogram(buckets), labels, programs, meaning };
    Metric { spec, counted_with: PhantomData }
}

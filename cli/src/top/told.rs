//! What processes tell, in Prometheus' text format, as far as it is needed here.

use std::collections::{BTreeMap, BTreeSet};

/// What all our names begin with.
const OURS: &str = "flowmill_";

/// A number with its name and labels.
#[derive(Clone, Debug, PartialEq)]
struct Series {
    name: String,
    labels: Vec<(String, String)>,
    value: f64,
}

/// What several processes told at about the same time.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Told {
    series: Vec<Series>,
    /// How many told something.
    pub(crate) answered: usize,
    /// Those that did not answer.
    pub(crate) silent: Vec<String>,
}

impl Told {
    /// Adds what one process told. Lines that are none of ours are passed over.
    pub(crate) fn add(&mut self, text: &str) {
        self.answered += 1;
        self.series.extend(text.lines().filter_map(read));
    }

    fn named<'a>(
        &'a self,
        name: &'a str,
        labels: &'a [(&'a str, &'a str)],
    ) -> impl Iterator<Item = &'a Series> {
        let has = |series: &Series, (label, value): &(&str, &str)| {
            series.labels.iter().any(|(name, held)| name == label && held == value)
        };
        self.series
            .iter()
            .filter(move |series| series.name == name)
            .filter(move |series| labels.iter().all(|label| has(series, label)))
    }

    /// The sum of all with these labels.
    pub(crate) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        // a sum of nothing would be -0
        self.named(name, labels).map(|series| series.value).fold(0.0, |sum, value| sum + value)
    }

    /// The highest of them; 0 if there is none.
    pub(crate) fn most(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.named(name, labels).map(|series| series.value).fold(0.0, f64::max)
    }

    /// The values of a label.
    pub(crate) fn values(&self, name: &str, label: &str) -> BTreeSet<String> {
        let labels = self.named(name, &[]).flat_map(|series| &series.labels);
        labels.filter(|(held, _)| held == label).map(|(_, value)| value.clone()).collect()
    }

    /// Servers that processes cannot reach, and how many cannot.
    pub(crate) fn away(&self) -> Vec<(String, usize)> {
        let mut away: BTreeMap<String, usize> = BTreeMap::new();
        for series in self.named("dependency_up", &[]).filter(|series| series.value < 0.5) {
            for (_, server) in &series.labels {
                *away.entry(server.clone()).or_default() += 1;
            }
        }
        away.into_iter().collect()
    }
}

/// `flowmill_name{label="value"} 1`.
fn read(line: &str) -> Option<Series> {
    let (head, value) = line.strip_prefix(OURS)?.rsplit_once(' ')?;
    let value = value.parse().ok()?;
    let (name, labels) = match head.split_once('{') {
        Some((name, rest)) => (name, labels(rest.strip_suffix('}')?)?),
        None => (head, Vec::new()),
    };
    Some(Series { name: name.to_owned(), labels, value })
}

fn labels(text: &str) -> Option<Vec<(String, String)>> {
    let mut labels = Vec::new();
    let mut rest = text;
    while let Some((name, after)) = rest.split_once("=\"") {
        let mut value = String::new();
        let mut letters = after.char_indices();
        let end = loop {
            match letters.next()? {
                (at, '"') => break at,
                (_, '\\') => match letters.next()?.1 {
                    'n' => value.push('\n'),
                    letter => value.push(letter),
                },
                (_, letter) => value.push(letter),
            }
        };
        labels.push((name.trim_start_matches(',').to_owned(), value));
        rest = &after[end + 1..];
    }
    Some(labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_with_what_is_escaped_in_them() {
        let series = read("flowmill_x_total{a=\"1,2\",b=\"say \\\"hi\\\"\\n\"} 2.5").unwrap();
        let label = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(series.labels, [label("a", "1,2"), label("b", "say \"hi\"\n")]);
        assert!((series.value - 2.5).abs() < f64::EPSILON && series.name == "x_total");
        assert_eq!(read("flowmill_plain 1").unwrap().labels, []);
        for other in ["# HELP flowmill_x y", "go_threads 1", "flowmill_x{a=\"", ""] {
            assert_eq!(read(other), None, "{other}");
        }
    }
}

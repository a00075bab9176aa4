//! How well a passage fits: numbers from 0 to 1, for vectors, for words, and for both.

use std::collections::HashSet;

/// What nearness of vectors counts where both are asked; words count the rest.
const SHARE_OF_VECTORS: f64 = 0.7;

/// A vector of length 1 in the same direction; None where it has no direction.
pub fn unit(vector: &[f32]) -> Option<Vec<f32>> {
    let length = vector.iter().map(|part| f64::from(*part).powi(2)).sum::<f64>().sqrt();
    let is_sound = length.is_finite() && length > 0.0;
    #[expect(clippy::cast_possible_truncation, reason = "vectors are kept in single precision")]
    let shorten = |part: &f32| (f64::from(*part) / length) as f32;
    is_sound.then(|| vector.iter().map(shorten).collect())
}

/// How near two vectors of length 1 are: the cosine between them, and 0 for all that point away.
/// Vectors of different models, which differ in how many parts they have, are not near.
pub fn nearness(one: &[f32], other: &[f32]) -> f64 {
    if one.len() != other.len() {
        return 0.0;
    }
    // several sums at a time, which a processor adds together
    let mut sums = [0.0_f32; 8];
    let (mut ones, mut others) = (one.chunks_exact(8), other.chunks_exact(8));
    for (one, other) in ones.by_ref().zip(others.by_ref()) {
        for ((sum, one), other) in sums.iter_mut().zip(one).zip(other) {
            *sum += one * other;
        }
    }
    let rest = ones.remainder().iter().zip(others.remainder()).map(|(one, other)| one * other);
    f64::from(sums.iter().sum::<f32>() + rest.sum::<f32>()).clamp(0.0, 1.0)
}

/// A word to look for, and what it counts.
#[derive(Clone, Debug, PartialEq)]
pub struct Weighted {
    /// The word.
    pub word: String,
    /// Its part of all that is looked for: all words together count 1.
    pub weight: f64,
}

/// What each word counts: the more, the fewer of all pieces have it.
pub fn weighted(words: Vec<String>, pieces_with_it: &[u64], pieces: u64) -> Vec<Weighted> {
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
    let rarity = |with_it: u64| (1.0 + pieces as f64 / (with_it as f64 + 1.0)).ln();
    let rarities = words.iter().enumerate().map(|(at, _)| {
        let with_it = pieces_with_it.get(at).copied().unwrap_or_default();
        // what no piece has would only make all scores small
        if with_it == 0 { 0.0 } else { rarity(with_it) }
    });
    let rarities: Vec<f64> = rarities.collect();
    let all: f64 = rarities.iter().sum();
    let weight = |rarity: f64| if all > 0.0 { rarity / all } else { 0.0 };
    let weighted = words.into_iter().zip(rarities);
    weighted.map(|(word, rarity)| Weighted { word, weight: weight(rarity) }).collect()
}

/// How much of what is looked for is among these words.
pub fn coverage(looked_for: &[Weighted], words: &[String]) -> f64 {
    let words: HashSet<&str> = words.iter().map(String::as_str).collect();
    let found = looked_for.iter().filter(|looked_for| words.contains(&*looked_for.word));
    found.map(|found| found.weight).sum::<f64>().clamp(0.0, 1.0)
}

/// Both together.
pub fn fused(nearness: f64, coverage: f64) -> f64 {
    SHARE_OF_VECTORS * nearness + (1.0 - SHARE_OF_VECTORS) * coverage
}

/// Keeps the best of many.
#[derive(Debug)]
pub struct Best {
    most: usize,
    kept: Vec<(i64, f64)>,
}

impl Best {
    /// As many as that.
    pub fn of(most: usize) -> Self {
        Self { most, kept: Vec::new() }
    }

    /// One more.
    pub fn add(&mut self, key: i64, score: f64) {
        self.kept.push((key, score));
        if self.kept.len() > self.most.saturating_mul(2).max(64) {
            self.cut();
        }
    }

    /// The best, in order; of two that are as good the earlier.
    pub fn take(mut self) -> Vec<(i64, f64)> {
        self.cut();
        self.kept
    }

    fn cut(&mut self) {
        self.kept.sort_by(|one, other| other.1.total_cmp(&one.1).then(one.0.cmp(&other.0)));
        self.kept.truncate(self.most);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(one: f64, other: f64) -> bool {
        (one - other).abs() < 1e-6
    }

    #[test]
    fn nearness_is_the_cosine() {
        let unit = |vector: &[f32]| unit(vector).unwrap();
        assert!(near(nearness(&unit(&[3.0, 4.0]), &unit(&[4.0, 3.0])), 0.96));
        assert!(near(nearness(&unit(&[1.0; 19]), &unit(&[2.0; 19])), 1.0));
        assert!(near(nearness(&unit(&[1.0, 0.0]), &unit(&[-1.0, 0.0])), 0.0));
        assert!(near(nearness(&[1.0], &unit(&[1.0, 0.0])), 0.0));
        for none in [&[0.0, 0.0][..], &[], &[f32::NAN], &[f32::INFINITY]] {
            assert_eq!(super::unit(none), None, "{none:?}");
        }
    }

    #[test]
    fn rare_words_count_more_and_unknown_ones_nothing() {
        let words = ["the", "wombat", "xyzzy"].map(str::to_owned).to_vec();
        let weighted = weighted(words, &[900, 3, 0], 1000);
        assert!(weighted[1].weight > 4.0 * weighted[0].weight, "{weighted:?}");
        assert!(near(weighted.iter().map(|word| word.weight).sum(), 1.0));
        assert!(near(coverage(&weighted, &["the".to_owned(), "wombat".to_owned()]), 1.0));
        assert!(near(coverage(&weighted, &["other".to_owned()]), 0.0));
    }

    #[test]
    fn the_best_are_kept_in_order() {
        let mut best = Best::of(2);
        for key in 0..200 {
            best.add(key, if key == 77 { 0.9 } else { 0.5 });
        }
        assert_eq!(best.take(), [(77, 0.9), (0, 0.5)]);
    }
}

//! How well passages fit a question by the words in them: the cosine of what their words weigh, where
//! a word weighs the more the fewer of the passages have it. Scripts without blanks between words
//! count by pairs of characters.

use std::collections::HashMap;

/// The words of a text and how often each is there.
type Counts = HashMap<String, f64>;

/// How well each text fits the question, from 0 to 1.
pub(super) fn scores(question: &str, texts: &[&str]) -> Vec<f64> {
    let counted: Vec<Counts> = texts.iter().map(|text| counts(text)).collect();
    let mut having: HashMap<&str, usize> = HashMap::new();
    for word in counted.iter().flat_map(HashMap::keys) {
        *having.entry(word).or_default() += 1;
    }
    let rarity = |word: &str| match having.get(word) {
        Some(count) => (number(1 + texts.len()) / number(1 + count)).ln() + 1.0,
        // what no passage has tells them not apart
        None => 0.0,
    };
    let weighed = |counts: &Counts| -> Counts {
        counts.iter().map(|(word, count)| (word.clone(), count * rarity(word))).collect()
    };
    let wanted = weighed(&counts(question));
    counted.iter().map(|counts| cosine(&wanted, &weighed(counts))).collect()
}

fn cosine(one: &Counts, other: &Counts) -> f64 {
    let common: f64 = one.iter().filter_map(|(word, weight)| Some(weight * other.get(word)?)).sum();
    let length =
        |counts: &Counts| counts.values().map(|weight| weight * weight).sum::<f64>().sqrt();
    let lengths = length(one) * length(other);
    if lengths > 0.0 { common / lengths } else { 0.0 }
}

fn counts(text: &str) -> Counts {
    let mut counts = Counts::new();
    let mut add = |word: &str| *counts.entry(word.to_lowercase()).or_default() += 1.0;
    for run in text.split(|letter: char| !letter.is_alphanumeric()) {
        let mut rest = run;
        while let Some(first) = rest.chars().next() {
            let is_dense = dense(first);
            let end = rest.find(|letter| dense(letter) != is_dense).unwrap_or(rest.len());
            let (same, after) = rest.split_at(end);
            if is_dense {
                pairs(same).for_each(&mut add);
            } else {
                add(same);
            }
            rest = after;
        }
    }
    counts
}

/// The pairs of neighbours in a run of characters; one alone stands for itself.
fn pairs(run: &str) -> impl Iterator<Item = &str> {
    let starts: Vec<usize> = run.char_indices().map(|(at, _)| at).collect();
    let last = starts.len().saturating_sub(2);
    (0..=last).map(move |at| {
        let end = starts.get(at + 2).copied().unwrap_or(run.len());
        &run[starts[at]..end]
    })
}

/// Whether a character belongs to a script without blanks between words.
fn dense(letter: char) -> bool {
    matches!(
        u32::from(letter),
        0x0E00..=0x0EFF
            | 0x3040..=0x30FF
            | 0x3400..=0x4DBF
            | 0x4E00..=0x9FFF
            | 0xAC00..=0xD7AF
            | 0xF900..=0xFAFF
            | 0x20000..=0x3_FFFF
    )
}

#[expect(clippy::cast_precision_loss, reason = "passages are few")]
fn number(count: usize) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_the_question_count_the_more_the_rarer_they_are() {
        let texts = ["The cat sat.", "The dog sat on the mat.", "Nothing of the kind", ""];
        let found = scores("Where did the CAT sit?", &texts);
        assert!(found[0] > found[1] && found[1] > 0.0, "{found:?}");
        assert!(found[2] > 0.0 && found[3] == 0.0, "{found:?}");
        assert!(found.iter().all(|score| (0.0..=1.0).contains(score)), "{found:?}");
    }

    #[test]
    fn a_text_fits_itself_and_nothing_fits_no_question() {
        let found = scores("tea at four", &["tea at four", "cake"]);
        assert!((found[0] - 1.0).abs() < 1e-9 && found[1] == 0.0, "{found:?}");
        assert_eq!(scores("", &["tea"]), [0.0]);
        assert_eq!(scores("?!", &["!?", "x"]), [0.0, 0.0]);
    }

    #[test]
    fn scripts_without_blanks_count_by_pairs() {
        let words = |text: &str| {
            let mut words: Vec<String> = counts(text).into_keys().collect();
            words.sort();
            words
        };
        assert_eq!(words("知识库v2 好"), ["v2", "好", "知识", "识库"]);
        let found = scores("知识检索", &["关于知识库的说明", "关于天气的说明"]);
        assert!(found[0] > 0.0 && found[1] == 0.0, "{found:?}");
    }
}

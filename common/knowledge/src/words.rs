//! The words of a text, as they are kept to be found.
//!
//! Both adapters keep the words that are made here, so that a text is found alike in each of them,
//! whatever its database takes for a word. Scripts without blanks between words (Chinese, Japanese,
//! Thai and others) are kept by single letters and by pairs of neighbours.

/// The most characters of a word that count.
const MOST_CHARACTERS: usize = 64;

/// The words of a text that is kept, in order.
pub fn of_text(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    for run in runs(text) {
        match run {
            Run::Word(word) => words.push(word),
            Run::Letters(letters) => {
                words.extend(letters.iter().map(char::to_string));
                words.extend(pairs(&letters));
            }
        }
    }
    words
}

/// The words to look for, each once: pairs of letters where there are any, as a single letter says
/// little.
pub fn of_question(text: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for run in runs(text) {
        let found = match run {
            Run::Word(word) => vec![word],
            Run::Letters(letters) if letters.len() == 1 => {
                letters.iter().map(char::to_string).collect()
            }
            Run::Letters(letters) => pairs(&letters).collect(),
        };
        for word in found {
            if !words.contains(&word) {
                words.push(word);
            }
        }
    }
    words
}

enum Run {
    Word(String),
    Letters(Vec<char>),
}

/// Words, and letters that stand together without blanks.
fn runs(text: &str) -> Vec<Run> {
    let mut runs = Vec::new();
    let mut word = String::new();
    let mut letters: Vec<char> = Vec::new();
    let mut end = |word: &mut String, letters: &mut Vec<char>| {
        if !word.is_empty() {
            runs.push(Run::Word(word.chars().take(MOST_CHARACTERS).collect()));
            word.clear();
        }
        if !letters.is_empty() {
            runs.push(Run::Letters(std::mem::take(letters)));
        }
    };
    for letter in text.chars().flat_map(char::to_lowercase) {
        match (is_unspaced(letter), letter.is_alphanumeric()) {
            (true, _) => {
                if !word.is_empty() {
                    end(&mut word, &mut letters);
                }
                letters.push(letter);
            }
            (false, true) => {
                if !letters.is_empty() {
                    end(&mut word, &mut letters);
                }
                word.push(letter);
            }
            (false, false) => end(&mut word, &mut letters),
        }
    }
    end(&mut word, &mut letters);
    runs
}

fn pairs(letters: &[char]) -> impl Iterator<Item = String> {
    letters.windows(2).map(|pair| pair.iter().collect())
}

/// Letters of scripts that put no blanks between words.
fn is_unspaced(letter: char) -> bool {
    matches!(letter,
        '\u{0e01}'..='\u{0e4e}' // Thai
        | '\u{0e80}'..='\u{0eff}' // Lao
        | '\u{1000}'..='\u{109f}' // Burmese
        | '\u{1780}'..='\u{17d3}' // Khmer
        | '\u{3005}'..='\u{3007}'
        | '\u{3041}'..='\u{3096}' // Hiragana
        | '\u{30a1}'..='\u{30fa}' | '\u{30fc}'..='\u{30ff}' // Katakana
        | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' // Han
        | '\u{f900}'..='\u{faff}'
        | '\u{20000}'..='\u{3ffff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_lower_case_and_without_signs() {
        assert_eq!(of_text("Don't STOP, café-3!"), ["don", "t", "stop", "café", "3"]);
        assert_eq!(of_question("to be or not to be"), ["to", "be", "or", "not"]);
    }

    #[test]
    fn scripts_without_blanks_are_found_by_pairs() {
        assert_eq!(of_text("東京都v2"), ["東", "京", "都", "東京", "京都", "v2"]);
        assert_eq!(of_question("京都 都"), ["京都", "都"]);
    }
}

//! Pairs of question and answer in a text.

use flowmill_services::knowledge::Cut;

/// What a question begins with.
const QUESTIONS: [&str; 6] = ["Q:", "Q：", "Question:", "问：", "问:", "問："];

/// What an answer begins with.
const ANSWERS: [&str; 6] = ["A:", "A：", "Answer:", "答：", "答:", "回答："];

/// The pairs of a text. A line that begins with `Q:` begins a question, one with `A:` its answer;
/// other lines belong to what was begun. What has no answer is left out.
pub(super) fn pairs(text: &str) -> Vec<Cut> {
    let mut pairs: Vec<(String, Option<String>)> = Vec::new();
    for line in text.lines() {
        if let Some(question) = after(line, &QUESTIONS) {
            pairs.push((question.to_owned(), None));
        } else if let Some((_, answer @ None)) = pairs.last_mut()
            && let Some(begun) = after(line, &ANSWERS)
        {
            *answer = Some(begun.to_owned());
        } else if let Some((question, answer)) = pairs.last_mut() {
            let part = answer.as_mut().unwrap_or(question);
            part.push('\n');
            part.push_str(line);
        }
    }
    let whole = |(question, answer): (String, Option<String>)| {
        let (question, answer) = (question.trim(), answer?);
        let answer = answer.trim();
        let is_whole = !question.is_empty() && !answer.is_empty();
        is_whole.then(|| Cut {
            content: question.into(),
            answer: Some(answer.into()),
            children: Vec::new(),
        })
    };
    pairs.into_iter().filter_map(whole).collect()
}

fn after<'l>(line: &'l str, words: &[&str]) -> Option<&'l str> {
    let line = line.trim_start();
    words.iter().find_map(|word| line.strip_prefix(word)).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_come_with_their_answers() {
        let text = "Preface.\nQ: Who?\nA: Ada.\nAnd Bob.\n\nQ: Without an answer?\n问：几点？\n答：三点。\n";
        let found = pairs(text);
        let found: Vec<(&str, Option<&str>)> =
            found.iter().map(|cut| (&*cut.content, cut.answer.as_deref())).collect();
        assert_eq!(found, [("Who?", Some("Ada.\nAnd Bob.")), ("几点？", Some("三点。"))]);
    }
}

//! Whether every number in the words of a suggestion is one of its measures, and every measure says its value.
//!
//! A number is a run of digits that does not continue a word: the 6 of `ICMPv6` is part of a name. What stands between
//! single quotes is the name of a group (names have no quotes) and is passed over. Of the rest, each place where the text
//! of a measure stands whole is explained; a digit that is left is not. Ports and rules are measures too.

use super::measures::is_told_truly;
use meshgate_policy::suggestion::{Measure, Suggestion};

/// Why the words of a suggestion are not to be trusted.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum NumberFault {
    /// A number is no measure. Holds the sentence and what is left of it.
    #[error("{sentence:?} has a number that is no measure: {rest:?}")]
    Unexplained {
        /// The sentence.
        sentence: String,
        /// The sentence without quoted names and measures.
        rest: String,
    },
    /// A measure is written as another value than it has.
    #[error("the measure {name} is {value} and written {text:?}")]
    Untrue {
        /// Name of the measure.
        name: String,
        /// Its value.
        value: f64,
        /// Its text.
        text: String,
    },
}

/// Checks that every number in the justification and the sentences of the evidence is the text of a measure of the
/// suggestion, and that every measure's text says its value.
pub fn check_numbers(suggestion: &Suggestion) -> Result<(), NumberFault> {
    let measures = || suggestion.evidence.iter().flat_map(|evidence| &evidence.measures);
    if let Some(Measure { name, value, unit: _, text }) = measures().find(|measure| !is_told_truly(measure)) {
        return Err(NumberFault::Untrue { name: name.clone(), value: *value, text: text.clone() });
    }
    let mut texts: Vec<&str> = measures().map(|measure| measure.text.as_str()).collect();
    // Longest first, so that `p < 0.01` does not leave `p <` behind where `0.01` is a measure too.
    texts.sort_unstable_by_key(|text| (std::cmp::Reverse(text.len()), *text));
    texts.dedup();
    let sentences = suggestion.evidence.iter().map(|evidence| &evidence.sentence);
    for sentence in std::iter::once(&suggestion.justification).chain(sentences) {
        let rest = texts.iter().fold(without_names(sentence), |rest, text| without(&rest, text));
        if has_number(&rest) {
            return Err(NumberFault::Unexplained { sentence: sentence.clone(), rest });
        }
    }
    Ok(())
}

/// Returns the sentence without what stands between single quotes.
fn without_names(sentence: &str) -> String {
    sentence.split('\'').step_by(2).collect::<Vec<_>>().join(" ")
}

/// Returns the sentence without the text, where that is not part of a longer number or word.
fn without(sentence: &str, text: &str) -> String {
    let mut rest = String::with_capacity(sentence.len());
    let mut from = 0;
    for (at, _) in sentence.match_indices(text) {
        let end = at + text.len();
        if begins_number(&sentence[..at]) && ends_number(&sentence[end..]) {
            rest.push_str(&sentence[from..at]);
            rest.push(' ');
            from = end;
        }
    }
    rest.push_str(&sentence[from..]);
    rest
}

/// Returns whether a number may begin behind this text.
fn begins_number(before: &str) -> bool {
    let mut back = before.chars().rev();
    match back.next() {
        Some('-') => !back.next().is_none_or(char::is_whitespace),
        Some('.' | ',') => false,
        Some(last) => !last.is_alphanumeric(),
        None => true,
    }
}

/// Returns whether a number may end before this text.
fn ends_number(after: &str) -> bool {
    let mut on = after.chars();
    match on.next() {
        Some('.' | ',') => !on.next().is_some_and(|next| next.is_ascii_digit()),
        Some(first) => !first.is_alphanumeric(),
        None => true,
    }
}

/// Returns whether a run of digits is left that does not continue a word.
fn has_number(text: &str) -> bool {
    let mut continues_word = false;
    for c in text.chars() {
        if c.is_ascii_digit() && !continues_word {
            return true;
        }
        continues_word = c.is_alphabetic() || (continues_word && c.is_alphanumeric());
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(sentence: &str, texts: &[&str]) -> bool {
        has_number(&texts.iter().fold(without_names(sentence), |rest, text| without(&rest, text)))
    }

    #[test]
    fn a_number_is_explained_by_a_whole_measure_only() {
        assert!(!left("1,204 flows in 40 s, 99 % answered.", &["1,204", "40 s", "99 %"]));
        assert!(left("11,204 flows", &["1,204"]) && left("1,204,000 flows", &["1,204"]));
        assert!(left("0.01 of it", &["0.0"]) && left("a rule 12", &["1", "2"]));
        assert!(left("-5 of it", &["5"]) && !left("-5 of it", &["-5"]));
        assert!(!left("took 5.", &["5"]));
    }

    #[test]
    fn names_and_words_with_digits_are_no_numbers() {
        assert!(!left("ICMPv6 traffic from group 'web-01' to group '10.0'", &[]));
        assert!(left("6 flows from group 'web-01'", &[]));
    }
}

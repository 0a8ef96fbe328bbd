//! What answers do to advice.

use super::*;
use crate::feedback::point::Questions;
use crate::feedback::ranking::Labelled;
use crate::feedback::settings::RankingSettings;
use crate::feedback::standpoint::{HEIGHT, STATIC_SCORE, feature};

/// Returns two steady services, the first of them with more flows.
fn two_services() -> Round {
    let mut round = Round::new(Action::Allow);
    let often = round.key(&[WEB], &[DATABASE], 80);
    let seldom = round.key(&[DEV], &[PRODUCTION], 443);
    for _ in 0..40 {
        let series = vec![(often, sums(30, 30, 0)), (seldom, sums(12, 12, 0))];
        let window = Window { start_s: round.now_s, width_s: 1, series, ..Window::default() };
        round.profile.observe(&window);
        round.now_s += 1;
    }
    round
}

fn destinations(advice: &Advice) -> Vec<&str> {
    let of = |suggestion: &Suggestion| -> String {
        suggestion.draft.relationship().unwrap().destination_group_name.to_string()
    };
    advice
        .suggestions
        .iter()
        .map(|suggestion| if of(suggestion) == "DatabaseServers" { "db" } else { "production" })
        .collect()
}

/// Returns a ranking that heard of drafts like these: no to what is like the first, yes to what is like the second.
fn taught(weighed: &[Seen]) -> Ranking {
    let mut ranking = Ranking::new(RankingSettings { kept_in_view: 0, ..RankingSettings::default() });
    let alike = |number: u16, seen: &Seen| {
        let mut seen = seen.clone();
        let shift = f64::from(number % 7) / 50.0;
        seen.static_score += shift;
        seen.features.iter_mut().for_each(|value| *value += shift);
        seen
    };
    let day: Vec<Seen> = (0..20).map(|number| alike(number, &weighed[usize::from(number % 2)])).collect();
    ranking.observe(&day);
    for number in 0..80_u16 {
        let seen = alike(number, &weighed[usize::from(number % 2)]);
        let reward = f64::from(number % 2);
        let height = ranking.height(&seen);
        ranking.learn(Labelled {
            suggestion: number.into(),
            seen,
            height,
            reward,
            says: vec![(Questions::BOTH, reward)],
            person: 1,
            time_ns: number.into(),
        });
    }
    ranking.begin_day(u64::MAX);
    ranking
}

#[test]
fn without_answers_the_order_is_confidence_times_relevance() {
    let advice = two_services().advise();
    assert_eq!(destinations(&advice), ["db", "production"]);
    for suggestion in &advice.suggestions {
        let score = feature(&suggestion.features, STATIC_SCORE);
        assert!((score - suggestion.confidence * suggestion.relevance).abs() < 1e-12, "{suggestion:?}");
        assert!(suggestion.features.iter().any(|feature| feature.name == HEIGHT));
    }
    assert_eq!(advice.weighed.len(), 2);
}

#[test]
fn answers_turn_the_order_round_and_move_the_confidence() {
    let mut round = two_services();
    let before = round.advise();
    round.ranking = taught(&before.weighed);
    let after = round.advise();
    assert_eq!(destinations(&after), ["production", "db"]);
    let confidence = |advice: &Advice, place: usize| advice.suggestions[place].confidence;
    assert!(confidence(&after, 1) < confidence(&before, 0), "what is refused becomes less sure");
    assert!(confidence(&after, 0) > confidence(&after, 1));
    let score = |suggestion: &Suggestion| feature(&suggestion.features, STATIC_SCORE);
    assert!(
        (score(&after.suggestions[1]) - score(&before.suggestions[0])).abs() < 1e-12,
        "the static score stays"
    );
}

#[test]
fn no_answer_makes_what_was_not_answered_surer_than_a_half() {
    let mut round = steady(Action::Deny);
    let key = round.key(&[WEB, SERVERS], &[DATABASE, SERVERS], 80);
    round.watch(60, key, sums(30, 0, 30));
    let before = round.advise();
    assert_eq!(before.suggestions.len(), 1, "{:?}", before.dropped);
    assert!(before.suggestions[0].confidence <= 0.5);
    let other = Seen { static_score: 0.0, ..before.weighed[0].clone() };
    round.ranking = taught(&[other, before.weighed[0].clone()]);
    assert!(round.advise().suggestions[0].confidence <= 0.5);
}

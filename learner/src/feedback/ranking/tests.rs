//! What the ranking that learns promises.

use super::*;
use crate::feedback::expert::{ANSWER_SHIFT_MAX, PERSON_SHIFT_MAX};
use crate::feedback::level::{HEIGHT_MAX, SCALED_AFTER};
use crate::feedback::point::Questions;
use meshgate_policy::generate::Rng;

fn uniform(rng: &mut Rng) -> f64 {
    f64::from(u32::try_from(rng.below(1 << 30)).unwrap()) / f64::from(1 << 30)
}

/// Returns a suggestion whose second feature says whether it is right, which its static score does not know.
fn suggestion(rng: &mut Rng) -> Seen {
    let features = vec![uniform(rng), uniform(rng), uniform(rng)];
    let entities = [1 + rng.below(9), 100 + rng.below(9), 1_000 + rng.below(81), 0];
    Seen { static_score: uniform(rng), features, entities }
}

fn is_right(seen: &Seen) -> bool {
    seen.features[1] > 0.5
}

fn day(rng: &mut Rng) -> Vec<Seen> {
    (0..40).map(|_| suggestion(rng)).collect()
}

/// Returns a ranking that knows how large values are, and has heard no answer.
fn scaled(rng: &mut Rng) -> Ranking {
    let mut ranking = Ranking::default();
    while !ranking.state.level.is_fixed() {
        ranking.observe(&day(rng));
    }
    ranking
}

fn labelled(ranking: &Ranking, number: u64, seen: &Seen, yes: bool) -> Labelled {
    let reward = f64::from(u8::from(yes));
    Labelled {
        suggestion: number,
        seen: seen.clone(),
        height: ranking.height(seen),
        reward,
        says: vec![(Questions::BOTH, reward)],
        person: 1,
        time_ns: number,
    }
}

/// Lets somebody answer the first ten of each of some days.
fn answer_days(
    ranking: &mut Ranking,
    days: u64,
    rng: &mut Rng,
    mut says: impl FnMut(&Seen, &mut Rng) -> bool,
) {
    for number in 0..days {
        ranking.begin_day(number * 10);
        let seen = day(rng);
        for (at, placed) in ranking.rank(&seen, 10, |_| true).iter().take(10).enumerate() {
            let seen = &seen[placed.index];
            let yes = says(seen, rng);
            ranking.learn(labelled(ranking, number * 10 + at as u64, seen, yes));
        }
        ranking.observe(&seen);
    }
    ranking.begin_day(days * 10);
}

fn bits(ranking: &Ranking, seen: &[Seen]) -> Vec<(usize, u64)> {
    ranking
        .rank(seen, 10, |_| true)
        .iter()
        .map(|placed| (placed.index, placed.confidence.to_bits()))
        .collect()
}

fn static_order(seen: &[Seen]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..seen.len()).collect();
    order.sort_by(|a, b| seen[*b].static_score.total_cmp(&seen[*a].static_score).then(a.cmp(b)));
    order
}

fn order(ranking: &Ranking, seen: &[Seen]) -> Vec<usize> {
    ranking.rank(seen, 10, |_| true).iter().map(|placed| placed.index).collect()
}

#[test]
fn on_the_first_day_the_order_is_the_static_one() {
    let mut rng = Rng::new(1);
    let seen = day(&mut rng);
    assert_eq!(order(&Ranking::default(), &seen), static_order(&seen));
    let mut ranking = scaled(&mut rng);
    ranking.begin_day(1);
    assert_eq!(order(&ranking, &seen), static_order(&seen));
    let mut even = seen.clone();
    even.iter_mut().for_each(|seen| seen.static_score = 0.5);
    assert_eq!(order(&ranking, &even), (0..even.len()).collect::<Vec<_>>(), "ties stay as they come");
}

#[test]
fn answers_with_a_pattern_open_the_gate_and_put_what_is_right_first() {
    let mut rng = Rng::new(2);
    let mut ranking = scaled(&mut rng);
    answer_days(&mut ranking, 20, &mut rng, |seen, rng| is_right(seen) != rng.chance(10));
    assert!(ranking.is_in_force(), "{:?}", ranking.course());
    let seen = day(&mut rng);
    // Two of the ten places are kept for the most unusual.
    let right = |order: &[usize]| order.iter().take(8).filter(|at| is_right(&seen[**at])).count();
    assert_eq!(right(&order(&ranking, &seen)), 8);
    assert!(right(&static_order(&seen)) < 7);
    assert!(matches!(ranking.turns()[0].turn, crate::feedback::course::Turn::Gate(true)));
}

#[test]
fn coin_flips_leave_the_static_order() {
    // One start in e^4 may seem to have found something.
    let is_fooled = |seed: &u64| {
        let mut rng = Rng::new(100 + seed);
        let mut ranking = scaled(&mut rng);
        answer_days(&mut ranking, 15, &mut rng, |_, rng| rng.chance(50));
        let seen = day(&mut rng);
        let is_static = order(&ranking, &seen) == static_order(&seen);
        assert_eq!(is_static, !ranking.is_in_force(), "seed {seed}");
        !is_static
    };
    let fooled: Vec<u64> = (0..20).filter(is_fooled).collect();
    assert!(fooled.len() <= 1, "{fooled:?}");
}

#[test]
fn answers_take_part_from_the_next_day_on() {
    let mut rng = Rng::new(3);
    let mut ranking = scaled(&mut rng);
    answer_days(&mut ranking, 8, &mut rng, |seen, _| is_right(seen));
    let seen = day(&mut rng);
    let before = bits(&ranking, &seen);
    let one = suggestion(&mut rng);
    ranking.learn(labelled(&ranking, 999, &one, true));
    assert_eq!(bits(&ranking, &seen), before);
    ranking.begin_day(1_000);
    assert_ne!(bits(&ranking, &seen), before);
    // One that comes late was given yesterday all the same.
    let known = ranking.in_force();
    ranking.learn(Labelled { time_ns: 999, ..labelled(&ranking, 1_000, &one, true) });
    assert_eq!(ranking.in_force(), known + 1);
}

#[test]
fn an_answer_that_is_withdrawn_leaves_no_trace() {
    let mut rng = Rng::new(4);
    let begun = scaled(&mut rng);
    let answers: Vec<(Seen, bool)> = (0..60)
        .map(|_| {
            let seen = suggestion(&mut rng);
            let yes = is_right(&seen);
            (seen, yes)
        })
        .collect();
    let run = |left_out: Option<usize>| {
        let mut ranking = begun.clone();
        for (at, (seen, yes)) in answers.iter().enumerate().filter(|(at, _)| Some(*at) != left_out) {
            ranking.learn(labelled(&ranking, at as u64, seen, *yes));
        }
        ranking.begin_day(u64::MAX);
        ranking
    };
    let seen = day(&mut rng);
    for withdrawn in [0, 31, 59] {
        let mut ranking = run(None);
        ranking.retract(withdrawn as u64);
        assert!(ranking.in_force() < 60);
        while ranking.catch_up() {}
        let never = run(Some(withdrawn));
        assert!(ranking == never, "answer {withdrawn}");
        assert_eq!(bits(&ranking, &seen), bits(&never, &seen), "answer {withdrawn}");
    }
    let mut ranking = run(None);
    ranking.retract(7_777);
    assert!(ranking == run(None), "nobody gave that answer");
}

#[test]
fn a_checkpoint_goes_on_bit_by_bit_and_a_crooked_one_starts_anew() {
    let mut rng = Rng::new(5);
    let mut ranking = scaled(&mut rng);
    answer_days(&mut ranking, 6, &mut rng, |seen, _| is_right(seen));
    let late = suggestion(&mut rng);
    ranking.learn(labelled(&ranking, 500, &late, true));
    let text = serde_json::to_string(ranking.state()).unwrap();
    let again =
        Ranking::restore(RankingSettings::default(), serde_json::from_str(&text).unwrap(), 3).unwrap();
    let seen = day(&mut rng);
    assert!(again == ranking);
    assert_eq!(bits(&again, &seen), bits(&ranking, &seen));
    let crooked: [fn(&mut RankingState); 7] = [
        |state| state.answers[1].height = 1e300,
        |state| state.courses[2].first = usize::MAX,
        |state| state.in_force = 9_999,
        |state| state.courses.clear(),
        |state| state.answers[0].seen.features.push(1.0),
        |state| state.answers[3].reward = f64::NAN,
        |state| state.issued[2] = 7.0,
    ];
    for (at, spoil) in crooked.into_iter().enumerate() {
        let mut state = ranking.state().clone();
        spoil(&mut state);
        assert!(Ranking::restore(RankingSettings::default(), state, 3).is_none(), "{at}");
    }
}

#[test]
fn no_answer_and_no_person_moves_a_suggestion_without_bound() {
    let mut rng = Rng::new(6);
    let begun = scaled(&mut rng);
    let one = suggestion(&mut rng);
    let log_odds = |mut ranking: Ranking| {
        ranking.begin_day(u64::MAX);
        let point = ranking.point(&one, ranking.height(&one));
        ranking.fitted.as_ref().map(|fitted| {
            let across = fitted.observations.across(std::slice::from_ref(&point), &fitted.weights);
            let predictions = fitted.long.predict(
                &fitted.observations,
                &across,
                std::slice::from_ref(&point),
                &fitted.weights,
            );
            predictions[0].mean - point.offset
        })
    };
    let mut ranking = begun.clone();
    ranking.learn(labelled(&ranking, 1, &one, false));
    let shift = log_odds(ranking.clone()).unwrap();
    assert!((-ANSWER_SHIFT_MAX..-0.1).contains(&shift), "{shift}");
    // An edited draft is one answer to two questions; where nobody expected a yes it says most.
    let mut edited = begun.clone();
    let says = vec![(Questions::SITUATION, 1.0), (Questions::RULE, 1.0)];
    edited.learn(Labelled { height: -HEIGHT_MAX, says, reward: 1.0, ..labelled(&edited, 1, &one, true) });
    let shift = log_odds(edited).unwrap();
    assert!((0.5..=ANSWER_SHIFT_MAX).contains(&shift), "{shift}");
    for number in 2..150 {
        ranking.learn(labelled(&ranking, number, &one, false));
    }
    let shift = log_odds(ranking).unwrap();
    assert!((-PERSON_SHIFT_MAX..-1.0).contains(&shift), "{shift}");
}

#[test]
fn what_is_far_more_unusual_than_all_else_stays_in_view() {
    let mut rng = Rng::new(7);
    let mut ranking = scaled(&mut rng);
    // Everything of source 3 is refused, whatever else it is.
    answer_days(&mut ranking, 20, &mut rng, |seen, _| is_right(seen) && seen.entities[0] != 3);
    assert!(ranking.is_in_force());
    let mut seen = day(&mut rng);
    let planted = Seen { static_score: 3.0, features: vec![0.5, 0.0, 0.5], entities: [3, 100, 1_000, 0] };
    seen.push(planted);
    let placed = ranking.rank(&seen, 10, |_| true);
    let place = placed.iter().position(|placed| placed.index == seen.len() - 1).unwrap();
    assert!(place < 10 && placed[place].is_kept_in_view, "place {place}");
    // Also where there is room for one alone, and not where it is no alarm.
    assert_eq!(ranking.rank(&seen, 1, |_| true)[0].index, seen.len() - 1);
    let last = ranking.rank(&seen, 10, |at| at + 1 < seen.len());
    assert!(last.iter().position(|placed| placed.index == seen.len() - 1) >= Some(10));
}

#[test]
fn answers_wait_for_the_scale_and_are_bounded() {
    let mut rng = Rng::new(8);
    let mut ranking = Ranking::default();
    let seen = suggestion(&mut rng);
    for number in 0..WAITING_MAX as u64 + 5 {
        ranking.learn(labelled(&ranking, number, &seen, true));
    }
    assert_eq!((ranking.taken_in(), ranking.waiting()), (0, WAITING_MAX));
    ranking.state.answers.truncate(3);
    for _ in 0..SCALED_AFTER {
        ranking.observe(&[suggestion(&mut rng)]);
    }
    assert!(ranking.state.level.is_fixed());
    ranking.begin_day(u64::MAX);
    assert_eq!((ranking.taken_in(), ranking.catch_up(), ranking.waiting()), (3, false, 0));
}

#[test]
fn an_answer_that_is_not_kept_any_more_can_be_withdrawn_too() {
    let mut rng = Rng::new(10);
    let mut begun = scaled(&mut rng);
    begun.settings.kept = 12;
    let answers: Vec<Labelled> = (1..=40)
        .map(|number| {
            let seen = suggestion(&mut rng);
            labelled(&begun, number, &seen, is_right(&seen))
        })
        .collect();
    let gone_through = |without: u64| {
        let mut ranking = begun.clone();
        let left = answers.iter().filter(|answer| answer.suggestion != without);
        left.for_each(|answer| ranking.learn(answer.clone()));
        while ranking.catch_up() {}
        ranking
    };
    let mut ranking = gone_through(0);
    assert_eq!((ranking.state.answers.len(), ranking.state.gone), (12, 28));
    assert!(ranking.retract(35), "it is kept");
    assert!(!ranking.retract(3), "it is not");
    ranking.relearn(answers.iter().filter(|answer| answer.suggestion != 3).cloned());
    while ranking.catch_up() {}
    assert!(ranking == gone_through(3), "as if it had never been given");
}

#[test]
fn who_changes_his_mind_does_not_take_away_what_others_said() {
    let mut rng = Rng::new(9);
    let mut ranking = scaled(&mut rng);
    let mut number = 0;
    let mut say = |ranking: &mut Ranking, person, turned: bool, rng: &mut Rng| {
        let seen = suggestion(rng);
        number += 1;
        let answer = labelled(ranking, number, &seen, is_right(&seen) != turned);
        ranking.learn(Labelled { person, ..answer });
    };
    for _ in 0..60 {
        say(&mut ranking, 1, false, &mut rng);
        say(&mut ranking, 2, false, &mut rng);
    }
    for _ in 0..60 {
        say(&mut ranking, 2, true, &mut rng);
    }
    assert!(ranking.course().first > 100, "the second person changed their mind: {:?}", ranking.course());
    let experts = ranking.experts().unwrap();
    assert!(
        experts.observations.len() >= 60 + 40,
        "what the first said stays: {}",
        experts.observations.len()
    );
}

//! Who is found in worlds in which the right answer is known.

use super::worlds::{Recipe, world};
use super::*;

#[derive(Debug, Default)]
struct Score {
    right: usize,
    wrong: usize,
    missed: usize,
}

impl Score {
    fn precision(&self) -> f64 {
        ratio(self.right, self.right + self.wrong)
    }

    fn recall(&self) -> f64 {
        ratio(self.right, self.right + self.missed)
    }
}

fn ratio(part: usize, whole: usize) -> f64 {
    crate::proportion::share(u64::try_from(part).unwrap(), u64::try_from(whole).unwrap())
}

fn score(recipe: &Recipe, seeds: u64) -> Score {
    let mut score = Score::default();
    for seed in 0..seeds {
        let world = world(seed, recipe);
        let found = likenesses(&world.actors, &MembershipLimits::default());
        let is_right = |one: &&Likeness| world.hidden.get(&one.actor) == Some(&one.group);
        let right = found.iter().filter(is_right).count();
        score.right += right;
        score.wrong += found.len() - right;
        score.missed += world.hidden.len() - right;
    }
    score
}

#[test]
fn endpoints_that_were_left_out_of_their_group_are_found_and_others_are_not() {
    let plain = Recipe::default();
    let cases = [
        ("plain", plain, 0.98, 0.75),
        ("little habit", Recipe { habit_percent: 75, ..plain }, 0.95, 0.5),
        ("much noise", Recipe { noise_max: 8, ..plain }, 0.95, 0.5),
        ("small groups", Recipe { members: [3, 4], ..plain }, 0.95, 0.6),
        ("many roles", Recipe { roles: 20, hidden: 12, ..plain }, 0.98, 0.7),
    ];
    for (name, recipe, precision_min, recall_min) in cases {
        let score = score(&recipe, 100);
        let (precision, recall) = (score.precision(), score.recall());
        println!("{name}: precision {precision:.3}, recall {recall:.3} ({score:?}, seeds 0 to 99)");
        assert!(precision >= precision_min && recall >= recall_min, "{name}: {score:?}");
    }
}

#[test]
fn where_nobody_is_left_out_nearly_nobody_is_suggested() {
    let score = score(&Recipe { hidden: 0, ..Recipe::default() }, 100);
    // 1,000 strangers, and some 6,400 members of groups.
    assert!(score.wrong <= 10, "{score:?}");
}

fn deed(part: Part, port: u16, peer: u32) -> [Deed; 2] {
    Deed::of(part, 6, port, peer)
}

fn actor(groups: &[u32], deeds: &[[Deed; 2]]) -> Actor {
    Actor { groups: groups.iter().copied().collect(), deeds: deeds.concat().into_iter().collect() }
}

/// Four databases (group 1), four web servers (group 2), and the others.
fn shop(others: Vec<Actor>) -> Vec<Actor> {
    let (serves_sql, backs_up) = (deed(Part::Serves, 5432, 2), deed(Part::Uses, 873, 3));
    let (serves_web, uses_sql) = (deed(Part::Serves, 443, 9), deed(Part::Uses, 5432, 1));
    let mut actors = vec![actor(&[1], &[serves_sql, backs_up]); 4];
    actors.extend(vec![actor(&[2], &[serves_web, uses_sql]); 4]);
    actors.extend(others);
    actors
}

fn found(others: Vec<Actor>) -> Vec<(usize, u32)> {
    let found = likenesses(&shop(others), &MembershipLimits::default());
    found.iter().map(|one| (one.actor, one.group)).collect()
}

#[test]
fn one_that_does_what_the_members_do_is_found_with_what_it_shares_and_lacks() {
    let mut actors = shop(vec![actor(&[], &[deed(Part::Serves, 5432, 2)])]);
    // One of the members makes no backups either.
    actors[3] = actor(&[1], &[deed(Part::Serves, 5432, 2)]);
    let found = likenesses(&actors, &MembershipLimits::default());
    assert_eq!(found.len(), 1);
    let Likeness { actor, group, members, shared, missing, next, .. } = &found[0];
    assert_eq!((*actor, *group, *members, *next), (8, 1, 4, None));
    let ports =
        |deeds: &[Shared]| deeds.iter().map(|one| (one.deed.service_port, one.members)).collect::<Vec<_>>();
    assert_eq!((ports(shared), ports(missing)), (vec![(5432, 4); 2], vec![(873, 3); 2]));
}

#[test]
fn one_that_does_what_two_groups_do_is_like_neither() {
    let both = [
        deed(Part::Serves, 5432, 2),
        deed(Part::Uses, 873, 3),
        deed(Part::Serves, 443, 9),
        deed(Part::Uses, 5432, 1),
    ];
    assert_eq!(found(vec![actor(&[], &both)]), []);
}

#[test]
fn members_and_the_silent_and_those_that_share_one_service_are_left_alone() {
    let dns = deed(Part::Uses, 53, 3);
    assert_eq!(
        found(vec![Actor::default(), actor(&[], &[dns]), actor(&[7], &[deed(Part::Serves, 22, 2)])]),
        []
    );
    assert_eq!(found(vec![]), []);
}

#[test]
fn two_members_are_no_pattern() {
    let backup = [deed(Part::Serves, 873, 1), deed(Part::Uses, 514, 3)];
    let pair = vec![actor(&[5], &backup), actor(&[5], &backup), actor(&[], &backup)];
    assert_eq!(found(pair), []);
    let three = vec![actor(&[5], &backup), actor(&[5], &backup), actor(&[5], &backup), actor(&[], &backup)];
    assert_eq!(found(three), [(11, 5)]);
}

#[test]
fn a_group_whose_members_have_nothing_in_common_attracts_nobody() {
    let odd = |port: u16| actor(&[6], &[deed(Part::Serves, port, 2), deed(Part::Uses, port + 1, 3)]);
    assert_eq!(found(vec![odd(1000), odd(1010), odd(1020), actor(&[], &[deed(Part::Serves, 1000, 2)])]), []);
}

#[test]
fn a_group_of_the_same_members_is_no_other_group() {
    let sql = [deed(Part::Serves, 5432, 2), deed(Part::Uses, 873, 3)];
    let mut actors = shop(vec![actor(&[], &sql)]);
    actors[..4].iter_mut().for_each(|actor| _ = actor.groups.insert(8));
    let found = likenesses(&actors, &MembershipLimits::default());
    assert_eq!(found.iter().map(|one| (one.actor, one.group)).collect::<Vec<_>>(), [(8, 1)]);
}

#[test]
fn what_is_remembered_is_bounded_and_the_longest_silent_go_first() {
    let mut behaviours = Behaviours::default();
    let endpoints = u32::try_from(ACTORS_MAX).unwrap() + 1;
    (0..endpoints)
        .for_each(|endpoint| behaviours.note(endpoint, deed(Part::Uses, 80, 1)[0], u64::from(endpoint)));
    assert!(behaviours.len() <= ACTORS_MAX && behaviours.span_s(0).is_none());
    assert_eq!(behaviours.span_s(endpoints - 1), Some((u64::from(endpoints - 1), u64::from(endpoints - 1))));
    (0..1_000).for_each(|port| behaviours.note(endpoints, deed(Part::Uses, port, 1)[0], 9));
    assert_eq!(behaviours.deeds(endpoints, 0).count(), DEEDS_PER_ACTOR_MAX);
    let kept = Behaviours::restore(behaviours.state());
    assert_eq!(kept, behaviours);
}

#[test]
fn a_deed_counts_once_a_window_and_is_forgotten_in_time() {
    let mut behaviours = Behaviours::default();
    let [with_peer, _] = deed(Part::Serves, 80, 1);
    for end_s in [60, 60, 120, 120, 180] {
        behaviours.note(7, with_peer, end_s);
    }
    assert_eq!(behaviours.deeds(7, 3).collect::<Vec<_>>(), [(with_peer, Tally { windows: 3, last_s: 180 })]);
    assert_eq!(behaviours.deeds(7, 4).count(), 0);
    behaviours.forget(181);
    assert!(behaviours.is_empty());
}

#[test]
fn ports_that_systems_hand_out_at_random_are_one() {
    assert_eq!(Deed::of(Part::Uses, 6, 50_000, 1), Deed::of(Part::Uses, 6, 40_000, 1));
    assert_ne!(Deed::of(Part::Uses, 6, 22, 1), Deed::of(Part::Uses, 6, 80, 1));
}

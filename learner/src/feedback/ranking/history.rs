//! How answers come and go: each is gone through once, in its order, and what follows from it is kept beside it, so that one
//! that is taken back takes with it what came after, which is gone through again.

use super::{Labelled, Ranking, RankingState, TurnAt, WAITING_MAX};
use crate::feedback::course::Issued;
use crate::feedback::expert::Prediction;
use crate::feedback::fitted::Fitted;
use crate::feedback::point::{Point, Questions};

/// Answers that are gone through at once.
const TAKEN_IN_MAX: usize = 16;

impl Ranking {
    /// Takes in an answer. It takes part from the day after it was given.
    pub fn learn(&mut self, answer: Labelled) {
        self.state.answers.push(answer);
        if self.waiting() > WAITING_MAX {
            self.state.drop_oldest_waiting();
        }
        self.take_in();
        if self.state.before_today() != self.state.in_force {
            self.put_in_force();
        }
    }

    /// Forgets the last answer to a suggestion as if it had never been given. Returns whether it was still kept.
    pub fn retract(&mut self, suggestion: u64) -> bool {
        let state = &mut self.state;
        let Some(at) = state.answers.iter().rposition(|answer| answer.suggestion == suggestion) else {
            return false;
        };
        state.answers.remove(at);
        state.courses.truncate(at + 1);
        state.issued.truncate(at);
        let known = state.gone + at;
        state.turns.retain(|turn| turn.answers <= known);
        self.newest = None;
        self.take_in();
        self.put_in_force();
        true
    }

    /// Learns anew from these answers, oldest first, some at a time: [`Ranking::catch_up`] goes on.
    pub fn relearn(&mut self, answers: impl Iterator<Item = Labelled>) {
        let RankingState { level, today_ns, .. } = std::mem::take(&mut self.state);
        self.state = RankingState { level, today_ns, answers: answers.collect(), ..RankingState::default() };
        let too_many = self.state.answers.len().saturating_sub(WAITING_MAX);
        self.state.answers.drain(..too_many);
        self.newest = None;
        self.take_in();
        self.put_in_force();
    }

    /// Goes on through answers that are still to be gone through, some at a time: a withdrawal can leave thousands, at some
    /// 50 ms each. Returns whether there are more. What is not gone through yet does not take part yet.
    pub fn catch_up(&mut self) -> bool {
        if !self.is_behind() {
            return false;
        }
        self.take_in();
        if self.state.before_today() != self.state.in_force {
            self.put_in_force();
        }
        self.is_behind()
    }

    fn is_behind(&self) -> bool {
        self.state.level.is_fixed() && self.state.courses.len() <= self.state.answers.len()
    }

    /// Goes on through the answers, so many at most, once the scale stays as it is.
    pub(super) fn take_in(&mut self) {
        for _ in 0..TAKEN_IN_MAX {
            if !self.is_behind() {
                break;
            }
            let at = self.taken_in();
            let answer = &self.state.answers[at - self.state.gone];
            let point = self.point(&answer.seen, answer.height);
            let (reward, time_ns) = (answer.reward, answer.time_ns);
            let experts = self.experts();
            let issued = self.issue(at, &point, experts.as_deref());
            let mut course = self.course().clone();
            let null = course.null(issued.height);
            self.state.issued.push(course.mixed(null, issued.long, issued.short));
            for turn in course.learn(at, &issued, reward, &self.settings) {
                self.state.turned(TurnAt { answers: at + 1, time_ns, evidence: course.evidence, turn });
            }
            self.state.courses.push(course);
            self.newest = None;
            if self.state.courses.len() > self.settings.kept + 1 {
                self.state.forget_oldest();
            }
        }
    }

    /// Returns what is predicted of a point by experts that know the answers before it.
    fn issue(&self, at: usize, point: &Point, experts: Option<&Fitted>) -> Issued {
        let unknown = f64::from(self.unknown(point).probability());
        let points = std::slice::from_ref(point);
        let (long, short) = experts
            .and_then(|experts| experts.probabilities(points).first().copied())
            .unwrap_or((unknown, unknown));
        let span = self.settings.long_span;
        let since = |start| experts.and_then(|experts| experts.since(start, point, span));
        let fresh = self.course_at(at).fresh.iter().map(|fresh| since(fresh.start).unwrap_or(unknown));
        Issued { height: f64::from(point.height), long, short, fresh: fresh.collect() }
    }

    /// Returns what is predicted of a point without any answer.
    fn unknown(&self, point: &Point) -> Prediction {
        let asked = (point, Questions::BOTH);
        Prediction { mean: point.offset, variance: self.weights().covariance(asked, asked) }
    }
}

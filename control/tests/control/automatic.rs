//! Automatic acceptance from the first look to its end, with the time as an argument and a new start between any two
//! steps: on SQLite (here) and on PostgreSQL (`postgres.rs`).

use crate::program::{Program, Scratch};
use crate::suggestions::{get, suggestions};
use meshgate_control::audit::{Draft, Event};
use meshgate_control::config::sqlite_url;
use meshgate_control::flow_book::{Bucket, Delivery, FlowKey, FlowSum, Width};
use meshgate_control::inbox::Listing;
use meshgate_control::keeper::{Acceptance, Keeper, Rejection, Retraction, Switching, Write};
use meshgate_control::policy_book::Change;
use meshgate_control::store::{Store, Told};
use meshgate_policy::automatic::{AutomaticKind, AutomaticRun, AutomaticSettings, AutomaticState, RunStage};
use meshgate_policy::feedback_report::GateStep;
use meshgate_policy::suggestion::{Feature, FiledSuggestion, Origin, Reason, State, Suggestion, Verdict};
use meshgate_policy::{
    Action, AuthoredRelationship, EffectCounts, FeedbackReport, GroupId, Mode, Name, PolicyVersion, RuleId,
};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

const HOUR_S: u64 = 3_600;
/// Suggestions that people accept before; ten answers are asked for.
const ANSWERED: u16 = 10;
/// Ports of suggestions that nobody answers.
const UNANSWERED: u16 = 100;

const POLICY: &str = "
default_action = 'allow'
[[groups]]
name = 'Dev'
prefixes = ['10.0.0.0/24']
[[groups]]
name = 'Prod'
prefixes = ['10.0.1.0/24']
";

fn settings() -> AutomaticSettings {
    AutomaticSettings {
        answers: ANSWERED.into(),
        margin: 0.25,
        shadow_hours: 1,
        rollback_hours: 1,
        per_day: 2,
        ..AutomaticSettings::default()
    }
}

fn suggestion(port: u16) -> Suggestion {
    let draft = format!(
        "kind = 'relationship'\naction = 'deny'\nsource_group_name = 'Dev'\ndestination_group_name = 'Prod'\nprotocol = 'TCP'\n\
         port_range = '{port}'"
    );
    Suggestion {
        origin: Origin::Anomaly,
        draft: toml::from_str(&draft).unwrap(),
        alternatives: Vec::new(),
        confidence: 0.97,
        relevance: 0.25,
        rank: u32::from(port),
        propensity: 1.0,
        justification: "why".into(),
        evidence: Vec::new(),
        effect: EffectCounts::default(),
        over_permissiveness: 0.0,
        narrows: Vec::new(),
        shadows: Vec::new(),
        makes_explicit: false,
        features: Vec::new(),
        base_version: PolicyVersion(1),
        model_version: "gru-1".into(),
        window_end_ns: 0,
        expires_ns: 0,
    }
}

/// A control that starts anew between any two steps, and the hour that the test begins with.
struct World {
    url: String,
    keeper: Arc<Keeper>,
    /// A full hour, seconds since 1970.
    begun_s: u64,
}

impl World {
    /// Has ten answered suggestions, two open ones, and thirty hours of flows: two an hour to each unanswered port.
    async fn new(url: String) -> Self {
        let keeper = Keeper::open(Store::open(&url).await.unwrap()).await.unwrap();
        let now_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let world = Self { url, keeper, begun_s: now_s - now_s % HOUR_S };
        world.commit(Change::ReplaceAll(Box::new(toml::from_str(POLICY).unwrap()))).await;
        let ports = (1..=ANSWERED).chain(UNANSWERED..UNANSWERED + 3);
        let learner = Name::new("l1").unwrap();
        let taken = world.keeper.submit(learner, ports.map(suggestion).collect()).await.unwrap();
        assert!(taken.iter().all(Result::is_ok), "{taken:?}");
        for id in 1..=ANSWERED.into() {
            world.accept(id).await;
        }
        for hour in 0..30 {
            let flows = (UNANSWERED..UNANSWERED + 3).map(|port| flow(port, Action::Allow, (0, 0), 2));
            world.saw(world.begun_s - (hour + 1) * HOUR_S, flows.collect()).await;
        }
        world
    }

    async fn accept(&self, id: u64) {
        let (actor, comment) = ("alice".to_owned(), String::new());
        let acceptance =
            Acceptance { id, edited: None, alternative: 0, expected_version: None, actor, comment };
        self.keeper.accept(acceptance).await.unwrap();
    }

    async fn commit(&self, change: Change) {
        let (author, comment) = ("bob".to_owned(), String::new());
        self.keeper
            .commit(Write { changes: vec![change], expected_version: None, author, comment })
            .await
            .unwrap();
    }

    async fn switch(&self, settings: Option<AutomaticSettings>) {
        let kind = AutomaticKind::Anomaly;
        let (is_on, actor, comment) = (settings.is_some(), "root".to_owned(), String::new());
        let switching = Switching { kind, is_on, settings, actor, comment };
        self.keeper.switch_automatic(switching).await.unwrap();
    }

    /// Delivers what was seen in one hour.
    async fn saw(&self, start_s: u64, sums: Vec<FlowSum>) {
        let bucket = Bucket { width: Width::Hour, start_s, sums, zones: Vec::new(), records_lost: 0 };
        let delivery = Delivery { collector: Name::new("c1").unwrap(), epoch: 1, buckets: vec![bucket] };
        self.keeper.store().ingest(&delivery).await.unwrap();
    }

    /// Acts so many seconds after the beginning, as a process that has just started.
    async fn act(&mut self, after_s: u64) {
        self.keeper.store().close().await;
        self.keeper = Keeper::open(Store::open(&self.url).await.unwrap()).await.unwrap();
        self.keeper.act_automatically((self.begun_s + after_s) * 1_000_000_000).await.unwrap();
    }

    async fn run(&self, id: u64) -> Option<AutomaticRun> {
        self.keeper.store().run_of(id).await.unwrap()
    }

    async fn stage(&self, id: u64) -> Option<RunStage> {
        self.run(id).await.map(|run| run.stage)
    }

    async fn state(&self, id: u64) -> State {
        self.keeper.store().suggestion(id).await.unwrap().unwrap().state()
    }

    fn relationship(&self, id: RuleId) -> Option<AuthoredRelationship> {
        let newest = self.keeper.newest();
        newest.book.authored().relationships.iter().find(|one| one.id == Some(id)).cloned()
    }

    async fn kind(&self) -> (AutomaticState, String) {
        let kinds = self.keeper.store().automatic_kinds().await.unwrap();
        kinds.first().map(|kind| (kind.state, kind.comment.clone())).unwrap()
    }

    /// Returns the events of control's own role, oldest first; checks that the trail is whole.
    async fn own_events(&self) -> Vec<String> {
        assert_eq!(self.keeper.store().audit_break().await.unwrap(), None);
        let trail = self.keeper.store().audit(u64::MAX, 1_000).await.unwrap();
        let own = trail.into_iter().rev().filter(|entry| entry.actor == "automatic");
        own.map(|entry| entry.event).collect()
    }
}

fn flow(port: u16, action: Action, (rule, shadow_rule): (u32, u32), flows: u64) -> FlowSum {
    let key = FlowKey {
        segment: 1,
        source_groups: vec![GroupId(16)],
        destination_groups: vec![GroupId(17)],
        protocol: 6,
        service_port: port,
        action,
        stage: if rule == 0 { 7 } else { 5 },
        rule,
        shadow_rule,
    };
    FlowSum {
        key,
        flows,
        packets_forward: flows,
        bytes_forward: flows,
        packets_reverse: 0,
        bytes_reverse: 0,
        first_ns: 1,
        last_ns: 2,
    }
}

const FIRST: u64 = ANSWERED as u64 + 1;

/// Goes through shadow into force and stays; every step is taken once, whoever starts anew.
async fn what_does_as_expected_is_promoted_and_kept(url: String) {
    let mut world = World::new(url).await;
    world.act(0).await;
    assert_eq!(world.run(FIRST).await, None, "it is off until somebody switches it on");
    world.switch(Some(AutomaticSettings { per_day: 1, ..settings() })).await;
    world.act(0).await;
    world.act(0).await;
    let run = world.run(FIRST).await.unwrap();
    assert_eq!(
        (run.stage, run.expected.changed, run.expected.replayed_s),
        (RunStage::Shadow, 60, 30 * HOUR_S)
    );
    assert_eq!(world.relationship(run.relationship).unwrap().mode, Mode::Shadow);
    assert_eq!(world.stage(FIRST + 1).await, None, "one a day");
    let filed = world.keeper.store().suggestion(FIRST).await.unwrap().unwrap();
    let decision = filed.decision.unwrap();
    assert!(decision.automatic && matches!(decision.verdict, Verdict::Accepted { edited: false, .. }));
    assert_eq!(world.keeper.newest().book.version(), PolicyVersion(u64::from(ANSWERED) + 2));

    world.act(HOUR_S / 2).await;
    assert_eq!(world.stage(FIRST).await, Some(RunStage::Shadow));
    let rule = run.relationship.0;
    world.saw(world.begun_s, vec![flow(UNANSWERED, Action::Allow, (0, rule), 3)]).await;
    world.act(HOUR_S).await;
    world.act(HOUR_S).await;
    assert_eq!(world.stage(FIRST).await, Some(RunStage::Enforced));
    assert_eq!(world.relationship(run.relationship).unwrap().mode, Mode::Enforce);
    let denied = vec![flow(UNANSWERED, Action::Deny, (rule, 0), 40)];
    world.saw(world.begun_s + HOUR_S, denied).await;
    world.act(2 * HOUR_S - 1).await;
    assert_eq!(world.stage(FIRST).await, Some(RunStage::Enforced));
    world.act(2 * HOUR_S).await;
    world.act(2 * HOUR_S).await;
    let run = world.run(FIRST).await.unwrap();
    assert_eq!((run.stage, run.steps.len(), run.expected.shadow_changed), (RunStage::Kept, 3, 3));
    assert_eq!(world.state(FIRST).await, State::Accepted);
    assert_eq!(world.own_events().await, ["automatic-accept", "automatic-enforce", "automatic-keep"]);
    let lines = world.keeper.automatic_lines((world.begun_s + 2 * HOUR_S) * 1_000_000_000).await.unwrap();
    let line = lines.iter().find(|line| line.kind == AutomaticKind::Anomaly).unwrap();
    assert_eq!((line.earned.answers, line.earned.accepted, line.accepted_today), (10, 10, 1));
    assert!(line.earned.is_earned && line.live.is_empty());
    // A day later there is room for the next.
    world.act(24 * HOUR_S + 1).await;
    assert_eq!(world.stage(FIRST + 1).await, Some(RunStage::Shadow));
}

/// Shadow shows more than the replay said: it never decides, and is for a person from then on.
async fn what_would_change_much_more_is_dropped(url: String) {
    let mut world = World::new(url).await;
    world.switch(Some(settings())).await;
    world.act(0).await;
    let run = world.run(FIRST).await.unwrap();
    let rule = run.relationship.0;
    world.saw(world.begun_s, vec![flow(UNANSWERED, Action::Allow, (0, rule), 200)]).await;
    world.act(HOUR_S).await;
    assert_eq!(world.stage(FIRST).await, Some(RunStage::Dropped));
    assert_eq!((world.state(FIRST).await, world.relationship(run.relationship)), (State::Open, None));
    assert_eq!(world.kind().await.0, AutomaticState::On, "it never did harm");
    world.act(HOUR_S + 60).await;
    assert_eq!(world.stage(FIRST).await, Some(RunStage::Dropped), "it is for a person");
    assert_eq!(world.stage(FIRST + 1).await, Some(RunStage::Shadow), "the other one goes on");
    let told = world.keeper.store().told("l1", 0, 100).await.unwrap();
    let sequences: Vec<u64> = told.iter().map(Told::sequence).collect();
    assert_eq!(sequences, (1..=u64::try_from(told.len()).unwrap()).collect::<Vec<_>>());
    let withdrawn = told.iter().filter(|one| matches!(one, Told::Withdrawn(w) if w.suggestion == FIRST));
    assert_eq!(withdrawn.count(), 1);
    world.accept(FIRST).await;
    assert_eq!(world.state(FIRST).await, State::Accepted);
}

/// In force it refuses more than expected: it is taken back, and its kind rests until somebody says otherwise.
async fn what_refuses_much_more_is_taken_back_and_suspends_its_kind(url: String) {
    let mut world = World::new(url).await;
    world.switch(Some(settings())).await;
    world.act(0).await;
    let run = world.run(FIRST).await.unwrap();
    let rule = run.relationship.0;
    world.saw(world.begun_s, vec![flow(UNANSWERED, Action::Allow, (0, rule), 2)]).await;
    world.act(HOUR_S).await;
    assert_eq!(world.stage(FIRST).await, Some(RunStage::Enforced));
    let other = world.run(FIRST + 1).await.unwrap();
    assert_eq!(other.stage, RunStage::Shadow, "the second one of the day began");
    let (from_s, first_minute) =
        (world.begun_s + HOUR_S, vec![flow(UNANSWERED, Action::Deny, (rule, 0), 500)]);
    let bucket = Bucket {
        width: Width::Minute,
        start_s: from_s,
        sums: first_minute,
        zones: Vec::new(),
        records_lost: 0,
    };
    let delivery = Delivery { collector: Name::new("c1").unwrap(), epoch: 1, buckets: vec![bucket] };
    world.keeper.store().ingest(&delivery).await.unwrap();
    world.act(HOUR_S + 60).await;
    let run = world.run(FIRST).await.unwrap();
    assert_eq!((run.stage, world.relationship(run.relationship)), (RunStage::RolledBack, None));
    assert_eq!(world.state(FIRST).await, State::Open);
    let (state, comment) = world.kind().await;
    assert_eq!(state, AutomaticState::Suspended);
    assert!(comment.starts_with("suggestion 11 was taken back: it decided 500 flows"), "{comment}");
    world.act(HOUR_S + 120).await;
    assert_eq!(
        world.stage(FIRST + 1).await,
        Some(RunStage::Dropped),
        "what was in shadow is dropped with it"
    );
    assert_eq!(world.relationship(other.relationship), None);
    world.act(48 * HOUR_S).await;
    assert_eq!(world.stage(FIRST + 2).await, None, "nothing begins while it is suspended");
    world.switch(Some(settings())).await;
    world.act(48 * HOUR_S).await;
    assert_eq!(world.stage(FIRST + 2).await, Some(RunStage::Shadow));
    let expected = ["accept", "enforce", "accept", "rollback", "drop", "accept"];
    assert_eq!(world.own_events().await, expected.map(|event| format!("automatic-{event}")));
}

/// What people do goes before what control would do.
async fn people_go_before(url: String) {
    let mut world = World::new(url).await;
    world.switch(Some(settings())).await;
    world.act(0).await;
    world.act(1).await;
    let (first, second) = (world.run(FIRST).await.unwrap(), world.run(FIRST + 1).await.unwrap());
    let retraction =
        Retraction { id: FIRST, answer_only: false, actor: "alice".into(), comment: "not that one".into() };
    world.keeper.withdraw(retraction).await.unwrap();
    assert_eq!(world.stage(FIRST).await, Some(RunStage::Withdrawn));
    assert_eq!((world.state(FIRST).await, world.relationship(first.relationship)), (State::Open, None));
    let mut changed = world.relationship(second.relationship).unwrap();
    changed.note = "ours".into();
    world.commit(Change::PutRelationship(changed)).await;
    world.act(HOUR_S).await;
    assert_eq!(world.stage(FIRST + 1).await, Some(RunStage::TakenOver));
    assert!(world.relationship(second.relationship).is_some(), "it is people's, and stays as they left it");
    world.act(24 * HOUR_S + 2).await;
    let third = world.run(FIRST + 2).await.unwrap();
    assert_eq!(third.stage, RunStage::Shadow);
    assert_eq!(world.stage(FIRST).await, Some(RunStage::Withdrawn), "what a person took back is a person's");
    world.switch(None).await;
    world.act(24 * HOUR_S + 3).await;
    assert_eq!(world.stage(FIRST + 2).await, Some(RunStage::Dropped), "switched off");
    assert_eq!(world.state(FIRST + 2).await, State::Open);
}

/// What people take back while a rule is in shadow counts before it decides.
async fn trust_that_is_lost_in_shadow_enforces_nothing(url: String) {
    let mut world = World::new(url).await;
    world.switch(Some(settings())).await;
    world.act(0).await;
    let run = world.run(FIRST).await.unwrap();
    assert_eq!(run.stage, RunStage::Shadow);
    let retraction = Retraction { id: 1, answer_only: true, actor: "alice".into(), comment: String::new() };
    world.keeper.withdraw(retraction).await.unwrap();
    let rule = run.relationship.0;
    world.saw(world.begun_s, vec![flow(UNANSWERED, Action::Allow, (0, rule), 3)]).await;
    world.act(HOUR_S).await;
    assert_eq!(world.stage(FIRST).await, Some(RunStage::Dropped));
    assert_eq!((world.state(FIRST).await, world.relationship(run.relationship)), (State::Open, None));
    let words = world.run(FIRST).await.unwrap().steps.pop().unwrap().words;
    assert!(words.contains("of the last 9 answers to such suggestions 9 were a yes"), "{words}");
}

/// What is not earned, or touches the rules of people, or has no past, is not accepted.
async fn what_is_not_earned_or_touches_people_is_left(url: String) {
    let mut world = World::new(url).await;
    world.switch(Some(AutomaticSettings { answers: 11, ..settings() })).await;
    world.act(0).await;
    assert_eq!(world.stage(FIRST).await, None, "one answer is missing");
    let retraction = Retraction { id: 1, answer_only: false, actor: "alice".into(), comment: String::new() };
    world.keeper.withdraw(retraction).await.unwrap();
    world.switch(Some(settings())).await;
    world.act(0).await;
    assert_eq!(world.stage(FIRST).await, None, "a withdrawn answer does not count");
    world.accept(1).await;
    let broad =
        "action = 'allow'\nsource_group_name = 'Dev'\ndestination_group_name = 'Prod'\npriority = 500";
    world.commit(Change::PutRelationship(toml::from_str(broad).unwrap())).await;
    world.act(0).await;
    let open = Listing { state: Some(State::Open), limit: 10 };
    assert_eq!(
        world.keeper.store().suggestions(open).await.unwrap().suggestions.len(),
        3,
        "all three narrow it"
    );
    assert!(world.own_events().await.is_empty());
}

/// A rule goes the same way as a relationship; what cannot be in shadow, or is overdue, is left to people.
async fn only_what_can_be_in_shadow_begins(url: String) {
    let mut world = World::new(url).await;
    let endpoint = "name = 'e1'\nmac = '02:00:00:00:00:01'\naddresses = ['10.7.0.1']";
    world.commit(Change::PutEndpoint(toml::from_str(endpoint).unwrap())).await;
    let rule =
        "kind = 'rule'\ngroup_name = 'Prod'\ndirection = 'ingress'\nprotocol = 'TCP'\naction = 'deny'\n";
    let drafts = [
        format!("{rule}port_range = '200'"),
        format!("{rule}port_range = '201'\npeer = ['10.0.0.9/32']"),
        "kind = 'membership'\nendpoint = 'e1'\ngroup = 'Dev'\njoin = true".to_owned(),
        "kind = 'grouped'\ngroups = [{ name = 'New', prefixes = ['10.0.0.9/32'] }]\n[relationship]\n\
         source_group_name = 'New'\ndestination_group_name = 'Prod'\nprotocol = 'TCP'\nport_range = '202'\n\
         action = 'deny'"
            .to_owned(),
    ];
    let sure = |port| Suggestion { confidence: 0.99, ..suggestion(port) };
    let drafted = drafts.iter().map(|draft| Suggestion { draft: toml::from_str(draft).unwrap(), ..sure(1) });
    let overdue = Suggestion { expires_ns: (world.begun_s + 2 * HOUR_S) * 1_000_000_000, ..sure(203) };
    let taken = world.keeper.submit(Name::new("l1").unwrap(), drafted.chain([overdue]).collect()).await;
    let of_rule = FIRST + 3;
    assert_eq!(taken.unwrap(), (of_rule..of_rule + 5).map(Ok).collect::<Vec<_>>());
    world.switch(Some(settings())).await;
    world.act(2 * HOUR_S).await;
    world.act(2 * HOUR_S).await;
    let run = world.run(of_rule).await.unwrap();
    assert_eq!((run.stage, world.stage(FIRST).await), (RunStage::Shadow, Some(RunStage::Shadow)));
    for (id, words) in [
        (of_rule + 1, "it is for addresses, and what it would have done cannot be told"),
        (of_rule + 2, "it changes the members of a group, which cannot be in shadow"),
        (of_rule + 3, "it makes groups, which cannot be in shadow"),
    ] {
        assert_eq!(world.stage(id).await, None);
        let look = world.keeper.look(id, (world.begun_s + 2 * HOUR_S) * 1_000_000_000).await.unwrap();
        let said = look.left_to_people.unwrap();
        assert!(said.starts_with(words), "{said}");
    }
    assert_eq!(world.stage(of_rule + 4).await, None, "its time is up");
    let mode = |world: &World| world.keeper.newest().book.authored().rules.first().map(|rule| rule.mode);
    assert_eq!(mode(&world), Some(Mode::Shadow));
    world.saw(world.begun_s + 2 * HOUR_S, vec![flow(200, Action::Allow, (0, run.relationship.0), 3)]).await;
    world.act(3 * HOUR_S).await;
    assert_eq!((world.stage(of_rule).await, mode(&world)), (Some(RunStage::Enforced), Some(Mode::Enforce)));
    let retraction =
        Retraction { id: of_rule, answer_only: false, actor: "alice".into(), comment: String::new() };
    world.keeper.withdraw(retraction).await.unwrap();
    assert_eq!((world.state(of_rule).await, mode(&world)), (State::Open, None));
    // What people say of memberships says nothing of rules.
    world.accept(of_rule + 2).await;
    let said = world.keeper.store().people_said("l1", AutomaticKind::Anomaly, 0.5, 100).await.unwrap();
    assert_eq!(said.len(), usize::from(ANSWERED));
}

/// A draft that people answered is theirs, under whatever number it comes again.
async fn what_is_suggested_anew_is_for_people(url: String) {
    let mut world = World::new(url).await;
    world.switch(Some(AutomaticSettings { per_day: 10, ..settings() })).await;
    // Accepted by a person, and its rule deleted.
    world.commit(Change::DeleteRelationship(RuleId(1))).await;
    let learner = Name::new("l1").unwrap();
    let taken = world.keeper.submit(learner.clone(), vec![suggestion(1)]).await.unwrap();
    let deleted = *taken[0].as_ref().unwrap();
    // Put off, and suggested anew when the day is over.
    let (actor, comment) = ("alice".to_owned(), String::new());
    world.keeper.reject(Rejection { id: FIRST, reason: Reason::Later, actor, comment }).await.unwrap();
    let anew = FiledSuggestion {
        id: deleted + 1,
        learner,
        submitted_ns: 1,
        suggestion: suggestion(UNANSWERED),
        decision: None,
    };
    let store = world.keeper.store();
    let audit =
        Draft { time_ns: 1, actor: "l1".into(), event: Event::SuggestionSubmit, detail: "anew".into() };
    store.take_in(&[anew], store.audit_head().await.unwrap(), audit).await.unwrap();
    for round in 0..4 {
        world.act(round).await;
    }
    assert_eq!((world.stage(deleted).await, world.stage(deleted + 1).await), (None, None));
    assert_eq!(world.stage(FIRST + 1).await, Some(RunStage::Shadow), "nobody answered that one");
    for id in [deleted, deleted + 1] {
        let look = world.keeper.look(id, world.begun_s * 1_000_000_000).await.unwrap();
        assert_eq!(look.left_to_people.unwrap(), "its draft was answered before");
    }
}

/// What one learner earned, another does not spend; busy traffic and learned trust are for people.
async fn each_learner_earns_for_itself_and_what_is_busy_is_left(url: String) {
    let mut world = World::new(url).await;
    world.switch(Some(AutomaticSettings { per_day: 10, ..settings() })).await;
    let features = vec![Feature { name: "confidence".into(), value: 0.6 }];
    let trusted = Suggestion { features, confidence: 0.99, ..suggestion(300) };
    let busy = Suggestion { confidence: 0.99, ..suggestion(301) };
    let taken = world.keeper.submit(Name::new("l1").unwrap(), vec![trusted, busy]).await.unwrap();
    let [trusted, busy] = [0, 1].map(|at: usize| *taken[at].as_ref().unwrap());
    let other = Suggestion { confidence: 0.99, ..suggestion(302) };
    let taken = world.keeper.submit(Name::new("l2").unwrap(), vec![other]).await.unwrap();
    let other = *taken[0].as_ref().unwrap();
    // 700 in thirty hours are more than 20 an hour.
    world.saw(world.begun_s - 31 * HOUR_S, vec![flow(301, Action::Allow, (0, 0), 700)]).await;
    for round in 0..6 {
        world.act(round).await;
    }
    for (id, words) in [
        (trusted, "its confidence is 0.600, 0.950 is asked for"),
        (busy, "it would refuse 2"),
        (other, "the confidence of anomaly suggestions is not earned yet"),
    ] {
        assert_eq!(world.stage(id).await, None);
        let look = world.keeper.look(id, world.begun_s * 1_000_000_000).await.unwrap();
        let said = look.left_to_people.unwrap();
        assert!(said.starts_with(words), "{said}");
    }
    assert_eq!(world.stage(FIRST).await, Some(RunStage::Shadow));
}

/// Of two controls that look at the same time, one acts.
async fn of_two_controls_one_acts(url: String) {
    let mut world = World::new(url).await;
    world.switch(Some(AutomaticSettings { per_day: 1, ..settings() })).await;
    let other = Keeper::open(Store::open(&world.url).await.unwrap()).await.unwrap();
    let now_ns = world.begun_s * 1_000_000_000;
    for _ in 0..3 {
        let (one, two) =
            tokio::join!(world.keeper.act_automatically(now_ns), other.act_automatically(now_ns));
        one.unwrap();
        two.unwrap();
    }
    assert_eq!(world.own_events().await, ["automatic-accept"]);
    let rule = world.run(FIRST).await.unwrap().relationship.0;
    world.saw(world.begun_s, vec![flow(UNANSWERED, Action::Allow, (0, rule), 2)]).await;
    let now_ns = now_ns + HOUR_S * 1_000_000_000;
    for _ in 0..3 {
        other.refresh().await.unwrap();
        world.keeper.refresh().await.unwrap();
        let (one, two) =
            tokio::join!(world.keeper.act_automatically(now_ns), other.act_automatically(now_ns));
        one.unwrap();
        two.unwrap();
    }
    other.store().close().await;
    world.act(HOUR_S).await;
    assert_eq!(world.own_events().await, ["automatic-accept", "automatic-enforce"]);
    assert_eq!(world.stage(FIRST).await, Some(RunStage::Enforced));
}

/// A gate step that meets a write of another control is noted with the next report: a later one would hide it.
async fn a_gate_step_waits_for_the_one_before(url: String) {
    let world = World::new(url).await;
    let other = Keeper::open(Store::open(&world.url).await.unwrap()).await.unwrap();
    let now_ns = world.begun_s * 1_000_000_000;
    let step = |open, time_ns| GateStep { answers: 90, open, evidence_nats: 4.25, time_ns };
    let gate_steps = vec![step(true, now_ns - 20), step(false, now_ns - 10)];
    let report = FeedbackReport { gate_steps, evidence_needed_nats: 4.0, ..FeedbackReport::default() };
    let learner = Name::new("l1").unwrap();
    // The other one has not seen this yet.
    world.commit(Change::DeleteRelationship(RuleId(1))).await;
    let noted = async || {
        let trail = world.keeper.store().audit(u64::MAX, 1_000).await.unwrap();
        let gates = trail.into_iter().rev().filter(|entry| entry.event == "learner-gate");
        gates.map(|entry| entry.detail).collect::<Vec<_>>()
    };
    other.note_gate(&learner, &report, now_ns).await.unwrap();
    assert_eq!(noted().await, Vec::<String>::new());
    other.note_gate(&learner, &report, now_ns).await.unwrap();
    let noted = noted().await;
    assert_eq!(noted.len(), 2, "{noted:?}");
    assert!(noted[0].starts_with("gate opened") && noted[1].starts_with("gate closed"), "{noted:?}");
    other.store().close().await;
}

/// Whoever follows the sequence while it grows finds every place of it.
async fn no_place_of_the_sequence_is_skipped(url: String) {
    let world = World::new(url).await;
    let (keeper, store) = (Arc::clone(&world.keeper), world.keeper.store());
    let writer = tokio::spawn(async move {
        for _ in 0..40 {
            let (actor, comment) = ("alice".to_owned(), String::new());
            let rejection = Rejection { id: FIRST, reason: Reason::TooBroad, actor, comment };
            keeper.reject(rejection).await.unwrap();
            let (actor, comment) = ("alice".to_owned(), String::new());
            keeper.withdraw(Retraction { id: FIRST, answer_only: false, actor, comment }).await.unwrap();
        }
    });
    let mut seen = u64::from(ANSWERED);
    while !writer.is_finished() || seen < u64::from(ANSWERED) + 80 {
        for told in store.told("l1", seen, 100).await.unwrap() {
            assert_eq!(told.sequence(), seen + 1);
            seen += 1;
        }
    }
    writer.await.unwrap();
}

/// Runs all of it, each in a store of its own.
pub async fn everything_holds(url: &impl AsyncFn(&str) -> String) {
    what_does_as_expected_is_promoted_and_kept(url("promoted").await).await;
    what_would_change_much_more_is_dropped(url("dropped").await).await;
    what_refuses_much_more_is_taken_back_and_suspends_its_kind(url("rolled_back").await).await;
    people_go_before(url("people").await).await;
    trust_that_is_lost_in_shadow_enforces_nothing(url("trust").await).await;
    what_is_not_earned_or_touches_people_is_left(url("unearned").await).await;
    only_what_can_be_in_shadow_begins(url("kinds").await).await;
    what_is_suggested_anew_is_for_people(url("anew").await).await;
    each_learner_earns_for_itself_and_what_is_busy_is_left(url("of_learners").await).await;
    a_gate_step_waits_for_the_one_before(url("gate_steps").await).await;
    no_place_of_the_sequence_is_skipped(url("sequence").await).await;
    of_two_controls_one_acts(url("two").await).await;
}

/// Questions to a running control until it must have acted: it looks when it starts, and every twenty seconds.
const QUESTIONS_MAX: usize = 20_000;

#[tokio::test]
async fn a_running_control_acts_by_itself_and_shows_it() {
    let scratch = Scratch::new();
    let url = sqlite_url(&scratch.0.join("own.sqlite"));
    let world = World::new(url.clone()).await;
    world.switch(Some(settings())).await;
    world.keeper.store().close().await;
    let mut program = Program::start(&scratch, &format!("store = '{url}'"));
    let mut client = suggestions(&program).await;
    let mut asked = 0;
    let run = loop {
        if let Some(run) = get(&mut client, FIRST).await.automatic {
            break run;
        }
        asked += 1;
        assert!(asked < QUESTIONS_MAX, "nothing was accepted");
    };
    assert_eq!((run.stage.as_str(), run.steps.len()), ("shadow", 1));
    let words = &run.steps[0].words;
    assert!(
        words.starts_with("people accepted 10 of the last 10 like it, surely 72.2 %; in the last 3"),
        "{words}"
    );
    assert!(words.ends_with(" h it would have decided 60 flows and changed the verdict of 60"), "{words}");
    program.kill();
    let program = Program::start(&scratch, &format!("store = '{url}'"));
    let again = get(&mut suggestions(&program).await, FIRST).await;
    assert_eq!(again.automatic, Some(run));
    let decision = again.suggestion.unwrap().decision.unwrap();
    assert_eq!((decision.actor.as_str(), decision.automatic), ("automatic", true));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn automatic_acceptance_holds_on_sqlite() {
    let scratch = Scratch::new();
    everything_holds(&async |name: &str| sqlite_url(&scratch.0.join(format!("{name}.sqlite")))).await;
}

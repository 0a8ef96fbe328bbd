//! Suggestions as text: one table of all, and one page for each.

use crate::automatic_text::run_lines;
use crate::proposals::{group_lines, made_words, summary};
use crate::suggestion_answers::{Listed, Shown, Suggestions};
use crate::table::{WIDTH_COLUMNS, numbers, or_dash, plural, printable, table, words};
use crate::units::{count, time};
use meshgate_policy::suggestion::{
    Alternative, Decision, FiledSuggestion, Origin, Proposal, Suggestion, Verdict,
};
use meshgate_policy::{Action, EffectCounts, RuleId, Withdrawal};

/// Columns before a wrapped line of a page.
const INDENT_COLUMNS: usize = 2;

/// Returns the table of a list.
pub fn list_text(answer: &Suggestions, state: &str) -> String {
    if answer.suggestions.is_empty() {
        return match state {
            "open" => {
                "no open suggestions; see with `meshgate learner status` whether a learner is at work\n"
                    .to_owned()
            }
            "all" => "no suggestions yet\n".to_owned(),
            state => format!("no {state} suggestions\n"),
        };
    }
    let columns = [
        numbers("ID"),
        words("STATE"),
        numbers("CONFIDENCE"),
        numbers("RELEVANCE"),
        words("DRAFT"),
        words("WHY"),
    ];
    let rows = table(&columns, answer.suggestions.iter().map(row).collect());
    let obstacles: String = answer.suggestions.iter().filter_map(obstacle_line).collect();
    let left_out = match answer.left_out {
        0 => String::new(),
        count => format!(
            "and {}; see more with --limit\n",
            plural(usize::try_from(count).unwrap_or(usize::MAX), "more suggestion")
        ),
    };
    format!("{rows}{left_out}{obstacles}")
}

fn row(Listed { filed, obstacle: _ }: &Listed) -> Vec<String> {
    let suggestion = &filed.suggestion;
    vec![
        filed.id.to_string(),
        filed.state().to_string(),
        percent(suggestion.confidence),
        percent(suggestion.relevance),
        summary(&suggestion.draft),
        suggestion.justification.clone(),
    ]
}

fn obstacle_line(Listed { filed, obstacle }: &Listed) -> Option<String> {
    let line = || printable(format!("suggestion {} cannot be accepted as it is: {obstacle}", filed.id));
    (!obstacle.is_empty()).then(|| line() + "\n")
}

/// Returns the page of one suggestion.
pub fn show_text(shown: &Shown) -> String {
    let FiledSuggestion { id, learner, submitted_ns, suggestion, decision } = &shown.filed;
    let Suggestion { origin, draft, .. } = suggestion;
    let state = shown.filed.state();
    let mut page = Page::default();
    let priority = draft.priority().map_or_else(String::new, |priority| format!(", priority {priority}"));
    page.line(format!("suggestion {id} ({state}): {}{priority}", summary(draft)));
    group_lines(draft).iter().for_each(|line| page.wrapped(line));
    page.wrapped(&suggestion.justification);
    page.line(String::new());
    let ranked = format!("rank {} of its window", suggestion.rank);
    page.field("confidence", &format!("{}, {ranked}", percent(suggestion.confidence)));
    if !is_membership(draft) {
        page.field("relevance", &format!("{} of the flows seen", percent(suggestion.relevance)));
    }
    let version = suggestion.base_version;
    page.field("drafted", &format!("by {learner} from {} against version {version}", origin_words(*origin)));
    page.field("model", &or_dash(&suggestion.model_version));
    page.field("came in", &time(*submitted_ns));
    if suggestion.expires_ns != 0 && decision.is_none() {
        page.field("expires", &time(suggestion.expires_ns));
    }
    if !draft.note().is_empty() {
        page.field("note", draft.note());
    }
    alternative_lines(&mut page, suggestion);
    evidence_lines(&mut page, suggestion);
    effect_lines(&mut page, shown);
    if !shown.obstacle.is_empty() {
        page.line(String::new());
        page.wrapped(&format!("cannot be accepted as it is: {}", shown.obstacle));
    }
    if !shown.left_to_people.is_empty() {
        page.line(String::new());
        page.wrapped(&format!("not accepted automatically: {}", shown.left_to_people));
    }
    history_lines(&mut page, shown);
    page.line(String::new());
    match decision {
        Some(decision) => decision_lines(&mut page, decision),
        None => page.line(format!(
            "answer with `meshgate suggestions accept {id}`, `edit {id} ...` or `reject {id} --reason ...`"
        )),
    }
    page.text
}

fn origin_words(origin: Origin) -> &'static str {
    match origin {
        Origin::Steady => "a pattern that holds",
        Origin::Anomaly => "something unusual",
    }
}

fn alternative_lines(page: &mut Page, suggestion: &Suggestion) {
    if suggestion.alternatives.is_empty() {
        return;
    }
    page.line(String::new());
    page.line("alternatives, narrow to wide:".to_owned());
    for (number, alternative) in (1..).zip(&suggestion.alternatives) {
        let Alternative { proposal, over_permissiveness, coverage } = alternative;
        let (never, covered) = (percent(*over_permissiveness), percent(*coverage));
        page.wrapped(&format!(
            "{number}. {}: covers {covered} of what was seen; {never} of what it permits was never seen",
            summary(proposal)
        ));
        group_lines(proposal).iter().for_each(|line| page.wrapped(line));
    }
}

fn evidence_lines(page: &mut Page, suggestion: &Suggestion) {
    page.line(String::new());
    if suggestion.evidence.is_empty() {
        page.line("no evidence was given".to_owned());
        return;
    }
    page.line("evidence:".to_owned());
    for (number, evidence) in (1..).zip(&suggestion.evidence) {
        let span = match evidence.until_ns {
            0 => String::new(),
            until_ns => format!(" ({} to {})", time(evidence.from_ns), time(until_ns)),
        };
        page.wrapped(&format!("{number}. {}{span}", evidence.sentence));
    }
}

fn effect_lines(page: &mut Page, shown: &Shown) {
    let Suggestion { draft, effect, over_permissiveness, narrows, shadows, makes_explicit, .. } =
        &shown.filed.suggestion;
    page.line(String::new());
    page.line("what it would do:".to_owned());
    if is_membership(draft) {
        page.wrapped(
            "what holds for the members of the group holds for the endpoint too; no flows were replayed",
        );
        return;
    }
    page.wrapped(&format!("to what the learner remembers: {}", effect_words(effect)));
    if let Some(effect) = &shown.effect {
        let words = effect_words(effect);
        page.wrapped(&format!("to the last 7 days under version {}: {words}", shown.version));
    }
    if *makes_explicit {
        page.wrapped("denies what only the default refuses already");
    }
    if draft.action().is_some_and(Action::is_allow) {
        let never = percent(*over_permissiveness);
        page.wrapped(&format!("{never} of what it permits was never seen"));
    }
    let name = |rule: &RuleId| match shown.rules.iter().find(|words| words.rule == rule.0) {
        Some(words) => format!("rule {rule} ({})", words.summary),
        None => format!("rule {rule}, which is gone"),
    };
    for rule in narrows {
        page.wrapped(&format!("narrows {}", name(rule)));
    }
    for rule in shadows {
        page.wrapped(&format!("leaves nothing to decide for {}", name(rule)));
    }
}

fn is_membership(draft: &Proposal) -> bool {
    matches!(draft, Proposal::Membership { .. })
}

fn effect_words(effect: &EffectCounts) -> String {
    let EffectCounts { seen, matched, newly_allowed, newly_denied, attributed } = *effect;
    if seen == 0 {
        return "no flows were seen".to_owned();
    }
    format!(
        "of {} flows seen it matches {}: {} newly allowed, {} newly denied, {} decided by it with the same verdict",
        count(seen),
        count(matched),
        count(newly_allowed),
        count(newly_denied),
        count(attributed)
    )
}

/// Adds answers that were taken back, and what control did with the draft by itself.
fn history_lines(page: &mut Page, shown: &Shown) {
    let by_people = shown
        .withdrawals
        .iter()
        .filter(|withdrawal| shown.automatic.as_ref().is_none_or(|run| run.decision != withdrawal.decision));
    for Withdrawal { comment, actor, time_ns, version, .. } in by_people {
        let without =
            version.map_or_else(String::new, |version| format!(", version {version} is without it"));
        let said = if comment.is_empty() { String::new() } else { format!(": {comment}") };
        page.line(String::new());
        page.wrapped(&format!("an answer was withdrawn by {actor} at {}{without}{said}", time(*time_ns)));
    }
    if let Some(run) = &shown.automatic {
        page.line(String::new());
        let mut lines = run_lines(run).into_iter();
        page.line(lines.next().unwrap_or_default());
        lines.for_each(|line| page.wrapped(&line));
    }
}

fn decision_lines(page: &mut Page, decision: &Decision) {
    let Decision { sequence: _, suggestion: _, verdict, comment, actor, time_ns, automatic: _ } = decision;
    let reason = match verdict {
        Verdict::Rejected(reason) => format!(" ({reason})"),
        Verdict::Accepted { .. } | Verdict::Expired => String::new(),
    };
    page.line(format!("{}{reason} by {actor} at {}", verdict.state(), time(*time_ns)));
    if let Verdict::Accepted { edited: _, version, made } = verdict {
        page.wrapped(&format!("version {version} has it as {}", made_words(made)));
    }
    if !comment.is_empty() {
        page.wrapped(comment);
    }
    page.line(format!("take it back with `meshgate suggestions withdraw {}`", decision.suggestion));
}

/// Returns a share of 0 to 1 with one decimal: `97.5%`.
fn percent(share: f64) -> String {
    format!("{:.1}%", share * 100.0)
}

/// A page that grows line by line; what others wrote cannot drive the terminal.
#[derive(Default)]
struct Page {
    text: String,
}

impl Page {
    fn line(&mut self, line: String) {
        self.text.push_str(&printable(line));
        self.text.push('\n');
    }

    fn field(&mut self, name: &str, value: &str) {
        self.line(format!("{:13}{value}", format!("{name}:")));
    }

    /// Adds an indented paragraph, broken between words where it would be too wide.
    fn wrapped(&mut self, text: &str) {
        let indent = " ".repeat(INDENT_COLUMNS);
        let width = usize::from(WIDTH_COLUMNS) - INDENT_COLUMNS;
        let mut line = String::new();
        for word in printable(text.to_owned()).split(' ') {
            if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > width {
                self.line(format!("{indent}{line}"));
                line.clear();
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        self.line(format!("{indent}{line}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flags::object;
    use crate::suggestion_answers::RuleWords;
    use meshgate_policy::suggestion::{Evidence, EvidenceKind, Reason};
    use meshgate_policy::{Name, PolicyVersion};

    fn filed() -> FiledSuggestion {
        let draft = r#"{"kind": "relationship", "source_group_name": "DevNodes", "destination_group_name": "ProductionServers",
            "protocol": "TCP", "port_range": "22", "action": "deny"}"#;
        let narrower = r#"{"kind": "rule", "group_name": "ProductionServers", "direction": "ingress",
            "peer": ["10.0.0.7/32"], "protocol": "TCP", "port_range": "22", "action": "deny"}"#;
        let evidence = |sentence: &str| Evidence {
            kind: EvidenceKind::Volume,
            sentence: sentence.into(),
            measures: Vec::new(),
            from_ns: 1_769_860_740_000_000_000,
            until_ns: 1_769_860_800_000_000_000,
        };
        let suggestion = Suggestion {
            origin: Origin::Anomaly,
            draft: object(draft).unwrap(),
            alternatives: vec![Alternative {
                proposal: object(narrower).unwrap(),
                over_permissiveness: 0.5,
                coverage: 1.0,
            }],
            confidence: 0.9754,
            relevance: 0.02,
            rank: 1,
            propensity: 1.0,
            justification:
                "Unusual SSH connection attempts from group 'DevNodes' to group 'ProductionServers'; \
                            suggest denying SSH access"
                    .into(),
            evidence: vec![evidence("48 attempts in 60 s"), evidence("never seen before")],
            effect: EffectCounts { seen: 2_400, matched: 48, newly_denied: 48, ..Default::default() },
            over_permissiveness: 0.0,
            narrows: vec![RuleId(3)],
            shadows: vec![RuleId(4)],
            makes_explicit: false,
            features: Vec::new(),
            base_version: PolicyVersion(7),
            model_version: "gru-1".into(),
            window_end_ns: 0,
            expires_ns: 1_769_860_900_000_000_000,
        };
        FiledSuggestion {
            id: 12,
            learner: Name::new("l1").unwrap(),
            submitted_ns: 1_769_860_801_000_000_000,
            suggestion,
            decision: None,
        }
    }

    #[test]
    fn a_page_reads_from_the_draft_to_the_answer() {
        let shown = Shown {
            filed: filed(),
            obstacle: String::new(),
            effect: Some(EffectCounts { seen: 9, ..Default::default() }),
            version: 8,
            rules: vec![RuleWords { rule: 3, summary: "allow any -> ProductionServers TCP".into() }],
            withdrawals: Vec::new(),
            automatic: None,
            left_to_people: String::new(),
        };
        let expected = "\
suggestion 12 (open): deny DevNodes -> ProductionServers TCP 22, priority 1000
  Unusual SSH connection attempts from group 'DevNodes' to group 'ProductionServers'; suggest
  denying SSH access

confidence:  97.5%, rank 1 of its window
relevance:   2.0% of the flows seen
drafted:     by l1 from something unusual against version 7
model:       gru-1
came in:     2026-01-31 12:00:01Z
expires:     2026-01-31 12:01:40Z

alternatives, narrow to wide:
  1. deny 10.0.0.7/32 -> ProductionServers TCP 22: covers 100.0% of what was seen; 50.0% of what it
  permits was never seen

evidence:
  1. 48 attempts in 60 s (2026-01-31 11:59:00Z to 2026-01-31 12:00:00Z)
  2. never seen before (2026-01-31 11:59:00Z to 2026-01-31 12:00:00Z)

what it would do:
  to what the learner remembers: of 2,400 flows seen it matches 48: 0 newly allowed, 48 newly
  denied, 0 decided by it with the same verdict
  to the last 7 days under version 8: of 9 flows seen it matches 0: 0 newly allowed, 0 newly denied,
  0 decided by it with the same verdict
  narrows rule 3 (allow any -> ProductionServers TCP)
  leaves nothing to decide for rule 4, which is gone

answer with `meshgate suggestions accept 12`, `edit 12 ...` or `reject 12 --reason ...`
";
        assert_eq!(show_text(&shown), expected);
        let decided = FiledSuggestion {
            decision: Some(Decision {
                sequence: 1,
                suggestion: 12,
                verdict: Verdict::Rejected(Reason::TooBroad),
                comment: "only two of them".into(),
                actor: "alice".into(),
                time_ns: 1_769_860_900_000_000_000,
                automatic: false,
            }),
            ..filed()
        };
        let page = show_text(&Shown { filed: decided, obstacle: "draft: x".into(), ..shown });
        let end = "\n  cannot be accepted as it is: draft: x\n\nrejected (too-broad) by alice at \
                   2026-01-31 12:01:40Z\n  only two of them\ntake it back with `meshgate suggestions withdraw 12`\n";
        assert!(page.ends_with(end), "{page}");
    }

    #[test]
    fn the_table_is_as_documented() {
        let mut short = filed();
        short.suggestion.justification = "48 attempts".into();
        let answer = Suggestions {
            suggestions: vec![Listed {
                filed: short,
                obstacle: "draft: relationship 3 says the same".into(),
            }],
            left_out: 2,
        };
        let expected = "\
ID  STATE  CONFIDENCE  RELEVANCE  DRAFT                                      WHY
12  open        97.5%       2.0%  deny DevNodes -> ProductionServers TCP 22  48 attempts
and 2 more suggestions; see more with --limit
suggestion 12 cannot be accepted as it is: draft: relationship 3 says the same
";
        assert_eq!(list_text(&answer, "open"), expected);
        assert!(list_text(&Suggestions::default(), "open").starts_with("no open suggestions; see with"));
    }
}

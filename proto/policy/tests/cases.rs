//! Every case of `cases/*.toml` holds, judged by numbers and by names.
#![expect(clippy::unwrap_used, reason = "the whole file is a test")]

use meshgate_policy::cases::{Case, CaseFile, CasePolicy};
use meshgate_policy::{AuthoredDecision, AuthoredKey, Decision, PolicyKey, RuleId, ShadowDecision};
use std::collections::BTreeSet;
use std::path::PathBuf;

fn files() -> Vec<(PathBuf, CaseFile)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("cases");
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).unwrap();
        let file = toml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        (path, file)
    };
    paths.into_iter().map(read).collect()
}

/// Returns the verdict by name as the numbered form would have given it.
fn numbered(policy: &CasePolicy, decision: &AuthoredDecision) -> Decision {
    let AuthoredDecision { stage, action, rule, note: _, groups } = decision;
    let group = policy.policy.groups.iter().find(|group| groups.contains(&group.name));
    let version = policy.policy.version;
    Decision { version, stage: *stage, action: *action, rule: *rule, group: group.map(|group| group.id) }
}

fn judge(policy: &CasePolicy, case: &Case) -> Result<(), meshgate_policy::cases::CaseError> {
    let key = policy.key(case)?;
    policy.check(case, &policy.policy.decide(&key))?;
    policy.check_shadow(case, policy.policy.decide_shadow(&key).as_ref())?;
    let PolicyKey { segment: _, source, destination, l4 } = key;
    let by_name = AuthoredKey { segment: case.segment.clone(), source, destination, l4 };
    policy.check(case, &numbered(policy, &policy.authored.decide(&by_name)))?;
    let shadow = policy.authored.decide_shadow(&by_name).map(|decision| ShadowDecision {
        decision: numbered(policy, &decision),
        rule: decision.rule.unwrap(),
    });
    policy.check_shadow(case, shadow.as_ref())
}

#[test]
fn every_case_holds_by_numbers_and_by_names() {
    let mut failures = Vec::new();
    for (path, file) in files() {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let policy = file.to_policy().unwrap_or_else(|error| panic!("{name}: {error}"));
        let failed = file.cases.iter().filter_map(|case| judge(&policy, case).err());
        failures.extend(failed.map(|error| format!("{name}: {error}")));
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn the_cases_are_many_and_each_says_one_sentence_of_its_own() {
    let files = files();
    let sentences: Vec<&str> =
        files.iter().flat_map(|(_, file)| &file.cases).map(|case| case.says.as_str()).collect();
    assert!(sentences.len() >= 500, "{}", sentences.len());
    assert_eq!(sentences.iter().collect::<BTreeSet<_>>().len(), sentences.len(), "a sentence is used twice");
    for says in sentences {
        assert!(says.ends_with('.') && says.matches(". ").count() == 0 && says.len() > 20, "{says}");
    }
}

#[test]
fn no_two_cases_ask_one_policy_about_one_packet() {
    let mut asked = BTreeSet::new();
    for (path, file) in files() {
        let policy = file.to_policy().unwrap();
        for case in &file.cases {
            let question = format!("{:?} {:?}", policy.policy, policy.key(case).unwrap());
            assert!(asked.insert(question), "{}: {:?} is asked twice", path.display(), case.says);
        }
    }
}

#[test]
fn every_rule_of_a_file_decides_a_case_or_is_told_of() {
    let mut idle = Vec::new();
    for (path, file) in files() {
        let policy = file.to_policy().unwrap();
        let mut used = BTreeSet::new();
        for case in &file.cases {
            let key = policy.key(case).unwrap();
            used.extend(policy.policy.decide(&key).rule);
            used.extend(policy.policy.decide_shadow(&key).map(|shadow| shadow.rule));
        }
        let authored = &policy.authored;
        let all = authored.relationships.iter().map(|rule| (rule.id, &rule.note));
        let all = all.chain(authored.rules.iter().map(|rule| (rule.id, &rule.note)));
        // A rule that no packet may reach says so in its note.
        let is_idle = |(id, note): &(Option<RuleId>, &String)| {
            !used.contains(&id.unwrap()) && !note.starts_with("never")
        };
        idle.extend(all.filter(is_idle).map(|(_, note)| format!("{}: {note:?}", path.display())));
    }
    assert!(idle.is_empty(), "{}", idle.join("\n"));
}

#[test]
fn a_wrong_expectation_is_named_with_its_case() {
    let text = "
        relationships = [{ source_group_name = 'any', destination_group_name = 'any', action = 'deny', note = 'no' }]
        [[case]]
        says = 'Everything is allowed.'
        source = '10.0.0.1'
        destination = '10.0.0.2'
        protocol = 'TCP'
        destination_port = 80
        stage = 'rules'
        action = 'allow'
        rule = 'no'";
    let file: CaseFile = toml::from_str(text).unwrap();
    let policy = file.to_policy().unwrap();
    let error = |case: &Case| judge(&policy, case).unwrap_err().to_string();
    let mut case = file.cases[0].clone();
    assert_eq!(error(&case), "case \"Everything is allowed.\": action is deny, expected allow");
    case.rule = None;
    case.action = meshgate_policy::Action::Deny;
    assert!(error(&case).contains("rule: stage rules needs it"), "{}", error(&case));
    case.destination_port = None;
    assert!(error(&case).contains("destination_port: needed"), "{}", error(&case));
    case.segment = "lab".parse().unwrap();
    assert!(error(&case).contains("segment: the file has no such segment"), "{}", error(&case));
}

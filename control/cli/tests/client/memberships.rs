//! A suggested member on the command line: listed, shown, accepted, and then in the group.

use crate::control::Control;
use meshgate_policy::suggestion::Proposal;
use meshgate_proto::wire::{self, suggestion_service_client::SuggestionServiceClient};

fn suggestion(endpoint: &str) -> wire::Suggestion {
    let name = |text: &str| text.parse().unwrap();
    let draft = Proposal::Membership { endpoint: name(endpoint), group: name("WebServers"), join: true };
    wire::Suggestion {
        origin: "steady".into(),
        draft: Some((&draft).into()),
        confidence: 0.79,
        rank: 1,
        propensity: 1.0,
        justification: format!("Endpoint '{endpoint}' behaves like group 'WebServers'"),
        evidence: vec![wire::Evidence {
            number: 1,
            kind: "volume".into(),
            sentence: "It serves TCP 443 (HTTPS) to 'external', as 4 of 4 members do; seen in 30 windows."
                .into(),
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn submit(control: &Control, suggestions: Vec<wire::Suggestion>) -> Vec<wire::SubmitAnswer> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut client = SuggestionServiceClient::connect(control.server()).await.unwrap();
        let request = wire::SubmitRequest { learner: "l1".into(), suggestions };
        client.submit(request).await.unwrap().into_inner().answers
    })
}

#[test]
fn an_accepted_membership_changes_the_group() {
    let Some(control) = Control::start() else { return };
    for (at, name) in ["w1", "w2", "w5"].into_iter().enumerate() {
        control.done(&format!("endpoints create {name} --mac 02:00:00:00:00:0{at} --address 10.0.0.{at}"));
    }
    control.done("groups create WebServers --member w1 --member w2");
    let answers = submit(&control, vec![suggestion("w5"), suggestion("w1")]);
    assert!(answers[0].refusal.is_empty() && answers[1].refusal.contains("is in group"), "{answers:?}");
    let listed = control.done("suggestions list");
    assert!(listed.contains("w5") && listed.contains("WebServers") && listed.contains("79.0%"), "{listed}");
    let shown = control.done("suggestions show 1");
    assert!(shown.contains("no flows were replayed") && !shown.contains("relevance"), "{shown}");
    let accepted = control.done("suggestions accept 1");
    assert!(accepted.contains("w5") && accepted.contains("(version 5)"), "{accepted}");
    let group = control.done("groups show WebServers");
    assert!(group.contains("w1, w2, w5"), "{group}");
    let refused = submit(&control, vec![suggestion("w5")]);
    assert!(!refused[0].refusal.is_empty(), "{refused:?}");
    if std::env::var_os("MESHGATE_SHOW").is_some() {
        println!("{listed}\n{shown}\n{accepted}");
    }
}

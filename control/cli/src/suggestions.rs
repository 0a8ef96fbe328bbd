//! `meshgate suggestions`: drafts of the learner, and what people say to them.

use crate::answers::Snapshot;
use crate::client::Form;
use crate::failure::Failure;
use crate::proposals::{ProposalFlags, made_words};
use crate::relationships;
use crate::rules;
use crate::session::{Reply, Session, WriteFlags};
use crate::suggestion_answers::{RuleWords, Withdrawn};
use crate::suggestion_text::{list_text, show_text};
use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};
use meshgate_policy::RuleId;
use meshgate_policy::suggestion::{Decision, Reason, Verdict};

/// Commands of `meshgate suggestions`.
#[derive(Subcommand, Clone, Debug)]
pub enum SuggestionsCommand {
    /// List suggestions, open ones by rank
    #[command(
        visible_alias = "ls",
        after_help = "Examples:
  meshgate suggestions list
  meshgate suggestions list --state all --limit 200 --output json"
    )]
    List(List),
    /// Show one suggestion: the draft, other widths of it, the evidence, and what it would do
    #[command(after_help = "Examples:\n  meshgate suggestions show 12")]
    Show(Numbered),
    /// Write what is suggested, or one of the alternatives, into the policy as it is
    #[command(after_help = "Examples:
  meshgate suggestions accept 12 --wait
  meshgate suggestions accept 12 --alternative 2
  meshgate suggestions accept 12 --comment 'agreed with the shop team'")]
    Accept(Accept),
    /// Change fields of what is suggested and write it into the policy
    #[command(after_help = "Examples:
  meshgate suggestions edit 12 --port-range 5432 --wait
  meshgate suggestions edit 13 --peer 10.0.0.0/24
  meshgate suggestions edit 12 --action reject --note 'tell the sender'")]
    Edit(Edit),
    /// Close a suggestion without a rule; the reason teaches the learner
    #[command(after_help = "Examples:
  meshgate suggestions reject 12 --reason too-broad
  meshgate suggestions reject 12 --reason later --comment 'after the move'")]
    Reject(Reject),
    /// Take an answer back: the suggestion is open again, and what an acceptance made leaves the policy
    #[command(after_help = "Examples:
  meshgate suggestions withdraw 12 --wait
  meshgate suggestions withdraw 12 --comment 'the wrong one'
  meshgate suggestions withdraw 12 --answer-only

Where people changed, removed or use what was made, only the answer can be taken back; learners
hear of it all the same.")]
    Withdraw(Withdraw),
}

/// `suggestions list`.
#[derive(Args, Clone, Debug)]
pub struct List {
    /// open, accepted, edited, rejected, expired or all
    #[arg(long, value_name = "STATE", default_value = "open", hide_possible_values = true)]
    #[arg(value_parser = PossibleValuesParser::new(["open", "accepted", "edited", "rejected", "expired", "all"]))]
    state: String,
    /// At most this many
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: u32,
}

/// A command on one suggestion.
#[derive(Args, Clone, Debug)]
pub struct Numbered {
    /// Number of the suggestion
    id: u64,
}

/// `suggestions accept`.
#[derive(Args, Clone, Debug)]
pub struct Accept {
    /// Number of the suggestion
    id: u64,
    /// Accept this alternative in place of the draft, by its number on the suggestion's page
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    alternative: Option<u32>,
    #[command(flatten)]
    write: WriteFlags,
}

/// `suggestions edit`.
#[derive(Args, Clone, Debug)]
pub struct Edit {
    /// Number of the suggestion
    id: u64,
    #[command(flatten)]
    flags: ProposalFlags,
    #[command(flatten)]
    write: WriteFlags,
}

/// `suggestions reject`.
#[derive(Args, Clone, Debug)]
pub struct Reject {
    /// Number of the suggestion
    id: u64,
    /// wrong-anomaly: nothing unusual happened; wrong-rule: it did, and this is not the answer; too-broad: the rule
    /// covers more than what happened; later: ask again tomorrow
    #[arg(long, value_name = "REASON", hide_possible_values = true)]
    #[arg(value_parser = PossibleValuesParser::new(["wrong-anomaly", "wrong-rule", "too-broad", "later"]))]
    reason: String,
    /// Kept with the decision and in the audit trail
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    comment: String,
}

/// `suggestions withdraw`.
#[derive(Args, Clone, Debug)]
pub struct Withdraw {
    /// Number of the suggestion
    id: u64,
    /// Leave the policy as it is, whatever became of what was accepted
    #[arg(long)]
    answer_only: bool,
    #[command(flatten)]
    write: WriteFlags,
}

/// Runs a command.
pub async fn run(command: SuggestionsCommand, session: &Session) -> Result<Reply, Failure> {
    match command {
        SuggestionsCommand::List(list) => list.run(session).await,
        SuggestionsCommand::Show(numbered) => numbered.run(session).await,
        SuggestionsCommand::Accept(accept) => accept.run(session).await,
        SuggestionsCommand::Edit(edit) => edit.run(session).await,
        SuggestionsCommand::Reject(reject) => reject.run(session).await,
        SuggestionsCommand::Withdraw(withdraw) => withdraw.run(session).await,
    }
}

impl List {
    async fn run(self, session: &Session) -> Result<Reply, Failure> {
        let answer = session.connect().await?.suggestions(&self.state, self.limit).await?;
        Ok(session.show(&answer, |answer| list_text(answer, &self.state))?.into())
    }
}

impl Numbered {
    async fn run(self, session: &Session) -> Result<Reply, Failure> {
        let client = session.connect().await?;
        let mut shown = client.suggestion(self.id).await?;
        let named = [&shown.filed.suggestion.narrows[..], &shown.filed.suggestion.shadows].concat();
        if !named.is_empty() {
            shown.rules = in_words(&client.policy(None).await?, &named);
        }
        Ok(session.show(&shown, show_text)?.into())
    }
}

impl Accept {
    async fn run(self, session: &Session) -> Result<Reply, Failure> {
        let client = session.connect().await?;
        let accepted =
            client.accept(self.id, Form::Drafted(self.alternative), &self.write.comment_or("")).await?;
        let text = session.show(&accepted, |accepted| decision_text(self.id, &accepted.decision))?;
        let version = accepted.committed.version;
        Ok(Reply { text, lacking: session.wait_if(&client, version, self.write.wait).await? })
    }
}

impl Edit {
    async fn run(self, session: &Session) -> Result<Reply, Failure> {
        self.flags.given()?;
        let client = session.connect().await?;
        let edited = self.flags.edited(client.suggestion(self.id).await?.filed.suggestion.draft)?;
        let accepted = client.accept(self.id, Form::Edited(&edited), &self.write.comment_or("")).await?;
        let text = session.show(&accepted, |accepted| decision_text(self.id, &accepted.decision))?;
        let version = accepted.committed.version;
        Ok(Reply { text, lacking: session.wait_if(&client, version, self.write.wait).await? })
    }
}

impl Reject {
    async fn run(self, session: &Session) -> Result<Reply, Failure> {
        let rejected = session.connect().await?.reject(self.id, &self.reason, &self.comment).await?;
        Ok(session.show(&rejected, |rejected| decision_text(self.id, &rejected.decision))?.into())
    }
}

impl Withdraw {
    async fn run(self, session: &Session) -> Result<Reply, Failure> {
        let client = session.connect().await?;
        let withdrawn = client.withdraw(self.id, self.answer_only, &self.write.comment_or("")).await?;
        let text = session.show(&withdrawn, |withdrawn| self.text(withdrawn))?;
        let lacking = match withdrawn.withdrawal.version {
            None => None,
            Some(version) => session.wait_if(&client, version.0, self.write.wait).await?,
        };
        Ok(Reply { text, lacking })
    }

    fn text(&self, withdrawn: &Withdrawn) -> String {
        let id = self.id;
        match withdrawn.withdrawal.version {
            None if self.answer_only => {
                format!("the answer to suggestion {id} is withdrawn, the policy is as it was\n")
            }
            None => format!("suggestion {id} is open again\n"),
            Some(version) => {
                format!("suggestion {id} is open again, its relationship is gone (version {version})\n")
            }
        }
    }
}

fn decision_text(id: u64, decision: &Decision) -> String {
    match &decision.verdict {
        Verdict::Accepted { edited, version, made } => {
            let verdict = if *edited { "accepted in another form" } else { "accepted" };
            format!("suggestion {id} {verdict} as {} (version {version})\n", made_words(made))
        }
        Verdict::Expired => format!("suggestion {id} expired\n"),
        Verdict::Rejected(reason) => {
            let rests = if *reason == Reason::Later { "; it may come back after a day" } else { "" };
            format!("suggestion {id} rejected: {reason}{rests}\n")
        }
    }
}

/// Returns the rules with these numbers in words, as far as the newest version has them.
fn in_words(snapshot: &Snapshot, ids: &[RuleId]) -> Vec<RuleWords> {
    let summary = |id: RuleId| {
        let wanted = Some(id);
        let relationships = snapshot.policy.relationships.iter();
        let relationship = relationships.filter(|r| r.id == wanted).map(relationships::summary).next();
        let rules = || snapshot.policy.rules.iter().filter(|r| r.id == wanted).map(rules::summary).next();
        relationship.or_else(rules)
    };
    ids.iter().filter_map(|id| Some(RuleWords { rule: id.0, summary: summary(*id)? })).collect()
}

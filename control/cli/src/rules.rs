//! `meshgate rules`: rules between one group and addresses.

use crate::answers::{Committed, Snapshot};
use crate::edits::{Edit, Transaction};
use crate::failure::{Failure, UsageError};
use crate::flags::{RuleFields, RuleFlags, object, put, put_list};
use crate::session::{Reply, Session, WriteFlags};
use crate::table::{block, list, named, numbers, or_dash, table, words};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand};
use meshgate_policy::{
    AuthoredGroupRule, Direction, Mode, Name, PortSet, Prefix, Priority, ProtocolMatch, RuleId,
};
use serde::Serialize;

/// Commands of `meshgate rules`.
#[derive(Subcommand, Clone, Debug)]
pub enum RulesCommand {
    /// Create a rule between one group and addresses
    #[command(after_help = "Examples:
  meshgate rules create --group WebServers --direction ingress \\
      --protocol TCP --port-range 80,443 --action allow
  meshgate rules create --group DatabaseServers --direction egress \\
      --peer 192.0.2.0/24 --action reject")]
    #[command(override_usage = "meshgate rules create --group <GROUP> --direction <DIRECTION> \
                                --action <ACTION> [OPTIONS]")]
    Create(Create),
    /// List rules
    #[command(
        visible_alias = "ls",
        after_help = "Examples:
  meshgate rules list
  meshgate rules list --group WebServers"
    )]
    List(List),
    /// Show one rule
    #[command(after_help = "Examples:\n  meshgate rules show 5")]
    Show(Numbered),
    /// Change the given fields of a rule and leave the others alone
    #[command(after_help = "Examples:
  meshgate rules update 5 --port-range 443 --priority 2000
  meshgate rules update 5 --any-peer --mode disabled")]
    Update(Update),
    /// Delete rules
    #[command(visible_alias = "rm", after_help = "Examples:\n  meshgate rules delete 5")]
    Delete(Delete),
}

/// The two sides.
#[derive(Args, Clone, Debug, Default)]
pub struct SideFlags {
    /// The group; any, external and multicast are built in
    #[arg(long, alias = "groupName", value_name = "GROUP")]
    pub group: Option<Name>,
    /// ingress: from the peer to the group; egress: from the group to the peer
    #[arg(long, value_name = "DIRECTION", value_parser = direction(), ignore_case = true)]
    pub direction: Option<Direction>,
    /// Prefix of the other side, any address if none is given; may be repeated, or several with commas
    #[arg(long, value_name = "PREFIX", value_delimiter = ',')]
    pub peer: Vec<Prefix>,
}

fn direction() -> impl TypedValueParser<Value = Direction> {
    PossibleValuesParser::new(["ingress", "egress"])
        .map(|word| if word.eq_ignore_ascii_case("ingress") { Direction::Ingress } else { Direction::Egress })
}

/// `rules create`.
#[derive(Args, Clone, Debug)]
pub struct Create {
    #[command(flatten)]
    sides: SideFlags,
    #[command(flatten)]
    rule: RuleFlags,
    /// The rule as a JSON object, as `--output json` shows it, instead of flags
    #[arg(long, value_name = "OBJECT", conflicts_with_all = ["SideFlags", "RuleFlags"])]
    json: Option<String>,
    #[command(flatten)]
    write: WriteFlags,
}

/// `rules list`.
#[derive(Args, Clone, Debug)]
pub struct List {
    /// Only those of this group
    #[arg(long)]
    group: Option<Name>,
}

/// A command on one rule.
#[derive(Args, Clone, Debug)]
pub struct Numbered {
    /// Number of the rule
    id: u32,
}

/// `rules update`.
#[derive(Args, Clone, Debug)]
pub struct Update {
    /// Number of the rule
    id: u32,
    #[command(flatten)]
    sides: SideFlags,
    /// Let the other side be any address
    #[arg(long, conflicts_with = "peer")]
    any_peer: bool,
    #[command(flatten)]
    rule: RuleFlags,
    #[command(flatten)]
    write: WriteFlags,
}

/// `rules delete`.
#[derive(Args, Clone, Debug)]
pub struct Delete {
    /// Numbers of the rules; all are deleted or none
    #[arg(required = true, value_name = "ID")]
    ids: Vec<u32>,
    #[command(flatten)]
    write: WriteFlags,
}

/// The list as JSON.
#[derive(Serialize)]
struct Rules<'a> {
    version: u64,
    rules: Vec<&'a AuthoredGroupRule>,
}

/// Runs a command.
pub async fn run(command: RulesCommand, session: &Session) -> Result<Reply, Failure> {
    match command {
        RulesCommand::Create(create) => create.run(session).await,
        RulesCommand::List(list) => list.run(session).await,
        RulesCommand::Show(numbered) => numbered.run(session).await,
        RulesCommand::Update(update) => update.run(session).await,
        RulesCommand::Delete(delete) => delete.run(session).await,
    }
}

impl Create {
    async fn run(self, session: &Session) -> Result<Reply, Failure> {
        let rule = self.rule()?;
        let words = summary(&rule);
        let transaction = Transaction {
            expected_version: None,
            edits: vec![Edit::PutRule(rule)],
            comment: self.write.comment_or(&format!("create rule {words}")),
        };
        let done = |committed: &Committed| format!("created rule {}: {words}", list(&committed.created_ids));
        session.write(&session.connect().await?, &transaction, &self.write, done).await
    }

    fn rule(&self) -> Result<AuthoredGroupRule, UsageError> {
        if let Some(json) = &self.json {
            let rule: AuthoredGroupRule = object(json)?;
            rule.l4_match()?;
            return Ok(AuthoredGroupRule { id: None, ..rule });
        }
        let SideFlags { group, direction, peer } = self.sides.clone();
        let mut rule = AuthoredGroupRule {
            id: None,
            tenant: Name::default_name(),
            group_name: group.ok_or(UsageError::Missing("--group"))?,
            direction: direction.ok_or(UsageError::Missing("--direction"))?,
            peer,
            protocol: ProtocolMatch::default(),
            port_range: PortSet::all(),
            icmp_type: None,
            icmp_code: None,
            action: self.rule.action.ok_or(UsageError::Missing("--action"))?,
            priority: Priority::default(),
            mode: Mode::default(),
            note: String::new(),
        };
        self.rule.set(fields(&mut rule))?;
        Ok(rule)
    }
}

/// Returns the fields that rule flags set.
pub fn fields(rule: &mut AuthoredGroupRule) -> RuleFields<'_> {
    RuleFields {
        protocol: &mut rule.protocol,
        port_range: &mut rule.port_range,
        action: &mut rule.action,
        priority: &mut rule.priority,
        mode: &mut rule.mode,
        note: &mut rule.note,
        icmp_type: &mut rule.icmp_type,
        icmp_code: &mut rule.icmp_code,
    }
}

impl Update {
    async fn run(self, session: &Session) -> Result<Reply, Failure> {
        let Self { id, sides: SideFlags { group, direction, peer }, any_peer, rule: flags, write } = self;
        let sides_empty = group.is_none() && direction.is_none() && peer.is_empty() && !any_peer;
        if flags.is_empty() && sides_empty {
            return Err(UsageError::NothingToChange.into());
        }
        let client = session.connect().await?;
        let snapshot = client.policy(None).await?;
        let mut rule = find(&snapshot, id)?.clone();
        put(&mut rule.group_name, group);
        put(&mut rule.direction, direction);
        put_list(&mut rule.peer, &peer);
        if any_peer {
            rule.peer.clear();
        }
        flags.set(fields(&mut rule)).map_err(UsageError::from)?;
        let words = summary(&rule);
        let transaction = Transaction {
            expected_version: Some(snapshot.version),
            edits: vec![Edit::PutRule(rule)],
            comment: write.comment_or(&format!("update rule {id}: {words}")),
        };
        session.write(&client, &transaction, &write, |_| format!("updated rule {id}: {words}")).await
    }
}

impl Delete {
    async fn run(self, session: &Session) -> Result<Reply, Failure> {
        let ids = named("rule", &self.ids);
        let transaction = Transaction {
            expected_version: None,
            edits: self.ids.iter().map(|id| Edit::DeleteRule(RuleId(*id))).collect(),
            comment: self.write.comment_or(&format!("delete {ids}")),
        };
        let client = session.connect().await?;
        session.write(&client, &transaction, &self.write, |_| format!("deleted {ids}")).await
    }
}

impl List {
    async fn run(self, session: &Session) -> Result<Reply, Failure> {
        let snapshot = session.connect().await?.policy(None).await?;
        let wanted =
            |rule: &&AuthoredGroupRule| self.group.as_ref().is_none_or(|group| rule.group_name == *group);
        let mut rules: Vec<_> = snapshot.policy.rules.iter().filter(wanted).collect();
        rules.sort_by_key(|rule| rule.id);
        let answer = Rules { version: snapshot.version, rules };
        Ok(session.show(&answer, |answer| list_text(answer, self.group.as_ref()))?.into())
    }
}

impl Numbered {
    async fn run(self, session: &Session) -> Result<Reply, Failure> {
        let snapshot = session.connect().await?.policy(None).await?;
        let rule = find(&snapshot, self.id)?;
        Ok(session.show(rule, show_text)?.into())
    }
}

fn find(snapshot: &Snapshot, id: u32) -> Result<&AuthoredGroupRule, Failure> {
    let found = snapshot.policy.rules.iter().find(|rule| rule.id == Some(RuleId(id)));
    found.ok_or_else(|| Failure::NotFound { kind: "rule", name: id.to_string(), version: snapshot.version })
}

/// Returns the rule in one line: `allow 192.0.2.0/24 -> WebServers TCP 443`.
pub fn summary(rule: &AuthoredGroupRule) -> String {
    let (group, peer) = (rule.group_name.to_string(), peer_text(&rule.peer));
    let (from, to) = match rule.direction {
        Direction::Ingress => (peer, group),
        Direction::Egress => (group, peer),
    };
    format!("{} {from} -> {to} {}", rule.action, l4_text(rule))
}

fn peer_text(peer: &[Prefix]) -> String {
    if peer.is_empty() { "any address".to_owned() } else { list(peer) }
}

fn l4_text(rule: &AuthoredGroupRule) -> String {
    rule.l4_match().map_or_else(|_| rule.protocol.to_string(), |l4| l4.to_string())
}

fn list_text(answer: &Rules<'_>, group: Option<&Name>) -> String {
    if answer.rules.is_empty() {
        return match group {
            Some(group) => format!("no rule names group {group}; see also `meshgate relationships list`\n"),
            None => "no rules yet; create one with `meshgate rules create --group GROUP --direction ingress \
                     --action allow`\n"
                .to_owned(),
        };
    }
    let row = |rule: &&AuthoredGroupRule| {
        vec![
            rule.id.map_or_else(String::new, |id| id.to_string()),
            rule.group_name.to_string(),
            rule.direction.to_string(),
            peer_text(&rule.peer),
            l4_text(rule),
            rule.action.to_string(),
            rule.priority.to_string(),
            rule.mode.to_string(),
            or_dash(&rule.note),
        ]
    };
    let columns = [
        numbers("ID"),
        words("GROUP"),
        words("DIRECTION"),
        words("PEER"),
        words("MATCH"),
        words("ACTION"),
        numbers("PRIORITY"),
        words("MODE"),
        words("NOTE"),
    ];
    table(&columns, answer.rules.iter().map(row).collect())
}

fn show_text(rule: &AuthoredGroupRule) -> String {
    let protected = if rule.priority.is_protected() { " (protected)" } else { "" };
    block(&[
        ("rule", rule.id.map_or_else(String::new, |id| id.to_string())),
        ("group", rule.group_name.to_string()),
        ("direction", rule.direction.to_string()),
        ("peer", peer_text(&rule.peer)),
        ("match", l4_text(rule)),
        ("action", rule.action.to_string()),
        ("priority", format!("{}{protected}", rule.priority)),
        ("mode", rule.mode.to_string()),
        ("note", rule.note.clone()),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_as_documented() {
        let json = r#"{"id": 5, "group_name": "WebServers", "direction": "ingress", "protocol": "TCP",
                       "port_range": "443,80", "action": "allow", "priority": 60001}"#;
        let rule: AuthoredGroupRule = object(json).unwrap();
        let expected = "\
ID  GROUP       DIRECTION  PEER         MATCH       ACTION  PRIORITY  MODE     NOTE
 5  WebServers  ingress    any address  TCP 80,443  allow      60001  enforce  -
";
        assert_eq!(list_text(&Rules { version: 1, rules: vec![&rule] }, None), expected);
        assert!(show_text(&rule).contains("60001 (protected)"));
    }

    #[test]
    fn the_direction_tells_which_side_the_group_is() {
        let json =
            r#"{"group_name": "Db", "direction": "egress", "peer": ["192.0.2.0/24"], "action": "deny"}"#;
        let rule: AuthoredGroupRule = object(json).unwrap();
        assert_eq!(summary(&rule), "deny Db -> 192.0.2.0/24 any");
        assert_eq!(
            summary(&AuthoredGroupRule { direction: Direction::Ingress, ..rule }),
            "deny 192.0.2.0/24 -> Db any"
        );
    }
}

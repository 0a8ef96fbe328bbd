//! `meshgate relationships`: rules between two groups.

use crate::answers::{Committed, Snapshot};
use crate::edits::{Edit, Transaction};
use crate::failure::{Failure, UsageError};
use crate::flags::{RuleFields, RuleFlags, object, put};
use crate::session::{Reply, Session, WriteFlags};
use crate::table::{block, list, named, numbers, or_dash, table, words};
use clap::{Args, Subcommand};
use meshgate_policy::{AuthoredRelationship, Mode, Name, PortSet, Priority, ProtocolMatch, RuleId};
use serde::Serialize;

/// Commands of `meshgate relationships`.
#[derive(Subcommand, Clone, Debug)]
pub enum RelationshipsCommand {
    /// Create a rule between two groups
    #[command(after_help = "Examples:
  meshgate relationships create --source WebServers --destination DatabaseServers \\
      --protocol TCP --port-range 5432 --action allow
  meshgate relationships create --source any --destination DatabaseServers --action deny
  meshgate relationships create --json '{\"sourceGroupName\": \"WebServers\", \"portRange\": \"80-8080\",
      \"destinationGroupName\": \"AppServers\", \"protocol\": \"TCP\", \"action\": \"allow\", \"priority\": 100}'")]
    #[command(override_usage = "meshgate relationships create --source <GROUP> \\
           --destination <GROUP> --action <ACTION> [OPTIONS]")]
    Create(Create),
    /// List relationships
    #[command(
        visible_alias = "ls",
        after_help = "Examples:
  meshgate relationships list
  meshgate relationships list --group WebServers --output json"
    )]
    List(List),
    /// Show one relationship
    #[command(after_help = "Examples:\n  meshgate relationships show 3")]
    Show(Numbered),
    /// Change the given fields of a relationship and leave the others alone
    #[command(after_help = "Examples:
  meshgate relationships update 3 --port-range 5432,5433
  meshgate relationships update 3 --mode shadow --note 'ends in June'
  meshgate relationships update 3 --protocol ICMP --port-range any --icmp-type 8")]
    Update(Update),
    /// Delete relationships
    #[command(visible_alias = "rm", after_help = "Examples:\n  meshgate relationships delete 3 4")]
    Delete(Delete),
}

/// The two groups.
#[derive(Args, Clone, Debug, Default)]
pub struct RelationshipFields {
    /// Source group; any, external and multicast are built in
    #[arg(long, alias = "sourceGroupName", alias = "source-group-name", value_name = "GROUP")]
    pub source: Option<Name>,
    /// Destination group; any, external and multicast are built in
    #[arg(long, alias = "destinationGroupName", alias = "destination-group-name", value_name = "GROUP")]
    pub destination: Option<Name>,
}

/// `relationships create`.
#[derive(Args, Clone, Debug)]
pub struct Create {
    #[command(flatten)]
    fields: RelationshipFields,
    #[command(flatten)]
    rule: RuleFlags,
    /// The relationship as a JSON object instead of flags; field names like sourceGroupName or source_group_name
    #[arg(long, value_name = "OBJECT", conflicts_with_all = ["RelationshipFields", "RuleFlags"])]
    json: Option<String>,
    #[command(flatten)]
    write: WriteFlags,
}

/// `relationships list`.
#[derive(Args, Clone, Debug)]
pub struct List {
    /// Only those with this group on either side
    #[arg(long)]
    group: Option<Name>,
}

/// A command on one relationship.
#[derive(Args, Clone, Debug)]
pub struct Numbered {
    /// Number of the relationship
    id: u32,
}

/// `relationships update`.
#[derive(Args, Clone, Debug)]
pub struct Update {
    /// Number of the relationship
    id: u32,
    #[command(flatten)]
    fields: RelationshipFields,
    #[command(flatten)]
    rule: RuleFlags,
    #[command(flatten)]
    write: WriteFlags,
}

/// `relationships delete`.
#[derive(Args, Clone, Debug)]
pub struct Delete {
    /// Numbers of the relationships; all are deleted or none
    #[arg(required = true, value_name = "ID")]
    ids: Vec<u32>,
    #[command(flatten)]
    write: WriteFlags,
}

/// The list as JSON.
#[derive(Serialize)]
struct Relationships<'a> {
    version: u64,
    relationships: Vec<&'a AuthoredRelationship>,
}

/// Runs a command.
pub async fn run(command: RelationshipsCommand, session: &Session) -> Result<Reply, Failure> {
    match command {
        RelationshipsCommand::Create(create) => create.run(session).await,
        RelationshipsCommand::List(list) => list.run(session).await,
        RelationshipsCommand::Show(numbered) => numbered.run(session).await,
        RelationshipsCommand::Update(update) => update.run(session).await,
        RelationshipsCommand::Delete(delete) => delete.run(session).await,
    }
}

impl Create {
    async fn run(self, session: &Session) -> Result<Reply, Failure> {
        let relationship = self.relationship()?;
        let words = summary(&relationship);
        let transaction = Transaction {
            expected_version: None,
            edits: vec![Edit::PutRelationship(relationship)],
            comment: self.write.comment_or(&format!("create relationship {words}")),
        };
        let done =
            |committed: &Committed| format!("created relationship {}: {words}", list(&committed.created_ids));
        session.write(&session.connect().await?, &transaction, &self.write, done).await
    }

    fn relationship(&self) -> Result<AuthoredRelationship, UsageError> {
        if let Some(json) = &self.json {
            let relationship: AuthoredRelationship = object(json)?;
            relationship.l4_match()?;
            return Ok(AuthoredRelationship { id: None, ..relationship });
        }
        let RelationshipFields { source, destination } = self.fields.clone();
        let mut relationship = AuthoredRelationship {
            id: None,
            tenant: Name::default_name(),
            source_group_name: source.ok_or(UsageError::Missing("--source"))?,
            destination_group_name: destination.ok_or(UsageError::Missing("--destination"))?,
            protocol: ProtocolMatch::default(),
            port_range: PortSet::all(),
            icmp_type: None,
            icmp_code: None,
            action: self.rule.action.ok_or(UsageError::Missing("--action"))?,
            priority: Priority::default(),
            mode: Mode::default(),
            note: String::new(),
        };
        self.rule.set(fields(&mut relationship))?;
        Ok(relationship)
    }
}

/// Returns the fields that rule flags set.
pub fn fields(relationship: &mut AuthoredRelationship) -> RuleFields<'_> {
    RuleFields {
        protocol: &mut relationship.protocol,
        port_range: &mut relationship.port_range,
        action: &mut relationship.action,
        priority: &mut relationship.priority,
        mode: &mut relationship.mode,
        note: &mut relationship.note,
        icmp_type: &mut relationship.icmp_type,
        icmp_code: &mut relationship.icmp_code,
    }
}

impl Update {
    async fn run(self, session: &Session) -> Result<Reply, Failure> {
        let Self { id, fields: RelationshipFields { source, destination }, rule, write } = self;
        if rule.is_empty() && source.is_none() && destination.is_none() {
            return Err(UsageError::NothingToChange.into());
        }
        let client = session.connect().await?;
        let snapshot = client.policy(None).await?;
        let mut relationship = find(&snapshot, id)?.clone();
        put(&mut relationship.source_group_name, source);
        put(&mut relationship.destination_group_name, destination);
        rule.set(fields(&mut relationship)).map_err(UsageError::from)?;
        let words = summary(&relationship);
        let transaction = Transaction {
            expected_version: Some(snapshot.version),
            edits: vec![Edit::PutRelationship(relationship)],
            comment: write.comment_or(&format!("update relationship {id}: {words}")),
        };
        session.write(&client, &transaction, &write, |_| format!("updated relationship {id}: {words}")).await
    }
}

impl Delete {
    async fn run(self, session: &Session) -> Result<Reply, Failure> {
        let ids = named("relationship", &self.ids);
        let transaction = Transaction {
            expected_version: None,
            edits: self.ids.iter().map(|id| Edit::DeleteRelationship(RuleId(*id))).collect(),
            comment: self.write.comment_or(&format!("delete {ids}")),
        };
        let client = session.connect().await?;
        session.write(&client, &transaction, &self.write, |_| format!("deleted {ids}")).await
    }
}

impl List {
    async fn run(self, session: &Session) -> Result<Reply, Failure> {
        let snapshot = session.connect().await?.policy(None).await?;
        let wanted = |r: &&AuthoredRelationship| match &self.group {
            None => true,
            Some(group) => r.source_group_name == *group || r.destination_group_name == *group,
        };
        let mut relationships: Vec<_> = snapshot.policy.relationships.iter().filter(wanted).collect();
        relationships.sort_by_key(|relationship| relationship.id);
        let answer = Relationships { version: snapshot.version, relationships };
        Ok(session.show(&answer, |answer| list_text(answer, self.group.as_ref()))?.into())
    }
}

impl Numbered {
    async fn run(self, session: &Session) -> Result<Reply, Failure> {
        let snapshot = session.connect().await?.policy(None).await?;
        let relationship = find(&snapshot, self.id)?;
        Ok(session.show(relationship, show_text)?.into())
    }
}

fn find(snapshot: &Snapshot, id: u32) -> Result<&AuthoredRelationship, Failure> {
    let found = snapshot.policy.relationships.iter().find(|r| r.id == Some(RuleId(id)));
    found.ok_or_else(|| Failure::NotFound {
        kind: "relationship",
        name: id.to_string(),
        version: snapshot.version,
    })
}

/// Returns the relationship in one line: `allow WebServers -> DatabaseServers TCP 5432`.
pub fn summary(relationship: &AuthoredRelationship) -> String {
    let AuthoredRelationship { source_group_name, destination_group_name, action, .. } = relationship;
    format!("{action} {source_group_name} -> {destination_group_name} {}", l4_text(relationship))
}

fn l4_text(relationship: &AuthoredRelationship) -> String {
    let l4 = relationship.l4_match();
    l4.map_or_else(|_| relationship.protocol.to_string(), |l4| l4.to_string())
}

fn list_text(answer: &Relationships<'_>, group: Option<&Name>) -> String {
    if answer.relationships.is_empty() {
        return match group {
            Some(group) => format!("no relationship names group {group}\n"),
            None => "no relationships yet; create one with `meshgate relationships create --source GROUP \
                     --destination GROUP --action allow`\n"
                .to_owned(),
        };
    }
    let row = |relationship: &&AuthoredRelationship| {
        vec![
            relationship.id.map_or_else(String::new, |id| id.to_string()),
            relationship.source_group_name.to_string(),
            relationship.destination_group_name.to_string(),
            l4_text(relationship),
            relationship.action.to_string(),
            relationship.priority.to_string(),
            relationship.mode.to_string(),
            or_dash(&relationship.note),
        ]
    };
    let columns = [
        numbers("ID"),
        words("SOURCE"),
        words("DESTINATION"),
        words("MATCH"),
        words("ACTION"),
        numbers("PRIORITY"),
        words("MODE"),
        words("NOTE"),
    ];
    table(&columns, answer.relationships.iter().map(row).collect())
}

fn show_text(relationship: &AuthoredRelationship) -> String {
    let protected = if relationship.priority.is_protected() { " (protected)" } else { "" };
    block(&[
        ("relationship", relationship.id.map_or_else(String::new, |id| id.to_string())),
        ("source", relationship.source_group_name.to_string()),
        ("destination", relationship.destination_group_name.to_string()),
        ("match", l4_text(relationship)),
        ("action", relationship.action.to_string()),
        ("priority", format!("{}{protected}", relationship.priority)),
        ("mode", relationship.mode.to_string()),
        ("note", relationship.note.clone()),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn relationship(id: u32, json: &str) -> AuthoredRelationship {
        AuthoredRelationship { id: Some(RuleId(id)), ..object(json).unwrap() }
    }

    #[test]
    fn the_table_is_as_documented() {
        let web = relationship(
            3,
            r#"{"sourceGroupName": "WebServers", "destinationGroupName": "DatabaseServers",
                "protocol": "TCP", "portRange": "5432", "action": "allow", "priority": 100}"#,
        );
        let ping = relationship(
            12,
            r#"{"source_group_name": "any", "destination_group_name": "WebServers", "protocol": "ICMP",
                "icmp_type": 8, "action": "reject", "mode": "shadow", "note": "only for a look"}"#,
        );
        let answer = Relationships { version: 2, relationships: vec![&web, &ping] };
        let expected = "\
ID  SOURCE      DESTINATION      MATCH        ACTION  PRIORITY  MODE     NOTE
 3  WebServers  DatabaseServers  TCP 5432     allow        100  enforce  -
12  any         WebServers       ICMP type 8  reject      1000  shadow   only for a look
";
        assert_eq!(list_text(&answer, None), expected);
    }

    #[test]
    fn an_empty_list_says_so_in_words() {
        let answer = Relationships { version: 0, relationships: Vec::new() };
        assert!(list_text(&answer, None).starts_with("no relationships yet; create one with `meshgate"));
        let group = Name::new("Lab").unwrap();
        assert_eq!(list_text(&answer, Some(&group)), "no relationship names group Lab\n");
    }
}

//! `meshgate groups`: named sets of endpoints and prefixes.

use crate::answers::Snapshot;
use crate::edits::{Edit, Transaction};
use crate::failure::{Failure, UsageError};
use crate::flags::{intra_group, label, object, put, put_labels, put_list};
use crate::session::{Reply, Session, WriteFlags};
use crate::table::{block, list, named, numbers, or_dash, pairs, table, words};
use clap::{Args, Subcommand, ValueEnum};
use meshgate_policy::{AuthoredEndpoint, AuthoredGroup, IntraGroup, Name, Prefix};
use serde::Serialize;

/// Commands of `meshgate groups`.
#[derive(Subcommand, Clone, Debug)]
pub enum GroupsCommand {
    /// Create a group
    #[command(after_help = "Examples:
  meshgate groups create WebServers --selector role=web
  meshgate groups create DatabaseServers --member db-1,db-2 --intra-group deny
  meshgate groups create Office --prefix 192.0.2.0/24")]
    Create(Create),
    /// List groups
    #[command(visible_alias = "ls", after_help = "Examples:\n  meshgate groups list")]
    List,
    /// Show one group with its endpoints and the rules that name it
    #[command(after_help = "Examples:\n  meshgate groups show WebServers")]
    Show(Named),
    /// Change the given fields of a group and leave the others alone
    #[command(after_help = "Examples:
  meshgate groups update DatabaseServers --add-member db-3 --remove-member db-1
  meshgate groups update WebServers --selector role=web --selector tier=front
  meshgate groups update Office --clear prefixes --intra-group deny")]
    Update(Update),
    /// Delete groups
    #[command(visible_alias = "rm", after_help = "Examples:\n  meshgate groups delete Office")]
    Delete(Delete),
}

/// Fields of a group.
#[derive(Args, Clone, Debug, Default)]
pub struct GroupFields {
    /// Endpoint that belongs to the group; may be repeated, or several with commas
    #[arg(long = "member", alias = "members", value_name = "ENDPOINT", value_delimiter = ',')]
    pub members: Vec<Name>,
    /// Label that selects endpoints; those that carry all given labels belong to the group
    #[arg(long, value_name = "KEY=VALUE", value_parser = label)]
    pub selector: Vec<(String, String)>,
    /// Prefix whose addresses belong to the group; may be repeated, or several with commas
    #[arg(long = "prefix", alias = "prefixes", value_name = "PREFIX", value_delimiter = ',')]
    pub prefixes: Vec<Prefix>,
    /// Whether members may talk to each other where no rule decides; a new group has allow
    #[arg(long, alias = "intraGroup", value_name = "ACTION", value_parser = intra_group(), ignore_case = true)]
    pub intra_group: Option<IntraGroup>,
    /// Segment in which the prefixes hold; a new group is in "default" without it
    #[arg(long)]
    pub segment: Option<Name>,
}

/// `groups create`.
#[derive(Args, Clone, Debug)]
pub struct Create {
    /// Name of the group, unique: letters, digits, dot, underscore, hyphen
    #[arg(required_unless_present = "json")]
    name: Option<Name>,
    #[command(flatten)]
    fields: GroupFields,
    /// The group as a JSON object, as `--output json` shows it, instead of name and flags
    #[arg(long, value_name = "OBJECT", conflicts_with_all = ["name", "GroupFields"])]
    json: Option<String>,
    #[command(flatten)]
    write: WriteFlags,
}

/// A command on one group.
#[derive(Args, Clone, Debug)]
pub struct Named {
    /// Name of the group
    name: Name,
}

/// Fields that an update can empty.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clearable {
    /// Listed members.
    #[value(help = None::<&str>)]
    Members,
    /// Selector.
    #[value(help = None::<&str>)]
    Selector,
    /// Prefixes.
    #[value(help = None::<&str>)]
    Prefixes,
}

/// `groups update`.
#[derive(Args, Clone, Debug)]
pub struct Update {
    /// Name of the group
    name: Name,
    #[command(flatten)]
    fields: GroupFields,
    /// Endpoint to add to the listed members
    #[arg(long = "add-member", value_name = "ENDPOINT", value_delimiter = ',')]
    added: Vec<Name>,
    /// Endpoint to take from the listed members
    #[arg(long = "remove-member", value_name = "ENDPOINT", value_delimiter = ',')]
    removed: Vec<Name>,
    /// Empty this field; may be repeated
    #[arg(long, value_name = "FIELD")]
    clear: Vec<Clearable>,
    #[command(flatten)]
    write: WriteFlags,
}

/// `groups delete`.
#[derive(Args, Clone, Debug)]
pub struct Delete {
    /// Names of the groups; all are deleted or none
    #[arg(required = true)]
    names: Vec<Name>,
    #[command(flatten)]
    write: WriteFlags,
}

/// A group with its number, its endpoints and the rules that name it.
#[derive(Serialize)]
struct Shown<'a> {
    id: u32,
    #[serde(flatten)]
    group: &'a AuthoredGroup,
    endpoints: Vec<&'a Name>,
    used_by: Vec<u32>,
}

/// The list as JSON.
#[derive(Serialize)]
struct Groups<'a> {
    version: u64,
    groups: Vec<Shown<'a>>,
}

/// Returns whether the endpoint belongs to the group, by name or by its labels. Prefixes are not looked at: they hold
/// addresses, whoever has them.
pub fn holds(group: &AuthoredGroup, endpoint: &AuthoredEndpoint) -> bool {
    let is_selected = !group.selector.is_empty()
        && group.selector.iter().all(|(key, value)| endpoint.labels.get(key) == Some(value));
    is_selected || group.members.contains(&endpoint.name)
}

/// Runs a command.
pub async fn run(command: GroupsCommand, session: &Session) -> Result<Reply, Failure> {
    match command {
        GroupsCommand::Create(create) => create.run(session).await,
        GroupsCommand::List => show_all(session).await,
        GroupsCommand::Show(named) => named.run(session).await,
        GroupsCommand::Update(update) => update.run(session).await,
        GroupsCommand::Delete(delete) => delete.run(session).await,
    }
}

impl Create {
    async fn run(self, session: &Session) -> Result<Reply, Failure> {
        let group = self.group()?;
        let done = format!("created group {}", group.name);
        let transaction = Transaction {
            expected_version: None,
            comment: self.write.comment_or(&format!("create group {}", group.name)),
            edits: vec![Edit::CreateGroup(group)],
        };
        session.write(&session.connect().await?, &transaction, &self.write, |_| done).await
    }

    fn group(&self) -> Result<AuthoredGroup, UsageError> {
        if let Some(json) = &self.json {
            return object(json);
        }
        let mut group = AuthoredGroup {
            name: self.name.clone().ok_or(UsageError::Missing("NAME"))?,
            tenant: Name::default_name(),
            segment: Name::default_name(),
            members: Vec::new(),
            selector: std::collections::BTreeMap::new(),
            prefixes: Vec::new(),
            intra_group: IntraGroup::default(),
        };
        self.fields.set(&mut group);
        Ok(group)
    }
}

impl GroupFields {
    fn is_empty(&self) -> bool {
        let Self { members, selector, prefixes, intra_group, segment } = self;
        let lists_empty = members.is_empty() && selector.is_empty() && prefixes.is_empty();
        lists_empty && intra_group.is_none() && segment.is_none()
    }

    fn set(&self, group: &mut AuthoredGroup) {
        put_list(&mut group.members, &self.members);
        put_labels(&mut group.selector, &self.selector);
        put_list(&mut group.prefixes, &self.prefixes);
        put(&mut group.intra_group, self.intra_group);
        put(&mut group.segment, self.segment.clone());
    }
}

impl Update {
    async fn run(self, session: &Session) -> Result<Reply, Failure> {
        let changes_members = !self.added.is_empty() || !self.removed.is_empty();
        if self.fields.is_empty() && self.clear.is_empty() && !changes_members {
            return Err(UsageError::NothingToChange.into());
        }
        if changes_members && !self.fields.members.is_empty() {
            return Err(UsageError::MemberTwice.into());
        }
        let client = session.connect().await?;
        let snapshot = client.policy(None).await?;
        let mut group = find(&snapshot, &self.name)?.clone();
        self.change(&mut group);
        let transaction = Transaction {
            expected_version: Some(snapshot.version),
            edits: vec![Edit::UpdateGroup(group)],
            comment: self.write.comment_or(&format!("update group {}", self.name)),
        };
        session.write(&client, &transaction, &self.write, |_| format!("updated group {}", self.name)).await
    }

    fn change(&self, group: &mut AuthoredGroup) {
        for field in &self.clear {
            match field {
                Clearable::Members => group.members.clear(),
                Clearable::Selector => group.selector.clear(),
                Clearable::Prefixes => group.prefixes.clear(),
            }
        }
        self.fields.set(group);
        group.members.retain(|member| !self.removed.contains(member));
        for name in &self.added {
            if !group.members.contains(name) {
                group.members.push(name.clone());
            }
        }
    }
}

impl Delete {
    async fn run(self, session: &Session) -> Result<Reply, Failure> {
        let names = named("group", &self.names);
        let transaction = Transaction {
            expected_version: None,
            edits: self.names.into_iter().map(Edit::DeleteGroup).collect(),
            comment: self.write.comment_or(&format!("delete {names}")),
        };
        let client = session.connect().await?;
        session.write(&client, &transaction, &self.write, |_| format!("deleted {names}")).await
    }
}

async fn show_all(session: &Session) -> Result<Reply, Failure> {
    let snapshot = session.connect().await?.policy(None).await?;
    let mut groups: Vec<Shown<'_>> =
        snapshot.policy.groups.iter().map(|group| shown(&snapshot, group)).collect();
    groups.sort_by(|a, b| (a.id, &a.group.name).cmp(&(b.id, &b.group.name)));
    let answer = Groups { version: snapshot.version, groups };
    Ok(session.show(&answer, list_text)?.into())
}

impl Named {
    async fn run(self, session: &Session) -> Result<Reply, Failure> {
        let snapshot = session.connect().await?.policy(None).await?;
        let answer = shown(&snapshot, find(&snapshot, &self.name)?);
        Ok(session.show(&answer, show_text)?.into())
    }
}

fn find<'a>(snapshot: &'a Snapshot, name: &Name) -> Result<&'a AuthoredGroup, Failure> {
    let found = snapshot.policy.groups.iter().find(|group| group.name == *name);
    found.ok_or_else(|| Failure::NotFound {
        kind: "group",
        name: name.to_string(),
        version: snapshot.version,
    })
}

fn shown<'a>(snapshot: &'a Snapshot, group: &'a AuthoredGroup) -> Shown<'a> {
    let policy = &snapshot.policy;
    let of_relationships = policy
        .relationships
        .iter()
        .filter(|r| r.source_group_name == group.name || r.destination_group_name == group.name)
        .filter_map(|r| r.id);
    let of_rules =
        policy.rules.iter().filter(|rule| rule.group_name == group.name).filter_map(|rule| rule.id);
    let mut used_by: Vec<u32> = of_relationships.chain(of_rules).map(|id| id.0).collect();
    used_by.sort_unstable();
    Shown {
        id: snapshot.group_ids.get(group.name.as_str()).copied().unwrap_or_default(),
        group,
        endpoints: policy.endpoints.iter().filter(|e| holds(group, e)).map(|e| &e.name).collect(),
        used_by,
    }
}

fn list_text(answer: &Groups<'_>) -> String {
    if answer.groups.is_empty() {
        return "no groups yet; create one with `meshgate groups create NAME --selector KEY=VALUE`\n"
            .to_owned();
    }
    let row = |Shown { id, group, endpoints, used_by }: &Shown<'_>| {
        vec![
            id.to_string(),
            group.name.to_string(),
            endpoints.len().to_string(),
            or_dash(&pairs(&group.selector)),
            list(&group.prefixes),
            group.intra_group.to_string(),
            used_by.len().to_string(),
        ]
    };
    let columns = [
        numbers("ID"),
        words("NAME"),
        numbers("ENDPOINTS"),
        words("SELECTOR"),
        words("PREFIXES"),
        words("INTRA-GROUP"),
        numbers("RULES"),
    ];
    table(&columns, answer.groups.iter().map(row).collect())
}

fn show_text(Shown { id, group, endpoints, used_by }: &Shown<'_>) -> String {
    let optional = |text: String, is_shown: bool| if is_shown { text } else { String::new() };
    block(&[
        ("group", group.name.to_string()),
        ("id", id.to_string()),
        ("segment", group.segment.to_string()),
        ("members", optional(list(&group.members), !group.members.is_empty())),
        ("selector", pairs(&group.selector)),
        ("prefixes", optional(list(&group.prefixes), !group.prefixes.is_empty())),
        ("intra-group", group.intra_group.to_string()),
        ("endpoints", list(endpoints)),
        ("used by rules", list(used_by)),
    ])
}

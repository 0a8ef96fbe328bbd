//! `meshgate endpoints`: network interfaces of virtual machines.

mod text;

use crate::answers::Snapshot;
use crate::edits::{Edit, Transaction};
use crate::failure::{Failure, UsageError};
use crate::flags::{label, object, put, put_labels, put_list};
use crate::session::{Reply, Session, WriteFlags};
use crate::table::named;
use clap::{Args, Subcommand, ValueEnum};
use meshgate_policy::{AuthoredEndpoint, Home, Mac, Name, Prefix};
use serde::Serialize;
use std::net::IpAddr;
use text::{list_text, show_text};

/// Commands of `meshgate endpoints`.
#[derive(Subcommand, Clone, Debug)]
pub enum EndpointsCommand {
    /// Create an endpoint
    #[command(after_help = "Examples:
  meshgate endpoints create web-1 --mac 02:00:00:00:00:01 --address 10.0.0.1 --label role=web
  meshgate endpoints create db-1 --mac 02:00:00:00:01:01 --address 10.0.1.1,fd00::1:1 \\
      --host h2 --device tap3
  meshgate endpoints create gw --mac 02:00:00:00:00:fe --address 10.0.0.254 \\
      --router --route 192.0.2.0/24")]
    #[command(override_usage = "meshgate endpoints create <NAME> --mac <MAC> [OPTIONS]")]
    Create(Create),
    /// List endpoints
    #[command(
        visible_alias = "ls",
        after_help = "Examples:
  meshgate endpoints list
  meshgate endpoints list --label role=web --output json"
    )]
    List(List),
    /// Show one endpoint with its groups
    #[command(after_help = "Examples:\n  meshgate endpoints show web-1")]
    Show(Named),
    /// Change the given fields of an endpoint and leave the others alone
    #[command(after_help = "Examples:
  meshgate endpoints update web-1 --address 10.0.0.1,10.0.0.7
  meshgate endpoints update web-1 --router=false --clear routes --clear home")]
    Update(Update),
    /// Delete endpoints
    #[command(visible_alias = "rm", after_help = "Examples:\n  meshgate endpoints delete web-8 web-9")]
    Delete(Delete),
}

/// Fields of an endpoint.
#[derive(Args, Clone, Debug, Default)]
pub struct EndpointFields {
    /// MAC address, like 02:00:00:00:00:01
    #[arg(long)]
    pub mac: Option<Mac>,
    /// IP address; may be repeated, or several with commas
    #[arg(long = "address", alias = "addresses", value_name = "IP", value_delimiter = ',')]
    pub addresses: Vec<IpAddr>,
    /// Label that selectors of groups look at; may be repeated
    #[arg(long = "label", alias = "labels", value_name = "KEY=VALUE", value_parser = label)]
    pub labels: Vec<(String, String)>,
    /// Name of the host the endpoint is at
    #[arg(long)]
    pub host: Option<Name>,
    /// Device of that host, as its kernel knows it
    #[arg(long)]
    pub device: Option<String>,
    /// Segment; a new endpoint is in "default" without it
    #[arg(long)]
    pub segment: Option<Name>,
    /// May send from and receive for its routes
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub router: Option<bool>,
    /// Prefix behind the endpoint, with --router; may be repeated, or several with commas
    #[arg(long = "route", alias = "routes", value_name = "PREFIX", value_delimiter = ',')]
    pub routes: Vec<Prefix>,
    /// May answer as a DHCP server
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub dhcp_server: Option<bool>,
    /// May send IPv6 router advertisements
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub router_advertiser: Option<bool>,
    /// Gets addresses by DHCP from endpoints that may serve it
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub dhcp_client: Option<bool>,
}

/// `endpoints create`.
#[derive(Args, Clone, Debug)]
pub struct Create {
    /// Name of the endpoint, unique: letters, digits, dot, underscore, hyphen
    #[arg(required_unless_present = "json")]
    name: Option<Name>,
    #[command(flatten)]
    fields: EndpointFields,
    /// The endpoint as a JSON object, as `--output json` shows it, instead of name and flags
    #[arg(long, value_name = "OBJECT", conflicts_with_all = ["name", "EndpointFields"])]
    json: Option<String>,
    #[command(flatten)]
    write: WriteFlags,
}

/// `endpoints list`.
#[derive(Args, Clone, Debug)]
pub struct List {
    /// Only endpoints that carry this label; may be repeated
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,
}

/// A command on one endpoint.
#[derive(Args, Clone, Debug)]
pub struct Named {
    /// Name of the endpoint
    name: Name,
}

/// Fields that an update can empty.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clearable {
    /// Addresses.
    #[value(help = None::<&str>)]
    Addresses,
    /// Labels.
    #[value(help = None::<&str>)]
    Labels,
    /// Host and device.
    #[value(help = None::<&str>)]
    Home,
    /// Routes.
    #[value(help = None::<&str>)]
    Routes,
}

/// `endpoints update`.
#[derive(Args, Clone, Debug)]
pub struct Update {
    /// Name of the endpoint
    name: Name,
    #[command(flatten)]
    fields: EndpointFields,
    /// Empty this field; may be repeated
    #[arg(long, value_name = "FIELD")]
    clear: Vec<Clearable>,
    #[command(flatten)]
    write: WriteFlags,
}

/// `endpoints delete`.
#[derive(Args, Clone, Debug)]
pub struct Delete {
    /// Names of the endpoints; all are deleted or none
    #[arg(required = true)]
    names: Vec<Name>,
    #[command(flatten)]
    write: WriteFlags,
}

/// An endpoint with its number and groups.
#[derive(Serialize)]
struct Shown<'a> {
    id: u32,
    #[serde(flatten)]
    endpoint: &'a AuthoredEndpoint,
    groups: Vec<&'a Name>,
}

/// The list as JSON.
#[derive(Serialize)]
struct Endpoints<'a> {
    version: u64,
    endpoints: Vec<Shown<'a>>,
}

/// Runs a command.
pub async fn run(command: EndpointsCommand, session: &Session) -> Result<Reply, Failure> {
    match command {
        EndpointsCommand::Create(create) => create.run(session).await,
        EndpointsCommand::List(list) => list.run(session).await,
        EndpointsCommand::Show(named) => named.run(session).await,
        EndpointsCommand::Update(update) => update.run(session).await,
        EndpointsCommand::Delete(delete) => delete.run(session).await,
    }
}

impl Create {
    async fn run(self, session: &Session) -> Result<Reply, Failure> {
        let endpoint = self.endpoint()?;
        let sentence = format!("create endpoint {}", endpoint.name);
        let done = format!("created endpoint {}", endpoint.name);
        let edits = vec![Edit::CreateEndpoint(endpoint)];
        let comment = self.write.comment_or(&sentence);
        let transaction = Transaction { expected_version: None, edits, comment };
        session.write(&session.connect().await?, &transaction, &self.write, |_| done).await
    }

    fn endpoint(&self) -> Result<AuthoredEndpoint, UsageError> {
        if let Some(json) = &self.json {
            return object(json);
        }
        let mut endpoint = AuthoredEndpoint {
            name: self.name.clone().ok_or(UsageError::Missing("NAME"))?,
            tenant: Name::default_name(),
            segment: Name::default_name(),
            mac: self.fields.mac.ok_or(UsageError::Missing("--mac"))?,
            addresses: Vec::new(),
            labels: std::collections::BTreeMap::new(),
            home: None,
            flags: meshgate_policy::EndpointFlags::default(),
            routes: Vec::new(),
            leased: Vec::new(),
        };
        self.fields.set(&mut endpoint)?;
        Ok(endpoint)
    }
}

impl EndpointFields {
    fn is_empty(&self) -> bool {
        let Self {
            mac,
            addresses,
            labels,
            host,
            device,
            segment,
            router,
            routes,
            dhcp_server,
            router_advertiser,
            dhcp_client,
        } = self;
        let lists_empty = addresses.is_empty() && labels.is_empty() && routes.is_empty();
        let names_empty = mac.is_none() && host.is_none() && device.is_none() && segment.is_none();
        let flags = [router, dhcp_server, router_advertiser, dhcp_client];
        lists_empty && names_empty && flags.iter().all(|flag| flag.is_none())
    }

    fn set(&self, endpoint: &mut AuthoredEndpoint) -> Result<(), UsageError> {
        put(&mut endpoint.mac, self.mac);
        put_list(&mut endpoint.addresses, &self.addresses);
        put_labels(&mut endpoint.labels, &self.labels);
        put(&mut endpoint.segment, self.segment.clone());
        put_list(&mut endpoint.routes, &self.routes);
        put(&mut endpoint.flags.router, self.router);
        put(&mut endpoint.flags.dhcp_server, self.dhcp_server);
        put(&mut endpoint.flags.router_advertiser, self.router_advertiser);
        put(&mut endpoint.flags.dhcp_client, self.dhcp_client);
        if self.host.is_some() || self.device.is_some() {
            let old = endpoint.home.take();
            let (old_host, old_device) = old.map(|home| (home.host, home.device)).unzip();
            endpoint.home = Some(Home {
                host: self
                    .host
                    .clone()
                    .or(old_host)
                    .ok_or(UsageError::Missing("--host (beside --device)"))?,
                device: self
                    .device
                    .clone()
                    .or(old_device)
                    .ok_or(UsageError::Missing("--device (beside --host)"))?,
            });
        }
        Ok(())
    }
}

impl Update {
    async fn run(self, session: &Session) -> Result<Reply, Failure> {
        if self.fields.is_empty() && self.clear.is_empty() {
            return Err(UsageError::NothingToChange.into());
        }
        let client = session.connect().await?;
        let snapshot = client.policy(None).await?;
        let mut endpoint = find(&snapshot, &self.name)?.clone();
        for field in &self.clear {
            match field {
                Clearable::Addresses => endpoint.addresses.clear(),
                Clearable::Labels => endpoint.labels.clear(),
                Clearable::Home => endpoint.home = None,
                Clearable::Routes => endpoint.routes.clear(),
            }
        }
        self.fields.set(&mut endpoint)?;
        let transaction = Transaction {
            expected_version: Some(snapshot.version),
            edits: vec![Edit::UpdateEndpoint(endpoint)],
            comment: self.write.comment_or(&format!("update endpoint {}", self.name)),
        };
        session.write(&client, &transaction, &self.write, |_| format!("updated endpoint {}", self.name)).await
    }
}

impl Delete {
    async fn run(self, session: &Session) -> Result<Reply, Failure> {
        let names = named("endpoint", &self.names);
        let transaction = Transaction {
            expected_version: None,
            edits: self.names.into_iter().map(Edit::DeleteEndpoint).collect(),
            comment: self.write.comment_or(&format!("delete {names}")),
        };
        let client = session.connect().await?;
        session.write(&client, &transaction, &self.write, |_| format!("deleted {names}")).await
    }
}

impl List {
    async fn run(self, session: &Session) -> Result<Reply, Failure> {
        let snapshot = session.connect().await?.policy(None).await?;
        let wanted = |endpoint: &&AuthoredEndpoint| {
            self.labels.iter().all(|(key, value)| endpoint.labels.get(key) == Some(value))
        };
        let mut endpoints: Vec<Shown<'_>> =
            snapshot.policy.endpoints.iter().filter(wanted).map(|e| shown(&snapshot, e)).collect();
        endpoints.sort_by(|a, b| (a.id, &a.endpoint.name).cmp(&(b.id, &b.endpoint.name)));
        let answer = Endpoints { version: snapshot.version, endpoints };
        let is_filtered = !self.labels.is_empty();
        Ok(session.show(&answer, |answer| list_text(answer, is_filtered))?.into())
    }
}

impl Named {
    async fn run(self, session: &Session) -> Result<Reply, Failure> {
        let snapshot = session.connect().await?.policy(None).await?;
        let answer = shown(&snapshot, find(&snapshot, &self.name)?);
        Ok(session.show(&answer, show_text)?.into())
    }
}

fn find<'a>(snapshot: &'a Snapshot, name: &Name) -> Result<&'a AuthoredEndpoint, Failure> {
    let found = snapshot.policy.endpoints.iter().find(|endpoint| endpoint.name == *name);
    found.ok_or_else(|| Failure::NotFound {
        kind: "endpoint",
        name: name.to_string(),
        version: snapshot.version,
    })
}

fn shown<'a>(snapshot: &'a Snapshot, endpoint: &'a AuthoredEndpoint) -> Shown<'a> {
    let id = snapshot.endpoint_ids.get(endpoint.name.as_str()).copied().unwrap_or_default();
    let of = |group: &&meshgate_policy::AuthoredGroup| crate::groups::holds(group, endpoint);
    Shown {
        id,
        endpoint,
        groups: snapshot.policy.groups.iter().filter(of).map(|group| &group.name).collect(),
    }
}

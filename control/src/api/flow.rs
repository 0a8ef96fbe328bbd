//! `FlowService`: takes in roll-ups and adds them up.

use super::fault::{exhausted, invalid};
use crate::costs::{Haul, Zones};
use crate::flow_book::{
    ANSWER_SUMS_DEFAULT, ANSWER_SUMS_MAX, BUCKETS_MAX, Bucket, COUNTER_MAX, Delivery, FlowKey, FlowQuery,
    FlowSum, GROUPS_PER_SIDE_MAX, HAULS_MAX, SUMS_MAX, Width,
};
use crate::keeper::Keeper;
use meshgate_policy::{Action, EndpointId, GroupId, Name, Policy, ProtocolMatch};
use meshgate_proto::{action_from_wire, protocol_from_wire, wire};
use std::sync::Arc;
use tonic::{Request, Response, Status};

/// The service.
#[derive(Debug)]
pub struct FlowApi {
    keeper: Arc<Keeper>,
}

impl FlowApi {
    /// Returns the service of a keeper.
    pub fn new(keeper: Arc<Keeper>) -> Self {
        Self { keeper }
    }

    /// Returns the group of a filter; none for no filter.
    fn group(&self, field: &str, text: &str) -> Result<Option<GroupId>, Status> {
        if text.is_empty() {
            return Ok(None);
        }
        let name = Name::new(text).map_err(|error| invalid(field, error))?;
        let group = self.keeper.newest().book.numbering().group(&name);
        let group = group.ok_or_else(|| Status::not_found(format!("{field}: no group {name}")))?;
        Ok(Some(group).filter(|group| *group != GroupId::ANY))
    }
}

#[tonic::async_trait]
impl wire::flow_service_server::FlowService for FlowApi {
    async fn ingest(
        &self,
        request: Request<wire::IngestRequest>,
    ) -> Result<Response<wire::IngestResponse>, Status> {
        let delivery = delivery(request.into_inner(), &self.keeper.zones())?;
        self.keeper.store().ingest(&delivery).await?;
        let accepted_buckets = u32::try_from(delivery.buckets.len()).unwrap_or(u32::MAX);
        Ok(Response::new(wire::IngestResponse { accepted_buckets }))
    }

    async fn query_flows(
        &self,
        request: Request<wire::QueryFlowsRequest>,
    ) -> Result<Response<wire::QueryFlowsResponse>, Status> {
        let wire::QueryFlowsRequest {
            from_s,
            until_s,
            source_group_name,
            destination_group_name,
            action,
            protocol,
            service_port,
            limit,
        } = request.into_inner();
        let query = FlowQuery {
            from_s,
            until_s: Some(until_s).filter(|until| *until != 0),
            source_group: self.group("source_group_name", &source_group_name)?,
            destination_group: self.group("destination_group_name", &destination_group_name)?,
            action: match action.as_str() {
                "" => None,
                word => Some(word.parse::<Action>().map_err(|error| invalid("flow", error))?),
            },
            protocol: match protocol_from_wire(&protocol).map_err(|error| invalid("protocol", error))? {
                ProtocolMatch::Any => None,
                ProtocolMatch::Is(protocol) => Some(protocol),
            },
            service_port: match small::<u16>("service_port", service_port)? {
                0 => None,
                port => Some(port),
            },
            limit: if limit == 0 { ANSWER_SUMS_DEFAULT } else { limit.min(ANSWER_SUMS_MAX) },
        };
        let answer = self.keeper.store().query_flows(&query).await?;
        let newest = self.keeper.newest();
        Ok(Response::new(wire::QueryFlowsResponse {
            sums: answer.sums.into_iter().map(|sum| named(newest.book.policy(), sum)).collect(),
            left_out: u32::try_from(answer.left_out).unwrap_or(u32::MAX),
            records_lost: answer.records_lost,
        }))
    }
}

fn delivery(message: wire::IngestRequest, zones: &Zones) -> Result<Delivery, Status> {
    let wire::IngestRequest { collector, epoch, buckets } = message;
    let sums: usize = buckets.iter().map(|bucket| bucket.sums.len()).sum();
    let hauls: usize = buckets.iter().map(|bucket| bucket.hauls.len()).sum();
    let counts =
        [(buckets.len(), "buckets", BUCKETS_MAX), (sums, "sums", SUMS_MAX), (hauls, "hauls", HAULS_MAX)];
    for (count, what, max) in counts {
        if count > max {
            return Err(exhausted(format!("{what}: {count} entries, at most {max} are possible")));
        }
    }
    let collector = Name::new(&collector).map_err(|error| invalid("collector", error))?;
    let buckets = buckets.into_iter().enumerate();
    let buckets = buckets.map(|(i, message)| bucket(&format!("buckets[{i}]"), message, zones));
    Ok(Delivery { collector, epoch, buckets: buckets.collect::<Result<_, _>>()? })
}

fn bucket(path: &str, message: wire::Bucket, zones: &Zones) -> Result<Bucket, Status> {
    let wire::Bucket { width_s, start_s, sums, records_lost, hauls } = message;
    let width = Width::from_seconds(width_s);
    let width = width
        .ok_or_else(|| invalid(&format!("{path}.width_s"), format!("{width_s} is not 10, 60 or 3600")))?;
    if !start_s.is_multiple_of(width.seconds()) {
        return Err(invalid(&format!("{path}.start_s"), format!("{start_s} is not a multiple of {width_s}")));
    }
    counter(path, "records_lost", records_lost)?;
    if width != Width::Hour && !hauls.is_empty() {
        return Err(invalid(&format!("{path}.hauls"), "only a bucket of an hour has any"));
    }
    let hauls = hauls.into_iter().enumerate();
    let hauls = hauls.map(|(i, message)| haul(&format!("{path}.hauls[{i}]"), message));
    let zones = zones.sums(&hauls.collect::<Result<Vec<_>, _>>()?);
    let sums = sums.into_iter().enumerate().map(|(i, message)| sum(&format!("{path}.sums[{i}]"), message));
    Ok(Bucket { width, start_s, sums: sums.collect::<Result<_, _>>()?, records_lost, zones })
}

fn haul(path: &str, message: wire::Haul) -> Result<Haul, Status> {
    let wire::Haul {
        source_groups,
        destination_groups,
        rule,
        source_endpoint,
        destination_endpoint,
        bytes_forward,
        bytes_reverse,
    } = message;
    Ok(Haul {
        source_groups: groups(&format!("{path}.source_groups"), source_groups)?,
        destination_groups: groups(&format!("{path}.destination_groups"), destination_groups)?,
        rule,
        source_endpoint: EndpointId(source_endpoint),
        destination_endpoint: EndpointId(destination_endpoint),
        bytes_forward: counter(path, "bytes_forward", bytes_forward)?,
        bytes_reverse: counter(path, "bytes_reverse", bytes_reverse)?,
    })
}

fn sum(path: &str, message: wire::FlowSum) -> Result<FlowSum, Status> {
    let wire::FlowSum {
        tenant,
        segment,
        source_groups,
        destination_groups,
        protocol,
        service_port,
        action,
        stage,
        rule,
        shadow_rule,
        flows,
        packets_forward,
        bytes_forward,
        packets_reverse,
        bytes_reverse,
        first_ns,
        last_ns,
    } = message;
    let at = |field: &str| format!("{path}.{field}");
    if !matches!(tenant.as_str(), "" | "default") {
        return Err(invalid(&at("tenant"), "this version has only \"default\""));
    }
    let action_number = i32::try_from(action).unwrap_or(i32::MAX);
    let key = FlowKey {
        segment: small(&at("segment"), segment)?,
        source_groups: groups(&at("source_groups"), source_groups)?,
        destination_groups: groups(&at("destination_groups"), destination_groups)?,
        protocol: small(&at("protocol"), protocol)?,
        service_port: small(&at("service_port"), service_port)?,
        action: action_from_wire(action_number).map_err(|problem| invalid(&at("action"), problem))?,
        stage: small(&at("stage"), stage)?,
        rule,
        shadow_rule,
    };
    Ok(FlowSum {
        key,
        flows: counter(path, "flows", flows)?,
        packets_forward: counter(path, "packets_forward", packets_forward)?,
        bytes_forward: counter(path, "bytes_forward", bytes_forward)?,
        packets_reverse: counter(path, "packets_reverse", packets_reverse)?,
        bytes_reverse: counter(path, "bytes_reverse", bytes_reverse)?,
        first_ns,
        last_ns,
    })
}

fn counter(path: &str, field: &str, value: u64) -> Result<u64, Status> {
    if value > COUNTER_MAX {
        return Err(invalid(&format!("{path}.{field}"), format!("{value} is above {COUNTER_MAX}")));
    }
    Ok(value)
}

fn groups(field: &str, mut groups: Vec<u32>) -> Result<Vec<GroupId>, Status> {
    if groups.len() > GROUPS_PER_SIDE_MAX {
        let words = format!("{field}: {} entries, at most {GROUPS_PER_SIDE_MAX} are possible", groups.len());
        return Err(exhausted(words));
    }
    groups.sort_unstable();
    groups.dedup();
    Ok(groups.into_iter().map(GroupId).collect())
}

fn small<T: TryFrom<u32>>(field: &str, number: u32) -> Result<T, Status> {
    T::try_from(number).map_err(|_| invalid(field, format!("{number} is too large")))
}

fn named(policy: &Policy, sum: FlowSum) -> wire::NamedFlowSum {
    let names = |groups: &[GroupId]| groups.iter().map(|group| policy.group_name(*group)).collect();
    wire::NamedFlowSum {
        source_group_names: names(&sum.key.source_groups),
        destination_group_names: names(&sum.key.destination_groups),
        sum: Some(sum_message(sum)),
    }
}

fn sum_message(sum: FlowSum) -> wire::FlowSum {
    let FlowSum {
        key,
        flows,
        packets_forward,
        bytes_forward,
        packets_reverse,
        bytes_reverse,
        first_ns,
        last_ns,
    } = sum;
    let FlowKey {
        segment,
        source_groups,
        destination_groups,
        protocol,
        service_port,
        action,
        stage,
        rule,
        shadow_rule,
    } = key;
    let action = match action {
        Action::Allow => 1,
        Action::Deny => 2,
        Action::Reject => 3,
    };
    wire::FlowSum {
        tenant: "default".to_owned(),
        segment: segment.into(),
        source_groups: source_groups.into_iter().map(|id| id.0).collect(),
        destination_groups: destination_groups.into_iter().map(|id| id.0).collect(),
        protocol: protocol.into(),
        service_port: service_port.into(),
        action,
        stage: stage.into(),
        rule,
        shadow_rule,
        flows,
        packets_forward,
        bytes_forward,
        packets_reverse,
        bytes_reverse,
        first_ns,
        last_ns,
    }
}

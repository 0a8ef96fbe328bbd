//! Costs on every store: prices live on, and what roll-ups say of endpoints becomes advice about zones.

use crate::program::{Program, Scratch, commit, group, relationship};
use meshgate_proto::wire;
use meshgate_proto::wire::cost_service_client::CostServiceClient;
use meshgate_proto::wire::flow_service_client::FlowServiceClient;
use std::time::{SystemTime, UNIX_EPOCH};
use tonic::Code;
use tonic::transport::Channel;

const GIB: u64 = 1 << 30;

fn endpoint(name: &str, zone: &str, last: u8) -> wire::change::Change {
    let labels = [("zone".to_owned(), zone.to_owned())].into_iter().filter(|(_, zone)| !zone.is_empty());
    wire::change::Change::PutEndpoint(wire::AuthoredEndpoint {
        name: name.into(),
        mac: format!("02:00:00:00:00:{last:02x}"),
        addresses: vec![format!("10.0.0.{last}")],
        labels: labels.collect(),
        ..wire::AuthoredEndpoint::default()
    })
}

fn members(name: &str, members: &[&str]) -> wire::change::Change {
    wire::change::Change::PutGroup(wire::AuthoredGroup {
        name: name.into(),
        members: members.iter().map(|member| (*member).to_owned()).collect(),
        ..wire::AuthoredGroup::default()
    })
}

fn table(prices: &[(&str, &str, &str)]) -> wire::CostTable {
    let price = |(from, to, per_gib): &(&str, &str, &str)| wire::CostPrice {
        from_zone: (*from).into(),
        to_zone: (*to).into(),
        per_gib: (*per_gib).into(),
    };
    wire::CostTable { revision: 0, currency: "EUR".into(), prices: prices.iter().map(price).collect() }
}

fn set(table: wire::CostTable, expected_revision: Option<u64>) -> wire::SetCostTableRequest {
    wire::SetCostTableRequest { table: Some(table), expected_revision }
}

fn haul(endpoints: [u32; 2], groups: [u32; 2], bytes: [u64; 2]) -> wire::Haul {
    wire::Haul {
        source_groups: vec![groups[0]],
        destination_groups: vec![groups[1]],
        rule: 1,
        source_endpoint: endpoints[0],
        destination_endpoint: endpoints[1],
        bytes_forward: bytes[0],
        bytes_reverse: bytes[1],
    }
}

/// Returns the hour that holds the present.
fn hour(hauls: Vec<wire::Haul>) -> wire::Bucket {
    let now_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    wire::Bucket {
        width_s: 3_600,
        start_s: now_s - now_s % 3_600,
        hauls,
        records_lost: 4,
        ..Default::default()
    }
}

fn delivery(epoch: u64, buckets: Vec<wire::Bucket>) -> wire::IngestRequest {
    wire::IngestRequest { collector: "c1".into(), epoch, buckets }
}

async fn costs(program: &Program) -> CostServiceClient<Channel> {
    CostServiceClient::new(program.channel().await)
}

/// Tells what two web servers exchanged with two databases and the outside.
async fn report_hour(program: &Program) {
    let ids =
        program.policy().await.get_policy(wire::GetPolicyRequest::default()).await.unwrap().into_inner();
    let (of, groups) = (|name: &str| ids.endpoint_ids[name], [ids.group_ids["web"], ids.group_ids["db"]]);
    let mut flows = FlowServiceClient::new(program.channel().await);
    let told = vec![
        haul([of("w1"), of("d1")], groups, [1_000 * GIB, 3 * GIB]),
        haul([of("w2"), of("d1")], groups, [50 * GIB, 0]),
        haul([of("w1"), of("d2")], groups, [6 * GIB, 0]),
        haul([of("w1"), 0], [groups[0], ids.group_ids["external"]], [10 * GIB, 0]),
    ];
    // An hour that grows is told of again and counts once; another run of the collector counts beside it.
    flows.ingest(delivery(1, vec![hour(told[..1].to_vec())])).await.unwrap();
    flows.ingest(delivery(1, vec![hour(told)])).await.unwrap();
    let other = vec![haul([of("w1"), of("d1")], groups, [200 * GIB, 0])];
    flows.ingest(delivery(2, vec![hour(other)])).await.unwrap();
}

/// Prices outlive a restart, the trail tells who set them, and traffic between zones is told of with its cost.
pub async fn costs_live_from_table_to_advice(store: &str) {
    let scratch = Scratch::new();
    let mut program = Program::start(&scratch, store);
    let mut service = costs(&program).await;
    let empty = service.get_cost_table(wire::GetCostTableRequest {}).await.unwrap().into_inner();
    assert_eq!((empty.revision, empty.prices.len()), (0, 0));
    let first =
        service.set_cost_table(set(table(&[("a", "b", "5"), ("b", "a", "7")]), Some(0))).await.unwrap();
    assert_eq!(first.into_inner(), wire::SetCostTableResponse { revision: 1, changed: true });
    let prices = [("a", "b", "0.02"), ("a", "external", "0.09")];
    let second = service.set_cost_table(set(table(&prices), Some(1))).await.unwrap().into_inner();
    assert_eq!((second.revision, second.changed), (2, true));
    let same = service.set_cost_table(set(table(&prices), None)).await.unwrap().into_inner();
    assert_eq!((same.revision, same.changed), (2, false));

    let changes = vec![
        endpoint("w1", "a", 1),
        endpoint("w2", "b", 2),
        endpoint("d1", "b", 3),
        endpoint("d2", "", 4),
        members("web", &["w1", "w2"]),
        members("db", &["d1", "d2"]),
        relationship("web", "db", "5432"),
    ];
    program.policy().await.commit(commit(changes)).await.unwrap();
    report_hour(&program).await;
    assert!(program.terminate().success());
    let program = Program::start(&scratch, store);
    let mut service = costs(&program).await;
    let kept = service.get_cost_table(wire::GetCostTableRequest {}).await.unwrap().into_inner();
    assert_eq!(kept, wire::CostTable { revision: 2, ..table(&prices) });
    let advice = service.advise_costs(wire::AdviseCostsRequest::default()).await.unwrap().into_inner();
    let seen: Vec<_> = advice
        .lines
        .iter()
        .map(|line| (line.from_zone.as_str(), line.to_zone.as_str(), line.bytes / GIB, line.cost_millionths))
        .collect();
    assert_eq!(
        seen,
        [("a", "b", 1_200, Some(24_000_000)), ("a", "external", 10, Some(900_000)), ("b", "a", 3, None)]
    );
    let totals = advice.totals.unwrap();
    assert_eq!((totals.bytes / GIB, totals.bytes_within / GIB), (1_269, 50));
    assert_eq!((totals.bytes_between / GIB, totals.bytes_unknown / GIB), (1_213, 6));
    assert_eq!((totals.bytes_unpriced / GIB, totals.cost_millionths), (3, 24_900_000));
    assert_eq!((advice.currency.as_str(), advice.table_revision, advice.records_lost), ("EUR", 2, 8));
    assert_eq!(
        advice.lines[0].advice,
        "web -> db TCP 5432 (relationship 1) carried 1.1 TiB from zone a to zone b in 7 days: 24.00 EUR; both sides \
         have members in zone b (1 and 1), which could exchange it there; in the same time it carried 50.0 GiB \
         within zones."
    );
    let top = wire::AdviseCostsRequest { days: 1, top: 1 };
    let top = service.advise_costs(top).await.unwrap().into_inner();
    assert_eq!((top.lines.len(), top.left_out, top.totals), (1, 2, Some(totals)));
    let audit =
        program.policy().await.list_audit(wire::ListAuditRequest::default()).await.unwrap().into_inner();
    let entries = audit.entries.iter().filter(|entry| entry.event == "cost-table");
    let details: Vec<&str> = entries.map(|entry| entry.detail.as_str()).collect();
    let newest = "revision 2, EUR a GiB: a -> b 0.02, a -> external 0.09";
    assert_eq!(details, [newest, "revision 1, EUR a GiB: a -> b 5, b -> a 7"]);
}

/// Every refusal names the field at fault and leaves the table as it was.
pub async fn refused_costs_say_why(store: &str) {
    let scratch = Scratch::new();
    let program = Program::start(&scratch, store);
    let mut service = costs(&program).await;
    service.set_cost_table(set(table(&[("a", "b", "1")]), None)).await.unwrap();
    let many: Vec<_> = (0..4_097).map(|at| format!("z{at}")).collect();
    let many: Vec<_> = many.iter().map(|zone| ("a", zone.as_str(), "1")).collect();
    let cases = [
        (
            set(table(&[]), Some(0)),
            Code::Aborted,
            "expected_revision: 0 is not the newest revision of the cost table, which is 1",
        ),
        (
            set(table(&[("a", "b", "1"), ("a", "b c", "1")]), None),
            Code::InvalidArgument,
            "table.prices[1].to_zone: name \"b c\": character ' ' is not one of A-Z a-z 0-9 . _ -",
        ),
        (
            set(table(&[("a", "b", "-1")]), None),
            Code::InvalidArgument,
            "table.prices[0].per_gib: \"-1\" is not a price of at most 1000000 with at most 6 places, such as 0.02",
        ),
        (
            set(table(&[("a", "unknown", "1")]), None),
            Code::InvalidArgument,
            "table.prices: the zone \"unknown\" has no price",
        ),
        (
            set(table(&[("a", "b", "1"), ("a", "b", "2")]), None),
            Code::InvalidArgument,
            "table.prices: a -> b occurs twice",
        ),
        (
            set(wire::CostTable { currency: String::new(), ..table(&[]) }, None),
            Code::InvalidArgument,
            "table.currency: \"\" is not a name of at most 8 characters",
        ),
        (
            set(table(&many), None),
            Code::ResourceExhausted,
            "table.prices: 4097 entries, at most 4096 are possible",
        ),
        (
            wire::SetCostTableRequest { table: None, expected_revision: None },
            Code::InvalidArgument,
            "table: is missing",
        ),
    ];
    for (request, code, message) in cases {
        let status = service.set_cost_table(request).await.unwrap_err();
        assert_eq!((status.code(), status.message()), (code, message));
    }
    let kept = service.get_cost_table(wire::GetCostTableRequest {}).await.unwrap().into_inner();
    assert_eq!(kept, wire::CostTable { revision: 1, ..table(&[("a", "b", "1")]) });
    let status = service.advise_costs(wire::AdviseCostsRequest { days: 401, top: 0 }).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::InvalidArgument, "days: 401 is above 400"));
    refused_hauls_say_why(&program).await;
}

/// What a collector tells wrongly is refused by its place.
async fn refused_hauls_say_why(program: &Program) {
    program.policy().await.commit(commit(vec![group("web")])).await.unwrap();
    let mut flows = FlowServiceClient::new(program.channel().await);
    let narrow = wire::Bucket { width_s: 60, ..hour(vec![haul([1, 2], [16, 16], [1, 1])]) };
    let large = hour(vec![haul([1, 2], [16, 16], [1, 1]), haul([1, 2], [16, 16], [1 << 51, 1])]);
    let crowd = hour(vec![haul([1, 2], [16, 16], [1, 1]); 100_001]);
    let cases = [
        (narrow, Code::InvalidArgument, "buckets[0].hauls: only a bucket of an hour has any".to_owned()),
        (
            large,
            Code::InvalidArgument,
            format!("buckets[0].hauls[1].bytes_forward: {} is above {}", 1_u64 << 51, 1_u64 << 50),
        ),
        (crowd, Code::ResourceExhausted, "hauls: 100001 entries, at most 100000 are possible".to_owned()),
    ];
    for (bucket, code, message) in cases {
        let status = flows.ingest(delivery(1, vec![bucket])).await.unwrap_err();
        assert_eq!((status.code(), status.message()), (code, message.as_str()));
    }
}

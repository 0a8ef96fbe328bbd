//! Prices and cost advice against the real control plane.

use crate::control::Control;
use meshgate_proto::wire;
use meshgate_proto::wire::flow_service_client::FlowServiceClient;
use meshgate_proto::wire::policy_service_client::PolicyServiceClient;
use std::time::{SystemTime, UNIX_EPOCH};

const TABLE: &str = "\
currency = \"EUR\"
prices = [
    { from = \"a\", to = \"b\", per_gib = \"0.02\" },
    { from = \"a\", to = \"external\", per_gib = \"0.09\" },
]
";

#[test]
fn prices_are_set_one_by_one_and_by_file() {
    let Some(control) = Control::start() else { return };
    assert!(control.done("costs table").starts_with("no prices yet; set one with"));
    let nothing = control.done("costs advise");
    assert!(nothing.starts_with("nothing was carried in 7 days; look further back"), "{nothing}");
    assert_eq!(control.done("costs set a b 0.020"), "cost table replaced (revision 1)\n");
    assert_eq!(control.done("costs set a b 0.02"), "nothing changed; revision 1 of the cost table stays\n");
    assert_eq!(control.done("costs set b a 1 --currency USD"), "cost table replaced (revision 2)\n");
    let shown = control.done("costs table");
    assert_eq!(shown, "FROM  TO   PER GIB\na     b   0.02 USD\nb     a      1 USD\nrevision 2\n");
    control.write("costs.toml", TABLE);
    assert_eq!(control.done("costs set costs.toml"), "cost table replaced (revision 3)\n");
    assert!(control.done("costs table").contains("a     external  0.09 EUR\nrevision 3\n"));
    assert!(control.done("costs table -o json").contains("\"per_gib\": \"0.09\""));
    let audit = control.done("audit");
    assert!(audit.contains("cost-table") && audit.contains("alice"), "{audit}");
}

#[test]
fn what_is_no_table_is_refused_and_changes_nothing() {
    let Some(control) = Control::start() else { return };
    control.done("costs set a b 1");
    let line = control.refused("costs set a b cheap");
    assert!(line.starts_with("table.prices[0].per_gib: \"cheap\" is not a price"), "{line}");
    control.write("bad.toml", "currency = 'EUR'\nprices = [{ from = 'a', to = 'b', per_gib = 1 }]\n");
    let line = control.refused("costs set bad.toml");
    assert!(line.starts_with("bad.toml:2:") && line.contains("expected a string"), "{line}");
    control.write("twice.toml", &TABLE.replace("external", "b"));
    assert_eq!(control.refused("costs set twice.toml"), "table.prices: a -> b occurs twice");
    assert!(control.refused("costs set none.toml").starts_with("cannot read none.toml: "));
    assert!(control.done("costs table").ends_with("revision 1\n"));
    let two = control.run("costs set a b");
    assert_eq!(two.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&two.stderr).contains("name a FILE with the whole table"));
}

/// Reports an hour as a collector would: what two web servers exchanged with a database and the outside.
fn report(control: &Control) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut policies = PolicyServiceClient::connect(control.server()).await.unwrap();
        let ids = policies.get_policy(wire::GetPolicyRequest::default()).await.unwrap().into_inner();
        let haul = |ends: [&str; 2], groups: [&str; 2], bytes: [u64; 2]| wire::Haul {
            source_groups: vec![ids.group_ids[groups[0]]],
            destination_groups: vec![ids.group_ids[groups[1]]],
            rule: u32::from(groups[1] == "Db"),
            source_endpoint: ids.endpoint_ids.get(ends[0]).copied().unwrap_or(0),
            destination_endpoint: ids.endpoint_ids.get(ends[1]).copied().unwrap_or(0),
            bytes_forward: bytes[0] << 20,
            bytes_reverse: bytes[1] << 20,
        };
        let hauls = vec![
            haul(["w1", "d1"], ["Web", "Db"], [1_310_720, 20_480]),
            haul(["w2", "d1"], ["Web", "Db"], [51_200, 0]),
            haul(["w1", ""], ["Web", "external"], [10_240, 0]),
            haul(["", "d1"], ["Web", "Db"], [2_048, 0]),
        ];
        let now_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let start_s = now_s - now_s % 3_600;
        let bucket = wire::Bucket { width_s: 3_600, start_s, hauls, ..Default::default() };
        let delivery = wire::IngestRequest { collector: "c1".into(), epoch: 1, buckets: vec![bucket] };
        FlowServiceClient::connect(control.server()).await.unwrap().ingest(delivery).await.unwrap();
    });
}

#[test]
fn the_dearest_traffic_is_told_with_its_cost_and_what_the_data_shows() {
    let Some(control) = Control::start() else { return };
    for (at, (name, zone)) in [("w1", "a"), ("w2", "b"), ("d1", "b")].into_iter().enumerate() {
        let create = format!("endpoints create {name} --mac 02:00:00:00:00:0{at} --address 10.0.0.{at}");
        control.done(&format!("{create} --label zone={zone}"));
    }
    control.done("groups create Web --member w1 --member w2");
    control.done("groups create Db --member d1");
    let relate = "relationships create --source Web --destination Db --protocol TCP --port-range 5432";
    control.done(&format!("{relate} --action allow"));
    report(&control);
    control.write("costs.toml", TABLE);
    let unpriced = control.done("costs advise");
    assert!(unpriced.contains("no price was ever set: "), "{unpriced}");
    control.done("costs set costs.toml");
    let expected = "\
NO  FROM  TO           BYTES       COST  CARRIED BY
 1  a     b          1.2 TiB  25.60 EUR  Web -> Db TCP 5432 (relationship 1)
 2  a     external  10.0 GiB   0.90 EUR  Web -> external (no rule)
 3  b     a         20.0 GiB   no price  Web -> Db TCP 5432 (relationship 1)

1. Web -> Db TCP 5432 (relationship 1) carried 1.2 TiB from zone a to zone b in 7 days: 25.60 EUR; both sides have \
members in zone b (1 and 1), which could exchange it there; in the same time it carried 50.0 GiB within zones.
2. Web -> external (no rule) carried 10.0 GiB from zone a to zone external in 7 days: 0.90 EUR; one end is outside, \
so only the zone of the other end can be chosen.
3. Web -> Db TCP 5432 (relationship 1) carried 20.0 GiB from zone b to zone a in 7 days: the table has no price for \
b -> a; both sides have members in zone b (1 and 1), which could exchange it there; in the same time it carried \
50.0 GiB within zones.
in 7 days 1.3 TiB: 50.0 GiB within zones, 1.2 TiB between zones (20.0 GiB of that without a price), 2.0 GiB where \
the zone of an end is unknown; 26.50 EUR in all
";
    assert_eq!(control.done("costs advise"), expected);
    let top = control.done("costs advise --top 1");
    assert!(top.contains("and 2 more; see them with --top\n"), "{top}");
    assert!(control.done("costs advise -o json").contains("\"cost_millionths\": 25600000"));
}

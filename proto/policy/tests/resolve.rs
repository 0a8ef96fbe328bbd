//! `resolve` refuses every mistake by object and field, and puts what is right into numbers.
#![expect(clippy::unwrap_used, reason = "the whole file is a test")]

use meshgate_policy::{
    Action, AuthoredPolicy, EndpointId, GroupId, Numbering, Policy, PolicyVersion, RuleId, SegmentId, Side,
    limits, resolve,
};

fn authored(text: &str) -> AuthoredPolicy {
    toml::from_str(text).unwrap()
}

fn resolved(mut authored: AuthoredPolicy) -> Result<Policy, Vec<String>> {
    let mut numbering = Numbering::default();
    numbering.assign(&mut authored).unwrap();
    resolve(&authored, &numbering, PolicyVersion(1))
        .map_err(|faults| faults.iter().map(ToString::to_string).collect())
}

#[track_caller]
fn assert_fault(text: &str, fault: &str) {
    let faults = resolved(authored(text)).expect_err("the policy must be refused");
    assert_eq!(faults, [fault]);
    assert!(!faults[0].contains('\n'));
}

#[track_caller]
fn assert_accepted(text: &str) -> Policy {
    resolved(authored(text)).unwrap()
}

#[test]
fn an_empty_policy_has_the_default_segment_and_denies() {
    let policy = assert_accepted("");
    assert_eq!(policy, Policy { version: PolicyVersion(1), ..Policy::empty(Action::Deny) });
}

#[test]
fn members_selectors_and_prefixes_become_sorted_numbers() {
    let policy = assert_accepted(
        "endpoints = [
            { name = 'c', mac = '02:00:00:00:00:03', labels = { role = 'web', zone = 'a' } },
            { name = 'a', mac = '02:00:00:00:00:01', addresses = ['10.0.0.9', '10.0.0.1', '10.0.0.9'] },
            { name = 'b', mac = '02:00:00:00:00:02', labels = { role = 'web' } },
        ]
        groups = [
            { name = 'web', selector = { role = 'web' }, members = ['a', 'c'], prefixes = ['fd00::/8', '10.1.0.0/16'] },
            { name = 'web-a', selector = { role = 'web', zone = 'a' } },
            { name = 'nobody', selector = { role = 'db' } },
            { name = 'empty' },
        ]",
    );
    let ids = |at: usize| policy.groups[at].endpoints.iter().map(|id| id.0).collect::<Vec<_>>();
    assert_eq!(policy.groups[0].id, GroupId::FIRST_FREE);
    assert_eq!((ids(0), ids(1), ids(2), ids(3)), (vec![1, 2, 3], vec![1], vec![], vec![]));
    assert_eq!(policy.groups[0].prefixes[0].to_string(), "10.1.0.0/16");
    assert_eq!(policy.endpoints[1].id, EndpointId(2));
    assert_eq!(policy.endpoints[1].addresses.len(), 2);
}

#[test]
fn rules_stand_in_final_order_and_disabled_ones_are_left_out() {
    let policy = assert_accepted(
        "groups = [{ name = 'a' }, { name = 'b' }]
        rules = [
            { group_name = 'a', direction = 'ingress', action = 'deny', id = 9 },
            { group_name = 'a', direction = 'egress', peer = ['10.0.0.0/8', '10.0.0.0/8'], action = 'allow', id = 8, priority = 2000 },
        ]
        relationships = [
            { source_group_name = 'a', destination_group_name = 'b', action = 'allow', id = 3 },
            { source_group_name = 'a', destination_group_name = 'b', action = 'reject', id = 4, mode = 'shadow' },
            { source_group_name = 'a', destination_group_name = 'b', action = 'deny', id = 5, mode = 'disabled' },
            { source_group_name = 'a', destination_group_name = 'any', action = 'allow', id = 2 },
        ]",
    );
    assert_eq!(policy.rules.iter().map(|rule| rule.id.0).collect::<Vec<_>>(), [8, 4, 9, 2, 3]);
    assert!(policy.rules[1].shadow);
    assert_eq!(policy.rules[2].source, Side::Group(GroupId::ANY));
    assert_eq!(policy.rules[0].destination, Side::Prefixes(vec!["10.0.0.0/8".parse().unwrap()]));
}

#[test]
fn every_fault_is_found_not_only_the_first() {
    let faults = resolved(authored(
        "groups = [{ name = 'any' }, { name = 'a', members = ['x', 'y'] }]
        relationships = [{ source_group_name = 'p', destination_group_name = 'q', protocol = 'ICMP', port_range = '1', action = 'deny' }]",
    ))
    .unwrap_err();
    assert_eq!(
        faults,
        [
            "group any: name: \"any\" is a built-in group; choose another name",
            "group a: members: no endpoint \"x\"",
            "group a: members: no endpoint \"y\"",
            "relationship p -> q: source_group_name: no group \"p\"",
            "relationship p -> q: destination_group_name: no group \"q\"",
            "relationship p -> q: port_range: ICMP has no ports; only TCP, UDP and SCTP do",
        ]
    );
}

#[test]
fn names_that_nothing_has_are_refused() {
    assert_fault(
        "groups = [{ name = 'WebServers' }]
        relationships = [{ source_group_name = 'WebServers', destination_group_name = 'DBServers', action = 'allow' }]",
        "relationship WebServers -> DBServers: destination_group_name: no group \"DBServers\"",
    );
    assert_fault(
        "rules = [{ group_name = 'g', direction = 'egress', action = 'allow' }]",
        "rule egress of g: group_name: no group \"g\"",
    );
    assert_fault("groups = [{ name = 'g', segment = 's' }]", "group g: segment: no segment \"s\"");
    assert_fault(
        "endpoints = [{ name = 'e', segment = 's', mac = '02:00:00:00:00:01' }]",
        "endpoint e: segment: no segment \"s\"",
    );
}

#[test]
fn a_built_in_group_is_a_side_but_not_a_group_to_define() {
    assert_accepted(
        "relationships = [{ source_group_name = 'external', destination_group_name = 'multicast', action = 'deny' }]",
    );
    for name in ["any", "external", "multicast"] {
        let fault = format!("group {name}: name: \"{name}\" is a built-in group; choose another name");
        assert_fault(&format!("groups = [{{ name = '{name}' }}]"), &fault);
    }
}

#[test]
fn names_used_twice_are_refused() {
    assert_fault("groups = [{ name = 'g' }, { name = 'g' }]", "group g: name: \"g\" is used twice");
    assert_fault("segments = [{ name = 's' }, { name = 's' }]", "segment s: name: \"s\" is used twice");
    assert_fault(
        "endpoints = [{ name = 'e', mac = '02:00:00:00:00:01' }, { name = 'e', mac = '02:00:00:00:00:02' }]",
        "endpoint e: name: \"e\" is used twice",
    );
}

#[test]
fn naming_the_default_segment_does_no_harm() {
    assert_eq!(assert_accepted("segments = [{ name = 'default' }]").segments[0].id, SegmentId::DEFAULT);
}

#[test]
fn another_tenant_is_refused_everywhere() {
    let no = "tenant: no tenant \"t\"; this version has only \"default\"";
    assert_fault("segments = [{ name = 's', tenant = 't' }]", &format!("segment s: {no}"));
    assert_fault("groups = [{ name = 'g', tenant = 't' }]", &format!("group g: {no}"));
    assert_fault(
        "endpoints = [{ name = 'e', tenant = 't', mac = '02:00:00:00:00:01' }]",
        &format!("endpoint e: {no}"),
    );
    assert_fault(
        "relationships = [{ source_group_name = 'any', destination_group_name = 'any', tenant = 't', action = 'deny' }]",
        &format!("relationship any -> any: {no}"),
    );
    assert_fault(
        "rules = [{ group_name = 'any', direction = 'ingress', tenant = 't', action = 'deny' }]",
        &format!("rule ingress of any: {no}"),
    );
}

#[test]
fn an_address_or_mac_has_one_owner_in_a_segment_but_may_recur_in_another() {
    let two = |second: &str| {
        format!(
            "segments = [{{ name = 'lab' }}]
            endpoints = [{{ name = 'a', mac = '02:00:00:00:00:01', addresses = ['10.0.0.1'] }}, {{ name = 'b', {second} }}]"
        )
    };
    assert_fault(
        &two("mac = '02:00:00:00:00:02', addresses = ['10.0.0.2', '10.0.0.1']"),
        "endpoint b: addresses: 10.0.0.1 is owned by endpoint a of the same segment too",
    );
    assert_fault(
        &two("mac = '02:00:00:00:00:01', addresses = ['10.0.0.2']"),
        "endpoint b: mac: endpoint a of the same segment has it too",
    );
    assert_accepted(&two("mac = '02:00:00:00:00:01', addresses = ['10.0.0.1'], segment = 'lab'"));
}

#[test]
fn addresses_that_no_interface_can_own_are_refused() {
    let cases = [
        ("224.0.0.5", "a multicast or broadcast address"),
        ("255.255.255.255", "a multicast or broadcast address"),
        ("ff02::1", "a multicast or broadcast address"),
        ("0.0.0.0", "the unspecified address"),
        ("::", "the unspecified address"),
        ("127.0.0.1", "a loopback address"),
        ("::1", "a loopback address"),
        ("::ffff:10.0.0.1", "an IPv4 address in IPv6 form"),
    ];
    for (address, reason) in cases {
        assert_fault(
            &format!("endpoints = [{{ name = 'e', mac = '02:00:00:00:00:01', addresses = ['{address}'] }}]"),
            &format!("endpoint e: addresses: {address} is {reason}; an endpoint needs unicast addresses"),
        );
    }
}

#[test]
fn a_mac_that_is_not_one_interface_is_refused() {
    for mac in ["01:00:5e:00:00:01", "ff:ff:ff:ff:ff:ff", "00:00:00:00:00:00"] {
        assert_fault(
            &format!("endpoints = [{{ name = 'e', mac = '{mac}' }}]"),
            &format!("endpoint e: mac: MAC {mac} does not name one interface"),
        );
    }
}

#[test]
fn a_device_name_is_what_the_kernel_takes() {
    let with = |device: &str| {
        format!(
            "endpoints = [{{ name = 'e', mac = '02:00:00:00:00:01', home = {{ host = 'h', device = '{device}' }} }}]"
        )
    };
    for device in ["tap0", "a", "123456789012345", "vm.1_x-y"] {
        assert_accepted(&with(device));
    }
    for device in ["", "1234567890123456", "a/b", "a b", "a:1", ".", ".."] {
        let no = "is not a device name (1 to 15 bytes without space, '/' or ':')";
        assert_fault(&with(device), &format!("endpoint e: home.device: {device:?} {no}"));
    }
}

#[test]
fn several_endpoints_may_sit_behind_one_device() {
    let home = "home = { host = 'h', device = 'tap0' }";
    let policy = assert_accepted(&format!(
        "endpoints = [{{ name = 'a', mac = '02:00:00:00:00:01', {home} }}, {{ name = 'b', mac = '02:00:00:00:00:02', {home} }}]"
    ));
    assert_eq!(policy.endpoints[1].device.as_deref(), Some("tap0"));
}

#[test]
fn routes_need_the_router_flag() {
    let with = |flags: &str| {
        format!(
            "endpoints = [{{ name = 'e', mac = '02:00:00:00:00:01', routes = ['10.9.0.0/16'], flags = {{ {flags} }} }}]"
        )
    };
    assert_accepted(&with("router = true"));
    assert_fault(&with(""), "endpoint e: routes: only an endpoint with flags.router may have routes");
}

#[test]
fn texts_and_lists_above_their_limit_are_refused_by_field() {
    let endpoint = |rest: &str| format!("endpoints = [{{ name = 'e', mac = '02:00:00:00:00:01', {rest} }}]");
    let list =
        |count: usize, item: &dyn Fn(usize) -> String| (0..count).map(item).collect::<Vec<_>>().join(", ");
    let addresses = |count| list(count, &|i| format!("'10.0.0.{}'", i + 1));
    assert_accepted(&endpoint(&format!("addresses = [{}]", addresses(32))));
    assert_fault(
        &endpoint(&format!("addresses = [{}]", addresses(33))),
        "endpoint e: addresses: 33 addresses, at most 32 are possible",
    );
    let labels = |count| list(count, &|i| format!("k{i} = 'v'"));
    assert_accepted(&endpoint(&format!("labels = {{ {} }}", labels(64))));
    assert_fault(
        &endpoint(&format!("labels = {{ {} }}", labels(65))),
        "endpoint e: labels: 65 labels, at most 64 are possible",
    );
    assert_accepted(&endpoint(&format!("labels = {{ k = '{}' }}", "v".repeat(253))));
    assert_fault(
        &endpoint(&format!("labels = {{ k = '{}' }}", "v".repeat(254))),
        "endpoint e: labels: 254 bytes, at most 253 are possible",
    );
    assert_fault(&endpoint("labels = { '' = 'v' }"), "endpoint e: labels: a label must have a key");
    assert_fault(
        &format!("groups = [{{ name = 'g', selector = {{ {} }} }}]", labels(65)),
        "group g: selector: 65 labels, at most 64 are possible",
    );
    let routes = list(257, &|i| format!("'10.{}.{}.0/24'", i / 256, i % 256));
    assert_fault(
        &endpoint(&format!("flags = {{ router = true }}, routes = [{routes}]")),
        "endpoint e: routes: 257 routes, at most 256 are possible",
    );
    let rule = |rest: &str| {
        format!("rules = [{{ group_name = 'any', direction = 'ingress', action = 'deny', {rest} }}]")
    };
    assert_fault(
        &rule(&format!("peer = [{routes}]")),
        "rule ingress of any: peer: 257 prefixes, at most 256 are possible",
    );
    assert_accepted(&rule(&format!("note = '{}'", "n".repeat(1_024))));
    assert_fault(
        &rule(&format!("note = '{}'", "n".repeat(1_025))),
        "rule ingress of any: note: 1025 bytes, at most 1024 are possible",
    );
}

#[test]
fn a_policy_that_is_too_large_is_refused_before_it_is_worked_through() {
    let mut policy = authored("groups = [{ name = 'g' }]\nsegments = [{ name = 's' }]");
    let group = policy.groups[0].clone();
    policy.groups = vec![group; limits::GROUPS_MAX + 1];
    let segment = policy.segments[0].clone();
    policy.segments = vec![segment; limits::SEGMENTS_MAX + 1];
    assert_eq!(
        resolved(policy).unwrap_err(),
        [
            "policy: segments: 4095 segments, at most 4094 are possible",
            "policy: groups: 10001 groups, at most 10000 are possible",
        ]
    );
    let mut policy = authored(
        "relationships = [{ source_group_name = 'any', destination_group_name = 'any', action = 'deny' }]",
    );
    let rule = policy.relationships[0].clone();
    policy.relationships = vec![rule; limits::RULES_MAX + 1];
    assert_eq!(
        resolved(policy).unwrap_err(),
        ["policy: rules: 50001 rules and relationships, at most 50000 are possible"]
    );
}

#[test]
fn prefixes_of_a_group_have_a_limit() {
    let mut policy = authored("groups = [{ name = 'g' }]");
    let prefix = |i: usize| format!("10.{}.{}.0/24", i / 256, i % 256).parse().unwrap();
    policy.groups[0].prefixes = (0..limits::PREFIXES_PER_GROUP_MAX).map(prefix).collect();
    assert!(resolved(policy.clone()).is_ok());
    policy.groups[0].prefixes.push(prefix(limits::PREFIXES_PER_GROUP_MAX));
    assert_eq!(
        resolved(policy).unwrap_err(),
        ["group g: prefixes: 10001 prefixes, at most 10000 are possible"]
    );
}

#[test]
fn more_faults_than_anyone_reads_are_counted() {
    let mut policy = authored("groups = [{ name = 'g', members = ['x'] }]");
    let member = policy.groups[0].members[0].clone();
    policy.groups[0].members = vec![member; 1_000];
    let faults = resolved(policy).unwrap_err();
    assert_eq!(faults.len(), limits::FAULTS_LISTED_MAX + 1);
    assert_eq!(faults.last().unwrap(), "policy: faults: 800 more faults are not listed");
}

#[test]
fn rule_numbers_that_are_absent_or_used_twice_are_refused() {
    let mut policy = authored(
        "rules = [{ group_name = 'any', direction = 'egress', action = 'deny' }]
        relationships = [{ source_group_name = 'any', destination_group_name = 'any', action = 'deny' }]",
    );
    let numbering = Numbering::default();
    let words = |policy: &AuthoredPolicy| {
        let faults = resolve(policy, &numbering, PolicyVersion(1)).unwrap_err();
        faults.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(
        words(&policy),
        [
            "relationship any -> any: id: has not been given a number",
            "rule egress of any: id: has not been given a number"
        ]
    );
    policy.rules[0].id = Some(RuleId(7));
    policy.relationships[0].id = Some(RuleId(7));
    assert_eq!(words(&policy), ["rule egress of any: id: 7 is also the number of relationship any -> any"]);
}

#[test]
fn names_that_were_never_numbered_are_refused() {
    let policy = authored(
        "segments = [{ name = 's' }]
        groups = [{ name = 'g' }]
        endpoints = [{ name = 'e', mac = '02:00:00:00:00:01' }]",
    );
    let faults = resolve(&policy, &Numbering::default(), PolicyVersion(1)).unwrap_err();
    let words: Vec<String> = faults.iter().map(ToString::to_string).collect();
    let no = "name: has not been given a number";
    assert_eq!(words, [format!("segment s: {no}"), format!("endpoint e: {no}"), format!("group g: {no}")]);
}

/// A policy with `nested` groups whose prefixes nest around 10.0.0.1 and `listed` groups that list its owner.
fn crowded(nested: usize, listed: usize) -> String {
    let nests = (0..nested).map(|i| format!("{{ name = 'n{i:02}', prefixes = ['10.0.0.0/{}'] }}", 8 + i));
    let lists = (0..listed).map(|i| format!("{{ name = 'l{i:02}', members = ['e'] }}"));
    let groups = nests.chain(lists).collect::<Vec<_>>().join(", ");
    format!(
        "endpoints = [{{ name = 'e', mac = '02:00:00:00:00:01', addresses = ['10.0.0.1'] }}]\ngroups = [{groups}]"
    )
}

#[test]
fn an_address_is_in_at_most_sixteen_groups_prefixes_around_it_included() {
    assert_accepted(&crowded(0, 16));
    assert_accepted(&crowded(9, 7));
    assert_accepted(&crowded(16, 0));
    assert_fault(
        &crowded(0, 17),
        "endpoint e: groups: 10.0.0.1 is in 17 groups (l00, l01, l02, ...), at most 16 are possible",
    );
    assert_fault(
        &crowded(9, 8),
        "endpoint e: groups: 10.0.0.1 is in 17 groups (l00, l01, l02, ...), at most 16 are possible",
    );
}

#[test]
fn nested_prefixes_count_also_where_no_endpoint_is() {
    let groups = |count: usize, segment_of: &dyn Fn(usize) -> &'static str| {
        let group = |i: usize| {
            format!("{{ name = 'g{i:02}', prefixes = ['fd00::/{}'], segment = '{}' }}", 16 + i, segment_of(i))
        };
        let groups = (0..count).map(group).collect::<Vec<_>>().join(", ");
        format!("segments = [{{ name = 'lab' }}]\ngroups = [{groups}]")
    };
    assert_accepted(&groups(16, &|_| "default"));
    assert_fault(
        &groups(17, &|_| "default"),
        "group g16: groups: fd00::/32 is in 17 groups (g00, g01, g02, ...), at most 16 are possible",
    );
    assert_accepted(&groups(32, &|i| if i % 2 == 0 { "default" } else { "lab" }));
}

#[test]
fn neighbouring_prefixes_and_repeats_of_one_group_do_not_add_up() {
    let group = |i: usize| {
        format!("{{ name = 'g{i:02}', prefixes = ['10.{i}.0.0/16', '10.{i}.1.0/24', '10.{i}.1.1/32'] }}")
    };
    let groups = (0..40).map(group).collect::<Vec<_>>().join(", ");
    assert_accepted(&format!("groups = [{groups}]"));
}

#[test]
fn prefixes_of_all_groups_and_of_all_rules_have_a_limit_together() {
    let mut policy = authored(
        "groups = [{ name = 'g', prefixes = ['10.0.0.0/8'] }]
        rules = [{ group_name = 'any', direction = 'ingress', peer = ['10.0.0.0/8'], action = 'deny' }]",
    );
    let prefix = policy.groups[0].prefixes[0];
    policy.groups[0].prefixes = vec![prefix; limits::PREFIXES_PER_GROUP_MAX];
    policy.groups = vec![policy.groups[0].clone(); 21];
    policy.rules[0].peer = vec![prefix; limits::PREFIXES_PER_RULE_MAX];
    policy.rules = vec![policy.rules[0].clone(); 782];
    assert_eq!(
        resolved(policy).unwrap_err(),
        [
            "policy: groups: 210000 prefixes of all groups, at most 200000 are possible",
            "policy: rules: 200192 prefixes of all rules, at most 200000 are possible",
        ]
    );
}

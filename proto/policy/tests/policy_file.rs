//! A policy file with a mistake is refused in one line that names what is wrong.

use meshgate_policy::{AuthoredPolicy, Numbering, PolicyVersion, resolve};

/// Returns the error of reading the file, in the one line that a program shows.
fn refusal(text: &str) -> String {
    match toml::from_str::<AuthoredPolicy>(text) {
        Ok(_) => panic!("must be refused: {text}"),
        Err(error) => error.message().to_owned(),
    }
}

#[track_caller]
fn assert_refused(text: &str, wanted: &[&str]) {
    let message = refusal(text);
    assert!(!message.contains('\n'), "{message}");
    for part in wanted {
        assert!(message.contains(part), "{message:?} does not name {part:?}");
    }
}

#[track_caller]
fn assert_fault(text: &str, wanted: &str) {
    let mut authored: AuthoredPolicy = toml::from_str(text).expect("the file can be read");
    let mut numbering = Numbering::default();
    numbering.assign(&mut authored).expect("numbers are left");
    let faults = resolve(&authored, &numbering, PolicyVersion(1)).expect_err("must be refused");
    assert_eq!(faults.iter().map(ToString::to_string).collect::<Vec<_>>(), [wanted]);
}

#[test]
fn a_misspelt_field_is_named_with_those_that_exist() {
    assert_refused("group = []", &["unknown field `group`", "`groups`"]);
    assert_refused("groups = [{ name = 'g', prefix = [] }]", &["unknown field `prefix`", "`prefixes`"]);
    assert_refused(
        "relationships = [{ source_group_name = 'a', destination_group_name = 'b', action = 'deny', ports = '80' }]",
        &["unknown field `ports`", "`port_range`"],
    );
    assert_refused(
        "relationships = [{ sourceGroup = 'a', destinationGroupName = 'b', action = 'deny' }]",
        &["unknown field `sourceGroup`", "`source_group_name`"],
    );
    assert_refused(
        "endpoints = [{ name = 'e', mac = '02:00:00:00:00:01', flags = { routr = true } }]",
        &["unknown field `routr`", "`router`"],
    );
    assert_refused(
        "endpoints = [{ name = 'e', mac = '02:00:00:00:00:01', home = { hots = 'h', device = 'd' } }]",
        &["unknown field `hots`", "`host`"],
    );
}

#[test]
fn a_missing_field_is_named() {
    assert_refused(
        "relationships = [{ sourceGroupName = 'a', action = 'deny' }]",
        &["destination_group_name"],
    );
    assert_refused("rules = [{ group_name = 'a', action = 'deny' }]", &["direction"]);
    assert_refused("endpoints = [{ name = 'e' }]", &["mac"]);
}

#[test]
fn a_value_that_is_none_of_the_words_is_named_with_the_words() {
    let relationship = |rest: &str| {
        format!("relationships = [{{ sourceGroupName = 'a', destinationGroupName = 'b', {rest} }}]")
    };
    assert_refused(&relationship("action = 'permit'"), &["action", "\"permit\"", "allow, deny, reject"]);
    assert_refused(
        &relationship("action = 'deny', mode = 'on'"),
        &["mode", "\"on\"", "enforce, shadow, disabled"],
    );
    assert_refused(&relationship("action = 'deny', protocol = 'TPC'"), &["protocol \"TPC\"", "TCP"]);
    assert_refused(
        "rules = [{ group_name = 'a', action = 'deny', direction = 'in' }]",
        &["direction", "\"in\"", "ingress, egress"],
    );
    assert_refused("groups = [{ name = 'g', intraGroup = 'no' }]", &["intra_group", "\"no\"", "allow, deny"]);
    assert_refused("default_action = 'drop'", &["action", "\"drop\""]);
}

#[test]
fn numbers_out_of_range_are_refused() {
    let relationship = |rest: &str| {
        format!(
            "relationships = [{{ sourceGroupName = 'a', destinationGroupName = 'b', action = 'deny', {rest} }}]"
        )
    };
    assert_refused(&relationship("protocol = 'TCP', portRange = '80-65536'"), &["80-65536", "0 to 65535"]);
    assert_refused(&relationship("protocol = 'TCP', portRange = '8080-80'"), &["8080-80", "backwards"]);
    assert_refused(&relationship("protocol = '256'"), &["\"256\"", "0 to 255"]);
    assert_refused(&relationship("priority = 65536"), &["65536"]);
    assert_refused(&relationship("priority = -1"), &["-1"]);
    assert_refused(&relationship("protocol = 'ICMP', icmpType = 256"), &["256"]);
}

#[test]
fn addresses_that_are_none_are_named() {
    assert_refused("groups = [{ name = 'g', prefixes = ['10.0.0.1/24'] }]", &["did you mean 10.0.0.0/24"]);
    assert_refused("groups = [{ name = 'g', prefixes = ['10.0.0.0/33'] }]", &["10.0.0.0/33", "above 32"]);
    assert_refused("endpoints = [{ name = 'e', mac = '02:00:00:00:00' }]", &["\"02:00:00:00:00\"", "MAC"]);
    let address = "endpoints = [{ name = 'e', mac = '02:00:00:00:00:01', addresses = ['10.0.0'] }]";
    assert_refused(address, &["IP address"]);
    assert_refused("groups = [{ name = 'web servers' }]", &["\"web servers\"", "' '"]);
    assert_refused("groups = [{ name = '' }]", &["name must not be empty"]);
}

#[test]
fn what_only_the_whole_policy_shows_is_named_by_object_and_field() {
    assert_fault(
        "groups = [{ name = 'WebServers' }]
        relationships = [{ sourceGroupName = 'WebServers', destinationGroupName = 'DBServers', action = 'allow' }]",
        "relationship WebServers -> DBServers: destination_group_name: no group \"DBServers\"",
    );
    assert_fault("groups = [{ name = 'g', members = ['vm'] }]", "group g: members: no endpoint \"vm\"");
    assert_fault(
        "relationships = [{ sourceGroupName = 'any', destinationGroupName = 'any', protocol = 'ICMP', portRange = '8', action = 'deny' }]",
        "relationship any -> any: port_range: ICMP has no ports; only TCP, UDP and SCTP do",
    );
    assert_fault(
        "relationships = [{ sourceGroupName = 'any', destinationGroupName = 'any', protocol = 'TCP', icmpType = 8, action = 'deny' }]",
        "relationship any -> any: icmp_type: TCP has no ICMP type; only ICMP and ICMPv6 do",
    );
    assert_fault(
        "rules = [{ group_name = 'any', direction = 'egress', protocol = 'ICMP', icmp_code = 8, action = 'deny' }]",
        "rule egress of any: icmp_code: a code needs icmp_type",
    );
    assert_fault(
        "rules = [{ group_name = 'any', direction = 'egress', port_range = '8', action = 'deny' }]",
        "rule egress of any: port_range: any has no ports; only TCP, UDP and SCTP do",
    );
}

#[test]
fn what_is_written_is_read_back_alike() {
    use meshgate_policy::generate::{self, Shape};
    for seed in 0..50 {
        let mut authored = generate::authored(seed, Shape::default());
        for numbered in [false, true] {
            if numbered {
                Numbering::default().assign(&mut authored).expect("numbers are left");
            }
            let text = toml::to_string(&authored).expect("a policy can be written");
            let read: AuthoredPolicy = toml::from_str(&text).expect("what was written can be read");
            assert_eq!(read, authored, "seed {seed}");
        }
    }
}

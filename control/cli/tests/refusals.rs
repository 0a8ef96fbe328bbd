//! What the command line refuses by itself, without a control plane: one line, the thing at fault, the exit code.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::process::{Command, Output};

fn run(line: &str) -> Output {
    let command = |arguments: Vec<&str>| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_meshgate"));
        command.args(arguments).env("MESHGATE_SERVER", "unix:/nonexistent/meshgate.sock");
        command.output().unwrap()
    };
    command(line.split_whitespace().collect())
}

/// Returns the exit code and the single line on standard error.
fn refusal(line: &str) -> (Option<i32>, String) {
    let output = run(line);
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert!(output.stdout.is_empty(), "{line}: nothing on standard output");
    assert_eq!(complaint.lines().count(), 1, "{line}: {complaint}");
    (output.status.code(), complaint.trim_end().trim_start_matches("meshgate: ").to_owned())
}

#[test]
fn a_server_that_is_not_there_is_named_with_what_to_do() {
    let (code, line) = refusal("groups list");
    assert_eq!(code, Some(1));
    assert!(
        line.starts_with("cannot reach the control plane at unix:/nonexistent/meshgate.sock: "),
        "{line}"
    );
    assert!(line.contains("No such file or directory") && line.contains("--server"), "{line}");
    let (code, line) = refusal("groups list --server http://127.0.0.1:1");
    assert_eq!(code, Some(1));
    assert!(line.contains("http://127.0.0.1:1: ") && line.contains("refused"), "{line}");
    assert!(line.contains("is meshgate-control running there?"), "{line}");
}

#[test]
fn flags_that_do_not_go_together_are_usage_errors() {
    let create = "relationships create --source a --destination b --action allow";
    for (line, expected) in [
        (
            format!("{create} --protocol ICMP --port-range 80"),
            "port_range: ICMP has no ports; only TCP, UDP and SCTP do",
        ),
        (format!("{create} --protocol TCP --icmp-type 8"), "icmp_type: TCP has no ICMP type"),
        (format!("{create} --port-range 80"), "port_range: any has no ports"),
        ("relationships create --source a --action allow".into(), "--destination is missing"),
        ("relationships update 3".into(), "nothing to change: give at least one flag"),
        ("endpoints create web-1".into(), "--mac is missing"),
        (
            "endpoints create web-1 --mac 02:00:00:00:00:01 --host h1".into(),
            "--device (beside --host) is missing",
        ),
        ("groups update g --member a --add-member b".into(), "--member replaces the whole list"),
        ("explain --from a --to b --protocol TCP".into(), "--port is missing"),
        ("explain --from a --to b --protocol ICMP --port 80".into(), "port_range: ICMP has no ports"),
        ("suggestions edit 3".into(), "nothing to change: give at least one flag"),
        (
            "suggestions reject 3".into(),
            "the following required arguments were not provided: --reason <REASON>",
        ),
        ("suggestions reject 3 --reason never".into(), "invalid value 'never' for '--reason <REASON>'"),
        ("suggestions list --state shut".into(), "invalid value 'shut' for '--state <STATE>'"),
        ("status --version 3".into(), "the following required arguments were not provided: --wait"),
        (
            "relationships create --json {} --source a".into(),
            "the argument '--json <OBJECT>' cannot be used with",
        ),
        ("groups list --server https://x:1".into(), "invalid value 'https://x:1' for '--server <URL>'"),
        (
            "flows --since yesterday".into(),
            "invalid value 'yesterday' for '--since <SPAN>': \"yesterday\" is not a span",
        ),
        ("capture".into(), "the following required arguments were not provided: --write <FILE>"),
        ("capture -w x --port 80".into(), "the following required arguments were not provided: --protocol"),
        ("capture -w x --rule 0".into(), "invalid value '0' for '--rule <ID>'"),
        ("top --once --interval 10ms".into(), "--interval: is shorter than 200ms"),
        ("top".into(), "standard output is no terminal; use --once"),
        ("top --once --limit 0".into(), "invalid value '0' for '--limit <N>'"),
        (
            "endpoints create e --mac 1".into(),
            "invalid value '1' for '--mac <MAC>': \"1\" is not a MAC address",
        ),
        (
            "groups create g --prefix 10.0.0.1/24".into(),
            "invalid value '10.0.0.1/24' for '--prefix <PREFIX>': prefix",
        ),
    ] {
        let (code, shown) = refusal(&line);
        assert_eq!(code, Some(2), "{line}: {shown}");
        assert!(shown.starts_with(expected), "{line}: {shown}");
    }
}

#[test]
fn a_policy_file_is_refused_by_place_before_anybody_is_asked() {
    let directory = std::env::temp_dir().join(format!("meshgate-files-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let file = directory.join("p.toml");
    let path = file.display();
    std::fs::write(&file, "[[groups]]\nname = \"Web\"\nselektor = { a = \"b\" }\n").unwrap();
    let (code, line) = refusal(&format!("apply -f {path}"));
    assert_eq!(code, Some(1));
    assert!(
        line.starts_with(&format!(
            "{path}:3:1: groups[0].selektor: unknown field `selektor`, expected one of"
        )),
        "{line}"
    );
    let relationship = "[[relationships]]\nsource_group_name = \"Web\"\ndestination_group_name = \"any\"\naction = \"deny\"\n";
    std::fs::write(&file, relationship).unwrap();
    let (code, line) = refusal(&format!("plan -f {path}"));
    assert_eq!(code, Some(1));
    assert!(
        line.starts_with(&format!("{path}: relationship ")) && line.contains("no group \"Web\""),
        "{line}"
    );
    let (_, line) = refusal(&format!("plan -f {path}x"));
    assert!(line.contains("the name does not end in .toml"), "{line}");
    let (_, line) = refusal("plan -f /nonexistent/p.toml");
    assert!(line.starts_with("cannot read /nonexistent/p.toml: No such file"), "{line}");
    std::fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn completions_need_no_server() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = run(&format!("completions {shell}"));
        let script = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && script.contains("relationships"), "{shell}");
    }
}

#[test]
fn help_has_no_colours_where_nobody_can_see_them() {
    for line in ["--help", "relationships create --help", "relationships create -h", "status --help"] {
        let output = run(line);
        let help = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && !help.contains('\u{1b}'), "{line}");
        assert!(help.lines().all(|line| line.chars().count() <= 100), "{line}: {help}");
    }
}

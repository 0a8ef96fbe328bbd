//! Prices and cost advice against the real control plane.

use crate::control::Control;

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

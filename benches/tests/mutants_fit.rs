//! The lists of mutants fit the code that they are about: the text that each replaces stands exactly once in its file.
//! `scripts/mutants.sh` takes minutes and is run by hand, so a list that the code has left behind must show here.

use std::path::Path;

/// Fewest mutants of all lists together.
const MUTANTS_MIN: usize = 30;

#[test]
fn the_text_of_every_mutant_stands_once_in_its_file() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let (mut mutants, mut astray) = (0, Vec::new());
    let folders =
        std::fs::read_dir(root.join("dataplane/tests")).unwrap().flatten().map(|folder| folder.path());
    let crates = std::fs::read_dir(root.join("dataplane"))
        .unwrap()
        .flatten()
        .map(|folder| folder.path().join("tests"));
    for folder in folders.chain(crates) {
        let path = folder.join("mutants.toml");
        if !path.exists() {
            continue;
        }
        let list: toml::Table = std::fs::read_to_string(&path).unwrap().parse().unwrap();
        let text =
            |table: &toml::Table, key: &str| table.get(key).and_then(toml::Value::as_str).map(str::to_owned);
        let code = root.join(text(&list, "folder").unwrap_or_else(|| "dataplane/src".to_owned()));
        for mutant in list["mutant"].as_array().unwrap() {
            let mutant = mutant.as_table().unwrap();
            let file = code.join(text(mutant, "file").unwrap());
            let found = std::fs::read_to_string(&file).unwrap_or_default();
            let times = found.matches(&text(mutant, "search").unwrap()).count();
            if times != 1 {
                astray.push(format!("{}: {times} times: {}", path.display(), text(mutant, "wrong").unwrap()));
            }
            mutants += 1;
        }
    }
    assert!(astray.is_empty(), "{astray:#?}");
    assert!(mutants >= MUTANTS_MIN, "{mutants} mutants");
}

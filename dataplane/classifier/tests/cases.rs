//! Every case of `proto/policy/cases/*.toml` holds for the compiled form, alone and in bursts, and its proof is whole.
#![expect(clippy::unwrap_used, reason = "the whole file is a test")]

use meshgate_classifier::{Classifier, Judgement, ProofBudget};
use meshgate_policy::PolicyKey;
use meshgate_policy::cases::CaseFile;
use std::path::Path;

/// Pairs of kinds up to which the policy of a case file is proven whole.
const PAIRS_MAX: u64 = 400_000;

/// Returns how many cases a file has and whether the proof covered every packet, after checking all.
fn check(path: &Path) -> Result<(usize, bool), String> {
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    let file: CaseFile = toml::from_str(&text).map_err(|error| error.to_string())?;
    let policy = file.to_policy().map_err(|error| error.to_string())?;
    let classifier = Classifier::compile(&policy.policy).map_err(|error| error.to_string())?;
    let keys: Vec<PolicyKey> = file.cases.iter().map(|case| policy.key(case).unwrap()).collect();
    let alone: Vec<Judgement> = keys.iter().map(|key| classifier.classify(key)).collect();
    let mut together: Vec<Judgement> = alone.iter().rev().copied().collect();
    classifier.classify_burst(&keys, &mut together);
    for (case, judgement) in file.cases.iter().chain(&file.cases).zip(alone.iter().chain(&together)) {
        policy.check(case, &judgement.decision).map_err(|error| error.to_string())?;
        policy.check_shadow(case, judgement.shadow.as_ref()).map_err(|error| error.to_string())?;
    }
    let budget = ProofBudget { steps_max: PAIRS_MAX * 64, draws: 44, seed: 1 };
    let proof = classifier.prove(&policy.policy, budget).map_err(|difference| difference.to_string())?;
    Ok((file.cases.len(), proof.exhaustive))
}

#[test]
fn every_case_holds_for_the_compiled_form() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto/policy/cases");
    let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let (mut cases, mut files, mut whole) = (0, 0, 0);
    for path in paths {
        let (count, exhaustive) = check(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        cases += count;
        files += 1;
        whole += u32::from(exhaustive);
    }
    println!("{cases} cases in {files} files, {whole} of the policies proven whole");
    assert!(cases >= 100);
}

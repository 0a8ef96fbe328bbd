//! Whether the processor has what the program was built for.
//!
//! Release builds for x86-64 use what processors have since 2013 (the level x86-64-v3 of the psABI): the classifier compares
//! the places of a node by AVX2 and counts bits. On an older one the program would end with "illegal instruction".

/// What the level adds, as the kernel names it in /proc/cpuinfo.
const LEVEL_3: [&str; 9] = ["avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe", "xsave"];

/// The processor is too old for how the program was built.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "this processor has no {}: the program was built for x86-64-v3; for this host, build it with \
     RUSTFLAGS=-Ctarget-cpu=x86-64",
    .0.join(", no ")
)]
pub struct TooOld(Vec<&'static str>);

/// Refuses to go on where the processor lacks what the program was built for. What cannot be read is not refused.
pub fn check() -> Result<(), TooOld> {
    if cfg!(not(all(target_arch = "x86_64", target_feature = "avx2"))) {
        return Ok(());
    }
    std::fs::read_to_string("/proc/cpuinfo").map_or(Ok(()), |text| check_text(&text))
}

fn check_text(text: &str) -> Result<(), TooOld> {
    let Some(flags) = text.lines().find_map(|line| line.strip_prefix("flags")) else { return Ok(()) };
    let has = |feature: &&str| flags.split_whitespace().any(|flag| flag == *feature);
    let missing: Vec<&str> = LEVEL_3.into_iter().filter(|feature| !has(feature)).collect();
    if missing.is_empty() { Ok(()) } else { Err(TooOld(missing)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_older_processor_lacks_is_named() {
        let older = "processor\t: 0\nflags\t\t: fpu sse2 avx f16c xsave popcnt\nbugs\t\t:\n";
        let error = check_text(older).unwrap_err();
        assert_eq!(error, TooOld(vec!["avx2", "bmi1", "bmi2", "fma", "abm", "movbe"]));
        assert!(error.to_string().contains("no avx2, no bmi1"), "{error}");
    }

    #[test]
    fn the_processor_that_runs_this_is_new_enough() {
        assert_eq!(check(), Ok(()));
    }
}

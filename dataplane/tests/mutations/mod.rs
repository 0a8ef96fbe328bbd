//! Frames that somebody changed on the way to a host, what the host does with them, and whether that is right.

#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

pub mod cases;
pub mod host;
pub mod mutate;
pub mod noise;
pub mod oracle;
pub mod scenes;
pub mod tape;

/// Returns the number that a variable of the environment is set to, decimal or hexadecimal after `0x`.
pub fn number_of(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    let number = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    Some(number.unwrap_or_else(|error| panic!("{variable}: {error}")))
}

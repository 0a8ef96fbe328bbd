//! Single fields: numbers, names, addresses and prefixes, each with its limit.

use crate::fault::{At, Problem, WireFault};
use crate::wire;
use meshgate_policy::{Action, Mac, Name, Prefix};
use std::net::IpAddr;
use std::str::FromStr;

/// Bytes of the longest text that is shown back where a word was wanted.
const SHOWN_BYTES_MAX: usize = 64;

/// Returns the number if a smaller type holds it.
pub(crate) fn narrow<T: TryFrom<u32> + Into<u64>>(value: u32, max: T) -> Result<T, Problem> {
    T::try_from(value).map_err(|_| Problem::Above(value.into(), max.into()))
}

/// Returns the number if it is not 0.
pub(crate) fn given(number: u32) -> Result<u32, Problem> {
    if number == 0 { Err(Problem::Zero) } else { Ok(number) }
}

/// Refuses a list with more entries than the limit.
pub(crate) fn check_count<T>(list: &[T], max: usize) -> Result<(), Problem> {
    if list.len() > max { Err(Problem::TooMany(list.len(), max)) } else { Ok(()) }
}

/// Refuses a text with more bytes than the limit.
pub(crate) fn check_text(text: &str, bytes_max: usize) -> Result<(), Problem> {
    if text.len() > bytes_max { Err(Problem::TooLong(text.len(), bytes_max)) } else { Ok(()) }
}

/// Returns what the text is the word for. A text too long to be shown back is refused by its length.
pub(crate) fn word<T: FromStr<Err: Into<Problem>>>(text: &str) -> Result<T, Problem> {
    check_text(text, SHOWN_BYTES_MAX)?;
    text.parse().map_err(Into::into)
}

/// Refuses what is not a finite number.
pub(crate) fn check_finite(value: f64) -> Result<(), Problem> {
    if value.is_finite() { Ok(()) } else { Err(Problem::NotFinite(value.to_string())) }
}

/// Refuses what is not a number from 0 to 1.
pub(crate) fn check_share(value: f64) -> Result<(), Problem> {
    check_finite(value)?;
    if (0.0..=1.0).contains(&value) { Ok(()) } else { Err(Problem::NoShare(value.to_string())) }
}

/// Converts every entry of a list of single values.
pub(crate) fn entries<F, T, E: Into<Problem>>(
    list: Vec<F>,
    field: &str,
    max: usize,
    convert: impl Fn(F) -> Result<T, E>,
) -> Result<Vec<T>, WireFault> {
    check_count(&list, max).at(field)?;
    list.into_iter().enumerate().map(|(i, entry)| convert(entry).at_entry(field, i)).collect()
}

/// Converts every entry of a list of messages.
pub(crate) fn messages<F, T>(
    list: Vec<F>,
    field: &str,
    max: usize,
    convert: impl Fn(F) -> Result<T, WireFault>,
) -> Result<Vec<T>, WireFault> {
    use crate::fault::Within;
    check_count(&list, max).at(field)?;
    list.into_iter().enumerate().map(|(i, entry)| convert(entry).within_entry(field, i)).collect()
}

/// Returns the name; `default` if the text is empty.
pub(crate) fn name_or_default(text: &str) -> Result<Name, Problem> {
    if text.is_empty() { Ok(Name::default_name()) } else { Ok(Name::new(text)?) }
}

/// Returns the name; none if the text is empty.
pub(crate) fn optional_name(text: &str) -> Result<Option<Name>, Problem> {
    if text.is_empty() { Ok(None) } else { Ok(Some(Name::new(text)?)) }
}

/// Returns the IP address of 4 or 16 bytes.
pub(crate) fn ip_address(bytes: &[u8]) -> Result<IpAddr, Problem> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Ok(v4.into());
    }
    let v6 = <[u8; 16]>::try_from(bytes).map_err(|_| Problem::Length(bytes.len(), "4 or 16"))?;
    Ok(v6.into())
}

/// Returns the bytes of an IP address: 4 or 16.
pub(crate) fn ip_bytes(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

/// Returns the MAC address of 6 bytes.
pub(crate) fn mac(bytes: &[u8]) -> Result<Mac, Problem> {
    <[u8; 6]>::try_from(bytes).map(Mac).map_err(|_| Problem::Length(bytes.len(), "6"))
}

impl TryFrom<wire::Prefix> for Prefix {
    type Error = WireFault;
    fn try_from(message: wire::Prefix) -> Result<Self, WireFault> {
        let wire::Prefix { address, length } = message;
        let address = ip_address(&address).at("address")?;
        let length = narrow(length, u8::MAX).at("length")?;
        Self::new(address, length).at("length")
    }
}

impl From<Prefix> for wire::Prefix {
    fn from(prefix: Prefix) -> Self {
        Self { address: ip_bytes(prefix.address()), length: prefix.length().into() }
    }
}

const ACTIONS: &str = "1 (allow), 2 (deny), 3 (reject)";

/// Returns the action that the number of the wire's enumeration stands for.
pub fn action_from_wire(number: i32) -> Result<Action, Problem> {
    match wire::Action::try_from(number) {
        Ok(wire::Action::Allow) => Ok(Action::Allow),
        Ok(wire::Action::Deny) => Ok(Action::Deny),
        Ok(wire::Action::Reject) => Ok(Action::Reject),
        Ok(wire::Action::Unspecified) | Err(_) => Err(Problem::Enumeration(number, ACTIONS)),
    }
}

impl From<Action> for wire::Action {
    fn from(action: Action) -> Self {
        match action {
            Action::Allow => Self::Allow,
            Action::Deny => Self::Deny,
            Action::Reject => Self::Reject,
        }
    }
}

//! Names of services that people know by name. None has a digit in it: a number in a sentence is always a measure.

use meshgate_policy::Protocol;

/// Names by protocol and port.
const NAMES: [(Protocol, u16, &str); 34] = [
    (Protocol::TCP, 20, "FTP"),
    (Protocol::TCP, 21, "FTP"),
    (Protocol::TCP, 22, "SSH"),
    (Protocol::TCP, 23, "Telnet"),
    (Protocol::TCP, 25, "SMTP"),
    (Protocol::TCP, 53, "DNS"),
    (Protocol::UDP, 53, "DNS"),
    (Protocol::UDP, 67, "DHCP"),
    (Protocol::UDP, 69, "TFTP"),
    (Protocol::TCP, 80, "HTTP"),
    (Protocol::TCP, 88, "Kerberos"),
    (Protocol::UDP, 123, "NTP"),
    (Protocol::TCP, 135, "RPC"),
    (Protocol::UDP, 137, "NetBIOS"),
    (Protocol::TCP, 139, "NetBIOS"),
    (Protocol::TCP, 143, "IMAP"),
    (Protocol::UDP, 161, "SNMP"),
    (Protocol::TCP, 389, "LDAP"),
    (Protocol::TCP, 443, "HTTPS"),
    (Protocol::UDP, 443, "QUIC"),
    (Protocol::TCP, 445, "SMB"),
    (Protocol::UDP, 514, "syslog"),
    (Protocol::TCP, 636, "LDAPS"),
    (Protocol::TCP, 1_433, "SQL Server"),
    (Protocol::TCP, 1_521, "Oracle"),
    (Protocol::TCP, 2_049, "NFS"),
    (Protocol::TCP, 2_379, "etcd"),
    (Protocol::TCP, 3_306, "MySQL"),
    (Protocol::TCP, 3_389, "RDP"),
    (Protocol::TCP, 5_432, "PostgreSQL"),
    (Protocol::TCP, 6_379, "Redis"),
    (Protocol::TCP, 6_443, "Kubernetes"),
    (Protocol::TCP, 9_092, "Kafka"),
    (Protocol::TCP, 27_017, "MongoDB"),
];

/// Returns the name of the service, if it has one.
pub(crate) fn name(protocol: Protocol, port: u16) -> Option<&'static str> {
    let named = NAMES.iter().find(|(of, at, _)| (*of, *at) == (protocol, port));
    named.map(|(_, _, name)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_are_known_by_protocol_and_port_and_their_names_have_no_digits() {
        assert_eq!(name(Protocol::TCP, 22), Some("SSH"));
        assert_eq!(name(Protocol::UDP, 22), None);
        assert!(NAMES.iter().all(|(_, _, name)| !name.contains(|c: char| c.is_ascii_digit())));
    }
}

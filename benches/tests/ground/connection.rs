//! Connections between endpoints of which the test holds both ends.

use super::{DB, Ground, PATIENCE, WEB};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

/// What is said on a connection.
pub const LINE: &[u8; 12] = b"still there\n";

/// Both ends of a connection.
pub struct Connection {
    /// The end of the web endpoint.
    pub client: TcpStream,
    /// The end of the database endpoint.
    pub server: TcpStream,
}

impl Connection {
    /// Has one side say a line and the other repeat it.
    pub fn speak(&mut self, is_client_first: bool) -> std::io::Result<()> {
        let Self { client, server } = self;
        let (first, second) = if is_client_first { (client, server) } else { (server, client) };
        let mut heard = [0; LINE.len()];
        first.write_all(LINE)?;
        second.read_exact(&mut heard)?;
        second.write_all(&heard)?;
        first.read_exact(&mut heard)?;
        assert_eq!(&heard, LINE);
        Ok(())
    }
}

/// Opens so many connections from the web to the database endpoint, IPv4 and IPv6 in turn, on which something was heard.
pub fn open(ground: &Ground, port: u16, count: usize) -> Vec<Connection> {
    let addresses = [DB.v4(), DB.v6()].map(|text| SocketAddr::new(text.parse().unwrap(), port));
    let listeners = ground.inside(DB.name, || addresses.map(|address| TcpListener::bind(address).unwrap()));
    let open = |at: usize| {
        let client = TcpStream::connect_timeout(&addresses[at % 2], PATIENCE).unwrap();
        let (server, from) = listeners[at % 2].accept().unwrap();
        assert_eq!(from, client.local_addr().unwrap());
        for end in [&client, &server] {
            end.set_read_timeout(Some(PATIENCE)).unwrap();
        }
        let mut connection = Connection { client, server };
        connection.speak(true).unwrap();
        connection
    };
    ground.inside(WEB.name, || (0..count).map(open).collect())
}

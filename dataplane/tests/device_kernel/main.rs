//! Devices of the kernel, in network namespaces of the tests' own.
#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]
#![expect(clippy::print_stdout, reason = "a test that did nothing must not look like one that passed")]

mod ground;
mod safety;
mod sockets;
mod whole_worker;

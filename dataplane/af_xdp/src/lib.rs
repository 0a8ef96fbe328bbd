//! Safe AF_XDP sockets.

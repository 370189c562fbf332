//! Upstreams, clients and raw sockets for the tests.

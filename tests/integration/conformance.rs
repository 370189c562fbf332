//! Conformance with the RFCs. The comment above each test names the clauses it covers; `tests/conformance.txt` lists
//! the tests of each requirement, in this module and others, and `CONFORMANCE.md` is generated from that list.

mod client;
mod fields;
mod framing;
mod http2;
mod matrix;
mod proxies;
mod upstream;
mod wire;

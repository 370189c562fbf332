//! Duties of the RFCs. The line above each test names the clauses that it shows; `tests/conformance.txt` says of every duty which tests
//! show it, these and others, and `CONFORMANCE.md` is made of that.

mod client;
mod fields;
mod framing;
mod http2;
mod matrix;
mod proxies;
mod upstream;
mod wire;

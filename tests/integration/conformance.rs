//! Every kind of client before every kind of upstream. The line above each case names the clauses that it shows.

mod client;
mod matrix;
mod upstream;
mod wire;

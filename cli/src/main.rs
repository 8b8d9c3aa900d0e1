//! The command line of yieldb.

fn main() {}

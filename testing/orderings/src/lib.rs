//! The memory orderings of completions: every execution of small programs that the C11 model
//! allows, on the production code (`yieldb_core::sync` with the feature `loom`).
//!
//! Completions are what the orderings weaker than sequential consistency are in: a slab whose slots
//! are counted, given back and taken again, found by names that may be worn out. The cache's page
//! table, epochs and frames are sequentially consistent where it matters, which loom takes for
//! less, and so would find fault with what is right; those are `testing/threads`' business.

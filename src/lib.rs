//! An embedded, transactional, ordered key-value store that never blocks the thread that uses it.

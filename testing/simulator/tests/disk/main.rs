//! What the simulated disk and computer promise.

mod engine;

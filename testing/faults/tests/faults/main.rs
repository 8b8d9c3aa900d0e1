//! Faults, one scenario a file. `docs/faults.md` says what each of them shows.

mod damage;
mod descriptors;
mod file_size;
mod foreign;
mod fork;
mod gone;
mod kinds;
mod limits;
mod locks;
mod log_damage;
mod memory;
mod permissions;
mod ring_refused;
mod shapes;
mod versions;

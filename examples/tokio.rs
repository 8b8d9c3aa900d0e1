//! Tokio: a thousand tasks, each with a lookup that may have to wait for the device.
//!
//! The database needs nothing of the runtime: its futures register a waker, and a thread of its
//! own drives the I/O.
//!
//! `cargo run --release --example tokio`

use yieldb::{Database, MAIN, Options};

async fn fill(database: &Database) -> yieldb::Result<()> {
    let mut transaction = database.begin().await?;
    for number in 0..50_000_u32 {
        transaction.put(MAIN, number.to_be_bytes(), format!("value {number}")).await?;
    }
    transaction.commit().await?;
    Ok(())
}

async fn look_up(database: Database, number: u32) -> yieldb::Result<usize> {
    let snapshot = database.snapshot();
    let value = snapshot.get(MAIN, number.to_be_bytes()).await?;
    Ok(value.map_or(0, |value| value.len()))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = tempfile::tempdir()?;
    let options = Options::new().cache_bytes(1 << 20);
    let database = options.open(directory.path().join("tokio.db")).await?;
    fill(&database).await?;
    let tasks: Vec<_> = (0..1_000)
        .map(|task| tokio::spawn(look_up(database.clone(), task * 7_919 % 50_000)))
        .collect();
    let mut len = 0;
    for task in tasks {
        len += task.await??;
    }
    println!("1000 tasks found {len} bytes");
    database.close().await?;
    Ok(())
}

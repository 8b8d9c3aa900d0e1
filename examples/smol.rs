//! smol: writers that take turns without blocking the one thread that they share.
//!
//! `cargo run --release --example smol`

use yieldb::{Database, MAIN};

async fn add_up(database: Database, amount: u64) -> yieldb::Result<()> {
    for _ in 0..10 {
        // Turns come in order; nobody sees the sum between the read and the commit.
        let mut transaction = database.begin().await?;
        let sum = match transaction.get(MAIN, "sum").await? {
            Some(value) => u64::from_be_bytes((*value).try_into().expect("eight bytes")),
            None => 0,
        };
        transaction.put(MAIN, "sum", (sum + amount).to_be_bytes()).await?;
        transaction.commit().await?;
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = tempfile::tempdir()?;
    smol::block_on(async {
        let database = Database::open(directory.path().join("smol.db")).await?;
        let executor = smol::LocalExecutor::new();
        let writers: Vec<_> =
            (1..=5).map(|amount| executor.spawn(add_up(database.clone(), amount))).collect();
        executor
            .run(async {
                for writer in writers {
                    writer.await?;
                }
                yieldb::Result::Ok(())
            })
            .await?;
        let snapshot = database.snapshot();
        let sum = snapshot.get(MAIN, "sum").await?.map(|value| value.to_vec());
        assert_eq!(sum, Some(150_u64.to_be_bytes().to_vec()));
        println!("5 tasks added up to 150 in {} commits", snapshot.version());
        Ok(())
    })
}

//! Threads: readers on snapshots while a writer commits, each waiting for its own operations.
//!
//! `cargo run --release --example threads`

use std::thread;

use yieldb::{Database, KeyRange, MAIN};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = tempfile::tempdir()?;
    let database = Database::open(directory.path().join("threads.db")).wait()?;
    thread::scope(|scope| {
        let writer = scope.spawn(|| -> yieldb::Result<()> {
            for round in 0..20_u32 {
                let mut transaction = database.begin().wait()?;
                for number in 0..500 {
                    transaction.put(MAIN, format!("{number:04}"), round.to_string()).wait()?;
                }
                transaction.commit().wait()?;
            }
            Ok(())
        });
        let readers: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| -> yieldb::Result<u64> {
                    let mut versions = 0;
                    let mut last = None;
                    while last != Some(20) {
                        // A snapshot is one version: all of its entries are of the same round.
                        let snapshot = database.snapshot();
                        let mut cursor = snapshot.cursor(MAIN, KeyRange::all());
                        let mut rounds = Vec::new();
                        while let Some(entry) = cursor.next().wait()? {
                            rounds.push(entry.value().to_vec());
                        }
                        assert!(rounds.windows(2).all(|pair| pair[0] == pair[1]));
                        versions += u64::from(last != Some(snapshot.version()));
                        last = Some(snapshot.version());
                    }
                    Ok(versions)
                })
            })
            .collect();
        writer.join().expect("the writer does not panic")?;
        for reader in readers {
            let versions = reader.join().expect("a reader does not panic")?;
            println!("a reader saw {versions} versions, each of them whole");
        }
        Ok(())
    })
}

use super::*;
use crate::log::SECTOR_LEN;
use crate::log::group::{Builder, MAX_SESSION, block_count, encode, encode_any};

/// A ring's bytes, and what is written next.
struct Log {
    bytes: Vec<u8>,
    next: Place,
    header: Header,
}

impl Log {
    /// An empty one that begins at a place.
    fn new(ring_blocks: u64, position: u64, offset: u64) -> Log {
        let header = Header {
            kind: Kind::Commits,
            position,
            session: 5,
            transactions: 1,
            first_version: 1,
            known: position,
            names: 2,
        };
        let bytes = vec![0; ring_blocks as usize * BLOCK_LEN];
        Log { bytes, next: Place { position, offset }, header }
    }

    fn start(&self) -> Start {
        Start { place: self.next, session: 5, version: 0 }
    }

    /// Writes a group of so many blocks as the next one of the chain.
    fn write(&mut self, blocks: u64) -> Place {
        let group = bytes_of(&Header { position: self.next.position, ..self.header }, blocks);
        self.put(self.next.offset, &group);
        self.header.first_version += u64::from(self.header.transactions);
        let place = self.next;
        self.next = Place { position: place.position + blocks, offset: place.offset + blocks };
        place
    }

    /// Writes a wrap group.
    fn wrap(&mut self) {
        let commits = self.header;
        self.header = Header { kind: Kind::Wrap, transactions: 0, ..commits };
        self.write(1);
        self.header = commits;
        self.next.offset = 0;
    }

    fn put(&mut self, offset: u64, blocks: &[u8]) {
        self.bytes[offset as usize * BLOCK_LEN..][..blocks.len()].copy_from_slice(blocks);
    }

    fn ring_blocks(&self) -> u64 {
        (self.bytes.len() / BLOCK_LEN) as u64
    }
}

/// A group with a transaction, if its header says so, that takes so many blocks.
fn bytes_of(header: &Header, blocks: u64) -> Vec<u8> {
    let mut builder = Builder::new(blocks);
    if header.transactions == 1 {
        builder.push(&vec![header.position as u8; Builder::max_transaction_len(blocks)]);
    }
    let mut bytes = vec![0; block_count(builder.payload().len()) as usize * BLOCK_LEN];
    encode(header, builder.payload(), &mut bytes);
    bytes
}

type Scanned = (Vec<(Place, Group)>, Result<End, Damage>);

/// Scans in pieces of at most so many blocks.
fn scan_in_pieces(bytes: &[u8], start: Start, piece: u64) -> Scanned {
    let mut groups = Vec::new();
    let mut scan = match Scan::new((bytes.len() / BLOCK_LEN) as u64, start) {
        Ok(scan) => scan,
        Err(damage) => return (groups, Err(damage)),
    };
    while let Some((offset, most)) = scan.wanted() {
        let at = offset as usize * BLOCK_LEN;
        scan.feed(&bytes[at..][..most.min(piece) as usize * BLOCK_LEN]);
        groups.extend(std::iter::from_fn(|| scan.next_group()));
    }
    (groups, scan.finish())
}

fn scan(bytes: &[u8], start: Start) -> Scanned {
    scan_in_pieces(bytes, start, 3)
}

fn places(groups: &[(Place, Group)]) -> Vec<(u64, u64)> {
    groups.iter().map(|(place, _)| (place.position, place.offset)).collect()
}

/// Where a sound log ends.
fn end_of(bytes: &[u8], start: Start) -> (u64, u64) {
    let place = scan(bytes, start).1.unwrap().place;
    (place.position, place.offset)
}

#[test]
fn an_empty_log_ends_where_it_starts() {
    for (ring_blocks, offset) in [(5, 0), (5, 4), (16, 0), (16, 7), (16, 15)] {
        let log = Log::new(ring_blocks, 70, offset);
        let (groups, end) = scan(&log.bytes, log.start());
        assert!(groups.is_empty());
        let place = Place { position: 70, offset };
        let expected =
            End { place, session: 5, version: 0, known: 70, unknown_from: place, names: 0 };
        assert_eq!(end, Ok(expected));
    }
}

#[test]
fn a_start_that_cannot_be_is_damage() {
    let good = Log::new(16, 70, 3).start();
    let far = Place { position: 70, offset: 16 };
    let late = Place { position: u64::MAX, offset: 3 };
    let starts = [
        Start { place: far, ..good },
        Start { place: late, ..good },
        Start { version: u64::MAX, ..good },
        Start { session: 0, ..good },
        Start { session: MAX_SESSION + 1, ..good },
    ];
    for start in starts {
        let begun = Scan::new(16, start);
        assert!(matches!(begun, Err(Damage::ImpossibleStart { .. })), "{start:?}");
    }
    for ring_blocks in 0..Ring::MIN_BLOCKS {
        let begun = Scan::new(ring_blocks, good);
        assert_eq!(begun.err(), Some(Damage::TooShort { ring_blocks }));
    }
}

#[test]
fn the_chain_is_followed_around_the_end() {
    // A wrap group in the last block; then groups of another session.
    let mut log = Log::new(32, 10, 28);
    let start = log.start();
    log.write(3);
    log.wrap();
    log.write(2);
    log.header.session = 6;
    log.write(3);
    let (groups, end) = scan(&log.bytes, start);
    assert_eq!(places(&groups), [(10, 28), (13, 31), (14, 0), (16, 2)]);
    let end = end.unwrap();
    assert_eq!((end.place, end.session, end.version), (Place { position: 19, offset: 5 }, 6, 3));
    assert_eq!((end.known, end.unknown_from), (10, Place { position: 10, offset: 28 }));

    // One that skips a block.
    let mut log = Log::new(32, 10, 29);
    let start = log.start();
    log.write(1);
    log.wrap();
    assert_eq!(end_of(&log.bytes, start), (12, 0));
    log.header.known = 12;
    log.write(4);
    let (groups, end) = scan(&log.bytes, start);
    assert_eq!(places(&groups), [(10, 29), (11, 30), (12, 0)]);
    assert!(groups[2].1.transactions().eq([&vec![12; Builder::max_transaction_len(4)][..]]));
    assert_eq!(end.unwrap().unknown_from, Place { position: 12, offset: 0 });
    for piece in 1..=32 {
        assert_eq!(scan_in_pieces(&log.bytes, start, piece), (groups.clone(), end));
    }
}

#[test]
fn a_full_ring_is_gone_through_once() {
    for offset in [1, 5, 15] {
        let mut log = Log::new(16, 10, offset);
        let start = log.start();
        for _ in offset..15 {
            log.write(1);
        }
        log.wrap();
        while log.next.offset + 1 < offset {
            log.write(1);
        }
        // One block is left, for a name.
        let (groups, end) = scan(&log.bytes, start);
        assert_eq!(groups.len(), 15);
        assert_eq!(end.unwrap().place.position, 25);
        log.write(1);
        assert_eq!(scan(&log.bytes, start).1, Err(Damage::TooFull { position: 26 }));
    }
    // A name needs the last block to wrap, and one behind it.
    let mut log = Log::new(16, 10, 1);
    let start = log.start();
    while log.next.offset < 15 {
        log.write(1);
    }
    assert_eq!(end_of(&log.bytes, start), (24, 15));
    let mut log = Log::new(16, 10, 0);
    let start = log.start();
    while log.next.offset < 15 {
        log.write(1);
    }
    assert_eq!(scan(&log.bytes, start).1, Err(Damage::TooFull { position: 25 }));
    // A wrap onto the start.
    let mut log = Log::new(16, 10, 0);
    let start = log.start();
    log.write(2);
    log.wrap();
    assert_eq!(scan(&log.bytes, start).1, Err(Damage::TooFull { position: 13 }));
}

#[test]
fn what_has_grown_goes_on_where_it_was() {
    // In front of the old end, and over it.
    let mut log = Log::new(16, 10, 14);
    let start = log.start();
    log.write(1);
    let behind = log.start();
    log.bytes.resize(32 * BLOCK_LEN, 0);
    assert_eq!(end_of(&log.bytes, start), (11, 15));
    log.write(3);
    assert_eq!(end_of(&log.bytes, start), (14, 18));
    assert_eq!(end_of(&log.bytes, Start { version: 1, ..behind }), (14, 18));
    // Around the old end: all behind it is skipped.
    let mut log = Log::new(16, 10, 14);
    let start = log.start();
    log.write(1);
    log.wrap();
    log.write(2);
    log.bytes.resize(32 * BLOCK_LEN, 0);
    log.write(1);
    let (groups, end) = scan(&log.bytes, start);
    assert_eq!(places(&groups), [(10, 14), (11, 15), (12, 0), (14, 2)]);
    assert_eq!(end.unwrap().place, Place { position: 15, offset: 3 });
}

/// Every subset of the sectors of a group that was to be written over what stands there: whole with
/// all of them, else as if nothing had been written.
fn tear_over(log: &Log, start: Start, group: &[u8]) {
    let at = start.place.offset as usize * BLOCK_LEN;
    let count = group.len() / SECTOR_LEN;
    let behind = &log.bytes[at..][..group.len()];
    let mut torn = log.bytes.clone();
    for mask in 0..1_u32 << count {
        for sector in 0..count {
            let range = sector * SECTOR_LEN..(sector + 1) * SECTOR_LEN;
            let from = if mask & 1 << sector != 0 { group } else { behind };
            torn[at..][range.clone()].copy_from_slice(&from[range]);
        }
        let (groups, end) = scan(&torn, start);
        let is_whole = mask == (1 << count) - 1;
        let end = end.unwrap_or_else(|damage| panic!("sectors {mask:b}: {damage}"));
        let written = if is_whole { block_count_of(group) } else { 0 };
        assert_eq!(end.place.position, start.place.position + written, "sectors {mask:b}");
        assert_eq!(groups.len(), usize::from(is_whole));
    }
}

fn block_count_of(group: &[u8]) -> u64 {
    (group.len() / BLOCK_LEN) as u64
}

#[test]
fn every_tear_over_an_older_lap_ends_the_log() {
    for blocks in [1, 2] {
        // A lap ago: one group of the same length; one of a lower session; single blocks; nothing.
        let olds: [(u32, &[u64]); 4] = [(5, &[blocks]), (4, &[blocks]), (5, &[1, 1]), (5, &[])];
        for (session, lengths) in olds {
            let mut log = Log::new(16, 10, 7);
            log.header.session = session;
            for length in lengths {
                log.write(*length);
            }
            let place = Place { position: 26, offset: 7 };
            let start = Start { place, session: 5, version: 8 };
            let header =
                Header { position: 26, session: 5, first_version: 9, known: 20, ..log.header };
            tear_over(&log, start, &bytes_of(&header, blocks));
        }
    }
}

#[test]
fn every_tear_over_the_same_position_of_a_lower_session_ends_the_log() {
    let mut log = Log::new(16, 26, 7);
    log.write(2);
    let place = Place { position: 26, offset: 7 };
    let start = Start { place, session: 6, version: 8 };
    let header = Header { position: 26, session: 6, first_version: 9, ..log.header };
    tear_over(&log, start, &bytes_of(&header, 2));
}

#[test]
fn stale_groups_are_not_followed() {
    let mut log = Log::new(16, 10, 3);
    let start = log.start();
    log.write(1);
    log.header.session = 4;
    log.write(1);
    assert_eq!(end_of(&log.bytes, start), (11, 4), "lower than its predecessor's");
    let newer = Start { session: 6, ..start };
    assert_eq!(end_of(&log.bytes, newer), (10, 3), "lower than the start's");
    // The same place 2^32 blocks ago.
    let mut log = Log::new(16, 10, 3);
    log.write(1);
    let place = Place { position: 10 + (1 << 32), offset: 3 };
    assert_eq!(end_of(&log.bytes, Start { place, ..start }), (10 + (1 << 32), 3));
}

#[test]
fn every_flipped_byte_is_damage_where_a_later_group_knows_better() {
    let mut log = Log::new(16, 10, 3);
    let start = log.start();
    log.write(1);
    let place = log.write(2);
    let open = log.bytes.clone();
    log.header.known = 13;
    log.write(1);
    let is_damage = |bytes: &[u8]| match scan(bytes, start) {
        (groups, Err(_)) => places(&groups) == [(10, 3)],
        (_, Ok(_)) => false,
    };
    for at in 4 * BLOCK_LEN..6 * BLOCK_LEN {
        let mut flipped = log.bytes.clone();
        flipped[at] ^= 0x10;
        assert!(is_damage(&flipped), "byte {at}");
        // The last group: damage but for its tags, which may be those of a group never written.
        let mut flipped = open.clone();
        flipped[at] ^= 0x10;
        match scan(&flipped, start) {
            (groups, Ok(end)) => {
                assert!(at % SECTOR_LEN >= SECTOR_LEN - 8, "byte {at}");
                assert_eq!((places(&groups), end.place), (vec![(10, 3)], place));
            }
            (_, Err(Damage::RottenGroup { position: 11 })) => {}
            (_, Err(Damage::ImpossibleGroup { position: 11, .. })) => {
                assert!((SECTOR_LEN - 4..SECTOR_LEN).contains(&(at % (8 * SECTOR_LEN))));
            }
            (_, Err(damage)) => panic!("byte {at}: {damage}"),
        }
    }
}

#[test]
fn what_a_group_anywhere_knows_and_names_is_found() {
    // At each block but that of the chain's end: behind it, and before the start.
    for offset in (0..16).filter(|offset| *offset != 9) {
        let mut log = Log::new(16, 10, 8);
        let start = log.start();
        log.write(1);
        // In the last block there may be a wrap group.
        let (kind, transactions) = if offset == 15 { (Kind::Wrap, 0) } else { (Kind::Commits, 1) };
        let header = Header { kind, transactions, ..log.header };
        let later = Header { position: 40, known: 11, names: 9, session: 4, ..header };
        log.put(offset, &bytes_of(&later, 1));
        if offset == 8 {
            continue;
        }
        let end = scan(&log.bytes, start).1.unwrap();
        assert_eq!((end.names, end.place.position), (9, 11));
        log.put(offset, &bytes_of(&Header { known: 12, ..later }, 1));
        assert_eq!(scan(&log.bytes, start).1, Err(Damage::CoveredGroup { position: 11 }));
        // A torn one says nothing.
        log.bytes[offset as usize * BLOCK_LEN + BLOCK_LEN - 1] ^= 1;
        assert_eq!(scan(&log.bytes, start).1.unwrap().names, 2);
    }
}

#[test]
fn chains_that_no_writer_makes_are_damage() {
    let is_impossible = |log: &Log, start: Start, at: u64| {
        let end = scan(&log.bytes, start).1;
        let is_found =
            matches!(end, Err(Damage::ImpossibleGroup { position, .. }) if position == at);
        assert!(is_found, "{end:?}");
    };
    // A wrap to before the start.
    let mut log = Log::new(16, 10, 15);
    let start = log.start();
    log.wrap();
    log.write(1);
    log.wrap();
    is_impossible(&log, start, 12);
    // Longer than any; over the ring's end, and up to it; over the start.
    for (offset, blocks) in [(3, 5), (31, 2), (31, 1), (30, 2)] {
        let mut log = Log::new(32, 10, offset);
        let start = log.start();
        log.bytes.resize(40 * BLOCK_LEN, 0);
        log.write(blocks);
        log.bytes.truncate(32 * BLOCK_LEN);
        is_impossible(&log, start, 10);
    }
    let mut log = Log::new(16, 10, 2);
    let start = log.start();
    for _ in 2..15 {
        log.write(1);
    }
    log.wrap();
    log.write(1);
    let first = log.bytes[2 * BLOCK_LEN..3 * BLOCK_LEN].to_vec();
    log.write(2);
    log.put(2, &first);
    is_impossible(&log, start, 25);
    // Transactions that are none.
    let mut log = Log::new(16, 10, 2);
    let mut bytes = vec![0; BLOCK_LEN];
    encode_any(&log.header, &[7, 0, 0, 0, 1], &mut bytes);
    log.put(2, &bytes);
    is_impossible(&log, start, 10);
}

/// Scans groups that begin with these versions and have so many transactions, behind a checkpoint
/// of version `base`. The version that they come to, or which of them is impossible.
fn follow(base: u64, groups: &[(u64, u32)]) -> Result<u64, u64> {
    let mut log = Log::new(32, 10, 3);
    let start = Start { version: base, ..log.start() };
    for (first_version, transactions) in groups {
        (log.header.first_version, log.header.transactions) = (*first_version, *transactions);
        log.write(1);
    }
    match scan(&log.bytes, start).1 {
        Ok(end) => Ok(end.version),
        Err(Damage::ImpossibleGroup { position, .. }) => Err(position - 10),
        Err(damage) => panic!("{damage}"),
    }
}

#[test]
fn versions_continue() {
    assert_eq!(follow(0, &[(1, 1), (2, 0), (2, 1), (3, 0), (3, 0)]), Ok(2));
    assert_eq!(follow(9, &[(10, 1), (11, 1)]), Ok(11));
    for first_version in [0, 2, 3] {
        // A group without commits says nothing of versions.
        assert_eq!(follow(0, &[(first_version, 0), (1, 1)]), Ok(1));
        assert_eq!(follow(0, &[(first_version, 1)]), Err(0));
    }
    assert_eq!(follow(9, &[(11, 1)]), Err(0));
    for second in [8, 9, 10, 12] {
        assert_eq!(follow(9, &[(10, 1), (second, 1)]), Err(1));
    }
}

#[test]
fn what_the_checkpoint_has_may_be_in_the_log_or_not() {
    // All of it, some, only a name, nothing.
    assert_eq!(follow(9, &[(1, 1), (2, 1), (3, 0)]), Ok(9));
    assert_eq!(follow(9, &[(8, 1), (9, 1), (10, 1)]), Ok(10));
    assert_eq!(follow(9, &[(4, 0)]), Ok(9));
    assert_eq!(follow(9, &[]), Ok(9));
    // Then the checkpoint is named, and what waited is in no group.
    assert_eq!(follow(9, &[(4, 1), (5, 0), (10, 1), (11, 1)]), Ok(11));
    assert_eq!(follow(9, &[(4, 0), (10, 0), (10, 1)]), Ok(10));
    // It is named once, and has no part of what waited.
    for second in [0, 3, 4, 6, 9, 11] {
        assert_eq!(follow(9, &[(4, 1), (second, 1)]), Err(1), "{second}");
    }
    assert_eq!(follow(9, &[(4, 1), (10, 1), (10, 1)]), Err(2));
    assert_eq!(follow(9, &[(4, 1), (10, 1), (5, 1)]), Err(2));
}

#[test]
fn garbage_is_gone_through_once() {
    let mut random: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut next = |below: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random >> 20) % below
    };
    for _ in 0..300 {
        let ring_blocks = Ring::MIN_BLOCKS + next(64);
        let mut log = Log::new(ring_blocks, next(1 << 40), next(ring_blocks));
        let start = log.start();
        log.bytes.iter_mut().for_each(|byte| *byte = next(256) as u8);
        // Whole groups at random places, any of which may overlap and lead anywhere.
        for _ in 0..next(40) {
            let blocks = 1 + next(ring_blocks.min(4));
            let position = start.place.position + next(20);
            let header = Header {
                kind: if blocks == 1 && next(3) == 0 { Kind::Wrap } else { Kind::Commits },
                position,
                session: 5 + next(2) as u32,
                transactions: 0,
                known: position - next(position + 1).min(3),
                ..log.header
            };
            let header = Header { transactions: u32::from(header.kind == Kind::Commits), ..header };
            log.put(next(ring_blocks - blocks + 1), &bytes_of(&header, blocks));
        }
        for _ in 0..next(6) {
            let at = next(log.bytes.len() as u64) as usize;
            log.bytes[at] ^= 1 << next(8);
        }
        let (groups, _) = scan_in_pieces(&log.bytes, start, 1 + next(ring_blocks));
        assert!(groups.len() as u64 <= log.ring_blocks());
    }
}

//! A log that is written, torn, damaged and scanned at random, beside a list of what is in it.

use super::group::{Builder, Group, Header, Kind, encode, parse};
use super::ring::{Demand, Ring};
use super::scan::{Damage, End, Scan, Start};
use super::*;

struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) % end
    }

    fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }
}

/// A group that was written behind the start.
struct Written {
    place: Place,
    header: Header,
    transactions: Vec<Vec<u8>>,
    bytes: Vec<u8>,
    is_durable: bool,
}

impl Written {
    fn range(&self) -> std::ops::Range<usize> {
        let at = self.place.offset as usize * BLOCK_LEN;
        at..at + self.bytes.len()
    }

    /// The place behind it.
    fn behind(&self) -> Place {
        let blocks = (self.bytes.len() / BLOCK_LEN) as u64;
        let offset = match self.header.kind {
            Kind::Commits => self.place.offset + blocks,
            Kind::Wrap => 0,
        };
        Place { position: self.place.position + blocks, offset }
    }
}

struct World {
    random: Random,
    /// The ring's bytes as they are durable.
    disk: Vec<u8>,
    ring: Ring,
    start: Start,
    session: u32,
    version: u64,
    known: u64,
    names: u64,
    /// What was written behind the start, in order.
    groups: Vec<Written>,
    /// How often something happened that the test is about.
    seen: [u64; 7],
}

const TORN: usize = 0;
const WRAPPED: usize = 1;
const GROWN: usize = 2;
const DAMAGED: usize = 3;
const REWRITTEN: usize = 4;
const NOT_GROWN: usize = 5;
const TAKEN_OVER: usize = 6;

impl World {
    fn new(seed: u64) -> World {
        let mut random = Random(seed);
        let ring_blocks = Ring::MIN_BLOCKS + random.below(90);
        let offset = random.below(ring_blocks);
        let place = Place { position: random.below(1 << 33), offset };
        World {
            disk: vec![0; ring_blocks as usize * BLOCK_LEN],
            ring: Ring::new(ring_blocks, place, place),
            start: Start { place, session: 1, version: 0 },
            session: 1,
            version: 0,
            known: place.position,
            names: 1,
            groups: Vec::new(),
            seen: [0; 7],
            random,
        }
    }

    fn write(&mut self, place: Place, kind: Kind, transactions: Vec<Vec<u8>>, builder: &Builder) {
        let header = Header {
            kind,
            position: place.position,
            session: self.session,
            transactions: builder.transactions(),
            first_version: self.version + 1,
            known: self.known,
            names: self.names,
        };
        let mut bytes = vec![0; builder.block_count() as usize * BLOCK_LEN];
        encode(&header, builder.payload(), &mut bytes);
        self.version += u64::from(header.transactions);
        self.groups.push(Written { place, header, transactions, bytes, is_durable: false });
    }

    /// Writes a group with random transactions, or a name. `false` if there is no room.
    fn place(&mut self, is_name: bool) -> bool {
        let longest = max_group_blocks(self.ring.ring_blocks());
        let mut builder = Builder::new(1 + self.random.below(longest));
        let mut transactions = Vec::new();
        for _ in 0..if is_name { 0 } else { 1 + self.random.below(4) } {
            let most = Builder::max_transaction_len(longest) as u64;
            let transaction = vec![self.random.below(256) as u8; self.random.below(most) as usize];
            if builder.would_fit(transaction.len()) {
                builder.push(&transaction);
                transactions.push(transaction);
            }
        }
        let demand = if is_name { Demand::Name } else { Demand::Commits(builder.block_count()) };
        let Some(placed) = self.ring.place(demand) else { return false };
        if let Some(wrap) = placed.wrap {
            self.seen[WRAPPED] += 1;
            self.write(wrap, Kind::Wrap, Vec::new(), &Builder::new(1));
        }
        self.write(placed.at, Kind::Commits, transactions, &builder);
        true
    }

    /// Makes the first groups that are in flight durable.
    fn sync(&mut self, count: u64) {
        let in_flight = self.groups.iter_mut().filter(|group| !group.is_durable);
        for group in in_flight.take(count as usize) {
            self.disk[group.range()].copy_from_slice(&group.bytes);
            group.is_durable = true;
            self.known = group.behind().position;
        }
    }

    /// A checkpoint becomes durable, and is named unless there is a crash.
    fn checkpoint(&mut self) {
        self.sync(u64::MAX);
        // Commits that wait for a group: it has them.
        let waiting = self.random.below(4) * self.random.below(2);
        let version = self.version + waiting;
        self.start = Start { place: self.ring.head(), session: self.session, version };
        self.groups.clear();
        self.names += 1;
        if self.random.one_in(8) {
            return self.crash();
        }
        let behind_start = self.random.below(3);
        for _ in 0..behind_start {
            self.place(false);
        }
        assert!(self.place(true), "no room for a name: {:?}", self.ring);
        if self.random.one_in(8) {
            return self.crash();
        }
        self.sync(u64::MAX);
        self.ring.advance_tail(self.start.place);
        if self.version < version {
            self.seen[TAKEN_OVER] += 1;
            self.version = version;
        }
    }

    /// The file becomes longer, and then the ring, unless there is a crash or an error.
    fn grow(&mut self) {
        let blocks = 1 + self.random.below(20);
        let ring_blocks = self.ring.ring_blocks() + blocks;
        let len = (ring_blocks as usize * BLOCK_LEN).max(self.disk.len());
        self.disk.resize(len, 0);
        self.seen[GROWN] += 1;
        match self.random.below(8) {
            0 => self.crash(),
            1 => self.seen[NOT_GROWN] += 1,
            _ => self.ring.grow(blocks),
        }
    }

    /// Of what is in flight any sectors are durable; then the log is scanned and written again.
    fn crash(&mut self) {
        let synced = self.disk.clone();
        for group in self.groups.iter().filter(|group| !group.is_durable) {
            let kept = self.random.below(4);
            let to = &mut self.disk[group.range()];
            for (to, from) in to.chunks_mut(SECTOR_LEN).zip(group.bytes.chunks(SECTOR_LEN)) {
                // None, all, most or few of them.
                let is_kept = match kept {
                    0 => false,
                    1 => true,
                    2 => !self.random.one_in(10),
                    _ => self.random.one_in(4),
                };
                if is_kept {
                    to.copy_from_slice(from);
                }
            }
        }
        let is_whole = |group: &&Written| self.disk[group.range()] == group.bytes;
        let whole_count = self.groups.iter().take_while(is_whole).count();
        let lost = self.groups.split_off(whole_count);
        assert!(lost.iter().all(|group| !group.is_durable), "the test lost a durable group");
        self.seen[TORN] += u64::from(!lost.is_empty());
        let expected = self.expected_end();
        let (found, end) = self.scan();
        assert_eq!(end, Ok(expected));
        self.assert_groups(&found, self.groups.len());
        self.damage();
        if self.random.one_in(2) {
            self.lose_unsynced(synced, expected);
        }
        self.reopen(expected);
    }

    /// It was a kill, the next process has written again what it has to, and a power cut takes the
    /// rest of what was only visible.
    fn lose_unsynced(&mut self, synced: Vec<u8>, end: End) {
        let visible = std::mem::replace(&mut self.disk, synced);
        let ring_blocks = (visible.len() / BLOCK_LEN) as u64;
        let count =
            Ring::new(ring_blocks, end.unknown_from, end.place).used_blocks() * BLOCK_LEN as u64;
        let from = end.unknown_from.offset * BLOCK_LEN as u64;
        for at in from..from + count {
            let at = at as usize % visible.len();
            self.disk[at] = visible[at];
        }
        let (found, again) = self.scan();
        assert_eq!(again, Ok(self.expected_end()));
        assert_eq!(again.map(|end| end.place), Ok(end.place));
        self.assert_groups(&found, self.groups.len());
    }

    fn expected_end(&self) -> End {
        let place = self.groups.last().map_or(self.start.place, Written::behind);
        let version_of =
            |group: &Written| group.header.first_version + u64::from(group.header.transactions) - 1;
        let known = self.groups.iter().map(|group| group.header.known).max();
        let known = known.unwrap_or(0).max(self.start.place.position);
        let mut unknown = self.groups.iter().filter(|group| group.place.position >= known);
        // All that is whole, by looking at each block.
        let anywhere = self.disk.chunks(BLOCK_LEN).enumerate().filter_map(|(index, _)| {
            parse(&self.disk[index * BLOCK_LEN..]).ok().map(|group| group.header().names)
        });
        End {
            place,
            session: self.groups.last().map_or(self.start.session, |group| group.header.session),
            version: self.groups.last().map_or(0, version_of).max(self.start.version),
            known,
            unknown_from: unknown.next().map_or(place, |group| group.place),
            names: anywhere.max().unwrap_or(0),
        }
    }

    fn scan(&mut self) -> (Vec<(Place, Group)>, Result<End, Damage>) {
        let ring_blocks = (self.disk.len() / BLOCK_LEN) as u64;
        let mut scan = Scan::new(ring_blocks, self.start).unwrap();
        let mut groups = Vec::new();
        while let Some((offset, most)) = scan.wanted() {
            let count = 1 + self.random.below(most);
            scan.feed(&self.disk[offset as usize * BLOCK_LEN..][..count as usize * BLOCK_LEN]);
            groups.extend(std::iter::from_fn(|| scan.next_group()));
        }
        (groups, scan.finish())
    }

    /// Are these the first groups behind the start?
    fn assert_groups(&self, found: &[(Place, Group)], count: usize) {
        assert_eq!(found.len(), count);
        for ((place, group), written) in found.iter().zip(&self.groups) {
            let is_same = place.position == written.place.position
                && place.offset == written.place.offset
                && *group.header() == written.header
                && group.transactions().eq(written.transactions.iter().map(|bytes| &bytes[..]));
            assert!(is_same, "{place:?}: {:?}", group.header());
        }
    }

    /// Whatever changes in a group that a later one knows is noticed, and nothing of it is read.
    fn damage(&mut self) {
        if self.groups.is_empty() {
            return;
        }
        let index = self.random.below(self.groups.len() as u64) as usize;
        let group = &self.groups[index];
        let is_known = self.groups.iter().any(|later| later.header.known > group.place.position);
        if !is_known {
            return;
        }
        let (range, position) = (group.range(), group.place.position);
        let sound = self.disk.clone();
        let bytes = &mut self.disk[range];
        match self.random.below(3) {
            0 => bytes.fill(0),
            1 => bytes[self.random.below(bytes.len() as u64) as usize] ^= 1,
            _ => {
                let sector = self.random.below((bytes.len() / SECTOR_LEN) as u64) as usize;
                bytes[sector * SECTOR_LEN..][..SECTOR_LEN].fill(0xff);
            }
        }
        let (found, end) = self.scan();
        let is_named = match end {
            Err(
                Damage::RottenGroup { position: at }
                | Damage::CoveredGroup { position: at }
                | Damage::ImpossibleGroup { position: at, .. },
            ) => at == position,
            Err(_) | Ok(_) => false,
        };
        assert!(is_named, "{end:?}, and {position} is damaged");
        self.assert_groups(&found, index);
        self.seen[DAMAGED] += 1;
        self.disk = sound;
    }

    /// Goes on as the next process does. What was whole is durable once it was written again.
    fn reopen(&mut self, end: End) {
        self.seen[REWRITTEN] += u64::from(end.unknown_from != end.place);
        self.groups.iter_mut().for_each(|group| group.is_durable = true);
        self.session += 1 + self.random.below(2) as u32;
        self.version = end.version;
        self.known = end.place.position;
        let ring_blocks = (self.disk.len() / BLOCK_LEN) as u64;
        self.ring = Ring::new(ring_blocks, self.start.place, end.place);
    }
}

#[test]
fn what_was_written_is_found_up_to_what_was_torn() {
    let mut seen = [0; 7];
    for seed in 1..=800_u64 {
        let mut world = World::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        for _ in 0..60 {
            let can_grow = world.disk.len() < 150 * BLOCK_LEN && world.random.one_in(4);
            match world.random.below(12) {
                0 => world.crash(),
                1 => world.checkpoint(),
                2 | 3 if can_grow => world.grow(),
                2..=4 => {
                    let count = world.random.below(5);
                    world.sync(count);
                }
                _ => {
                    if !world.place(false) {
                        world.checkpoint();
                    }
                }
            }
        }
        world.crash();
        seen.iter_mut().zip(world.seen).for_each(|(sum, count)| *sum += count);
    }
    assert!(seen.iter().all(|count| *count > 100), "too little happened: {seen:?}");
}

/// A block as the document shows it: lines of 16 bytes that are not all zeros.
fn shown(name: &str, block: &[u8]) -> String {
    let mut text = format!("{name}\n");
    for (index, line) in block.chunks(16).enumerate() {
        if line.iter().any(|byte| *byte != 0) {
            let bytes: Vec<String> = line.iter().map(|byte| format!("{byte:02x}")).collect();
            text.push_str(&format!("{:04x}  {}\n", index * 16, bytes.join(" ")));
        }
    }
    text + "```"
}

#[test]
fn the_document_shows_blocks_as_they_are() {
    let document = include_str!("../../../docs/file-format.md");
    let file_header =
        header::FileHeader { database_id: *b"an example, once", log_id: *b"its log, as well" };
    let mut block = vec![0; BLOCK_LEN];
    file_header.encode(&mut block);
    let mut blocks = vec![shown("log header", &block)];
    let commits = Header {
        kind: Kind::Commits,
        position: 40,
        session: 3,
        transactions: 2,
        first_version: 17,
        known: 38,
        names: 6,
    };
    let mut builder = Builder::new(1);
    builder.push(b"one commit");
    builder.push(b"and another");
    encode(&commits, builder.payload(), &mut block);
    blocks.push(shown("log position 40", &block));
    let wrap =
        Header { kind: Kind::Wrap, position: 41, transactions: 0, first_version: 19, ..commits };
    encode(&wrap, &[], &mut block);
    blocks.push(shown("log position 41", &block));
    for block in blocks {
        assert!(document.contains(&block), "the document does not show\n{block}");
    }
}

use super::*;

fn header(transactions: u32) -> Header {
    Header {
        kind: Kind::Commits,
        position: 0x1_0000_0005,
        session: 7,
        transactions,
        first_version: 40,
        known: 3,
        names: 12,
    }
}

fn payload_of(transactions: &[&[u8]]) -> Vec<u8> {
    let mut builder = Builder::new(MAX_GROUP_BLOCKS);
    transactions.iter().for_each(|transaction| builder.push(transaction));
    builder.payload().to_vec()
}

fn encoded(header: &Header, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![0xee; block_count(payload.len()) as usize * BLOCK_LEN];
    encode_any(header, payload, &mut out);
    out
}

/// Three transactions, the last one of which reaches into the second block.
fn two_blocks() -> (Vec<u8>, Header) {
    let long: Vec<u8> = (0..5_000).map(|index| (index % 251) as u8).collect();
    (encoded(&header(3), &payload_of(&[b"one", b"", &long])), header(3))
}

/// Writes the header's checksum again, as whoever forges it would.
fn seal(group: &mut [u8]) {
    let checksum = crc32fast::hash(&group[..HEADER_CHECKSUM]);
    group[HEADER_CHECKSUM..HEADER_LEN].copy_from_slice(&checksum.to_le_bytes());
}

#[test]
fn what_was_encoded_is_parsed() {
    let long = vec![9; Builder::max_transaction_len(3)];
    let cases: [&[&[u8]]; 5] = [&[], &[b""], &[b"a", b"", b"bc"], &[&long], &[&long, &long]];
    for transactions in cases {
        let header = header(transactions.len() as u32);
        let mut bytes = encoded(&header, &payload_of(transactions));
        let len = bytes.len();
        bytes.extend_from_slice(&[0x11; BLOCK_LEN + 5]);
        let group = parse(&bytes).unwrap();
        assert_eq!(*group.header(), header);
        assert_eq!(group.block_count() as usize * BLOCK_LEN, len);
        assert!(group.transactions().eq(transactions.iter().copied()));
        for cut in [0, 1, BLOCK_LEN - 1, len - 1] {
            let expected = if cut < BLOCK_LEN { Fault::NoGroup } else { Fault::Torn };
            assert_eq!(parse(&bytes[..cut]), Err(expected));
        }
    }
}

#[test]
fn the_bytes_are_as_documented() {
    let bytes = encoded(&header(1), &payload_of(&[b"abc"]));
    #[rustfmt::skip]
    let expected = [
        b'y', b'l', b'o', b'g', 1, 0, 0, 0, 1, 0, 0, 0, 7, 0, 0, 0,
        5, 0, 0, 0, 1, 0, 0, 0, 7, 0, 0, 0, 1, 0, 0, 0,
        40, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0,
        12, 0, 0, 0, 0, 0, 0, 0,
    ];
    assert_eq!(bytes[..56], expected);
    assert_eq!(bytes[64..71], [3, 0, 0, 0, b'a', b'b', b'c']);
    assert!(bytes[71..504].iter().all(|byte| *byte == 0));
    for sector in bytes.chunks(512) {
        assert_eq!(sector[504..], [5, 0, 0, 0, 7, 0, 0, 0x80]);
    }
    let (two, _) = two_blocks();
    assert_eq!(two[4096 + 504..4096 + 512], [6, 0, 0, 0, 7, 0, 0, 0]);
}

#[test]
fn every_flipped_byte_is_found_out_and_tears_are_told_from_rot() {
    let (mut bytes, _) = two_blocks();
    for at in 0..bytes.len() {
        // In a tag's last byte: the session. The top bit is below.
        bytes[at] ^= 0x10;
        let expected = match at % SECTOR_LEN {
            in_tag if in_tag < SECTOR_PAYLOAD_LEN => Fault::Rotten,
            // Right checksum, wrong tag: of the first sector that is no tear.
            _ if at < SECTOR_LEN => {
                Fault::Impossible { what: "its first sector is tagged as another's" }
            }
            _ => Fault::Torn,
        };
        assert_eq!(parse(&bytes), Err(expected), "byte {at}");
        bytes[at] ^= 0x10;
    }
    bytes[SECTOR_LEN - 1] ^= 0x80;
    assert_eq!(parse(&bytes), Err(Fault::NoGroup));
}

#[test]
fn impossible_headers_are_refused_though_their_checksum_is_right() {
    let (bytes, _) = two_blocks();
    // The 64-bit numbers are given by their highest byte.
    let changes = [(0, 0), (4, 3), (4, 0), (8, 1), (8, 3), (11, 1), (13, 0), (15, 0x80), (12, 1)];
    let numbers = [(23, 0x80), (24, 0), (24, 8), (27, 0x80), (39, 0x80), (45, 1), (47, 0xff)];
    // Two transactions leave bytes, four lack some, and a wrap group has none.
    let transactions = [(28, 2), (28, 4), (31, 0xff), (4, 2)];
    for (at, byte) in changes.into_iter().chain(numbers).chain(transactions) {
        let mut changed = bytes.clone();
        changed[at] = byte;
        seal(&mut changed);
        // Lengths that agree with each other do not agree with the blocks.
        let parsed = parse(&changed);
        let is_found = match parsed {
            Err(Fault::Impossible { .. }) => true,
            Err(Fault::NoGroup | Fault::Torn | Fault::Rotten) | Ok(_) => at == 12,
        };
        assert!(is_found && parsed.is_err(), "{at}: {byte}: {parsed:?}");
    }
}

#[test]
fn transactions_that_reach_over_the_payload_are_refused() {
    for payload in [&[0; 3][..], &[9, 0, 0, 0, 1, 2, 3], &[0xff; 4]] {
        let parsed = parse(&encoded(&header(1), payload));
        assert!(matches!(parsed, Err(Fault::Impossible { .. })), "{parsed:?}");
    }
}

#[test]
#[should_panic(expected = "end before")]
fn a_group_that_cannot_be_read_is_not_written() {
    encode(&header(1), &payload_of(&[b"one", b"two"]), &mut [0; BLOCK_LEN]);
}

#[test]
fn a_sector_of_another_time_tears_the_group() {
    let (bytes, _) = two_blocks();
    let older = Header { position: 0x1_0000_0005 - 16, ..header(3) };
    let other = Header { session: 8, ..header(3) };
    let payload = vec![0; 2 * BLOCK_PAYLOAD_LEN - HEADER_LEN];
    for behind in [older, other, Header { transactions: 0, ..older }].map(|h| encoded(&h, &payload))
    {
        for sector in 1..16 {
            let mut torn = bytes.clone();
            let range = sector * SECTOR_LEN..(sector + 1) * SECTOR_LEN;
            torn[range.clone()].copy_from_slice(&behind[range]);
            assert_eq!(parse(&torn), Err(Fault::Torn), "sector {sector}");
        }
    }
}

#[test]
fn a_payload_cannot_look_like_a_group() {
    let wrap = Header { kind: Kind::Wrap, transactions: 0, ..header(0) };
    let forged = encoded(&wrap, &[]);
    // At every shift, so that at one of them it stands as on a block of its own.
    for shift in 0..BLOCK_LEN {
        let mut builder = Builder::new(4);
        builder.push(&[vec![0; shift], forged.clone()].concat());
        let bytes = encoded(&header(1), builder.payload());
        for block in bytes.chunks(BLOCK_LEN).skip(1) {
            assert_eq!(parse(block), Err(Fault::NoGroup), "{shift}");
        }
    }
}

#[test]
fn a_builder_knows_when_it_is_full() {
    for max_blocks in [1, 2, 8] {
        let most = Builder::max_transaction_len(max_blocks);
        let mut builder = Builder::new(max_blocks);
        assert!(builder.would_fit(most) && !builder.would_fit(most + 1));
        assert!(!builder.would_fit(usize::MAX));
        builder.push(&vec![1; most - 4]);
        assert_eq!(builder.block_count(), max_blocks);
        assert!(builder.would_fit(0) && !builder.would_fit(1));
        builder.push(&[]);
        assert!(!builder.would_fit(0));
        assert_eq!((builder.transactions(), builder.block_count()), (2, max_blocks));
        let group = parse(&encoded(&header(2), builder.payload())).unwrap();
        assert_eq!(group.transactions().count(), 2);
        builder.clear();
        assert_eq!((builder.transactions(), builder.block_count()), (0, 1));
        assert!(builder.would_fit(most));
    }
}

#[test]
fn random_bytes_are_no_group() {
    let mut random: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut bytes = vec![0; 2 * BLOCK_LEN];
    for round in 0..2_000 {
        for byte in &mut bytes {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            *byte = (random >> 32) as u8;
        }
        if round % 2 == 0 {
            // A header and a first tag that are right, and nothing else.
            header(3).put(Lengths { block_count: 2, payload: 5_000 }, 0, &mut bytes[..HEADER_LEN]);
            bytes[SECTOR_PAYLOAD_LEN..SECTOR_LEN]
                .copy_from_slice(&Tag::of(&header(3), 0).to_bytes());
        }
        assert!(parse(&bytes).is_err());
    }
}

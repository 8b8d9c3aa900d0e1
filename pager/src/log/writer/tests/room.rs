//! Room in the log.

use super::*;

#[test]
fn a_log_goes_around_as_checkpoints_make_room() {
    for seed in 1..10 {
        let store = Store::new(seed, SHORT);
        let (mut waited, mut committed) = (0, 0);
        while committed < 200 {
            match store.append(committed % 5 * 800) {
                Ok(_) => committed += 1,
                Err(Room::Wait(room)) => {
                    waited += 1;
                    while !room.finished() {
                        assert!(store.poll(), "nobody makes room");
                    }
                }
                Err(room) => panic!("{room:?}"),
            }
            if committed % 7 == 0 {
                store.poll();
            }
        }
        store.finish();
        assert!(waited > 0, "there was always room");
        assert!(store.pager.log().head().unwrap().start.position > 100);
        assert_eq!(store.durable_version(), store.pager.applied().version);
        assert_eq!(store.log_len(), (FIRST_LEN, FIRST_LEN));
        // Longer than any group.
        let longest = store.pager.record_limit().unwrap();
        assert!(store.append(longest).is_ok());
        assert!(matches!(store.append(longest + 1), Err(Room::Never)));
    }
}

/// Many short commits need the room of the groups that they are put into, and not a block each.
#[test]
fn room_is_kept_for_the_groups_that_are_made_of_what_waits() {
    for seed in 1..40 {
        let store = Store::new(seed, SHORT);
        let (blocks, mut most, mut committed) = (ring_blocks(FIRST_LEN), 0, 0);
        let mut bits = seed;
        while committed < 400 {
            bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            // Many are short; some fill a group nearly.
            let longest = store.pager.record_limit().unwrap() as u64;
            let len = if bits >> 60 < 14 { bits >> 33 & 127 } else { (bits >> 33) % longest };
            let durability =
                if bits >> 59 & 1 == 0 { Durability::Relaxed } else { Durability::Sync };
            let mut set = store.pager.begin_write_set();
            match store.pager.room_for(&mut set, len as usize).unwrap() {
                Room::Enough => {
                    let _ticket = store.append_as(store.turn(), len as usize, durability);
                    committed += 1;
                }
                Room::Wait(room) => {
                    while !room.finished() {
                        assert!(store.poll(), "nobody makes room");
                    }
                }
                Room::Never => panic!("{len} bytes are not too many"),
            }
            let state = store.pager.log().state();
            most = most.max(state.as_ref().unwrap().queue.len());
            drop(state);
            if bits >> 52 & 15 == 0 {
                store.poll();
            }
        }
        store.finish();
        assert!(most as u64 > blocks, "{most} waited at most");
        let (_, ticket) = store.pager.sync().unwrap();
        store.finish();
        assert!(ticket.is_none_or(|ticket| ticket.result().unwrap().is_ok()));
        assert_eq!(store.durable_version(), store.pager.applied().version);
    }
}

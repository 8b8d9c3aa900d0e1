//! Damage to a file of 64 pages, exhaustively: an error that names the page, or the right answer;
//! never wrong data, and what is not damaged can be read.

use std::sync::OnceLock;

use faults::PAGE;
use faults::drive::drive;
use faults::examine::{Depth, for_each};
use faults::specimen::{Specimen, options, page};
use yieldb::ErrorKind::{Damaged, Foreign};
use yieldb::{Create, MemoryDisk};

fn specimen() -> &'static Specimen {
    static SPECIMEN: OnceLock<Specimen> = OnceLock::new();
    SPECIMEN.get_or_init(Specimen::new)
}

/// Slow builds look at some of what fast ones look at.
const STRIDE: usize = if cfg!(debug_assertions) { 61 } else { 1 };

/// Puts the bytes of a page into the place of one.
fn put(image: &mut [u8], number: usize, bytes: &[u8]) {
    image[number * PAGE..(number + 1) * PAGE].copy_from_slice(bytes);
}

/// Examines what `spoil` makes of the specimen with each of `count` numbers.
fn each(count: usize, depth: Depth, spoil: impl Fn(&mut Vec<u8>, usize) + Sync) {
    for_each(specimen(), count.div_ceil(STRIDE), |examiner, number| {
        let mut image = specimen().image.clone();
        spoil(&mut image, number * STRIDE % count);
        examiner.examine(image, depth);
    });
}

/// The ordered pair of different pages with this number.
fn pair(number: usize) -> (usize, usize) {
    let others = specimen().pages() - 1;
    let (first, second) = (number / others, number % others);
    (first, second + usize::from(second >= first))
}

fn pairs() -> usize {
    specimen().pages() * (specimen().pages() - 1)
}

#[test]
fn the_specimen_itself_is_whole() {
    for_each(specimen(), 1, |examiner, _| {
        examiner.examine(specimen().image.clone(), Depth::Entries);
    });
}

#[test]
fn every_byte_flipped() {
    // Nothing reads a free page, so all of its bytes are flipped together.
    let (used, free): (Vec<usize>, Vec<usize>) =
        (0..specimen().pages()).partition(|number| specimen().is_used(*number));
    each(used.len() * PAGE, Depth::Pages, |image, number| {
        image[used[number / PAGE] * PAGE + number % PAGE] ^= 1 << (number % 8);
    });
    each(free.len(), Depth::Entries, |image, number| {
        let number = free[number];
        image[number * PAGE..(number + 1) * PAGE].iter_mut().for_each(|byte| *byte ^= 0x10);
    });
}

#[test]
fn flipped_bytes_of_every_page_looked_at_closely() {
    // Headers whole, and a few bytes of the rest.
    let offsets: Vec<usize> = (0..48).chain((48..PAGE).step_by(509)).collect();
    each(specimen().pages() * offsets.len(), Depth::Entries, |image, number| {
        let (page, at) = (number / offsets.len(), offsets[number % offsets.len()]);
        image[page * PAGE + at] ^= 0x80;
    });
}

#[test]
fn every_page_zeroed_or_filled() {
    let fillings = [0x00, 0xff, 0xa5];
    each(specimen().pages() * fillings.len(), Depth::Entries, |image, number| {
        let (page, filling) = (number / fillings.len(), fillings[number % fillings.len()]);
        put(image, page, &[filling; PAGE]);
    });
}

#[test]
fn every_page_as_it_was_three_commits_ago() {
    let mut lost_writes = Vec::new();
    for older in &specimen().older {
        for number in 0..specimen().pages().min(older.len() / PAGE) {
            if page(older, number) != specimen().page(number) {
                lost_writes.push((older, number));
            }
        }
    }
    let used = lost_writes.iter().filter(|(_, number)| specimen().is_used(*number)).count();
    assert!(used > specimen().pages() / 2, "{used} lost writes of pages in use");
    each(lost_writes.len(), Depth::Entries, |image, index| {
        let (older, number) = lost_writes[index];
        put(image, number, page(older, number));
    });
}

#[test]
fn every_pair_of_pages_swapped() {
    each(pairs(), Depth::Entries, |image, number| {
        let (first, second) = pair(number);
        if first < second {
            put(image, first, specimen().page(second));
            put(image, second, specimen().page(first));
        }
    });
}

#[test]
fn every_page_in_the_place_of_every_other() {
    each(pairs(), Depth::Entries, |image, number| {
        let (from, to) = pair(number);
        put(image, to, specimen().page(from));
    });
}

#[test]
fn every_write_misdirected_to_every_other_page() {
    // What was to be written stands in the wrong place, and the right one is as it was before.
    let before = specimen().older.last().unwrap();
    each(pairs(), Depth::Entries, |image, number| {
        let (meant, hit) = pair(number);
        put(image, hit, specimen().page(meant));
        let was = before.get(meant * PAGE..(meant + 1) * PAGE).unwrap_or(&[0; PAGE]);
        put(image, meant, was);
    });
}

#[test]
fn every_read_misdirected_to_every_other_page_once() {
    for_each(specimen(), pairs().div_ceil(STRIDE), |examiner, number| {
        let (meant, hit) = pair(number * STRIDE % pairs());
        examiner.misread(meant, specimen().page(hit));
    });
}

#[test]
fn the_file_cut_at_every_sector() {
    let whole = &specimen().image;
    let disk = MemoryDisk::new();
    for len in (0..whole.len()).step_by(512) {
        for read_only in [true, false] {
            disk.set_image("db", whole[..len].to_vec());
            let options = options(&disk).create(Create::Never).read_only(read_only);
            let error = drive(options.open("db")).unwrap_err();
            let text = error.to_string();
            if len == 0 {
                // As good as a file that was never written: where that is asked for, a new one.
                assert_eq!((error.kind(), &*text), (Foreign, "db: not a yieldb file: it is empty"));
            } else {
                assert_eq!(error.kind(), Damaged, "{text}");
            }
            // What is left of the superblock says how long the file was.
            let lens = format!("it has {len} bytes, its superblock says {}", whole.len());
            assert_eq!(text.contains(&lens), len >= PAGE, "{text}");
            assert!(disk.image("db").unwrap() == whole[..len], "a cut file was changed");
        }
    }
}

#[test]
fn garbage_behind_the_end() {
    let lens = [1, 511, 512, PAGE - 1, PAGE, PAGE + 1, 3 * PAGE, 64 * PAGE, 1000 * PAGE];
    each(lens.len() * 3, Depth::Entries, |image, number| {
        let (len, kind) = (image.len() + lens[number / 3], number % 3);
        match kind {
            0 => image.resize(len, 0),
            1 => image.resize(len, 0x5a),
            // Pages that were good once.
            _ => {
                while image.len() < len {
                    image.extend_from_within(..(len - image.len()).min(specimen().image.len()));
                }
            }
        }
    });
}

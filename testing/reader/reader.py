#!/usr/bin/env python3
"""A second reader of yieldb's files, written from docs/file-format.md alone.

    reader.py FILE

Checks all that it says, and prints each tree with the changes of the log made: `# NAME`, then its
entries as `yieldb dump --hex` does. Damage is listed on standard error. Exit codes: 0 well, 3 damage, 6 not such a file.
"""

import os
import struct
import sys
from zlib import crc32

MAGIC, LOG_MAGIC = b"yieldb\x80\r\n\x1a\n\0page", b"yieldb\x80\r\n\x1a\n\0 log"
SLOT_LEN, HEADER_LEN, BLOCK_LEN, SECTOR_LEN, MAX_GROUP_BLOCKS = 4096, 40, 4096, 512, 2048
LEAF, INTERIOR, BITS, INDEX, VALUE = 1, 2, 3, 4, 5
MAX_LEVEL, MAX_VALUE_LEN, MAX_SESSION, MASK = 48, 1 << 32, (1 << 31) - 1, (1 << 64) - 1
PUT, DELETE, DELETE_RANGE, CREATE_TREE, RENAME_TREE, DROP_TREE, PASS_OVER = range(1, 8)


class Foreign(Exception):
    """The file is something else, or of a format that is not known here."""


class Damage(Exception):
    """Something is not as the document says."""


class End(Exception):
    """No group of a log is there, or a torn one."""


def check(holds, what):
    if not holds:
        raise Damage(what)


def uint(data, at, size):
    return int.from_bytes(data[at : at + size], "little")


def tag_of(stamp):
    mixed = (stamp ^ stamp >> 30) * 0xBF58476D1CE4E5B9 & MASK
    mixed = (mixed ^ mixed >> 27) * 0x94D049BB133111EB & MASK
    return (mixed ^ mixed >> 31) >> 40


class Superblock:
    """What a slot says, if it counts."""

    def __init__(self, slot):
        check(slot[:16] == MAGIC, "a slot without the magic")
        check(crc32(slot[:-4]) == uint(slot, SLOT_LEN - 4, 4), "a slot's checksum is wrong")
        version, self.page_len, features = struct.unpack_from("<IIQ", slot, 16)
        self.id, self.checkpoint, commits, self.moment = struct.unpack_from("<16s3Q", slot, 32)
        root, count, level, self.map_level = struct.unpack_from("<QQBB", slot, 112)
        self.map, self.page_count, self.next_tree = struct.unpack_from("<QQI", slot, 136)
        self.bytes, self.catalogue = slot, (root, level, count)
        in_use, log_id, position, offset = struct.unpack_from("<I16sQQ", slot, 76)
        self.version, self.session, session = commits, uint(slot, 72, 4), uint(slot, 156, 4)
        self.log = (log_id, position, offset, session) if in_use else None
        if version > 1 or features:
            raise Foreign(f"format version {version}, features {features:#x}")
        check(self.page_len in (4096, 8192, 16384, 32768, 65536), "an impossible page length")
        self.reserved = max(1, 2 * SLOT_LEN // self.page_len)
        check(version == 1 and in_use <= 1, "a slot with what its format has not")
        check(in_use or not any(slot[80:112] + slot[156:160]), "a log that is not in use")
        check((root != 0) == (count != 0), "a catalogue with a root or entries alone")
        check(not root or self.map, "a catalogue without a space map")
        check(self.next_tree >= 1, "the next tree's number is 0")
        check(self.session < MAX_SESSION, "the last session")
        check(max(self.checkpoint, commits, position) < 1 << 62, "a number that is the last one")
        check(max(self.moment >> 32, session) <= self.session, "a moment of a later session")
        check(self.reserved <= self.page_count <= 1 << 40, "an impossible file length")


def choose(file_len, slots):
    """The superblock that counts, and what is wrong with the other one."""
    found, problems = [], []
    for slot in slots:
        try:
            found.append(Superblock(slot))
        except Damage as damage:
            problems.append(str(damage))
    has_magic = any(slot[:16] == MAGIC for slot in slots)
    if not found and (not has_magic or is_cut_off_creation(file_len, *slots)):
        raise Foreign("no magic, or its creation was cut off")
    check(found, "; ".join(problems))
    if len({one.bytes for one in found}) == 2:
        check(len({(one.id, one.page_len) for one in found}) == 1, "slots of two databases")
        check(len({one.checkpoint for one in found}) == 2, "two slots with the same checkpoint")
        if not max(found, key=lambda one: one.checkpoint).log:
            problems.append("a slot is older")
    return max(found, key=lambda one: one.checkpoint), problems


def is_cut_off_creation(file_len, first, second):
    """For slots of which none counts: is there nothing in the file yet?"""
    is_torn = crc32(first[:-4]) != uint(first, SLOT_LEN - 4, 4)
    begins = first[:16] == MAGIC and uint(first, 48, 8) == 1 or not any(first[:512])
    return file_len <= 65536 and is_torn and begins and not any(first[512:-4] + second)


class Node:
    """The sorted keys of a leaf or an interior node, and what belongs to them."""

    def __init__(self, page):
        is_leaf, count = page[4] == LEAF, uint(page, 6, 2)
        check(count >= 1, "a node without entries or separators")
        check(not any(page[34:40]), "a node's header has bits that mean nothing")
        heap, garbage, prefix_len = uint(page, 24, 4), uint(page, 28, 4), uint(page, 32, 2)
        check(prefix_len <= len(page) // 4, "a prefix is too long")
        prefix, heap_end = page[len(page) - prefix_len :], len(page) - prefix_len
        heads = HEADER_LEN if is_leaf else HEADER_LEN + 8
        slots, slots_end = heads + 4 * count, heads + (6 if is_leaf else 14) * count
        check(slots_end <= heap <= heap_end, "slots and heap overlap")
        check(not any(page[slots_end:heap]), "unused bytes of the gap are not zero")
        self.keys, self.values, records = [], [], []
        for index in range(count):
            head = page[heads + 4 * index : heads + 4 * index + 4][::-1]
            at = uint(page, slots + 2 * index, 2)
            if not is_leaf and at <= 4:
                suffix_len, rest = at, b""
            else:
                suffix_len, rest, end = self.record(page, at, heap, heap_end, is_leaf, prefix_len)
                records.append((at, end))
            check(not any(head[suffix_len:]), "a head is longer than its suffix")
            self.keys.append(prefix + head[:suffix_len] + rest)
        check_heap(page, heap, heap_end, garbage, sorted(records))
        check(all(a < b for a, b in zip(self.keys, self.keys[1:])), "keys do not ascend")
        if not is_leaf:
            self.children = [uint(page, HEADER_LEN, 8)]
            self.children += struct.unpack_from(f"<{count}Q", page, slots + 2 * count)

    def record(self, page, at, heap, heap_end, is_leaf, prefix_len):
        """The record at an offset: length of its suffix, the suffix's rest, where it ends."""
        rest = at + (4 if is_leaf else 2)
        check(heap <= at and rest <= heap_end, "a slot points out of the heap")
        suffix_len, is_large = uint(page, at, 2) & 0x7FFF, uint(page, at, 2) >= 0x8000
        value_len = uint(page, at + 2, 2) if is_leaf else 0
        value = rest + max(suffix_len - 4, 0)
        check(value + value_len <= heap_end, "a record ends behind the heap")
        check(prefix_len + suffix_len <= len(page) // 4, "a key is too long")
        max_len = (len(page) - 40) // 2 - 10
        check(prefix_len + suffix_len + value_len <= max_len, "an entry is too long")
        check(is_leaf or suffix_len > 4 and not is_large, "a record that is not needed")
        check(not is_large or value_len == 24, "a large value is not named in 24 bytes")
        self.values.append((is_large, page[value : value + value_len]))
        return suffix_len, page[rest:value], value + value_len


def check_heap(page, heap, heap_end, garbage, records):
    """Records and garbage are all of the heap, and the garbage is zero."""
    gaps = [(a[1], b[0]) for a, b in zip([(0, heap)] + records, records + [(heap_end, 0)])]
    check(all(a <= b for a, b in gaps), "two records overlap")
    check(sum(b - a for a, b in gaps) == garbage, "records and garbage are not the heap")
    check(not any(any(page[a:b]) for a, b in gaps), "unused bytes of the heap are not zero")


class Reader:
    """A file, its damages, and the numbers of the pages that were reached."""

    def __init__(self, path):
        self.file = open(path, "rb")
        start = self.file.read(2 * SLOT_LEN).ljust(2 * SLOT_LEN, b"\0")
        file_len = self.file.seek(0, 2)
        self.superblock, self.notes = choose(file_len, (start[:SLOT_LEN], start[SLOT_LEN:]))
        expected = self.superblock.page_count * self.superblock.page_len
        check(file_len >= expected, f"the file has {file_len} bytes, not {expected}")
        self.damages, self.reached = [], set()

    def guarded(self, reference, action, *arguments):
        """Notes damage and goes on: what lies below is not read."""
        try:
            return action(*arguments)
        except Damage as damage:
            self.damages.append(f"page {reference & (1 << 40) - 1}: {damage}")

    def page(self, reference, kind, level):
        """The page that a reference names, which must be of this kind and this level."""
        superblock = self.superblock
        number, tag = reference & (1 << 40) - 1, reference >> 40
        is_page = superblock.reserved <= number < superblock.page_count
        check(is_page, "a reference into the superblock, or behind the end of the file")
        check(number not in self.reached, "it is referred to twice")
        self.reached.add(number)
        self.file.seek(number * superblock.page_len)
        page = self.file.read(superblock.page_len)
        check(crc32(page[4:]) == uint(page, 0, 4), "its checksum is wrong")
        check(uint(page, 8, 8) == number, "it has another number")
        check(tag_of(uint(page, 16, 8)) == tag, "it has another stamp")
        check((page[4], page[5]) == (kind, level), "it is not of the kind or level")
        check(kind <= INTERIOR or not any(page[24:40]), "its own bytes are not zero")
        check(kind not in (BITS, VALUE) or not any(page[6:8]), "it has a count")
        return page

    def tree(self, root, level, count):
        """The entries of a tree: pairs of key and value."""
        entries = []
        check(level <= MAX_LEVEL, "a root's level is impossible")
        if root:
            self.guarded(root, self.node, entries, root, level, self.superblock.moment, b"", None)
        check(self.damages or len(entries) == count, "a tree has another number of entries")
        return entries

    def node(self, entries, reference, level, youngest, low, high):
        """Adds the entries of a node and of those below it."""
        page = self.page(reference, INTERIOR if level else LEAF, level)
        stamp = uint(page, 16, 8)
        node = Node(page)
        check(stamp <= youngest, "it is younger than the page above")
        check(node.keys[0] >= low, "its first key belongs to the left")
        check(high is None or node.keys[-1] < high, "its last key belongs to the right")
        if level:
            bounds = [low, *node.keys, high]
            for child, low, high in zip(node.children, bounds, bounds[1:]):
                self.guarded(child, self.node, entries, child, level - 1, stamp, low, high)
            return
        for key, (is_large, value) in zip(node.keys, node.values):
            if is_large:
                run = struct.unpack("<3Q", value)
                value = self.guarded(run[0], self.value, *run, stamp)
            entries.append((key, value))

    def value(self, first, length, birth, youngest):
        """The bytes of a large value."""
        body_len = self.superblock.page_len - HEADER_LEN
        check(1 <= length <= MAX_VALUE_LEN, "a large value has an impossible length")
        count = -(-length // body_len)
        check(first + count <= self.superblock.page_count, "a value behind the end of the file")
        check(birth <= youngest, "a value is younger than its leaf")
        names = (number | tag_of(birth) << 40 for number in range(first, first + count))
        pages = [self.page(name, VALUE, 0) for name in names]
        check(all(uint(page, 16, 8) == birth for page in pages), "a page of another value")
        value = b"".join(page[HEADER_LEN:] for page in pages)
        check(not any(value[length:]), "something behind the end of a value")
        return value[:length]

    def catalogue(self):
        """The trees: name, and the entries of each."""
        trees, numbers = {b"main": (0, 0, 0, 0)}, set()
        for name, value in self.tree(*self.superblock.catalogue):
            check(value is not None and len(value) == 21, "a catalogue entry of another length")
            root, count, number, level = struct.unpack("<QQIB", value)
            check(name, "a tree without a name")
            check(root or (count, level) == (0, 0), "a tree with entries and no root")
            check((number == 0) == (name == b"main"), "the name or the number of `main`")
            check(number < self.superblock.next_tree, "a tree that was never created")
            check(number not in numbers, "two trees with one number")
            numbers.add(number)
            trees[name] = root, level, count, number
        return trees

    def space_map(self):
        """The numbers of the pages in use, as the map has them."""
        superblock = self.superblock
        body_len = superblock.page_len - HEADER_LEN
        counts = [-(-superblock.page_count // (8 * body_len))]
        while counts[-1] > 1:
            counts.append(-(-counts[-1] // (body_len // 8)))
        if not superblock.map:
            return set(range(superblock.page_count))
        check(superblock.map_level == len(counts) - 1, "the map is not as high as the file is long")
        names = [superblock.map]
        for level in range(superblock.map_level, -1, -1):
            check(len(names) == counts[level], "the map has another number of pages")
            pages = [self.page(name, INDEX if level else BITS, level) for name in names]
            for page in pages:
                check(uint(page, 16, 8) == superblock.moment, "a map of another moment")
            names = []
            for page in pages if level else ():
                end = HEADER_LEN + 8 * uint(page, 6, 2)
                check(end <= len(page) and not any(page[end:]), "something behind the references")
                names += [uint(page, at, 8) for at in range(HEADER_LEN, end, 8)]
        bits = int.from_bytes(b"".join(page[HEADER_LEN:] for page in pages), "little")
        check(bits.bit_length() == superblock.page_count, "the map ends before the file, or behind")
        return {at for at, bit in enumerate(reversed(f"{bits:b}")) if bit == "1"}

    def read(self):
        """Reads everything; returns the trees with their entries, and the numbers of the trees."""
        used = self.guarded(0, self.space_map)
        roots = self.guarded(0, self.catalogue) or {}
        trees, numbers = {}, {}
        for name, (*root, number) in sorted(roots.items()):
            trees[name], numbers[name] = self.guarded(root[0], self.tree, *root) or [], number
        if not self.damages:
            reached = self.reached | set(range(self.superblock.reserved))
            what = "reached by something, or used in the map, but not both"
            self.damages += [f"page {number}: {what}" for number in sorted(used ^ reached)]
        return trees, numbers


class Group:
    """A group of a log: its header, and its transactions."""

    def __init__(self, header, transactions):
        self.is_wrap, self.blocks = header[1] == 2, header[2]
        self.position, self.session, self.count, self.first_version = header[4:8]
        self.known, self.names = header[8:10]
        self.transactions = transactions


class Log:
    """The log that a superblock speaks of, and the groups that follow its checkpoint."""

    def __init__(self, path, superblock):
        self.superblock = superblock
        self.id, self.position, offset, self.session = superblock.log
        try:
            with open(path, "rb") as file:
                header, ring = file.read(BLOCK_LEN), file.read()
        except FileNotFoundError:
            raise Damage("the log is missing") from None
        self.check_header(header)
        self.count = len(ring) // BLOCK_LEN
        check(self.count >= 5, "the log is too short")
        check(offset < self.count, "the log cannot start where it should")
        check(1 <= self.session <= MAX_SESSION, "the log's start has an impossible session")
        self.first = offset
        blocks = [ring[at : at + BLOCK_LEN] for at in range(0, self.count * BLOCK_LEN, BLOCK_LEN)]
        # In the order in which they were written, from the start once around.
        self.ring = blocks[self.first :] + blocks[: self.first]
        self.groups = self.chain()
        self.check_others()

    def check_header(self, header):
        check(len(header) == BLOCK_LEN and header[:16] == LOG_MAGIC, "the log is something else")
        check(crc32(header[:-4]) == uint(header, BLOCK_LEN - 4, 4), "the log's header is damaged")
        if uint(header, 16, 4) > 1:
            raise Foreign(f"the log has format version {uint(header, 16, 4)}")
        check(uint(header, 16, 4) == 1, "the log's header has version 0")
        check(not any(header[20:32] + header[64:-4]), "the log's header has what it must not")
        check(header[32:48] == self.superblock.id, "the log is another database's")
        check(header[48:64] == self.id, "the log is another one of this database")

    def header(self, index):
        """What the header says of the group that begins with a block."""
        tag = uint(self.ring[index], 504, 8)
        if not tag >> 63 or not tag >> 32 & MAX_SESSION:
            raise End
        block = self.ring[index]
        check(crc32(block[:60]) == uint(block, 60, 4), "a group's header is rotten")
        header = struct.unpack_from("<4s3IQ2I3QI", block)
        magic, kind, blocks, length, position, session, count, first_version, known = header[:9]
        check(magic == b"ylog" and kind in (1, 2), "a group of another kind")
        check(blocks == -(-(64 + length) // 4032) <= MAX_GROUP_BLOCKS, "a group's length")
        check(kind == 1 or (count, length) == (0, 0), "a wrap group with transactions")
        check(1 <= session <= MAX_SESSION, "a group's session")
        check(max(position, first_version) < 1 << 63, "a group with a number that is the last one")
        check(known <= position, "a group that knows what is behind it")
        expected = 1 << 63 | session << 32 | position & 0xFFFFFFFF
        check(tag == expected, "a group that is tagged as another one")
        return header

    def check_place(self, index, is_wrap, blocks):
        """Can a group of so many blocks be here?"""
        check(blocks <= max(1, self.count // 8), "a group is too long for this ring")
        offset = (self.first + index) % self.count
        check(offset + blocks + (not is_wrap) <= self.count, "a group reaches up to the ring's end")
        check(index + blocks <= self.count, "a group reaches over the log's start")

    def group(self, index, header):
        """The whole group behind a header."""
        length, position, session = header[3:6]
        content = b""
        for at, block in enumerate(self.ring[index : index + header[2]]):
            tag = session << 32 | position + at & 0xFFFFFFFF | (0 if at else 1 << 63)
            for sector in range(0, BLOCK_LEN, SECTOR_LEN):
                if uint(block, sector + 504, 8) != tag:
                    raise End
                content += block[sector : sector + 504]
        check(crc32(content[64:]) == header[10], "a group is rotten")
        return content[64 : 64 + length]

    def chain(self):
        """The groups from the start on."""
        groups, index, session, next_version = [], 0, self.session, None
        position, base = self.position, self.superblock.version
        while index < self.count:
            tag = uint(self.ring[index], 504, 8)
            is_next = tag >> 63 and tag & 0xFFFFFFFF == position & 0xFFFFFFFF
            if not is_next or tag >> 32 & MAX_SESSION < session:
                break
            header = self.header(index)
            if header[4] != position:
                break
            self.check_place(index, header[1] == 2, header[2])
            try:
                payload = self.group(index, header)
            except End:
                break
            group = Group(header, split(payload, header[6]))
            if group.count:
                follow = range(1, base + 2)
                if next_version is not None:
                    follow = (max(next_version, base + 1), next_version)
                check(group.first_version in follow, "a version does not follow")
                next_version = group.first_version + group.count
            groups.append(group)
            session = group.session
            position += group.blocks
            following = self.count - self.first if group.is_wrap else index + group.blocks
            check(following > index, "a wrap group leads back to before the log's start")
            index = following
        self.end = position
        # One more group has to fit, and a block be left behind it in front of the ring's end.
        rest = self.count - (self.first + index) % self.count
        check(index + (1 if rest > 1 else 2) <= self.count, "the log is too full")
        return groups

    def check_others(self):
        """Does a whole group, wherever it is, know of more than there is?"""
        index = 0
        while index < self.count:
            try:
                header = self.header(index)
                self.check_place(index, header[1] == 2, header[2])
                self.group(index, header)
            except (End, Damage):
                index += 1
                continue
            check(header[8] <= self.end, "groups are missing that were durable")
            check(header[9] <= self.superblock.checkpoint, "the newest superblock is lost")
            index += header[2]


def split(payload, count):
    """The transactions of a group."""
    transactions, at = [], 0
    for _ in range(count):
        end = at + 4 + uint(payload, at, 4)
        check(at + 4 <= len(payload) and end <= len(payload), "transactions are cut off")
        transactions.append(payload[at + 4 : end])
        at = end
    check(at == len(payload), "a group has more than its transactions")
    return transactions


class Replay:
    """Makes the changes of a log again."""

    def __init__(self, superblock, trees, numbers):
        self.next_tree, self.max_key_len = superblock.next_tree, superblock.page_len // 4
        self.names = {number: name for name, number in numbers.items()}
        self.trees = {numbers[name]: dict(entries) for name, entries in trees.items()}

    def make(self, log, version):
        """Makes those that are later than a version."""
        for group in log.groups:
            for at, record in enumerate(group.transactions):
                if group.first_version + at == version + 1:
                    self.transaction(record)
                    version += 1

    def result(self):
        trees = {name: self.trees[number] for number, name in self.names.items()}
        return {name: sorted(entries.items()) for name, entries in sorted(trees.items())}

    def transaction(self, record):
        self.record, self.at = record, 0
        while self.at < len(record):
            kind, number = self.take(1)[0], self.number()
            check(PUT <= kind <= PASS_OVER, "a change of a kind that does not exist")
            if kind == PASS_OVER:
                self.next_tree = max(self.next_tree, number)
                continue
            check(kind == CREATE_TREE or number in self.trees, "a change of a tree that is not there")
            check(kind < CREATE_TREE or number != 0, "a change of `main` itself")
            self.change(kind, number)

    def change(self, kind, number):
        if kind == PUT:
            key_len, value_len = self.number(), self.number()
            key, value = self.take(key_len), self.take(value_len)
            check(key_len <= self.max_key_len, "a key is too long")
            self.trees[number][key] = value
        elif kind == DELETE:
            self.trees[number].pop(self.take(self.number()), None)
        elif kind == DELETE_RANGE:
            (is_behind, low), (is_before, high) = self.bound(True), self.bound(False)
            tree = self.trees[number]
            self.trees[number] = {
                key: tree[key] for key in tree if not (is_behind(key, low) and is_before(key, high))
            }
        elif kind == DROP_TREE:
            del self.trees[number], self.names[number]
        else:
            name = self.take(self.number())
            check(1 <= len(name) <= self.max_key_len, "a name is too long, or empty")
            others = [one for other, one in self.names.items() if other != number]
            check(name not in others, "a name that another tree has")
            if kind == CREATE_TREE:
                check(number >= self.next_tree, "a number that was given out before")
                self.trees[number], self.next_tree = {}, number + 1
            self.names[number] = name

    def take(self, length):
        self.at += length
        check(self.at <= len(self.record), "a change is cut off")
        return self.record[self.at - length : self.at]

    def number(self):
        number = 0
        for shift in range(0, 35, 7):
            byte = self.take(1)[0]
            number |= (byte & 0x7F) << shift
            if byte < 0x80:
                check(byte or not shift, "a number is longer than it has to be")
                check(number < 1 << 32, "a number is too large")
                return number
        raise Damage("a number is too large")

    def bound(self, is_lower):
        """What tells whether a key lies on the right side, and the key of the bound."""
        kind = self.take(1)[0]
        check(kind <= 2, "a bound of a kind that does not exist")
        if kind == 0:
            return (lambda key, bound: True), b""
        key = self.take(self.number())
        if is_lower:
            return (lambda key, low: key >= low if kind == 1 else key > low), key
        return (lambda key, high: key <= high if kind == 1 else key < high), key


def main(path):
    try:
        reader = Reader(path)
        superblock = reader.superblock
        log = Log(os.path.realpath(path) + "-log", superblock) if superblock.log else None
        trees, numbers = reader.read()
        if log:
            replay = Replay(superblock, trees, numbers)
            replay.make(log, superblock.version)
            trees = replay.result()
    except (Foreign, Damage) as error:
        print(f"{path}: {error}", file=sys.stderr)
        return 3 if isinstance(error, Damage) else 6
    for name, entries in trees.items():
        print(f"# {name.hex()}")
        for key, value in entries:
            print(f"{key.hex()}\t{(value or b'').hex()}")
    for line in reader.notes + reader.damages:
        print(line, file=sys.stderr)
    return 3 if reader.damages else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

#!/usr/bin/env python3
"""Checks an incident's journal without Lifeboat: its chain, and the anchors kept in repositories.

    verify_journal.py journal.jsonl [--anchors FOLDER]...

FOLDER is a repository's `anchors/INC-...`, or a copy of those objects. Nothing but Python's standard
library is needed, nothing is changed, and nothing of Lifeboat is used: whoever doubts the program
can read these lines instead.

Ends with 0 where the chain holds and every entry is anchored in every folder given, 4 where the
journal is not what was written (the first wrong entry is named), 12 where something could not be
compared, and 2 where it was called wrongly.
"""

import argparse
import hashlib
import json
import pathlib
import re
import sys

NAME = re.compile(r"^(\d{10,})-([0-9a-f]{64})\.json$")


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def read_journal(path):
    """The lines as bytes, and how many bytes of an unfinished line stand behind them."""
    data = path.read_bytes()
    lines = data.split(b"\n")
    torn = len(lines.pop())
    # A line that a power cut left half written may be closed by a line feed.
    if not torn and lines:
        try:
            json.loads(lines[-1])
        except ValueError:
            torn = len(lines.pop()) + 1
    return lines, torn


def check_chain(lines, anchored):
    """The first entry that breaks the chain, and why; None where it holds."""
    entries = []
    for number, line in enumerate(lines, 1):
        try:
            entry = json.loads(line)
            entries.append((entry["seq"], entry["prev"]))
        except (ValueError, KeyError, TypeError) as error:
            return number, f"it cannot be understood ({error})"
    numbers = [seq for seq, _ in entries]
    before = sha256(b"")
    for number, (seq, prev) in enumerate(entries, 1):
        if seq > number and number in numbers[number:]:
            return number, f"reordered: entry {seq} stands in its place"
        if seq > number:
            return number, f"deleted: entry {seq} follows"
        if seq < number:
            return number, f"inserted: a second entry with the number {seq}"
        if prev != before:
            if number == 1:
                return 1, "deleted: an entry stood before it"
            if sha256(lines[number - 2]) in anchored.get(number - 1, ()):
                return number, f"it was not written after entry {number - 1}"
            return number - 1, f"changed after entry {number} was written behind it"
        before = sha256(lines[number - 1])
    return None


def read_anchors(folder):
    """Number -> set of hashes, and the objects whose content is not what was written."""
    known, damaged = {}, []
    for path in sorted(folder.iterdir()):
        named = NAME.match(path.name)
        if not named:
            continue
        seq, digest = int(named[1]), named[2]
        known.setdefault(seq, set()).add(digest)
        try:
            anchor = json.loads(path.read_bytes())
            first, hashes = anchor["first"], anchor["lines"]
            if anchor["seq"] != seq or anchor["hash"] != digest or hashes[-1] != digest:
                raise ValueError("it is not what its name says")
            if first + len(hashes) != seq + 1:
                raise ValueError("its lines do not lead to its number")
        except (ValueError, KeyError, TypeError, IndexError):
            damaged.append(path.name)
            continue
        for number, one in enumerate(hashes, first):
            known.setdefault(number, set()).add(one)
    return known, damaged


def check_anchors(lines, known):
    """The first entry that is not what was anchored, and why; None where all are."""
    agreed = 0
    for number in sorted(known):
        hashes = known[number]
        if len(hashes) > 1:
            return number, number, "two different entries are anchored under its number"
        if number > len(lines):
            last = max(known)
            return len(lines) + 1, len(lines) + 1, f"truncated: entry {last} was anchored"
        if sha256(lines[number - 1]) not in hashes:
            what = "replaced" if agreed == 0 else "rewritten"
            return agreed + 1, number, f"{what}: entry {number} was anchored with another hash"
        agreed = number
    return None


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("journal", type=pathlib.Path)
    parser.add_argument("--anchors", type=pathlib.Path, action="append", default=[])
    given = parser.parse_args()

    incomplete = not given.anchors
    known, by_folder = {}, []
    for folder in given.anchors:
        try:
            found, damaged = read_anchors(folder)
        except OSError as error:
            print(f"COULD NOT VERIFY: {folder}: {error}")
            incomplete = True
            continue
        by_folder.append((folder, found))
        for number, hashes in found.items():
            known.setdefault(number, set()).update(hashes)
        if damaged:
            print(f"{folder}: {len(damaged)} anchors are damaged; their names were compared")

    try:
        lines, torn = read_journal(given.journal)
    except OSError as error:
        print(f"{'FAILED' if known else 'COULD NOT VERIFY'}: {given.journal}: {error}")
        return 4 if known else 12

    chain = check_chain(lines, known)
    anchors = check_anchors(lines, known)
    wrong = chain
    if anchors and (chain is None or anchors[1] < chain[0]):
        first, last, why = anchors
        wrong = (first, why if first == last else f"or one up to entry {last}: {why}")
    if wrong:
        print(f"FAILED: first wrong is entry {wrong[0]}: {wrong[1]}")
        return 4

    print(f"VERIFIED: the chain of {len(lines)} entries holds")
    if torn:
        print(f"{torn} bytes of an unfinished entry stand behind them")
    for folder, found in by_folder:
        newest = max(found, default=0)
        if newest == 0:
            print(f"NOT RUN: {folder}: no anchor")
        elif newest < len(lines):
            print(f"COULD NOT VERIFY: {folder}: entries from {newest + 1} on are not anchored yet")
        else:
            print(f"VERIFIED: {folder}: every entry is anchored")
        incomplete |= newest < len(lines)
    if not given.anchors:
        print("NOT RUN: no anchors were given; a tail that was cut off would not show")
    return 12 if incomplete else 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""Checks an incident's journal without Lifeboat: its chain, the anchors kept in repositories, and
the signatures that people gave with their SSH keys.

    verify_journal.py journal.jsonl [--anchors FOLDER]... [--allowed-signers FILE]

FOLDER is a repository's `anchors/INC-...`, or a copy of those objects. FILE is OpenSSH's list of
whose key is whose; its principals are the users that the journal names. Nothing but Python's standard
library is needed, for signatures OpenSSH's `ssh-keygen` too; nothing is changed, and nothing of
Lifeboat is used: whoever doubts the program can read these lines instead.

Ends with 0 where the chain holds, every entry is anchored in every folder given and every signature
is by that person's key; 4 where the journal is not what was written or signed (the wrong entry is
named), 12 where something could not be compared, and 2 where it was called wrongly.
"""

import argparse
import datetime
import hashlib
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

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


# How far a signature's own time may be from its entry's.
FRESH = datetime.timedelta(minutes=10)


def moment(text):
    """An RFC 3339 time; digits beyond microseconds are of no matter here."""
    text = re.sub(r"(\.\d{6})\d+", r"\1", text.replace("Z", "+00:00"))
    if "." in text:
        whole, rest = text.split(".", 1)
        digits = re.match(r"\d+", rest)[0]
        text = f"{whole}.{digits:0<6}{rest[len(digits):]}"
    return datetime.datetime.fromisoformat(text)


def signed_entries(entries):
    """What was signed, made anew from what the journal's entries say: number, user, what it is for,
    its name, the lines that had to be signed, and the signature that is kept."""
    first = entries[0]["data"]
    head = [f"incident: {first['id']}"]
    sign = None
    for entry in entries:
        user, kind, data = entry["actor"]["user"], entry["kind"], entry.get("data") or {}
        if kind == "checklist_signed":
            sign = (user, data)
        elif kind == "approval_given" and data.get("signed"):
            lines = ["Lifeboat: I approve this plan.", *head, f"cluster: {first['cluster']}"]
            lines += [f"plan: {data['plan_hash']}", f"user: {user}"]
            name = f"the approval of plan {data['plan_hash'][:8]}"
            yield entry, user, "lifeboat@approval", name, lines, data["signed"]
        elif kind == "sign_off_signed":
            lines = []
            # It belongs to the sign-off of that person and line right before it.
            if sign and sign[0] == user and sign[1]["item"] == data["item"]:
                own = sign[1]
                lines = ["Lifeboat: I sign this line of the checklist.", *head]
                lines += [f"line: {own['item']}", f"done: {str(own['done']).lower()}"]
                lines += [f"evidence: {json.dumps(own['evidence'], ensure_ascii=False)}"]
                lines += [f"user: {user}"]
            name = f"checklist line {data['item']}"
            yield entry, user, "lifeboat@checklist", name, lines, data["kept"]


def keygen(arguments, message):
    return subprocess.run(
        ["ssh-keygen", "-Y", *arguments],
        input=message.encode(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, "TZ": "UTC", "LC_ALL": "C"},
        check=False,
    )


def check_signature(entry, user, namespace, lines, kept, allowed):
    """VERIFIED, FAILED or COULD NOT VERIFY, and why."""
    at = moment(entry["at"])
    # When it was signed stands nowhere else than in the text that was signed.
    when = kept["text"].rsplit("\nat: ", 1)[-1].strip()
    try:
        if abs(moment(when) - at) > FRESH:
            return "FAILED", f"it was made at {when}, not when the entry was written"
    except (ValueError, TypeError):
        return "FAILED", "it names no time"
    message = "\n".join([*lines, f"at: {when}"]) + "\n"
    if message != kept["text"]:
        return "FAILED", "another text was signed than what the journal says"
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder, "signature")
        file.write_text(kept["signature"])
        fits = keygen(["check-novalidate", "-n", namespace, "-s", file], message)
        if fits.returncode != 0:
            return "FAILED", "the signature does not fit the text: " + words(fits)
        # Keys come and go: what counts is the list as of that moment.
        then = "-Overify-time=" + at.astimezone(datetime.timezone.utc).strftime("%Y%m%d%H%M%S")
        whose = ["-s", file, then, "-f", allowed]
        good = keygen(["verify", "-n", namespace, "-I", user, *whose], message)
        if good.returncode == 0:
            return "VERIFIED", words(good)
        found = keygen(["find-principals", *whose], message)
        others = found.stdout.decode(errors="replace").split() if found.returncode == 0 else []
        if others and user not in others and not any(set(one) & set("*?!") for one in others):
            return "FAILED", f"it is by the key of {', '.join(others)}, not of {user}"
        return "COULD NOT VERIFY", f"{allowed} has no such key of {user}: {words(fits)}"


def words(ran):
    return " ".join(ran.stdout.decode(errors="replace").split())


def check_signatures(lines, allowed):
    """Tells of each signature; how bad it is: 0, 4 or 12."""
    entries = [json.loads(line) for line in lines]
    found = list(signed_entries(entries)) if entries else []
    if not found:
        print("No signature with an SSH key is in it")
        return 0
    if allowed is None:
        print(f"NOT RUN: {len(found)} signatures; no --allowed-signers was given")
        return 12
    verdicts = set()
    for entry, user, namespace, name, text, kept in found:
        try:
            verdict, why = check_signature(entry, user, namespace, text, kept, allowed)
        except OSError as error:
            verdict, why = "COULD NOT VERIFY", str(error)
        print(f"{verdict}: entry {entry['seq']}, {name} by {user}: {why}")
        verdicts.add(verdict)
    return 4 if "FAILED" in verdicts else 0 if verdicts == {"VERIFIED"} else 12


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("journal", type=pathlib.Path)
    parser.add_argument("--anchors", type=pathlib.Path, action="append", default=[])
    parser.add_argument("--allowed-signers", type=pathlib.Path)
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
    signatures = check_signatures(lines, given.allowed_signers)
    return signatures if signatures == 4 else 12 if incomplete else signatures


if __name__ == "__main__":
    sys.exit(main())

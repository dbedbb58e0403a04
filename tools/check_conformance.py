#!/usr/bin/env python3
"""Compares docs/reference/conformance.md with the tests whose names begin with the id of a case of the catalogue.

Each row of the page's tables is `| CC-SUP-002 | Suite.what_is_shown | file | note |`; one row for each case, which names one of
its tests (a case may have several). A row whose test is `-` must have a note that says what shows the case instead.
A breach is: a test whose id has no row, a row whose test is gone, a case listed twice, a count in `## … (18)` that is not the
number of rows below it.

Usage: check_conformance.py [repository]     Prints each breach as file:line: text; exits 1 when there is one.
       check_conformance.py --write          Adds rows for cases without one, and corrects tests, files and counts; keeps notes.
       check_conformance.py --self-test      Shows that each rule finds its breach.
"""

import pathlib
import re
import sys
import tempfile

PAGE = "docs/reference/conformance.md"
TEST = re.compile(r"^(?:TYPED_)?TEST(?:_[FP])?\(\s*(\w+)\s*,\s*(CC_([A-Z]{3})_(\d{3})(\w*))\s*\)", re.M)
ROW = re.compile(r"^\| (CC-([A-Z]{3})-\d{3}) \| (\S+) \| (\S+) \| (.*?) ?\|$")
HEADING = re.compile(r"^## .*\((\d+)\)$")
PREFIXES = re.compile(r"<!-- cases: ([A-Z ]+) -->")


def tests_in(root):
    """From each case's id to its tests, as (full name, file)."""
    found = {}
    for path in sorted((root / "tests").rglob("*.cpp")):
        for match in TEST.finditer(path.read_text(encoding="utf-8")):
            case = f"CC-{match.group(3)}-{match.group(4)}"
            found.setdefault(case, []).append((f"{match.group(1)}.{match.group(2)}", path.relative_to(root).as_posix()))
    return found


def rows_in(lines):
    for number, line in enumerate(lines, 1):
        match = ROW.match(line)
        if match:
            yield number, *match.groups()


def check(root):
    page = root / PAGE
    if not page.is_file():
        return [f"{PAGE}:1: is missing"]
    breaches, tests, seen = [], tests_in(root), {}
    lines = page.read_text(encoding="utf-8").splitlines()
    for number, case, _, test, file, note in rows_in(lines):
        where = f"{PAGE}:{number}:"
        if case in seen:
            breaches.append(f"{where} {case} is listed twice")
        seen[case] = number
        if test == "-":
            if not note:
                breaches.append(f"{where} {case} has no test: a note must say what shows it instead")
            elif case in tests:
                breaches.append(f"{where} {case} has a test: {tests[case][0][0]}")
        elif (test, file) not in tests.get(case, []):
            breaches.append(f"{where} {test} is not in {file} (any more)")
    for case, found in sorted(tests.items()):
        if case not in seen:
            breaches.append(f"{found[0][1]}:1: {found[0][0]} has no row in {PAGE}: tools/check_conformance.py --write adds it")
    heading = None
    rows = {number for number, *_ in rows_in(lines)}
    for number, line in enumerate([*lines, "## end"], 1):
        match = HEADING.match(line)
        if line.startswith("## "):
            if heading and heading[1] != heading[2]:
                breaches.append(f"{PAGE}:{heading[0]}: says {heading[1]} cases and lists {heading[2]}")
            heading = [number, int(match.group(1)), 0] if match else None
        elif number in rows and heading:
            heading[2] += 1
    return breaches


def rewrite(root):
    """The page with a row for each case that has a test, under the section whose `cases` line names its prefix."""
    page, tests = root / PAGE, tests_in(root)
    lines = page.read_text(encoding="utf-8").splitlines()
    old = {case: (test, file, note) for _, case, _, test, file, note in rows_in(lines)}
    result = []
    for line in lines:
        if ROW.match(line):
            continue
        result.append(line)
        if line == "| --- | --- | --- | --- |":
            prefixes = next(PREFIXES.match(above) for above in reversed(result) if PREFIXES.match(above)).group(1).split()
            order = {prefix: index for index, prefix in enumerate(prefixes)}
            cases = [case for case in {*tests, *old} if case.split("-")[1] in order]
            for case in sorted(cases, key=lambda case: (order[case.split("-")[1]], case)):
                test, file, note = old.get(case, ("-", "-", ""))
                if case in tests and (test, file) not in tests[case]:
                    test, file = tests[case][0]
                result.append(f"| {case} | {test} | {file} | {note} |" if note else f"| {case} | {test} | {file} | |")
            heading = max(index for index, text in enumerate(result) if text.startswith("## "))
            result[heading] = re.sub(r"\(\d+\)$", f"({len(cases)})", result[heading])
    page.write_text("\n".join(result) + "\n", encoding="utf-8")


def self_test():
    head = "## Things (1)\n<!-- cases: ABC -->\n| case | test | file | note |\n| --- | --- | --- | --- |\n"
    row = "| CC-ABC-001 | Thing.CC_ABC_001_works | tests/a.cpp | |\n"
    code = "TEST(Thing, CC_ABC_001_works) {}\n"
    cases = [
        (head + row, code, None),
        (head + row, code + "TEST(Thing, CC_ABC_001_works_too) {}\n", None),
        (head + row, code + "TEST_F(Other, CC_ABC_002_is_new) {}\n", "has no row"),
        (head + row, "", "is not in tests/a.cpp"),
        (head.replace("1", "2") + row + row, code, "listed twice"),
        (head.replace("(1)", "(2)") + row, code, "says 2 cases and lists 1"),
        (head + "| CC-ABC-001 | - | - | types forbid it |\n", "", None),
        (head + "| CC-ABC-001 | - | - | |\n", "", "a note must say"),
        (head + "| CC-ABC-001 | - | - | types forbid it |\n", code, "has a test"),
    ]
    failed = 0
    for page, source, expected in cases:
        with tempfile.TemporaryDirectory() as folder:
            root = pathlib.Path(folder)
            (root / "docs" / "reference").mkdir(parents=True)
            (root / "tests").mkdir()
            (root / PAGE).write_text(page, encoding="utf-8")
            (root / "tests" / "a.cpp").write_text(source, encoding="utf-8")
            found = check(root)
            good = not found if expected is None else len(found) == 1 and expected in found[0]
            if not good:
                failed += 1
                print(f"self-test: {page!r} with {source!r}: expected {expected!r}, found {found}")
            rewrite(root)
            left = [breach for breach in check(root) if "note must say" not in breach and "is not in" not in breach]
            if left:
                failed += 1
                print(f"self-test: {page!r} with {source!r}: after --write: {left}")
    return failed


def main():
    if sys.argv[1:] == ["--self-test"]:
        sys.exit(1 if self_test() else 0)
    arguments = [argument for argument in sys.argv[1:] if argument != "--write"]
    root = pathlib.Path(arguments[0] if arguments else pathlib.Path(__file__).parent.parent).resolve()
    if "--write" in sys.argv:
        rewrite(root)
    breaches = check(root)
    print("\n".join(breaches), end="\n" if breaches else "")
    sys.exit(1 if breaches else 0)


main()

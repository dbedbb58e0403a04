#!/usr/bin/env python3
"""Compares the code quoted in documents with the examples it comes from.

A fenced block that follows a line `<!-- from: examples/01_counter.cpp -->` must occur in that file line by line, apart
from indentation that all its lines share. The examples are built and run, so what is quoted compiles. A fenced `cpp` block in
README.md without such a line is a breach: a newcomer's first program must be real.

Usage: check_snippets.py [repository]     Prints each breach as file:line: text; exits 1 when there is one.
       check_snippets.py --self-test      Shows that each rule finds its breach.
"""

import pathlib
import re
import sys
import tempfile
import textwrap

MARK = re.compile(r"^\s*<!--\s*from:\s*(\S+)\s*-->\s*$")
FENCE = re.compile(r"^(\s*)```(\w*)\s*$")


def occurs(snippet, source):
    wanted = [line.rstrip() for line in textwrap.dedent("\n".join(snippet)).strip("\n").split("\n")]
    lines = [line.rstrip() for line in source.split("\n")]
    for start in range(len(lines) - len(wanted) + 1):
        part = textwrap.dedent("\n".join(lines[start : start + len(wanted)])).split("\n")
        if [line.rstrip() for line in part] == wanted:
            return True
    return False


def check_document(root, path, breaches):
    relative = path.relative_to(root)
    lines = path.read_text(encoding="utf-8").splitlines()
    origin, number = None, 0
    while number < len(lines):
        mark = MARK.match(lines[number])
        fence = FENCE.match(lines[number])
        number += 1
        if mark:
            origin = (mark.group(1), number)
        elif fence:
            first, body = number, []
            while number < len(lines) and not FENCE.match(lines[number]):
                body.append(lines[number])
                number += 1
            number += 1
            if origin:
                source = root / origin[0]
                if not source.is_file():
                    breaches.append(f"{relative}:{origin[1]}: {origin[0]} does not exist")
                elif not body or not occurs(body, source.read_text(encoding="utf-8")):
                    breaches.append(f"{relative}:{first}: this block is not in {origin[0]} (any more)")
            elif fence.group(2) == "cpp" and relative.as_posix() == "README.md":
                breaches.append(f"{relative}:{first}: quote this from an example: <!-- from: examples/….cpp -->")
            origin = None
        elif origin and lines[number - 1].strip():
            breaches.append(f"{relative}:{origin[1]}: no fenced block follows this line")
            origin = None
    if origin:
        breaches.append(f"{relative}:{origin[1]}: no fenced block follows this line")


def check(root):
    breaches = []
    for path in sorted([*root.glob("*.md"), *(root / "docs").rglob("*.md")]):
        check_document(root, path, breaches)
    return breaches


def self_test():
    example = "int main() {\n  start();\n  stop();\n}\n"
    cases = [
        ("<!-- from: examples/a.cpp -->\n```cpp\nstart();\nstop();\n```\n", None),
        ("<!-- from: examples/a.cpp -->\n\n```cpp\n  start();\n```\n", None),
        ("<!-- from: examples/a.cpp -->\n```cpp\nstop();\nstart();\n```\n", "not in examples/a.cpp"),
        ("<!-- from: examples/a.cpp -->\n```cpp\n```\n", "not in examples/a.cpp"),
        ("<!-- from: examples/b.cpp -->\n```cpp\nstart();\n```\n", "does not exist"),
        ("<!-- from: examples/a.cpp -->\ntext\n", "no fenced block"),
        ("<!-- from: examples/a.cpp -->\n", "no fenced block"),
        ("```cpp\nstart();\n```\n", "quote this"),
        ("```sh\n./dev\n```\n", None),
    ]
    failed = 0
    for text, expected in cases:
        with tempfile.TemporaryDirectory() as folder:
            root = pathlib.Path(folder)
            (root / "examples").mkdir()
            (root / "examples" / "a.cpp").write_text(example, encoding="utf-8")
            (root / "README.md").write_text(text, encoding="utf-8")
            found = check(root)
        good = not found if expected is None else len(found) == 1 and expected in found[0]
        if not good:
            failed += 1
            print(f"self-test: {text!r}: expected {expected!r}, found {found}")
    return failed


def main():
    if sys.argv[1:] == ["--self-test"]:
        sys.exit(1 if self_test() else 0)
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent.parent).resolve()
    breaches = check(root)
    print("\n".join(breaches), end="\n" if breaches else "")
    sys.exit(1 if breaches else 0)


main()

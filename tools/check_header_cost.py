#!/usr/bin/env python3
"""Compares what each public header of base and runtime costs to compile with what its standard includes alone cost.

Usage: check_header_cost.py [-v] [header…]     Prints each header above the bar; exits 1 when there is one.

The cost is the processor time of one `g++ -fsyntax-only`. Whatever else runs on the machine only ever adds to it, so
the least of several rounds counts, and a header above the bar is measured again before it is reported.
"""

import functools
import os
import pathlib
import re
import resource
import subprocess
import sys
import tempfile

ROOMS = ["base", "runtime"]
RATIO_MAX = 1.3
ROUNDS_FIRST = 2
ROUNDS_MAX = 9
COST_MIN = 0.03  # seconds; below, a header is free, and the clock too coarse
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')
ROOT = pathlib.Path(__file__).resolve().parent.parent
COMPILER = [os.environ.get("CXX", "g++"), "-std=c++23", "-fsyntax-only", "-I", str(ROOT / "include")]


def standard_includes(header):
    """The standard headers that `header` includes, itself or by other headers of ours, in the order they are reached."""
    found, seen, todo = [], set(), [header]
    while todo:
        current = todo.pop()
        if current in seen:
            continue
        seen.add(current)
        ours = []
        for line in (ROOT / "include" / current).read_text().splitlines():
            if match := INCLUDE.match(line):
                kind, name = match.groups()
                if kind == "<" and name not in found:
                    found.append(name)
                elif kind == '"':
                    ours.append(name)
        todo.extend(reversed(ours))
    return tuple(sorted(found))


class Source:
    """A file that includes something; `cost` is the least time that compiling it has taken."""

    def __init__(self, folder, name, lines):
        self.path = pathlib.Path(folder) / f"{name}.cpp"
        self.path.write_text("".join(f"#include {line}\n" for line in lines))
        self.cost = float("inf")
        self.rounds = 0

    def measure(self, rounds):
        while self.rounds < rounds:
            before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
            subprocess.run([*COMPILER, str(self.path)], check=True)
            self.cost = min(self.cost, resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before)
            self.rounds += 1


def main():
    verbose = "-v" in sys.argv[1:]
    wanted = [name for name in sys.argv[1:] if name != "-v"]
    headers = sorted(
        str(path.relative_to(ROOT / "include"))
        for room in ROOMS
        for path in (ROOT / "include/dagverk" / room).glob("*.hpp")
    )
    if wanted:
        headers = [header for header in headers if any(name in header for name in wanted)]
    too_dear, highest = [], 0.0
    with tempfile.TemporaryDirectory() as folder:

        @functools.lru_cache(maxsize=None)
        def baseline(includes):
            return Source(folder, f"standard{abs(hash(includes))}", [f"<{name}>" for name in includes])

        for number, header in enumerate(headers):
            ours = Source(folder, f"header{number}", [f'"{header}"'])
            theirs = baseline(standard_includes(header))
            for rounds in range(ROUNDS_FIRST, ROUNDS_MAX + 1):
                theirs.measure(rounds)
                ours.measure(rounds)
                ratio = ours.cost / max(theirs.cost, COST_MIN)
                if ratio <= RATIO_MAX:
                    break
            highest = max(highest, ratio)
            text = f"{header}: {ours.cost * 1e3:.0f} ms, its standard includes {theirs.cost * 1e3:.0f} ms: {ratio:.2f}"
            if ratio > RATIO_MAX:
                too_dear.append(text)
            if verbose:
                print(text)
    for text in too_dear:
        print(f"{text}, at most {RATIO_MAX} is allowed")
    print(f"{len(headers)} headers cost at most {highest:.2f} times their standard includes")
    return 1 if too_dear else 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""Finds words that do not belong into the repository: paths of one machine, unfinished work, time from elsewhere than a Clock.

Usage: check_words.py [repository]     Prints each breach as file:line: text; exits 1 when there is one.
       check_words.py --self-test      Shows that each rule finds its breach.
"""

import pathlib
import re
import sys
import tempfile

# A pattern, the files it is looked for in (by path from the root), the exceptions, and what to do instead.
EVERYWHERE = r".*"
CODE = r"(include|src|apps)/"
TESTED = r"(include|src|apps|tests)/"
RULES = [
    (r"(?<![\w.$}/])/(work|home|Users)/\w", EVERYWHERE, r"tools/check_words\.py", "is a path of one machine"),
    (r"\b(TODO|FIXME|XXX)\b", EVERYWHERE, r"tools/check_words\.py", "marks unfinished work: finish it, or open an issue"),
    (r"_clock::now\(|this_thread::sleep_|\busleep\(", TESTED, r"src/base/clock\.cpp|tests/integration/",
     "takes time from elsewhere than the injected Clock"),
    (r"\bassert\(", CODE, r"$^", "vanishes in release builds: DAGVERK_ASSERT"),
    (r"^(?=.{121})\s*//.*", TESTED, r"$^", "goes beyond 120 columns: comments are laid out by hand"),
    (r"\batomic_thread_fence\b", TESTED, r"$^", "is not understood by the thread sanitizer: order the accesses themselves"),
]
FOLDERS = ["include", "src", "apps", "tests", "examples", "benchmarks", "fuzz", "cmake", "tools", "docs", ".ci", "web"]
TEXT = {".hpp", ".cpp", ".md", ".txt", ".cmake", ".in", ".py", ".sh", ".json", ".toml", ".yml", ".sql", ""}


def files(root):
    yield from (path for path in sorted(root.iterdir()) if path.is_file() and path.suffix in TEXT and path.name != ".git")
    for folder in FOLDERS:
        for path in sorted((root / folder).rglob("*")):
            if path.is_file() and path.suffix in TEXT and "__pycache__" not in path.parts:
                yield path


def check(root):
    breaches = []
    for path in files(root):
        relative = path.relative_to(root).as_posix()
        rules = [(re.compile(p), why) for p, where, but, why in RULES if re.match(where, relative) and not re.match(but, relative)]
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(lines, 1):
            for pattern, why in rules:
                match = pattern.search(line)
                if match:
                    breaches.append(f"{relative}:{number}: `{match.group(0)}` {why}")
    return breaches


def self_test():
    cases = [
        ("docs/a.md", "see /work/x", "path of one machine"),
        ("src/a.cpp", "// TODO: later", "unfinished"),
        ("src/jobs/a.cpp", "auto now = std::chrono::steady_clock::now();", "injected Clock"),
        ("tests/a.cpp", "std::this_thread::sleep_for(1ms);", "injected Clock"),
        ("src/a.cpp", "assert(x);", "DAGVERK_ASSERT"),
        ("src/a.cpp", "std::atomic_thread_fence(std::memory_order_seq_cst);", "thread sanitizer"),
        ("src/a.cpp", "  // " + "far " * 30, "beyond 120 columns"),
        ("src/base/clock.cpp", "std::this_thread::sleep_for(d); std::chrono::steady_clock::now();", None),
        ("src/a.cpp", "static_assert(x); DAGVERK_ASSERT(x); // https://host/work/x, src/work/y", None),
    ]
    failed = 0
    for name, text, expected in cases:
        with tempfile.TemporaryDirectory() as folder:
            root = pathlib.Path(folder)
            path = root / name
            path.parent.mkdir(parents=True)
            path.write_text(text + "\n", encoding="utf-8")
            found = check(root)
        good = not found if expected is None else len(found) == 1 and expected in found[0]
        if not good:
            failed += 1
            print(f"self-test: {name} with {text!r}: expected {expected!r}, found {found}")
    return failed


def main():
    if sys.argv[1:] == ["--self-test"]:
        sys.exit(1 if self_test() else 0)
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent.parent).resolve()
    breaches = check(root)
    print("\n".join(breaches), end="\n" if breaches else "")
    sys.exit(1 if breaches else 0)


main()

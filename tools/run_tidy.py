#!/usr/bin/env python3
"""Runs clang-tidy over our own sources, several at once, and skips those that passed before with the same content.

A file's key covers its text, the text of every header of ours that it includes (through others, too), its compile command,
the rules and clang-tidy's version. A passed key is an empty file below build/tidy-cache. Failures are never kept.

Usage: run_tidy.py <build folder with compile_commands.json> [part of a path…]
"""

import concurrent.futures
import hashlib
import json
import os
import pathlib
import re
import subprocess
import sys

TIDY = "clang-tidy-19"
ROOT = pathlib.Path(__file__).resolve().parent.parent
OURS = ("src", "apps", "tests", "benchmarks", "examples", "fuzz")
INCLUDE = re.compile(rb'^\s*#\s*include\s*"([^"]+)"', re.M)
texts = {}


def text_of(path):
    if path not in texts:
        texts[path] = path.read_bytes()
    return texts[path]


def closure(path):
    """`path` and every header of ours that it reaches, in a fixed order."""
    seen, todo = {path}, [path]
    while todo:
        current = todo.pop()
        for name in INCLUDE.findall(text_of(current)):
            for base in (current.parent, ROOT / "include", ROOT / "src", ROOT / "tests"):
                header = base / os.fsdecode(name)
                if header.is_file():
                    header = header.resolve()
                    if header not in seen:
                        seen.add(header)
                        todo.append(header)
                    break
    return sorted(seen)


def rules(path):
    """The .clang-tidy files that apply to `path`."""
    return [folder / ".clang-tidy" for folder in path.parents if (folder / ".clang-tidy").is_file()]


def key_of(path, command, version):
    digest = hashlib.sha256(version + command.replace(str(ROOT), "").encode())
    for part in [*rules(path), *closure(path)]:
        digest.update(hashlib.sha256(text_of(part)).digest())
    return digest.hexdigest()


def main():
    build = pathlib.Path(sys.argv[1]).resolve()
    wanted = sys.argv[2:]
    version = subprocess.run([TIDY, "--version"], capture_output=True, check=True).stdout
    cache = ROOT / "build" / "tidy-cache"
    cache.mkdir(parents=True, exist_ok=True)

    work, passed_before = [], 0
    for entry in json.loads((build / "compile_commands.json").read_text()):
        path = (pathlib.Path(entry["directory"]) / entry["file"]).resolve()
        if not path.is_relative_to(ROOT) or path.relative_to(ROOT).parts[0] not in OURS:
            continue
        if wanted and not any(part in path.as_posix() for part in wanted):
            continue
        key = key_of(path, entry["command"], version)
        if (cache / key).exists():
            passed_before += 1
        elif (path, key) not in work:
            work.append((path, key))

    def tidy(item):
        path, key = item
        run = subprocess.run([TIDY, "--quiet", "-p", str(build), str(path)], capture_output=True, text=True, errors="replace")
        if run.returncode == 0:
            (cache / key).touch()
        return path, run

    # The largest files first, so that none of them is left alone at the end.
    work.sort(key=lambda item: -sum(len(text_of(part)) for part in closure(item[0])))
    failed = []
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for path, run in pool.map(tidy, work):
            if run.returncode != 0:
                failed.append(path)
                print(run.stdout, run.stderr if not run.stdout.strip() else "", sep="", end="", flush=True)
    print(f"{len(work)} files looked at, {passed_before} unchanged, {len(failed)} with findings")
    sys.exit(1 if failed else 0)


main()

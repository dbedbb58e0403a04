#!/usr/bin/env python3
"""Runs clang-tidy over our own sources, several at once, and skips those that passed before with the same content.

Nearly all of clang-tidy's time goes into the headers, so the files of a folder are looked at together: a unit includes up
to a dozen of them. Files that define the same name are kept apart; a unit that does not compile is taken apart.

A file's key covers its text, the text of every header of ours that it includes (through others, too), its compile command,
the rules and clang-tidy's version. A passed key is an empty file in the user's cache folder, so that all clones share what
passed ($DAGVERK_TIDY_CACHE, else dagverk-tidy below $XDG_CACHE_HOME, else below ~/.cache). Failures are never kept.

Usage: run_tidy.py <build folder with compile_commands.json> [part of a path…]
"""

import concurrent.futures
import dataclasses
import hashlib
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys

TIDY = "clang-tidy-19"
ROOT = pathlib.Path(__file__).resolve().parent.parent
OURS = ("src", "apps", "tests", "benchmarks", "examples", "fuzz")
UNIT_LIMIT = 12
INCLUDE = re.compile(rb'^\s*#\s*include\s*"([^"]+)"', re.M)
# What a file defines in a namespace begins at the first column: a type, or a function, constant or variable.
DEFINED = re.compile(
    rb"^(?:template <.*> ?)?(?:(?:struct|class|enum class|enum|union|concept|using(?= \w+ =)|#define) (\w+)"
    rb"|(?!namespace|using)[A-Za-z_][\w:<>,&*\[\] ]*?[ &*](?<!::)(\w+)(?:\[\w*\])?(?:\(| = |\{|;))", re.M)
UNIT_PART = """#define main main_{number}
#include "{path}"  // NOLINT(bugprone-suspicious-include)
#undef main
"""
texts = {}

@dataclasses.dataclass
class File:
    path: pathlib.Path
    arguments: tuple  # of the compiler, without the file and its output
    folder: str  # where the command is run
    key: str

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
    """The .clang-tidy files that apply to `path`, the nearest first."""
    return [folder / ".clang-tidy" for folder in path.parents if (folder / ".clang-tidy").is_file()]

def key_of(path, command, version):
    digest = hashlib.sha256(version + command.replace(str(ROOT), "").encode())
    for part in [*rules(path), *closure(path)]:
        digest.update(hashlib.sha256(text_of(part)).digest())
    return digest.hexdigest()

def arguments_of(command):
    """The compiler's arguments that say how a file is read."""
    words, kept = iter(shlex.split(command)[1:]), []
    for word in words:
        if word in ("-o", "-c"):
            next(words)
        else:
            kept.append(word)
    return tuple(kept)

def defined_names(path):
    return {name for groups in DEFINED.findall(text_of(path)) for name in groups if name} - {b"main"}

def make_units(files):
    """Lists of files that one run looks at: of one folder and one way to compile, without a name that two of them define."""
    units, shared = [], {}
    for file in files:
        names = defined_names(file.path)
        place = shared.setdefault((file.path.parent, file.arguments, file.folder), [])
        for unit, taken in place:
            if len(unit) < UNIT_LIMIT and taken.isdisjoint(names):
                unit.append(file)
                taken |= names
                break
        else:
            unit = [file]
            place.append((unit, names))
            units.append(unit)
    return units


def look_at(files, folder):
    """Runs clang-tidy over `files` at once; returns what it said, by its exit and its two outputs."""
    path, arguments = files[0].path, files[0].arguments
    if len(files) > 1:
        # The unit lies in a mirror of our folders, with their rules: clang-tidy looks for these from a file's folder upwards.
        mirror = folder / path.parent.relative_to(ROOT)
        mirror.mkdir(parents=True, exist_ok=True)
        for rule in rules(path):
            if rule.parent != ROOT:
                (folder / rule.relative_to(ROOT)).write_bytes(rule.read_bytes())
        path = mirror / (hashlib.sha256("".join(file.key for file in files).encode()).hexdigest()[:16] + ".cpp")
        path.write_text("".join(UNIT_PART.format(number=number, path=file.path) for number, file in enumerate(files)))
        # Headers come after other files' names here, and a `main` of another name must return. Within one file, the
        # compilers say both.
        arguments += ("-Wno-shadow", "-Wno-return-type")
    return subprocess.run([TIDY, "--quiet", str(path), "--", *arguments], capture_output=True, text=True,
                          errors="replace", cwd=files[0].folder)


def cache_folder():
    own = os.environ.get("DAGVERK_TIDY_CACHE")
    shared = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(own or pathlib.Path(shared, "dagverk-tidy"))


def main():
    build = pathlib.Path(sys.argv[1]).resolve()
    wanted = sys.argv[2:]
    version = subprocess.run([TIDY, "--version"], capture_output=True, check=True).stdout
    cache = cache_folder()
    cache.mkdir(parents=True, exist_ok=True)
    folder = build / "tidy"
    folder.mkdir(exist_ok=True)

    work, keys, passed_before = [], set(), 0
    for entry in json.loads((build / "compile_commands.json").read_text()):
        path = (pathlib.Path(entry["directory"]) / entry["file"]).resolve()
        if not path.is_relative_to(ROOT) or path.relative_to(ROOT).parts[0] not in OURS:
            continue
        if wanted and not any(part in path.as_posix() for part in wanted):
            continue
        arguments = arguments_of(entry["command"])
        key = key_of(path, shlex.join(arguments), version)
        if (cache / key).exists():
            passed_before += 1
        elif (path, key) not in keys:
            keys.add((path, key))
            work.append(File(path, arguments, entry["directory"], key))

    def tidy(files):
        run = look_at(files, folder)
        if "[clang-diagnostic-error]" in run.stdout and len(files) > 1:
            # Each by itself says which of them does not compile, or nothing when they only cannot live together.
            return [result for file in files for result in tidy([file])]
        if run.returncode == 0:
            for file in files:
                (cache / file.key).touch()
        return [(files, run)]

    # The largest first, so that none of them is left alone at the end.
    units = make_units(work)
    units.sort(key=lambda files: -sum(len(text_of(file.path)) for file in files))
    failed = 0
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for results in pool.map(tidy, units):
            for files, run in results:
                if run.returncode != 0:
                    failed += 1
                    print(run.stdout, run.stderr if not run.stdout.strip() else "", sep="", end="", flush=True)
    print(f"{len(work)} files looked at in {len(units)} runs, {passed_before} unchanged, {failed} runs with findings")
    sys.exit(1 if failed else 0)

if __name__ == "__main__":
    main()

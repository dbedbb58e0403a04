#!/usr/bin/env python3
"""Finds types that have one name in two files: linked into one program, each would be taken for the other.

Usage: check_type_names.py [repository]     Prints each name with its files; exits 1 when there is one.
       check_type_names.py --self-test      Shows what is found and what is not.

Looks at namespaces of include, src and apps; types in unnamed namespaces and inside others are their file's own.
"""

import collections
import pathlib
import re
import sys
import tempfile

# Texts and comments may hold braces, so they go first.
IGNORED = re.compile(r'R"(\w*)\((?:.|\n)*?\)\1"|"(?:\\.|[^"\\\n])*"|(?<![\w])\'(?:\\.|[^\'\\\n])\'|//[^\n]*|/\*(?:.|\n)*?\*/')
TOKEN = re.compile(
    r"(?:inline\s+)?namespace\s*(?P<namespace>[\w:]*)\s*\{"
    r"|(?P<template><>\s*)?\b(?:struct|class|enum class|enum|union)\s+(?:\[\[[^\]]*\]\]\s*)?(?P<type>\w+)\s*(?:final\s*)?(?=[{]|:[^:])"
    r"|(?P<open>\{)|(?P<close>\})"
)
UNNAMED = "(unnamed)"


def types_of(text):
    """The qualified names of the types that `text` defines in namespaces."""
    scopes = []  # a namespace's name, or None for any other block
    for token in TOKEN.finditer(IGNORED.sub(" ", text)):
        if token["close"]:
            if scopes:
                scopes.pop()
        elif token["open"]:
            scopes.append(None)
        elif token["type"]:
            if None not in scopes and UNNAMED not in scopes and not token["template"]:
                yield "::".join([*scopes, token["type"]])
        else:
            scopes.append(token["namespace"] or UNNAMED)


def check(root):
    files = collections.defaultdict(list)
    for folder in ("include", "src", "apps"):
        for path in sorted((root / folder).rglob("*")):
            if path.suffix in (".hpp", ".cpp"):
                for name in set(types_of(path.read_text(encoding="utf-8"))):
                    files[name].append(path.relative_to(root).as_posix())
    return [f"{places[-1]}:1: {name} is also in {', '.join(places[:-1])}" for name, places in sorted(files.items()) if len(places) > 1]


def self_test():
    first = "namespace a {\nstruct Options {\n  int x;\n};\n}\n"
    cases = [
        (first, True),
        ("namespace a {\nclass Options final : public B {};\n}\n", True),
        ("namespace a {\nenum class Options : char { x };\n}\n", True),
        ("namespace b {\nstruct Options {};\n}\n", False),
        ("namespace a {\nnamespace {\nstruct Options {};\n}\n}\n", False),
        ("namespace a {\nstruct Other {\n  struct Options {};\n};\n}\n", False),
        ("namespace a {\nstruct Options;\nstruct Options use();\n}\n", False),
        ("namespace a {\n// struct Options {\nauto text = \"struct Options {\";\n}\n", False),
        ("namespace a {\ntemplate <>\nstruct Options<int> {};\n}\n", False),
    ]
    failed = 0
    for text, expected in cases:
        with tempfile.TemporaryDirectory() as folder:
            root = pathlib.Path(folder)
            (root / "src").mkdir()
            (root / "src/one.cpp").write_text(first, encoding="utf-8")
            (root / "src/two.cpp").write_text(text, encoding="utf-8")
            if bool(check(root)) != expected:
                failed += 1
                print(f"self-test: {text!r}: expected {'a' if expected else 'no'} finding, found {check(root)}")
    return failed


def main():
    if sys.argv[1:] == ["--self-test"]:
        sys.exit(1 if self_test() else 0)
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent.parent).resolve()
    breaches = check(root)
    print("\n".join(breaches), end="\n" if breaches else "")
    sys.exit(1 if breaches else 0)


main()

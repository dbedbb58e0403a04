#!/usr/bin/env python3
"""Compares the log events in the code with the rows of docs/reference/telemetry.md, both ways."""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
CALL = re.compile(r'(?:\.|->)(?:debug|info|warning|error)\(\s*"([a-z_]+\.[a-z_]+)"')
ROW = re.compile(r"^\| `([a-z_]+\.[a-z_]+)` \|", re.MULTILINE)


def main() -> int:
    logged: dict[str, str] = {}
    for folder in ("include", "src", "apps"):
        for path in sorted((ROOT / folder).rglob("*.?pp")):
            for name in CALL.findall(path.read_text(encoding="utf-8")):
                logged.setdefault(name, str(path.relative_to(ROOT)))
    rows = set(ROW.findall((ROOT / "docs/reference/telemetry.md").read_text(encoding="utf-8")))
    problems = [f"{path}: logs {name}, which has no row" for name, path in logged.items() if name not in rows]
    problems += [f"docs/reference/telemetry.md: nobody logs {name}" for name in sorted(rows - set(logged))]
    if not logged:
        problems.append("no log event found in the code: the search is broken")
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())

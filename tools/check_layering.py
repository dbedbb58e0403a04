#!/usr/bin/env python3
"""Compares every #include and every room's CMakeLists.txt with the map of the rooms.

Usage: check_layering.py [repository]     Prints each breach as file:line: text; exits 1 when there is one.
       check_layering.py --self-test      Shows that each rule finds its breach.
"""

import pathlib
import re
import sys
import tempfile

# What each room may use; whatever those may use follows. `a: b` reads "a may include b".
ARROWS = {
    "base": [],
    "runtime": ["base"],
    "stage": ["runtime"],
    "event": ["stage"],
    "log": ["event"],
    "report": ["event"],
    "jobs": ["event"],
    "testing": ["event"],
    "net": ["base"],
    "log_upload": ["log", "net"],
    "stores/sqlite": ["jobs"],
    "stores/redis": ["jobs", "net"],
    "dashboard": ["jobs", "net"],
    "worker": ["stores/sqlite", "stores/redis", "log_upload"],
    "testing_jobs": ["jobs", "testing"],
    "simulation": ["testing_jobs"],
}

# A room of several targets: what only one of its parts needs, the others' users do not link.
NET_TARGETS = ["net_http_client", "net_redis"]

# Third-party headers: a pattern, the rooms whose sources may include it, the rooms whose public headers may.
THIRD_PARTY = [
    (r"boost/json", {"jobs", "stores/sqlite", "stores/redis", "worker", "dashboard", "testing_jobs"}, set()),
    (r"boost/(asio|beast)", {"net"}, set()),
    (r"boost/", {"jobs", "net", "worker"}, set()),
    (r"fmt/", {"log", "jobs", "stores/sqlite", "stores/redis", "worker", "dashboard"}, set()),
    (r"spdlog/", {"log"}, {"log"}),  # dagverk/log/spdlog_sink.hpp alone, see check_file
    (r"date/", {"jobs"}, set()),
    (r"sqlite3\.h", {"stores/sqlite"}, set()),
    (r"(openssl|hiredis)/", {"net"}, set()),
    (r"toml\+\+/", {"worker"}, set()),
    (r"(gtest|gmock|catch2)/", {"report", "testing", "testing_jobs"}, {"report", "testing", "testing_jobs"}),
    (r"prometheus/", {"dashboard"}, set()),
    (r"(rapidcheck|benchmark)/", set(), set()),
]
STANDARD = re.compile(r"((sys|linux|arpa|net|netinet|asm|bits)/)?[a-z_0-9]+(\.h)?$")
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')
SOURCES = {".hpp", ".cpp"}


def reachable(room):
    seen, todo = set(), [room]
    while todo:
        current = todo.pop()
        if current not in seen:
            seen.add(current)
            todo.extend(ARROWS[current])
    return seen


def room_of(parts):
    """The room that a path below include/dagverk or src belongs to, or None."""
    if parts and parts[0] == "stores" and len(parts) > 1:
        return f"stores/{parts[1]}"
    return parts[0] if parts else None


def check_file(root, path, breaches):
    relative = path.relative_to(root)
    public = relative.parts[0] == "include"
    room = room_of(relative.parts[2:-1] if public else relative.parts[1:-1])
    if room is None:
        return  # include/dagverk/*.hpp: umbrella headers for users
    if room not in ARROWS:
        breaches.append(f"{relative}:1: the room {room} is not on the map: add it to tools/check_layering.py")
        return
    allowed = reachable(room)
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        match = INCLUDE.match(line)
        if not match:
            continue
        quote, name = match.groups()
        where = f"{relative}:{number}:"
        if quote == '"':
            parts = name.split("/")
            if parts[0] == "dagverk":
                target = room_of(parts[1:-1])
                if target is None:
                    breaches.append(f"{where} {name} is an umbrella for users; include what is used")
                elif target not in allowed:
                    breaches.append(f"{where} {room} may not include {name}: {target} is not below it")
            elif public:
                breaches.append(f"{where} a public header may not include the private {name}")
            else:
                target = room_of(parts[:-1])
                if target is None:
                    if not (path.parent / name).is_file():
                        breaches.append(f"{where} {name} is not beside this file: write it as a path from src/")
                elif target != room:
                    breaches.append(f"{where} {name} is private to {target}; share it through dagverk/{target}/detail/")
            continue
        for pattern, private_rooms, public_rooms in THIRD_PARTY:
            if re.match(pattern, name):
                sink_alone = pattern == "spdlog/" and public and relative.name != "spdlog_sink.hpp"
                if sink_alone or room not in (public_rooms if public else private_rooms):
                    kind = "public headers" if public else "sources"
                    breaches.append(f"{where} <{name}> may not appear in the {kind} of {room}")
                break
        else:
            if not STANDARD.match(name):
                breaches.append(f"{where} <{name}> is no known header: add its row to tools/check_layering.py")


def check_links(root, path, breaches):
    room = room_of(path.relative_to(root / "src").parts[:-1])
    target_of = {name.replace("stores/", "store_"): name for name in ARROWS}
    target_of.update((target, "net") for target in NET_TARGETS)
    text = re.sub(r"#.*", "", path.read_text(encoding="utf-8"))
    for name, body in re.findall(r"dagverk_add_module\(\s*(\w+)(.*?)\)", text, re.S):
        own = target_of.get(name, room)
        keyword = None
        for word in body.split():
            if word.isupper():
                keyword = word
            elif keyword in ("PUBLIC_DEPS", "PRIVATE_DEPS"):
                target = target_of.get(word, room if (root / "src" / room).exists() and word.startswith(room) else None)
                if target is None or own not in ARROWS or target not in reachable(own):
                    breaches.append(f"{path.relative_to(root)}:1: {name} may not link {word}")


def check(root):
    breaches = []
    for folder in ("include/dagverk", "src"):
        for path in sorted((root / folder).rglob("*")):
            if path.suffix in SOURCES:
                check_file(root, path, breaches)
    for path in sorted((root / "src").rglob("CMakeLists.txt")):
        check_links(root, path, breaches)
    return breaches


def self_test():
    cases = [
        ("include/dagverk/base/a.hpp", '#include "dagverk/runtime/b.hpp"', "runtime is not below it"),
        ("src/stage/a.cpp", '#include "dagverk/event/b.hpp"', "event is not below it"),
        ("src/net/a.cpp", '#include "dagverk/runtime/b.hpp"', "runtime is not below it"),
        ("include/dagverk/jobs/a.hpp", "#include <boost/json.hpp>", "public headers of jobs"),
        ("src/event/a.cpp", "#include <boost/asio.hpp>", "sources of event"),
        ("include/dagverk/log/a.hpp", "#include <spdlog/spdlog.h>", "public headers of log"),
        ("include/dagverk/jobs/a.hpp", '#include "jobs/private.hpp"', "may not include the private"),
        ("src/worker/a.cpp", '#include "jobs/private.hpp"', "private to jobs"),
        ("src/jobs/a.cpp", "#include <Mystery/a.hpp>", "no known header"),
        ("src/jobs/a.cpp", '#include "b.hpp"', "not beside this file"),
        ("src/jobs/a.cpp", '#include "a.cpp"', None),
        ("src/attic/a.cpp", "", "not on the map"),
        ("src/stage/CMakeLists.txt", "dagverk_add_module(stage SOURCES a.cpp PUBLIC_DEPS jobs)", "may not link jobs"),
        ("src/worker/a.cpp", '#include "dagverk/base/b.hpp"\n#include "worker/c.hpp"\n#include <vector>', None),
        ("src/stage/CMakeLists.txt", "dagverk_add_module(stage SOURCES a.cpp PUBLIC_DEPS net_http_client)", "may not link"),
        ("src/log_upload/CMakeLists.txt", "dagverk_add_module(log_upload SOURCES a.cpp PRIVATE_DEPS net_http_client)", None),
        ("src/stores/sqlite/a.cpp", '#include <sqlite3.h>\n#include "stores/sqlite/c.hpp"\n#include <sys/file.h>', None),
        ("src/stores/sqlite/CMakeLists.txt", "dagverk_add_module(store_sqlite SOURCES a.cpp PUBLIC_DEPS jobs)", None),
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

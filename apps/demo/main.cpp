// The main job, end to end, without any server: enqueue real work, run it in a worker process, kill that worker
// half-way, watch everything through handlers that hang and throw, and check every result against the system's own
// tools.
//
//   dagverk_demo [DIRECTORY] [--files N] [--keep]

#include "demo_jobs.hpp"
#include "demo_run.hpp"

#include "dagverk/worker/worker_main.hpp"

#include <charconv>
#include <csignal>
#include <cstdio>
#include <string>
#include <string_view>
#include <unistd.h>

namespace {

using namespace std::string_view_literals;

int usage(const char* problem) {
  std::fprintf(stderr,
               "dagverk_demo: %s\n"
               "usage: dagverk_demo [DIRECTORY] [--files N] [--keep]\n"
               "  DIRECTORY   whose files are checksummed and counted (default: one that every Debian has)\n"
               "  --files N   how many at most, 1..5000 (default 400)\n"
               "  --keep      leave the store behind and say where\n",
               problem);
  return 2;
}

}  // namespace

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);
  // The same binary is its own worker: this is all a user's program needs.
  if (argc > 1 && (argv[1] == "work"sv || argv[1] == dagverk::worker::reserved_argument)) {
    return dagverk::worker::worker_main(argc, argv, dagverk::demo::define_jobs);
  }
  dagverk::demo::DemoOptions options;
  for (int index = 1; index < argc; ++index) {
    const std::string_view argument = argv[index];
    if (argument == "--keep") {
      options.keep = true;
    } else if (argument == "--files") {
      const std::string_view value = index + 1 < argc ? argv[++index] : "";
      const auto parsed = std::from_chars(value.data(), value.data() + value.size(), options.files_max);
      if (parsed.ec != std::errc() || parsed.ptr != value.data() + value.size() || options.files_max < 1 ||
          options.files_max > 5000) {
        return usage("--files takes a number from 1 to 5000");
      }
    } else if (argument == "--help" || argument == "-h") {
      usage("what it is for: see docs/guides");
      return 0;
    } else if (argument.starts_with("-")) {
      return usage("unknown option");
    } else {
      options.directory = argument;
    }
  }
  const int code = dagverk::demo::run_demo(options);
  // The handler that hangs for ever still holds its thread, as promised: leave without waiting for it.
  std::fflush(nullptr);
  ::_exit(code);
}

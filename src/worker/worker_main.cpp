#include "dagverk/worker/worker_main.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/worker/common_options.hpp"
#include "dagverk/worker/terminal.hpp"

#include <algorithm>
#include <string>
#include <unistd.h>
#include <vector>

namespace dagverk::worker {
namespace {

int code(ExitCode exit_code) { return static_cast<int>(exit_code); }

}  // namespace

int worker_main(int argc, char** argv, const DefineJobs& define_jobs, const DefineHandlers& define_handlers) {
  if (argc > 1 && std::string_view(argv[1]) == reserved_argument) {
    say("dagverk",
        "error: this version does not run jobs in processes of their own; define them as `thread` or command jobs");
    return code(ExitCode::configuration);
  }
  claim_standard_descriptors();
  std::string_view path = argc > 0 ? argv[0] : "worker";
  path.remove_prefix(path.rfind('/') + 1);
  const std::string name = printable(path);

  std::vector<std::string> words(argv + std::min(argc, 1), argv + argc);
  hide_passwords(argc, argv);
  if (!words.empty() && words.front() == "work") words.erase(words.begin());
  const CommandSyntax syntax{
      .name = "[work]", .summary = "Runs jobs until it is told to stop.", .options = work_options()};
  const auto line = parse_command_line(syntax, common_options(), words);
  if (!line) {
    say(name, concat("error: ", line.error().message(), "\nThis program is a worker; ", name,
                     " --help lists its options. The dagverk command enqueues and shows jobs."));
    return code(ExitCode::usage);
  }
  if (line->has("help")) {
    const std::string examples = concat("  ", name, " --store sqlite:jobs.db\n  ", name, " work -q mail:5 -c 10");
    CommandSyntax with_examples = syntax;
    with_examples.examples = examples;
    return write_all(STDOUT_FILENO, help_text(name, with_examples, common_options())) == Written::failed
               ? code(ExitCode::failed)
               : code(ExitCode::done);
  }
  return code(run_work(*line, {.name = name, .define_jobs = define_jobs, .define_handlers = define_handlers}));
}

}  // namespace dagverk::worker

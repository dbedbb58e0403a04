#include "command.hpp"

#include "dagverk/base/concat.hpp"

namespace dagverk::app {

std::string_view version() noexcept { return DAGVERK_VERSION; }

namespace {

ExitCode run_version(const ParsedLine& /*line*/, Output& out) {
  if (out.json()) {
    out.print(JsonObject().text("version", version()).number("json_schema", 1).str() + "\n");
  } else {
    out.print(concat(out.plain() ? "" : "dagverk ", version(), "\n"));
  }
  return ExitCode::done;
}

}  // namespace

const Command version_command{
    {.name = "version", .summary = "Prints the version.", .examples = "  dagverk version\n  dagverk version --json"},
    run_version,
    {},
    "`version`, `json_schema`",
};

}  // namespace dagverk::app

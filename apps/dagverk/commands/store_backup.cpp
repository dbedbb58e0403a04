#include "command.hpp"
#include "session.hpp"

#include "dagverk/base/concat.hpp"

namespace dagverk::app {
namespace {

ExitCode run_store_backup(const ParsedLine& line, Output& out) {
  const auto session = Session::open(line, worker::MissingStore::refuse);
  if (!session) return out.fail(session.error());
  const std::string file = line.arguments().empty() ? "" : line.arguments().front();
  const auto where = (*session)->wait((*session)->store().backup(file));
  if (!where) return out.fail(where.error());
  out.print(out.json() ? JsonObject().text("backup", *where).str() + "\n" : concat(worker::printable(*where), "\n"));
  return ExitCode::done;
}

}  // namespace

const Command store_backup_command{
    {.name = "store backup",
     .arguments = "[FILE]",
     .summary = "Copies the store as of one moment, while others work on it.",
     .arguments_max = 1,
     .notes = "SQLite: into FILE, which must not exist and can be opened as a store. Redis: the\n"
              "server saves where it always does; its answer is awaited, and the place printed.",
     .examples = "  dagverk store backup jobs-monday.db\n  dagverk store backup --store redis://127.0.0.1/0"},
    run_store_backup,
    "4 FILE exists",
    "`backup`: where it is",
};

}  // namespace dagverk::app

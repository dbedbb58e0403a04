#include "command.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/stores/sqlite/sqlite_migration.hpp"
#include "dagverk/worker/common_options.hpp"

namespace dagverk::app {
namespace {

/// What was done, in a sentence.
std::string described(const stores::SqliteMigration& done) {
  if (done.from == done.to) return concat("nothing to be done: the store has schema ", done.to, " already");
  if (!done.migrated) return concat("would migrate the store from schema ", done.from, " to ", done.to);
  return concat("migrated the store from schema ", done.from, " to ", done.to,
                done.backup.empty() ? "" : concat("; as it was: ", worker::printable(done.backup)));
}

ExitCode run_store_migrate(const ParsedLine& line, Output& out) {
  const auto configuration = worker::configuration_of(line);
  if (!configuration) return out.fail(configuration.error());
  if (!configuration->redis_url.empty()) {
    if (out.json()) {
      out.print(JsonObject().boolean("migrated", false).str() + "\n");
    } else {
      out.print("nothing to be done: what is in a Redis server needs no migration\n");
    }
    return ExitCode::done;
  }
  const auto done = stores::migrate_sqlite_store(
      {.path = configuration->store_path, .backup = !line.has("no-backup"), .dry_run = line.has("dry-run")});
  if (!done) return out.fail(done.error());
  if (!out.json()) {
    out.print(concat(described(*done), "\n"));
    return ExitCode::done;
  }
  JsonObject object;
  object.boolean("migrated", done->migrated)
      .number("from", static_cast<std::uint64_t>(done->from))
      .number("to", static_cast<std::uint64_t>(done->to));
  if (!done->backup.empty()) object.text("backup", done->backup);
  out.print(object.str() + "\n");
  return ExitCode::done;
}

constexpr OptionSyntax migrate_options[] = {
    {.name = "dry-run", .help = "does everything and takes it back: says whether it would work"},
    {.name = "no-backup", .help = "makes no copy of the file first"},
};

}  // namespace

const Command store_migrate_command{
    {.name = "store migrate",
     .summary = "Brings a store of an older version to the layout of this one.",
     .options = migrate_options,
     .notes = "Stop all that uses the store first. The file is copied to FILE.schema-N;\n"
              "the migration happens as a whole or not at all. Redis needs none.",
     .examples = "  dagverk store migrate --store sqlite:jobs.db\n  dagverk store migrate --dry-run --json"},
    run_store_migrate,
    "4 the store is in use, or the copy exists",
    "`migrated`; for a SQLite store `from` and `to` (versions of the layout), and `backup` when a copy was made",
};

}  // namespace dagverk::app

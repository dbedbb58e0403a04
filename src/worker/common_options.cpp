#include "dagverk/worker/common_options.hpp"

#include <string>
#include <utility>

namespace dagverk::worker {
namespace {

constexpr OptionSyntax options[] = {
    {'\0', "config", "FILE", "the configuration file; else dagverk.toml in the working directory"},
    {'\0', "store", "URL", "the store: sqlite:FILE or redis://HOST:PORT/DATABASE"},
    {'\0', "json", {}, "one JSON object, or one per line"},
    {'\0', "plain", {}, "tabs and no heading, for scripts"},
    {'\0', "quiet", {}, "no talk on standard error but errors"},
    {'v', "verbose", {}, "more talk"},
    {'h', "help", {}, "this text"},
};

}  // namespace

std::span<const OptionSyntax> common_options() noexcept { return options; }

Result<Configuration> configuration_of(const ParsedLine& line, std::vector<FlagValue> more) {
  ConfigurationSources sources;
  sources.environment = current_environment();
  if (const auto file = line.value("config")) sources.file = std::string(*file);
  if (const auto store = line.value("store")) sources.flags.push_back({"store", std::string(*store), "--store"});
  if (line.has("quiet")) sources.flags.push_back({"log_level", "error", "--quiet"});
  if (line.has("verbose")) sources.flags.push_back({"log_level", "debug", "--verbose"});
  for (FlagValue& flag : more) sources.flags.push_back(std::move(flag));
  return load_configuration(sources);
}

}  // namespace dagverk::worker

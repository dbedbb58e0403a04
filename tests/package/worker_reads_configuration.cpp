// A user's program with nothing but the room `worker`: it links the store and the reader of TOML on its own.
#include "dagverk/worker/configuration.hpp"
#include "dagverk/worker/worker_main.hpp"

#include <string>

int main(int argc, char** argv) {
  dagverk::worker::ConfigurationSources sources;
  sources.working_directory = "/";
  sources.environment = {{"DAGVERK_STORE", "sqlite:/tmp/none.db"}};
  const auto configuration = dagverk::worker::load_configuration(sources);
  if (!configuration || configuration->store_path != "/tmp/none.db") return 1;

  std::string help = "--help";
  char* words[] = {argv[0], help.data(), nullptr};
  return argc == 1 ? dagverk::worker::worker_main(2, words, nullptr) : 1;
}

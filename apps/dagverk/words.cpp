#include "words.hpp"

#include "output.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/jobs/arguments.hpp"
#include "dagverk/jobs/store_types.hpp"

#include <array>
#include <cstdlib>
#include <unistd.h>

namespace dagverk::app {

namespace {

std::string argument_json(const std::string& word) {
  const std::string list = concat("[", word, "]");
  const auto parsed = jobs::JobArguments::parse(list);
  if (parsed && parsed->size() == 1) return word;
  return json_text(word);
}

}  // namespace

std::string arguments_json(std::span<const std::string> words) {
  std::string list = "[";
  for (const std::string& word : words) list += concat(list.size() > 1 ? "," : "", argument_json(word));
  return list + "]";
}

std::string who_asks() {
  const char* user = std::getenv("LOGNAME");
  if (user == nullptr || *user == '\0') user = std::getenv("USER");
  std::array<char, 256> host{};
  const bool named = ::gethostname(host.data(), host.size() - 1) == 0;
  const std::string who = concat(user == nullptr || *user == '\0' ? concat("uid ", ::getuid()) : std::string(user), "@",
                                 named ? host.data() : "localhost");
  return who.substr(0, jobs::name_size_limit);
}

}  // namespace dagverk::app

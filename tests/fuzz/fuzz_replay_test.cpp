// What the fuzzers have found goes through their targets again, with the compiler and the sanitizer of each preset.

#include "fuzz_targets.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

namespace dagverk {
namespace {

/// The committed inputs of a target, and those that once crashed it, in order of their names.
std::vector<std::filesystem::path> inputs(const std::string& target) {
  std::vector<std::filesystem::path> found;
  for (const char* kind : {"corpus", "crashes"}) {
    const std::filesystem::path folder = std::filesystem::path(DAGVERK_FUZZ_FOLDER) / kind / target;
    if (!std::filesystem::exists(folder)) continue;
    for (const auto& entry : std::filesystem::directory_iterator(folder)) found.push_back(entry.path());
  }
  std::ranges::sort(found);
  return found;
}

void replay(const std::string& target, void (*run)(std::string_view)) {
  const std::vector<std::filesystem::path> files = inputs(target);
  ASSERT_GE(files.size(), 10U);
  for (const std::filesystem::path& path : files) {
    std::ifstream file(path, std::ios::binary);
    const std::string bytes((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
    std::cout << path.string() << '\n' << std::flush;  // should the target end the program
    // A block of exactly this size: the sanitizer sees a read of one byte more.
    const auto exact = std::make_unique<char[]>(bytes.size());
    std::memcpy(exact.get(), bytes.data(), bytes.size());
    run({exact.get(), bytes.size()});
  }
}

TEST(FuzzReplay, jobs) { replay("job_codec", fuzz::job_codec); }
TEST(FuzzReplay, redis_replies) { replay("redis_reply", fuzz::redis_reply); }
TEST(FuzzReplay, cron_lines) { replay("cron", fuzz::cron); }
TEST(FuzzReplay, configurations) { replay("configuration", fuzz::configuration); }

}  // namespace
}  // namespace dagverk

#pragma once

#include "apps/child.hpp"
#include "support/temporary_folder.hpp"

#include <gtest/gtest.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <sys/stat.h>
#include <utility>
#include <vector>

namespace dagverk::app {

using Words = std::vector<std::string>;

/// The built command in a folder, with a store and a home of its own.
class Dagverk : public testing::Test {
 protected:
  void SetUp() override {
    std::signal(SIGPIPE, SIG_IGN);
    const std::string& name = temporary_.path();
    world_.folder = name;
    world_.environment = {"HOME=" + name, "PATH=/usr/bin:/bin", "TZ=UTC", "XDG_RUNTIME_DIR=" + name};
  }

  void write(const std::string& name, std::string_view text) const {
    std::ofstream(folder_ / name) << text;
    ::chmod((folder_ / name).c_str(), 0644);
  }
  [[nodiscard]] static Words command(Words words, const std::string& program = DAGVERK_COMMAND) {
    words.insert(words.begin(), program);
    return words;
  }
  Outcome run(Words words, const std::string& input = {}) const {
    Child::World world = world_;
    world.input = input;
    return Child(command(std::move(words)), world).wait();
  }
  /// A job's jid, enqueued.
  std::string enqueue(Words words) const {
    words.insert(words.begin(), "enqueue");
    const Outcome outcome = run(words);
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    return outcome.out.substr(0, outcome.out.size() - 1);
  }
  /// The figure of that name in `stats`.
  int stat(const std::string& name) const {
    const Outcome outcome = run({"stats", "--plain"});
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    const std::size_t at = ("\n" + outcome.out).find("\n" + name + "\t");
    return at == std::string::npos ? -1 : std::atoi(outcome.out.c_str() + at + name.size() + 1);
  }

  TemporaryFolder temporary_;
  const std::filesystem::path folder_ = temporary_.path();
  Child::World world_;
};

}  // namespace dagverk::app

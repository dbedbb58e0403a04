#pragma once

#include <gtest/gtest.h>

#include <csignal>
#include <cstdint>
#include <fcntl.h>
#include <functional>
#include <string>
#include <sys/wait.h>
#include <unistd.h>
#include <utility>
#include <vector>

namespace dagverk::stores {

/// A child OS process that runs `work` with a pipe to tell what it has done; it does nothing that the parent's test
/// framework would see.
class Child {
 public:
  explicit Child(const std::function<void(int)>& work) {
    int ends[2];
    EXPECT_EQ(::pipe2(ends, O_CLOEXEC), 0);
    pid_ = ::fork();
    if (pid_ == 0) {
      ::close(ends[0]);
      work(ends[1]);
      ::_exit(0);
    }
    ::close(ends[1]);
    from_ = ends[0];
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  ~Child() {
    if (pid_ > 0) static_cast<void>(finish());
    ::close(from_);
  }

  /// What the child tells until it ends or `lines` lines are there.
  std::vector<std::string> read(std::size_t lines = SIZE_MAX) {
    std::vector<std::string> told;
    char c = 0;
    while (told.size() < lines && ::read(from_, &c, 1) == 1) {
      if (c == '\n') {
        told.push_back(std::exchange(line_, {}));
      } else {
        line_.push_back(c);
      }
    }
    return told;
  }
  void kill() const { ::kill(pid_, SIGKILL); }
  int finish() {
    int status = -1;
    ::waitpid(std::exchange(pid_, -1), &status, 0);
    return status;
  }

 private:
  pid_t pid_ = -1;
  int from_ = -1;
  std::string line_;
};

inline void tell(int pipe, const std::string& line) {
  const std::string text = line + "\n";
  if (::write(pipe, text.data(), text.size()) != static_cast<ssize_t>(text.size())) ::_exit(2);
}

}  // namespace dagverk::stores

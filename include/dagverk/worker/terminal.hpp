#pragma once

#include <string>
#include <string_view>

/// Standard output and standard error of a program.
namespace dagverk::worker {

enum class Written : unsigned char {
  all,
  closed,  ///< whoever read it has gone: end in silence
  failed,  ///< the disk is full, for example
};

/// Opens /dev/null on those of descriptors 0, 1 and 2 that are closed, so that no file opened later becomes one of
/// them: a store at descriptor 1 would be overwritten by output. The first thing a program does.
void claim_standard_descriptors() noexcept;

/// Writes all of `text`, blocking. The program ignores SIGPIPE.
[[nodiscard]] Written write_all(int descriptor, std::string_view text) noexcept;

/// One line of talk on standard error: `PROGRAM: TEXT`. Several lines when the text has several.
void say(std::string_view program, std::string_view text) noexcept;

/// Overwrites the passwords of URLs in a program's arguments with `*`, so that nobody's `ps` shows them from then on.
/// Call it once the arguments have been copied.
void hide_passwords(int argc, char** argv) noexcept;

/// `error: ` before each line of `text`.
[[nodiscard]] std::string as_errors(std::string_view text);

}  // namespace dagverk::worker

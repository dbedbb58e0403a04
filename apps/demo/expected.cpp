#include "expected.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/runtime/os_process.hpp"

#include <algorithm>
#include <filesystem>
#include <future>
#include <sstream>
#include <string_view>
#include <system_error>
#include <utility>

namespace dagverk::demo {

namespace fs = std::filesystem;

Result<std::vector<std::string>> pick_files(const std::string& directory, std::size_t limit) {
  constexpr std::uintmax_t size_max = 1U << 20U;
  std::vector<std::string> files;
  std::error_code error;
  fs::recursive_directory_iterator walk(directory, fs::directory_options::skip_permission_denied, error);
  if (error)
    return Error(ErrorCode::not_found, concat("cannot read the directory \"", directory, "\": ", error.message()));
  for (const fs::recursive_directory_iterator end; walk != end; walk.increment(error)) {
    if (error) break;
    const fs::directory_entry& entry = *walk;
    if (entry.is_symlink(error) || !entry.is_regular_file(error) || entry.file_size(error) > size_max) continue;
    std::string path = entry.path().string();
    if (path.find_first_of("\\\n") != std::string::npos) continue;
    files.push_back(std::move(path));
  }
  std::sort(files.begin(), files.end());
  if (files.size() > limit) files.resize(limit);
  if (files.empty()) return Error(ErrorCode::not_found, concat("no readable file under \"", directory, "\""));
  return files;
}

std::string default_directory() {
  std::error_code error;
  // perl-base is essential on Debian, and its folder's name has the architecture in it.
  for (const fs::directory_entry& entry : fs::directory_iterator("/usr/lib", error)) {
    fs::path candidate = entry.path() / "perl-base";
    if (fs::is_directory(candidate, error)) return candidate.string();
  }
  return "/var/lib/dpkg/info";
}

namespace {

/// The standard output of `tool` on all `files`, line by line.
Result<std::vector<std::string>> lines_of(OsProcessSpawner& spawner, std::vector<std::string> tool,
                                          const std::vector<std::string>& files) {
  OsProcessOptions options;
  options.argv = std::move(tool);
  options.argv.insert(options.argv.end(), files.begin(), files.end());
  options.environment_set = {{"LC_ALL", "C"}};
  options.standard_output.limit_bytes = std::size_t{16} << 20U;
  std::promise<OsProcessResult> done;
  Result<OsProcessId> started =
      spawner.start(std::move(options), [&done](OsProcessResult result) { done.set_value(std::move(result)); });
  if (!started) return started.error();
  const OsProcessResult result = done.get_future().get();
  if (!result.succeeded()) return Error(ErrorCode::io, concat("the check's own tool failed: ", describe(result)));
  std::vector<std::string> lines;
  std::istringstream text(result.standard_output.bytes);
  for (std::string line; std::getline(text, line);) lines.push_back(std::move(line));
  if (lines.size() < files.size()) return Error(ErrorCode::internal, "the check's own tool said too little");
  return lines;
}

}  // namespace

Result<Expected> compute_expected(const std::vector<std::string>& files) {
  Result<std::unique_ptr<OsProcessSpawner>> spawner = OsProcessSpawner::create();
  if (!spawner) return spawner.error();
  Result<std::vector<std::string>> checksums = lines_of(**spawner, {"sha256sum", "--"}, files);
  if (!checksums) return checksums.error();
  Result<std::vector<std::string>> counts = lines_of(**spawner, {"wc", "-l", "-w", "-c", "--"}, files);
  if (!counts) return counts.error();
  Expected expected;
  for (std::size_t index = 0; index < files.size(); ++index) {
    expected.checksums[files[index]] = (*checksums)[index].substr(0, 64);
    std::istringstream fields((*counts)[index]);
    std::string lines;
    std::string words;
    std::string bytes;
    fields >> lines >> words >> bytes;
    expected.counts[files[index]] = concat(lines, " ", words, " ", bytes);
  }
  return expected;
}

}  // namespace dagverk::demo

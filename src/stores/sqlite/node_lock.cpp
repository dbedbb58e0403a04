#include "stores/sqlite/node_lock.hpp"

#include "dagverk/base/concat.hpp"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

namespace dagverk::stores {

namespace {

std::string path_of(std::string_view store_path, std::string_view name) { return node_file(store_path, name, ".lock"); }

}  // namespace

std::string node_folder(std::string_view store_path) { return concat(store_path, ".nodes"); }

std::string node_file(std::string_view store_path, std::string_view name, std::string_view suffix) {
  return concat(store_path, ".nodes/", name, suffix);
}

Result<void> make_node_folder(std::string_view store_path) {
  const std::string folder = node_folder(store_path);
  if (::mkdir(folder.c_str(), 0700) == 0 || errno == EEXIST) return {};
  const int error = errno;
  return Error{ErrorCode::io, concat("node files: cannot create ", folder, ": ", std::strerror(error))};
}

bool is_node_name(std::string_view name) noexcept {
  return !name.empty() && name.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

NodeLock::NodeLock(std::string path, int descriptor) noexcept : path_(std::move(path)), descriptor_(descriptor) {}

NodeLock::NodeLock(NodeLock&& other) noexcept
    : path_(std::move(other.path_)), descriptor_(std::exchange(other.descriptor_, -1)) {}

NodeLock& NodeLock::operator=(NodeLock&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(descriptor_, other.descriptor_);
  return *this;
}

NodeLock::~NodeLock() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

Result<NodeLock> NodeLock::create(std::string_view store_path, std::string_view name) {
  if (auto made = make_node_folder(store_path); !made) return made.error();
  std::string path = path_of(store_path, name);
  const int descriptor = ::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (descriptor < 0) {
    const int error = errno;
    return Error{ErrorCode::io, concat("node locks: cannot create ", path, ": ", std::strerror(error))};
  }
  if (::flock(descriptor, LOCK_EX | LOCK_NB) != 0) {
    const int error = errno;
    ::close(descriptor);
    ::unlink(path.c_str());
    return Error{ErrorCode::io, concat("node locks: cannot lock ", path, ": ", std::strerror(error))};
  }
  return NodeLock(std::move(path), descriptor);
}

NodeLock::Holder NodeLock::probe(std::string_view store_path, std::string_view name) noexcept {
  if (!is_node_name(name)) return Holder::alive;
  const std::string path = path_of(store_path, name);
  const int descriptor = ::open(path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW);
  if (descriptor < 0) return errno == ENOENT ? Holder::absent : Holder::alive;
  const bool held = ::flock(descriptor, LOCK_EX | LOCK_NB) != 0;
  ::close(descriptor);
  return held ? Holder::alive : Holder::dead;
}

void NodeLock::remove(std::string_view store_path, std::string_view name) noexcept {
  if (is_node_name(name)) ::unlink(path_of(store_path, name).c_str());
}

void NodeLock::retire() noexcept {
  if (descriptor_ < 0) return;
  ::unlink(path_.c_str());
  ::close(std::exchange(descriptor_, -1));
}

}  // namespace dagverk::stores

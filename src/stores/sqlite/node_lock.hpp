#pragma once

#include "dagverk/base/result.hpp"

#include <string>
#include <string_view>

namespace dagverk::stores {

// The folder beside a store's file, and the files of nodes in it.
[[nodiscard]] std::string node_folder(std::string_view store_path);
[[nodiscard]] std::string node_file(std::string_view store_path, std::string_view name, std::string_view suffix);
/// Errors: `io`.
[[nodiscard]] Result<void> make_node_folder(std::string_view store_path);
/// Names come out of the store file, which anybody may have edited: one that is not plain could lead elsewhere.
[[nodiscard]] bool is_node_name(std::string_view name) noexcept;

/// A lock that the kernel releases when the OS process holding it ends, however it ends.
///
/// Semantics: flock(2) on a file of its own, in a folder beside the store. The descriptor closes at exec, so commands
///            that a worker starts do not keep it. `retire` also removes the file; the destructor leaves it, unlocked,
///            for whoever rescues.
/// Threads:   one at a time.
class NodeLock {
 public:
  enum class Holder {
    alive,   ///< somebody holds it
    dead,    ///< nobody holds it
    absent,  ///< there is no such file
  };

  /// Creates and locks `name` in the folder beside the store file `store_path`.
  [[nodiscard]] static Result<NodeLock> create(std::string_view store_path, std::string_view name);
  /// Whether anybody holds the lock. When in doubt (no permission, no descriptors): alive, so that only its lease
  /// decides.
  [[nodiscard]] static Holder probe(std::string_view store_path, std::string_view name) noexcept;
  static void remove(std::string_view store_path, std::string_view name) noexcept;

  NodeLock(NodeLock&& other) noexcept;
  NodeLock& operator=(NodeLock&& other) noexcept;
  NodeLock(const NodeLock&) = delete;
  NodeLock& operator=(const NodeLock&) = delete;
  ~NodeLock();

  void retire() noexcept;

 private:
  NodeLock(std::string path, int descriptor) noexcept;

  std::string path_;
  int descriptor_ = -1;
};

}  // namespace dagverk::stores

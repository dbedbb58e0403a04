#pragma once

#include "dagverk/base/mutex.hpp"
#include "dagverk/base/result.hpp"
#include "dagverk/runtime/detail/process_core.hpp"

#include <array>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>

namespace dagverk::detail {

/// Who holds which name. A name maps to at most one live process; looking one up takes a short lock of one of several
/// shards.
class NameTable {
 public:
  struct Holder {
    Pid pid;
    const ProcessType* type;
  };

  [[nodiscard]] Result<void> add(std::string name, Pid pid, const ProcessType& type);
  void remove(std::string_view name, Pid pid) noexcept;
  [[nodiscard]] std::optional<Holder> find(std::string_view name) const;

  template <class Visit>
  void for_each(Visit&& visit) const {
    for (const Shard& shard : shards_) {
      MutexLock lock(shard.mutex);
      for (const auto& [name, holder] : shard.names) visit(name, holder);
    }
  }

 private:
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const noexcept { return std::hash<std::string_view>{}(text); }
  };
  struct Shard {
    mutable Mutex mutex;
    std::unordered_map<std::string, Holder, Hash, std::equal_to<>> names DAGVERK_GUARDED_BY(mutex);
  };

  [[nodiscard]] Shard& shard_of(std::string_view name) noexcept { return shards_[Hash{}(name) % shards_.size()]; }
  [[nodiscard]] const Shard& shard_of(std::string_view name) const noexcept {
    return shards_[Hash{}(name) % shards_.size()];
  }

  std::array<Shard, 16> shards_;
};

}  // namespace dagverk::detail

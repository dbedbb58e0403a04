#include "name_table.hpp"

#include "dagverk/base/concat.hpp"

#include <utility>

namespace dagverk::detail {

namespace {

bool lives(Pid pid) noexcept {
  return pid && pid.core()->generation.load(std::memory_order_acquire) == pid.generation();
}

}  // namespace

Result<void> NameTable::add(std::string name, Pid pid, const ProcessType& type) {
  Shard& shard = shard_of(name);
  MutexLock lock(shard.mutex);
  const auto [entry, added] = shard.names.try_emplace(std::move(name), Holder{pid, &type});
  if (added) return {};
  if (lives(entry->second.pid)) {
    return Error(ErrorCode::already_exists,
                 concat("the name \"", entry->first, "\" is held by a running ", entry->second.type->name));
  }
  entry->second = Holder{pid, &type};  // the former holder has ended and not yet cleaned up
  return {};
}

void NameTable::remove(std::string_view name, Pid pid) noexcept {
  Shard& shard = shard_of(name);
  MutexLock lock(shard.mutex);
  const auto entry = shard.names.find(name);
  if (entry != shard.names.end() && entry->second.pid == pid) shard.names.erase(entry);
}

std::optional<NameTable::Holder> NameTable::find(std::string_view name) const {
  const Shard& shard = shard_of(name);
  MutexLock lock(shard.mutex);
  const auto entry = shard.names.find(name);
  if (entry == shard.names.end() || !lives(entry->second.pid)) return std::nullopt;
  return entry->second;
}

}  // namespace dagverk::detail

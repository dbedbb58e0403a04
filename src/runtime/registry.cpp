#include "dagverk/runtime/registry.hpp"

#include <utility>

namespace dagverk::detail {

namespace {

Error with_name(ErrorCode code, const std::string& registry, const std::string& rest) {
  return {code, registry.empty() ? concat("registry: ", rest) : concat("registry \"", registry, "\": ", rest)};
}

}  // namespace

Result<void> check_registry_options(const RegistryOptions& options) {
  constexpr std::size_t partitions_max = 1024;
  if (options.partitions >= 1 && options.partitions <= partitions_max) return {};
  return with_name(ErrorCode::invalid_argument, options.name,
                   concat("partitions must be 1..", partitions_max, ", got ", options.partitions));
}

Result<Pid> registering_process(const RuntimeBase& runtime, const std::string& registry) {
  if (!this_process::inside()) {
    return with_name(ErrorCode::wrong_thread, registry,
                     "entries belong to the process that makes them; call this inside a process");
  }
  if (&this_process::runtime() != &runtime) {
    return with_name(ErrorCode::invalid_argument, registry, "the calling process belongs to another runtime");
  }
  return this_process::pid();
}

Error key_is_taken(const std::string& registry, const std::string& key, Pid holder) {
  return with_name(ErrorCode::already_exists, registry,
                   concat("the key ", key, " is registered by process ", holder.number()));
}

Error key_is_unknown(const std::string& registry, const std::string& key) {
  return with_name(ErrorCode::not_found, registry, concat("nobody has registered the key ", key));
}

Error key_is_foreign(const std::string& registry, const std::string& key, Pid holder) {
  return with_name(ErrorCode::refused, registry,
                   concat("the key ", key, " belongs to process ", holder.number(), "; only it may change the value"));
}

Error keys_are_not_unique(const std::string& registry) {
  return with_name(ErrorCode::invalid_argument, registry,
                   "a value can be updated only where keys are unique; unregister and register again");
}

Result<Pid> check_holder(Pid pid, const ProcessType& type, const std::string& registry, const std::string& key) {
  const ProcessType* actual = pid.core()->type.load(std::memory_order_acquire);
  if (!RuntimeBase::alive(pid)) return key_is_unknown(registry, key);
  if (actual == &type) return pid;
  return with_name(ErrorCode::wrong_type, registry,
                   concat("the key ", key, " is registered by a ", actual != nullptr ? actual->name : "process",
                          ", not by a ", type.name));
}

void RegistryMeta::put(std::string name, std::shared_ptr<const void> value, const std::type_info& type) {
  Item previous{nullptr, nullptr};  // outlives the lock: its destructor is user code
  MutexLock lock(mutex_);
  Item& item = items_[std::move(name)];
  previous = std::exchange(item, Item{std::move(value), &type});
}

Result<std::shared_ptr<const void>> RegistryMeta::get(std::string_view name, const std::type_info& type) const {
  MutexLock lock(mutex_);
  const auto found = items_.find(name);
  if (found == items_.end()) return Error(ErrorCode::not_found, concat("the registry has no metadata \"", name, "\""));
  if (*found->second.type != type) {
    return Error(ErrorCode::wrong_type, concat("the registry's metadata \"", name, "\" is of another type"));
  }
  return found->second.value;
}

bool RegistryMeta::erase(std::string_view name) {
  Items::node_type removed;  // outlives the lock: its destructor is user code
  MutexLock lock(mutex_);
  const auto found = items_.find(name);
  if (found == items_.end()) return false;
  removed = items_.extract(found);
  return true;
}

}  // namespace dagverk::detail

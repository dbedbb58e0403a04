#pragma once

#include "dagverk/base/concat.hpp"
#include "dagverk/base/mutex.hpp"
#include "dagverk/base/result.hpp"
#include "dagverk/runtime/detail/exit_hook.hpp"
#include "dagverk/runtime/detail/process_core.hpp"
#include "dagverk/runtime/pid.hpp"

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <functional>
#include <iterator>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <typeinfo>
#include <unordered_map>
#include <utility>
#include <vector>

namespace dagverk {

/// One registration: who made it, and the value that goes with it.
template <class Value>
struct RegistryEntry {
  Pid pid;
  Value value;
};

namespace detail {
template <class Key, class Value>
class RegistryTable;
}  // namespace detail

/// The entries of one key as they were when somebody looked, in the order of registration.
///
/// Semantics: immutable and cheap to copy: nothing is copied but a reference. Values live as long as it does, also when
///            their entries have been removed meanwhile.
/// Threads:   a value; copies may be used on distinct threads.
template <class Value>
class RegistryEntries {
  struct List {
    std::atomic<std::uint32_t> owners{1};
    std::vector<std::shared_ptr<const RegistryEntry<Value>>> entries;  // shared by the snapshots they are part of
  };

 public:
  class Iterator {
   public:
    using iterator_category = std::forward_iterator_tag;
    using value_type = RegistryEntry<Value>;
    using difference_type = std::ptrdiff_t;
    using pointer = const RegistryEntry<Value>*;
    using reference = const RegistryEntry<Value>&;

    Iterator() = default;
    explicit Iterator(const std::shared_ptr<const RegistryEntry<Value>>* at) noexcept : at_(at) {}
    reference operator*() const noexcept { return **at_; }
    pointer operator->() const noexcept { return at_->get(); }
    Iterator& operator++() noexcept {
      ++at_;
      return *this;
    }
    Iterator operator++(int) noexcept { return Iterator(at_++); }
    friend bool operator==(Iterator, Iterator) noexcept = default;

   private:
    const std::shared_ptr<const RegistryEntry<Value>>* at_ = nullptr;
  };

  RegistryEntries() = default;
  RegistryEntries(const RegistryEntries& other) noexcept : list_(other.list_) {
    if (list_ != nullptr) list_->owners.fetch_add(1, std::memory_order_relaxed);
  }
  RegistryEntries(RegistryEntries&& other) noexcept : list_(std::exchange(other.list_, nullptr)) {}
  RegistryEntries& operator=(RegistryEntries other) noexcept {
    std::swap(list_, other.list_);
    return *this;
  }
  ~RegistryEntries() {
    if (list_ != nullptr && list_->owners.fetch_sub(1, std::memory_order_acq_rel) == 1) delete list_;
  }

  [[nodiscard]] std::size_t size() const noexcept { return list_ == nullptr ? 0 : list_->entries.size(); }
  [[nodiscard]] bool empty() const noexcept { return size() == 0; }
  [[nodiscard]] const RegistryEntry<Value>& operator[](std::size_t index) const noexcept {
    return *list_->entries[index];
  }
  [[nodiscard]] Iterator begin() const noexcept { return Iterator(list_ == nullptr ? nullptr : list_->entries.data()); }
  [[nodiscard]] Iterator end() const noexcept {
    return Iterator(list_ == nullptr ? nullptr : list_->entries.data() + list_->entries.size());
  }

 private:
  template <class Key, class V>
  friend class detail::RegistryTable;

  /// For the table, under its lock: the list to change. Copied first when a reader holds it.
  [[nodiscard]] auto& own() {
    if (list_ == nullptr) {
      list_ = new List;
    } else if (list_->owners.load(std::memory_order_acquire) != 1) {  // acquire: pairs with the last reader's release
      RegistryEntries copy;
      copy.list_ = new List;
      copy.list_->entries = list_->entries;
      std::swap(list_, copy.list_);
    }
    return list_->entries;
  }

  List* list_ = nullptr;
};

namespace detail {

/// A key and its hash: shared by the table of keys and the table of owners; ends with the last entry or reader.
template <class Key>
struct RegistryKey {
  Key key;
  std::size_t hash;
};
template <class Key>
using RegistryKeyRef = std::shared_ptr<const RegistryKey<Key>>;

/// For looking up without making a key.
template <class Key>
struct RegistryProbe {
  explicit RegistryProbe(const Key& searched) : key(searched), hash(std::hash<Key>{}(searched)) {}
  const Key& key;
  std::size_t hash;
};

struct RegistryKeyHash {
  using is_transparent = void;
  template <class Pointer>
  std::size_t operator()(const Pointer& key) const noexcept {
    return key->hash;
  }
};
struct RegistryKeyEqual {
  using is_transparent = void;
  template <class A, class B>
  bool operator()(const A& a, const B& b) const {
    return a->hash == b->hash && a->key == b->key;
  }
};

/// By number, not by address: the order of a hash table is part of what a deterministic runtime replays.
struct PidNumberHash {
  std::size_t operator()(const Pid& pid) const noexcept { return static_cast<std::size_t>(pid.number()); }
};

/// The two tables of one registry: who holds which key, and which keys somebody holds.
///
/// Semantics: only the process that made an entry changes or removes it, so the two tables need no common lock.
/// Threads:   any. Locks are held for a look-up; of user code only `==` of keys runs under one.
template <class Key, class Value>
class RegistryTable : public std::enable_shared_from_this<RegistryTable<Key, Value>> {
 public:
  using KeyRef = RegistryKeyRef<Key>;
  using Entry = RegistryEntry<Value>;
  using EntryRef = std::shared_ptr<const Entry>;
  using Entries = RegistryEntries<Value>;
  using Probe = RegistryProbe<Key>;

  RegistryTable(std::size_t partitions, bool unique) : unique_(unique), keys_(partitions), owners_(partitions) {}

  struct Taken {
    Pid holder;
    KeyRef key;
  };

  /// Adds an entry of the running process. Returns the holder when the key is unique and taken.
  [[nodiscard]] std::optional<Taken> add(Pid owner, Key key, Value value) {
    const std::size_t hash = std::hash<Key>{}(key);
    const KeyRef searched = std::make_shared<const RegistryKey<Key>>(RegistryKey<Key>{std::move(key), hash});
    const EntryRef entry = std::make_shared<const Entry>(Entry{owner, std::move(value)});
    KeyRef held = searched;
    {
      KeyPartition& partition = partition_of(hash);
      MutexLock lock(partition.mutex);
      const auto [found, added] = partition.keys.try_emplace(searched);
      if (!added && unique_) return Taken{found->second[0].pid, searched};
      found->second.own().push_back(entry);
      ++partition.count;
      held = found->first;
    }
    note_owner(owner, std::move(held));
    return std::nullopt;
  }

  [[nodiscard]] Entries find(const Probe& probe) const {
    const KeyPartition& partition = partition_of(probe.hash);
    MutexLock lock(partition.mutex);
    const auto found = partition.keys.find(&probe);
    return found == partition.keys.end() ? Entries() : found->second;
  }

  /// Removes those of `chosen` that are `owner`'s, who is running. Returns how many.
  std::size_t remove(const Probe& probe, Pid owner, const std::vector<const Entry*>& chosen) {
    const std::size_t removed = remove_entries(probe, owner, &chosen);
    if (removed != 0) forget(probe, owner, removed);
    return removed;
  }
  /// Removes all of `owner`'s entries under a key.
  std::size_t remove(const Probe& probe, Pid owner) {
    const std::size_t removed = remove_entries(probe, owner, nullptr);
    if (removed != 0) forget(probe, owner, removed);
    return removed;
  }

  /// Replaces the value of `current`, which is the running process' entry of a unique key.
  void replace(const Probe& probe, const Entry& current, EntryRef next) {
    EntryRef previous;  // outlives the lock: its destructor is user code
    KeyPartition& partition = partition_of(probe.hash);
    MutexLock lock(partition.mutex);
    const auto found = partition.keys.find(&probe);
    if (found == partition.keys.end()) return;
    for (EntryRef& entry : found->second.own()) {
      if (entry.get() == &current) previous = std::exchange(entry, std::move(next));
    }
  }

  /// The keys of a process, each as often as it registered it.
  [[nodiscard]] std::vector<std::pair<KeyRef, std::size_t>> keys_of(Pid owner) const {
    const OwnerPartition& partition = partition_of(owner);
    MutexLock lock(partition.mutex);
    const auto found = partition.owners.find(owner);
    if (found == partition.owners.end()) return {};
    return {found->second.keys.begin(), found->second.keys.end()};
  }

  [[nodiscard]] std::size_t count() const {
    std::size_t sum = 0;
    for (const KeyPartition& partition : keys_) {
      MutexLock lock(partition.mutex);
      sum += partition.count;
    }
    return sum;
  }

  /// Calls `visit(key, entries)` for every key, outside of all locks.
  template <class Visit>
  void for_each(Visit&& visit) const {
    for (const KeyPartition& partition : keys_) {
      std::vector<std::pair<KeyRef, Entries>> seen;
      {
        MutexLock lock(partition.mutex);
        seen.assign(partition.keys.begin(), partition.keys.end());
      }
      for (const auto& [key, entries] : seen) visit(key->key, entries);
    }
  }

  [[nodiscard]] std::size_t partition_count() const noexcept { return keys_.size(); }

 private:
  using Keys = std::unordered_map<KeyRef, Entries, RegistryKeyHash, RegistryKeyEqual>;
  using KeyCounts = std::unordered_map<KeyRef, std::size_t, RegistryKeyHash, RegistryKeyEqual>;

  struct Owner {
    KeyCounts keys;
    const ExitHook* hook = nullptr;  // the owner's own, for taking it back
  };
  using Owners = std::unordered_map<Pid, Owner, PidNumberHash>;

  struct alignas(64) KeyPartition {
    mutable Mutex mutex;
    Keys keys DAGVERK_GUARDED_BY(mutex);
    std::size_t count DAGVERK_GUARDED_BY(mutex) = 0;
  };
  struct alignas(64) OwnerPartition {
    mutable Mutex mutex;
    Owners owners DAGVERK_GUARDED_BY(mutex);
  };

  /// Removes everything a process holds when it ends.
  class Cleanup final : public ExitHook {
   public:
    explicit Cleanup(std::shared_ptr<RegistryTable> table) : table_(std::move(table)) {}
    void before_end(Pid pid) noexcept override { table_->remove_owner(pid); }

   private:
    std::shared_ptr<RegistryTable> table_;  // shared with the registry's handles: the last of them ends it
  };

  [[nodiscard]] KeyPartition& partition_of(std::size_t hash) noexcept { return keys_[mixed(hash) % keys_.size()]; }
  [[nodiscard]] const KeyPartition& partition_of(std::size_t hash) const noexcept {
    return keys_[mixed(hash) % keys_.size()];
  }
  [[nodiscard]] OwnerPartition& partition_of(const Pid& pid) noexcept {
    return owners_[PidNumberHash{}(pid) % owners_.size()];
  }
  [[nodiscard]] const OwnerPartition& partition_of(const Pid& pid) const noexcept {
    return owners_[PidNumberHash{}(pid) % owners_.size()];
  }
  /// The hash of an integer is itself; without mixing, partition and bucket would be the same choice.
  [[nodiscard]] static std::size_t mixed(std::size_t hash) noexcept { return (hash * 0x9E3779B97F4A7C15U) >> 32U; }

  void note_owner(Pid pid, KeyRef key) {
    bool first = false;
    OwnerPartition& partition = partition_of(pid);
    {
      MutexLock lock(partition.mutex);
      const auto [owner, added] = partition.owners.try_emplace(pid);
      ++owner->second.keys[std::move(key)];
      first = added;
    }
    if (!first) return;
    auto hook = std::make_unique<Cleanup>(this->shared_from_this());
    const ExitHook* address = hook.get();
    add_exit_hook(std::move(hook));
    MutexLock lock(partition.mutex);
    if (const auto owner = partition.owners.find(pid); owner != partition.owners.end()) owner->second.hook = address;
  }

  std::size_t remove_entries(const Probe& probe, Pid owner, const std::vector<const Entry*>* chosen) {
    std::vector<EntryRef> removed;     // these two outlive the lock:
    typename Keys::node_type emptied;  // their destructors are user code
    KeyPartition& partition = partition_of(probe.hash);
    MutexLock lock(partition.mutex);
    const auto found = partition.keys.find(&probe);
    if (found == partition.keys.end()) return 0;
    std::vector<EntryRef>& entries = found->second.own();
    std::size_t kept = 0;
    for (EntryRef& entry : entries) {
      const bool leaves = entry->pid == owner && (chosen == nullptr || std::find(chosen->begin(), chosen->end(),
                                                                                 entry.get()) != chosen->end());
      if (leaves) {
        removed.push_back(std::move(entry));
      } else {
        if (&entries[kept] != &entry) entries[kept] = std::move(entry);
        ++kept;
      }
    }
    entries.resize(kept);
    if (entries.empty()) emptied = partition.keys.extract(found);
    partition.count -= removed.size();
    return removed.size();
  }

  void forget(const Probe& probe, Pid pid, std::size_t count) {
    const ExitHook* unneeded = nullptr;
    {
      typename KeyCounts::node_type key_left;  // these two outlive the lock:
      typename Owners::node_type owner_left;   // their destructors are user code
      OwnerPartition& partition = partition_of(pid);
      MutexLock lock(partition.mutex);
      const auto owner = partition.owners.find(pid);
      if (owner == partition.owners.end()) return;
      KeyCounts& keys = owner->second.keys;
      const auto key = keys.find(&probe);
      if (key == keys.end()) return;
      key->second -= count;
      if (key->second == 0) key_left = keys.extract(key);
      if (keys.empty()) {
        unneeded = owner->second.hook;
        owner_left = partition.owners.extract(owner);
      }
    }
    if (unneeded != nullptr) remove_exit_hook(unneeded);
  }

  void remove_owner(Pid pid) noexcept {
    typename Owners::node_type owner;
    {
      OwnerPartition& partition = partition_of(pid);
      MutexLock lock(partition.mutex);
      const auto found = partition.owners.find(pid);
      if (found == partition.owners.end()) return;
      owner = partition.owners.extract(found);
    }
    for (const auto& [key, count] : owner.mapped().keys) {
      static_cast<void>(remove_entries(Probe(key->key), pid, nullptr));
    }
  }

  const bool unique_;
  std::vector<KeyPartition> keys_;
  std::vector<OwnerPartition> owners_;
};

/// The registry's small table of what belongs to itself.
class RegistryMeta {
 public:
  void put(std::string name, std::shared_ptr<const void> value, const std::type_info& type);
  [[nodiscard]] Result<std::shared_ptr<const void>> get(std::string_view name, const std::type_info& type) const;
  bool erase(std::string_view name);

 private:
  struct Item {
    std::shared_ptr<const void> value;  // shared with readers; ends with the last of them
    const std::type_info* type;
  };
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const noexcept { return std::hash<std::string_view>{}(text); }
  };
  using Items = std::unordered_map<std::string, Item, Hash, std::equal_to<>>;

  mutable Mutex mutex_;
  Items items_ DAGVERK_GUARDED_BY(mutex_);
};

}  // namespace detail
}  // namespace dagverk

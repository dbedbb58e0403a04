#pragma once

#include "dagverk/base/concat.hpp"
#include "dagverk/base/result.hpp"
#include "dagverk/runtime/detail/handlers.hpp"
#include "dagverk/runtime/detail/registry_table.hpp"
#include "dagverk/runtime/server_ref.hpp"
#include "dagverk/runtime/this_process.hpp"

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <typeinfo>
#include <utility>
#include <variant>
#include <vector>

namespace dagverk {

enum class RegistryKeys : std::uint8_t {
  unique,     ///< a key has at most one entry
  duplicate,  ///< a key may have many, also several of one process
};

struct RegistryOptions {
  RegistryKeys keys = RegistryKeys::unique;
  std::string name = {};        ///< stands in errors and in listeners' messages; need not be unique
  std::size_t partitions = 16;  ///< independent locks, 1..1024; more when many threads write
};

/// To listeners: `pid` has registered `key` with `value`.
template <class Key, class Value>
struct RegistryRegistered {
  std::string registry;
  Key key;
  Pid pid;
  Value value;
};

/// To listeners: `pid` has unregistered `key`. Not sent when entries vanish because their process ends.
template <class Key>
struct RegistryUnregistered {
  std::string registry;
  Key key;
  Pid pid;
};

/// One entry with its key.
template <class Key, class Value>
struct RegistryRecord {
  Key key;
  Pid pid;
  Value value;
};

template <class Value>
struct RegistryUpdate {
  Value current;
  Value previous;
};

/// The address of whoever holds a registry's key now; survives restarts. As `Name`, for keys of any type.
///
/// Semantics: looks the key up when it is used; with duplicate keys, the first holder. The holder must be a `Server`.
/// Threads:   any. Lifetime: keeps the registry's table; not used after the runtime.
template <class Server, class Registry, class Key>
class RegisteredName {
 public:
  RegisteredName(Registry registry, Key key) : registry_(std::move(registry)), key_(std::move(key)) {}

  [[nodiscard]] const Key& key() const noexcept { return key_; }
  /// The holder. Errors: `not_found`, `wrong_type`.
  [[nodiscard]] Result<ServerRef<Server>> resolve() const { return registry_.template resolve<Server>(key_); }

  /// As ServerRef::cast; dropped when nobody (or another kind of server) holds the key.
  template <class Message>
  void cast(Message message) const {
    holder_or_nobody().cast(std::move(message));
  }
  /// As ServerRef::call; `no_process` when nobody, or another kind of server, holds the key.
  template <class Message, class... Args>
  [[nodiscard]] detail::CallAwaiter<Message, typename Message::Reply> call(Args&&... args) const {
    return holder_or_nobody().template call<Message>(std::forward<Args>(args)...);
  }
  /// As ServerRef::call_blocking. Errors: and those of `resolve`.
  template <class Message, class... Args>
  [[nodiscard]] Result<typename Message::Reply> call_blocking(Args&&... args) const {
    Result<ServerRef<Server>> server = resolve();
    if (!server) return server.error();
    return server->template call_blocking<Message>(std::forward<Args>(args)...);
  }

 private:
  [[nodiscard]] ServerRef<Server> holder_or_nobody() const {
    Result<ServerRef<Server>> server = resolve();
    return server ? *server : ServerRef<Server>();
  }

  Registry registry_;
  Key key_;
};

/// What can be a key: hashable with `std::hash`, comparable with `==`. Shown in messages when `concat` or `to_string`
/// can.
template <class Key>
concept RegistryKeyType = std::copy_constructible<Key> && std::equality_comparable<Key> && requires(const Key& key) {
  { std::hash<Key>{}(key) } -> std::convertible_to<std::size_t>;
};

namespace detail {

[[nodiscard]] Result<void> check_registry_options(const RegistryOptions& options);
/// The running process. Errors: `wrong_thread` outside of one, `invalid_argument` when it is another runtime's.
[[nodiscard]] Result<Pid> registering_process(const RuntimeBase& runtime, const std::string& registry);
[[nodiscard]] Error key_is_taken(const std::string& registry, const std::string& key, Pid holder);
[[nodiscard]] Error key_is_unknown(const std::string& registry, const std::string& key);
[[nodiscard]] Error key_is_foreign(const std::string& registry, const std::string& key, Pid holder);
[[nodiscard]] Error keys_are_not_unique(const std::string& registry);
[[nodiscard]] Result<Pid> check_holder(Pid pid, const ProcessType& type, const std::string& registry,
                                       const std::string& key);

template <class Key>
[[nodiscard]] std::string registry_key_text(const Key& key) {
  if constexpr (std::convertible_to<const Key&, std::string_view>) {
    return concat('"', key, '"');
  } else if constexpr (std::constructible_from<ConcatPiece, const Key&>) {
    return concat(key);
  } else if constexpr (requires { std::string(to_string(key)); }) {
    return std::string(to_string(key));
  } else {
    return concat("(a ", type_name<Key>(), ")");
  }
}

template <class Key, class Value>
struct RegistryListener {
  Pid pid;
  void (*registered)(Pid listener, const std::string& registry, const Key& key, Pid pid, const Value& value);
  void (*unregistered)(Pid listener, const std::string& registry, const Key& key, Pid pid);
};

/// Who is told of registrations. Read without copying.
template <class Key, class Value>
class RegistryListeners {
 public:
  using Listener = RegistryListener<Key, Value>;
  using List = std::vector<Listener>;

  void add(const Listener& listener) {
    change([&](List& list) {
      std::erase_if(list, [&](const Listener& known) {  // those that have ended take no room
        return known.pid == listener.pid || !RuntimeBase::alive(known.pid);
      });
      list.push_back(listener);
    });
  }
  void remove(Pid pid) {
    change([&](List& list) { std::erase_if(list, [&](const Listener& known) { return known.pid == pid; }); });
  }
  [[nodiscard]] std::shared_ptr<const List> current() const {
    if (!any_.load(std::memory_order_acquire)) return nullptr;
    MutexLock lock(mutex_);
    return list_;
  }

 private:
  template <class Change>
  void change(const Change& change_list) {
    MutexLock lock(mutex_);
    auto next = list_ == nullptr ? std::make_shared<List>() : std::make_shared<List>(*list_);
    change_list(*next);
    any_.store(!next->empty(), std::memory_order_release);  // pairs with current(); the mutex publishes the list
    list_ = std::move(next);
  }

  mutable Mutex mutex_;
  std::shared_ptr<const List> list_ DAGVERK_GUARDED_BY(mutex_);  // shared with senders that are reading it
  std::atomic<bool> any_{false};
};

}  // namespace detail

/// A table of processes by key: who serves "orders", who listens to room 7.
///
/// Semantics: Elixir's Registry, typed. Only a process can register, and only itself; its entries vanish when it ends,
///            before anybody can learn of its end. Reads go through no process; they see the table as it was at one
///            moment. Keys compare with `==`, exactly. There is no partition owner whose end would take processes
///            along. Differences: docs/reference/registry.md.
/// Threads:   reads from any thread. `register_self`, `unregister`, `unregister_match` and `update_value` act for the
///            calling process: `wrong_thread` outside of one, `invalid_argument` in a process of another runtime.
///            `==` and the hash of keys run under a short lock and must not use the registry.
/// Errors:    an exception out of a callable that was passed travels to the caller; the table stays as it was.
/// Lifetime:  a handle; copies share one table, which lives as long as a handle or a registered process. Not used after
///            its runtime, except for being destroyed.
/// Bounds:    none; one entry for each registration that lives.
template <RegistryKeyType Key, class Value = std::monostate>
class Registry {
  using Table = detail::RegistryTable<Key, Value>;
  using Probe = typename Table::Probe;

 public:
  using Entry = RegistryEntry<Value>;
  using Entries = RegistryEntries<Value>;
  using Registered = RegistryRegistered<Key, Value>;
  using Unregistered = RegistryUnregistered<Key>;

  /// Errors: `invalid_argument` when `partitions` is out of range.
  [[nodiscard]] static Result<Registry> create(RuntimeBase& runtime, RegistryOptions options = {}) {
    if (Result<void> checked = detail::check_registry_options(options); !checked) return checked.error();
    return Registry(std::make_shared<State>(runtime, std::move(options)));
  }

  [[nodiscard]] const std::string& name() const noexcept { return state_->options.name; }
  [[nodiscard]] bool unique() const noexcept { return state_->options.keys == RegistryKeys::unique; }

  // --- what a process does with its own entries ----------------------------------------------------------------------

  /// Registers the calling process under `key`. Errors: `already_exists` when keys are unique and somebody, perhaps the
  /// caller itself, holds it.
  [[nodiscard]] Result<void> register_self(Key key, Value value = Value{}) {
    Result<Pid> self = caller();
    if (!self) return self.error();
    const std::shared_ptr<const ListenerList> listeners = state_->listeners.current();
    std::optional<std::pair<Key, Value>> told;
    if constexpr (std::copy_constructible<Value>) {
      if (listeners != nullptr) told.emplace(key, value);
    }
    if (unique()) {  // keeps a key that is taken from being copied
      const Entries held = state_->table->find(Probe(key));
      if (!held.empty()) return detail::key_is_taken(name(), detail::registry_key_text(key), held[0].pid);
    }
    if (const auto taken = state_->table->add(*self, std::move(key), std::move(value))) {
      return detail::key_is_taken(name(), detail::registry_key_text(taken->key->key), taken->holder);
    }
    if (told) {
      for (const Listener& listener : *listeners) {
        listener.registered(listener.pid, name(), told->first, *self, told->second);
      }
    }
    return {};
  }

  /// Removes all entries of the calling process under `key`; returns how many there were.
  Result<std::size_t> unregister(const Key& key) {
    Result<Pid> self = caller();
    if (!self) return self.error();
    const std::size_t removed = state_->table->remove(Probe(key), *self);
    if (removed != 0) tell_unregistered(key, *self);
    return removed;
  }

  /// Removes those entries of the calling process under `key` whose value satisfies `matches`.
  template <std::predicate<const Value&> Matches>
  Result<std::size_t> unregister_match(const Key& key, Matches matches) {
    Result<Pid> self = caller();
    if (!self) return self.error();
    const Probe probe(key);
    const Entries entries = state_->table->find(probe);
    std::vector<const Entry*> chosen;
    for (const Entry& entry : entries) {
      if (entry.pid == *self && matches(entry.value)) chosen.push_back(&entry);
    }
    const std::size_t removed = chosen.empty() ? 0 : state_->table->remove(probe, *self, chosen);
    if (removed != 0) tell_unregistered(key, *self);
    return removed;
  }

  /// Replaces the calling process' value by `update(old value)`. Errors: `not_found`, `refused` when another process
  /// holds the key, `invalid_argument` when keys are not unique.
  template <class Update>
    requires std::convertible_to<std::invoke_result_t<Update&, const Value&>, Value>
  [[nodiscard]] Result<RegistryUpdate<Value>> update_value(const Key& key, Update update) {
    if (!unique()) return detail::keys_are_not_unique(name());
    Result<Pid> self = caller();
    if (!self) return self.error();
    const Probe probe(key);
    const Entries held = state_->table->find(probe);
    if (held.empty()) return detail::key_is_unknown(name(), detail::registry_key_text(key));
    if (held[0].pid != *self) return detail::key_is_foreign(name(), detail::registry_key_text(key), held[0].pid);
    auto next = std::make_shared<const Entry>(Entry{*self, update(held[0].value)});
    state_->table->replace(probe, held[0], next);
    return RegistryUpdate<Value>{next->value, held[0].value};
  }

  // --- what anybody may read -----------------------------------------------------------------------------------------

  /// The entries of `key`, in order of registration.
  [[nodiscard]] Entries lookup(const Key& key) const { return state_->table->find(Probe(key)); }

  /// The holder of `key` (the first, when keys are not unique).
  [[nodiscard]] std::optional<Pid> whereis(const Key& key) const {
    const Entries held = lookup(key);
    if (held.empty()) return std::nullopt;
    return held[0].pid;
  }

  /// The holder of `key` as a server. Errors: `not_found`, `wrong_type`.
  template <class Server>
  [[nodiscard]] Result<ServerRef<Server>> resolve(const Key& key) const {
    const Entries held = lookup(key);
    if (held.empty()) return detail::key_is_unknown(name(), detail::registry_key_text(key));
    Result<Pid> pid =
        detail::check_holder(held[0].pid, detail::process_type<Server>, name(), detail::registry_key_text(key));
    if (!pid) return pid.error();
    return ServerRef<Server>(*pid);
  }

  /// An address that survives restarts: `rooms.name_of<Room>(RoomId{7}).cast(…)`.
  template <class Server>
  [[nodiscard]] RegisteredName<Server, Registry, Key> name_of(Key key) const {
    return {*this, std::move(key)};
  }

  /// Calls `function(entries)` once with all entries of `key`, here and now; not at all when there is none. Returns how
  /// many entries there were.
  template <std::invocable<const Entries&> Function>
  std::size_t dispatch(const Key& key, Function&& function) const {
    const Entries entries = lookup(key);
    if (!entries.empty()) std::invoke(function, entries);
    return entries.size();
  }

  /// The entries of `key` whose value satisfies `matches`.
  template <std::predicate<const Value&> Matches>
  [[nodiscard]] std::vector<Entry> match(const Key& key, Matches matches) const {
    std::vector<Entry> found;
    for (const Entry& entry : lookup(key)) {
      if (matches(entry.value)) found.push_back(entry);
    }
    return found;
  }
  template <std::predicate<const Value&> Matches>
  [[nodiscard]] std::size_t count_match(const Key& key, Matches matches) const {
    std::size_t count = 0;
    for (const Entry& entry : lookup(key)) count += matches(entry.value) ? 1 : 0;
    return count;
  }

  /// All entries that satisfy `matches(key, pid, value)`, in no particular order.
  template <std::predicate<const Key&, Pid, const Value&> Matches>
  [[nodiscard]] std::vector<RegistryRecord<Key, Value>> select(Matches matches) const {
    std::vector<RegistryRecord<Key, Value>> found;
    state_->table->for_each([&](const Key& key, const Entries& entries) {
      for (const Entry& entry : entries) {
        if (matches(key, entry.pid, entry.value)) found.push_back({key, entry.pid, entry.value});
      }
    });
    return found;
  }
  template <std::predicate<const Key&, Pid, const Value&> Matches>
  [[nodiscard]] std::size_t count_select(Matches matches) const {
    std::size_t count = 0;
    state_->table->for_each([&](const Key& key, const Entries& entries) {
      for (const Entry& entry : entries) count += matches(key, entry.pid, entry.value) ? 1 : 0;
    });
    return count;
  }

  /// The keys `pid` has registered, each as often as it did; in no particular order.
  [[nodiscard]] std::vector<Key> keys(Pid pid) const {
    std::vector<Key> held;
    if (!pid) return held;
    for (const auto& [key, count] : state_->table->keys_of(pid)) held.insert(held.end(), count, key->key);
    return held;
  }
  /// The values `pid` has registered under `key`, in order of registration.
  [[nodiscard]] std::vector<Value> values(const Key& key, Pid pid) const {
    std::vector<Value> held;
    for (const Entry& entry : lookup(key)) {
      if (entry.pid == pid) held.push_back(entry.value);
    }
    return held;
  }
  /// How many entries there are.
  [[nodiscard]] std::size_t count() const { return state_->table->count(); }

  // --- listeners and metadata ----------------------------------------------------------------------------------------

  /// From now on `listener` gets `handle_info(Registered)` and `handle_info(Unregistered)` for every explicit
  /// registration and unregistration, in each process' own order. One that has ended is forgotten.
  template <class Server>
  void add_listener(ServerRef<Server> listener) {
    static_assert(
        detail::HandlesInfo<Server, Registered> && detail::HandlesInfo<Server, Unregistered>,
        "a listener has handle_info(RegistryRegistered<Key, Value>) and handle_info(RegistryUnregistered<Key>)");
    state_->listeners.add(Listener{
        listener.pid(),
        [](Pid to, const std::string& registry, const Key& key, Pid pid, const Value& value) {
          static_cast<void>(detail::send(to, detail::make_info<Server, Registered>(registry, key, pid, value)));
        },
        [](Pid to, const std::string& registry, const Key& key, Pid pid) {
          static_cast<void>(detail::send(to, detail::make_info<Server, Unregistered>(registry, key, pid)));
        }});
  }
  void remove_listener(Pid listener) { state_->listeners.remove(listener); }

  /// Stores a value of the registry's own. Putting it again replaces it, whatever its type.
  template <class Meta>
  void put_meta(std::string meta_name, Meta value) {
    state_->meta.put(std::move(meta_name), std::make_shared<const Meta>(std::move(value)), typeid(Meta));
  }
  /// Errors: `not_found`, `wrong_type`.
  template <class Meta>
  [[nodiscard]] Result<Meta> meta(std::string_view meta_name) const {
    Result<std::shared_ptr<const void>> value = state_->meta.get(meta_name, typeid(Meta));
    if (!value) return value.error();
    return *static_cast<const Meta*>(value->get());
  }
  /// False when there was none.
  bool delete_meta(std::string_view meta_name) { return state_->meta.erase(meta_name); }

 private:
  using Listener = detail::RegistryListener<Key, Value>;
  using ListenerList = std::vector<Listener>;

  struct State {
    State(RuntimeBase& owner, RegistryOptions given)
        : runtime(owner),
          options(std::move(given)),
          table(std::make_shared<Table>(options.partitions, options.keys == RegistryKeys::unique)) {}

    RuntimeBase& runtime;
    const RegistryOptions options;
    std::shared_ptr<Table> table;  // shared with the processes registered in it
    detail::RegistryListeners<Key, Value> listeners;
    detail::RegistryMeta meta;
  };

  explicit Registry(std::shared_ptr<State> state) : state_(std::move(state)) {}

  [[nodiscard]] Result<Pid> caller() const { return detail::registering_process(state_->runtime, name()); }

  void tell_unregistered(const Key& key, Pid self) const {
    const std::shared_ptr<const ListenerList> listeners = state_->listeners.current();
    if (listeners == nullptr) return;
    for (const Listener& listener : *listeners) listener.unregistered(listener.pid, name(), key, self);
  }

  std::shared_ptr<State> state_;  // shared by all handles of one registry; ends with the last
};

}  // namespace dagverk

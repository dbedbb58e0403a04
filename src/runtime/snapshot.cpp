// What tools see of a runtime: its processes and the edges between its stages.

#include "dagverk/runtime/snapshot.hpp"

#include "name_table.hpp"
#include "process_extra.hpp"
#include "process_table.hpp"

#include "dagverk/runtime/runtime_base.hpp"

#include <unordered_map>
#include <utility>

namespace dagverk {

std::string_view to_string(DropReason reason) noexcept {
  switch (reason) {
    case DropReason::buffer_full: return "buffer_full";
    case DropReason::overflow: return "overflow";
    case DropReason::sampled: return "sampled";
    case DropReason::coalesced: return "coalesced";
    case DropReason::spill_failed: return "spill_failed";
    case DropReason::unroutable: return "unroutable";
    case DropReason::partition_removed: return "partition_removed";
    case DropReason::consumer_down: return "consumer_down";
  }
  return "unknown";
}

namespace detail {

void EdgeCounters::count_drop(DropReason reason, std::uint64_t count) {
  if (count == 0) return;
  Drops* table = drops.load(std::memory_order_relaxed);
  if (table == nullptr) {
    table = new Drops{};
    drops.store(table, std::memory_order_release);  // pairs with the acquire in EdgeTable::list
  }
  std::atomic<std::uint64_t>& of_reason = (*table)[static_cast<std::size_t>(reason)];
  of_reason.store(of_reason.load(std::memory_order_relaxed) + count, std::memory_order_relaxed);
  dropped.store(dropped.load(std::memory_order_relaxed) + count, std::memory_order_relaxed);
}

std::shared_ptr<EdgeCounters> EdgeTable::add(std::string name) {
  auto edge = std::make_shared<EdgeCounters>(std::move(name));
  MutexLock lock(mutex_);
  std::erase_if(edges_, [](const std::weak_ptr<EdgeCounters>& known) { return known.expired(); });
  edges_.push_back(edge);
  return edge;
}

std::vector<EdgeInfo> EdgeTable::list() const {
  std::vector<EdgeInfo> infos;
  MutexLock lock(mutex_);
  for (const std::weak_ptr<EdgeCounters>& known : edges_) {
    const std::shared_ptr<EdgeCounters> edge = known.lock();
    if (!edge) continue;
    EdgeInfo info;
    info.name = edge->name;
    info.asked = edge->asked.load(std::memory_order_relaxed);
    info.delivered = edge->delivered.load(std::memory_order_relaxed);
    info.dropped = edge->dropped.load(std::memory_order_relaxed);
    info.buffered = edge->buffered.load(std::memory_order_relaxed);
    const std::uint64_t sent = edge->sent.load(std::memory_order_relaxed);
    if (sent > info.delivered + info.dropped) info.buffered += sent - info.delivered - info.dropped;
    if (const EdgeCounters::Drops* drops = edge->drops.load(std::memory_order_acquire); drops != nullptr) {
      for (std::size_t reason = 0; reason < drops->size(); ++reason) {
        const std::uint64_t count = (*drops)[reason].load(std::memory_order_relaxed);
        if (count != 0) info.drops.push_back({static_cast<DropReason>(reason), count});
      }
    }
    infos.push_back(std::move(info));
  }
  return infos;
}

}  // namespace detail

Snapshot RuntimeBase::snapshot() const {
  Snapshot shot;
  std::unordered_map<Pid, std::string, detail::PidHash> names;
  names_->for_each(
      [&](const std::string& name, const detail::NameTable::Holder& holder) { names.emplace(holder.pid, name); });
  processes_->for_each([&](detail::ProcessCore& core) {
    const std::uint32_t generation = core.generation.load(std::memory_order_acquire);
    if (generation % 2 == 0) return;
    ProcessInfo info;
    info.pid = Pid(&core, generation);
    const detail::ProcessType* type = core.type.load(std::memory_order_relaxed);
    info.kind = type != nullptr ? std::string(type->name) : std::string("process");
    if (const auto name = names.find(info.pid); name != names.end()) info.name = name->second;
    info.running = core.current_ops.load(std::memory_order_relaxed) != nullptr;
    info.mailbox_depth = core.mailbox_depth();
    info.handled = core.handled_count.load(std::memory_order_relaxed);
    info.dropped = core.dropped_count.load(std::memory_order_relaxed);
    shot.processes.push_back(std::move(info));
  });
  shot.edges = edges_->list();
  return shot;
}

}  // namespace dagverk

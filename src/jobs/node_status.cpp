#include "dagverk/jobs/node_status.hpp"

#include "jobs/json_text.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/jobs/job_codec.hpp"
#include "dagverk/jobs/wire_time.hpp"

#include <algorithm>
#include <charconv>
#include <functional>
#include <utility>

namespace dagverk::jobs {

namespace {

constexpr unsigned depth_limit = 64;
constexpr std::size_t listed_limit = 10'000;  // queues, labels, pools of one foreign node

/// Visits the members of an object, or the elements of an array; nothing when it is neither.
void visit(std::string_view text, json::Kind container, const std::function<void(const json::Item&)>& use) {
  json::Walk walk(text, container, depth_limit);
  for (std::size_t count = 0; count < listed_limit && walk.next(); ++count) use(walk.item());
}

std::string text_of(std::string_view value) {
  std::string text;
  if (value.size() >= 2 && json::kind_of(value) == json::Kind::text) {
    json::decode_text(value.substr(1, value.size() - 2), text);
  }
  return text;
}

std::string key_of(const json::Item& item) {
  std::string key;
  json::decode_text(item.key, key);
  return key;
}

template <class Number>
Number number_of(std::string_view value) {
  Number number{};
  std::from_chars(value.data(), value.data() + value.size(), number);
  return number;
}

std::vector<ServedQueue> parse_weights(std::string_view value) {
  std::vector<ServedQueue> queues;
  visit(value, json::Kind::object,
        [&](const json::Item& item) { queues.push_back({key_of(item), number_of<std::size_t>(item.value)}); });
  return queues;
}

PoolStatus parse_pool(std::string name, std::string_view value) {
  PoolStatus pool;
  pool.name = std::move(name);
  visit(value, json::Kind::object, [&](const json::Item& item) {
    if (item.key == "concurrency") pool.concurrency = number_of<std::size_t>(item.value);
    if (item.key == "mode") {
      const std::string mode = text_of(item.value);
      pool.mode = mode == "weighted" ? QueueMode::weighted : mode == "random" ? QueueMode::random : QueueMode::strict;
    }
    if (item.key == "weights") pool.queues = parse_weights(item.value);
  });
  return pool;
}

/// What Sidekiqs before 8.0.9 tell of their queues: names, and weights of one or several capsules.
std::vector<PoolStatus> pools_of(const std::vector<std::string>& queues, std::string_view weights,
                                 std::size_t concurrency) {
  std::vector<PoolStatus> pools;
  if (!weights.empty() && json::kind_of(weights) == json::Kind::array) {
    visit(weights, json::Kind::array, [&](const json::Item& item) {
      pools.push_back({.name = concat("capsule ", pools.size() + 1), .queues = parse_weights(item.value)});
    });
  } else {
    PoolStatus pool;
    pool.name = "default";
    if (!weights.empty()) pool.queues = parse_weights(weights);
    if (pool.queues.empty()) {
      for (const std::string& queue : queues) pool.queues.push_back({queue, 0});
    }
    pools.push_back(std::move(pool));
  }
  for (PoolStatus& pool : pools) {
    const bool weighed = std::ranges::any_of(pool.queues, [](const ServedQueue& queue) { return queue.weight > 1; });
    const bool even = std::ranges::any_of(pool.queues, [](const ServedQueue& queue) { return queue.weight == 1; });
    pool.mode = weighed ? QueueMode::weighted : even ? QueueMode::random : QueueMode::strict;
  }
  if (pools.size() == 1) pools.front().concurrency = concurrency;
  return pools;
}

void append_weights(std::string& out, const std::vector<ServedQueue>& queues) {
  out += '{';
  for (std::size_t index = 0; index < queues.size(); ++index) {
    if (index > 0) out += ',';
    json::append_text(out, queues[index].name);
    out += concat(':', queues[index].weight);
  }
  out += '}';
}

/// A payload that is shown where the real one is too large.
std::string short_payload(const NodeJob& job) {
  std::string payload = "{\"class\":";
  const Result<Job> decoded = decode_job(job.payload, job.queue);
  json::append_text(payload, decoded ? decoded->job_class() : std::string_view("unknown"));
  payload += ",\"jid\":";
  json::append_text(payload, decoded ? decoded->jid() : std::string_view());
  payload += ",\"queue\":";
  json::append_text(payload, job.queue);
  payload += concat(R"(,"args":["a payload of )", job.payload.size(), R"( bytes"]})");
  return payload;
}

}  // namespace

std::string_view to_string(NodeSignal signal) noexcept {
  switch (signal) {
    case NodeSignal::quiet: return "quiet";
    case NodeSignal::stop: return "stop";
    case NodeSignal::dump: return "dump";
  }
  return "unknown";
}

std::string_view wire_name(NodeSignal signal) noexcept {
  switch (signal) {
    case NodeSignal::quiet: return "TSTP";
    case NodeSignal::stop: return "TERM";
    case NodeSignal::dump: return "TTIN";
  }
  return "";
}

std::optional<NodeSignal> node_signal_of(std::string_view wire_name) noexcept {
  if (wire_name == "TSTP") return NodeSignal::quiet;
  if (wire_name == "TERM") return NodeSignal::stop;
  if (wire_name == "TTIN") return NodeSignal::dump;
  return std::nullopt;
}

std::string_view to_string(QueueMode mode) noexcept {
  switch (mode) {
    case QueueMode::strict: return "strict";
    case QueueMode::weighted: return "weighted";
    case QueueMode::random: return "random";
  }
  return "strict";
}

std::string node_info_json(std::string_view identity, const NodeStatus& status) {
  std::string out = "{\"hostname\":";
  json::append_text(out, status.host);
  out += concat(",\"started_at\":", epoch_seconds_text(status.started_at), ",\"pid\":", status.os_pid, ",\"tag\":");
  json::append_text(out, status.tag);
  out += concat(",\"concurrency\":", status.concurrency, ",\"capsules\":{");
  std::string weights;
  std::vector<std::string_view> queues;
  for (std::size_t index = 0; index < status.pools.size(); ++index) {
    const PoolStatus& pool = status.pools[index];
    if (index > 0) out += ',';
    json::append_text(out, pool.name);
    out += concat(":{\"concurrency\":", pool.concurrency, R"(,"mode":")", to_string(pool.mode), R"(","weights":)");
    append_weights(out, pool.queues);
    out += '}';
    if (index > 0) weights += ',';
    append_weights(weights, pool.queues);
    for (const ServedQueue& queue : pool.queues) {
      if (std::ranges::find(queues, queue.name) == queues.end()) queues.push_back(queue.name);
    }
  }
  out += "},\"queues\":[";
  for (std::size_t index = 0; index < queues.size(); ++index) {
    if (index > 0) out += ',';
    json::append_text(out, queues[index]);
  }
  out += concat("],\"weights\":[", weights, "],\"labels\":[");
  for (std::size_t index = 0; index < status.labels.size(); ++index) {
    if (index > 0) out += ',';
    json::append_text(out, status.labels[index]);
  }
  out += "],\"identity\":";
  json::append_text(out, identity);
  out += ",\"version\":";
  json::append_text(out, status.version);
  out += concat(",\"embedded\":", status.embedded, '}');
  return out;
}

NodeStatus parse_node_info(std::string_view json) {
  NodeStatus status;
  std::vector<std::string> queues;
  std::string_view weights;
  visit(json, json::Kind::object, [&](const json::Item& item) {
    if (item.key == "hostname") status.host = text_of(item.value);
    if (item.key == "pid") status.os_pid = number_of<std::int64_t>(item.value);
    if (item.key == "started_at") status.started_at = parse_wire_time(item.value).value_or(WallTime{});
    if (item.key == "tag") status.tag = text_of(item.value);
    if (item.key == "version") status.version = text_of(item.value);
    if (item.key == "concurrency") status.concurrency = number_of<std::size_t>(item.value);
    if (item.key == "embedded") status.embedded = item.value == "true";
    if (item.key == "weights") weights = item.value;
    if (item.key == "labels") {
      visit(item.value, json::Kind::array,
            [&](const json::Item& label) { status.labels.push_back(text_of(label.value)); });
    }
    if (item.key == "queues") {
      visit(item.value, json::Kind::array, [&](const json::Item& queue) { queues.push_back(text_of(queue.value)); });
    }
    if (item.key == "capsules") {
      visit(item.value, json::Kind::object,
            [&](const json::Item& pool) { status.pools.push_back(parse_pool(key_of(pool), pool.value)); });
    }
  });
  if (status.pools.empty() && !queues.empty()) status.pools = pools_of(queues, weights, status.concurrency);
  return status;
}

std::string node_job_json(const NodeJob& job) {
  std::string out = "{\"queue\":";
  json::append_text(out, job.queue);
  out += ",\"payload\":";
  json::append_text(out, job.payload.size() > work_payload_limit ? short_payload(job) : job.payload);
  const auto run_at = std::chrono::floor<std::chrono::seconds>(job.started_at).time_since_epoch().count();
  out += concat(",\"run_at\":", run_at, '}');
  return out;
}

std::optional<NodeJob> parse_node_job(std::string_view worker, std::string_view json) {
  NodeJob job;
  job.worker = worker;
  bool known = false;
  visit(json, json::Kind::object, [&](const json::Item& item) {
    if (item.key == "queue") job.queue = text_of(item.value);
    if (item.key == "run_at") job.started_at = parse_wire_time(item.value).value_or(WallTime{});
    if (item.key == "payload") {
      known = true;
      job.payload = json::kind_of(item.value) == json::Kind::text ? text_of(item.value) : std::string(item.value);
    }
  });
  if (!known) return std::nullopt;
  return job;
}

std::string worker_name(std::uint64_t number) {
  char digits[16];
  const auto end = std::to_chars(digits, digits + sizeof digits, number, 36);
  return {digits, end.ptr};
}

}  // namespace dagverk::jobs

#include "dagverk/worker/configuration.hpp"

#include "worker/settings.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/jobs/job_names.hpp"
#include "dagverk/net/redis_url.hpp"
#include "dagverk/worker/command_line.hpp"

#include <algorithm>
#include <charconv>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>

namespace dagverk::worker {
namespace {

constexpr std::string_view default_file = "dagverk.toml";
// Set for commands that run as jobs, and for tests.
constexpr std::string_view other_variables[] = {"DAGVERK_JID",  "DAGVERK_CLASS",  "DAGVERK_QUEUE", "DAGVERK_ATTEMPT",
                                                "DAGVERK_SEED", "DAGVERK_CONFIG", "DAGVERK_STORE", "DAGVERK_QUEUES"};
constexpr std::string_view queue_allowed = "allowed: NAME or NAME:CONCURRENCY, with 1 to 1024";

struct QueueWish {
  std::string name;
  std::optional<std::size_t> concurrency;
  SettingOrigin origin;
};

/// `mail` or `mail:5`. Names may hold colons, so only digits after the last one are a concurrency.
std::optional<QueueWish> parse_queue(std::string_view text, const SettingOrigin& origin, Mistakes& mistakes) {
  QueueWish wish{std::string(text), std::nullopt, origin};
  const std::size_t colon = text.rfind(':');
  if (colon != std::string_view::npos) {
    const std::string_view digits = text.substr(colon + 1);
    std::size_t concurrency = 0;
    const auto [end, fault] = std::from_chars(digits.data(), digits.data() + digits.size(), concurrency);
    if (digits.empty() || (fault == std::errc() && end == digits.data() + digits.size())) {
      if (concurrency < 1 || concurrency > concurrency_max) {
        mistakes.add(origin.place, "", concat("got ", shown(std::string(text)), "; ", queue_allowed));
        return std::nullopt;
      }
      wish.name.resize(colon);
      wish.concurrency = concurrency;
    }
  }
  if (const auto good = jobs::check_queue_name(wish.name); !good) {
    mistakes.add(origin.place, "", concat(good.error().message(), "; ", queue_allowed));
    return std::nullopt;
  }
  return wish;
}

const SettingRow* find_row(std::string_view key) {
  for (const SettingRow& row : setting_rows()) {
    if (row.key == key) return &row;
  }
  return nullptr;
}

constexpr std::size_t verk_dead_jobs = 100;
constexpr Duration verk_dead_age = std::chrono::hours(7 * 24);

class Loader {
 public:
  explicit Loader(const ConfigurationSources& sources) : sources_(sources) {}

  Result<Configuration> load() {
    if (auto read = read_file(); !read) return read.error();
    read_environment();
    read_flags();
    settle_store();
    settle_dead_set();
    settle_queues();
    check_jobs();
    if (!mistakes_.empty()) {
      return Error(ErrorCode::configuration,
                   flag_mistakes_.empty() ? mistakes_.text() : mistakes_.text() + "\n" + flag_mistakes_.text());
    }
    if (!flag_mistakes_.empty()) return Error(ErrorCode::invalid_argument, flag_mistakes_.text());
    return std::move(configuration_);
  }

 private:
  [[nodiscard]] std::optional<std::string> variable(std::string_view name) const {
    const auto found = sources_.environment.find(name);
    if (found == sources_.environment.end() || found->second.empty()) return std::nullopt;
    return found->second;
  }

  Result<void> read_file() {
    std::optional<std::string> named = sources_.file ? sources_.file : variable("DAGVERK_CONFIG");
    const std::string path = path_below(sources_.working_directory, named.value_or(std::string(default_file)));
    if (!named) {
      struct stat status{};
      if (::stat(path.c_str(), &status) != 0 && (errno == ENOENT || errno == ENOTDIR)) return {};
      named = default_file;
    }
    configuration_.file = path;
    return read_configuration_file(path, *named, configuration_, mistakes_);
  }

  void read_environment() {
    if (const auto url = variable("DAGVERK_STORE")) {
      store_from_.emplace(*url, SettingOrigin{Origin::environment, "DAGVERK_STORE"});
    }
    for (const SettingRow& row : setting_rows()) {
      const std::string name = environment_name(row.key);
      if (const auto text = variable(name)) {
        apply_setting(row, *text, {Origin::environment, name}, configuration_, mistakes_);
      }
    }
    if (const auto list = variable("DAGVERK_QUEUES")) {
      std::string_view left = *list;
      while (true) {
        const std::size_t comma = left.find(',');
        wish(left.substr(0, comma), {Origin::environment, "DAGVERK_QUEUES"}, mistakes_);
        if (comma == std::string_view::npos) break;
        left.remove_prefix(comma + 1);
      }
    }
    warn_about_variables();
  }

  void warn_about_variables() {
    std::vector<std::string> names(std::begin(other_variables), std::end(other_variables));
    for (const SettingRow& row : setting_rows()) names.push_back(environment_name(row.key));
    const std::vector<std::string_view> candidates(names.begin(), names.end());
    for (const auto& [name, value] : sources_.environment) {
      if (!name.starts_with("DAGVERK_") || std::ranges::find(names, name) != names.end()) continue;
      if (const auto near = nearest_word(name, candidates)) {
        configuration_.warnings.push_back(concat(printable(name, 60), ": no such setting; did you mean ", *near, "?"));
      }
    }
  }

  void read_flags() {
    bool first_queue = true;
    for (const FlagValue& flag : sources_.flags) {
      const SettingOrigin origin{Origin::flag, flag.flag};
      if (flag.key == "store") {
        store_from_.emplace(flag.value, origin);
      } else if (flag.key == "queue") {
        if (std::exchange(first_queue, false)) wishes_.clear();
        wish(flag.value, origin, flag_mistakes_);
      } else if (const SettingRow* row = find_row(flag.key)) {
        apply_setting(*row, flag.value, origin, configuration_, flag_mistakes_);
      }
    }
  }

  void wish(std::string_view text, const SettingOrigin& origin, Mistakes& mistakes) {
    if (auto queue = parse_queue(text, origin, mistakes)) wishes_.push_back(std::move(*queue));
  }

  void settle_store() {
    const bool file_names_one = configuration_.origins.contains("store");
    const auto redis = variable("REDIS_URL");
    if (store_from_) {
      Mistakes& mistakes = store_from_->second.kind == Origin::flag ? flag_mistakes_ : mistakes_;
      apply_store(store_from_->first, store_from_->second, sources_.working_directory, configuration_, mistakes);
    } else if (!file_names_one && redis && mistakes_.empty()) {
      apply_store(*redis, {Origin::redis_url, "REDIS_URL"}, "", configuration_, mistakes_);
    }
    if (!configuration_.store_is_default) return;
    std::string folder;
    const auto state = variable("XDG_STATE_HOME");
    if (state && state->starts_with('/')) {
      folder = *state;
    } else if (const auto home = variable("HOME")) {
      folder = path_below(*home, ".local/state");
    } else if (mistakes_.empty() && flag_mistakes_.empty()) {
      mistakes_.add("HOME", "", "is not set, so the default store has no place; name one: --store sqlite:FILE");
    }
    configuration_.store_path = path_below(folder, "dagverk/dagverk.db");
  }

  void settle_dead_set() {
    if (!configuration_.verk_compatible) return;
    if (!configuration_.origins.contains("dead.jobs")) configuration_.dead_jobs = verk_dead_jobs;
    if (!configuration_.origins.contains("dead.age")) configuration_.dead_age = verk_dead_age;
  }

  void settle_queues() {
    const auto concurrency_from = configuration_.origins.find("concurrency");
    const Origin concurrency_kind =
        concurrency_from == configuration_.origins.end() ? Origin::built_in : concurrency_from->second.kind;
    // What one queue gets: its own number, unless a stronger source gave one for all.
    const auto of_file = [&](std::string_view name) -> const QueueSettings* {
      for (const QueueSettings& queue : configuration_.queues) {
        if (queue.name == name && concurrency_kind <= Origin::file) return &queue;
      }
      return nullptr;
    };
    std::vector<QueueSettings> settled;
    const auto add = [&](const std::string& name, std::optional<std::size_t> concurrency, SettingOrigin origin) {
      const QueueSettings* in_file = of_file(name);
      const std::size_t otherwise = in_file != nullptr ? in_file->concurrency : configuration_.concurrency;
      for (QueueSettings& queue : settled) {
        if (queue.name != name) continue;
        queue.concurrency = concurrency.value_or(otherwise);  // named twice: the last one counts
        return;
      }
      settled.push_back({name, concurrency.value_or(otherwise), std::move(origin)});
    };
    if (!wishes_.empty()) {
      configuration_.pools.clear();
      for (const QueueWish& wish : wishes_) add(wish.name, wish.concurrency, wish.origin);
    } else if (!configuration_.queues.empty() || !configuration_.pools.empty()) {
      for (const QueueSettings& queue : configuration_.queues) add(queue.name, std::nullopt, queue.origin);
    } else {
      add("default", std::nullopt, {});
      for (const JobSettings& job : configuration_.jobs) add(job.options.queue, std::nullopt, {});
    }
    configuration_.queues = std::move(settled);
    for (PoolSettings& pool : configuration_.pools) {
      if (pool.concurrency == 0 || concurrency_kind > Origin::file) pool.concurrency = configuration_.concurrency;
      check_pool_name(pool);
    }
    if (wishes_.empty()) warn_about_unserved();
  }

  void check_pool_name(const PoolSettings& pool) {
    for (const QueueSettings& queue : configuration_.queues) {
      if (queue.name != pool.name) continue;
      mistakes_.add(pool.origin.place, concat("pools.", pool.name),
                    "the queue of that name in [queues] has a pool of its own, so this one needs another name");
    }
  }

  void warn_about_unserved() {
    for (const JobSettings& job : configuration_.jobs) {
      const auto wanted = [&](const auto& queue) { return queue.name == job.options.queue; };
      const bool served = std::ranges::any_of(configuration_.queues, wanted) ||
                          std::ranges::any_of(configuration_.pools, [&](const PoolSettings& pool) {
                            return std::ranges::any_of(pool.queues, wanted);
                          });
      if (!served) {
        configuration_.warnings.push_back(concat(job.place, ": jobs.", job.name, ": its queue \"", job.options.queue,
                                                 "\" is not in [queues]; a worker with this file will not run it"));
      }
    }
  }

  void check_jobs() {
    if (!mistakes_.empty()) return;  // the registry would say the same in other words
    for (const JobSettings& job : configuration_.jobs) {
      jobs::JobRegistry registry;
      registry.define_command(job.name, job.command, job.options);
      if (const auto good = registry.check(); !good) {
        mistakes_.add(job.place, concat("jobs.", job.name), good.error().message());
      }
    }
    for (const CronSettings& cron : configuration_.cron) {
      jobs::JobRegistry registry;
      registry.cron_json(cron.spec, cron.class_name, cron.args_json, cron.file);
      if (const auto good = registry.check(); !good) mistakes_.add(cron.place, "cron", good.error().message());
    }
  }

  const ConfigurationSources& sources_;
  Configuration configuration_;
  Mistakes mistakes_;       // of the file and the environment: the configuration is wrong
  Mistakes flag_mistakes_;  // of flags: the command line is
  std::optional<std::pair<std::string, SettingOrigin>> store_from_;
  std::vector<QueueWish> wishes_;
};

}  // namespace

std::string_view to_string(Origin origin) noexcept {
  switch (origin) {
    case Origin::built_in: return "default";
    case Origin::redis_url:
    case Origin::environment: return "environment";
    case Origin::file: return "file";
    case Origin::flag: return "flag";
  }
  return "default";
}

const JobSettings* Configuration::find_job(std::string_view name) const noexcept {
  for (const JobSettings& job : jobs) {
    if (job.name == name) return &job;
  }
  return nullptr;
}

std::map<std::string, std::string, std::less<>> current_environment() {
  std::map<std::string, std::string, std::less<>> variables;
  for (char** entry = ::environ; entry != nullptr && *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    const std::size_t equals = text.find('=');
    if (equals != std::string_view::npos) variables.emplace(text.substr(0, equals), text.substr(equals + 1));
  }
  return variables;
}

std::vector<jobs::PoolOptions> pools_of(const Configuration& configuration) {
  std::vector<jobs::PoolOptions> pools;
  pools.reserve(configuration.queues.size() + configuration.pools.size());
  for (const QueueSettings& queue : configuration.queues) {
    pools.push_back({.name = queue.name, .queues = {queue.name}, .concurrency = queue.concurrency});
  }
  for (const PoolSettings& pool : configuration.pools) {
    pools.push_back(
        {.name = pool.name, .queues = pool.queues, .concurrency = pool.concurrency, .threads = pool.threads});
  }
  return pools;
}

Result<Configuration> load_configuration(const ConfigurationSources& sources) { return Loader(sources).load(); }

void define_commands(const Configuration& configuration, jobs::JobRegistry& registry) {
  for (const JobSettings& job : configuration.jobs) registry.define_command(job.name, job.command, job.options);
  for (const CronSettings& cron : configuration.cron) {
    registry.cron_json(cron.spec, cron.class_name, cron.args_json, cron.file);
  }
}

std::string shown_store(const Configuration& configuration) {
  if (configuration.redis_url.empty()) return concat("sqlite:", configuration.store_path);
  const auto url = net::parse_redis_url(configuration.redis_url);
  return url ? url->shown() : redacted_url(configuration.redis_url);
}

std::string redacted_url(std::string_view url) {
  const std::size_t scheme = url.find("://");
  if (scheme == std::string_view::npos) return std::string(url);
  const std::size_t begin = scheme + 3;
  const std::size_t end = std::min(url.find('/', begin), url.size());
  const std::size_t at = url.substr(0, end).rfind('@');
  std::string out(url.substr(0, begin));
  if (at != std::string_view::npos && at >= begin) {
    out += "***@";
    out += url.substr(at + 1);
  } else {
    out += url.substr(begin);
  }
  // Some put the password into the query.
  const std::size_t query = out.find('?');
  if (query != std::string::npos) out.replace(query + 1, std::string::npos, "***");
  return out;
}

}  // namespace dagverk::worker

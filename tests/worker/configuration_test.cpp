#include "dagverk/worker/configuration.hpp"

#include "support/temporary_folder.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <string_view>
#include <sys/stat.h>
#include <vector>

namespace dagverk::worker {
namespace {

using namespace std::chrono_literals;

class ConfigurationTest : public testing::Test {
 protected:
  void SetUp() override {
    sources_.working_directory = folder_.string();
    sources_.environment = {{"HOME", "/anna"}};
  }

  void write(std::string_view text, const std::string& name = "dagverk.toml") const {
    std::ofstream(folder_ / name) << text;
    ::chmod((folder_ / name).c_str(), 0644);
  }
  [[nodiscard]] Configuration load() const {
    auto configuration = load_configuration(sources_);
    EXPECT_TRUE(configuration) << configuration.error().message();
    return configuration ? *configuration : Configuration();
  }
  [[nodiscard]] Error fault() const {
    auto configuration = load_configuration(sources_);
    return configuration ? Error(ErrorCode::internal, "it was accepted") : configuration.error();
  }
  [[nodiscard]] std::string mistake() const { return std::string(fault().message()); }
  [[nodiscard]] std::string below(std::string_view name) const { return (folder_ / name).string(); }

  TemporaryFolder temporary_;
  const std::filesystem::path folder_ = temporary_.path();
  ConfigurationSources sources_;
};

TEST_F(ConfigurationTest, without_anything_there_are_defaults) {
  const Configuration configuration = load();
  EXPECT_EQ(configuration.store_path, "/anna/.local/state/dagverk/dagverk.db");
  EXPECT_TRUE(configuration.store_is_default);
  EXPECT_EQ(configuration.file, "");
  ASSERT_EQ(configuration.queues.size(), 1U);
  EXPECT_EQ(configuration.queues[0].name, "default");
  EXPECT_EQ(configuration.queues[0].concurrency, 10U);
  EXPECT_EQ(configuration.stop_timeout, 25s);
  EXPECT_TRUE(configuration.journal);
  EXPECT_TRUE(configuration.origins.empty());
}

TEST_F(ConfigurationTest, who_comes_from_verk_may_keep_its_delays_and_limits) {
  EXPECT_FALSE(load().verk_compatible);
  write("compatibility = \"verk\"\ntimestamps = \"millis\"\nunknown_class = \"leave\"\n[dead]\nage = \"1d\"\n");
  const Configuration configuration = load();
  EXPECT_TRUE(configuration.verk_compatible);
  EXPECT_EQ(configuration.timestamps, jobs::TimestampFormat::millis);
  EXPECT_EQ(configuration.unknown_class, jobs::UnknownClass::leave);
  EXPECT_EQ(configuration.dead_jobs, 100U);
  EXPECT_EQ(configuration.dead_age, 24h) << "what is set stays";
  write("compatibility = \"resque\"\n");
  EXPECT_EQ(mistake(), R"(dagverk.toml:1: compatibility: got "resque"; allowed: "sidekiq" or "verk")");
}

TEST_F(ConfigurationTest, log_lines_may_go_to_urls_which_are_looked_at) {
  write("[log]\nto = \"console, loki:http://logs:3100#app=shop&env=test, http://logs/in\"\n");
  EXPECT_EQ(load().log_to, "console,loki:http://logs:3100#app=shop&env=test,http://logs/in");
  for (const std::string wrong :
       {"loki:logs", "http://logs:0/in", "https://logs/in", "http://logs/in#app", "http://a,b"}) {
    write("[log]\nto = \"" + wrong + "\"\n");
    EXPECT_TRUE(mistake().starts_with("dagverk.toml:2: log.to: got \"" + wrong + "\"; allowed: ")) << mistake();
    EXPECT_NE(mistake().find("or \"loki:http://HOST:PORT\"; commas between"), std::string::npos) << mistake();
  }
}

TEST_F(ConfigurationTest, the_smallest_file_is_read_as_it_stands_in_the_design) {
  write(R"(store = "sqlite:dagverk.db"        # or redis://127.0.0.1:6379/0

[queues]                           # a pool per queue, with its concurrency
default = 10

[jobs.Checksum]                    # a command job: the args array arrives as JSON on standard input;
run = ["sha256sum", "{0}"]         # {0}, {1}, … put one argument into argv, never through a shell
timeout = "30s"
)");
  const Configuration configuration = load();
  EXPECT_EQ(configuration.store_path, below("dagverk.db"));
  EXPECT_FALSE(configuration.store_is_default);
  EXPECT_EQ(configuration.origins.at("store").place, "dagverk.toml:1");
  ASSERT_EQ(configuration.jobs.size(), 1U);
  const JobSettings& job = configuration.jobs[0];
  EXPECT_EQ(job.name, "Checksum");
  EXPECT_EQ(job.place, "dagverk.toml:6");
  EXPECT_EQ(job.command.run, (std::vector<std::string>{"sha256sum", "{0}"}));
  EXPECT_EQ(job.options.timeout, 30s);
  EXPECT_EQ(job.options.queue, "default");
  EXPECT_EQ(job.options.retry.max_retries, 25U);

  jobs::JobRegistry registry;
  define_commands(configuration, registry);
  ASSERT_TRUE(registry.check());
  EXPECT_NE(registry.find("Checksum"), nullptr);
}

TEST_F(ConfigurationTest, every_key_of_a_job_is_read) {
  write(R"([jobs."Mail::Send"]
run = ["./send.sh", "--", "{0}"]
timeout = "1h30m"
queue = "mail"
retries = 3
delays = ["1s", "250ms"]
dead = false
cwd = "work"
env = ["PATH"]
env_set = { TOKEN = "hush", B = "2" }
kill_grace = "2s"
journal = false
expires_in = "10m"
retry_for = "2d"
limits = { cpu = "90s", memory = "512MiB", open_files = 64, file_size = "0B" }
output = "log"
output_kept = "100B"
snooze = "10m"
exit_codes = { 1 = "done", 75 = "snooze", 65 = "bury" }
)");
  const Configuration configuration = load();
  const JobSettings* job = configuration.find_job("Mail::Send");
  ASSERT_NE(job, nullptr);
  EXPECT_EQ(job->command.run[0], below("./send.sh"));
  EXPECT_EQ(job->options.timeout, 90min);
  EXPECT_EQ(job->options.expires_in, 10min);
  EXPECT_EQ(job->options.retry.retry_for, 48h);
  EXPECT_EQ(job->options.queue, "mail");
  EXPECT_EQ(job->options.retry.max_retries, 3U);
  EXPECT_EQ(job->options.retry.delays, (std::vector<Duration>{1s, 250ms}));
  EXPECT_FALSE(job->options.retry.dead);
  EXPECT_FALSE(job->options.journaled);
  EXPECT_EQ(job->command.working_directory, below("work"));
  EXPECT_EQ(job->command.environment_inherit, std::vector<std::string>{"PATH"});
  EXPECT_EQ(job->command.environment_set,
            (std::vector<std::pair<std::string, std::string>>{{"TOKEN", "hush"}, {"B", "2"}}));
  EXPECT_EQ(job->command.kill_grace, 2s);
  EXPECT_EQ(job->command.limits,
            (OsProcessLimits{
                .cpu_time = 90s, .address_space_bytes = 512U << 20U, .open_files_count = 64, .file_size_bytes = 0}));
  EXPECT_EQ(job->command.output, jobs::CommandOutput::log);
  EXPECT_EQ(job->command.output_kept_bytes, 100U);
  EXPECT_EQ(job->command.snooze_delay, 10min);
  EXPECT_EQ(job->command.exit_codes,
            (std::map<int, jobs::CommandExit>{
                {1, jobs::CommandExit::done}, {65, jobs::CommandExit::bury}, {75, jobs::CommandExit::snooze}}));
  // Without [queues] a worker serves default and the queues of its jobs.
  ASSERT_EQ(configuration.queues.size(), 2U);
  EXPECT_EQ(configuration.queues[1].name, "mail");
}

TEST_F(ConfigurationTest, flags_win_over_the_environment_over_the_file) {
  write("concurrency = 1\nstop_timeout = \"1s\"\nlog_level = \"error\"\n[journal]\nrows = 5000\nage = \"2d\"\n");
  sources_.environment["DAGVERK_STOP_TIMEOUT"] = "2s";
  sources_.environment["DAGVERK_CONCURRENCY"] = "2";
  sources_.environment["DAGVERK_JOURNAL_ENABLED"] = "false";
  sources_.flags = {{"concurrency", "3", "--concurrency"}};
  const Configuration configuration = load();
  EXPECT_EQ(configuration.concurrency, 3U);
  EXPECT_EQ(configuration.stop_timeout, 2s);
  EXPECT_EQ(configuration.log_level, LogLevel::error);
  EXPECT_FALSE(configuration.journal);
  EXPECT_EQ(configuration.journal_rows, 5000U);
  EXPECT_EQ(configuration.journal_age, 48h);
  EXPECT_EQ(configuration.origins.at("concurrency").kind, Origin::flag);
  EXPECT_EQ(configuration.origins.at("stop_timeout").place, "DAGVERK_STOP_TIMEOUT");
  EXPECT_EQ(configuration.origins.at("log_level").place, "dagverk.toml:3");
}

TEST_F(ConfigurationTest, pools_serve_several_queues_in_strict_order_or_by_weights) {
  write(
      "concurrency = 7\n[pools.main]\nqueues = [[\"critical\", 3], [\"default\", 1]]\nconcurrency = 20000\nthreads = "
      "5\n"
      "[pools.slow]\nqueues = [\"reports\", \"exports\"]\n");
  const Configuration configuration = load();
  EXPECT_TRUE(configuration.queues.empty());
  const std::vector<jobs::PoolOptions> pools = pools_of(configuration);
  ASSERT_EQ(pools.size(), 2U);
  EXPECT_EQ(pools[0].name, "main");
  EXPECT_EQ(pools[0].queues, (std::vector<jobs::PoolQueue>{{"critical", 3}, {"default", 1}}));
  EXPECT_EQ(pools[0].concurrency, 20'000U);
  EXPECT_EQ(pools[0].threads, 5U);
  EXPECT_EQ(pools[1].queues, (std::vector<jobs::PoolQueue>{"reports", "exports"}));
  EXPECT_EQ(pools[1].concurrency, 7U);
  EXPECT_EQ(pools[1].threads, 0U);
  write("[queues]\nmail = 2\n[pools.slow]\nqueues = [\"reports\"]\n");
  EXPECT_EQ(pools_of(load()).size(), 2U);
  sources_.flags = {{"queue", "only:3", "--queue"}};
  ASSERT_EQ(pools_of(load()).size(), 1U);  // what is asked for by hand replaces it all
  EXPECT_EQ(pools_of(load())[0].name, "only");
  sources_.flags = {{"concurrency", "4", "--concurrency"}};
  EXPECT_EQ(pools_of(load())[1].concurrency, 4U);
}

TEST_F(ConfigurationTest, jobs_that_recur_are_read_and_their_mistakes_told) {
  write(
      "[cron.nightly]\nschedule = \"30 2 * * *\"\nclass = \"Report\"\nargs = [\"all\", 7, true, 1.5]\n"
      "zone = \"UTC\"\nmissed = \"all\"\n[cron.\"on the hour\"]\nschedule = \"@hourly\"\nclass = \"Tick\"\n"
      "queue = \"fast\"\n[jobs.Report]\nrun = [\"true\"]\nqueue = \"slow\"\n");
  jobs::JobRegistry registry;
  define_commands(load(), registry);
  const std::vector<jobs::CronEntry> entries = registry.cron_entries();
  ASSERT_EQ(entries.size(), 2U);
  EXPECT_EQ(entries[0].name, "nightly");
  EXPECT_EQ(entries[0].schedule, "30 2 * * *");
  EXPECT_EQ(entries[0].class_name, "Report");
  EXPECT_EQ(entries[0].args_json, R"(["all",7,true,1.5])");
  EXPECT_EQ(entries[0].missed, jobs::MissedRuns::all);
  EXPECT_EQ(entries[0].queue, "slow");
  EXPECT_EQ(entries[0].origin, "dagverk.toml");
  EXPECT_EQ(entries[1].name, "on the hour");
  EXPECT_EQ(entries[1].queue, "fast");
  EXPECT_EQ(entries[1].missed, jobs::MissedRuns::once);
  const std::pair<std::string_view, std::string_view> rows[] = {
      {"cron = 1", "dagverk.toml:1: cron: got 1; allowed: tables such as [cron.nightly]"},
      {"[cron.a]\nclass = \"A\"", "dagverk.toml:1: cron.a: has no schedule"},
      {"[cron.a]\nschedule = \"@daily\"", "dagverk.toml:1: cron.a: has no class"},
      {"[cron.a]\nschedule = 5\nclass = \"A\"",
       R"(dagverk.toml:2: cron.a.schedule: got 5; allowed: a line such as "30 2 * * MON-FRI" or "@daily")"},
      {"[cron.a]\nschedule = \"@daily\"\nclass = \"A\"\nmissed = \"twice\"",
       R"(dagverk.toml:4: cron.a.missed: got "twice"; allowed: skip, once, all)"},
      {"[cron.a]\nschedule = \"@daily\"\nclass = \"A\"\nargs = [[1]]",
       R"(dagverk.toml:4: cron.a.args: got a list; allowed: a list of texts, numbers, true and false, such as ["all", 7])"},
      {"[cron.a]\nschedule = \"@daily\"\nclas = \"A\"\nclass = \"A\"",
       "dagverk.toml:3: cron.a.clas: no such key; did you mean class?"},
      {"[cron.a]\nschedule = \"0 24 * * *\"\nclass = \"A\"",
       R"(dagverk.toml:1: cron: cron entry "a": schedule "0 24 * * *": hour "24" must be 0 to 23; type for example 3, 8-18 or */2)"},
  };
  for (const auto& [text, expected] : rows) {
    write(text);
    EXPECT_EQ(mistake(), expected) << text;
  }
}

TEST_F(ConfigurationTest, limits_and_unique_keys_are_read_and_their_mistakes_told) {
  write(
      "[limits.api]\nkind = \"window\"\nrate = \"1000/1h\"\n[limits.\"queue:mail\"]\nconcurrency = 5\nrate = "
      "\"100/1m\"\n"
      "[limits.\"queue:slow\"]\nwhen_full = \"divert:rest\"\nmax_waiting = 1000\n[jobs.Sync]\nrun = [\"true\"]\nlimit "
      "= \"api:{1}\"\nunique = { until = \"started\", for = \"2h\", conflict = "
      "\"replace\" }\n[jobs.Report]\nrun = [\"true\"]\nlimit = \"api\"\nunique = { key = \"report\" }\n");
  const Configuration configuration = load();
  ASSERT_EQ(configuration.limits.size(), 3U);
  EXPECT_EQ(configuration.limits[0].limit,
            (jobs::Limit{
                .scope = jobs::LimitScope::key, .name = "api", .rate = jobs::Rate{1000, 1h, jobs::RateKind::window}}));
  EXPECT_EQ(configuration.limits[1].limit, (jobs::Limit{.scope = jobs::LimitScope::queue,
                                                        .name = "mail",
                                                        .concurrency = 5,
                                                        .rate = jobs::Rate{100, 1min, jobs::RateKind::token_bucket}}));
  EXPECT_EQ(configuration.limits[1].place, "dagverk.toml:4");
  EXPECT_EQ(configuration.limits[2].limit,
            (jobs::Limit{.scope = jobs::LimitScope::queue,
                         .name = "slow",
                         .bound = jobs::QueueBound{1000, jobs::WhenFull::divert, "rest"}}));
  const jobs::JobOptions& sync = configuration.find_job("Sync")->options;
  EXPECT_EQ(sync.limit, "api");
  EXPECT_EQ(sync.limit_argument, 1U);
  ASSERT_TRUE(sync.unique);
  EXPECT_EQ(sync.unique->key, "");
  EXPECT_EQ(sync.unique->until, jobs::LockUntil::started);
  EXPECT_EQ(sync.unique->expiry, 2h);
  EXPECT_EQ(sync.unique->conflict, jobs::LockConflict::replace);
  const jobs::JobOptions& report = configuration.find_job("Report")->options;
  EXPECT_EQ(report.limit, "api");
  EXPECT_EQ(report.limit_argument, std::nullopt);
  ASSERT_TRUE(report.unique);
  EXPECT_EQ(report.unique->key, "report");
  EXPECT_EQ(report.unique->until, jobs::LockUntil::done);
  const std::string job = "[jobs.A]\nrun = [\"true\"]\n";
  const std::pair<std::string, std::string_view> rows[] = {
      {"limits = 1", "dagverk.toml:1: limits: got 1; allowed: tables such as [limits.api]"},
      {"[limits]\napi = 5",
       "dagverk.toml:2: limits.api: got 5; allowed: a table with concurrency = 5 or rate = \"100/1m\""},
      {"[limits.api]\nrate = \"100\"",
       R"(dagverk.toml:2: limits.api.rate: got "100"; allowed: a count and a time, such as "100/1m")"},
      {"[limits.api]\nconcurrency = \"5\"",
       "dagverk.toml:2: limits.api.concurrency: got \"5\"; allowed: a whole number from 1 to 1000000"},
      {"[limits.api]\nconcurrency = 1\nkind = \"window\"",
       "dagverk.toml:3: limits.api.kind: is one of a rate; name that, too"},
      {"[limits.api]\nrate = \"1/1s\"\nkind = \"sliding\"",
       "dagverk.toml:3: limits.api.kind: got \"sliding\"; allowed: bucket, window"},
      {"[limits.api]\nrat = \"1/1s\"", "dagverk.toml:2: limits.api.rat: no such key; did you mean rate?"},
      {"[limits.\"queue:a\"]\nmax_waiting = 5\nwhen_full = \"drop\"",
       "dagverk.toml:3: limits.queue:a.when_full: got \"drop\"; allowed: refuse, drop-oldest, divert:QUEUE"},
      {"[limits.\"queue:a\"]\nconcurrency = 5\nwhen_full = \"refuse\"",
       "dagverk.toml:3: limits.queue:a.when_full: is one of a max_waiting; name that, too"},
      {job + "limit = \"api:customer\"",
       "dagverk.toml:3: jobs.A.limit: got \"api:customer\"; allowed: \"NAME\" of a limit, or \"NAME:{0}\" for each "
       "value of an "
       "argument"},
      {job + "unique = true",
       R"(dagverk.toml:3: jobs.A.unique: got true; allowed: a table such as { until = "done", for = "1h" })"},
      {job + "unique = { until = \"later\" }",
       "dagverk.toml:3: jobs.A.unique.until: got \"later\"; allowed: started, done, period"},
      {job + "unique = { for = \"0s\" }",
       R"(dagverk.toml:3: jobs.A.unique.for: got "0s"; allowed: a duration from "1ms" to "366d", such as "24h")"},
      {job + "unique = { conflicts = \"refuse\" }",
       "dagverk.toml:3: jobs.A.unique.conflicts: no such key; did you mean conflict?"},
  };
  for (const auto& [text, expected] : rows) {
    write(text);
    EXPECT_EQ(mistake(), expected) << text;
  }
  write("[limits.api]\nconcurrency = 0");
  EXPECT_TRUE(mistake().starts_with("dagverk.toml:1: limits.api: ")) << "what the store would refuse: " << mistake();
  write("[limits.api]");
  EXPECT_TRUE(mistake().starts_with("dagverk.toml:1: limits.api: ")) << mistake();
}

TEST_F(ConfigurationTest, queues_come_from_flags_the_environment_or_the_file) {
  write("concurrency = 7\n[queues]\nmail = 5\ndefault = 2\n");
  const auto queues = [&] {
    std::string text;
    for (const QueueSettings& queue : load().queues) text += queue.name + ":" + std::to_string(queue.concurrency) + " ";
    return text;
  };
  EXPECT_EQ(queues(), "mail:5 default:2 ");
  sources_.environment["DAGVERK_QUEUES"] = "low,a:b:3";
  EXPECT_EQ(queues(), "low:7 a:b:3 ");
  sources_.flags = {{"queue", "mail", "--queue"}, {"queue", "default:9", "--queue"}};
  EXPECT_EQ(queues(), "mail:5 default:9 ");  // the file's number holds for a queue that the flag only names
  sources_.flags.push_back({"concurrency", "4", "--concurrency"});
  EXPECT_EQ(queues(), "mail:4 default:9 ");  // but a flag is stronger than the file
}

TEST_F(ConfigurationTest, the_store_comes_from_the_strongest_source) {
  sources_.environment["XDG_STATE_HOME"] = "/state";
  EXPECT_EQ(load().store_path, "/state/dagverk/dagverk.db");
  sources_.environment["XDG_STATE_HOME"] = "relative";
  EXPECT_EQ(load().store_path, "/anna/.local/state/dagverk/dagverk.db");
  std::filesystem::create_directory(folder_ / "etc");
  write("store = \"sqlite:jobs.db\"", "etc/a.toml");
  sources_.file = "etc/a.toml";
  EXPECT_EQ(load().store_path, below("etc/jobs.db"));  // counts from the file's folder
  sources_.environment["DAGVERK_STORE"] = "sqlite:/var/e.db";
  EXPECT_EQ(load().store_path, "/var/e.db");
  sources_.flags = {{"store", "sqlite:f.db", "--store"}};
  EXPECT_EQ(load().store_path, below("f.db"));
  sources_.flags = {{"store", "sqlite:", "--store"}};
  EXPECT_TRUE(load().store_is_default);
}

TEST_F(ConfigurationTest, a_redis_url_names_a_store_and_its_password_is_never_shown) {
  sources_.environment["REDIS_URL"] = "redis://anna:hush@10.0.0.1:6379/2";
  EXPECT_EQ(load().redis_url, "redis://anna:hush@10.0.0.1:6379/2");
  EXPECT_EQ(shown_store(load()), "redis://anna@10.0.0.1:6379/2");
  EXPECT_EQ(load().store_path, "");
  EXPECT_FALSE(load().store_is_default);
  EXPECT_EQ(load().origins.at("store").place, "REDIS_URL");
  write("store = \"sqlite:a.db\"");  // said on purpose, so it wins
  EXPECT_EQ(load().store_path, below("a.db"));
  EXPECT_EQ(load().redis_url, "");
  sources_.flags = {{"store", "unix:///run/redis.sock?db=1", "--store"}};
  EXPECT_EQ(load().redis_url, "unix:///run/redis.sock?db=1");
  EXPECT_EQ(load().store_path, "");
  sources_.flags = {{"store", "redis://:hush@h/x", "--store"}};
  EXPECT_TRUE(mistake().starts_with(R"(--store: got "redis://***@h/x"; Redis URL: )")) << mistake();
  EXPECT_EQ(mistake().find("hush"), std::string::npos);
}

TEST_F(ConfigurationTest, wrong_flags_are_wrong_use_of_the_command_line) {
  sources_.flags = {{"store", "jobs.db", "--store"}};
  EXPECT_EQ(
      mistake(),
      R"(--store: got "jobs.db"; allowed: sqlite:FILE or redis://HOST:PORT/DATABASE; did you mean sqlite:jobs.db?)");
  EXPECT_EQ(fault().code(), ErrorCode::invalid_argument);
  sources_.flags = {{"queue", "mail:0", "--queue"}};
  EXPECT_EQ(mistake(), R"(--queue: got "mail:0"; allowed: NAME or NAME:CONCURRENCY, with 1 to 1024)");
  sources_.flags = {{"concurrency", "10x", "--concurrency"}};
  EXPECT_EQ(mistake(), R"(--concurrency: got "10x"; allowed: a whole number from 1 to 1024)");
  sources_.environment["DAGVERK_CONCURRENCY"] = "none";
  EXPECT_EQ(fault().code(), ErrorCode::configuration);  // not only the flag is wrong
}

TEST_F(ConfigurationTest, each_mistake_names_its_place_key_value_and_what_is_allowed) {
  const std::pair<std::string_view, std::string_view> rows[] = {
      {"store = 5", "dagverk.toml:1: store: got 5; allowed: sqlite:FILE or redis://HOST:PORT/DATABASE"},
      {"stroe = \"x\"", "dagverk.toml:1: stroe: no such key; did you mean store?"},
      {"\nconcurrency = \"5\"", R"(dagverk.toml:2: concurrency: got "5"; allowed: a whole number from 1 to 1024)"},
      {"concurrency = 1025", "dagverk.toml:1: concurrency: got 1025; allowed: a whole number from 1 to 1024"},
      {"stop_timeout = 25",
       R"(dagverk.toml:1: stop_timeout: got 25; allowed: a duration from "0s" to "1d", such as "25s")"},
      {"log_level = \"loud\"",
       R"(dagverk.toml:1: log_level: got "loud"; allowed: "debug", "info", "warning" or "error")"},
      {"queues = 3", "dagverk.toml:1: queues: got 3; allowed: lines such as default = 10"},
      {"[pools.a]\nconcurrency = 3",
       "dagverk.toml:1: pools.a: has no queues; it says what it serves: a list of queues: [\"high\", \"low\"] in "
       "strict order, [[\"high\", 3], [\"low\", 1]] by weights from 1 to 1000"},
      {"[pools.a]\nqueues = [\"x\"]\nthreads = 1025",
       "dagverk.toml:3: pools.a.threads: got 1025; allowed: a whole number from 1 to 1024"},
      {"[pools.a]\nqueues = [[\"x\", 0]]",
       "dagverk.toml:2: pools.a.queues: got a list; allowed: a list of queues: [\"high\", \"low\"] in strict order, "
       "[[\"high\", 3], [\"low\", 1]] by weights from 1 to 1000"},
      {"[pools.a]\nqueues = [\"x\", \"x\"]", "dagverk.toml:2: pools.a.queues: queue \"x\" is there twice"},
      {"[queues]\na = 1\n[pools.a]\nqueues = [\"x\"]",
       "dagverk.toml:3: pools.a: the queue of that name in [queues] has a pool of its own, so this one needs another "
       "name"},
      {"[queues]\ndefault = 0",
       "dagverk.toml:2: queues.default: got 0; allowed: its concurrency, a whole number from 1 to 1024"},
      {"[queues]\ndefault = 1.5",
       "dagverk.toml:2: queues.default: got 1.5; allowed: its concurrency, a whole number from 1 to 1024"},
      {"[journal]\nenabled = 1", "dagverk.toml:2: journal.enabled: got 1; allowed: true or false"},
      {"[journal]\nrow = 1", "dagverk.toml:2: journal.row: no such key; did you mean rows?"},
      {"[dead]\nage = \"1s\"",
       R"(dagverk.toml:2: dead.age: got "1s"; allowed: a duration from "1m" to "3650d", such as "180d")"},
      {"[jobs.A]\ntimeout = \"5s\"",
       R"(dagverk.toml:1: jobs.A: has no run; it says what to execute: a list of texts, the executable first, such as ["sha256sum", "--", "{0}"])"},
      {"[jobs.A]\nrun = \"sh -c x\"",
       R"(dagverk.toml:2: jobs.A.run: got "sh -c x"; allowed: a list of texts, the executable first, such as ["sha256sum", "--", "{0}"])"},
      {"[jobs.A]\nrun = [\"x\"]\ntimeuot = \"5s\"",
       "dagverk.toml:3: jobs.A.timeuot: no such key; did you mean timeout?"},
      {"[jobs.A]\nrun = [\"x\"]\ntimeout = \"30\"",
       R"(dagverk.toml:3: jobs.A.timeout: got "30"; allowed: a duration from "1ms" to "366d", such as "30s", "5m", "1h30m")"},
      {"[jobs.A]\nrun = [\"x\"]\nretries = -1",
       "dagverk.toml:3: jobs.A.retries: got -1; allowed: a whole number from 0 (never again) to 10000"},
      {"[jobs.A]\nrun = [\"x\"]\ndelays = [\"1s\", \"x\"]",
       R"(dagverk.toml:3: jobs.A.delays: got "x"; allowed: a list of durations of at most "366d", such as ["1s", "10s", "5m"])"},
      {"[jobs.A]\nrun = [\"x\"]\nenv_set = { TOKEN = 5 }",
       R"(dagverk.toml:3: jobs.A.env_set.TOKEN: allowed: NAME = "text" for each variable)"},
      {"[jobs.A]\nrun = [\"{0}\"]",
       R"(dagverk.toml:1: jobs.A: job class "A": run must begin with an executable's name, not with an argument: "{0}")"},
      {"[jobs.A]\nrun = [\"sh\", \"-c\", \"rm {0}\"]",
       R"(dagverk.toml:1: jobs.A: job class "A": run must not put an argument into a script, where it would be code: "rm {0}"; write $1 there and add "sh", "{0}" behind it)"},
      {"[jobs.A]\nrun = [\"x\"]\nenv = [\"A=B\"]",
       R"(dagverk.toml:1: jobs.A: job class "A": "A=B" is not the name of a variable)"},
      {"[jobs.A]\nrun = [\"x\"]\nlimits = 5",
       R"(dagverk.toml:3: jobs.A.limits: got 5; allowed: a table such as { memory = "512MiB" })"},
      {"[jobs.A]\nrun = [\"x\"]\nlimits = { memmory = \"1GiB\" }",
       "dagverk.toml:3: jobs.A.limits.memmory: no such key; did you mean memory?"},
      {"[jobs.A]\nrun = [\"x\"]\nlimits = { memory = 1024 }",
       R"(dagverk.toml:3: jobs.A.limits.memory: got 1024; allowed: a size from "1MiB" to "1024TiB", such as "512MiB")"},
      {"[jobs.A]\nrun = [\"x\"]\nlimits = { memory = \"512 MB\" }",
       R"(dagverk.toml:3: jobs.A.limits.memory: got "512 MB"; allowed: a size from "1MiB" to "1024TiB", such as "512MiB")"},
      {"[jobs.A]\nrun = [\"x\"]\nlimits = { file_size = \"99999999999999999TiB\" }",
       R"(dagverk.toml:3: jobs.A.limits.file_size: got "99999999999999999TiB"; allowed: a size from "0B" to "1024TiB", such as "100MiB")"},
      {"[jobs.A]\nrun = [\"x\"]\nlimits = { cpu = \"500ms\" }",
       R"(dagverk.toml:3: jobs.A.limits.cpu: got "500ms"; allowed: a duration of CPU time from "1s" to "366d", such as "30s")"},
      {"[jobs.A]\nrun = [\"x\"]\nlimits = { open_files = 0 }",
       "dagverk.toml:3: jobs.A.limits.open_files: got 0; allowed: a whole number from 8 to 1048576"},
      {"[jobs.A]\nrun = [\"x\"]\noutput = \"json\"",
       R"(dagverk.toml:3: jobs.A.output: got "json"; allowed: result, log, plain)"},
      {"[jobs.A]\nrun = [\"x\"]\noutput_kept = \"2KiB\"",
       R"(dagverk.toml:3: jobs.A.output_kept: got "2KiB"; allowed: a size from "0B" to "1KiB")"},
      {"[jobs.A]\nrun = [\"x\"]\nsnooze = \"367d\"",
       R"(dagverk.toml:3: jobs.A.snooze: got "367d"; allowed: a duration from "0s" to "366d", such as "10m")"},
      {"[jobs.A]\nrun = [\"x\"]\nexit_codes = { 0 = \"bury\" }",
       "dagverk.toml:3: jobs.A.exit_codes.0: is no exit code; allowed: 1 to 255"},
      {"[jobs.A]\nrun = [\"x\"]\nexit_codes = { EX_TEMPFAIL = \"snooze\" }",
       "dagverk.toml:3: jobs.A.exit_codes.EX_TEMPFAIL: is no exit code; allowed: 1 to 255"},
      {"[jobs.A]\nrun = [\"x\"]\nexit_codes = { 75 = \"later\" }",
       R"(dagverk.toml:3: jobs.A.exit_codes.75: got "later"; allowed: done, retry, snooze, discard, bury)"},
      {"[jobs.Mail.Send]\nrun = [\"x\"]",
       R"(dagverk.toml:1: jobs.Mail.Send: a class name with dots needs quotes: [jobs."Mail.Send"])"},
      {"store = \"sqlite::memory:\"",
       R"(dagverk.toml:1: store: got "sqlite::memory:"; allowed: sqlite:FILE, where FILE is the path of a file)"},
  };
  for (const auto& [text, expected] : rows) {
    write(text);
    EXPECT_EQ(mistake(), expected) << text;
    EXPECT_EQ(fault().code(), ErrorCode::configuration) << text;
  }
}

TEST_F(ConfigurationTest, all_mistakes_are_told_at_once_but_not_more_than_twenty) {
  write("a = 1\nb = 2\n");
  EXPECT_EQ(mistake().substr(0, 36), "dagverk.toml:1: a: no such key; allo");
  EXPECT_NE(mistake().find("\ndagverk.toml:2: b: no such key"), std::string::npos);
  std::string many = "[queues]\n";
  for (int queue = 0; queue < 30; ++queue) many += "q" + std::to_string(queue) + " = 0\n";
  write(many);
  EXPECT_TRUE(mistake().ends_with("\nand 10 more"));
}

TEST_F(ConfigurationTest, a_file_that_cannot_be_read_is_named) {
  sources_.file = "none.toml";
  EXPECT_EQ(mistake(), "none.toml: cannot be read: No such file or directory");
  sources_.file = ".";
  EXPECT_EQ(mistake(), ".: is not a regular file");
  sources_.file.reset();
  write("a = [");
  EXPECT_TRUE(mistake().starts_with("dagverk.toml:1:")) << mistake();
  EXPECT_NE(mistake().find("is not TOML"), std::string::npos);
  write(std::string(configuration_size_limit + 1, '#'));
  EXPECT_EQ(mistake(), "dagverk.toml: is larger than 1 MiB");
}

TEST_F(ConfigurationTest, a_file_that_others_may_write_is_refused) {
  write("");
  for (const mode_t mode : {0664U, 0646U}) {
    ::chmod(below("dagverk.toml").c_str(), mode);
    EXPECT_EQ(mistake(),
              "dagverk.toml: others than its owner may write it, and it decides what is executed; type: chmod go-w "
              "dagverk.toml");
  }
}

TEST_F(ConfigurationTest, oddities_are_warnings) {
  write("[queues]\ndefault = 1\n[jobs.A]\nrun = [\"x\"]\nqueue = \"slow\"\n");
  sources_.environment["DAGVERK_STOER"] = "x";
  sources_.environment["DAGVERK_JID"] = "a job's own child";
  const Configuration configuration = load();
  EXPECT_EQ(configuration.warnings,
            (std::vector<std::string>{"DAGVERK_STOER: no such setting; did you mean DAGVERK_STORE?",
                                      "dagverk.toml:3: jobs.A: its queue \"slow\" is not in [queues]; a worker with "
                                      "this file will not run it"}));
}

}  // namespace
}  // namespace dagverk::worker

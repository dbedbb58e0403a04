# The Sidekiq of the distribution, for sidekiq_test.cpp.
#
# `ruby sidekiq.rb` answers questions: each line of standard input is a JSON array, a name and its arguments; each is
# answered by one line of JSON. `sidekiq -r sidekiq.rb` is a worker whose jobs note that they were run.
require "json"
require "sidekiq"
require "sidekiq/api"
require "sidekiq/scheduled"

NOTES = "notes".freeze

def note(*what) = Sidekiq.redis { |redis| redis.lpush(NOTES, JSON.generate(what)) }

class OkJob
  include Sidekiq::Worker
  def perform(*args) = note("sidekiq", jid, args)
end

class FailJob
  include Sidekiq::Worker
  sidekiq_options backtrace: 3
  def perform(*) = raise(ArgumentError, "boom — é")
end

# Runs until the test lets it go.
class WaitJob
  include Sidekiq::Worker
  def perform(gate)
    note("waiting", jid)
    Sidekiq.redis { |redis| redis.blpop(gate, timeout: 60) }
  end
end

# What Sidekiq's API and Web show of a job.
def shown(job)
  {
    jid: job.jid, class: job.klass, shown_class: job.display_class, args: job.args, queue: job.queue, tags: job.tags,
    created_at: job.created_at.to_f, enqueued_at: job.enqueued_at&.to_f, latency: job.latency, payload: job.value,
    error_class: job["error_class"], error_message: job["error_message"], backtrace: job.error_backtrace,
    retry_count: job["retry_count"], failed_at: job["failed_at"], retried_at: job["retried_at"],
    score: job.respond_to?(:score) ? job.score : nil
  }
end

def set(name)
  {"retry" => Sidekiq::RetrySet, "schedule" => Sidekiq::ScheduledSet, "dead" => Sidekiq::DeadSet}.fetch(name).new
end

QUESTIONS = {
  "push" => ->(item) { Sidekiq::Client.push(item) },
  "push_bulk" => ->(items) { Sidekiq::Client.push_bulk(items) },
  "perform_in" => ->(seconds, args) { OkJob.perform_in(seconds, *args) },
  "queue" => ->(name) { Sidekiq::Queue.new(name).map { |job| shown(job) } },
  "queues" => -> { Sidekiq::Queue.all.map { |queue| [queue.name, queue.size] }.to_h },
  "set" => ->(name) { set(name).map { |job| shown(job) } },
  # Does to the job what a button of Sidekiq's Web does.
  "button" => ->(name, jid, button) { !!set(name).find_job(jid)&.public_send(button) },
  "enqueue_due" => -> { Sidekiq::Scheduled::Enq.new.enqueue_jobs.nil? },
  "stats" => lambda {
    stats = Sidekiq::Stats.new
    %i[processed failed scheduled_size retry_size dead_size enqueued processes_size workers_size].to_h do |name|
      [name, stats.public_send(name)]
    end
  },
  "processes" => lambda {
    Sidekiq::ProcessSet.new(false).map do |process|
      {identity: process.identity, queues: process["queues"], labels: process.labels, busy: process["busy"],
       concurrency: process["concurrency"], quiet: process["quiet"], tag: process.tag, beat: process["beat"],
       hostname: process["hostname"], pid: process["pid"], started_at: process["started_at"], rss: process["rss"]}
    end
  },
  "quiet" => ->(identity) { Sidekiq::Process.new("identity" => identity).quiet! && true },
  "stop" => ->(identity) { Sidekiq::Process.new("identity" => identity).stop! && true },
  "work" => lambda {
    Sidekiq::Workers.new.map do |process, thread, work|
      {process: process, thread: thread, queue: work["queue"], run_at: work["run_at"],
       payload: work["payload"]}
    end
  },
  "noted" => -> { Sidekiq.redis { |redis| redis.llen(NOTES) } },
  # Waits for that many notes of the worker's jobs.
  "notes" => lambda { |count|
    Array.new(count) do
      _, text = Sidekiq.redis { |redis| redis.blpop(NOTES, timeout: 60) }
      raise "the worker has not run anything for a minute" if text.nil?
      JSON.parse(text)
    end
  }
}.freeze

if $PROGRAM_NAME == __FILE__
  Sidekiq.logger.level = Logger::ERROR
  $stdout.sync = true
  while (line = $stdin.gets)
    name, *arguments = JSON.parse(line)
    answer = begin
      {answer: QUESTIONS.fetch(name).call(*arguments)}
    rescue => e
      {error: "#{e.class}: #{e.message} at #{e.backtrace.first}"}
    end
    puts JSON.generate(answer)
  end
end

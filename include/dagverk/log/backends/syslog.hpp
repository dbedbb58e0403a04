#pragma once

#include "dagverk/log/log_backend.hpp"

#include <chrono>
#include <cstdint>
#include <string>

namespace dagverk {

enum class SyslogTransport : std::uint8_t {
  udp,  ///< RFC 5426: a datagram each; what the network loses nobody learns of
  tcp,  ///< RFC 6587, octet counting
};

struct SyslogOptions {
  std::string host = "127.0.0.1";
  std::uint16_t port = 514;
  SyslogTransport transport = SyslogTransport::udp;
  unsigned facility = 1;  ///< 0 to 23; 1 is user-level
  std::string app_name = "dagverk";
  std::string hostname = {};  ///< empty: this machine's
  /// For one batch, connecting included; what is not out by then is lost (`failed`), and the connection is closed.
  Duration send_timeout = std::chrono::seconds(5);
  std::size_t datagram_bytes_max = 8192;  ///< longer messages are cut, for UDP
};

/// Sends lines to a syslog receiver, as RFC 5424 has them: severity, time, host, application, logger's name as MSGID.
///
/// Semantics: the message is the line in the backend's format, `{message}{fields}` by default. On TCP it connects when
///            there is something to send, and again after a failure, meanwhile lines wait in the queue.
/// Errors:    `open` refuses options out of range; an unreachable far end is no failure of the start.
class SyslogBackend final : public LogBackend {
 public:
  explicit SyslogBackend(SyslogOptions options) : options_(std::move(options)) {}
  SyslogBackend(const SyslogBackend&) = delete;
  SyslogBackend& operator=(const SyslogBackend&) = delete;
  ~SyslogBackend() override;

  [[nodiscard]] Result<void> open() override;
  [[nodiscard]] WriteOutcome write(const LogBatch& batch) override;

 private:
  [[nodiscard]] Result<void> connect(SteadyTime deadline);
  [[nodiscard]] Result<void> connect_before(SteadyTime deadline);
  void disconnect() noexcept;
  void append_message(const LogBatch& batch, const LogLine& line, std::string& out) const;
  [[nodiscard]] WriteOutcome write_udp(const LogBatch& batch);
  [[nodiscard]] WriteOutcome write_tcp(const LogBatch& batch);

  SyslogOptions options_;
  std::string header_tail_;  // ` HOST APP PID `
  int socket_ = -1;
};

[[nodiscard]] BackendSpec syslog_backend(std::string name, const SyslogOptions& options);

}  // namespace dagverk

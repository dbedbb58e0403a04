#include "dagverk/log/backends/named.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/log/backends/console.hpp"
#include "dagverk/log/backends/file.hpp"
#include "dagverk/log/backends/syslog.hpp"

#include <charconv>
#include <utility>

namespace dagverk {

namespace {

[[nodiscard]] Error wrong(std::string_view text, std::string_view why) {
  return {ErrorCode::configuration, concat("log backend \"", text, "\": ", why)};
}

Result<BackendSpec> syslog_from(std::string name, std::string_view text, std::string_view address,
                                SyslogTransport transport) {
  SyslogOptions options;
  options.transport = transport;
  std::string_view host = address;
  std::string_view port;
  if (const std::size_t colon = address.rfind(':'); colon != std::string_view::npos && !address.ends_with(']')) {
    host = address.substr(0, colon);
    port = address.substr(colon + 1);
    const auto read = std::from_chars(port.data(), port.data() + port.size(), options.port);
    if (read.ec != std::errc() || read.ptr != port.data() + port.size() || options.port == 0) {
      return wrong(text, "the port must be 1..65535");
    }
  }
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  if (host.empty()) return wrong(text, "the host is missing");
  options.host = host;
  return syslog_backend(std::move(name), options);
}

}  // namespace

bool has_log_backend_scheme(std::string_view text) noexcept {
  return text == "console" || text.starts_with("console:") || text.starts_with("file:") || text.starts_with("json:") ||
         text.starts_with("syslog+udp://") || text.starts_with("syslog+tcp://");
}

Result<BackendSpec> backend_from_text(std::string name, std::string_view text) {
  const auto rest_after = [&](std::string_view start) { return text.substr(start.size()); };
  if (text == "console" || text == "console:stderr") return console_backend(std::move(name));
  if (text == "console:stdout") return console_backend(std::move(name), {.to_stdout = true});
  if (text.starts_with("file:") || text.starts_with("json:")) {
    const std::string path(text.substr(5));
    if (path.empty()) return wrong(text, "the path is missing");
    return text.starts_with("file:") ? file_backend(std::move(name), {.path = path})
                                     : json_file_backend(std::move(name), {.path = path});
  }
  if (text.starts_with("syslog+udp://")) {
    return syslog_from(std::move(name), text, rest_after("syslog+udp://"), SyslogTransport::udp);
  }
  if (text.starts_with("syslog+tcp://")) {
    return syslog_from(std::move(name), text, rest_after("syslog+tcp://"), SyslogTransport::tcp);
  }
  if (text.starts_with("http") || text.starts_with("loki:")) {
    return wrong(text, "needs dagverk::log_upload: call any_backend_from_text of dagverk/log_upload/named_upload.hpp");
  }
  return wrong(text, concat("is unknown: ", log_backend_texts));
}

}  // namespace dagverk

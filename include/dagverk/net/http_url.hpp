#pragma once

#include "dagverk/base/result.hpp"

#include <cstdint>
#include <string>
#include <string_view>

namespace dagverk::net {

/// Where an HTTP request goes.
struct HttpUrl {
  std::string host = {};  ///< a name or an address; IPv6 without its brackets
  std::uint16_t port = 80;
  std::string target = "/";  ///< path and query, as they are sent

  /// `host`, or `host:port` when the port is not 80: the header `Host`.
  [[nodiscard]] std::string authority() const;
};

/// Takes `http://HOST[:PORT][/PATH][?QUERY]` apart.
///
/// Errors: `configuration`, with what is wrong and the form to type; `unsupported` for `https://`.
[[nodiscard]] Result<HttpUrl> parse_http_url(std::string_view text);

}  // namespace dagverk::net

#include "dagverk/net/http_url.hpp"

#include "dagverk/base/concat.hpp"

#include <algorithm>
#include <charconv>

namespace dagverk::net {

namespace {

[[nodiscard]] bool in_url(char byte) noexcept { return byte > 0x20 && byte < 0x7f; }

}  // namespace

std::string HttpUrl::authority() const {
  const std::string name = host.find(':') == std::string::npos ? host : concat("[", host, "]");
  return port == 80 ? name : concat(name, ":", port);
}

Result<HttpUrl> parse_http_url(std::string_view text) {
  const auto wrong = [&](std::string_view what) {
    return Error(ErrorCode::configuration,
                 concat("URL \"", text, "\": ", what, "; type http://HOST[:PORT][/PATH], e.g. http://logs:3100/push"));
  };
  constexpr std::string_view scheme = "http://";
  if (text.starts_with("https://")) {
    return Error(ErrorCode::unsupported, concat("URL \"", text,
                                                "\": this build has no TLS; type http:// and the address of a proxy "
                                                "that speaks TLS to the far end"));
  }
  if (!text.starts_with(scheme)) return wrong("does not begin with http://");
  if (!std::all_of(text.begin(), text.end(), in_url)) return wrong("has a blank or a byte that must be %-escaped");
  const std::string_view rest = text.substr(scheme.size());
  const std::size_t end = std::min(rest.find_first_of("/?#"), rest.size());
  std::string_view authority = rest.substr(0, end);
  std::string_view target = rest.substr(end);
  target = target.substr(0, target.find('#'));
  if (authority.find('@') != std::string_view::npos) {
    return wrong("has a user or password: send those in a header, e.g. Authorization");
  }
  HttpUrl url;
  if (authority.starts_with('[')) {
    const std::size_t close = authority.find(']');
    if (close == std::string_view::npos) return wrong("the address' bracket is not closed");
    url.host = authority.substr(1, close - 1);
    authority.remove_prefix(close + 1);
    if (!authority.empty() && authority.front() != ':') return wrong("something follows the address' bracket");
  } else {
    const std::size_t colon = std::min(authority.find(':'), authority.size());
    url.host = authority.substr(0, colon);
    authority.remove_prefix(colon);
  }
  if (url.host.empty()) return wrong("has no host");
  if (!authority.empty()) {
    authority.remove_prefix(1);
    const char* const first = authority.data();  // NOLINT(bugprone-suspicious-stringview-data-usage): with its end
    const char* const last = first + authority.size();
    const auto parsed = std::from_chars(first, last, url.port);
    if (parsed.ec != std::errc{} || parsed.ptr != last || url.port == 0) return wrong("the port is not 1 to 65535");
  }
  if (!target.empty()) url.target = target.front() == '/' ? std::string(target) : concat("/", target);
  return url;
}

}  // namespace dagverk::net

#include "dagverk/net/redis_url.hpp"

#include "dagverk/base/concat.hpp"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <optional>
#include <utility>

namespace dagverk::net {

namespace {

constexpr std::string_view form =
    "; type redis://[USER:PASSWORD@]HOST[:PORT][/DATABASE], rediss:// for TLS, unix:///PATH, or "
    "redis-sentinel://HOST[:PORT],HOST.../MASTER[/DATABASE]";

struct Scheme {
  std::string_view text;
  RedisUrl::Kind kind;
  bool tls;
};
constexpr Scheme schemes[] = {{"redis://", RedisUrl::Kind::tcp, false},
                              {"rediss://", RedisUrl::Kind::tcp, true},
                              {"unix://", RedisUrl::Kind::unix_socket, false},
                              {"redis-sentinel://", RedisUrl::Kind::sentinel, false},
                              {"rediss-sentinel://", RedisUrl::Kind::sentinel, true}};

[[nodiscard]] Error wrong(std::string_view what) {
  return Error(ErrorCode::configuration, concat("Redis URL: ", what, form));
}

[[nodiscard]] int hex_value(char digit) noexcept {
  if (digit >= '0' && digit <= '9') return digit - '0';
  if (digit >= 'a' && digit <= 'f') return digit - 'a' + 10;
  if (digit >= 'A' && digit <= 'F') return digit - 'A' + 10;
  return -1;
}

[[nodiscard]] std::optional<std::string> unescaped(std::string_view text) {
  std::string plain;
  plain.reserve(text.size());
  for (std::size_t at = 0; at < text.size(); ++at) {
    if (text[at] != '%') {
      plain.push_back(text[at]);
      continue;
    }
    const int high = at + 2 < text.size() ? hex_value(text[at + 1]) : -1;
    const int low = at + 2 < text.size() ? hex_value(text[at + 2]) : -1;
    if (high < 0 || low < 0) return std::nullopt;
    plain.push_back(static_cast<char>(high * 16 + low));
    at += 2;
  }
  return plain;
}

template <class Number>
[[nodiscard]] std::optional<Number> number_in(std::string_view text, Number least, Number most) {
  Number number{};
  const char* const begin = text.data();  // NOLINT(bugprone-suspicious-stringview-data-usage): with its end
  const char* const end = begin + text.size();
  const auto parsed = std::from_chars(begin, end, number);
  if (text.empty() || parsed.ec != std::errc{} || parsed.ptr != end || number < least || number > most) {
    return std::nullopt;
  }
  return number;
}

/// Cuts `text` at the first `mark`, which belongs to neither part; the second is empty without one.
[[nodiscard]] std::pair<std::string_view, std::string_view> cut(std::string_view text, char mark) noexcept {
  const std::size_t at = text.find(mark);
  if (at == std::string_view::npos) return {text, {}};
  return {text.substr(0, at), text.substr(at + 1)};
}

[[nodiscard]] Result<RedisAddress> address_of(std::string_view text, std::uint16_t default_port) {
  RedisAddress address{.host = "127.0.0.1", .port = default_port};
  std::string_view port;
  if (text.starts_with('[')) {
    const std::size_t close = text.find(']');
    if (close == std::string_view::npos) return wrong("an address' bracket is not closed");
    address.host = text.substr(1, close - 1);
    if (address.host.empty()) return wrong("there is no address in the brackets");
    port = text.substr(close + 1);
    if (!port.empty() && port.front() != ':') return wrong("something follows an address' bracket");
  } else {
    const std::size_t colon = std::min(text.find(':'), text.size());
    if (colon > 0) {
      const std::optional<std::string> host = unescaped(text.substr(0, colon));
      if (!host) return wrong("a % is not followed by two hexadecimal digits");
      address.host = *host;
    }
    port = text.substr(colon);
  }
  if (address.host.find_first_of(" \t\r\n/@") != std::string::npos) return wrong("a host has a blank");
  if (!port.empty()) {
    const auto number = number_in<std::uint16_t>(port.substr(1), 1, 65535);
    if (!number) return wrong("a port is not 1 to 65535");
    address.port = *number;
  }
  return address;
}

[[nodiscard]] std::optional<Error> set_database(RedisUrl& url, std::string_view text) {
  const auto number = number_in<unsigned>(text, 0, 1'000'000);
  if (!number) return wrong("the database is not a number");
  url.database = *number;
  return std::nullopt;
}

[[nodiscard]] std::optional<Error> set_user(RedisUrl& url, std::string_view text) {
  const auto [user, password] = cut(text, ':');
  const std::optional<std::string> plain_user = unescaped(user);
  const std::optional<std::string> plain_password = unescaped(password);
  if (!plain_user || !plain_password) return wrong("a % is not followed by two hexadecimal digits");
  url.user = *plain_user;
  url.password = *plain_password;
  return std::nullopt;
}

[[nodiscard]] std::optional<Error> set_option(RedisUrl& url, std::string_view name, const std::string& value) {
  const bool needs_tls = name.starts_with("tls_");
  if (needs_tls && !url.tls) return wrong(concat("the option ", name, " needs rediss://"));
  if (name.starts_with("sentinel_") && url.kind != RedisUrl::Kind::sentinel) {
    return wrong(concat("the option ", name, " needs redis-sentinel://"));
  }
  if (name == "db") return set_database(url, value);
  if (name == "tls_verify") {
    if (value != "full" && value != "insecure") return wrong("tls_verify is neither full nor insecure");
    url.tls_options.verify = value == "full";
    return std::nullopt;
  }
  const std::pair<std::string_view, std::string*> texts[] = {
      {"user", &url.user},
      {"password", &url.password},
      {"password_file", &url.password_file},
      {"sentinel_user", &url.sentinel_user},
      {"sentinel_password", &url.sentinel_password},
      {"tls_ca", &url.tls_options.ca_file},
      {"tls_cert", &url.tls_options.cert_file},
      {"tls_key", &url.tls_options.key_file},
      {"tls_name", &url.tls_options.server_name},
  };
  for (const auto& [known, field] : texts) {
    if (name != known) continue;
    if (value.empty()) return wrong(concat("the option ", name, " has no value"));
    *field = value;
    return std::nullopt;
  }
  return wrong(
      "an option is unknown; there are db, user, password, password_file, tls_ca, tls_cert, tls_key, tls_name, "
      "tls_verify, sentinel_user and sentinel_password");
}

[[nodiscard]] std::optional<Error> set_options(RedisUrl& url, std::string_view query) {
  while (!query.empty()) {
    const auto [option, rest] = cut(query, '&');
    const auto [name, escaped] = cut(option, '=');
    const std::optional<std::string> value = unescaped(escaped);
    if (!value) return wrong("a % is not followed by two hexadecimal digits");
    if (std::optional<Error> fault = set_option(url, name, *value)) return fault;
    query = rest;
  }
  return std::nullopt;
}

[[nodiscard]] std::optional<Error> set_servers(RedisUrl& url, std::string_view hosts) {
  const bool sentinels = url.kind == RedisUrl::Kind::sentinel;
  do {
    const auto [one, rest] = sentinels ? cut(hosts, ',') : std::pair(hosts, std::string_view());
    const Result<RedisAddress> address = address_of(one, sentinels ? 26379 : 6379);
    if (!address) return address.error();
    url.addresses.push_back(*address);
    hosts = rest;
  } while (!hosts.empty());
  return std::nullopt;
}

[[nodiscard]] std::optional<Error> set_path(RedisUrl& url, std::string_view path) {
  if (url.kind == RedisUrl::Kind::sentinel) {
    const auto [master, rest] = cut(path, '/');
    const std::optional<std::string> plain = unescaped(master);
    if (!plain || plain->empty()) return wrong("the name of the master is missing");
    url.master_name = *plain;
    path = rest;
  }
  return path.empty() ? std::nullopt : set_database(url, path);
}

[[nodiscard]] std::optional<Error> fault_of(const RedisUrl& url) {
  if (!url.user.empty() && url.password.empty() && url.password_file.empty()) return wrong("a user has no password");
  if (!url.sentinel_user.empty() && url.sentinel_password.empty()) return wrong("sentinel_user has no password");
  if (url.tls_options.cert_file.empty() != url.tls_options.key_file.empty()) {
    return wrong("tls_cert and tls_key go together");
  }
  return std::nullopt;
}

}  // namespace

std::string RedisAddress::text() const {
  return host.find(':') == std::string::npos ? concat(host, ":", port) : concat("[", host, "]:", port);
}

std::string RedisUrl::shown() const {
  std::string text(tls ? "rediss" : "redis");
  if (kind == Kind::unix_socket) text = "unix";
  if (kind == Kind::sentinel) text.append("-sentinel");
  text.append("://");
  if (!user.empty()) text.append(user).append("@");
  if (kind == Kind::unix_socket) {
    text.append(socket_path);
    return database == 0 ? text : concat(text, "?db=", database);
  }
  for (std::size_t at = 0; at < addresses.size(); ++at) {
    if (at > 0) text.push_back(',');
    text.append(addresses[at].text());
  }
  if (kind == Kind::sentinel) text.append("/").append(master_name);
  return concat(text, "/", database);
}

Result<RedisUrl> parse_redis_url(std::string_view text) {
  const auto* const scheme = std::find_if(std::begin(schemes), std::end(schemes),
                                          [&](const Scheme& one) { return text.starts_with(one.text); });
  if (scheme == std::end(schemes)) return wrong("begins with none of redis://, rediss://, unix://, redis-sentinel://");
  RedisUrl url;
  url.kind = scheme->kind;
  url.tls = scheme->tls;
  const auto [place, query] = cut(text.substr(scheme->text.size()), '?');
  // A password may hold a slash that was not escaped; a host cannot hold an @.
  std::string_view rest = place;
  if (const std::size_t at = place.rfind('@'); at != std::string_view::npos) {
    if (std::optional<Error> fault = set_user(url, place.substr(0, at))) return *fault;
    rest = place.substr(at + 1);
  }
  if (url.kind == RedisUrl::Kind::unix_socket) {
    const std::optional<std::string> path = unescaped(rest);
    if (!path || !path->starts_with('/')) return wrong("the socket's path does not begin with /");
    if (path->size() > 107) return wrong("the socket's path is longer than 107 bytes");
    url.socket_path = *path;
  } else {
    const auto [hosts, path] = cut(rest, '/');
    if (std::optional<Error> fault = set_servers(url, hosts)) return *fault;
    if (std::optional<Error> fault = set_path(url, path)) return *fault;
  }
  if (std::optional<Error> fault = set_options(url, query)) return *fault;
  if (std::optional<Error> fault = fault_of(url)) return *fault;
  return url;
}

Result<RedisUrl> redis_url_from_environment() {
  const char* const provider = std::getenv("REDIS_PROVIDER");
  const std::string variable = provider != nullptr && *provider != '\0' ? provider : "REDIS_URL";
  const char* const text = std::getenv(variable.c_str());
  if (text == nullptr || *text == '\0') {
    if (variable != "REDIS_URL") {
      return Error(ErrorCode::configuration, concat("REDIS_PROVIDER names ", variable, ", which is not set"));
    }
    return parse_redis_url("redis://127.0.0.1:6379/0");
  }
  const Result<RedisUrl> url = parse_redis_url(text);
  if (!url) return url.error().with(variable);
  return url;
}

}  // namespace dagverk::net

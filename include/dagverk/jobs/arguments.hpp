#pragma once

#include "dagverk/base/concat.hpp"
#include "dagverk/base/result.hpp"

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

/// Typed access to a job's arguments, and the way back:
///
///   auto arguments = parse_arguments<std::string, int, std::optional<double>>(job.args_json(), job.job_class());
///   auto args_json = encode_arguments("cat.jpg", 640, 0.5);        // ["cat.jpg",640,0.5]
///
/// Types: bool, integers (exact up to 64 bits, range-checked), double and float, std::string (UTF-8), std::vector<T>,
/// std::optional<T> (null), std::map<std::string, T> (objects), RawJson (anything, as spelled). Others by specialising
/// `ArgumentCodec`.
namespace dagverk::jobs {

/// One JSON value as it is spelled.
struct RawJson {
  std::string text;

  friend bool operator==(const RawJson&, const RawJson&) = default;
};

/// How a C++ type is read from and written as JSON. Specialise it for your own types, out of the ones below.
///
///   static Result<T> read(std::string_view json);                 // json: one valid value without surrounding white
///   space static Result<void> write(std::string& out, const T& value);  // appends one valid value
template <class T>
struct ArgumentCodec;

namespace detail {

[[nodiscard]] Error unexpected_value(std::string_view expected, std::string_view json);
[[nodiscard]] bool is_null(std::string_view json) noexcept;
[[nodiscard]] Result<bool> read_bool(std::string_view json);
[[nodiscard]] Result<std::int64_t> read_signed(std::string_view json, std::int64_t min, std::int64_t max);
[[nodiscard]] Result<std::uint64_t> read_unsigned(std::string_view json, std::uint64_t max);
[[nodiscard]] Result<double> read_double(std::string_view json, double max);
[[nodiscard]] Result<std::string> read_text(std::string_view json);
[[nodiscard]] Result<std::vector<std::string_view>> split_array(std::string_view json);
[[nodiscard]] Result<std::vector<std::pair<std::string, std::string_view>>> split_object(std::string_view json);
[[nodiscard]] Result<void> write_double(std::string& out, double value);
[[nodiscard]] Result<void> write_text(std::string& out, std::string_view value);
[[nodiscard]] Result<void> write_raw(std::string& out, std::string_view json);

template <class T>
concept ArgumentInteger =
    std::integral<T> && !std::same_as<T, bool> && !std::same_as<T, char> && !std::same_as<T, wchar_t> &&
    !std::same_as<T, char8_t> && !std::same_as<T, char16_t> && !std::same_as<T, char32_t>;

template <class T>
inline constexpr bool is_optional = false;
template <class T>
inline constexpr bool is_optional<std::optional<T>> = true;

}  // namespace detail

template <>
struct ArgumentCodec<bool> {
  static Result<bool> read(std::string_view json) { return detail::read_bool(json); }
  static Result<void> write(std::string& out, bool value) {
    out.append(value ? "true" : "false");
    return {};
  }
};

template <detail::ArgumentInteger T>
struct ArgumentCodec<T> {
  static Result<T> read(std::string_view json) {
    if constexpr (std::signed_integral<T>) {
      const auto value = detail::read_signed(json, std::numeric_limits<T>::min(), std::numeric_limits<T>::max());
      if (!value) return value.error();
      return static_cast<T>(*value);
    } else {
      const auto value = detail::read_unsigned(json, std::numeric_limits<T>::max());
      if (!value) return value.error();
      return static_cast<T>(*value);
    }
  }
  static Result<void> write(std::string& out, T value) {
    out.append(concat(value));
    return {};
  }
};

template <class T>
  requires std::same_as<T, double> || std::same_as<T, float>
struct ArgumentCodec<T> {
  static Result<T> read(std::string_view json) {
    const auto value = detail::read_double(json, static_cast<double>(std::numeric_limits<T>::max()));
    if (!value) return value.error();
    return static_cast<T>(*value);
  }
  static Result<void> write(std::string& out, T value) { return detail::write_double(out, static_cast<double>(value)); }
};

template <>
struct ArgumentCodec<std::string> {
  static Result<std::string> read(std::string_view json) { return detail::read_text(json); }
  static Result<void> write(std::string& out, const std::string& value) { return detail::write_text(out, value); }
};

template <>
struct ArgumentCodec<RawJson> {
  static Result<RawJson> read(std::string_view json) { return RawJson{std::string(json)}; }
  static Result<void> write(std::string& out, const RawJson& value) { return detail::write_raw(out, value.text); }
};

template <class T>
struct ArgumentCodec<std::optional<T>> {
  static Result<std::optional<T>> read(std::string_view json) {
    if (detail::is_null(json)) return std::optional<T>();
    auto value = ArgumentCodec<T>::read(json);
    if (!value) return value.error();
    return std::optional<T>(std::move(*value));
  }
  static Result<void> write(std::string& out, const std::optional<T>& value) {
    if (value) return ArgumentCodec<T>::write(out, *value);
    out.append("null");
    return {};
  }
};

template <class T>
struct ArgumentCodec<std::vector<T>> {
  static Result<std::vector<T>> read(std::string_view json) {
    const auto elements = detail::split_array(json);
    if (!elements) return elements.error();
    std::vector<T> values;
    values.reserve(elements->size());
    for (const std::string_view element : *elements) {
      auto value = ArgumentCodec<T>::read(element);
      if (!value) return value.error().with(concat("element ", values.size() + 1));
      values.push_back(std::move(*value));
    }
    return values;
  }
  static Result<void> write(std::string& out, const std::vector<T>& values) {
    out.push_back('[');
    bool first = true;
    for (const auto& value : values) {
      if (!first) out.push_back(',');
      first = false;
      if (auto written = ArgumentCodec<T>::write(out, value); !written) return written;
    }
    out.push_back(']');
    return {};
  }
};

/// A key that occurs twice counts where it occurs last.
template <class T>
struct ArgumentCodec<std::map<std::string, T>> {
  static Result<std::map<std::string, T>> read(std::string_view json) {
    const auto members = detail::split_object(json);
    if (!members) return members.error();
    std::map<std::string, T> values;
    for (const auto& [key, member] : *members) {
      auto value = ArgumentCodec<T>::read(member);
      if (!value) return value.error().with(concat("member \"", key, "\""));
      values.insert_or_assign(key, std::move(*value));
    }
    return values;
  }
  static Result<void> write(std::string& out, const std::map<std::string, T>& values) {
    out.push_back('{');
    bool first = true;
    for (const auto& [key, value] : values) {
      if (!first) out.push_back(',');
      first = false;
      if (auto written = detail::write_text(out, key); !written) return written;
      out.push_back(':');
      if (auto written = ArgumentCodec<T>::write(out, value); !written) return written;
    }
    out.push_back('}');
    return {};
  }
};

/// A job's arguments, split but not yet converted.
///
/// Semantics: errors say which argument, counted from 1, of which class: `argument 2 of Resize: expected an integer,
///            got "12"`. They quote at most 60 bytes of the argument.
/// Lifetime:  borrows the texts given to `parse`.
class JobArguments {
 public:
  /// Errors: `invalid_argument` when `args_json` is not one valid JSON array.
  [[nodiscard]] static Result<JobArguments> parse(std::string_view args_json, std::string_view job_class = "the job");

  [[nodiscard]] std::size_t size() const noexcept { return values_.size(); }

  /// The text of the argument at `index`, which must be below `size()`.
  [[nodiscard]] std::string_view raw(std::size_t index) const;

  /// Converts the argument at `index`. One that is missing reads as an empty std::optional, or else is an error.
  template <class T>
  [[nodiscard]] Result<T> get(std::size_t index) const {
    if (index >= values_.size()) {
      if constexpr (detail::is_optional<T>) return T();
      return missing(index);
    }
    auto value = ArgumentCodec<T>::read(values_[index]);
    if (!value) return value.error().with(place(index));
    return value;
  }

  /// Converts all arguments. Their number must match; optional ones at the end may be missing.
  template <class... Ts>
  [[nodiscard]] Result<std::tuple<Ts...>> as() const {
    std::size_t required = 0;
    std::size_t position = 0;
    ((++position, required = detail::is_optional<Ts> ? required : position), ...);
    if (values_.size() < required || values_.size() > sizeof...(Ts)) return wrong_count(required, sizeof...(Ts));
    return convert<Ts...>(std::index_sequence_for<Ts...>());
  }

 private:
  JobArguments(std::vector<std::string_view> values, std::string_view job_class)
      : values_(std::move(values)), job_class_(job_class) {}

  template <class... Ts, std::size_t... Indices>
  [[nodiscard]] Result<std::tuple<Ts...>> convert(std::index_sequence<Indices...>) const {
    std::tuple<Result<Ts>...> values{get<Ts>(Indices)...};
    const Error* first = nullptr;
    ((first = first == nullptr && !std::get<Indices>(values) ? &std::get<Indices>(values).error() : first), ...);
    if (first != nullptr) return *first;
    return std::tuple<Ts...>(std::move(*std::get<Indices>(values))...);
  }

  [[nodiscard]] std::string place(std::size_t index) const;
  [[nodiscard]] Error missing(std::size_t index) const;
  [[nodiscard]] Error wrong_count(std::size_t min, std::size_t max) const;

  std::vector<std::string_view> values_;
  std::string_view job_class_;
};

/// `JobArguments::parse` and `as` in one step.
template <class... Ts>
[[nodiscard]] Result<std::tuple<Ts...>> parse_arguments(std::string_view args_json,
                                                        std::string_view job_class = "the job") {
  const auto arguments = JobArguments::parse(args_json, job_class);
  if (!arguments) return arguments.error();
  return arguments->template as<Ts...>();
}

/// Appends `value` as JSON. Errors: `invalid_argument` for what JSON cannot say: infinities, NaN, text that is not
/// UTF-8, raw text that is no JSON.
template <class T>
[[nodiscard]] Result<void> write_json(std::string& out, const T& value) {
  if constexpr (std::convertible_to<const T&, std::string_view>) {
    return detail::write_text(out, value);
  } else {
    return ArgumentCodec<T>::write(out, value);
  }
}

/// `value` as JSON text. Errors as `write_json`.
template <class T>
[[nodiscard]] Result<std::string> to_json(const T& value) {
  std::string out;
  if (auto written = write_json(out, value); !written) return written.error();
  return out;
}

/// The arguments of a new job as a JSON array. Whole doubles keep a fraction (`1.0`). Errors as `write_json`, naming
/// the argument, counted from 1.
template <class... Ts>
[[nodiscard]] Result<std::string> encode_arguments(const Ts&... values) {
  std::string out = "[";
  std::size_t count = 0;
  Result<void> written;
  [[maybe_unused]] const auto write = [&](const auto& value) {
    if (count++ > 0) out.push_back(',');
    written = write_json(out, value);
    return written.has_value();
  };
  if (!(write(values) && ...)) return written.error().with(concat("argument ", count));
  out.push_back(']');
  return out;
}

}  // namespace dagverk::jobs

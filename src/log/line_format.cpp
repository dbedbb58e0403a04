#include "dagverk/log/line_format.hpp"

#include "log/line_text.hpp"

#include "dagverk/base/concat.hpp"

#include <cmath>
#include <utility>

namespace dagverk {

namespace {

using detail::append_escaped;
using detail::append_number;
using detail::Quoting;

struct NamedPart {
  std::string_view name;
  LineFormat::Part part;
};
constexpr NamedPart named_parts[] = {
    {"time", LineFormat::Part::time},         {"level", LineFormat::Part::level},
    {"name", LineFormat::Part::name},         {"message", LineFormat::Part::message},
    {"fields", LineFormat::Part::fields},     {"source", LineFormat::Part::source},
    {"function", LineFormat::Part::function}, {"thread", LineFormat::Part::thread},
};

[[nodiscard]] bool is_plain(std::string_view text) noexcept {
  for (const char c : text) {
    const bool plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '.' ||
                       c == '-' || c == '_' || c == ':' || c == '/';
    if (!plain) return false;
  }
  return !text.empty();
}

template <class Out>
void append_text(Out& out, std::string_view text) {
  out.append(text.data(), text.size());
}

template <class Out>
void append_value(Out& out, const LogValue& value, bool json) {
  switch (value.type()) {
    case LogValue::Type::integer: append_number(out, value.integer()); return;
    case LogValue::Type::natural: append_number(out, value.natural()); return;
    case LogValue::Type::boolean: append_text(out, value.boolean() ? "true" : "false"); return;
    case LogValue::Type::real:
      if (json && !std::isfinite(value.real())) {
        append_text(out, "null");  // JSON has no other word for it
      } else {
        append_number(out, value.real());
      }
      return;
    case LogValue::Type::text: break;
  }
  if (!json && is_plain(value.text())) {
    append_text(out, value.text());
    return;
  }
  out.push_back('"');
  append_escaped(out, value.text(), json ? Quoting::json : Quoting::quoted);
  out.push_back('"');
}

template <class Out>
void append_source(Out& out, const LogSource& source, Quoting quoting) {
  if (source.file == nullptr) return;
  append_escaped(out, source.file, quoting);
  out.push_back(':');
  append_number(out, source.line);
}

template <class Out>
void append_message(Out& out, const LogLine& line) {
  append_escaped(out, line.text, Quoting::none);
}

}  // namespace

LineFormat::LineFormat()
    : pieces_{{Part::time, {}}, {Part::literal, " "},  {Part::level, {}},   {Part::literal, " ["},
              {Part::name, {}}, {Part::literal, "] "}, {Part::message, {}}, {Part::fields, {}}} {}

LineFormat LineFormat::json() {
  LineFormat format;
  format.json_ = true;
  format.pieces_.clear();
  return format;
}

LineFormat LineFormat::message_only() {
  LineFormat format;
  format.pieces_ = {{Part::message, {}}, {Part::fields, {}}};
  return format;
}

Result<LineFormat> LineFormat::pattern(std::string_view pattern) {
  LineFormat format;
  format.pieces_.clear();
  std::string literal;
  const auto end_literal = [&] {
    if (!literal.empty()) format.pieces_.push_back({Part::literal, std::exchange(literal, {})});
  };
  for (std::size_t at = 0; at < pattern.size();) {
    if (pattern[at] != '{') {
      literal.push_back(pattern[at++]);
      continue;
    }
    if (pattern.substr(at).starts_with("{{")) {
      literal.push_back('{');
      at += 2;
      continue;
    }
    const std::size_t close = pattern.find('}', at);
    if (close == std::string_view::npos) {
      return Error(ErrorCode::configuration,
                   concat("log pattern \"", pattern, "\": the brace at column ", at + 1, " is not closed"));
    }
    const std::string_view name = pattern.substr(at + 1, close - at - 1);
    const NamedPart* found = nullptr;
    for (const NamedPart& part : named_parts) {
      if (part.name == name) found = &part;
    }
    if (found == nullptr) {
      return Error(ErrorCode::configuration,
                   concat("log pattern \"", pattern, "\": {", name, "} at column ", at + 1,
                          " is unknown: time, level, name, message, fields, source, function or thread"));
    }
    end_literal();
    format.pieces_.push_back({found->part, {}});
    at = close + 1;
  }
  end_literal();
  if (format.pieces_.empty()) return Error(ErrorCode::configuration, "log pattern: is empty");
  return format;
}

template <class Out>
void LineFormat::format(const LogLine& line, Out& out) const {
  if (json_) {
    format_json(line, out);
    return;
  }
  for (const Piece& piece : pieces_) {
    switch (piece.part) {
      case Part::literal: append_text(out, piece.literal); break;
      case Part::time: detail::append_time(out, line.time); break;
      case Part::level: append_text(out, to_string(line.severity)); break;
      case Part::name: append_escaped(out, line.name, Quoting::none); break;
      case Part::message: append_message(out, line); break;
      case Part::source: append_source(out, line.source, Quoting::none); break;
      case Part::function:
        if (line.source.function != nullptr) append_escaped(out, line.source.function, Quoting::none);
        break;
      case Part::thread: append_number(out, line.thread_id); break;
      case Part::fields: {
        LogFields fields = line.fields;
        while (const std::optional<LogValue> field = fields.next()) {
          out.push_back(' ');
          append_escaped(out, field->name(), Quoting::none);
          out.push_back('=');
          append_value(out, *field, false);
        }
        break;
      }
    }
  }
  if (line.cut) append_text(out, log_cut_marker);
}

template <class Out>
void LineFormat::format_json(const LogLine& line, Out& out) const {
  const auto text_member = [&](std::string_view name, std::string_view value) {
    append_text(out, name);
    append_escaped(out, value, Quoting::json);
    out.push_back('"');
  };
  append_text(out, R"({"time":")");
  detail::append_time(out, line.time);
  text_member(R"(","level":")", to_string(line.severity));
  if (!line.name.empty()) text_member(R"(,"logger":")", line.name);
  text_member(R"(,"message":")", line.text);
  if (line.fields.left() != 0) {
    append_text(out, R"(,"fields":{)");
    LogFields fields = line.fields;
    bool first = true;
    while (const std::optional<LogValue> field = fields.next()) {
      if (!std::exchange(first, false)) out.push_back(',');
      text_member("\"", field->name());
      out.push_back(':');
      append_value(out, *field, true);
    }
    out.push_back('}');
  }
  if (line.source.file != nullptr) {
    append_text(out, R"(,"source":")");
    append_source(out, line.source, Quoting::json);
    out.push_back('"');
  }
  if (line.thread_id != 0) {
    append_text(out, R"(,"thread":)");
    append_number(out, line.thread_id);
  }
  if (line.cut) append_text(out, R"(,"cut":true)");
  out.push_back('}');
}

void LineFormat::append(const LogLine& line, std::string& out) const {
  char short_line[1024];
  detail::LineText text(short_line, sizeof short_line);
  format(line, text);
  const std::size_t needed = text.size_needed();
  if (needed == 0) {
    out.append(short_line, text.size());
    return;
  }
  const std::size_t before = out.size();
  out.resize(before + needed);
  detail::LineText whole(out.data() + before, needed);
  format(line, whole);
  out.resize(before + whole.size());
}

std::size_t LineFormat::write_to(const LogLine& line, char* out, std::size_t size) const noexcept {
  detail::FixedText text(out, size);
  format(line, text);
  return text.size();
}

std::string log_time_text(WallTime time) {
  std::string text;
  detail::append_time(text, time);
  return text;
}

}  // namespace dagverk

#pragma once

#include <string_view>

/// What strangers' bytes reach first. Each takes any bytes whatever, and ends the program when a promise is broken.
///
/// Semantics: called by libFuzzer (`./dev fuzz`) with bytes it makes up, and by tests/fuzz with those of fuzz/corpus
///            and fuzz/crashes.
namespace dagverk::fuzz {

/// A job's payload: everything that reads or edits one, and its elements in Redis.
void job_codec(std::string_view bytes);

/// What a Redis server answers. The first byte says in what pieces the others come.
void redis_reply(std::string_view bytes);

/// A line that says when something recurs; behind the line's end a time zone, as the bytes of its file or as a rule.
void cron(std::string_view bytes);

/// A configuration file.
void configuration(std::string_view bytes);

}  // namespace dagverk::fuzz

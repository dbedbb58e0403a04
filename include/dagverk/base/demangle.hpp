#pragma once

#include <string>

namespace dagverk {

/// The name of a C++ type or function as a programmer writes it; `symbol` itself when it is no mangled name.
///
///   demangle(typeid(error).name())
[[nodiscard]] std::string demangle(const char* symbol);

}  // namespace dagverk

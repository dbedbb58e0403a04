#include <dagverk/base/concat.hpp>
#include <dagverk/base/result.hpp>

int main() {
  const dagverk::Result<int> failed = dagverk::Error{dagverk::ErrorCode::not_found, dagverk::concat("no ", 7)};
  return !failed && failed.error().message() == "no 7" ? 0 : 1;
}

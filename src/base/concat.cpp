#include "dagverk/base/concat.hpp"

namespace dagverk::detail {

std::string concat_pieces(const ConcatPiece* const* pieces, std::size_t count) {
  std::size_t size = 0;
  for (std::size_t index = 0; index < count; ++index) size += pieces[index]->text().size();
  std::string joined;
  joined.reserve(size);
  for (std::size_t index = 0; index < count; ++index) joined.append(pieces[index]->text());
  return joined;
}

}  // namespace dagverk::detail

#pragma once

namespace dagverk::simulation {

/// For what is done at random: whether it worked makes no difference.
template <class Outcome>
void may_fail(const Outcome& /*outcome*/) noexcept {}

}  // namespace dagverk::simulation

#include "conformance/job_store.hpp"

#include "conformance/stores.hpp"

namespace dagverk::conformance {

INSTANTIATE_TEST_SUITE_P(Stores, JobStoreConformance, testing::ValuesIn(all_stores),
                         [](const testing::TestParamInfo<StoreFactory>& tested) {
                           return std::string(tested.param.name);
                         });

}  // namespace dagverk::conformance

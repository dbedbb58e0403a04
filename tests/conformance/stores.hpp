#pragma once

// The stores that pass the suite in job_store.hpp, one line each.

#include "conformance/memory_world.hpp"
#include "conformance/redis_world.hpp"
#include "conformance/sqlite_world.hpp"
#include "conformance/store_world.hpp"

namespace dagverk::conformance {

inline const StoreFactory all_stores[] = {
    {"sqlite", []() -> std::unique_ptr<StoreWorld> { return std::make_unique<SqliteWorldDeterministic>(); }, true, true,
     true},
    {"sqlite_threads", []() -> std::unique_ptr<StoreWorld> { return std::make_unique<SqliteWorldThreaded>(); }, true,
     true, true},
    {"redis",
     []() -> std::unique_ptr<StoreWorld> {
       return RedisServer::available() ? std::make_unique<RedisWorld>() : nullptr;
     },
     false, false, true},
    {"memory", []() -> std::unique_ptr<StoreWorld> { return std::make_unique<MemoryWorld>(); }, true, true, false},
};

}  // namespace dagverk::conformance

// How much memory some threads have allocated that is still in use, as their allocator counts it:
// jemalloc, with an arena for them alone. What other threads allocate, for caches above all, is
// no part of it.
#pragma once

#include <cstddef>
#include <optional>

namespace sessiond::rpc {

// From now on, what this thread allocates counts. For threads that read from peers: what has come
// of requests is allocated by them, whoever frees it.
void CountThisThread();

// What counts. Nothing: the allocator is not jemalloc, as in builds with sanitizers, or no thread
// counts. Takes some microseconds.
std::optional<std::size_t> CountedBytes();

}  // namespace sessiond::rpc

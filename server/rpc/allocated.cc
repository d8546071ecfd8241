#include "server/rpc/allocated.h"

#include <sys/types.h>

#include <cstdint>
#include <string>

#include "absl/strings/str_cat.h"

// jemalloc's own, where it is linked (decision 0006); otherwise null.
extern "C" __attribute__((weak)) int mallctl(const char* name, void* old, std::size_t* old_bytes,
                                             void* given, std::size_t given_bytes);

namespace sessiond::rpc {
namespace {

template <class Value>
std::optional<Value> Ask(const std::string& name) {
  Value value = 0;
  std::size_t size = sizeof(value);
  if (mallctl == nullptr || mallctl(name.c_str(), &value, &size, nullptr, 0) != 0)
    return std::nullopt;
  return value;
}

// Nothing: there is none to be had.
std::optional<unsigned> Arena() {
  static const std::optional<unsigned> arena = [] {
    const auto created = Ask<unsigned>("arenas.create");
    if (created.has_value()) {
      // What a flood has left is given back sooner than after jemalloc's ten seconds.
      ssize_t decay_ms = 1'000;
      mallctl(absl::StrCat("arena.", *created, ".dirty_decay_ms").c_str(), nullptr, nullptr,
              &decay_ms, sizeof(decay_ms));
    }
    return created;
  }();
  return arena;
}

}  // namespace

void CountThisThread() {
  if (std::optional<unsigned> arena = Arena(); arena.has_value())
    mallctl("thread.arena", nullptr, nullptr, &*arena, sizeof(*arena));
}

std::optional<std::size_t> CountedBytes() {
  if (!Arena().has_value()) return std::nullopt;
  static const std::string kStats = absl::StrCat("stats.arenas.", *Arena());
  // jemalloc answers with what it knew when the epoch was last set.
  uint64_t epoch = 1;
  mallctl("epoch", nullptr, nullptr, &epoch, sizeof(epoch));
  const auto small = Ask<std::size_t>(kStats + ".small.allocated");
  const auto large = Ask<std::size_t>(kStats + ".large.allocated");
  if (!small.has_value() || !large.has_value()) return std::nullopt;
  return *small + *large;
}

}  // namespace sessiond::rpc

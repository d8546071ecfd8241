#include "tests/simulation/scheduler.h"

#include <sys/mman.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <iostream>
#include <utility>

#include "tests/simulation/virtual_time.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

namespace sessiond::simulation {
namespace {

// Without optimization, and with a sanitizer, frames are large.
constexpr std::size_t kStackBytes = std::size_t{1} << 20;

// Stacks are used again: making one costs more than a step.
std::vector<void*>& SpareStacks() {
  static auto& spare = *new std::vector<void*>();
  return spare;
}

void* TakeStack() {
  auto& spare = SpareStacks();
  if (!spare.empty()) {
    void* stack = spare.back();
    spare.pop_back();
    return stack;
  }
  void* stack = mmap(nullptr, kStackBytes, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (stack == MAP_FAILED) std::abort();
  mprotect(stack, 4096, PROT_NONE);
  return stack;
}

}  // namespace

absl::Duration Random::Between(absl::Duration least, absl::Duration most) {
  const double low = std::log(absl::ToDoubleSeconds(least) + 1e-6);
  const double high = std::log(absl::ToDoubleSeconds(most) + 1e-6);
  const double drawn = static_cast<double>(engine_() >> 11) * 0x1.0p-53;
  return absl::Nanoseconds(static_cast<int64_t>(std::exp(low + drawn * (high - low)) * 1e9));
}

Scheduler::Scheduler(uint64_t seed) : random_(seed) {}

Scheduler::~Scheduler() {
  for (const auto& fiber : fibers_) SpareStacks().push_back(fiber->stack);
}

void Scheduler::Spawn(const Machine& machine, std::function<void()> body) {
  auto fiber = std::make_unique<Fiber>();
  fiber->machine = &machine;
  fiber->body = std::move(body);
  fiber->until = now_;
  fiber->stack = TakeStack();
  getcontext(&fiber->context);
  fiber->context.uc_stack.ss_sp = fiber->stack;
  fiber->context.uc_stack.ss_size = kStackBytes;
  fiber->context.uc_link = nullptr;
  const auto self = reinterpret_cast<uintptr_t>(this);
  makecontext(&fiber->context, reinterpret_cast<void (*)()>(&Scheduler::Enter), 2,
              static_cast<unsigned>(self >> 32), static_cast<unsigned>(self));
  fibers_.push_back(std::move(fiber));
}

void Scheduler::Enter(unsigned high, unsigned low) {
  auto* self = reinterpret_cast<Scheduler*>((static_cast<uintptr_t>(high) << 32) | low);
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(nullptr, nullptr, nullptr);
#endif
  Fiber& fiber = *self->running_;
  fiber.body();
  fiber.body = nullptr;
  fiber.ended = true;
  self->SwitchBack(fiber);
  std::abort();  // Nobody goes on with it.
}

void Scheduler::SwitchTo(Fiber& fiber) {
  running_ = &fiber;
  VirtualTime::Set(fiber.machine->SteadyAt(now_));
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(&main_fake_stack_, fiber.stack, kStackBytes);
#endif
  swapcontext(&main_, &fiber.context);
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(main_fake_stack_, nullptr, nullptr);
#endif
  VirtualTime::Reset();
  running_ = nullptr;
}

void Scheduler::SwitchBack(Fiber& fiber) {
#if defined(__SANITIZE_ADDRESS__)
  // Where the main stack lies, it knows since the switch away from it.
  static const void* bottom = nullptr;
  static std::size_t size = 0;
  if (bottom == nullptr) {
    pthread_attr_t attributes;
    void* address = nullptr;
    pthread_getattr_np(pthread_self(), &attributes);
    pthread_attr_getstack(&attributes, &address, &size);
    pthread_attr_destroy(&attributes);
    bottom = address;
  }
  __sanitizer_start_switch_fiber(fiber.ended ? nullptr : &fiber.fake_stack, bottom, size);
#endif
  swapcontext(&fiber.context, &main_);
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(fiber.fake_stack, nullptr, nullptr);
#endif
}

void Scheduler::Run() {
  std::vector<Fiber*> able;
  while (!fibers_.empty() && !failed()) {
    able.clear();
    Instant next = kNever;
    for (const auto& fiber : fibers_) {
      const Instant suspended = fiber->machine->suspended_until;
      if (suspended > now_) {
        next = std::min(next, suspended);
        continue;
      }
      fiber->came_true = fiber->condition != nullptr && fiber->condition();
      if (fiber->came_true || fiber->until <= now_) {
        able.push_back(fiber.get());
      } else {
        next = std::min(next, fiber->until);
      }
    }
    if (able.empty()) {
      if (next == kNever) return Fail("everybody waits for something that never happens");
      now_ = next;
      continue;
    }
    ++steps_;
    const int drawn = random_.Below(static_cast<int>(able.size()));
    hash_ = (hash_ ^ static_cast<uint64_t>(now_) ^ static_cast<uint64_t>(drawn)) * 1099511628211u;
    Fiber& fiber = *able[drawn];
    SwitchTo(fiber);
    if (fiber.ended) {
      SpareStacks().push_back(fiber.stack);
      std::erase_if(fibers_, [&](const auto& one) { return one.get() == &fiber; });
    }
  }
}

bool Scheduler::Await(std::function<bool()> condition, Instant until) {
  Fiber& fiber = *running_;
  fiber.condition = std::move(condition);
  fiber.until = until;
  SwitchBack(fiber);
  fiber.condition = nullptr;
  return fiber.came_true;
}

void Scheduler::Sleep(absl::Duration duration) {
  Fiber& fiber = *running_;
  fiber.until = now_ + absl::ToInt64Nanoseconds(duration);
  SwitchBack(fiber);
}

void Scheduler::Fail(const std::string& why) {
  if (failed()) return;
  failure_ = why;
  if (running_ != nullptr) {
    running_->until = kNever;  // It does not come back: the run is over.
    SwitchBack(*running_);
  }
}

void Scheduler::Trace(absl::string_view what) {
  for (const char c : what) hash_ = (hash_ ^ static_cast<unsigned char>(c)) * 1099511628211u;
  if (prints_)
    std::cout << steps_ << " " << absl::FormatDuration(absl::Nanoseconds(now_)) << " " << what
              << "\n";
}

}  // namespace sessiond::simulation

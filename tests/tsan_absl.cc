// ThreadSanitizer takes a lock it has not been told of for none, and the system's abseil is not
// instrumented: every pair of accesses that one of abseil's mutexes orders would look like a race.
// Here the calls to abseil's locks are led past ThreadSanitizer, which is told what each of them
// orders (tsan_interface.h), and on to abseil.
//
//   this program ──▶ absl::Mutex::Lock below ──▶ __tsan_mutex_… and the one of libabsl
//
// The dynamic linker takes a program's symbols before a library's, so that defining them is enough.
// The preset undefines __SANITIZE_THREAD__: with it Protobuf's headers describe other classes than
// the system's library has.
#include <dlfcn.h>
#include <sanitizer/tsan_interface.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"

// abseil counts who has a share in a status, and ThreadSanitizer does not see it count: the last
// one to let go would race with all who have read it.
extern "C" const char* __tsan_default_suppressions() {
  return "called_from_lib:libabsl_status.so\n";
}

namespace {

// abseil's own version of a function that stands below.
template <class Function>
Function Next(Function mine) {
  static_assert(sizeof mine >= sizeof(void*));
  void* address = nullptr;
  std::memcpy(&address, &mine, sizeof address);
  Dl_info info;
  void* next = nullptr;
  if (dladdr(address, &info) != 0 && info.dli_sname != nullptr)
    next = dlsym(RTLD_NEXT, info.dli_sname);
  if (next == nullptr) {
    std::fprintf(stderr,
                 "abseil's locks are not where they were expected: link its shared library\n");
    std::abort();
  }
  Function found = mine;
  std::memcpy(&found, &next, sizeof next);
  return found;
}

constexpr absl::Duration kPause = absl::Microseconds(50);

}  // namespace

namespace absl {
ABSL_NAMESPACE_BEGIN

void Mutex::Lock() {
  static const auto next = Next(&Mutex::Lock);
  __tsan_mutex_pre_lock(this, 0);
  (this->*next)();
  __tsan_mutex_post_lock(this, 0, 0);
}

void Mutex::Unlock() {
  static const auto next = Next(&Mutex::Unlock);
  __tsan_mutex_pre_unlock(this, 0);
  (this->*next)();
  __tsan_mutex_post_unlock(this, 0);
}

void Mutex::ReaderLock() {
  static const auto next = Next(&Mutex::ReaderLock);
  __tsan_mutex_pre_lock(this, __tsan_mutex_read_lock);
  (this->*next)();
  __tsan_mutex_post_lock(this, __tsan_mutex_read_lock, 0);
}

void Mutex::ReaderUnlock() {
  static const auto next = Next(&Mutex::ReaderUnlock);
  __tsan_mutex_pre_unlock(this, __tsan_mutex_read_lock);
  (this->*next)();
  __tsan_mutex_post_unlock(this, __tsan_mutex_read_lock);
}

// abseil would look at a condition on behalf of whoever waits for it, in a thread that has said to
// be done with the mutex. Here whoever waits looks for itself, again and again.
void Mutex::Await(const Condition& condition) {
  while (!condition.Eval()) {
    Unlock();
    absl::SleepFor(kPause);
    Lock();
  }
}

void Mutex::LockWhen(const Condition& condition) {
  Lock();
  Await(condition);
}

bool Mutex::AwaitWithDeadline(const Condition& condition, absl::Time deadline) {
  while (!condition.Eval() && absl::Now() < deadline) {
    Unlock();
    absl::SleepFor(kPause);
    Lock();
  }
  return condition.Eval();
}

bool Mutex::AwaitWithTimeout(const Condition& condition, absl::Duration timeout) {
  return AwaitWithDeadline(condition, absl::Now() + timeout);
}

bool Mutex::LockWhenWithDeadline(const Condition& condition, absl::Time deadline) {
  Lock();
  return AwaitWithDeadline(condition, deadline);
}

bool Mutex::LockWhenWithTimeout(const Condition& condition, absl::Duration timeout) {
  return LockWhenWithDeadline(condition, absl::Now() + timeout);
}

void CondVar::Wait(Mutex* mutex) {
  static const auto next = Next(&CondVar::Wait);
  __tsan_mutex_pre_unlock(mutex, 0);
  __tsan_mutex_post_unlock(mutex, 0);
  (this->*next)(mutex);
  __tsan_mutex_pre_lock(mutex, 0);
  __tsan_mutex_post_lock(mutex, 0, 0);
}

void Notification::Notify() {
  static const auto next = Next(&Notification::Notify);
  __tsan_release(this);
  (this->*next)();
}

void Notification::WaitForNotification() const {
  static const auto next = Next(&Notification::WaitForNotification);
  (this->*next)();
  __tsan_acquire(const_cast<Notification*>(this));
}

bool Notification::WaitForNotificationWithTimeout(absl::Duration timeout) const {
  static const auto next = Next(&Notification::WaitForNotificationWithTimeout);
  const bool notified = (this->*next)(timeout);
  __tsan_acquire(const_cast<Notification*>(this));
  return notified;
}

ABSL_NAMESPACE_END
}  // namespace absl

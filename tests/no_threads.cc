#include "tests/no_threads.h"

#include <dlfcn.h>
#include <pthread.h>

#include <cerrno>

static thread_local bool none = false;

namespace sessiond {

NoThreads::NoThreads() { none = true; }
NoThreads::~NoThreads() { none = false; }

}  // namespace sessiond

// In place of the C library's, for all of this program.
extern "C" int pthread_create(pthread_t* thread, const pthread_attr_t* attributes,
                              void* (*run)(void*), void* argument) noexcept {
  static const auto real =
      reinterpret_cast<decltype(&pthread_create)>(dlsym(RTLD_NEXT, "pthread_create"));
  return none ? EAGAIN : real(thread, attributes, run, argument);
}

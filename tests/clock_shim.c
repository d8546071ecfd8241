// A wall clock that a test steps, for one process and its children:
//
//   LD_PRELOAD=…/libclock_shim.so CLOCK_SHIM_FILE=step PROGRAM
//
// `step` holds eight bytes: by how many nanoseconds, a signed number in the machine's byte order,
// the wall clock is off. It is mapped, so that what is written to it holds at once. tests/
// stepped_clock.h writes it from C++, tests/e2e/stepped_clock.py from Python.
//
// Only CLOCK_REALTIME is stepped, as by an operator or NTP; the monotonic clock goes on. Waits until
// a time of the wall clock end when the stepped one has come there, as the kernel's own would: they
// are cut into slices, between which the step is read again. A slice that ends early is a spurious
// wake-up, which every caller must expect.
//
// Nothing is called here that may allocate memory: jemalloc asks for the time before it is ready.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define BILLION 1000000000LL
#define SLICE_NS 20000000LL  // 20 ms: how late a step is noticed by who waits already.

static const int64_t kNoStep = 0;
static const int64_t* step;  // Null until the file is mapped.

static long Kernel(long number, long a, long b, long c, long d, long e, long f) {
#if defined(__x86_64__)
  long result;
  register long r10 __asm__("r10") = d;
  register long r8 __asm__("r8") = e;
  register long r9 __asm__("r9") = f;
  __asm__ volatile("syscall"
                   : "=a"(result)
                   : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                   : "rcx", "r11", "memory");
  return result;
#elif defined(__aarch64__)
  register long x8 __asm__("x8") = number;
  register long x0 __asm__("x0") = a;
  register long x1 __asm__("x1") = b;
  register long x2 __asm__("x2") = c;
  register long x3 __asm__("x3") = d;
  register long x4 __asm__("x4") = e;
  register long x5 __asm__("x5") = f;
  __asm__ volatile("svc 0"
                   : "+r"(x0)
                   : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
                   : "memory");
  return x0;
#else
#error "Say here how this machine's kernel is called."
#endif
}

static long WithErrno(long result) {
  if (result >= 0 || result < -4095) return result;
  errno = (int)-result;
  return -1;
}

// A test that believes in a step that is none would prove nothing.
static void Die(const char* why, size_t length) {
  Kernel(SYS_write, 2, (long)why, (long)length, 0, 0, 0);
  Kernel(SYS_exit_group, 99, 0, 0, 0, 0, 0);
}

static int64_t Step(void) {
  const int64_t* mapped = __atomic_load_n(&step, __ATOMIC_ACQUIRE);
  if (mapped == NULL) {
    static const char kNoFile[] = "clock_shim: CLOCK_SHIM_FILE does not name a file of 8 bytes\n";
    const char* path = getenv("CLOCK_SHIM_FILE");
    mapped = &kNoStep;  // Asked for without a file: a child whose environment was cleared.
    if (path != NULL) {
      char unused;
      const long fd = Kernel(SYS_openat, AT_FDCWD, (long)path, O_RDONLY | O_CLOEXEC, 0, 0, 0);
      if (fd < 0 || Kernel(SYS_pread64, fd, (long)&unused, 1, sizeof(int64_t) - 1, 0, 0) != 1) {
        Die(kNoFile, sizeof(kNoFile) - 1);
      }
      const long address =
          Kernel(SYS_mmap, 0, sizeof(int64_t), PROT_READ, MAP_SHARED, fd, 0);
      if (address < 0 && address >= -4095) Die(kNoFile, sizeof(kNoFile) - 1);
      Kernel(SYS_close, fd, 0, 0, 0, 0, 0);
      mapped = (const int64_t*)address;
    }
    __atomic_store_n(&step, mapped, __ATOMIC_RELEASE);
  }
  return __atomic_load_n(mapped, __ATOMIC_RELAXED);
}

static int64_t Now(clockid_t clock) {
  struct timespec now;
  Kernel(SYS_clock_gettime, clock, (long)&now, 0, 0, 0, 0);
  return now.tv_sec * BILLION + now.tv_nsec;
}

static int64_t WallNow(void) { return Now(CLOCK_REALTIME) + Step(); }

static struct timespec TimeSpec(int64_t ns) {
  struct timespec spec = {ns / BILLION, ns % BILLION};
  if (spec.tv_nsec < 0) {
    spec.tv_nsec += BILLION;
    --spec.tv_sec;
  }
  return spec;
}

// What is left until a time of the wall clock, a slice at most; 0: it has come.
static int64_t SliceUntil(const struct timespec* deadline) {
  const int64_t now = WallNow();
  if (deadline->tv_sec - now / BILLION > 1) return SLICE_NS;
  const int64_t left = deadline->tv_sec * BILLION + deadline->tv_nsec - now;
  return left <= 0 ? 0 : left < SLICE_NS ? left : SLICE_NS;
}

// ---- asking for the time

int clock_gettime(clockid_t clock, struct timespec* now) {
  const long result = Kernel(SYS_clock_gettime, clock, (long)now, 0, 0, 0, 0);
  if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
    *now = TimeSpec(now->tv_sec * BILLION + now->tv_nsec + Step());
  }
  return (int)WithErrno(result);
}

int gettimeofday(struct timeval* restrict now, void* restrict zone) {
  (void)zone;
  const struct timespec spec = TimeSpec(WallNow());
  now->tv_sec = spec.tv_sec;
  now->tv_usec = spec.tv_nsec / 1000;
  return 0;
}

time_t time(time_t* now) {
  const time_t seconds = TimeSpec(WallNow()).tv_sec;
  if (now != NULL) *now = seconds;
  return seconds;
}

// ---- waiting for a time

// Abseil waits so.
long syscall(long number, ...) {
  va_list list;
  va_start(list, number);
  const long a = va_arg(list, long), b = va_arg(list, long), c = va_arg(list, long);
  const long d = va_arg(list, long), e = va_arg(list, long), f = va_arg(list, long);
  va_end(list);
  if (number != SYS_futex || (b & FUTEX_CLOCK_REALTIME) == 0 || d == 0) {
    return WithErrno(Kernel(number, a, b, c, d, e, f));
  }
  const int64_t slice = SliceUntil((const struct timespec*)d);
  if (slice == 0) return WithErrno(-ETIMEDOUT);
  const struct timespec until = TimeSpec(Now(CLOCK_MONOTONIC) + slice);
  const long result = Kernel(number, a, b & ~(long)FUTEX_CLOCK_REALTIME, c, (long)&until, e, f);
  return WithErrno(result == -ETIMEDOUT ? -EINTR : result);
}

static int CondWait(pthread_cond_t* cond, pthread_mutex_t* mutex, const struct timespec* deadline) {
  const int64_t slice = SliceUntil(deadline);
  const struct timespec until = TimeSpec(Now(CLOCK_MONOTONIC) + slice);
  const int result = pthread_cond_clockwait(cond, mutex, CLOCK_MONOTONIC, &until);
  return result == ETIMEDOUT && SliceUntil(deadline) > 0 ? 0 : result;
}

int pthread_cond_timedwait(pthread_cond_t* cond, pthread_mutex_t* mutex,
                           const struct timespec* deadline) {
  // glibc's mark of a condition that was made for the monotonic clock.
  if ((cond->__data.__wrefs & 2) != 0) {
    return pthread_cond_clockwait(cond, mutex, CLOCK_MONOTONIC, deadline);
  }
  return CondWait(cond, mutex, deadline);
}

int sem_timedwait(sem_t* semaphore, const struct timespec* deadline) {
  while (1) {
    const int64_t slice = SliceUntil(deadline);
    const struct timespec until = TimeSpec(Now(CLOCK_MONOTONIC) + slice);
    if (sem_clockwait(semaphore, CLOCK_MONOTONIC, &until) == 0) return 0;
    if (errno != ETIMEDOUT || SliceUntil(deadline) == 0) return -1;
  }
}

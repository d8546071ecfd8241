// A machine that has no thread to spare.
#pragma once

namespace sessiond {

// While it lives, the thread that made it can make no other.
class NoThreads {
 public:
  NoThreads();
  ~NoThreads();
  NoThreads(const NoThreads&) = delete;
};

}  // namespace sessiond

// When the guard of memory ends connections, by what it is told is held.
#include "server/rpc/memory_guard.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <mutex>
#include <optional>
#include <utility>
#include <vector>

namespace sessiond::rpc {
namespace {

constexpr std::size_t kMiB = 1 << 20;

// What is held at each look, the last for ever; and a connection that may be ended.
class MemoryGuardTest : public testing::Test {
 protected:
  MemoryGuardTest() {
    int pair[2];
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    connection_ = pair[0];
    peer_ = pair[1];
    connections_.Add(connection_, "unix");
  }
  ~MemoryGuardTest() override {
    close(connection_);
    close(peer_);
  }

  // Whether the connection is ended by the time that all of this was looked at, and more.
  bool Ends(std::vector<std::optional<std::size_t>> held) {
    SteadyEvent looked;
    std::size_t look = 0;
    const MemoryLimits limits{.now_and_then = absl::Milliseconds(1),
                              .often = absl::Milliseconds(1)};
    {
      MemoryGuard guard(connections_, metrics_, limits, [&]() -> std::optional<std::size_t> {
        const auto now = held[std::min(look, held.size() - 1)];
        if (++look == held.size() + 3 || !now.has_value()) looked.Notify();
        return now;
      });
      EXPECT_TRUE(looked.WaitAtMost(absl::Seconds(30)));
    }
    char byte;
    return recv(peer_, &byte, 1, MSG_DONTWAIT) == 0;
  }

  Metrics metrics_{{}};
  front_door::Connections connections_{{}};
  int connection_ = -1, peer_ = -1;
};

TEST_F(MemoryGuardTest, EndsConnectionsWhileTooMuchIsHeldAndItGrows) {
  EXPECT_TRUE(Ends({10 * kMiB, 70 * kMiB, 110 * kMiB}));
  EXPECT_NE(metrics_.Text().find("sessiond_connections_cut_total 1\n"), std::string::npos);
}

TEST_F(MemoryGuardTest, LeavesThemWhatIsNotTooMuch) {
  EXPECT_FALSE(Ends({10 * kMiB, 60 * kMiB, 89 * kMiB}));
  EXPECT_FALSE(Ends({90 * kMiB, 150 * kMiB, 169 * kMiB}));
}

TEST_F(MemoryGuardTest, LeavesThemWhenItShrinks) {
  EXPECT_FALSE(Ends({10 * kMiB, 170 * kMiB, 169 * kMiB, 169 * kMiB}));
}

TEST_F(MemoryGuardTest, WithoutKnowingWhatIsHeldThereIsNone) { EXPECT_FALSE(Ends({std::nullopt})); }

}  // namespace
}  // namespace sessiond::rpc

// The sockets of a server, found among all that a process has open.
#include "server/rpc/sockets.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string>
#include <vector>

namespace sessiond::rpc {
namespace {

sockaddr_in Address(const std::string& host, int port) {
  sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(static_cast<uint16_t>(port))};
  inet_pton(AF_INET, host.c_str(), &address.sin_addr);
  return address;
}

// One that listens, and a peer that it has let in.
struct Listener {
  int listening = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  int port = 0;
  int peer = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  int connected = -1;

  explicit Listener(const std::string& host, int wanted_port = 0) {
    sockaddr_in address = Address(host, wanted_port);
    socklen_t size = sizeof(address);
    auto* const any = reinterpret_cast<sockaddr*>(&address);
    EXPECT_EQ(bind(listening, any, size), 0);
    EXPECT_EQ(listen(listening, 1), 0);
    EXPECT_EQ(getsockname(listening, any, &size), 0);
    port = ntohs(address.sin_port);
  }
  ~Listener() {
    for (const int each : {listening, peer, connected}) close(each);
  }
  void LetIn(const std::string& host) {
    sockaddr_in address = Address(host, port);
    EXPECT_EQ(connect(peer, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    connected = accept4(listening, nullptr, nullptr, SOCK_CLOEXEC);
    EXPECT_GE(connected, 0);
  }
  // Whether the peer has read the end.
  bool IsEnded() const {
    char byte;
    return recv(peer, &byte, 1, MSG_DONTWAIT) == 0;
  }
};

// No more files can be opened while it lives.
class NoFiles {
 public:
  NoFiles() {
    getrlimit(RLIMIT_NOFILE, &before_);
    const rlimit few = {.rlim_cur = 64, .rlim_max = before_.rlim_max};
    setrlimit(RLIMIT_NOFILE, &few);
    for (int file; (file = open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0;) files_.push_back(file);
  }
  ~NoFiles() {
    for (const int file : files_) close(file);
    setrlimit(RLIMIT_NOFILE, &before_);
  }

 private:
  rlimit before_ = {};
  std::vector<int> files_;
};

TEST(Sockets, ConnectionsAreEndedAndNobodyIsLetIn) {
  for (const char* host : {"127.0.0.1", "0.0.0.0"}) {
    Listener server(host);
    Sockets sockets({server.port});
    server.LetIn("127.0.0.1");
    EXPECT_TRUE(sockets.Find());
    sockets.EndWriting();
    EXPECT_TRUE(server.IsEnded()) << host;
    sockets.StopListening();
    EXPECT_LT(accept4(server.listening, nullptr, nullptr, SOCK_NONBLOCK), 0);
    EXPECT_EQ(errno, EINVAL) << host;
  }
}

TEST(Sockets, ThoseOfAnotherAddressWithTheSamePortAreLeftAlone) {
  Listener server("127.0.0.1");
  Sockets sockets({server.port});
  Listener other("127.0.0.2", server.port);
  server.LetIn("127.0.0.1");
  other.LetIn("127.0.0.2");
  EXPECT_TRUE(sockets.Find());
  sockets.EndWriting();
  EXPECT_TRUE(server.IsEnded());
  EXPECT_FALSE(other.IsEnded());
}

TEST(Sockets, AreFoundWhenNoMoreFilesCanBeOpened) {
  Listener server("127.0.0.1");
  Sockets sockets({server.port});
  server.LetIn("127.0.0.1");
  const NoFiles no_files;
  EXPECT_TRUE(sockets.Find());
  sockets.EndWriting();
  EXPECT_TRUE(server.IsEnded());
}

TEST(Sockets, OfAPortThatNobodyListensOnNothingIsFound) { EXPECT_FALSE(Sockets({1}).Find()); }

}  // namespace
}  // namespace sessiond::rpc

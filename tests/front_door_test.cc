// Where connections come in: what listens, who is let in, and how they end.
#include "server/front_door/front_door.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <condition_variable>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace sessiond::front_door {
namespace {

constexpr int kPatienceMs = 20'000;

std::string Family(int fd) {
  sockaddr_storage address = {};
  socklen_t size = sizeof(address);
  getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size);
  return address.ss_family == AF_INET ? "v4" : address.ss_family == AF_INET6 ? "v6" : "unix";
}

// Whoever connects to an IPv4 address of this machine; `from` is one, too.
class Peer {
 public:
  explicit Peer(int port, const std::string& from = "127.0.0.1")
      : fd_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in own = Address(from, 0), to = Address("127.0.0.1", port);
    EXPECT_EQ(bind(fd_, reinterpret_cast<sockaddr*>(&own), sizeof(own)), 0);
    connected_ = connect(fd_, reinterpret_cast<sockaddr*>(&to), sizeof(to)) == 0;
  }
  explicit Peer(const std::string& path) : fd_(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_un to = {.sun_family = AF_UNIX};
    path.copy(to.sun_path, sizeof(to.sun_path) - 1);
    connected_ = connect(fd_, reinterpret_cast<sockaddr*>(&to), sizeof(to)) == 0;
  }
  ~Peer() { Close(); }
  Peer(Peer&& other) noexcept : fd_(std::exchange(other.fd_, -1)), connected_(other.connected_) {}

  void Close() {
    if (fd_ >= 0) close(std::exchange(fd_, -1));
  }
  // Without a goodbye.
  void Reset() {
    const linger at_once = {.l_onoff = 1, .l_linger = 0};
    setsockopt(fd_, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
    Close();
  }
  bool connected() const { return connected_; }
  // REQUIRES: the kernel takes as much for a server that reads nothing.
  void Send(std::size_t bytes) const {
    const std::string zeros(bytes, '\0');
    EXPECT_EQ(send(fd_, zeros.data(), bytes, MSG_DONTWAIT | MSG_NOSIGNAL), bytes);
  }
  // Waits for the end of what the server sends.
  bool IsEnded() const {
    pollfd readable = {fd_, POLLIN, 0};
    char byte;
    return poll(&readable, 1, kPatienceMs) == 1 && recv(fd_, &byte, 1, 0) <= 0;
  }
  // Whether it may stay. REQUIRES: the door has dealt with it.
  bool IsOpen() const {
    char byte;
    return recv(fd_, &byte, 1, MSG_DONTWAIT) < 0 && errno == EAGAIN;
  }

 private:
  static sockaddr_in Address(const std::string& host, int port) {
    sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(static_cast<uint16_t>(port))};
    inet_pton(AF_INET, host.c_str(), &address.sin_addr);
    return address;
  }

  int fd_;
  bool connected_ = false;
};

// Holds what is let in, as gRPC does.
class Guests {
 public:
  ~Guests() {
    while (!fds_.empty()) LetGo();
  }
  void Admit(int fd) {
    const std::lock_guard<std::mutex> lock(mutex_);
    fds_.insert(fd);
    ++admitted_;
    changed_.notify_all();
  }
  bool Await(std::size_t admitted) {
    std::unique_lock<std::mutex> lock(mutex_);
    return WaitAtMost(absl::Milliseconds(kPatienceMs), changed_, lock,
                      [&] { return admitted_ >= admitted; });
  }
  std::size_t admitted() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return admitted_;
  }
  // Until so many bytes have come that nobody has read.
  void AwaitUnread(int bytes) {
    const std::lock_guard<std::mutex> lock(mutex_);
    const SteadyTime end = SteadyTime::Now() + absl::Milliseconds(kPatienceMs);
    for (int unread = 0; unread != bytes;) {
      ASSERT_LT(SteadyTime::Now(), end) << unread;
      unread = 0;
      for (const int fd : fds_) {
        int of_one = 0;
        if (ioctl(fd, FIONREAD, &of_one) == 0) unread += of_one;
      }
    }
  }
  // Closes the one with the lowest number, and returns that.
  int LetGo() {
    const std::lock_guard<std::mutex> lock(mutex_);
    const int number = fds_.extract(fds_.begin()).value();
    close(number);
    return number;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::set<int> fds_;
  std::size_t admitted_ = 0;
};

class FrontDoorTest : public testing::Test {
 protected:
  FrontDoorTest() : directory_(std::filesystem::temp_directory_path() / "front_door_XXXXXX") {
    directory_ = mkdtemp(directory_.string().data());
  }
  ~FrontDoorTest() override {
    door_.reset();
    std::filesystem::remove_all(directory_);
  }

  void Open(ConnectionLimits limits = {}) {
    std::vector<Entrance> entrances;
    for (const Address& address : {Address{"127.0.0.1", 0}, Address{.path = path()}}) {
      auto sockets = Listen(address).value();
      if (!address.is_unix()) port_ = sockets.front().port();
      entrances.push_back({.sockets = std::move(sockets),
                           .admit = [this](int, int connection) { guests_.Admit(connection); }});
    }
    door_ = std::make_unique<FrontDoor>(std::move(entrances), limits, metrics_);
  }
  std::string path() const { return directory_ / "socket"; }
  // Of a counter.
  int Refused(const std::string& why) const {
    const std::string series =
        absl::StrCat("sessiond_connections_refused_total{reason=\"", why, "\"} ");
    const std::string page = metrics_.Text();
    return std::stoi(page.substr(page.find(series) + series.size()));
  }

  std::filesystem::path directory_;
  Metrics metrics_{{}};
  Guests guests_;
  int port_ = 0;
  std::unique_ptr<FrontDoor> door_;
};

// No more files can be opened while it lives.
class NoFiles {
 public:
  NoFiles() {
    getrlimit(RLIMIT_NOFILE, &before_);
    const rlimit few = {.rlim_cur = 256, .rlim_max = before_.rlim_max};
    setrlimit(RLIMIT_NOFILE, &few);
    for (int file; (file = open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0;) files_.push_back(file);
  }
  ~NoFiles() {
    for (const int file : files_) close(file);
    setrlimit(RLIMIT_NOFILE, &before_);
  }
  void FreeOne() {
    close(files_.back());
    files_.pop_back();
  }

 private:
  rlimit before_ = {};
  std::vector<int> files_;
};

// ------------------------------------------------------------------------------------- listening

TEST(Listen, TakesTheSamePortOnEveryAddressOfAHost) {
  const auto sockets = Listen({"localhost", 0}).value();
  ASSERT_FALSE(sockets.empty());
  for (const ListeningSocket& socket : sockets) EXPECT_EQ(socket.port(), sockets[0].port());
  EXPECT_TRUE(Peer(sockets[0].port()).connected());
}

TEST(Listen, BothWildcardsAreBothFamilies) {
  for (const char* host : {"0.0.0.0", "::"}) {
    const auto sockets = Listen({host, 0}).value();
    ASSERT_EQ(sockets.size(), 1);
    EXPECT_TRUE(Peer(sockets[0].port()).connected()) << host;
    // Without IPv6 in the kernel there is only the other.
    EXPECT_EQ(Family(sockets[0].fd()), access("/proc/net/if_inet6", F_OK) == 0 ? "v6" : "v4");
  }
}

TEST(Listen, APortIsNotShared) {
  const auto first = Listen({"127.0.0.1", 0}).value();
  for (const char* host : {"127.0.0.1", "0.0.0.0", "localhost"}) {
    const auto second = Listen({host, first[0].port()});
    EXPECT_TRUE(absl::IsUnavailable(second.status())) << host;
    EXPECT_THAT(second.status().message(), testing::HasSubstr("Address already in use"));
  }
}

TEST(Listen, APortIsFreeOnceItsOwnerHasLeft) {
  auto first = Listen({"127.0.0.1", 0}).value();
  const int port = first[0].port();
  Peer peer(port);
  // The server's end closes first, and waits for stray packets.
  close(accept4(first[0].fd(), nullptr, nullptr, SOCK_CLOEXEC));
  ASSERT_TRUE(peer.IsEnded());
  first.clear();
  EXPECT_TRUE(Listen({"127.0.0.1", port}).ok());
}

TEST(Listen, SaysWhyNot) {
  EXPECT_THAT(Listen({"192.0.2.1", 0}).status().message(),
              testing::HasSubstr("Cannot assign requested address"));
  EXPECT_TRUE(absl::IsUnavailable(Listen({"nobody.invalid", 0}).status()));
}

TEST_F(FrontDoorTest, AUnixSocketLeavesNothingBehind) {
  auto sockets = Listen({.path = path()}).value();
  EXPECT_EQ(sockets[0].port(), 0);
  EXPECT_TRUE(Peer(path()).connected());
  sockets.clear();
  EXPECT_FALSE(std::filesystem::exists(path()));
}

TEST_F(FrontDoorTest, AUnixSocketOfAProcessThatWasKilledIsReplaced) {
  auto killed = Listen({.path = path()}).value();
  const int nothing = open("/dev/null", O_RDONLY | O_CLOEXEC);
  ASSERT_EQ(dup2(nothing, killed[0].fd()), killed[0].fd());  // As the kernel closes it.
  close(nothing);
  ASSERT_TRUE(std::filesystem::exists(path()));
  auto sockets = Listen({.path = path()}).value();
  EXPECT_TRUE(Peer(path()).connected());
  killed.clear();  // Another's file stays.
  EXPECT_TRUE(Peer(path()).connected());
}

TEST_F(FrontDoorTest, AUnixSocketThatSomebodyListensAtIsLeftAlone) {
  const auto first = Listen({.path = path()}).value();
  EXPECT_TRUE(absl::IsUnavailable(Listen({.path = path()}).status()));
  EXPECT_TRUE(Peer(path()).connected());
}

TEST_F(FrontDoorTest, AFileThatIsNoSocketIsLeftAlone) {
  std::ofstream(path()) << "text";
  EXPECT_TRUE(absl::IsUnavailable(Listen({.path = path()}).status()));
  EXPECT_EQ(std::filesystem::file_size(path()), 4);
}

// ---------------------------------------------------------------------------------- who is let in

TEST_F(FrontDoorTest, ConnectionsOfEveryEntranceAreLetInAndCounted) {
  Open();
  const Peer first(port_), second(path());
  ASSERT_TRUE(guests_.Await(2));
  EXPECT_EQ(door_->connections().Count(), 2);
  EXPECT_TRUE(first.IsOpen() && second.IsOpen());
  guests_.LetGo();
  EXPECT_EQ(door_->connections().Count(), 1);
}

TEST_F(FrontDoorTest, WhoHasLeftBeforeTheDoorOpensIsNotLetIn) {
  auto sockets = Listen({"127.0.0.1", 0}).value();
  const int port = sockets.front().port();
  Peer(port).Reset();
  std::vector<Entrance> entrances;
  entrances.push_back({.sockets = std::move(sockets),
                       .admit = [this](int, int connection) { guests_.Admit(connection); }});
  door_ = std::make_unique<FrontDoor>(std::move(entrances), ConnectionLimits(), metrics_);
  const Peer next(port);
  ASSERT_TRUE(guests_.Await(1));
  EXPECT_TRUE(next.IsOpen());
  EXPECT_EQ(guests_.admitted(), 1);
  EXPECT_EQ(door_->connections().Count(), 1);
}

TEST_F(FrontDoorTest, BeyondTheMaximumTheyAreClosedUntilOneHasLeft) {
  Open({.in_all = 3});
  std::vector<Peer> peers;
  for (int i = 0; i < 3; ++i) peers.emplace_back(port_);
  ASSERT_TRUE(guests_.Await(3));
  EXPECT_TRUE(Peer(port_).IsEnded());
  EXPECT_TRUE(Peer(path()).IsEnded());
  EXPECT_EQ(guests_.admitted(), 3);
  EXPECT_EQ(Refused("total"), 2);
  EXPECT_TRUE(absl::IsResourceExhausted(door_->LetsIn()));
  guests_.LetGo();
  EXPECT_TRUE(door_->LetsIn().ok());
  const Peer next(port_);
  EXPECT_TRUE(guests_.Await(4));
  EXPECT_TRUE(next.IsOpen());
}

TEST_F(FrontDoorTest, OneAddressTakesNotAll) {
  Open({.in_all = 100, .per_address = 2});
  std::vector<Peer> peers;
  for (const char* from : {"127.0.0.2", "127.0.0.2", "127.0.0.3"}) peers.emplace_back(port_, from);
  ASSERT_TRUE(guests_.Await(3));
  EXPECT_TRUE(Peer(port_, "127.0.0.2").IsEnded());
  EXPECT_EQ(Refused("address"), 1);
  EXPECT_EQ(door_->refused_of_address(), 1);
  EXPECT_TRUE(door_->LetsIn().ok());  // Others are.
  peers.emplace_back(port_, "127.0.0.3");
  peers.emplace_back(path());
  EXPECT_TRUE(guests_.Await(5));
}

TEST(Connections, ALeftOneIsNoticedByItsInodeWhateverItsNumberMeansNow) {
  Connections connections({.in_all = 1}, absl::ZeroDuration());
  const auto new_socket = [] { return socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0); };
  const int first = new_socket();
  EXPECT_EQ(connections.Add(first, "a"), Connections::Outcome::kAdded);
  const int other = new_socket();
  EXPECT_EQ(connections.Add(other, "a"), Connections::Outcome::kTooMany);
  ASSERT_EQ(dup2(other, first), first);  // The number is another socket's.
  EXPECT_EQ(connections.Count(), 0);
  EXPECT_EQ(connections.Add(other, "a"), Connections::Outcome::kAdded);
  close(first);
  close(other);
  const int again = new_socket();
  EXPECT_EQ(again, first);
  EXPECT_EQ(connections.Add(again, "a"), Connections::Outcome::kAdded);
  EXPECT_EQ(connections.Add(again, "a"), Connections::Outcome::kAdded);  // A number is one.
  EXPECT_EQ(connections.Count(), 1);
  close(again);
}

TEST(Connections, WhileTheyAreRefusedTheyAreLookedAtNowAndThen) {
  Connections connections({.in_all = 1}, absl::Hours(1));
  const int first = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const int other = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  EXPECT_EQ(connections.Add(first, "a"), Connections::Outcome::kAdded);
  EXPECT_EQ(connections.Add(other, "a"), Connections::Outcome::kTooMany);
  close(first);
  EXPECT_EQ(connections.Add(other, "a"), Connections::Outcome::kTooMany);  // Not looked at yet.
  EXPECT_EQ(connections.Count(), 0);
  close(other);
}

sockaddr_storage Storage(int family, const std::string& host) {
  sockaddr_storage storage = {};
  storage.ss_family = static_cast<sa_family_t>(family);
  void* const at = family == AF_INET
                       ? static_cast<void*>(&reinterpret_cast<sockaddr_in&>(storage).sin_addr)
                       : &reinterpret_cast<sockaddr_in6&>(storage).sin6_addr;
  if (family != AF_UNIX) {
    EXPECT_EQ(inet_pton(family, host.c_str(), at), 1);
  }
  return storage;
}

TEST(AddressOf, IsTheHostHoweverItIsWritten) {
  const std::string host = AddressOf(Storage(AF_INET, "10.1.2.3"));
  EXPECT_EQ(AddressOf(Storage(AF_INET6, "::ffff:10.1.2.3")), host);
  EXPECT_NE(AddressOf(Storage(AF_INET, "10.1.2.4")), host);
  const std::string network = AddressOf(Storage(AF_INET6, "2001:db8:1:2::3"));
  EXPECT_EQ(AddressOf(Storage(AF_INET6, "2001:db8:1:2:ffff::4")), network);
  EXPECT_NE(AddressOf(Storage(AF_INET6, "2001:db8:1:3::3")), network);
  EXPECT_NE(AddressOf(Storage(AF_INET6, "::1")), network);
  EXPECT_EQ(AddressOf(Storage(AF_UNIX, "")), "unix");
}

// -------------------------------------------------------------------------- running out of files

TEST_F(FrontDoorTest, WithoutADescriptorPeersAreTurnedAwayAndThenLetInAgain) {
  Open();
  auto no_files = std::make_unique<NoFiles>();
  no_files->FreeOne();
  const Peer first(port_);  // Takes the descriptor itself.
  EXPECT_TRUE(first.connected());
  EXPECT_TRUE(first.IsEnded());
  EXPECT_EQ(guests_.admitted(), 0);
  EXPECT_TRUE(absl::IsResourceExhausted(door_->LetsIn()));
  no_files.reset();
  EXPECT_EQ(Refused("descriptors"), 1);
  const Peer second(port_);
  EXPECT_TRUE(guests_.Await(1));
  EXPECT_TRUE(second.IsOpen());
  EXPECT_TRUE(door_->LetsIn().ok());
}

TEST_F(FrontDoorTest, TheLastDescriptorsAreNotForConnections) {
  Open();
  auto no_files = std::make_unique<NoFiles>();
  for (int i = 0; i < 10; ++i) no_files->FreeOne();
  EXPECT_TRUE(Peer(port_).IsEnded());
  EXPECT_EQ(guests_.admitted(), 0);
  EXPECT_TRUE(absl::IsResourceExhausted(door_->LetsIn()));
  EXPECT_EQ(Refused("descriptors"), 1);
  for (int i = 0; i < 10; ++i) no_files->FreeOne();
  const Peer next(port_);
  EXPECT_TRUE(guests_.Await(1));
  EXPECT_TRUE(next.IsOpen());
}

TEST(WhatFits, IsWhatTheLimitOfFilesLeaves) {
  rlimit before = {};
  getrlimit(RLIMIT_NOFILE, &before);
  const auto fit = [&before](rlim_t files) {
    const rlimit limit = {.rlim_cur = files, .rlim_max = before.rlim_max};
    EXPECT_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
    return WhatFits({.in_all = 10'000, .per_address = 7}).in_all;
  };
  EXPECT_EQ(fit(20'000), 10'000);
  EXPECT_EQ(fit(1'024), 768);
  EXPECT_EQ(fit(256), 128);
  setrlimit(RLIMIT_NOFILE, &before);
}

// --------------------------------------------------------------------------------------- the end

TEST_F(FrontDoorTest, OnceClosedNobodyIsLetInAndConnectionsCanBeEnded) {
  Open();
  const Peer tcp(port_), unix_peer(path());
  ASSERT_TRUE(guests_.Await(2));
  door_->Close();
  EXPECT_FALSE(Peer(port_).connected());
  EXPECT_FALSE(Peer(path()).connected());
  EXPECT_TRUE(tcp.IsOpen() && unix_peer.IsOpen());
  door_->connections().EndWriting();
  EXPECT_TRUE(tcp.IsEnded() && unix_peer.IsEnded());
}

TEST_F(FrontDoorTest, ConnectionsEndAlsoWhenNoMoreFilesCanBeOpened) {
  Open();
  const Peer peer(port_);
  ASSERT_TRUE(guests_.Await(1));
  const NoFiles no_files;
  door_->connections().EndWriting();
  EXPECT_TRUE(peer.IsEnded());
}

TEST_F(FrontDoorTest, ThePeersAreWaitedForButNotLong) {
  Open();
  Peer first(port_), second(port_);
  ASSERT_TRUE(guests_.Await(2));
  door_->connections().EndWriting();
  first.Close();
  const SteadyTime begin = SteadyTime::Now();
  door_->connections().AwaitPeers(absl::Milliseconds(50));
  EXPECT_GE(SteadyTime::Now() - begin, absl::Milliseconds(49));
  second.Close();
  door_->connections().AwaitPeers(absl::Hours(1));
}

TEST_F(FrontDoorTest, ThoseThatHaveSentMostAreEndedFirst) {
  Open();
  const Peer quiet(port_), before(port_), heavy(port_), heavier(port_);
  ASSERT_TRUE(guests_.Await(4));
  Connections& connections = door_->connections();
  before.Send(30'000);
  guests_.AwaitUnread(30'000);
  connections.NoteReceived();
  EXPECT_EQ(connections.EndHeaviest(), 0);  // Nobody has sent much since.
  quiet.Send(1);
  heavy.Send(18'000);
  heavier.Send(20'000);
  guests_.AwaitUnread(30'000 + 1 + 18'000 + 20'000);
  EXPECT_EQ(connections.EndHeaviest(), 1);
  EXPECT_TRUE(heavier.IsEnded());
  EXPECT_TRUE(quiet.IsOpen() && before.IsOpen() && heavy.IsOpen());
  // What it had sent is not read any more.
  guests_.AwaitUnread(30'000 + 1 + 18'000);
  EXPECT_EQ(connections.EndHeaviest(), 0);  // It was noted again.
  heavy.Send(18'000);
  guests_.AwaitUnread(30'000 + 1 + 36'000);
  EXPECT_EQ(connections.EndHeaviest(), 1);
  EXPECT_TRUE(heavy.IsEnded());
  EXPECT_TRUE(quiet.IsOpen() && before.IsOpen());
}

TEST_F(FrontDoorTest, ThoseOfUnixSocketsAreEndedWhereTheOthersHaveSentLittle) {
  Open();
  const Peer tcp(port_), by_unix(path());
  ASSERT_TRUE(guests_.Await(2));
  door_->connections().NoteReceived();
  tcp.Send(20'000);
  guests_.AwaitUnread(20'000);
  EXPECT_EQ(door_->connections().EndHeaviest(), 1);
  EXPECT_TRUE(tcp.IsEnded() && by_unix.IsOpen());
  EXPECT_EQ(door_->connections().EndHeaviest(), 1);
  EXPECT_TRUE(by_unix.IsEnded());
}

TEST_F(FrontDoorTest, ANumberThatGrpcHasClosedIsNotTouched) {
  Open();
  const Peer peer(port_);
  ASSERT_TRUE(guests_.Await(1));
  int pair[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
  const int number = guests_.LetGo();
  ASSERT_EQ(dup2(pair[0], number), number);
  door_->connections().Cut();
  char byte = 'x';
  EXPECT_EQ(send(pair[0], &byte, 1, MSG_NOSIGNAL), 1);
  EXPECT_EQ(read(pair[1], &byte, 1), 1);
  for (const int fd : {pair[0], pair[1], number}) close(fd);
}

}  // namespace
}  // namespace sessiond::front_door

#include "db/connection/names.h"

#include <netdb.h>
#include <sys/socket.h>

#include <algorithm>
#include <memory>
#include <system_error>
#include <thread>
#include <utility>

namespace sessiond::db {
namespace {

// What getaddrinfo says. Blocks.
Addresses Find(const std::string& name) {
  addrinfo hints = {};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_ADDRCONFIG;
  addrinfo* list = nullptr;
  Addresses addresses;
  if (const int error = getaddrinfo(name.c_str(), nullptr, &hints, &list); error != 0) {
    addresses.why = gai_strerror(error);
    return addresses;
  }
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> found(list, freeaddrinfo);
  for (const addrinfo* each = found.get(); each != nullptr; each = each->ai_next) {
    char text[NI_MAXHOST];
    if (getnameinfo(each->ai_addr, each->ai_addrlen, text, sizeof text, nullptr, 0,
                    NI_NUMERICHOST) == 0) {
      addresses.known.emplace_back(text);
    }
  }
  return addresses;
}

struct Name {
  Addresses addresses;
  bool under_way = false;
  int look_ups = 0;  // Finished ones.
};

// Everything under the mutex. Never destroyed: a look-up may outlive main().
struct Names {
  std::mutex mutex;
  std::condition_variable changed;
  std::map<std::string, Name> by_name;
};
Names& All() {
  static Names& names = *new Names;
  return names;
}

void LookUp(const std::string& text) {
  Addresses found = Find(text);
  Names& all = All();
  const std::lock_guard<std::mutex> lock(all.mutex);
  Name& name = all.by_name[text];
  // If a name cannot be looked up now, its last addresses stay.
  if (found.known.empty()) std::swap(found.known, name.addresses.known);
  name.addresses = std::move(found);
  name.under_way = false;
  ++name.look_ups;
  all.changed.notify_all();
}

// REQUIRES: under the mutex.
void Start(const std::string& text, Name* name) {
  try {
    std::thread(LookUp, text).detach();
  } catch (const std::system_error& error) {
    name->addresses.why = error.what();
    name->under_way = false;
    ++name->look_ups;
  }
}

}  // namespace

std::map<std::string, Addresses> LookUpNames(const std::vector<std::string>& names,
                                             SteadyTime enough, SteadyTime deadline) {
  Names& all = All();
  std::unique_lock<std::mutex> lock(all.mutex);
  std::map<std::string, int> before;
  for (const std::string& text : names) {
    Name& name = all.by_name[text];
    before[text] = name.look_ups;
    if (!std::exchange(name.under_way, true)) Start(text, &name);
  }
  const auto all_ended = [&] {
    return std::all_of(before.begin(), before.end(), [&](const auto& one) {
      return all.by_name[one.first].look_ups > one.second;
    });
  };
  const auto one_known = [&] {
    return std::any_of(before.begin(), before.end(), [&](const auto& one) {
      return !all.by_name[one.first].addresses.known.empty();
    });
  };
  WaitAtMost(enough - SteadyTime::Now(), all.changed, lock, all_ended);
  WaitAtMost(deadline - SteadyTime::Now(), all.changed, lock,
             [&] { return all_ended() || one_known(); });
  std::map<std::string, Addresses> found;
  for (const auto& [text, unused] : before) found[text] = all.by_name[text].addresses;
  return found;
}

}  // namespace sessiond::db

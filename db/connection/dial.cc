#include "db/connection/dial.h"

#include <libpq-fe.h>
#include <netdb.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "absl/types/span.h"
#include "db/connection/connection.h"
#include "db/connection/conninfo.h"
#include "db/connection/names.h"
#include "db/connection/sql_error.h"
#include "db/sql/statements.h"

namespace sessiond::db {
namespace {

// How long an address may take, if there is another one to try and no connect_timeout: some round
// trips around the world, for TLS and a password.
constexpr absl::Duration kAddressTime = absl::Seconds(1);

// SQLSTATE of what is not let in, and will not be later.
constexpr char kNotLetIn[] = "28000";

// For idle connections: PostgreSQL's machine is given up when it has not acknowledged anything for
// about three seconds. A connection in use finds out sooner by itself (link.h). The connection
// string overrides these.
constexpr std::pair<const char*, const char*> kNetwork[] = {
    {"keepalives_idle", "2"},
    {"keepalives_interval", "1"},
    {"keepalives_count", "2"},
    {"tcp_user_timeout", "3000"},
};

// Where libpq would connect by the named service and by the environment. A value that it does not
// know keeps it from connecting.
ConnInfo PlaceOfLibpq(const ConnInfo& said) {
  const auto service = said.find("service");
  const char* const keywords[] = {"target_session_attrs",
                                  service == said.end() ? nullptr : "service", nullptr};
  const char* const values[] = {"none", service == said.end() ? nullptr : service->second.c_str(),
                                nullptr};
  const std::unique_ptr<PGconn, decltype(&PQfinish)> nobody(
      PQconnectStartParams(keywords, values, /*expand_dbname=*/0), PQfinish);
  const std::unique_ptr<PQconninfoOption, decltype(&PQconninfoFree)> options(
      PQconninfo(nobody.get()), PQconninfoFree);
  ConnInfo place;
  for (const PQconninfoOption* option = options.get(); option && option->keyword; ++option) {
    const std::string keyword = option->keyword;
    if (option->val != nullptr && (keyword == "host" || keyword == "hostaddr" || keyword == "port"))
      place[keyword] = option->val;
  }
  return place;
}

// What the string gives; for hosts and ports, also libpq's own completion.
ConnInfo SettingsOf(const std::string& dsn, const std::string& application_name) {
  ConnInfo settings = {{"fallback_application_name", application_name}};
  for (const auto& [name, value] : kNetwork) settings[name] = value;
  const ConnInfo said = ParseConnInfo(dsn).value_or(ConnInfo());
  if (!said.contains("host") && !said.contains("hostaddr")) settings.merge(PlaceOfLibpq(said));
  for (const auto& [keyword, value] : said) settings.insert_or_assign(keyword, value);
  return settings;
}

// A host as passed to libpq; an empty part is left to libpq.
struct Place {
  std::string host, hostaddr, port;
};

std::string NameOf(const Place& place) {
  const std::string& host = place.hostaddr.empty() ? place.host : place.hostaddr;
  return absl::StrCat(host.empty() ? "the default host" : host, place.port.empty() ? "" : ":",
                      place.port);
}

// The hosts of the lists, which have equal lengths or are missing; a single port is for all.
std::vector<Place> PlacesOf(const ConnInfo& settings) {
  const auto list = [&settings](const char* keyword) -> std::vector<std::string> {
    const auto found = settings.find(keyword);
    if (found == settings.end()) return {};
    return absl::StrSplit(found->second, ',');
  };
  const auto hosts = list("host"), addresses = list("hostaddr"), ports = list("port");
  std::vector<Place> places(std::max({hosts.size(), addresses.size(), std::size_t{1}}));
  for (std::size_t i = 0; i < places.size(); ++i) {
    if (i < hosts.size()) places[i].host = hosts[i];
    if (i < addresses.size()) places[i].hostaddr = addresses[i];
    if (!ports.empty()) places[i].port = ports[std::min(i, ports.size() - 1)];
  }
  return places;
}

// Whether the place's host is a name that must be looked up; libpq would block for that.
bool IsNamed(const Place& place) {
  if (!place.hostaddr.empty() || place.host.empty()) return false;
  if (place.host[0] == '/' || place.host[0] == '@') return false;
  addrinfo hints = {};
  hints.ai_flags = AI_NUMERICHOST;
  addrinfo* list = nullptr;
  if (getaddrinfo(place.host.c_str(), nullptr, &hints, &list) != 0) return true;
  freeaddrinfo(list);
  return false;
}

// For each place its addresses: those of its host's name, or itself if its host is not a name. If
// no address is known, `whys` says why. A name that is looked up slowly delays no other host.
std::vector<std::vector<Place>> AddressesOf(const std::vector<Place>& places, SteadyTime enough,
                                            SteadyTime deadline, std::vector<std::string>* whys) {
  std::vector<std::string> names;
  for (const Place& place : places) {
    if (IsNamed(place)) names.push_back(place.host);
  }
  auto found = LookUpNames(names, enough, names.size() == places.size() ? deadline : enough);
  std::vector<std::vector<Place>> addresses;
  for (const Place& place : places) {
    const auto name = found.find(place.host);
    const bool named = name != found.end() && place.hostaddr.empty();
    auto& of_place = addresses.emplace_back(named ? 0 : 1, place);
    whys->push_back(named ? name->second.why : "");
    if (!named) continue;
    for (const std::string& address : name->second.known)
      of_place.push_back({place.host, address, place.port});
  }
  return addresses;
}

absl::Duration AddressTime(const ConnInfo& settings, bool nowhere_else_to_go) {
  int seconds = 0;
  if (const auto said = settings.find("connect_timeout");
      said != settings.end() && absl::SimpleAtoi(said->second, &seconds) && seconds > 0) {
    return absl::Seconds(seconds);
  }
  return nowhere_else_to_go ? absl::InfiniteDuration() : kAddressTime;
}

// An attempt to reach one host.
class Attempt {
 public:
  // `alone`: there is no other host, and so nothing to choose. `why_unknown`: why there are no
  // addresses, if there are none.
  Attempt(const ConnInfo& settings, const Place& place, std::vector<Place> addresses,
          const std::string& why_unknown, bool alone)
      : settings_(settings),
        name_(NameOf(place)),
        addresses_(std::move(addresses)),
        ask_(!alone),
        address_time_(AddressTime(settings, alone && addresses_.size() == 1)),
        // Not the same as no answer from any server.
        why_(ConnectionLost(absl::StrCat("connecting: the address of ", place.host,
                                         " is not known: ", why_unknown))) {
    Next();
  }
  ~Attempt() { PQfinish(conn_); }
  Attempt(const Attempt&) = delete;

  bool done() const { return stage_ == Stage::kReached || stage_ == Stage::kFailed; }
  bool reached() const { return stage_ == Stage::kReached; }
  const ServerState& state() const { return state_; }
  pg_conn* Release() {
    PQsetErrorVerbosity(conn_, PQERRORS_DEFAULT);
    return std::exchange(conn_, nullptr);
  }
  const std::string& name() const { return name_; }
  // Why it was not reached.
  const absl::Status& why() const { return why_; }

  // What is waited for, and until when. REQUIRES: not done.
  pollfd Awaited() const {
    const bool reading = stage_ == Stage::kAsking || step_ == PGRES_POLLING_READING;
    return {PQsocket(conn_), static_cast<short>(reading ? POLLIN : POLLOUT), 0};
  }
  SteadyTime until() const { return until_; }

  // It has happened, or not in time.
  void Step() { stage_ == Stage::kConnecting ? Connect() : Ask(); }
  void GiveUpAddress() {
    why_ = TimedOut();
    Next();
  }
  // Tries no more.
  void GiveUp() {
    why_ = TimedOut();
    stage_ = Stage::kFailed;
  }

 private:
  enum class Stage { kConnecting, kAsking, kReached, kFailed };
  absl::Status TimedOut() const {
    return ConnectingTimedOut("connecting: timed out", PQstatus(conn_) > CONNECTION_STARTED);
  }

  // Goes to the next address.
  void Next() {
    PQfinish(std::exchange(conn_, nullptr));
    if (next_ == addresses_.size()) {
      stage_ = Stage::kFailed;
      return;
    }
    const Place& place = addresses_[next_++];
    std::vector<const char*> keywords, values;
    const auto pass = [&](const char* keyword, const char* value) {
      if (*value == '\0') return;
      keywords.push_back(keyword);
      values.push_back(value);
    };
    for (const auto& [keyword, value] : settings_) {
      if (keyword == "host" || keyword == "hostaddr" || keyword == "port") continue;
      if (keyword != "target_session_attrs") pass(keyword.c_str(), value.c_str());
    }
    pass("target_session_attrs", "any");  // Whatever a service file says.
    pass("host", place.host.c_str());
    pass("hostaddr", place.hostaddr.c_str());
    pass("port", place.port.c_str());
    keywords.push_back(nullptr);
    values.push_back(nullptr);
    until_ = SteadyTime::Now() + address_time_;
    stage_ = Stage::kConnecting;
    step_ = PGRES_POLLING_WRITING;
    conn_ = PQconnectStartParams(keywords.data(), values.data(), /*expand_dbname=*/0);
    if (conn_ == nullptr || PQstatus(conn_) == CONNECTION_BAD) return Fail();
    // With its SQLSTATE: reasons for a refused connection must be distinguished.
    PQsetErrorVerbosity(conn_, PQERRORS_VERBOSE);
    // libpq would print them.
    PQsetNoticeReceiver(
        conn_, [](void*, const PGresult*) {}, nullptr);
  }

  void Fail() {
    const char* const said = conn_ == nullptr ? "out of memory" : PQerrorMessage(conn_);
    // Also if nothing listens there: then no packet was lost.
    why_ = RefusesByItself(said)
               ? ConnectionLost(absl::StrCat("connecting: ", absl::StripAsciiWhitespace(said)),
                                kNotLetIn)
               : ConnectionRefused(said);
    Next();
  }

  // Whether libpq itself does not try, or not without a password: a service that is not defined
  // stays so, however long it is waited for. What it tried begins so since version 14.
  bool RefusesByItself(absl::string_view said) const {
    if (conn_ == nullptr || stage_ != Stage::kConnecting || PQlibVersion() < 140000) return false;
    return !absl::StartsWith(said, "connection to server") || PQconnectionNeedsPassword(conn_) == 1;
  }

  void Connect() {
    step_ = PQconnectPoll(conn_);
    if (step_ == PGRES_POLLING_FAILED) return Fail();
    if (step_ != PGRES_POLLING_OK) return;
    stage_ = Stage::kReached;
    if (ask_) Send(/*less=*/false);
  }

  void Send(bool less) {
    asked_less_ = less;
    denied_ = false;
    const char* const question = less ? kAskServerLess.sql : kAskServer.sql;
    // So short that it is sent immediately.
    if (PQsendQueryParams(conn_, question, 0, nullptr, nullptr, nullptr, nullptr,
                          /*resultFormat=*/1) != 1)
      return Fail();
    stage_ = Stage::kAsking;
  }

  void Ask() {
    if (PQconsumeInput(conn_) != 1) return Fail();
    while (PQisBusy(conn_) == 0) {
      PGresult* const raw = PQgetResult(conn_);
      if (raw == nullptr) {
        stage_ = Stage::kReached;
        // A standby can still be recognized.
        if (denied_ && !asked_less_) Send(/*less=*/true);
        return;
      }
      const Result result(raw);
      if (PQresultStatus(raw) == PGRES_TUPLES_OK) state_ = ReadServerState(result);
      const char* sqlstate = PQresultErrorField(raw, PG_DIAG_SQLSTATE);
      denied_ = sqlstate != nullptr && absl::string_view(sqlstate) == "42501";
      if (PQstatus(conn_) == CONNECTION_BAD) return Fail();
    }
  }

  const ConnInfo& settings_;
  const std::string name_;
  const std::vector<Place> addresses_;
  const bool ask_;
  const absl::Duration address_time_;

  std::size_t next_ = 0;
  pg_conn* conn_ = nullptr;
  Stage stage_ = Stage::kConnecting;
  PostgresPollingStatusType step_ = PGRES_POLLING_WRITING;
  SteadyTime until_;
  absl::Status why_;
  bool asked_less_ = false;
  bool denied_ = false;  // By the answer to the question.
  ServerState state_;
};

using Attempts = std::vector<std::unique_ptr<Attempt>>;

// Waits until something happens to one of them, and lets those go on.
void Await(const Attempts& attempts, SteadyTime until) {
  std::vector<pollfd> awaited;
  std::vector<Attempt*> waiting;
  for (const auto& attempt : attempts) {
    if (attempt->done()) continue;
    awaited.push_back(attempt->Awaited());
    waiting.push_back(attempt.get());
    until = std::min(until, attempt->until());
  }
  poll(awaited.data(), awaited.size(), MillisecondsUntil(until));
  const SteadyTime now = SteadyTime::Now();
  for (std::size_t i = 0; i < waiting.size(); ++i) {
    if (awaited[i].revents != 0) {
      waiting[i]->Step();
    } else if (now >= waiting[i]->until()) {
      waiting[i]->GiveUpAddress();
    }
  }
}

// The SQLSTATE of the first server that answered; in the text, what happened with each.
absl::Status WhyNone(const Attempts& attempts) {
  if (attempts.size() == 1) return attempts.front()->why();
  std::string sqlstate = "08001";
  std::vector<std::string> whys;
  for (const auto& attempt : attempts) {
    const std::string said = SqlStateOf(attempt->why());
    if (sqlstate == "08001" || (sqlstate == "08006" && said != "08001")) sqlstate = said;
    const std::string trouble = TroubleOf(attempt->why());
    whys.push_back(absl::StrCat(attempt->name(), ": ", absl::StripPrefix(trouble, "connecting: ")));
  }
  const std::string why = absl::StrCat("connecting: ", absl::StrJoin(whys, "; "));
  if (sqlstate != "08001") return ConnectionLost(why, sqlstate);
  return ConnectingTimedOut(why,
                            std::any_of(attempts.begin(), attempts.end(),
                                        [](const auto& each) { return WasAccepted(each->why()); }));
}

// Whether one that was reached is a primary that may be chosen. With `newer`, its timeline must be
// newer than all seen before: it has just been promoted, and there is nothing to wait for.
bool FoundPrimary(const Attempts& attempts, const Seen& seen, bool newer) {
  return std::any_of(attempts.begin(), attempts.end(), [&](const auto& attempt) {
    return attempt->reached() && Judge(attempt->state(), seen, /*writes=*/true) == Verdict::kFit &&
           (!newer || (seen.timeline != 0 && attempt->state().timeline > seen.timeline));
  });
}

}  // namespace

ServerState ReadServerState(const Result& answer) {
  ServerState state{.in_recovery = answer.Bool(0, 0), .read_only = answer.Bool(0, 1)};
  if (!answer.IsNull(0, 2)) state.system_identifier = answer.Int8(0, 2);
  if (!answer.IsNull(0, 3)) state.timeline = answer.Int4(0, 3);
  return state;
}

bool NamesSeveralHosts(const std::string& dsn) { return PlacesOf(SettingsOf(dsn, "")).size() > 1; }

absl::StatusOr<pg_conn*> Dial(const std::string& dsn, const std::string& application_name,
                              const Seen& seen, SteadyTime deadline) {
  const ConnInfo settings = SettingsOf(dsn, application_name);
  const std::vector<Place> places = PlacesOf(settings);
  // How long hosts with known addresses wait for those whose names are being looked up, and how
  // long a primary that was found waits for a newer one. The rest of the deadline is for what
  // follows.
  const auto some_time = [deadline](SteadyTime begin) {
    return begin + std::min(kAddressTime, (deadline - begin) / 2);
  };
  std::vector<std::string> whys;
  const auto addresses = AddressesOf(places, some_time(SteadyTime::Now()), deadline, &whys);
  Attempts attempts;
  for (std::size_t i = 0; i < places.size(); ++i) {
    attempts.push_back(
        std::make_unique<Attempt>(settings, places[i], addresses[i], whys[i], places.size() == 1));
  }

  const SteadyTime enough = some_time(SteadyTime::Now());
  const auto done = [](const auto& attempt) { return attempt->done(); };
  while (!std::all_of(attempts.begin(), attempts.end(), done) &&
         !FoundPrimary(attempts, seen, /*newer=*/true)) {
    const bool found = FoundPrimary(attempts, seen, /*newer=*/false);
    const SteadyTime until = found ? enough : deadline;
    if (SteadyTime::Now() >= until) break;
    Await(attempts, until);
  }

  std::vector<Attempt*> reached;
  std::vector<ServerState> states;
  for (const auto& attempt : attempts) {
    if (!attempt->done()) attempt->GiveUp();
    if (!attempt->reached()) continue;
    reached.push_back(attempt.get());
    states.push_back(attempt->state());
  }
  if (!reached.empty()) return reached[Choose(states, seen)]->Release();
  return WhyNone(attempts);
}

}  // namespace sessiond::db

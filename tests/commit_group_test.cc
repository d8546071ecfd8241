// Groups without a database, as scripts (tests/commit_groups/*.txt): commands, a line of dashes,
// and what comes of them. With SESSIOND_UPDATE_GOLDEN=1 the scripts' second halves are written
// anew.
//
//   here: increment a      a daemon's group of commands, one a line
//   increment b request=r2
//   ----
//   optimistic             the modes it runs in, and the round trips that it asks for
//     look up session b
//     write position 1 from 2 by 1, …
//   increment a: counter 3
//
// `here` and `there` are two daemons, each with a cache of its own, on one database, which is a few
// maps. `unheard: …` is committed by `here`, which does not hear of it, and runs again; `unsent: …`
// never gets to the database, and what is done `meanwhile: …`, before it runs again, is done by
// `there`. `clock: back` sets the database's clock an hour back. `a` to `i` are sessions in
// partitions 1 to 9.
#include "db/write/commit_group.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <filesystem>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "db/write/submission.h"
#include "google/protobuf/util/message_differencer.h"
#include "state_machine/refusal.h"
#include "state_machine/timestamps.h"
#include "tests/commands.h"
#include "tests/golden.h"

namespace sessiond::db {
namespace {

struct Item : Submission {
  std::string line;
  void Done() noexcept override {}
};

int16_t PartitionOf(absl::string_view session_id) {
  return static_cast<int16_t>(session_id[0] - 'a' + 1);
}

// What PostgreSQL is to a group, as values.
class FakeDatabase {
 public:
  GroupFinds Find(const GroupLookups& lookups) {
    GroupFinds finds;
    finds.now = Now();
    for (const int16_t partition : lookups.lock ? lookups.partitions : lookups.positions)
      finds.positions.push_back({partition, positions_[partition]});
    for (const SessionKey& key : lookups.sessions) {
      const auto session = sessions_.find(std::string(key.id));
      if (session == sessions_.end()) continue;
      if (key.ix == 0 || lookups.scopes[key.ix - 1]->Has(session->second))
        finds.sessions.push_back({session->second, {}});
    }
    for (const SessionKey& key : lookups.owners) {
      const auto session = sessions_.find(std::string(key.id));
      if (session == sessions_.end()) continue;
      finds.owners.push_back(
          {session->first, session->second.namespace_(), session->second.owner_id()});
    }
    for (const SessionKey& key : lookups.tombstones) {
      if (tombstones_.contains(std::string(key.id)))
        finds.tombstones.push_back({std::string(key.id), Now()});
    }
    for (const auto& key : lookups.requests) {
      if (const auto done = requests_.find(std::string(key.key)); done != requests_.end())
        finds.requests.push_back(
            {key.ix, done->second.fingerprint, done->second.session_id, done->second.answer});
    }
    for (const SessionKey& key : lookups.events) {
      const auto found = events_.find({std::string(key.id), key.sequence});
      if (found == events_.end()) continue;
      const v1::SessionEvent& event = found->second;
      finds.events.push_back({key.ix, event.sequence(), FromProto(event.event_time()),
                              event.caller(), event.request_id()});
    }
    return finds;
  }

  // Whether it was written: all of it, or nothing.
  bool Write(const GroupRows& rows) {
    for (const AdvancedRow& row : rows.advanced) {
      if (positions_[row.partition] != row.position) return false;
    }
    for (const RequestRow& row : rows.requests) {
      if (requests_.contains(std::string(row.request_key))) return false;
    }
    for (const AdvancedRow& row : rows.advanced) positions_[row.partition] += row.events;
    for (const auto* changed : {&rows.created, &rows.updated}) {
      for (const SessionRow& row : *changed) sessions_[row.session->session_id()] = *row.session;
    }
    for (const EventRow& row : rows.events)
      events_[{row.event->session_id(), row.event->sequence()}] = *row.event;
    for (const EndedSession& row : rows.ended) {
      sessions_.erase(row.session.session_id());
      tombstones_.insert(row.session.session_id());
      std::erase_if(requests_, [&](const auto& request) {
        return request.second.session_id == row.session.session_id();
      });
    }
    for (const RequestRow& row : rows.requests) {
      requests_[std::string(row.request_key)] = {
          std::string(row.fingerprint), std::string(row.session_id), std::string(row.answer)};
    }
    return true;
  }

  // Whether these events were written as they are.
  bool Has(const std::vector<v1::SessionEvent>& events) const {
    return std::all_of(events.begin(), events.end(), [this](const v1::SessionEvent& event) {
      const auto found = events_.find({event.session_id(), event.sequence()});
      return found != events_.end() &&
             google::protobuf::util::MessageDifferencer::Equals(found->second, event);
    });
  }

  absl::Time began() const { return began_; }
  void SetBack() { began_ -= absl::Hours(1); }

 private:
  struct Request {
    std::string fingerprint, session_id, answer;
  };
  absl::Time Now() { return began_ + absl::Milliseconds(++reads_); }

  absl::Time began_ = absl::FromUnixSeconds(1'700'000'000);

  int reads_ = 0;
  std::map<int16_t, int64_t> positions_;
  std::map<std::string, v1::Session> sessions_;
  std::set<std::string> tombstones_;
  std::map<std::string, Request> requests_;
  std::map<std::pair<std::string, int32_t>, v1::SessionEvent> events_;
};

std::string Told(const GroupLookups& lookups) {
  std::vector<std::string> parts;
  const auto add = [&parts](absl::string_view what, const std::vector<std::string>& which) {
    if (!which.empty()) parts.push_back(absl::StrCat(what, " ", absl::StrJoin(which, " ")));
  };
  const auto ids = [](const auto& keys) {
    std::vector<std::string> all;
    for (const auto& key : keys) all.emplace_back(key.id);
    return all;
  };
  std::vector<std::string> requests;
  for (const auto& key : lookups.requests) requests.emplace_back(key.key);
  for (std::string& request : requests) request.erase(request.find_last_not_of('.') + 1);
  if (lookups.lock) parts.push_back("lock " + absl::StrJoin(lookups.partitions, " "));
  std::vector<std::string> sessions;
  for (const SessionKey& key : lookups.sessions) {
    sessions.emplace_back(key.id);
    if (key.ix > 0)
      absl::StrAppend(&sessions.back(), " in ", lookups.scopes[key.ix - 1]->Canonical());
  }
  add("session", sessions);
  add("owner of", ids(lookups.owners));
  add("tombstone", ids(lookups.tombstones));
  add("request", requests);
  std::vector<std::string> artifacts;
  for (const NamedKey& key : lookups.artifacts) artifacts.push_back(key.session_id + "/" + key.id);
  add("artifact", artifacts);
  add("event of", ids(lookups.events));
  if (!lookups.positions.empty())
    parts.push_back("position " + absl::StrJoin(lookups.positions, " "));
  return absl::StrJoin(parts, ", ");
}

std::string Told(const GroupRows& rows) {
  std::vector<std::string> parts;
  for (const AdvancedRow& row : rows.advanced) {
    parts.push_back(
        absl::StrCat("position ", row.partition, " from ", row.position, " by ", row.events));
  }
  std::set<std::string> changed;  // In an order of their own.
  for (const SessionRow& row : rows.created) changed.insert("create " + row.session->session_id());
  for (const SessionRow& row : rows.updated) changed.insert("update " + row.session->session_id());
  for (const EndedSession& row : rows.ended) changed.insert("end " + row.session.session_id());
  parts.insert(parts.end(), changed.begin(), changed.end());
  for (const EventRow& row : rows.events) {
    parts.push_back(absl::StrCat("event ", row.event->session_id(), "/", row.event->sequence(), " ",
                                 v1::SessionEvent::Type_Name(row.event->type()), " at ",
                                 row.partition, ":", row.position));
  }
  for (const RequestRow& row : rows.requests) {
    std::string key(row.request_key);
    parts.push_back("request " + key.substr(0, key.find('.')));
  }
  return absl::StrJoin(parts, ", ");
}

std::string Told(const absl::StatusOr<Outcome>& outcome) {
  if (!outcome.ok()) return v1::ErrorReason_Name(ReasonOf(outcome.status()));
  const v1::Session& session = outcome->session;
  if (session.sequence() == 0) return "gone";
  const auto counter = session.counters().find("current_question_number");
  return absl::StrCat(outcome->events.empty() ? "was done before: " : "", "sequence ",
                      session.sequence(), ", counter ",
                      counter == session.counters().end() ? 0 : counter->second);
}

// A daemon's lane.
class Daemon {
 public:
  Daemon(FakeDatabase& database, const WorkflowCatalog& catalog)
      : database_(database), catalog_(catalog), cache_(1 << 20) {
    // Undisturbed for long enough.
    for (int16_t partition = 1; partition <= 9; ++partition) {
      for (int i = 0; i < 9; ++i) cache_.Observe(partition, 0);
    }
    ReadClock();
  }

  void ReadClock() {
    clock_.Forget();
    clock_.Read(database_.began());
  }

  enum class Commit { kHeard, kUnheard, kUnsent };
  void Run(const std::vector<Submission*>& group, Commit commit, std::string* told,
           const std::function<void()>& meanwhile) {
    for (const CommitMode mode : {CommitMode::kOptimistic, CommitMode::kLocked}) {
      absl::StrAppend(told, mode == CommitMode::kOptimistic ? "optimistic\n" : "locked\n");
      CommitGroup run(group, catalog_, cache_, clock_, mode);
      while (const auto lookups = run.Next()) {
        absl::StrAppend(told, "  look up ", Told(*lookups), "\n");
        run.Take(database_.Find(*lookups));
      }
      if (run.decided() == Decided::kInVain) continue;
      if (run.decided() == Decided::kNothingToWrite) return;
      absl::StrAppend(told, "  write ", Told(run.Rows()), "\n");
      const bool written = commit != Commit::kUnsent && database_.Write(run.Rows());
      if (commit != Commit::kHeard) {
        run.LeftInDoubt();
        cache_.Clear();  // As when the connection is lost.
        absl::StrAppend(told, "connection lost\n");
        meanwhile();
        return Run(group, Commit::kHeard, told, {});
      }
      if (written) return run.Committed(database_.began());
      absl::StrAppend(told, "  conflict\n");
    }
  }

 private:
  FakeDatabase& database_;
  const WorkflowCatalog& catalog_;
  LaneCache cache_;
  DatabaseClock clock_;
};

class Script {
 public:
  Script() {
    catalog_.Add(BuiltinWorkflow("interview"));
    catalog_.Add(BuiltinWorkflow("ticket_export"));
  }

  // Runs the commands of one block.
  std::string Run(const std::vector<std::string>& lines) {
    if (lines.front() == "clock: back") {
      database_.SetBack();
      here_.ReadClock();
      there_.ReadClock();
      return "";
    }
    std::deque<Item> items;
    std::vector<Submission*> group, others;
    Daemon* daemon = &here_;
    auto commit = Daemon::Commit::kHeard;
    for (std::string line : lines) {
      std::vector<Submission*>* to = &group;
      if (const auto colon = line.find(": "); colon != std::string::npos) {
        const std::string where = line.substr(0, colon);
        if (where == "there") daemon = &there_;
        if (where == "unheard") commit = Daemon::Commit::kUnheard;
        if (where == "unsent") commit = Daemon::Commit::kUnsent;
        if (where == "meanwhile") to = &others;
        line.erase(0, colon + 2);
      }
      to->push_back(&items.emplace_back());
      Address(line, &items.back());
    }
    std::string told;
    daemon->Run(group, commit, &told, [&] {
      if (others.empty()) return;
      there_.Run(others, Daemon::Commit::kHeard, &told, {});
      absl::StrAppend(&told, "here again\n");
    });
    for (const Item& item : items) {
      const bool stored = !item.outcome.ok() || database_.Has(item.outcome->events);
      absl::StrAppend(&told, item.line, ": ", Told(item.outcome),
                      stored ? "" : ", which is not what is stored", "\n");
    }
    return told;
  }

 private:
  // `increment a request=r1 owner=owner-1`; who has an `owner` sees the sessions of that one only.
  void Address(const std::string& line, Item* item) {
    const std::vector<std::string> words = absl::StrSplit(line, ' ');
    std::map<std::string, std::string> options = {{"request", absl::StrCat("r", ++drawn_)}};
    for (std::size_t i = 2; i < words.size(); ++i)
      options.insert_or_assign(words[i].substr(0, words[i].find('=')),
                               words[i].substr(words[i].find('=') + 1));
    const std::string &verb = words[0], id = words[1];
    if (verb == "create") {
      const std::string workflow =
          options.contains("workflow") ? options["workflow"] : std::string("interview");
      v1::CreateSessionRequest request = NewSession(workflow);
      request.set_session_id(id);
      if (options.contains("owner")) request.mutable_session()->set_owner_id(options["owner"]);
      item->command = Create(catalog_.Newest(workflow), request);
    } else if (verb == "increment") {
      item->command = Increment(id, "current_question_number", 1);
    } else if (verb == "advance") {
      item->command = Advance(id, options["to"]);
    } else if (verb == "start") {
      item->command = StartTask(id, "processing", "run", "processing");
    } else if (verb == "fail") {
      const v1::SessionError error = AnError(v1::SessionError::WARNING);
      item->command = FailTask(id, "run", &error);
    } else if (verb == "pause") {
      item->command = About<v1::PauseSessionRequest>(id);
    } else if (verb == "delete") {
      item->command = Delete(id, /*force=*/true);
    } else if (verb == "erase") {
      v1::EraseOwnerRequest request;
      request.set_owner_id("owner-1");
      item->command.session_id = id;
      item->command.request = request;
    } else if (verb == "link") {
      v1::RecordErrorRequest request;
      request.mutable_error()->set_related_file_id("file");
      item->command = About(id, request);
    } else {
      ADD_FAILURE() << "no verb " << verb;
    }
    item->line = line;
    if (options.contains("owner")) item->command.scope = Scope({"*"}, options["owner"]);
    item->command.request_id = options["request"];
    item->request_key = options["request"];
    item->request_key.resize(16, '.');
    item->command.seed = SeedOf(item->request_key);
    item->fingerprint = absl::StrCat(verb, " ", id);
    item->fingerprint.resize(16, '.');
    item->partition = item->request_partition = PartitionOf(id);
  }

  WorkflowCatalog catalog_;
  FakeDatabase database_;
  Daemon here_{database_, catalog_}, there_{database_, catalog_};
  int drawn_ = 0;
};

std::string RunScript(const std::filesystem::path& path) {
  std::stringstream text;
  text << std::ifstream(path).rdbuf();
  Script script;
  std::string ran;
  for (absl::string_view block : absl::StrSplit(text.str(), "\n\n", absl::SkipEmpty())) {
    std::vector<std::string> comments, commands;
    for (absl::string_view line : absl::StrSplit(block, '\n', absl::SkipEmpty())) {
      if (line == "----") break;
      (absl::StartsWith(line, "#") ? comments : commands).emplace_back(line);
    }
    for (const std::string& line : comments) absl::StrAppend(&ran, line, "\n");
    if (!commands.empty()) {
      absl::StrAppend(&ran, absl::StrJoin(commands, "\n"), "\n----\n", script.Run(commands));
    }
    absl::StrAppend(&ran, "\n");
  }
  ran.pop_back();
  return ran;
}

TEST(CommitGroup, RunsAsTheScriptsSay) {
  int scripts = 0;
  const auto folder = std::filesystem::path(__FILE__).parent_path() / "commit_groups";
  for (const auto& file : std::filesystem::directory_iterator(folder)) {
    ++scripts;
    const std::string name = absl::StrCat("tests/commit_groups/", file.path().filename().string());
    EXPECT_TRUE(MatchesGolden(name, RunScript(file.path())));
  }
  EXPECT_GE(scripts, 5) << folder;
}

}  // namespace
}  // namespace sessiond::db

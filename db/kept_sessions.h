// Sessions that are kept, as Protobuf, because they may be wanted again soon; those not wanted for
// longest go first. Whether one is still what the database has is for whoever keeps it to know: by
// its partition's position (lane_memory.h), or by its own sequence (read_lane.h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <list>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "sessiond/v1/session.pb.h"

namespace sessiond::db {

// One thread.
class KeptSessions {
 public:
  explicit KeptSessions(std::size_t bytes_max) : bytes_max_(bytes_max) {}
  KeptSessions(const KeptSessions&) = delete;
  KeptSessions& operator=(const KeptSessions&) = delete;

  // Keeps the session in place of what was kept of it; `generation` is the keeper's. Not kept is
  // one whose task runs: its heartbeats change it without an event, so that neither its partition's
  // position nor its sequence tells.
  void Keep(const v1::Session& session, int64_t generation = 0);
  void Drop(absl::string_view session_id);
  void Clear();
  // False: there is none, or only of another generation.
  bool Find(absl::string_view session_id, v1::Session* session, int64_t generation = 0);

 private:
  struct Kept {
    std::string session_id, bytes;
    int64_t generation;
    // With what the list and the index need for it, more or less.
    std::size_t size() const { return sizeof(Kept) + 100 + session_id.size() + bytes.size(); }
  };
  using List = std::list<Kept>;

  void Erase(List::iterator kept);

  const std::size_t bytes_max_;
  // The last one wanted first.
  List kept_;
  // The keys are in the list.
  absl::flat_hash_map<absl::string_view, List::iterator> by_id_;
  std::size_t bytes_ = 0;
};

}  // namespace sessiond::db

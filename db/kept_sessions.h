// Sessions that are kept, as Protobuf, because they may be wanted again soon; those not wanted for
// longest go first. Newcomers have a fifth of the room, more only as long as nobody else needs it,
// until they are wanted again: a hundred thousand creations do not push out what is in use (2Q,
// Johnson and Shasha 1994, without its list of those pushed out). Whether a session is still what
// the database has is for whoever keeps it to know: by its partition's position (lane_memory.h), or
// by its own sequence (read_lane.h).
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
  bool Has(absl::string_view session_id, int64_t generation = 0) const;
  // False: there is none, or only of another generation.
  bool Find(absl::string_view session_id, v1::Session* session, int64_t generation = 0);

 private:
  struct Kept {
    std::string session_id, bytes;
    int64_t generation;
    // With what the list and the index need for it, more or less.
    std::size_t size() const { return sizeof(Kept) + 100 + session_id.size() + bytes.size(); }
  };
  // The last one wanted first.
  struct Queue {
    std::list<Kept> kept;
    std::size_t bytes = 0;
  };
  struct Place {
    Queue* queue;
    std::list<Kept>::iterator kept;
  };

  void Erase(Place place);
  void MakeRoom(std::size_t size);

  const std::size_t bytes_max_;
  Queue newcomers_, regulars_;
  // The keys are in the queues.
  absl::flat_hash_map<absl::string_view, Place> by_id_;
};

}  // namespace sessiond::db

// The recorder of one decision. Each Record is one fact: an event with the fields that all events
// have (sequence, time, status, trigger, who and why). Evolve applies it to the session. There is
// no other way to change the session here.
#pragma once

#include <string>
#include <utility>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "state_machine/decide.h"
#include "state_machine/struct_json.h"
#include "state_machine/workflow.h"

namespace sessiond {

// What one event changes: state and stage stay the same when they are not given; everything else is
// by path (see FactAt), null for what is removed.
struct Changes {
  v1::Session::State state = v1::Session::STATE_UNSPECIFIED;
  std::string stage;
  Struct fields;

  Changes& Set(absl::string_view path, Value fact) & {
    (*fields.mutable_fields())[std::string(path)] = std::move(fact);
    return *this;
  }
  Changes&& Set(absl::string_view path, Value fact) && {
    return std::move(Set(path, std::move(fact)));
  }
};

class EventRecorder {
 public:
  // Starts from the aggregate as it is; without a session, for a creation. REQUIRES: `workflow` and
  // `command` outlive the recorder.
  EventRecorder(const Workflow& workflow, const Aggregate& aggregate, const Command& command,
                absl::Time now);

  // With all facts recorded so far.
  const v1::Session& session() const { return decision_.session; }
  // Never before the session's last event: clocks may step back, the audit may not.
  absl::Time now() const { return now_; }
  // On whose behalf: the request's actor, else the caller.
  const std::string& actor() const { return actor_; }
  // A lower-case UUID, a new one at each call; the same ones for the same command.
  std::string DrawId();

  void Record(v1::SessionEvent::Type type, Changes changes);
  // Records the last event: only it and a tombstone are left.
  void RecordEnd(Decision::End end);
  // The worker of the current task sent a heartbeat; this is not a fact about the session.
  void RecordHeartbeat();

  // The rows below the session, each with its changes for the event. What is added gets the
  // session's id and the time of its creation, and an id if it brings none. Blocking errors are
  // also counted.
  void Add(v1::SessionArtifact artifact, absl::Time created, Changes& changes);
  void Add(v1::SessionError error, absl::Time created, Changes& changes);
  void Resolve(v1::SessionError error, const std::string& resolution, Changes& changes);
  void Delete(const std::string& artifact_id, Changes& changes);
  // Events do not contain the contents of messages.
  void Add(v1::SessionMessage message, int32_t sequence, absl::Time created);

  Decision Close() && { return std::move(decision_); }

 private:
  void AddBlocking(const std::string& error_id, Changes& changes);
  void RemoveBlocking(const std::string& error_id, Changes& changes);

  const Workflow& workflow_;
  const Command& command_;
  absl::Time now_;
  std::string actor_, reason_;
  bool by_user_ = false;
  uint64_t draws_ = 0;
  Decision decision_;
};

}  // namespace sessiond

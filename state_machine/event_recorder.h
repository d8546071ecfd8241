// The recorder of one decision: each Record is one fact, an event with all that events have in
// common (sequence, time, status, trigger, who and why), and what Evolve makes of it is the
// session. There is no other way to change it here.
#pragma once

#include <string>
#include <utility>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "state_machine/decide.h"
#include "state_machine/struct_json.h"
#include "state_machine/workflow.h"

namespace sessiond {

// What one event changes: state and stage stay as they are where they are not given; all else is
// by path (see FactAt), null for what goes.
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
  // Opens on the aggregate as it is; without a session, for a birth. REQUIRES: `workflow` and
  // `command` outlive the recorder.
  EventRecorder(const Workflow& workflow, const Aggregate& aggregate, const Command& command,
                absl::Time now);

  // As what was recorded so far leaves it.
  const v1::Session& session() const { return decision_.session; }
  // Never before the session's last event: clocks may step back; the audit does not.
  absl::Time now() const { return now_; }
  // On whose behalf: the request's actor, else the caller.
  const std::string& actor() const { return actor_; }
  // A lower-case UUID, another at each call; the same for the same command.
  std::string DrawId();

  void Record(v1::SessionEvent::Type type, Changes changes);
  // Records the last event: nothing but it and a tombstone is left.
  void RecordEnd(Decision::End end);
  // The worker of the current task was heard of; no fact about the session.
  void RecordHeartbeat();

  // The rows below the session, each with the changes that tell of it in its event. Of errors the
  // blocking ones are counted.
  void Add(v1::SessionArtifact artifact, Changes& changes);
  void Add(v1::SessionError error, Changes& changes);
  void Resolve(v1::SessionError error, const std::string& resolution, Changes& changes);
  void Delete(const std::string& artifact_id, Changes& changes);
  // No event tells what messages say.
  void Add(NewMessage message) { decision_.messages.push_back(std::move(message)); }

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

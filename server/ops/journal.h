// What operators read and count of the calls: transitions, refusals, malformed ids. Operators
// search for these sentences, so they do not change.
#pragma once

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "db/write/submission.h"
#include "server/access/principal.h"
#include "server/ops/metrics.h"

namespace sessiond {

class Journal {
 public:
  explicit Journal(Metrics& metrics) : metrics_(metrics) {}

  // A change was committed.
  void Changed(const db::Outcome& outcome);
  // An owner listed the sessions that can be recovered.
  void RecoverableListed(absl::string_view owner_id, int sessions);
  // A batch of an erasure, or of a purge, is done.
  void Erased(int sessions, bool done);
  void Purged(int sessions, int held);
  // A call ended with a status other than OK. `caller`: null when it is not known who called.
  void Refused(absl::string_view method, const access::Principal* caller,
               const absl::Status& status);

 private:
  void LogEvent(const v1::SessionEvent& event, const db::Outcome& outcome);
  void Moved(absl::string_view kind, const v1::Session& session, absl::string_view from,
             absl::string_view to);

  Metrics& metrics_;
};

}  // namespace sessiond

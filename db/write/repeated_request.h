// A request that is repeated is not carried out again: it is answered with what it named then, as
// that stands now. What it named is kept with its key, in session_requests.answer.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "db/write/named_ids.h"
#include "db/write/submission.h"
#include "state_machine/decide.h"

namespace sessiond::db {

// What was done for a request before.
struct DoneRequest {
  std::string fingerprint, session_id, answer;
};

// What to keep of a request, by which its repetitions are answered.
std::string WriteAnswer(const Request& request, const Outcome& outcome);

// What has to be looked up to answer a repetition.
NamedIds NamedByAnswer(const Request& request, const std::string& answer);

// `aggregate` is that of the session that the request was about, and `outcome` has the session as
// it is presented at `now`. REQUEST_ID_REUSED: it was another request. Else why there is no answer
// any more: the session is gone, or its run was replaced.
absl::StatusOr<Outcome> AnswerRepetition(const Submission& submission, const DoneRequest& request,
                                         const Aggregate& aggregate, absl::Time now,
                                         Outcome outcome);

}  // namespace sessiond::db

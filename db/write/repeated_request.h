// A repeated request is not carried out again: it is answered with what it named the first time, in
// its current state. What it named is stored with its key, in session_requests.answer.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "db/write/named_ids.h"
#include "db/write/submission.h"
#include "state_machine/decide.h"

namespace sessiond::db {

// A request that was done before.
struct DoneRequest {
  std::string fingerprint, session_id, answer;
};

// What to store of a request, to answer its repetitions.
std::string WriteAnswer(const Request& request, const Outcome& outcome);

// What has to be looked up to answer a repetition.
NamedIds NamedByAnswer(const Request& request, const std::string& answer);

// `aggregate` is that of the request's session, and `outcome` has the session as presented at
// `now`. REQUEST_ID_REUSED: it was another request. Other errors say why there is no answer any
// more: the session is gone, or its run was replaced.
absl::StatusOr<Outcome> AnswerRepetition(const Submission& submission, const DoneRequest& request,
                                         const Aggregate& aggregate, absl::Time now,
                                         Outcome outcome);

}  // namespace sessiond::db

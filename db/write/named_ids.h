// What a request names by id below its session, and what a repetition of it will have to name.
#pragma once

#include <string>
#include <vector>

#include "db/write/submission.h"
#include "state_machine/decide.h"

namespace sessiond::db {

// Ids that have to be looked up before the command can be decided.
struct NamedIds {
  std::vector<std::string> errors, artifacts;
  // Ids that the caller brings, and that must be new.
  std::vector<std::string> messages, tasks;
};
NamedIds NamedBy(const Command& command);

// The kind of thing that a request answers with, beside the session.
enum class Answers { kSession, kTask, kError, kArtifacts, kMessages };
Answers AnswersWith(const Request& request);

// What a request named, as session_requests.answer keeps it, and back.
std::string WriteAnswer(Answers kind, const Outcome& outcome);
std::vector<std::string> AnswerIds(const std::string& answer);
void ReadMessagesAnswer(const std::string& answer, Outcome* outcome);

}  // namespace sessiond::db

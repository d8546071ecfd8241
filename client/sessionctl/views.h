// How each kind of resource is shown to people: as a row in a list, and as a card.
#pragma once

#include <string>
#include <vector>

#include "client/sessionctl/output.h"
#include "sessiond/v1/artifact.pb.h"
#include "sessiond/v1/error.pb.h"
#include "sessiond/v1/message.pb.h"
#include "sessiond/v1/session_event.pb.h"
#include "sessiond/v1/session_service.pb.h"
#include "sessiond/v1/task.pb.h"
#include "sessiond/v1/workflow.pb.h"

namespace sessiond::ctl {

std::vector<Column> SessionColumns();
Row SessionRow(const v1::Session& session);
std::vector<Column> EventColumns();
std::vector<Row> EventRows(const v1::SessionEvent& event);
std::vector<Column> LookupColumns();
Row LookupRow(const v1::SessionLookup& lookup);

// Prints one session; as a table, a card with everything, and below it the files and open errors of
// the FULL view.
void PrintSession(Format format, const v1::Session& session);
void PrintCounts(Format format, absl::string_view group_by,
                 const v1::CountSessionsResponse& counts);

std::vector<Column> TaskColumns();
Row TaskRow(const v1::SessionTask& task);
Card TaskCard(const v1::SessionTask& task);
// A task in a few words: `export RUNNING for 5m`.
std::string TaskInBrief(const v1::SessionTask& task);
const char* TaskColor(const v1::SessionTask& task);

// Errors of one session, or of several: then the session comes first.
enum class ErrorsOf { kOneSession, kManySessions };
std::vector<Column> ErrorColumns(ErrorsOf of);
Row ErrorRow(const v1::SessionError& error, ErrorsOf of);
Card ErrorCard(const v1::SessionError& error);

std::vector<Column> MessageColumns();
Row MessageRow(const v1::SessionMessage& message);

std::vector<Column> ArtifactColumns();
Row ArtifactRow(const v1::SessionArtifact& artifact);

std::vector<Column> WorkflowColumns();
Row WorkflowRow(const v1::Workflow& workflow);
Card WorkflowCard(const v1::Workflow& workflow);

}  // namespace sessiond::ctl

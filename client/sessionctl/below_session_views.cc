// The views of tasks, errors, messages, artifacts and workflows.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/sessionctl/views.h"

namespace sessiond::ctl {
namespace {

std::string StatusName(const v1::SessionTask& task) {
  return v1::SessionTask::Status_Name(task.status());
}

std::string Failures(const v1::SessionTask& task) {
  return absl::StrCat(task.retry_count(), " of ", task.max_retries());
}

const char* SeverityColor(v1::SessionError::Severity severity) {
  return severity == v1::SessionError::BLOCKING  ? color::kRed
         : severity == v1::SessionError::WARNING ? color::kYellow
                                                 : "";
}

std::string RelatedTo(const v1::SessionError& error) {
  std::vector<std::string> related;
  if (!error.related_file_id().empty()) related.push_back("file " + error.related_file_id());
  if (!error.related_ticket_id().empty()) related.push_back("ticket " + error.related_ticket_id());
  return absl::StrJoin(related, ", ");
}

std::string DurationText(const google::protobuf::Duration& duration) {
  return ShortDuration(DurationOf(duration));
}

// When a status holds, in words.
std::string ConditionOf(const v1::StatusRule& rule) {
  std::vector<std::string> conditions;
  if (rule.completed()) conditions.push_back("completed");
  if (rule.failed()) conditions.push_back("failed");
  if (!rule.states().empty()) {
    conditions.push_back(absl::StrJoin(rule.states(), " or ", [](std::string* out, int state) {
      out->append(v1::Session::State_Name(static_cast<v1::Session::State>(state)));
    }));
  }
  if (!rule.stages().empty()) {
    conditions.push_back(absl::StrCat("stage ", absl::StrJoin(rule.stages(), " or ")));
  }
  if (!rule.running_tasks().empty()) {
    conditions.push_back(
        absl::StrCat("task ", absl::StrJoin(rule.running_tasks(), " or "), " running"));
  }
  return conditions.empty() ? "otherwise" : absl::StrJoin(conditions, ", ");
}

std::string FieldText(const v1::FieldSpec& field) {
  std::string text = v1::FieldSpec::Type_Name(field.type());
  if (!field.allowed_values().empty()) {
    absl::StrAppend(&text, ": ", absl::StrJoin(field.allowed_values(), ", "));
  } else if (field.type() == v1::FieldSpec::STRING) {
    absl::StrAppend(&text, ", up to ", field.max_length() == 0 ? 4096 : field.max_length(),
                    " bytes");
  }
  return text;
}

// One line per item, the label before the first.
template <class Items, class ToText>
void AddLines(Card& card, absl::string_view label, const Items& items, ToText to_text) {
  for (const auto& item : items) {
    card.Add(label, to_text(item));
    label = "";
  }
}

}  // namespace

// ---- tasks

const char* TaskColor(const v1::SessionTask& task) {
  switch (task.status()) {
    case v1::SessionTask::RUNNING:
      return color::kGreen;
    case v1::SessionTask::FAILED:
      return color::kRed;
    case v1::SessionTask::CANCELLED:
      return color::kDim;
    default:
      return "";
  }
}

std::string TaskInBrief(const v1::SessionTask& task) {
  const bool running = task.status() == v1::SessionTask::RUNNING;
  return absl::StrCat(
      task.task_type(), " ", StatusName(task), running ? " for " : " after ",
      DurationText(task.duration()),
      task.retry_count() == 0 ? "" : absl::StrCat(", failed ", Failures(task), " times"));
}

std::vector<Column> TaskColumns() {
  return {{.name = "SESSION"},
          {.name = "TASK", .fit = Column::kLeftOut},
          {.name = "TYPE", .fit = Column::kCut, .goes = 4},
          {.name = "STATUS"},
          {.name = "FAILED", .right = true, .goes = 2},
          {.name = "RETRYABLE", .fit = Column::kLeftOut},
          {.name = "TOOK", .right = true, .goes = 1},
          {.name = "AGE", .right = true, .goes = 3}};
}

Row TaskRow(const v1::SessionTask& task) {
  return {{task.session_id()},
          {task.task_id()},
          {task.task_type()},
          {StatusName(task), TaskColor(task)},
          {Failures(task)},
          {task.retryable() ? "yes" : ""},
          {DurationText(task.duration())},
          {Age(task.start_time())}};
}

Card TaskCard(const v1::SessionTask& task) {
  Card card;
  card.Add("Task", task.task_id(), color::kBold);
  card.Add("Session", task.session_id());
  card.Add("Type", task.task_type());
  card.Add("Status", StatusName(task), TaskColor(task));
  card.Add("Started", Past(task.start_time()));
  if (task.has_complete_time()) card.Add("Completed", Past(task.complete_time()));
  if (task.has_fail_time()) card.Add("Failed", Past(task.fail_time()), color::kRed);
  if (task.has_cancel_time()) card.Add("Cancelled", Past(task.cancel_time()));
  card.Add("Duration", DurationText(task.duration()));
  card.Add("Failures", absl::StrCat(Failures(task), task.retryable() ? ", can be retried" : ""));
  if (task.has_heartbeat_timeout()) {
    card.Add("Heartbeat", absl::StrCat("at least every ", DurationText(task.heartbeat_timeout()),
                                       ", last ", Past(task.heartbeat_time())));
  }
  card.AddStruct("Progress", task.progress());
  card.AddStruct("Result", task.result());
  card.AddStruct("Failure", task.failure_context());
  return card;
}

// ---- errors

std::vector<Column> ErrorColumns(ErrorsOf of) {
  std::vector<Column> columns = {{.name = "ERROR"},
                                 {.name = "SEVERITY"},
                                 {.name = "CATEGORY", .fit = Column::kCut, .goes = 3},
                                 {.name = "STAGE", .fit = Column::kLeftOut},
                                 {.name = "CODE", .fit = Column::kLeftOut},
                                 {.name = "MESSAGE", .fit = Column::kCut},
                                 {.name = "OPEN", .goes = 2},
                                 {.name = "AGE", .right = true, .goes = 1}};
  if (of == ErrorsOf::kManySessions) {
    columns[0].fit = Column::kLeftOut;
    columns.insert(columns.begin(), {.name = "SESSION"});
  }
  return columns;
}

Row ErrorRow(const v1::SessionError& error, ErrorsOf of) {
  const bool open = !error.has_resolve_time();
  Row row = {{error.error_id()},
             {v1::SessionError::Severity_Name(error.severity()),
              open ? SeverityColor(error.severity()) : color::kDim},
             {v1::SessionError::Category_Name(error.category())},
             {error.operation_stage()},
             {error.error_code()},
             {OneLine(error.user_message())},
             {open ? "yes" : "no"},
             {Age(error.create_time())}};
  if (of == ErrorsOf::kManySessions) row.insert(row.begin(), {error.session_id()});
  return row;
}

Card ErrorCard(const v1::SessionError& error) {
  Card card;
  card.Add("Error", error.error_id(), color::kBold);
  card.Add("Session", error.session_id());
  card.Add("Message", OneLine(error.user_message()));
  card.Add("Severity", v1::SessionError::Severity_Name(error.severity()),
           error.has_resolve_time() ? "" : SeverityColor(error.severity()));
  card.Add("Category", v1::SessionError::Category_Name(error.category()));
  card.Add("Stage", error.operation_stage());
  card.Add("About", RelatedTo(error));
  card.Add("Code", error.error_code());
  int step = 0;
  AddLines(card, "To do", error.recovery_actions(), [&step](const std::string& action) {
    return absl::StrCat(++step, ". ", OneLine(action));
  });
  card.AddStruct("Details", error.technical_details());
  card.Add("Recorded", Past(error.create_time()));
  if (error.has_resolve_time()) {
    card.Add("Resolved",
             absl::StrCat(Past(error.resolve_time()), " by ", error.resolver(),
                          error.resolution().empty() ? "" : ": ", OneLine(error.resolution())),
             color::kGreen);
  }
  return card;
}

// ---- messages and artifacts

std::vector<Column> MessageColumns() {
  return {{.name = "SEQ", .right = true},
          {.name = "TIME", .fit = Column::kLeftOut},
          {.name = "TYPE"},
          {.name = "AUTHOR", .fit = Column::kCut, .goes = 1},
          {.name = "CONTENT", .fit = Column::kCut}};
}

Row MessageRow(const v1::SessionMessage& message) {
  return {{absl::StrCat(message.sequence())},
          {ShortTime(message.create_time())},
          {message.question_type().empty()
               ? message.type()
               : absl::StrCat(message.type(), " (", message.question_type(), ")")},
          {message.author()},
          {OneLine(message.content())}};
}

std::vector<Column> ArtifactColumns() {
  return {{.name = "ARTIFACT"},
          {.name = "KIND"},
          {.name = "NAME", .fit = Column::kCut},
          {.name = "URI", .fit = Column::kCut, .goes = 2},
          {.name = "AGE", .right = true, .goes = 1}};
}

Row ArtifactRow(const v1::SessionArtifact& artifact) {
  return {{artifact.artifact_id()},
          {v1::SessionArtifact::Kind_Name(artifact.kind())},
          {OneLine(artifact.display_name())},
          {artifact.uri()},
          {Age(artifact.create_time())}};
}

// ---- workflows

std::vector<Column> WorkflowColumns() {
  return {{.name = "WORKFLOW"},
          {.name = "REVISION", .right = true},
          {.name = "NAME", .fit = Column::kCut, .goes = 3},
          {.name = "STAGES", .fit = Column::kCut, .goes = 2},
          {.name = "TASKS", .fit = Column::kCut, .goes = 1},
          {.name = "MESSAGES", .fit = Column::kLeftOut}};
}

Row WorkflowRow(const v1::Workflow& workflow) {
  const auto name = [](std::string* out, const auto& item) { out->append(item.name()); };
  return {{workflow.name()},
          {absl::StrCat(workflow.revision())},
          {OneLine(workflow.display_name())},
          {absl::StrJoin(workflow.stages(), " → ", name)},
          {absl::StrJoin(workflow.task_types(), ", ", name)},
          {absl::StrJoin(workflow.message_types(), ", ", name)}};
}

Card WorkflowCard(const v1::Workflow& workflow) {
  Card card;
  card.Add("Workflow", absl::StrCat(workflow.name(), ", revision ", workflow.revision()),
           color::kBold);
  card.Add("Name", OneLine(workflow.display_name()));
  card.Add("Ids", workflow.id_format() == v1::Workflow::UUID ? "UUID" : "exec_DATE_TIME_HEX");
  std::vector<std::string> owner;
  if (workflow.owner_id_required()) owner.push_back("owner_id");
  if (workflow.owner_display_name_required()) owner.push_back("owner_display_name");
  card.Add("Requires", absl::StrJoin(owner, ", "));
  AddLines(card, "Stages", workflow.stages(), [](const v1::Stage& stage) {
    return absl::StrCat(stage.name(), stage.required_fields().empty() ? "" : ", requires ",
                        absl::StrJoin(stage.required_fields(), ", "));
  });
  AddLines(card, "Statuses", workflow.statuses(), [](const v1::StatusRule& rule) {
    return absl::StrCat(rule.name(), ": ", ConditionOf(rule));
  });
  AddLines(card, "Context", workflow.fields(), [](const v1::FieldSpec& field) {
    return absl::StrCat(field.name(), ": ", FieldText(field));
  });
  card.Add("Counters", absl::StrJoin(workflow.counters(), ", "));
  card.Add("References", absl::StrJoin(workflow.references(), ", "));
  AddLines(card, "Tasks", workflow.task_types(), [](const v1::TaskType& task) {
    return absl::StrCat(task.name(), " in ", absl::StrJoin(task.stages(), ", "));
  });
  if (!workflow.task_types().empty()) {
    card.Add("Retries",
             absl::StrCat("a task may fail ",
                          workflow.max_retries() == 0 ? 3 : workflow.max_retries(), " times"));
  }
  if (workflow.blocking_errors_block_advance()) card.Add("Errors", "blocking ones block advancing");
  AddLines(card, "Messages", workflow.message_types(), [](const v1::MessageType& message) {
    return absl::StrCat(message.name(), message.subtypes().empty() ? "" : ": ",
                        absl::StrJoin(message.subtypes(), ", "));
  });
  const v1::Retention& retention = workflow.retention();
  if (workflow.has_recovery_window()) {
    card.Add("Recoverable",
             absl::StrCat("for ", DurationText(workflow.recovery_window()), " from creation"));
  }
  if (retention.has_after_end()) {
    card.Add("Purged", absl::StrCat(DurationText(retention.after_end()), " after its end"));
  }
  if (retention.has_after_delete()) {
    card.Add(retention.has_after_end() ? "" : "Purged",
             absl::StrCat(DurationText(retention.after_delete()), " after its deletion"));
  }
  if (retention.has_abandon_after()) {
    card.Add("Stopped", absl::StrCat(DurationText(retention.abandon_after()),
                                     " after its recovery window, when abandoned"));
  }
  return card;
}

}  // namespace sessiond::ctl

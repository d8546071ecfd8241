#include "client/sessionctl/errors.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <numeric>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "client/sessionctl/contexts.h"
#include "client/sessionctl/printable.h"
#include "google/rpc/status.pb.h"

namespace sessiond::ctl {
namespace {

using Metadata = std::map<std::string, std::string>;

absl::string_view Get(const Metadata& metadata, const std::string& key) {
  const auto it = metadata.find(key);
  return it == metadata.end() ? absl::string_view() : absl::string_view(it->second);
}

std::vector<std::string> ListOf(absl::string_view comma_separated) {
  std::vector<std::string> items;
  for (absl::string_view item : absl::StrSplit(comma_separated, ',', absl::SkipWhitespace())) {
    items.emplace_back(absl::StripAsciiWhitespace(item));
  }
  return items;
}

// A placeholder for an unknown id; commands that contain it are not proposed.
constexpr char kUnknownId[] = "\1";

std::string IdOf(const Run& run) {
  return run.session_id.empty() ? kUnknownId : ShellWord(run.session_id);
}

// A command line to type, for the same daemon, reached in the same way.
std::string Typed(const Run& run, absl::string_view command) {
  std::string line = absl::StrCat("sessionctl ", command);
  if (run.typed.context.has_value()) {
    absl::StrAppend(&line, " --context ", ShellWord(*run.typed.context));
  }
  for (const SettingKind& kind : kSettings) {
    const auto typed = run.typed.values.find(kind.name);
    if (typed == run.typed.values.end()) continue;
    absl::StrAppend(&line, " --", kind.name);
    if (*kind.value_name != '\0') absl::StrAppend(&line, " ", ShellWord(typed->second));
  }
  return line;
}

std::string Typed(const Run& run, absl::string_view verb, absl::string_view rest) {
  return Typed(run, absl::StrCat("session ", verb, " ", IdOf(run), rest));
}

// The command that moves a session from one state, or stage, to another; nothing if there is none.
std::optional<std::string> CommandTo(const Run& run, absl::string_view from,
                                     const std::string& to) {
  if (to == "ACTIVE") return Typed(run, from == "CREATING" ? "activate" : "resume", "");
  if (to == "PAUSED") return Typed(run, "pause", "");
  if (to == "STOPPED") return Typed(run, from == "DELETED" ? "undelete" : "stop", "");
  if (to == "FAILED") return Typed(run, "fail", " --reason …");
  if (to == "DELETED") return Typed(run, "delete", "");
  if (to == "DELETED (force)") return Typed(run, "delete", " --force");
  if (absl::ascii_isupper(to[0])) return std::nullopt;
  return Typed(run, "advance", absl::StrCat(" --to ", ShellWord(to)));
}

// RPCs whose command does not follow from their name. Reports of a task are only for its worker,
// and commands that need an id begin with a list of ids.
const std::map<std::string, std::string>& Commands() {
  static const std::map<std::string, std::string> commands = {
      {"UpdateSession", "session update ID --label key=value"},
      {"FailSession", "session fail ID --reason …"},
      {"RetryTask", "task retry ID"},
      {"RecordError", "error record ID --category user-fixable --severity warning --message …"},
      {"ResolveError", "error list ID --filter 'resolved = false'"},
      {"AddArtifacts", "artifact add ID --kind file --name …"},
      {"DeleteArtifact", "artifact list ID"},
  };
  return commands;
}

// `ResumeSession` → `sessionctl session resume ID`; nothing for RPCs without a command to propose.
std::optional<std::string> CommandOfRpc(const Run& run, const std::string& rpc) {
  if (const auto known = Commands().find(rpc); known != Commands().end()) {
    return Typed(run, absl::StrReplaceAll(known->second, {{"ID", IdOf(run)}}));
  }
  absl::string_view verb = rpc;
  if (!absl::ConsumeSuffix(&verb, "Session")) return std::nullopt;
  return Typed(run, absl::AsciiStrToLower(verb), "");
}

// A command of another group for the same session, `task get ID`.
std::string TypedOf(const Run& run, absl::string_view group_and_verb, absl::string_view rest = "") {
  return Typed(run, absl::StrCat(group_and_verb, " ", IdOf(run), rest));
}

// For a task that cannot run at the session's stage: what can start there, or how to get to the
// right stage.
std::vector<std::string> AfterTaskStart(const Run& run, const Metadata& metadata) {
  const std::string type = ShellWord(Get(metadata, "to"));
  if (const auto stage = Get(metadata, "advance_to_stage"); !stage.empty()) {
    return {TypedOf(run, "task start", absl::StrCat(" ", type, " --to ", ShellWord(stage)))};
  }
  std::vector<std::string> next;
  for (const std::string& allowed : ListOf(Get(metadata, "allowed"))) {
    // `to` is a stage if the stage was wrong.
    next.push_back(run.task_type == Get(metadata, "to")
                       ? TypedOf(run, "task start", absl::StrCat(" ", ShellWord(allowed)))
                       : Typed(run, "advance", absl::StrCat(" --to ", ShellWord(allowed))));
  }
  if (next.empty()) next.push_back(Typed(run, "get", "") + "  # its stage, and the next one");
  return next;
}

std::vector<std::string> AfterTransition(const Run& run, const Metadata& metadata) {
  const absl::string_view from = Get(metadata, "from");
  // The user still wants to delete it.
  if (run.command_name == "session delete" && (from == "ACTIVE" || from == "PAUSED")) {
    return {Typed(run, "delete", " --force")};
  }
  if (run.command_name == "task start") return AfterTaskStart(run, metadata);
  std::vector<std::string> next;
  for (const std::string& to : ListOf(Get(metadata, "allowed"))) {
    if (run.command_name == "task complete") {
      next.push_back(absl::StrCat("the same command with --to ", ShellWord(to)));
    } else if (auto command = CommandTo(run, from, to)) {
      next.push_back(*command);
    }
  }
  if (next.empty()) next.push_back(Typed(run, "events", ""));
  return next;
}

std::vector<std::string> AfterMissingFields(const Run& run, const Metadata& metadata) {
  std::string sets;
  for (const std::string& field : ListOf(Get(metadata, "fields"))) {
    const bool of_session =
        field == "owner_id" || field == "owner_display_name" || absl::StrContains(field, ".");
    absl::StrAppend(&sets, " --set ", of_session ? "" : "context.", field, "=…");
  }
  if (run.session_id.empty()) return {absl::StrCat("the same command with", sets)};
  return {Typed(run, "update", sets)};
}

std::vector<std::string> AfterNotActive(const Run& run, const Metadata& metadata) {
  std::vector<std::string> next;
  const absl::string_view state = Get(metadata, "state");
  for (const std::string& rpc : ListOf(Get(metadata, "allowed"))) {
    if (rpc == "DeleteSession" && (state == "ACTIVE" || state == "PAUSED")) {
      next.push_back(Typed(run, "delete", " --force"));
    } else if (auto command = CommandOfRpc(run, rpc)) {
      next.push_back(*command);
    }
  }
  return next;
}

std::vector<std::string> AfterBlockingErrors(const Run& run, const Metadata& metadata) {
  return {
      TypedOf(run, "error list", " --filter 'severity = \"BLOCKING\" AND resolved = false'"),
      TypedOf(run, "error resolve",
              absl::StrCat(" ", ShellWord(Get(metadata, "first_error_id")), " --resolution …"))};
}

// For a task that is in the way, or was replaced.
std::vector<std::string> AfterTask(const Run& run, v1::ErrorReason reason,
                                   const Metadata& metadata) {
  switch (reason) {
    case v1::TASK_NOT_FOUND:
      return {Typed(run, "get", "") + "  # its workflow, and its stage"};
    case v1::TASK_ALREADY_RUNNING:
      return {TypedOf(run, "task get"), TypedOf(run, "task cancel")};
    case v1::TASK_NOT_RUNNING: {
      std::vector<std::string> next = {TypedOf(run, "task get")};
      if (Get(metadata, "status") == "FAILED") {
        next.push_back(TypedOf(run, "task retry"));
      } else if (const auto type = Get(metadata, "task_type"); !type.empty()) {
        next.push_back(TypedOf(run, "task start", absl::StrCat(" ", ShellWord(type))));
      }
      return next;
    }
    case v1::TASK_FAILED:
      return {TypedOf(run, "task retry")};
    case v1::RETRY_LIMIT_EXCEEDED:
      return {TypedOf(run, "session recover") + "  # gives the retries back",
              TypedOf(run, "task retry")};
    default:
      return {TypedOf(run, "task get")};
  }
}

// For a temporary error: the same command again, safely.
std::vector<std::string> AfterTrouble(const Run& run) {
  if (run.request_id.empty()) return {"the same command, in a moment"};
  return {absl::StrCat("the same command with --request-id ", ShellWord(run.request_id),
                       ", so that nothing happens twice")};
}

// Whether it may be the beginning of a UUID, or of an exec_ id, as copied from a list.
bool IsBeginningOfId(absl::string_view text) {
  constexpr absl::string_view kUuid = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";
  if (absl::StartsWith(text, "exec_") && text.size() < 29) {
    return std::all_of(text.begin(), text.end(), [](char c) {
      return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '_';
    });
  }
  if (text.size() < 4 || text.size() >= kUuid.size()) return false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool fits = kUuid[i] == '-' ? text[i] == '-'
                                      : absl::ascii_isdigit(static_cast<unsigned char>(text[i])) ||
                                            (text[i] >= 'a' && text[i] <= 'f');
    if (!fits) return false;
  }
  return true;
}

std::vector<std::string> AfterRefusal(const Run& run, v1::ErrorReason reason,
                                      const Metadata& metadata) {
  switch (reason) {
    case v1::INVALID_FORMAT:
      // Many ids share their first characters, which are the time, so those identify none.
      if (IsBeginningOfId(run.session_id)) {
        return {absl::StrCat(Typed(run, "session list -n - --limit 1000 -o name"), " | grep '^",
                             run.session_id, "'  # ids are given whole")};
      }
      return {Typed(run, "session list -o name") + "  # the ids there are"};
    case v1::UNKNOWN_WORKFLOW: {
      const auto meant = DidYouMean(Get(metadata, "workflow"), ListOf(Get(metadata, "known")));
      if (!meant.has_value()) return {Typed(run, "workflow list")};
      return {absl::StrCat("the same command with --workflow ", ShellWord(*meant))};
    }
    case v1::REQUEST_ID_REUSED:
      return {"the same command with another --request-id, or none"};
    case v1::NEVER_EXISTED:
      return {Typed(run, "session list --namespace - --include-deleted")};
    case v1::DELETED:
      return {Typed(run, "get", " --include-deleted"), Typed(run, "undelete", "")};
    case v1::ARCHIVED:
      return {Typed(run, "lookup", "")};
    case v1::SESSION_EXISTS:
      return {Typed(run, "get", " --include-deleted")};
    case v1::NOT_DELETED:
      return {Typed(run, "get", "")};
    case v1::INVALID_TRANSITION:
      return AfterTransition(run, metadata);
    case v1::STAGE_FIELDS_MISSING:
      return AfterMissingFields(run, metadata);
    case v1::SESSION_NOT_ACTIVE:
      return AfterNotActive(run, metadata);
    case v1::NOT_RECOVERABLE:
      return {Typed(run, "get", ""), Typed(run, "events", "")};
    case v1::TASK_NOT_FOUND:
    case v1::TASK_ALREADY_RUNNING:
    case v1::TASK_NOT_RUNNING:
    case v1::TASK_COMPLETED:
    case v1::TASK_FAILED:
    case v1::STALE_TASK:
    case v1::RETRY_LIMIT_EXCEEDED:
      return AfterTask(run, reason, metadata);
    case v1::ERROR_NOT_FOUND:
      return {TypedOf(run, "error list")};
    case v1::ALREADY_RESOLVED:
      return {TypedOf(run, "error get", absl::StrCat(" ", ShellWord(run.error_id)))};
    case v1::BLOCKING_ERRORS:
      return AfterBlockingErrors(run, metadata);
    case v1::ARTIFACT_NOT_FOUND:
      return {TypedOf(run, "artifact list")};
    case v1::WORKFLOW_NOT_FOUND:
      return {Typed(run, "workflow list")};
    case v1::INVALID_WORKFLOW:
      if (run.path.empty() || run.path == "-") return {};
      return {Typed(run, absl::StrCat("workflow validate ", ShellWord(run.path)))};
    case v1::HOLD_ACTIVE:
      return {Typed(run, "update", " --set hold=false")};
    case v1::ETAG_MISMATCH:
      return {Typed(run, "get", "") + "  # then decide anew",
              absl::StrCat("the same command with --etag '", Get(metadata, "current_etag"), "'")};
    case v1::CONFLICT:
    case v1::OVERLOADED:
    case v1::DATABASE_UNAVAILABLE:
    case v1::LOCK_TIMEOUT:
    case v1::DRAINING:
      return AfterTrouble(run);
    case v1::CONSTRAINT_VIOLATION:
      return {"read the daemon's log: it has the details"};
    case v1::SCHEMA_MISMATCH:
      return {"sessiond doctor  # on the daemon's machine: says what the database lacks"};
    default:
      return {};
  }
}

// For a caller whom the daemon, or what is before it, does not know.
std::vector<std::string> AfterUnauthenticated(const Run& run) {
  const std::string token_file = run.connection.Get("token-file");
  if (!token_file.empty()) {
    return {
        absl::StrCat("put a new token into ", ShellWord(token_file),
                     ": this one is unknown, expired or withdrawn; the daemon's log says which")};
  }
  if (run.connection.tls.has_value() && !run.connection.tls->cert_file.empty()) {
    return {absl::StrCat("openssl x509 -noout -ext subjectAltName -dates -in ",
                         ShellWord(run.connection.tls->cert_file),
                         "  # the name by which the daemon may not know you")};
  }
  return {"the same command with --token-file FILE, or with --tls-cert FILE --tls-key FILE"};
}

// For errors that say the same whoever sends them.
std::vector<std::string> AfterCode(const Run& run, absl::StatusCode code) {
  switch (code) {
    case absl::StatusCode::kUnauthenticated:
      return AfterUnauthenticated(run);
    case absl::StatusCode::kPermissionDenied:
      return {Typed(run, "whoami") + "  # who the daemon takes you for, and what you may do",
              "ask whoever runs the daemon for a role that may: its access file has them"};
    default:
      return {};
  }
}

// For errors that come from the connection, not from the daemon.
std::vector<std::string> AfterNoAnswer(const Run& run, absl::StatusCode code) {
  if (!run.advice.empty()) return run.advice;
  switch (code) {
    case absl::StatusCode::kUnavailable:
      return {"sessiond serve  # starts the daemon",
              "the same command with --server HOST:PORT, for another daemon"};
    case absl::StatusCode::kDeadlineExceeded: {
      std::vector<std::string> next = AfterTrouble(run);
      next.push_back("the same command with --timeout 1m, to wait longer");
      return next;
    }
    case absl::StatusCode::kUnimplemented:
      return {"sessiond version; sessionctl version  # the daemon may be the older one"};
    default:
      return AfterCode(run, code);
  }
}

// Lines of `label  text` below the sentence; a repeated label is omitted.
class Details {
 public:
  void Add(absl::string_view label, absl::string_view text) {
    if (text.empty()) return;
    lines_.emplace_back(label == last_label_ ? "" : label, text);
    last_label_ = std::string(label);
  }
  std::string Format() const {
    std::size_t width = 0;
    for (const auto& [label, text] : lines_) width = std::max(width, label.size());
    std::string formatted;
    for (const auto& [label, text] : lines_) {
      absl::StrAppendFormat(&formatted, "  %-*s  %s\n", width, label, Printable(text));
    }
    return formatted;
  }

 private:
  std::vector<std::pair<std::string, std::string>> lines_;
  std::string last_label_;
};

absl::string_view WhoCanFixIt(absl::string_view category) {
  if (category == "USER_FIXABLE") return "USER_FIXABLE: change what you ask for";
  if (category == "ADMIN_REQUIRED") return "ADMIN_REQUIRED: ask whoever runs the service";
  if (category == "TEMPORARY") return "TEMPORARY: it passes by itself";
  return category;
}

std::string CodeName(absl::StatusCode code) { return absl::StatusCodeToString(code); }

// Whether the sentence already contains it, perhaps with spaces after its commas.
bool Says(const absl::Status& status, const std::string& text) {
  return absl::StrContains(status.message(), text) ||
         absl::StrContains(status.message(), absl::StrReplaceAll(text, {{",", ", "}}));
}

void AddRefusal(Details& details, const Run& run, const absl::Status& status) {
  details.Add("code", CodeName(status.code()));
  const auto info = GetDetail<google::rpc::ErrorInfo>(status);
  if (!info.has_value()) {
    for (const std::string& step : AfterNoAnswer(run, status.code())) details.Add("next", step);
    return;
  }
  const Metadata metadata(info->metadata().begin(), info->metadata().end());
  details.Add("reason", info->reason());
  details.Add("category", WhoCanFixIt(Get(metadata, "category")));
  for (const auto& [key, value] : metadata) {
    if (key == "category" || key == "position" || key == "field") continue;  // Shown elsewhere.
    if (value != run.session_id && !Says(status, value)) details.Add(key, value);
  }
  if (const auto bad_request = GetDetail<google::rpc::BadRequest>(status)) {
    for (const auto& violation : bad_request->field_violations()) {
      if (Says(status, violation.description()) && bad_request->field_violations_size() == 1) {
        continue;
      }
      details.Add("field", absl::StrCat(violation.field(), ": ", violation.description()));
    }
  }
  if (std::size_t position;
      !run.filter.empty() && absl::SimpleAtoi(Get(metadata, "position"), &position)) {
    details.Add("filter", run.filter);
    // The position is in bytes; a character may take several, and a column's width varies.
    const std::string before =
        Printable(absl::string_view(run.filter).substr(0, std::min(position, run.filter.size())));
    details.Add("filter", std::string(WidthOf(before), ' ') + "^");
  }
  Run known = run;
  if (known.session_id.empty()) known.session_id = std::string(Get(metadata, "session_id"));
  std::vector<std::string> steps = AfterRefusal(known, GetReason(status), metadata);
  if (steps.empty()) steps = AfterCode(run, status.code());
  for (const std::string& step : steps) {
    if (!absl::StrContains(step, kUnknownId)) details.Add("next", step);
  }
}

std::string StatusJson(const absl::Status& status) {
  google::rpc::Status message;
  message.set_code(static_cast<int>(status.code()));
  message.set_message(std::string(status.message()));
  // Only types that this program knows can be converted to JSON.
  const std::string prefix = "type.googleapis.com/";
  status.ForEachPayload([&](absl::string_view type_url, const absl::Cord& payload) {
    absl::string_view name = type_url;
    if (!absl::ConsumePrefix(&name, prefix) ||
        google::protobuf::DescriptorPool::generated_pool()->FindMessageTypeByName(
            std::string(name)) == nullptr) {
      return;
    }
    auto* detail = message.add_details();
    detail->set_type_url(std::string(type_url));
    detail->set_value(std::string(payload));
  });
  return ToJson(message, /*pretty=*/true);
}

void Say(absl::string_view sentence) {
  const bool colored = Colored(stderr);
  absl::FPrintF(stderr, "%serror:%s %s\n", colored ? color::kRed : "", colored ? color::kReset : "",
                PrintableLines(sentence));
}

std::size_t EditDistance(absl::string_view a, absl::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), 0);
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = std::exchange(row[0], i);
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t replaced = diagonal + (a[i - 1] != b[j - 1]);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, replaced});
    }
  }
  return row.back();
}

}  // namespace

int Explain(const Run& run, const absl::Status& status) {
  if (IsJson(run.format)) {
    absl::FPrintF(stderr, "%s\n", absl::StripTrailingAsciiWhitespace(StatusJson(status)));
  } else {
    Say(status.message().empty() ? CodeName(status.code()) : status.message());
    Details details;
    AddRefusal(details, run, status);
    absl::FPrintF(stderr, "%s", details.Format());
  }
  return kExitRefused + static_cast<int>(status.code());
}

int ExplainUsage(absl::string_view sentence, const std::vector<std::string>& hints) {
  Say(sentence);
  for (const std::string& hint : hints) absl::FPrintF(stderr, "  %s\n", Printable(hint));
  return kExitUsage;
}

std::optional<std::string> DidYouMean(absl::string_view word,
                                      const std::vector<std::string>& candidates) {
  const std::string* best = nullptr;
  std::size_t best_distance =
      std::max<std::size_t>(1, word.size() / 3) + 1;  // At this distance it is another word.
  for (const std::string& candidate : candidates) {
    const std::size_t distance =
        EditDistance(absl::AsciiStrToLower(word), absl::AsciiStrToLower(candidate));
    if (distance < best_distance) {
      best = &candidate;
      best_distance = distance;
    }
  }
  if (best != nullptr) return *best;
  return std::nullopt;
}

}  // namespace sessiond::ctl

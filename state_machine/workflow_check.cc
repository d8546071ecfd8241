#include "state_machine/workflow_check.h"

#include <algorithm>
#include <cstdlib>
#include <map>
#include <string>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "google/protobuf/stubs/common.h"
#include "state_machine/limits.h"
#include "state_machine/workflow.h"

namespace sessiond {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using v1::Session;

// ------------------------------------------------------------------------------------------ limits

// Fits easily into a page of definitions, and is far more than a definition made by hand needs.
constexpr std::size_t kDefinitionBytesMax = 256 << 10;
constexpr int kRetriesMax = 1000;
// A hundred years of 365 days: a longer duration is a mistake, and "never" has its own spelling.
constexpr int64_t kDurationSecondsMax = int64_t{100} * 365 * 24 * 3600;
// Nobody reads more, and all problems that a definition of the largest size can have would not fit
// into a reply.
constexpr std::size_t kProblemsMax = 1000;

// How many parts a definition may have. The check below goes through the product of stages,
// statuses and task types: some ten thousand standings.
struct SizeLimit {
  absl::string_view field;
  int count_max;
};
// clang-format off
constexpr SizeLimit kSizeLimits[] = {
    {"Workflow.stages",           64},
    {"Workflow.statuses",         64},
    {"Workflow.fields",          100},
    {"Workflow.counters",        kMapEntriesMax},
    {"Workflow.references",      kMapEntriesMax},
    {"Workflow.message_types",    64},
    {"Workflow.task_types",       32},
    {"Stage.required_fields",    100},
    {"StatusRule.states",          5},
    {"StatusRule.stages",         64},
    {"StatusRule.running_tasks",  32},
    {"FieldSpec.allowed_values", 100},
    {"MessageType.subtypes",      64},
    {"TaskType.stages",           64},
};
// clang-format on

int CountMax(const FieldDescriptor& field) {
  const std::string name = absl::StrCat(field.containing_type()->name(), ".", field.name());
  for (const SizeLimit& limit : kSizeLimits) {
    if (limit.field == name) return limit.count_max;
  }
  std::abort();  // A list without a limit is a defect; the test of sizes fills every one.
}

// ------------------------------------------------------------------------------------------- words

// Quotes a text from the definition for use in a sentence.
std::string Quoted(absl::string_view text) {
  constexpr std::size_t kShownMax = 64;
  const bool cut = text.size() > kShownMax;
  return absl::StrCat("\"", absl::CHexEscape(text.substr(0, kShownMax)), cut ? "…\"" : "\"");
}

bool IsName(absl::string_view name) {
  if (name.empty() || name.size() > 63 || !(name[0] >= 'a' && name[0] <= 'z')) return false;
  return std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
  });
}

// UTF-8 that can be shown in one line.
bool IsText(absl::string_view text) {
  return google::protobuf::internal::IsStructurallyValidUTF8(text.data(),
                                                             static_cast<int>(text.size())) &&
         std::none_of(text.begin(), text.end(),
                      [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7F; });
}

std::string At(absl::string_view list, int index) { return absl::StrCat(list, "[", index, "]"); }

template <class List>
std::vector<std::string> NamesOf(const List& list) {
  std::vector<std::string> names;
  for (const auto& item : list) names.push_back(item.name());
  return names;
}

std::vector<std::string> NamesOf(const google::protobuf::RepeatedPtrField<std::string>& list) {
  return {list.begin(), list.end()};
}

// "there are: one, two": the names that might have been meant.
std::string ThereAre(const std::vector<std::string>& names) {
  if (names.empty()) return "there are none";
  constexpr std::size_t kShownMax = 8;
  const auto end = names.begin() + static_cast<int>(std::min(names.size(), kShownMax));
  return absl::StrCat("there are: ",
                      absl::StrJoin(names.begin(), end, ", ",
                                    [](std::string* out, const std::string& name) {
                                      absl::StrAppend(out, absl::CHexEscape(name.substr(0, 63)));
                                    }),
                      names.size() > kShownMax ? ", …" : "");
}

// --------------------------------------------------------------------------------------- standings

// Calls `visit` with every standing that a session of this workflow can reach: it is created at the
// first stage, reaching the last one stops and completes it, a task runs only in its stages while
// the session is ACTIVE or PAUSED, and a failure ends the running task.
template <class Visit>
void EachStanding(const v1::Workflow& definition, bool can_fail, Visit visit) {
  const int count = std::max(1, definition.stages_size());
  for (int i = 0; i < count; ++i) {
    const absl::string_view stage =
        definition.stages().empty() ? absl::string_view() : definition.stages(i).name();
    const bool completed = i + 1 == definition.stages_size();
    if (i == 0) visit(Standing{.state = Session::CREATING, .stage = stage});
    for (const auto state : {Session::STOPPED, Session::DELETED}) {
      visit(Standing{.state = state, .stage = stage, .completed = completed});
      if (can_fail && !completed) visit(Standing{.state = state, .stage = stage, .failed = true});
    }
    if (completed) continue;
    for (const auto state : {Session::ACTIVE, Session::PAUSED}) {
      visit(Standing{.state = state, .stage = stage});
      if (can_fail) visit(Standing{.state = state, .stage = stage, .failed = true});
      for (const v1::TaskType& type : definition.task_types()) {
        if (std::find(type.stages().begin(), type.stages().end(), stage) != type.stages().end())
          visit(Standing{.state = state, .stage = stage, .running_task = type.name()});
      }
    }
  }
}

std::string Tell(const Standing& standing) {
  return absl::StrCat("in state ", Session::State_Name(standing.state),
                      standing.stage.empty() ? "" : ", stage ",
                      standing.stage.empty() ? "" : Quoted(standing.stage));
}

// ------------------------------------------------------------------------------------------- order

// The position of a path in the definition: a field's number and an entry's index, step by step.
std::vector<int> PlaceOf(const std::string& path) {
  std::vector<int> place;
  const Descriptor* type = v1::Workflow::descriptor();
  for (const absl::string_view step : absl::StrSplit(path, absl::ByAnyChar(".["))) {
    int index = 0;
    const FieldDescriptor* field =
        type == nullptr ? nullptr : type->FindFieldByName(std::string(step));
    if (field != nullptr) {
      place.push_back(field->number());
      type = field->message_type();
    } else if (absl::SimpleAtoi(absl::StripSuffix(step, "]"), &index)) {
      place.push_back(index);
    }
  }
  return place;
}

void SortByPlace(std::vector<WorkflowProblem>& problems) {
  std::stable_sort(problems.begin(), problems.end(),
                   [](const WorkflowProblem& a, const WorkflowProblem& b) {
                     return PlaceOf(a.path()) < PlaceOf(b.path());
                   });
}

// ------------------------------------------------------------------------------------------- check

class Check {
 public:
  explicit Check(const v1::Workflow& definition) : definition_(definition) {}

  std::vector<WorkflowProblem> Run() && {
    CheckSizes(definition_, "");
    if (!problems_.empty()) return std::move(problems_);
    CheckStages();
    CheckStatuses();
    CheckTaskTypes();
    // From contradictory parts nothing more can be concluded.
    if (problems_.empty()) CheckStandings();
    CheckHead();
    CheckFields();
    CheckNames(NamesOf(definition_.counters()), "counters", "");
    CheckNames(NamesOf(definition_.references()), "references", "");
    CheckDurations();
    CheckMessageTypes();
    if (definition_.max_retries() < 0 || definition_.max_retries() > kRetriesMax) {
      Add("max_retries", absl::StrCat(definition_.max_retries(), " cannot be: give 1 to ",
                                      kRetriesMax, ", or 0 for 3"));
    }
    SortByPlace(problems_);
    return std::move(problems_);
  }

 private:
  void Add(std::string path, std::string description) {
    if (problems_.size() == kProblemsMax) return;
    WorkflowProblem& problem = problems_.emplace_back();
    problem.set_path(std::move(path));
    problem.set_description(std::move(description));
  }

  void CheckSizes(const Message& message, const std::string& path) {
    if (path.empty() && message.ByteSizeLong() > kDefinitionBytesMax) {
      Add("", absl::StrCat("the definition has ", message.ByteSizeLong(), " bytes, and may have ",
                           kDefinitionBytesMax));
    }
    const auto& reflection = *message.GetReflection();
    std::vector<const FieldDescriptor*> fields;
    reflection.ListFields(message, &fields);
    for (const FieldDescriptor* field : fields) {
      if (!field->is_repeated()) continue;
      const std::string here =
          path.empty() ? field->name() : absl::StrCat(path, ".", field->name());
      const int count = reflection.FieldSize(message, field);
      if (count > CountMax(*field)) {
        Add(here, absl::StrCat("has ", count, " entries, and may have ", CountMax(*field)));
      } else if (field->message_type() != nullptr) {
        for (int i = 0; i < count; ++i)
          CheckSizes(reflection.GetRepeatedMessage(message, field, i), At(here, i));
      }
    }
  }

  void CheckHead() {
    if (!IsName(definition_.name())) NotAName("name", definition_.name());
    CheckDisplayName("display_name", definition_.display_name());
    if (definition_.id_format() != v1::Workflow::UUID &&
        definition_.id_format() != v1::Workflow::EXEC) {
      Add("id_format", "must be UUID or EXEC");
    }
  }

  void NotAName(const std::string& path, const std::string& name) {
    Add(path, absl::StrCat(name.empty() ? "is empty" : absl::StrCat(Quoted(name), " is no name"),
                           ": names are [a-z][a-z0-9_]{0,62}"));
  }

  void CheckDisplayName(const std::string& path, const std::string& text) {
    if (text.size() > kShortStringBytesMax) {
      Add(path, absl::StrCat("has ", text.size(), " bytes, and may have ", kShortStringBytesMax));
    }
    if (!IsText(text)) Add(path, "must be UTF-8 without control characters");
  }

  // For the entries of `list`: no text is used twice. `text_field` is the entry's field with its
  // text; empty: the text is the entry.
  template <class Texts>
  void CheckOnce(const Texts& texts, absl::string_view list, absl::string_view text_field,
                 absl::string_view why) {
    std::map<std::string, int> first;
    for (int i = 0; i < static_cast<int>(texts.size()); ++i) {
      const auto [found, is_new] = first.emplace(texts[i], i);
      if (is_new) continue;
      Add(absl::StrCat(At(list, i), text_field),
          absl::StrCat(Quoted(texts[i]), " stands here again, after ", At(list, found->second),
                       ": ", why));
    }
  }

  // For the entries of `list`: each has a name, and no name is used twice. `name_field` is the
  // entry's field with its name.
  void CheckNames(const std::vector<std::string>& names, absl::string_view list,
                  absl::string_view name_field,
                  absl::string_view why_once = "give each once, under a name of its own") {
    for (int i = 0; i < static_cast<int>(names.size()); ++i) {
      if (!IsName(names[i])) NotAName(absl::StrCat(At(list, i), name_field), names[i]);
    }
    CheckOnce(names, list, name_field, why_once);
  }

  // For a list of names of `kind`: each is known, and none is named twice.
  template <class List>
  void CheckMentions(const List& mentioned, const std::string& list, absl::string_view kind,
                     const std::vector<std::string>& known) {
    for (int i = 0; i < mentioned.size(); ++i) {
      const std::string& name = mentioned.Get(i);
      if (std::find(known.begin(), known.end(), name) == known.end())
        Add(At(list, i),
            absl::StrCat(Quoted(name), " is not a ", kind, " of this workflow; ", ThereAre(known)));
    }
    CheckOnce(mentioned, list, "", "take one of them out");
  }

  void CheckStages() {
    CheckNames(NamesOf(definition_.stages()), "stages", ".name",
               "the definition has a cycle, and stages only lead forwards; give each stage once, "
               "under a name of its own");
    for (int i = 0; i < definition_.stages_size(); ++i) {
      const v1::Stage& stage = definition_.stages(i);
      CheckDisplayName(absl::StrCat(At("stages", i), ".display_name"), stage.display_name());
      const std::string list = absl::StrCat(At("stages", i), ".required_fields");
      CheckMentions(stage.required_fields(), list, "field", NamesOf(definition_.fields()));
      for (int j = 0; j < stage.required_fields_size(); ++j)
        CheckRequirement(stage.required_fields(j), At(list, j));
    }
    if (definition_.stages_size() == 1) {
      Add("stages[0]",
          "is the first and the last stage at once, so that a session would begin at its end and "
          "never complete: add the stage that completes it, or leave stages out");
    }
  }

  void CheckRequirement(const std::string& name, const std::string& path) {
    for (const v1::FieldSpec& field : definition_.fields()) {
      if (field.name() != name || field.allowed_values().empty()) continue;
      const bool takes_any =
          std::any_of(field.allowed_values().begin(), field.allowed_values().end(),
                      [&](const std::string& value) { return CanBeGiven(field, value); });
      if (takes_any) continue;
      Add(path, absl::StrCat("the stage can never be reached, nor what lies behind it, because ",
                             Quoted(name), " takes no value: mend its allowed_values"));
    }
  }

  // An empty string is no value for a required field.
  static bool CanBeGiven(const v1::FieldSpec& field, const std::string& value) {
    return !value.empty() && value.size() <= StringBytesMax(field);
  }

  void CheckStatuses() {
    if (definition_.statuses().empty()) {
      Add("statuses", "at least one is needed; one without conditions holds everywhere");
    }
    CheckNames(NamesOf(definition_.statuses()), "statuses", ".name",
               "list what it holds in within one status");
    for (int i = 0; i < definition_.statuses_size(); ++i) {
      const v1::StatusRule& rule = definition_.statuses(i);
      const std::string path = At("statuses", i);
      CheckStates(rule, absl::StrCat(path, ".states"));
      CheckMentions(rule.stages(), absl::StrCat(path, ".stages"), "stage",
                    NamesOf(definition_.stages()));
      CheckMentions(rule.running_tasks(), absl::StrCat(path, ".running_tasks"), "task type",
                    NamesOf(definition_.task_types()));
    }
  }

  void CheckStates(const v1::StatusRule& rule, const std::string& list) {
    for (int i = 0; i < rule.states_size(); ++i) {
      const auto state = rule.states(i);
      if (state == Session::STATE_UNSPECIFIED || !Session::State_IsValid(state)) {
        Add(At(list, i), "is no state; there are: CREATING, ACTIVE, PAUSED, STOPPED, DELETED");
      }
      const auto begin = rule.states().begin();
      if (std::find(begin, begin + i, state) != begin + i)
        Add(At(list, i), "stands here again: take one of them out");
    }
  }

  // In every standing of a session some status must hold, and each status must hold in some
  // standing.
  void CheckStandings() {
    const auto& rules = definition_.statuses();
    const bool can_fail =
        std::any_of(rules.begin(), rules.end(), [](const auto& rule) { return rule.failed(); });
    std::vector<bool> wins(rules.size());
    // The rule that wins in the first standing where this one's conditions hold.
    std::vector<int> beaten_by(rules.size(), -1);
    std::string without;
    EachStanding(definition_, can_fail, [&](const Standing& standing) {
      int winner = -1;
      for (int i = 0; i < rules.size(); ++i) {
        if ((wins[i] || beaten_by[i] >= 0) && winner >= 0) continue;
        if (!Holds(rules[i], standing)) continue;
        if (winner < 0) {
          winner = i;
          wins[i] = true;
        } else {
          beaten_by[i] = winner;
        }
      }
      if (winner < 0 && without.empty()) without = Tell(standing);
    });
    if (!without.empty()) {
      Add("statuses", absl::StrCat("none holds ", without,
                                   ": a session would end up without a status there; end the "
                                   "list with one that has no conditions"));
    }
    for (int i = 0; i < rules.size(); ++i) {
      if (wins[i]) continue;
      Add(At("statuses", i),
          beaten_by[i] < 0
              ? absl::StrCat(Quoted(rules[i].name()),
                             " can never hold: no session comes to stand where all of its "
                             "conditions do; take some out")
              : absl::StrCat(Quoted(rules[i].name()),
                             " can never hold, because wherever it would, one before it does, such "
                             "as ",
                             At("statuses", beaten_by[i]), ": put it before that, or take it out"));
    }
  }

  void CheckFields() {
    CheckNames(NamesOf(definition_.fields()), "fields", ".name");
    for (int i = 0; i < definition_.fields_size(); ++i) {
      const v1::FieldSpec& field = definition_.fields(i);
      const std::string path = At("fields", i);
      if (field.type() == v1::FieldSpec::TYPE_UNSPECIFIED ||
          !v1::FieldSpec::Type_IsValid(field.type())) {
        Add(absl::StrCat(path, ".type"), "a type is needed: STRING, NUMBER, BOOL, STRUCT or LIST");
        continue;
      }
      if (field.type() == v1::FieldSpec::STRING) {
        CheckString(field, path);
        continue;
      }
      if (field.max_length() != 0)
        Add(absl::StrCat(path, ".max_length"), "is for strings: leave it out");
      if (!field.allowed_values().empty())
        Add(absl::StrCat(path, ".allowed_values"), "are for strings: leave them out");
    }
  }

  void CheckString(const v1::FieldSpec& field, const std::string& path) {
    if (field.max_length() < 0 || field.max_length() > static_cast<int>(kStructBytesMax)) {
      Add(absl::StrCat(path, ".max_length"),
          absl::StrCat(field.max_length(), " cannot be: give 1 to ", kStructBytesMax,
                       " bytes, which is all that a context holds, or 0 for ",
                       StringBytesMax(v1::FieldSpec())));
      return;
    }
    const std::string list = absl::StrCat(path, ".allowed_values");
    for (int i = 0; i < field.allowed_values_size(); ++i) {
      const std::string& value = field.allowed_values(i);
      if (!IsText(value)) Add(At(list, i), "must be UTF-8 without control characters");
      if (!CanBeGiven(field, value)) {
        Add(At(list, i), value.empty()
                             ? "is empty, which is the same as not given: take it out"
                             : absl::StrCat("has ", value.size(), " bytes and the field takes ",
                                            StringBytesMax(field), ": raise max_length"));
      }
    }
    CheckOnce(field.allowed_values(), list, "", "take one of them out");
  }

  void CheckDurations() {
    const v1::Retention& retention = definition_.retention();
    if (definition_.has_recovery_window()) {
      CheckDuration("recovery_window", definition_.recovery_window());
      if (IsZero(definition_.recovery_window())) {
        Add("recovery_window",
            "no session could ever be recovered: make it longer, or leave it out for no end");
      }
    }
    CheckDuration("retention.after_end", retention.after_end());
    CheckDuration("retention.after_delete", retention.after_delete());
    CheckDuration("retention.abandon_after", retention.abandon_after());
    if (!IsZero(retention.abandon_after()) && !definition_.has_recovery_window()) {
      Add("retention.abandon_after",
          "counts from the end of the recovery window, and there is none: give recovery_window, or "
          "leave this out");
    }
  }

  static bool IsZero(const google::protobuf::Duration& duration) {
    return duration.seconds() == 0 && duration.nanos() == 0;
  }

  void CheckDuration(const std::string& path, const google::protobuf::Duration& duration) {
    if (duration.seconds() < 0 || duration.nanos() < 0) {
      Add(path, "is negative: a duration runs forwards");
    } else if (duration.seconds() > kDurationSecondsMax || duration.nanos() > 999'999'999) {
      Add(path, "is longer than 100 years: leave it out for never");
    }
  }

  void CheckMessageTypes() {
    CheckNames(NamesOf(definition_.message_types()), "message_types", ".name");
    const std::vector<std::string> counters = NamesOf(definition_.counters());
    for (int i = 0; i < definition_.message_types_size(); ++i) {
      const v1::MessageType& type = definition_.message_types(i);
      const std::string path = At("message_types", i);
      CheckNames(NamesOf(type.subtypes()), absl::StrCat(path, ".subtypes"), "");
      if (!type.increments_counter().empty() &&
          std::find(counters.begin(), counters.end(), type.increments_counter()) ==
              counters.end()) {
        Add(absl::StrCat(path, ".increments_counter"),
            absl::StrCat(Quoted(type.increments_counter()), " is not a counter of this workflow; ",
                         ThereAre(counters)));
      }
    }
  }

  void CheckTaskTypes() {
    CheckNames(NamesOf(definition_.task_types()), "task_types", ".name");
    for (int i = 0; i < definition_.task_types_size(); ++i) {
      const v1::TaskType& type = definition_.task_types(i);
      const std::string path = At("task_types", i);
      CheckMentions(type.stages(), absl::StrCat(path, ".stages"), "stage",
                    NamesOf(definition_.stages()));
      if (type.stages().empty())
        Add(absl::StrCat(path, ".stages"), "none is named, so that it could never run: name some");
      for (int j = 0; j < type.stages_size(); ++j) {
        if (definition_.stages().empty() ||
            type.stages(j) != definition_.stages().rbegin()->name()) {
          continue;
        }
        Add(At(absl::StrCat(path, ".stages"), j),
            absl::StrCat(Quoted(type.stages(j)),
                         " is the last stage, which ends the session: nothing runs there"));
      }
    }
    const bool has_failed =
        std::any_of(definition_.statuses().begin(), definition_.statuses().end(),
                    [](const v1::StatusRule& rule) { return rule.failed(); });
    if (!definition_.task_types().empty() && !has_failed) {
      Add("task_types[0]",
          "tasks can fail, and no status says so: add one with failed: true to statuses");
    }
  }

  const v1::Workflow& definition_;
  std::vector<WorkflowProblem> problems_;
};

}  // namespace

std::vector<WorkflowProblem> CheckWorkflow(const v1::Workflow& definition) {
  return Check(definition).Run();
}

}  // namespace sessiond

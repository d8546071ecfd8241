// Messages: what was said, in order and without gaps. They do not change the session's etag.
#include <limits>
#include <map>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "state_machine/preconditions.h"

namespace sessiond {

using v1::SessionEvent;
using v1::SessionMessage;

namespace {

// The checks of a message that need the workflow and the session.
class MessageCheck {
 public:
  explicit MessageCheck(const Context& context) : context_(context) {}

  void Check(const SessionMessage& message, const std::string& path) {
    if (!message.message_id().empty()) CheckId(message.message_id(), path + ".message_id");
    const Workflow& workflow = context_.workflow;
    const v1::MessageType* type = workflow.FindMessageType(message.type());
    if (type == nullptr) {
      std::vector<std::string> known;
      for (const auto& known_type : workflow.definition().message_types())
        known.push_back(known_type.name());
      return Add(path + ".type", "is not a message type of workflow ", known);
    }
    CheckSubtype(*type, message.question_type(), path + ".question_type");
    if (!type->increments_counter().empty()) ++increments_[type->increments_counter()];
  }

  // What the messages add to counters.
  const std::map<std::string, int32_t>& increments() const { return increments_; }
  Workflow::Violations& violations() { return violations_; }

 private:
  void Add(const std::string& path, absl::string_view what, const std::vector<std::string>& known) {
    violations_.emplace_back(path,
                             absl::StrCat(what, context_.workflow.name(), "; it has ",
                                          known.empty() ? "none" : absl::StrJoin(known, ", ")));
  }

  void CheckId(const std::string& id, const std::string& path) {
    if (context_.aggregate.used_ids.contains(id))
      violations_.emplace_back(path, "is the id of a message that the session has already");
    if (!brought_.insert(id).second) violations_.emplace_back(path, "stands twice in the request");
  }

  void CheckSubtype(const v1::MessageType& type, const std::string& subtype,
                    const std::string& path) {
    if (subtype.empty()) return;
    for (const std::string& allowed : type.subtypes()) {
      if (allowed == subtype) return;
    }
    Add(path, absl::StrCat("is not a subtype of message type ", type.name(), " in workflow "),
        {type.subtypes().begin(), type.subtypes().end()});
  }

  const Context& context_;
  std::set<std::string> brought_;
  std::map<std::string, int32_t> increments_;
  Workflow::Violations violations_;
};

}  // namespace

void RecordMessages(EventRecorder& recorder, int32_t count,
                    const std::map<std::string, int32_t>& counters) {
  const int32_t before = recorder.session().message_count();
  Changes changes;
  changes.Set("message_count", NumberValue(before + count));
  changes.Set("first_sequence", NumberValue(before + 1));
  changes.Set("last_sequence", NumberValue(before + count));
  for (const auto& [counter, increment] : counters)
    AddToCounter(recorder.session(), counter, increment, changes);
  recorder.Record(SessionEvent::MESSAGES_APPENDED, std::move(changes));
}

absl::StatusOr<Decision> Decide(const Context& context, const v1::AppendMessagesRequest& request) {
  if (auto begin = context.Begin(Call::kAppendMessages, request.etag()); !begin.ok()) return begin;
  MessageCheck check(context);
  for (int i = 0; i < request.messages_size(); ++i)
    check.Check(request.messages(i), absl::StrCat("messages[", i, "]"));
  if (!check.violations().empty()) return InvalidFields(check.violations());
  for (const auto& [counter, increment] : check.increments()) {
    const int32_t count = CounterOf(context.session(), counter);
    if (count > std::numeric_limits<int32_t>::max() - increment) {
      return ContextViolation(context.workflow,
                              {{absl::StrCat("counters.", counter), "would pass 2147483647"}});
    }
  }

  EventRecorder recorder = context.Open();
  RecordMessages(recorder, request.messages_size(), check.increments());
  int32_t sequence = context.session().message_count();
  for (const SessionMessage& message : request.messages())
    recorder.Add(message, ++sequence, recorder.now());
  return std::move(recorder).Close();
}

}  // namespace sessiond

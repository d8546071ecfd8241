// `sessionctl message …`: what is said in a session.
#include <memory>
#include <sstream>

#include "absl/strings/str_split.h"
#include "client/sessionctl/flags.h"
#include "client/sessionctl/json_lines.h"
#include "client/sessionctl/run.h"
#include "client/sessionctl/views.h"

namespace sessiond::ctl {
namespace {

struct Append {
  v1::AppendMessagesRequest request;
  v1::SessionMessage message;  // One message, from the flags.
  Text content, json_lines;    // The files to read from.
};

// One message from the flags, or many from JSON lines.
std::vector<v1::SessionMessage> MessagesOf(Append& append) {
  if (!append.json_lines.empty()) {
    return ReadJsonLines<v1::SessionMessage>("--from", append.json_lines);
  }
  if (append.content.empty()) {
    throw CLI::ValidationError("append", "what? Give --content, or many with --from");
  }
  append.message.set_content(append.content == "-" ? ReadAll("--content", "-") : append.content);
  return {append.message};
}

absl::Status AppendAll(Run& run, Append& append) {
  v1::AppendMessagesResponse appended;
  const absl::Status status = ChangeInBatches(
      run, append.request, MessagesOf(append), &v1::AppendMessagesRequest::mutable_messages,
      &MessageClient::AppendMessages, [&appended](v1::AppendMessagesResponse response) {
        if (appended.first_sequence() > 0) response.set_first_sequence(appended.first_sequence());
        appended = std::move(response);
      });
  if (!status.ok()) {
    if (appended.last_sequence() > 0)
      std::cerr << "Appended are those up to " << appended.last_sequence() << ".\n";
    return status;
  }
  Card card;
  card.Add("Session", append.request.session_id(), color::kBold);
  card.Add("Appended",
           appended.first_sequence() == appended.last_sequence()
               ? absl::StrCat(appended.first_sequence())
               : absl::StrCat(appended.first_sequence(), " to ", appended.last_sequence()));
  std::vector<Text> sequences;
  for (int i = appended.first_sequence(); i <= appended.last_sequence(); ++i) {
    sequences.push_back(absl::StrCat(i));
  }
  PrintOne(run.format, appended, card, absl::StrJoin(sequences, "\n"));
  return absl::OkStatus();
}

void AddAppend(CLI::App& group, Run& run) {
  auto append = std::make_shared<Append>();
  CLI::App& app = *AddCommand(group, run, "append", "Append a message, or many",
                              [append](Run& run) { return AppendAll(run, *append); });
  v1::SessionMessage& message = append->message;
  AddSessionId(app, run, append->request);
  CLI::Option* type = AddText(app, "--type", "TYPE", "One of the workflow's message types",
                              [&message](const Text& text) { message.set_type(text); });
  CLI::Option* content =
      app.add_option("--content", append->content, "The text; - reads it from stdin")
          ->option_text("TEXT")
          ->needs(type);
  const std::vector<CLI::Option*> of_one = {
      type,
      content,
      AddText(app, "--question-type", "TYPE", "One of the subtypes of its type",
              [&message](const Text& text) { message.set_question_type(text); }),
      AddText(app, "--author", "WHO", "Who said it",
              [&message](const Text& text) { message.set_author(text); }),
      AddObject(app, "--metadata", "Your own data",
                [&message](google::protobuf::Struct metadata) {
                  *message.mutable_metadata() = std::move(metadata);
                }),
      AddText(app, "--id", "UUID", "An id of your own (default: drawn)",
              [&message](const Text& id) { message.set_message_id(id); })};
  CLI::Option* from =
      app.add_option("--from", append->json_lines,
                     "Many: a JSON object a line, {\"type\": \"answer\", \"content\": …}; 500 at a "
                     "time, all or none of them; - for stdin")
          ->option_text("FILE");
  for (CLI::Option* option : of_one) from->excludes(option);
  AddChangeOptions(app, append->request);
}

absl::Status List(Run& run, const v1::ListMessagesRequest& request, int limit) {
  const ListView<v1::SessionMessage> view = {
      MessageColumns(),
      [](const v1::SessionMessage& message) { return std::vector<Row>{MessageRow(message)}; },
      [](const v1::SessionMessage& message) { return message.message_id(); }, "No messages."};
  return ShowList(run, request, limit, &MessageClient::ListMessages, view);
}

void AddList(CLI::App& group, Run& run) {
  auto request = std::make_shared<v1::ListMessagesRequest>();
  auto limit = std::make_shared<int>(50);
  CLI::App& app = *AddCommand(group, run, "list", "List what was said, oldest first",
                              [request, limit](Run& run) { return List(run, *request, *limit); });
  AddSessionId(app, run, *request);
  AddNumber(app, "--after", "SEQUENCE", "Begin behind this sequence, in the direction of the order",
            0, kNumberMax, [request](int sequence) { request->set_after_sequence(sequence); });
  app.add_flag_callback(
      "--newest-first", [request] { request->set_order_by("sequence desc"); },
      "Backwards from the end");
  AddLimit(app, *limit);
  AddIncludeDeleted(app, *request);
}

}  // namespace

void AddMessageCommands(CLI::App& app, Run& run) {
  CLI::App& group = *app.add_subcommand("message", "Append and list what is said in a session");
  group.require_subcommand(1);
  AddAppend(group, run);
  AddList(group, run);
}

}  // namespace sessiond::ctl

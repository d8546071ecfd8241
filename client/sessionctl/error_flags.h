// The flags that describe an error, shared by `error record` and `task fail`.
#pragma once

#include "client/sessionctl/flags.h"
#include "sessiond/v1/error.pb.h"

namespace sessiond::ctl {

enum class ErrorIs { kRequired, kOptional };

// Adds them to `app`; their values go into `request.error`.
template <class Request>
void AddErrorFields(CLI::App& app, Request& request, ErrorIs is) {
  const Text group = is == ErrorIs::kOptional ? "The error to record with it" : "Options";
  const auto error = [&request]() -> v1::SessionError& { return *request.mutable_error(); };
  CLI::Option* message =
      AddText(app, "--message", "TEXT", "What the user reads", [error](const Text& text) {
        error().set_user_message(text);
      })->group(group);
  const auto needed = [&](CLI::Option* option) {
    option->group(group);
    if (is == ErrorIs::kRequired) {
      option->required()->description(absl::StrCat(option->get_description(), " (required)"));
    }
    if (is == ErrorIs::kOptional && option != message) {
      option->needs(message);
      message->needs(option);
    }
  };
  needed(message);
  needed(AddText(app, "--category", "user-fixable|admin-required|temporary", "Who can fix it",
                 [error](const Text& text) {
                   error().set_category(EnumValue<v1::SessionError::Category>("--category", text));
                 }));
  needed(AddText(app, "--severity", "blocking|warning|info", "How severe it is",
                 [error](const Text& text) {
                   error().set_severity(EnumValue<v1::SessionError::Severity>("--severity", text));
                 }));
  const auto optional = [&](CLI::Option* option) { option->group(group)->needs(message); };
  optional(AddTexts(app, "--action", "TEXT", "What to do about it; repeatable, in order",
                    [error](const Text& text) { error().add_recovery_actions(text); }));
  optional(AddText(app, "--code", "CODE", "Your own code for this kind of error",
                   [error](const Text& text) { error().set_error_code(text); }));
  optional(AddText(app, "--stage", "STAGE", "Where it happened (default: the present stage)",
                   [error](const Text& text) { error().set_operation_stage(text); }));
  optional(AddText(app, "--file", "ARTIFACT", "The file it is about",
                   [error](const Text& text) { error().set_related_file_id(text); }));
  optional(AddText(app, "--ticket", "ARTIFACT", "The ticket it is about",
                   [error](const Text& text) { error().set_related_ticket_id(text); }));
  optional(AddObject(app, "--details", "Details for programs and developers",
                     [error](google::protobuf::Struct details) {
                       *error().mutable_technical_details() = std::move(details);
                     }));
}

}  // namespace sessiond::ctl

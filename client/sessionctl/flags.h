// The flags that many commands share, written directly into their requests; and what nearly every
// command then does with its request: make a change and print its outcome, or print a list.
#pragma once

#include <algorithm>
#include <functional>
#include <iostream>
#include <string>
#include <utility>
#include <vector>

#include "CLI/App.hpp"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "client/sessionctl/run.h"
#include "google/protobuf/duration.pb.h"
#include "google/protobuf/generated_enum_reflection.h"
#include "google/protobuf/struct.pb.h"

namespace sessiond::ctl {

using Text = std::string;

// The largest value of the contract's numbers.
constexpr int kNumberMax = 2'147'483'647;

// ---- flags

// An option whose value is passed to `set`.
CLI::Option* AddText(CLI::App& app, const Text& name, const Text& value_name,
                     const Text& description, std::function<void(const Text&)> set);
// The same, but repeatable.
CLI::Option* AddTexts(CLI::App& app, const Text& name, const Text& value_name,
                      const Text& description, std::function<void(const Text&)> set);
// An option whose value is a JSON object.
CLI::Option* AddObject(CLI::App& app, const Text& name, const Text& description,
                       std::function<void(google::protobuf::Struct)> set);
// An option whose value is a whole number in this range.
CLI::Option* AddNumber(CLI::App& app, const Text& name, const Text& value_name,
                       const Text& description, int min, int max, std::function<void(int)> set);
// `--limit N` of a list.
void AddLimit(CLI::App& app, int& limit);

// ---- values. Each throws CLI::ValidationError, which names the flag, when the text is invalid.

// Digits, with a minus before them if `min` is less than 0.
int NumberValue(const Text& flag, const Text& text, int min, int max);
google::protobuf::Value JsonValue(const Text& flag, const Text& json);
// `500ms`, `30s`, `5m`.
google::protobuf::Duration DurationValue(const Text& flag, const Text& text);
// The whole content of a file, or of stdin if `path` is `-`, byte for byte.
Text ReadAll(const Text& flag, const Text& path);
// The same for text to be parsed: without the byte-order mark that some editors and shells put
// before it.
Text ReadText(const Text& flag, const Text& path);
// Why text that begins so is not read, in a sentence about its file; empty: it is.
Text WhyNotUtf8(absl::string_view text, const Text& path);

// The enum's value of this name: in upper or lower case, with - or _.
template <class Enum>
Enum EnumValue(const Text& flag, const Text& text) {
  const auto* type = google::protobuf::GetEnumDescriptor<Enum>();
  const Text name = absl::AsciiStrToUpper(absl::StrReplaceAll(text, {{"-", "_"}}));
  const auto* value = type->FindValueByName(name);
  if (value != nullptr && value->number() != 0) return static_cast<Enum>(value->number());
  std::vector<Text> names;
  for (int i = 0; i < type->value_count(); ++i) {
    if (type->value(i)->number() != 0) {
      names.push_back(
          absl::StrReplaceAll(absl::AsciiStrToLower(type->value(i)->name()), {{"_", "-"}}));
    }
  }
  throw CLI::ValidationError(
      flag, absl::StrCat("\"", text, "\" is not one of ", absl::StrJoin(names, ", ")));
}

// ---- fields of requests

template <class Request>
CLI::Option* AddSessionId(CLI::App& app, Run& run, Request& request) {
  return AddText(app, "SESSION", "", "The session's id, whole",
                 [&run, &request](const Text& id) {
                   run.session_id = id;
                   if constexpr (requires { request.mutable_session(); }) {
                     request.mutable_session()->set_session_id(id);
                   } else {
                     request.set_session_id(id);
                   }
                 })
      ->required();
}

template <class Request>
void AddIncludeDeleted(CLI::App& app, Request& request) {
  app.add_flag_callback(
      "--include-deleted", [&request] { request.set_include_deleted(true); },
      "Answer for soft-deleted sessions too");
}

template <class Request>
void AddNamespace(CLI::App& app, const Text& description, Request& request) {
  AddText(app, "-n,--namespace", "NAME", description,
          [&request](const Text& name) { request.set_namespace_(name); });
}

template <class Request>
void AddFilter(CLI::App& app, const Text& description, Request& request) {
  AddText(app, "--filter", "FILTER", description,
          [&request](const Text& filter) { request.set_filter(filter); });
}

// The fields that every change has.
template <class Request>
void AddChangeOptions(CLI::App& app, Request& request) {
  const Text group = "Options of every change";
  AddText(app, "--request-id", "ID",
          "Makes repeating it safe: the same id changes nothing twice (default: drawn)",
          [&request](const Text& id) { request.set_request_id(id); })
      ->group(group);
  if constexpr (requires { request.set_etag(""); }) {
    AddText(app, "--etag", "ETAG", "Change it only if the session still has this etag",
            [&request](const Text& etag) { request.set_etag(etag); })
        ->group(group);
  }
  AddText(app, "--actor", "WHO", "The end user on whose behalf it is done, for the audit",
          [&request](const Text& actor) { request.set_actor(actor); })
      ->group(group);
  AddText(app, "--reason", "TEXT", "Why, for the audit", [&request](const Text& reason) {
    request.set_reason(reason);
  })->group(group);
}

// ---- calls

// Makes a call with one of the clients.
template <class Client, class Request, class Answer>
absl::StatusOr<Answer> Ask(Run& run, const Request& request,
                           absl::StatusOr<Answer> (Client::*method)(Request) const) {
  auto client = run.Open<Client>();
  if (!client.ok()) return client.status();
  return ((*client).*method)(request);
}

// The same for a change. The request_id is drawn here, so that an error can name it.
template <class Client, class Request, class Answer>
absl::StatusOr<Answer> Change(Run& run, Request& request,
                              absl::StatusOr<Answer> (Client::*method)(Request) const) {
  if (request.request_id().empty()) request.set_request_id(NewRequestId());
  run.request_id = request.request_id();
  return Ask(run, request, method);
}

// How a list is shown: its columns, and the rows and the name of each item.
template <class T>
struct ListView {
  std::vector<Column> columns;
  std::function<std::vector<Row>(const T&)> rows;
  std::function<Text(const T&)> name;
  const char* nothing;  // Shown to people for an empty list.
};

// The page size for a list of at most `limit`: one more, to know whether there are more; 1,000 is
// the largest page. 0 is no limit.
inline int PageSize(int limit) { return limit == 0 ? 1000 : std::min(limit, 999) + 1; }

// Prints a list, up to `limit` items, 0 for all.
template <class T>
absl::Status PrintList(const Run& run, StreamRange<T> items, int limit, const ListView<T>& view) {
  ListPrinter printer(run.format, view.columns);
  int count = 0;
  bool more = false;
  for (const auto& item : items) {
    if (!item.ok()) return item.status();
    if ((more = limit != 0 && count == limit)) break;
    printer.Add(*item, view.rows(*item), view.name(*item));
    ++count;
  }
  printer.Finish();
  if (more) std::cerr << "The first " << limit << "; there are more: --limit N, or 0 for all.\n";
  if (count == 0 && run.format == Format::kTable) std::cerr << view.nothing << "\n";
  return absl::OkStatus();
}

// Makes a call with one of the clients whose answer is a list, and prints it.
template <class Client, class Request, class T>
absl::Status ShowList(Run& run, Request request, int limit,
                      StreamRange<T> (Client::*method)(Request) const, const ListView<T>& view) {
  auto client = run.Open<Client>();
  if (!client.ok()) return client.status();
  request.set_page_size(PageSize(limit));
  return PrintList(run, ((*client).*method)(std::move(request)), limit, view);
}

}  // namespace sessiond::ctl

#include "client/sessionctl/flags.h"

#include <unistd.h>

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/time/time.h"
#include "client/cpp/read_file.h"
#include "client/legacy/exact_json.h"

namespace sessiond::ctl {

CLI::Option* AddText(CLI::App& app, const Text& name, const Text& value_name,
                     const Text& description, std::function<void(const Text&)> set) {
  return app.add_option_function<Text>(name, std::move(set), description)->option_text(value_name);
}

CLI::Option* AddTexts(CLI::App& app, const Text& name, const Text& value_name,
                      const Text& description, std::function<void(const Text&)> set) {
  const auto set_all = [set = std::move(set)](const std::vector<Text>& values) {
    for (const Text& value : values) set(value);
  };
  return app.add_option_function<std::vector<Text>>(name, set_all, description)
      ->option_text(value_name)
      ->allow_extra_args(false);
}

CLI::Option* AddObject(CLI::App& app, const Text& name, const Text& description,
                       std::function<void(google::protobuf::Struct)> set) {
  return AddText(app, name, "JSON", description, [name, set = std::move(set)](const Text& json) {
    google::protobuf::Value value = JsonValue(name, json);
    if (!value.has_struct_value()) {
      throw CLI::ValidationError(name, "is a JSON object: {\"name\": \"value\"}");
    }
    set(std::move(*value.mutable_struct_value()));
  });
}

CLI::Option* AddNumber(CLI::App& app, const Text& name, const Text& value_name,
                       const Text& description, int min, int max, std::function<void(int)> set) {
  return AddText(app, name, value_name, description,
                 [name, min, max, set = std::move(set)](const Text& text) {
                   set(NumberValue(name, text, min, max));
                 });
}

void AddLimit(CLI::App& app, int& limit) {
  AddNumber(app, "--limit", "N (default 50)", "How many to list at most; 0 for all", 0, kNumberMax,
            [&limit](int number) { limit = number; });
}

int NumberValue(const Text& flag, const Text& text, int min, int max) {
  const bool negative = min < 0 && absl::StartsWith(text, "-");
  const absl::string_view digits = absl::string_view(text).substr(negative ? 1 : 0);
  const bool plain = !digits.empty() && std::all_of(digits.begin(), digits.end(), [](char c) {
    return absl::ascii_isdigit(static_cast<unsigned char>(c));
  });
  int number = 0;
  if (plain && absl::SimpleAtoi(text, &number) && number >= min && number <= max) return number;
  throw CLI::ValidationError(
      flag, absl::StrCat("\"", text, "\" is not a whole number from ", min, " to ", max));
}

google::protobuf::Value JsonValue(const Text& flag, const Text& json) {
  auto exact = ParseExactJson(json);
  if (!exact.ok()) throw CLI::ValidationError(flag, absl::StrCat("\"", json, "\" is not JSON"));
  if (!exact->changes.empty()) throw CLI::ValidationError(flag, exact->changes.front());
  return std::move(exact->value);
}

google::protobuf::Duration DurationValue(const Text& flag, const Text& text) {
  absl::Duration duration;
  // No wait takes a year, and a value longer than a Duration would be cut.
  if (!absl::ParseDuration(text, &duration) || duration <= absl::ZeroDuration() ||
      duration > absl::Hours(24 * 365)) {
    throw CLI::ValidationError(
        flag, absl::StrCat("\"", text, "\" is not a duration of up to 8760h; write 30s or 5m"));
  }
  google::protobuf::Duration value;
  value.set_seconds(absl::IDivDuration(duration, absl::Seconds(1), &duration));
  value.set_nanos(static_cast<int32_t>(absl::ToInt64Nanoseconds(duration)));
  return value;
}

Text ReadAll(const Text& flag, const Text& path) {
  Text text;
  if (path == "-") {
    if (const std::error_code error = ReadToEnd(STDIN_FILENO, text)) {
      throw CLI::ValidationError(flag, absl::StrCat("cannot read stdin: ", error.message()));
    }
  } else if (const std::error_code error = ReadFile(path, text)) {
    throw CLI::ValidationError(flag,
                               absl::StrCat("cannot read the file ", path, ": ", error.message()));
  }
  return text;
}

Text WhyNotUtf8(absl::string_view text, const Text& path) {
  if (!absl::StartsWith(text, "\xFF\xFE") && !absl::StartsWith(text, "\xFE\xFF")) return "";
  return absl::StrCat(path == "-" ? "stdin" : path, " is written in UTF-16; save it as UTF-8");
}

Text ReadText(const Text& flag, const Text& path) {
  Text text = ReadAll(flag, path);
  if (const Text why = WhyNotUtf8(text, path); !why.empty()) {
    throw CLI::ValidationError(flag, why);
  }
  if (absl::StartsWith(text, "\xEF\xBB\xBF")) text.erase(0, 3);
  return text;
}

}  // namespace sessiond::ctl

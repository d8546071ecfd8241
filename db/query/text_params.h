// Parameters, as texts, of statements made at run time.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace sessiond::db {

// Collects parameters; each method returns the placeholder of its value.
class TextParams {
 public:
  std::string Text(absl::string_view value) { return Add(std::string(value), "text"); }
  std::string Integer(int64_t value) { return Add(absl::StrCat(value), "bigint"); }
  std::string SmallInteger(int64_t value) { return Add(absl::StrCat(value), "smallint"); }
  std::string Json(std::string value) { return Add(std::move(value), "jsonb"); }
  // In a form that PostgreSQL reads under every DateStyle.
  std::string Time(absl::Time value) {
    return Add(absl::FormatTime("%E4Y-%m-%d %H:%M:%E6S+00", value, absl::UTCTimeZone()),
               "timestamptz");
  }
  std::string Add(std::string value, absl::string_view type) {
    values_.push_back(std::move(value));
    return absl::StrCat("$", values_.size(), "::", type);
  }

  std::vector<std::optional<std::string>> Take() { return std::move(values_); }

 private:
  std::vector<std::optional<std::string>> values_;
};

}  // namespace sessiond::db

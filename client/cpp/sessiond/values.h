// Plain values for the Structs of the contract (context, progress, result, metadata, …), which are
// JSON objects, and plain maps for its maps:
//
//   auto context = sessiond::ToStruct({{"site_name", "Berlin"}, {"tickets", sessiond::List{1,
//   2}}}); if (!context.ok()) return context.status(); *request.mutable_set_context() =
//   *std::move(context); … sessiond::Map seen = sessiond::ToMap(session->context());
//   std::map<std::string, int64_t> counters = sessiond::ToMap(session->counters());
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "google/protobuf/map.h"
#include "google/protobuf/struct.pb.h"

namespace sessiond {

class Value;
using List = std::vector<Value>;
using Map = std::map<std::string, Value>;

// A value of JSON. Numbers are IEEE doubles there, so an integer beyond 2^53 would lose digits: it
// is kept here as it is, and refused by ToStruct. Send identifiers as strings.
class Value {
 public:
  Value() = default;  // null
  Value(std::nullptr_t) {}
  template <std::same_as<bool> T>
  Value(T value) : value_(value) {}
  template <std::integral T>
  requires(!std::same_as<T, bool>) Value(T value) {
    if (std::in_range<int64_t>(value) && static_cast<int64_t>(value) <= kExactMax &&
        static_cast<int64_t>(value) >= -kExactMax) {
      value_ = static_cast<double>(value);
    } else {
      value_ = Inexact{std::to_string(value)};
    }
  }
  template <std::floating_point T>
  Value(T value) : value_(static_cast<double>(value)) {}
  Value(const char* value) : value_(std::string(value)) {}
  Value(absl::string_view value) : value_(std::string(value)) {}
  Value(std::string value) : value_(std::move(value)) {}
  // As RFC 3339, in UTC.
  Value(absl::Time value)
      : value_(absl::FormatTime(absl::RFC3339_full, value, absl::UTCTimeZone())) {}
  Value(List value) : value_(std::move(value)) {}
  Value(Map value) : value_(std::move(value)) {}

  // Null when it is of another kind.
  const bool* boolean() const { return std::get_if<bool>(&value_); }
  const double* number() const { return std::get_if<double>(&value_); }
  const std::string* string() const { return std::get_if<std::string>(&value_); }
  const List* list() const { return std::get_if<List>(&value_); }
  const Map* map() const { return std::get_if<Map>(&value_); }
  bool is_null() const { return std::holds_alternative<std::nullptr_t>(value_); }

  // The digits of an integer that is no double; null when it is anything else.
  const std::string* inexact() const {
    const auto* digits = std::get_if<Inexact>(&value_);
    return digits == nullptr ? nullptr : &digits->digits;
  }

  friend bool operator==(const Value& a, const Value& b) { return a.value_ == b.value_; }

 private:
  // Up to 2^53 every integer is a double.
  static constexpr int64_t kExactMax = int64_t{1} << 53;
  struct Inexact {
    std::string digits;
    bool operator==(const Inexact&) const = default;
  };

  std::variant<std::nullptr_t, bool, double, std::string, List, Map, Inexact> value_ = nullptr;
};

// INVALID_ARGUMENT, with the path of the value: NaN, an infinity, or an integer beyond 2^53.
absl::StatusOr<google::protobuf::Struct> ToStruct(const Map& values);
Map ToMap(const google::protobuf::Struct& fields);

// Counters, labels, references.
template <class T>
std::map<std::string, T> ToMap(const google::protobuf::Map<std::string, T>& fields) {
  return {fields.begin(), fields.end()};
}

}  // namespace sessiond

// The parameters of a set-based statement: one array for each column, of rows that are read once
// for each.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "db/connection.h"
#include "google/protobuf/timestamp.pb.h"
#include "server/state_machine/timestamps.h"

namespace sessiond::db {

// REQUIRES: `rows` and `params` outlive it.
template <class Row>
class Columns {
 public:
  Columns(const std::vector<Row>& rows, Params& params) : rows_(rows), params_(params) {}

  template <class Get>
  void Int2(Get get) {
    params_.AddInt2Array(Collect<int16_t>(get));
  }
  template <class Get>
  void Int4(Get get) {
    params_.AddInt4Array(Collect<int32_t>(get));
  }
  template <class Get>
  void Int8(Get get) {
    params_.AddInt8Array(Collect<int64_t>(get));
  }
  template <class Get>
  void Text(Get get) {
    params_.AddTextArray(Collect<absl::string_view>(get));
  }
  template <class Get>
  void Uuid(Get get) {
    params_.AddUuidArray(Collect<absl::string_view>(get));
  }
  template <class Get>
  void Bool(Get get) {
    // std::vector<bool> has no elements to point at.
    std::vector<char> values;
    for (const Row& row : rows_) values.push_back(get(row));
    params_.AddBoolArray(
        absl::MakeSpan(reinterpret_cast<const bool*>(values.data()), values.size()));
  }
  template <class Get>
  void Jsonb(Get get) {
    params_.AddJsonbArray(Collect<std::optional<std::string>>(get));
  }
  template <class Get>
  void Time(Get get) {
    params_.AddTimestampArray(Collect<std::optional<absl::Time>>(get));
  }

 private:
  template <class T, class Get>
  std::vector<T> Collect(Get get) const {
    std::vector<T> values;
    values.reserve(rows_.size());
    for (const Row& row : rows_) values.push_back(static_cast<T>(get(row)));
    return values;
  }
  const std::vector<Row>& rows_;
  Params& params_;
};

// A time that may not be set.
inline std::optional<absl::Time> OptionalTime(bool has, const google::protobuf::Timestamp& time) {
  if (!has) return std::nullopt;
  return FromProto(time);
}

}  // namespace sessiond::db

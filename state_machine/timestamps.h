// absl::Time ↔ google.protobuf.Timestamp, in whole microseconds: the database's resolution. And
// absl::Duration ↔ google.protobuf.Duration.
#pragma once

#include <optional>

#include "absl/time/time.h"
#include "google/protobuf/duration.pb.h"
#include "google/protobuf/timestamp.pb.h"

namespace sessiond {

inline google::protobuf::Timestamp ToProto(absl::Time time) {
  const int64_t micros = absl::ToUnixMicros(time);
  google::protobuf::Timestamp proto;
  int64_t seconds = micros / 1'000'000, rest = micros % 1'000'000;
  if (rest < 0) --seconds, rest += 1'000'000;
  proto.set_seconds(seconds);
  proto.set_nanos(static_cast<int32_t>(rest * 1000));
  return proto;
}

inline absl::Time FromProto(const google::protobuf::Timestamp& proto) {
  return absl::FromUnixSeconds(proto.seconds()) + absl::Nanoseconds(proto.nanos());
}

// When something happened, if the field is set that says so.
inline std::optional<absl::Time> When(bool has, const google::protobuf::Timestamp& proto) {
  return has ? std::optional(FromProto(proto)) : std::nullopt;
}

inline google::protobuf::Duration ToProto(absl::Duration duration) {
  google::protobuf::Duration proto;
  proto.set_seconds(absl::IDivDuration(duration, absl::Seconds(1), &duration));
  proto.set_nanos(static_cast<int32_t>(absl::ToInt64Nanoseconds(duration)));
  return proto;
}

inline absl::Duration FromProto(const google::protobuf::Duration& proto) {
  return absl::Seconds(proto.seconds()) + absl::Nanoseconds(proto.nanos());
}

// RFC 3339 in UTC with microseconds: `2026-01-02T03:04:05.000006Z`.
inline std::string ToRfc3339(absl::Time time) {
  return absl::FormatTime("%Y-%m-%dT%H:%M:%E6SZ", time, absl::UTCTimeZone());
}

}  // namespace sessiond

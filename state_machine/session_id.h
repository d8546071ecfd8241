// Session ids: two formats, fixed by the workflow, and the partition that an id belongs to.
#pragma once

#include <cstdint>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "sessiond/v1/workflow.pb.h"

namespace sessiond {

// Whether the whole of `id` is, in ASCII, of this format. UUID: canonical lower-case 8-4-4-4-12,
// not all zeros. EXEC: `exec_` 8 digits `_` 6 digits `_` 8 of [a-f0-9]; only the pattern is
// checked, the date need not exist.
bool HasFormat(absl::string_view id, v1::Workflow::IdFormat format);

// Whether `id` is of any format.
bool IsSessionId(absl::string_view id);

// A description of the format, for people.
absl::string_view FormatDescription(v1::Workflow::IdFormat format);

// Refuses with INVALID_FORMAT an id that is in neither format. `field` is the request's field with
// the id.
absl::Status CheckSessionId(absl::string_view id, absl::string_view field = "session_id");
// Refuses with INVALID_FORMAT an id that is not in this format.
absl::Status CheckSessionId(absl::string_view id, v1::Workflow::IdFormat format);

// An id made of a time and as many of 128 random bits as fit. UUID: version 7 (RFC 9562, section
// 5.7), so that ids of the same moment are adjacent in an index.
std::string MakeSessionId(v1::Workflow::IdFormat format, absl::Time now, uint64_t random_high,
                          uint64_t random_low);

// The partition of an id, or of a request: FNV-1a (64 bit, Fowler/Noll/Vo) folded to 32 bits,
// modulo `count`. It is stored in databases: never change it.
int16_t PartitionOf(absl::string_view id, int count);

// An id in `partition` of `partition_count`. REQUIRES: 0 <= partition < partition_count.
std::string MakeSessionIdIn(int16_t partition, int partition_count, v1::Workflow::IdFormat format,
                            absl::Time now, absl::FunctionRef<uint64_t()> random);

}  // namespace sessiond

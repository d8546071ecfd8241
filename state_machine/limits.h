// Limits of callers' input that concern more than one field. The limits of one field are its rules
// in proto/.
#pragma once

#include <cstddef>

namespace sessiond {

inline constexpr std::size_t kMessageBytesMax = 4 << 20;  // A request, and a reply.
// An event, which a reply must have room for.
inline constexpr std::size_t kEventBytesMax = 7 << 19;
// A page ends early here, well below a reply's limit.
inline constexpr std::size_t kPageBytesMax = 3 << 20;
inline constexpr std::size_t kStructBytesMax = 64 << 10;  // A Struct, as JSON.
inline constexpr int kStructDepthMax = 16;                // A Struct: levels of objects and lists.
inline constexpr int kMapEntriesMax = 64;                 // Labels, references.
// Other ids, names, values of labels and references.
inline constexpr std::size_t kShortStringBytesMax = 256;
inline constexpr std::size_t kLongStringBytesMax = 4 << 10;  // Reasons, filters.
inline constexpr int kPageSizeDefault = 50;
inline constexpr int kPageSizeMax = 1000;

}  // namespace sessiond

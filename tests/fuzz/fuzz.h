// What the fuzz targets share. A target is one file with one FUZZ_INPUT: it hands bytes that
// somebody else could have sent to the code that reads such bytes, and checks what that code
// promises of everything it accepts and refuses. libFuzzer calls it (deploy/fuzz), and so does
// sessiond_fuzz_test, with each file of tests/fuzz/corpus.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/message.h"

namespace sessiond::fuzz {

// Ends the process, with the promise that was broken and what shows it.
[[noreturn]] void Fail(absl::string_view promise, absl::string_view shown);

inline void Expect(bool kept, absl::string_view promise, absl::string_view shown = "") {
  if (!kept) Fail(promise, shown);
}

// What people read is UTF-8, and has no control characters: C0, DEL, C1.
void ExpectReadable(absl::string_view sentence);
// A refusal: a reason, the code and the category that belong to it, and a sentence; all of it can
// be read.
void ExpectRefusal(const absl::Status& status);
// An error with a sentence.
void ExpectSentence(const absl::Status& status);

// An input, taken from its front.
class Input {
 public:
  // Nothing may come without an address, which absl::StrSplit does not take for an empty text; the
  // daemon's texts have one.
  Input(const uint8_t* data, std::size_t size)
      : rest_(size == 0 ? "" : reinterpret_cast<const char*>(data), size) {}

  // 0 at the end.
  uint8_t Byte();
  // Up to a line break, which is taken too, or to the end.
  absl::string_view Line();
  // All that is left.
  absl::string_view Rest() const { return rest_; }

 private:
  absl::string_view rest_;
};

// Stands in front of a target's body, in a namespace of ours, and names its input. The function
// around it has the name that libFuzzer calls, whatever the namespace.
#define FUZZ_INPUT(input)                                                        \
  static void TakeInput(::sessiond::fuzz::Input input);                          \
  extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size) { \
    TakeInput(::sessiond::fuzz::Input(data, size));                              \
    return 0;                                                                    \
  }                                                                              \
  static void TakeInput(::sessiond::fuzz::Input input)

// The method that a byte stands for: three bits are the service, five its method. So a method that
// is added leaves the others theirs.
const google::protobuf::MethodDescriptor& MethodOf(uint8_t byte);

// The same bytes for the same message, whatever the order of its maps.
std::string BytesOf(const google::protobuf::Message& message);

}  // namespace sessiond::fuzz

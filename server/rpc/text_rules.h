// What a string of the contract may contain, and how long it may be: v1::FieldRules::Text.
#pragma once

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"
#include "sessiond/v1/rules.pb.h"

namespace sessiond::rpc {

// The longest it may be if its field says nothing else.
int32_t BytesMaxOf(v1::FieldRules::Text text);

// For those who describe the contract to programs: an ECMA-262 pattern that every valid value
// matches, and, noncharacters and the UUID of zeros apart, no other; empty where any value does.
// `given`: it may not be empty. Of SESSION_ID: an id that a request is about.
std::string PatternOf(v1::FieldRules::Text text, bool given);

// Whether it is ASCII, so that a character is a byte.
bool IsAscii(v1::FieldRules::Text text);

// What is wrong with the value: "must be a lower-case UUID". Empty when it is valid.
std::string WhatIsWrong(absl::string_view value, v1::FieldRules::Text text, int32_t bytes_max);

}  // namespace sessiond::rpc

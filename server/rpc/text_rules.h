// What a string of the contract may contain, and how long it may be: v1::FieldRules::Text.
#pragma once

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"
#include "sessiond/v1/rules.pb.h"

namespace sessiond::rpc {

// The longest it may be if its field says nothing else.
int32_t BytesMaxOf(v1::FieldRules::Text text);

// What is wrong with the value: "must be a lower-case UUID". Empty when it is valid.
std::string WhatIsWrong(absl::string_view value, v1::FieldRules::Text text, int32_t bytes_max);

}  // namespace sessiond::rpc

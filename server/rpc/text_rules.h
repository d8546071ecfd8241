// What a string of the contract is made of, and how long it may be: v1::FieldRules::Text.
#pragma once

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"
#include "sessiond/v1/rules.pb.h"

namespace sessiond::rpc {

// How long it may be where its field says nothing else.
int32_t BytesMaxOf(v1::FieldRules::Text text);

// What keeps a value from being such a text: "must be a lower-case UUID". Nothing where it fits.
std::string WhatIsWrong(absl::string_view value, v1::FieldRules::Text text, int32_t bytes_max);

}  // namespace sessiond::rpc

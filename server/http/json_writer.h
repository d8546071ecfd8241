// JSON for people to read, written from front to back: what is nested in the text is nested in the
// code that writes it, or is text there, too. RapidJSON escapes.
#pragma once

#include <rapidjson/document.h>
#include <rapidjson/prettywriter.h>
#include <rapidjson/stringbuffer.h>

#include <cassert>
#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"

namespace sessiond::http {

class JsonWriter {
 public:
  JsonWriter() { writer_.SetIndent(' ', 2); }

  // `members`: writes what is in it. Without a key: the whole text, or an element of a list.
  template <class Members>
  void Object(Members members) {
    writer_.StartObject();
    members();
    writer_.EndObject();
  }
  template <class Members>
  void Object(absl::string_view key, Members members) {
    Key(key);
    Object(members);
  }
  template <class Elements>
  void List(absl::string_view key, Elements elements) {
    Key(key);
    writer_.StartArray();
    elements();
    writer_.EndArray();
  }

  void Text(absl::string_view key, absl::string_view value) {
    Key(key);
    Text(value);
  }
  void Number(absl::string_view key, int64_t value) {
    Key(key);
    writer_.Int64(value);
  }
  void Flag(absl::string_view key, bool value) {
    Key(key);
    writer_.Bool(value);
  }
  template <class Range>
  void Texts(absl::string_view key, const Range& values) {
    List(key, [&] {
      for (const auto& value : values) Text(value);
    });
  }

  // The members of an object that is JSON already, in their order. REQUIRES: it is.
  void Members(absl::string_view object) {
    rapidjson::Document parsed;
    parsed.Parse(object.data(), object.size());
    assert(parsed.IsObject());
    for (const auto& member : parsed.GetObject()) {
      member.name.Accept(writer_);
      member.value.Accept(writer_);
    }
  }

  // What has been written, with a line break at its end.
  std::string Finish() const { return std::string(buffer_.GetString(), buffer_.GetSize()) + "\n"; }

 private:
  void Key(absl::string_view key) {
    writer_.Key(key.data(), static_cast<rapidjson::SizeType>(key.size()));
  }
  void Text(absl::string_view value) {
    writer_.String(value.data(), static_cast<rapidjson::SizeType>(value.size()));
  }

  rapidjson::StringBuffer buffer_;
  rapidjson::PrettyWriter<rapidjson::StringBuffer> writer_{buffer_};
};

}  // namespace sessiond::http

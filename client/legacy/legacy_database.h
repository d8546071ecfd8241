// A connection to the database of an old application, which waits for each answer. Whatever its
// role, its environment and its encoding are set to, the same rows are read as the same texts:
//
//   server's encoding   on the wire      read as UTF-8
//   UTF8                UTF8             as it is
//   SQL_ASCII           as it is         as it is, or converted from what it is said to be
//   any other           as it is         converted, by the server, text by text
//
// PostgreSQL would convert whole answers instead, of which one bad row spoils all others.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

struct pg_conn;
struct pg_result;

namespace sessiond::db {

// What a query answered, as texts in the encoding of the wire.
class LegacyResult {
 public:
  explicit LegacyResult(pg_result* result) : result_(result, &Clear) {}

  int rows() const;
  int columns() const;
  std::optional<absl::string_view> At(int row, int column) const;

 private:
  static void Clear(pg_result* result);

  std::unique_ptr<pg_result, void (*)(pg_result*)> result_;
};

class LegacyDatabase {
 public:
  // Connects, and begins to read: one snapshot of everything. `encoding` says what the bytes of a
  // SQL_ASCII database are; empty for UTF-8. Of libpq's variables only those count, and are left in
  // the environment, that count beside --db-url. REQUIRES: called before there are threads.
  // UNAVAILABLE: nobody is there, or does not let us in.
  // INVALID_ARGUMENT: the URL is malformed, or the encoding is none, or is said of a database that
  // knows its own.
  static absl::StatusOr<std::unique_ptr<LegacyDatabase>> Open(const std::string& url,
                                                              const std::string& encoding);
  ~LegacyDatabase();

  // One statement. UNAVAILABLE: the connection is lost. PERMISSION_DENIED: a right is missing, or
  // not all rows may be seen. FAILED_PRECONDITION: any other error. In PostgreSQL's words.
  absl::StatusOr<LegacyResult> Query(const std::string& sql,
                                     const std::vector<std::string>& parameters = {});

  // A text of the wire as UTF-8, or why it cannot be that.
  struct Text {
    std::string utf8;
    std::string problem;  // Empty where there is none.
  };
  // Takes few trips where all is well, and some for each that is not. What is not converted is not
  // looked at, either: whether it is UTF-8 has to be seen by whoever reads it.
  absl::StatusOr<std::vector<Text>> Decode(const std::vector<absl::string_view>& texts);

 private:
  LegacyDatabase() = default;
  absl::Status Begin(const std::string& encoding);
  absl::Status SetEncoding(const std::string& encoding);
  // Of those texts that `which` names.
  absl::Status Convert(const std::vector<absl::string_view>& texts,
                       const std::vector<std::size_t>& which, std::vector<Text>& decoded);

  pg_conn* connection_ = nullptr;
  std::string convert_from_;  // Empty: nothing is converted.
};

}  // namespace sessiond::db

// A blocking connection to the database of an old application. Whatever the settings of its role,
// its environment and its encoding, the same rows are read as the same texts:
//
//   server's encoding   on the wire      read as UTF-8
//   UTF8                UTF8             as it is
//   SQL_ASCII           as it is         as it is, or converted from the given encoding
//   any other           as it is         converted, by the server, text by text
//
// PostgreSQL would convert whole results instead, and one bad row would spoil all others.
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

// The result of a query, as texts in the encoding of the wire.
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
  // Connects, and starts to read: one snapshot of everything. `encoding` is the encoding of a
  // SQL_ASCII database; empty for UTF-8. Of libpq's variables only those that add to --db-url
  // apply, and are left in the environment. REQUIRES: called before there are threads. UNAVAILABLE:
  // no server responds, or it refuses us. INVALID_ARGUMENT: the URL is malformed, or the encoding
  // is unknown, or is given for a database that has its own.
  static absl::StatusOr<std::unique_ptr<LegacyDatabase>> Open(const std::string& url,
                                                              const std::string& encoding);
  ~LegacyDatabase();

  // One statement. UNAVAILABLE: the connection is lost. PERMISSION_DENIED: a right is missing, or
  // not all rows are visible. FAILED_PRECONDITION: any other error. With PostgreSQL's message.
  absl::StatusOr<LegacyResult> Query(const std::string& sql,
                                     const std::vector<std::string>& parameters = {});

  // A text from the wire as UTF-8, or why it cannot be converted.
  struct Text {
    std::string utf8;
    std::string problem;  // Empty if there is none.
  };
  // Takes few round trips when all is well, and some for each text that cannot be converted. Texts
  // that need no conversion are not checked: the caller must check that they are UTF-8.
  absl::StatusOr<std::vector<Text>> Decode(const std::vector<absl::string_view>& texts);

 private:
  LegacyDatabase() = default;
  absl::Status Begin(const std::string& encoding);
  absl::Status SetEncoding(const std::string& encoding);
  // For the texts that `which` names.
  absl::Status Convert(const std::vector<absl::string_view>& texts,
                       const std::vector<std::size_t>& which, std::vector<Text>& decoded);

  pg_conn* connection_ = nullptr;
  std::string convert_from_;  // Empty: nothing is converted.
};

}  // namespace sessiond::db

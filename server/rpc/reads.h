// What reads have in common: the session that they are about, what is derived for their readers,
// and the pages that they answer.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "db/session_store.h"
#include "server/rpc/answer.h"
#include "sessiond/v1/session.pb.h"

namespace sessiond::rpc {

// The session that a read is about, as it is sent. NEVER_EXISTED, ARCHIVED or, unless
// `include_deleted`, DELETED. REQUIRES: `store` outlives the task, here and below.
Answer<Serialized<v1::Session>> FindSession(db::SessionStore& store, std::string session_id,
                                            bool include_deleted, db::Deadline deadline);

// CheckExists, of what a look-up found.
absl::Status CheckFound(absl::string_view session_id, const db::FoundSession& found,
                        bool include_deleted);

// Fills the derived fields of sessions that a query found. A workflow's revision that another
// daemon made since is fetched first. REQUIRES: `sessions` outlive the task.
Task<absl::Status> PresentSessions(db::SessionStore& store, std::vector<v1::Session*> sessions,
                                   db::Deadline deadline);

int PageSize(int asked);
std::string NamespaceOf(const std::string& asked);

// The page tokens of one query.
class Pages {
 public:
  // `query`: all that a token is bound to: the method, then the fields of the request but page_size
  // and page_token. REQUIRES: `store` outlives this.
  Pages(const db::SessionStore& store, std::vector<std::string> query)
      : tokens_(store.page_tokens()), query_(std::move(query)) {}

  // Where the page of this token begins; nothing for the first, whose token is empty. `parse` makes
  // a key of the token's values, or nothing. INVALID_PAGE_TOKEN.
  template <class Parse>
  auto After(const std::string& token, Parse parse) const
      -> absl::StatusOr<decltype(parse(std::vector<std::string>()))> {
    decltype(parse(std::vector<std::string>())) key;
    if (token.empty()) return key;
    const auto values = tokens_.Open(Bound(), token);
    if (!values.ok()) return values.status();
    key = parse(*values);
    if (!key.has_value()) return NoKey();
    return key;
  }

  std::string TokenOf(const std::vector<std::string>& key_values) const {
    return tokens_.Make(Bound(), key_values);
  }

 private:
  // A token of ours that carries no key of this query: made by a daemon of another version.
  static absl::Status NoKey();
  std::vector<absl::string_view> Bound() const { return {query_.begin(), query_.end()}; }

  const PageTokens& tokens_;
  const std::vector<std::string> query_;
};

// A flag of the request, and a number, as parts of a query.
inline std::string Part(bool flag) { return flag ? "1" : "0"; }
inline std::string Part(int number) { return std::to_string(number); }

// Keys that are a sequence.
std::optional<int32_t> ParseSequence(const std::vector<std::string>& values);

}  // namespace sessiond::rpc

#include "server/access/access_file.h"

#include <sys/stat.h>
#include <toml++/toml.h>

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "server/config/config.h"
#include "server/config/toml_text.h"
#include "server/files/small_file.h"
#include "server/identity/certificate_identity.h"
#include "server/identity/one_line.h"
#include "state_machine/readable.h"

namespace sessiond::access {
namespace {

// The SHA-256 of nothing: what an unset variable in a script makes of a token.
constexpr absl::string_view kHashOfNothing =
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
constexpr absl::string_view kHashPrefix = "sha256:";
constexpr std::size_t kFileBytesMax = 4 << 20;
constexpr std::size_t kRolesMax = 256;

bool IsNamespacePattern(absl::string_view text) {
  const bool prefix = absl::ConsumeSuffix(&text, "*");
  if (text.empty()) return prefix;
  if (text.size() > 63 || !absl::ascii_islower(static_cast<unsigned char>(text[0]))) return false;
  return std::all_of(text.begin(), text.end(), [](unsigned char c) {
    return absl::ascii_islower(c) || absl::ascii_isdigit(c) || c == '-';
  });
}

// Whether a certificate can say that.
bool IsIdentity(const std::string& text) {
  absl::string_view host = text;
  const auto said = absl::ConsumePrefix(&host, "dns:")
                        ? identity::CertificateIdentity({}, {std::string(host)})
                        : identity::CertificateIdentity({text}, {});
  return said.ok() && *said == text;
}

// Like the names in events: something that can be read, on one line.
bool IsName(absl::string_view text) {
  return !text.empty() && text.size() <= 256 && identity::IsOneLine(text);
}

}  // namespace

// Reads one file. The first thing that is wrong ends it.
class PolicyReader {
 public:
  PolicyReader(const std::string& path, const MethodTable& methods, UsageBook& usages)
      : path_(path), methods_(methods), policy_(new Policy(usages)) {}

  absl::StatusOr<std::shared_ptr<const Policy>> Read(absl::string_view text) {
    if (absl::Status lines = CheckTomlLines(text, path_); !lines.ok()) return lines;
    toml::table file;
    try {
      file = toml::parse(std::string_view(text.data(), text.size()), path_);
    } catch (const toml::parse_error& error) {
      Fail(static_cast<int>(error.source().begin.line), std::string(error.description()));
      return status_;
    }
    CheckKeys(file, {"open_metrics", "roles", "principals", "issuers"}, "the access file");
    policy_->open_metrics_ = Flag(file, "open_metrics");
    ReadRoles(file);
    for (const auto& [table, line] : Tables(file, "principals")) ReadPrincipal(*table, line);
    for (const auto& [table, line] : Tables(file, "issuers")) ReadIssuer(*table, line);
    if (!status_.ok()) return status_;
    if (policy_->principals_.empty() && policy_->issuers_.empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat(path_,
                       ": nobody could call: add [[principals]] or [[issuers]], as in "
                       "deploy/access.example.toml"));
    }
    if (policy_->local_ == nullptr)
      policy_->local_ = policy_->Make("local", EverythingOf(methods_), {});
    return std::shared_ptr<const Policy>(std::move(policy_));
  }

 private:
  using Table = std::pair<const toml::table*, int>;

  static const toml::node* Find(const toml::table& table, absl::string_view key) {
    return table.get(std::string_view(key.data(), key.size()));
  }
  static int LineOf(const toml::node& node) { return static_cast<int>(node.source().begin.line); }

  // The sentence may quote whatever is in the file.
  void Fail(int line, absl::string_view sentence) {
    if (status_.ok())
      status_ =
          absl::InvalidArgumentError(absl::StrCat(path_, ":", line, ": ", Readable(sentence)));
  }

  void CheckKeys(const toml::table& table, const std::vector<std::string>& known,
                 absl::string_view where) {
    for (const auto& [key, node] : table) {
      const absl::string_view name(key.str().data(), key.str().size());
      if (std::find(known.begin(), known.end(), name) != known.end()) continue;
      Fail(static_cast<int>(key.source().begin.line),
           absl::StrCat("`", name, "` is no key of ", where, DidYouMean(name, known)));
    }
  }

  bool Flag(const toml::table& table, absl::string_view key) {
    const toml::node* node = Find(table, key);
    if (node == nullptr) return false;
    if (const auto flag = node->value_exact<bool>()) return *flag;
    Fail(LineOf(*node), absl::StrCat(key, " must be true or false"));
    return false;
  }

  std::string Text(const toml::table& table, absl::string_view key) {
    const toml::node* node = Find(table, key);
    if (node == nullptr) return "";
    const auto text = node->value_exact<std::string>();
    if (text.has_value() && !text->empty()) return *text;
    Fail(LineOf(*node), absl::StrCat(key, " must be text, and not empty"));
    return "";
  }

  // Each with its line. Something to read in each, and none twice.
  std::vector<std::pair<std::string, int>> Texts(const toml::table& table, absl::string_view key) {
    std::vector<std::pair<std::string, int>> texts;
    const toml::node* node = Find(table, key);
    if (node == nullptr) return texts;
    const toml::array* array = node->as_array();
    if (array == nullptr) {
      Fail(LineOf(*node), absl::StrCat(key, " must be a list: [\"…\"]"));
      return texts;
    }
    std::set<std::string> seen;
    for (const toml::node& element : *array) {
      const auto text = element.value_exact<std::string>();
      if (!text.has_value() || text->empty()) {
        Fail(LineOf(element), absl::StrCat(key,
                                           " has something in it that is "
                                           "not text, or empty"));
      } else if (!seen.insert(*text).second) {
        Fail(LineOf(element), absl::StrCat(key, " has `", *text, "` twice"));
      } else {
        texts.emplace_back(*text, LineOf(element));
      }
    }
    return texts;
  }

  std::vector<Table> Tables(const toml::table& table, absl::string_view key) {
    std::vector<Table> tables;
    const toml::node* node = Find(table, key);
    if (node == nullptr) return tables;
    const toml::array* array = node->as_array();
    if (array == nullptr || !array->is_homogeneous<toml::table>()) {
      Fail(LineOf(*node), absl::StrCat("write [[", key, "]] for each of them"));
      return tables;
    }
    for (const toml::node& element : *array)
      tables.emplace_back(element.as_table(), LineOf(element));
    return tables;
  }

  // ---- roles

  void ReadRoles(const toml::table& file) {
    for (const std::string& name : MethodTable::BuiltInRoles()) roles_[name] = methods_.Of(name);
    const toml::node* node = file.get("roles");
    if (node == nullptr) return;
    const toml::table* roles = node->as_table();
    if (roles == nullptr) return Fail(LineOf(*node), "write [roles.NAME] for each of them");
    for (const auto& [key, role] : *roles) {
      const std::string name(key.str());
      const int line = static_cast<int>(key.source().begin.line);
      if (roles_.contains(name)) {
        Fail(line, absl::StrCat("`", name, "` is a built-in role: give yours another name"));
      } else if (role.as_table() == nullptr) {
        Fail(line, absl::StrCat("write [roles.", name, "]"));
      } else {
        own_roles_[name] = {role.as_table(), line};
      }
    }
    if (own_roles_.size() > kRolesMax) {
      return Fail(LineOf(*node),
                  absl::StrCat("there are ", own_roles_.size(), " roles, and may be ", kRolesMax));
    }
    for (const auto& [name, table] : own_roles_) Resolve(name, {});
  }

  // The permissions of a role of the file's own. `path`: the roles that extend it, from the first.
  void Resolve(const std::string& name, std::vector<std::string> path) {
    const auto [table, line] = own_roles_.at(name);
    path.push_back(name);
    if (roles_.contains(name) || !status_.ok()) return;
    CheckKeys(*table, {"extends", "methods"}, absl::StrCat("[roles.", name, "]"));
    Permissions permissions;
    for (const auto& [base, base_line] : Texts(*table, "extends")) {
      if (std::find(path.begin(), path.end(), base) != path.end()) {
        return Fail(base_line, absl::StrCat("roles extend each other in a circle: ",
                                            absl::StrJoin(path, " → "), " → ", base));
      }
      if (own_roles_.contains(base)) Resolve(base, path);
      if (!status_.ok()) return;
      if (!roles_.contains(base)) return Fail(base_line, NoSuchRole(base));
      permissions.Add(roles_.at(base));
    }
    for (const auto& [pattern, pattern_line] : Texts(*table, "methods")) {
      const Permissions matching = methods_.Matching(pattern);
      if (matching.methods.empty()) {
        return Fail(pattern_line, absl::StrCat("`", pattern, "` matches no method",
                                               DidYouMean(pattern, methods_.Names())));
      }
      permissions.Add(matching);
    }
    if (permissions.methods.empty())
      return Fail(line, absl::StrCat("the role `", name, "` may do nothing: give it methods"));
    roles_[name] = std::move(permissions);
  }

  std::string NoSuchRole(const std::string& name) const {
    std::vector<std::string> known = MethodTable::BuiltInRoles();
    for (const auto& [own, table] : own_roles_) known.push_back(own);
    return absl::StrCat("there is no role `", name, "`", DidYouMean(name, known));
  }

  // ---- grants

  Grant ReadGrant(const toml::table& table, int line, absl::string_view whom) {
    Grant grant;
    Permissions permissions;
    for (const auto& [role, role_line] : Texts(table, "roles")) {
      const auto known = roles_.find(role);
      if (known == roles_.end()) {
        Fail(role_line, NoSuchRole(role));
        continue;
      }
      permissions.Add(known->second);
      grant.roles.push_back(role);
    }
    permissions.Add(methods_.OfAnyRole());
    if (grant.roles.empty())
      Fail(line, absl::StrCat(whom, " has no roles: write, for example, roles = [\"reader\"]"));
    for (const auto& [name, name_line] : Texts(table, "namespaces")) {
      if (!IsNamespacePattern(name)) {
        Fail(name_line, absl::StrCat("`", name,
                                     "` is neither a namespace, nor the beginning of one "
                                     "with a `*` behind it"));
      }
      grant.namespaces.push_back(name);
    }
    if (grant.namespaces.empty()) {
      Fail(line, absl::StrCat(whom,
                              " has no namespaces: write, for example, namespaces = "
                              "[\"default\"], or [\"*\"] for all"));
    }
    if (table.contains("owner")) grant.owner = Text(table, "owner");
    grant.permissions = std::make_shared<const Permissions>(std::move(permissions));
    grant.limits = ReadLimits(table);
    return grant;
  }

  Limits ReadLimits(const toml::table& table) {
    Limits limits;
    const toml::node* node = table.get("limits");
    if (node == nullptr) return limits;
    const toml::table* given = node->as_table();
    if (given == nullptr) {
      Fail(LineOf(*node), "limits must be a table: limits = { calls_per_second = 100 }");
      return limits;
    }
    const std::pair<const char*, int64_t Limits::*> kLimits[] = {
        {"calls_per_second", &Limits::calls_per_second},
        {"connections", &Limits::connections},
        {"calls_in_flight", &Limits::calls_in_flight},
        {"watches", &Limits::watches},
        {"bytes_in_flight", &Limits::bytes_in_flight}};
    std::vector<std::string> known;
    for (const auto& [name, member] : kLimits) {
      known.emplace_back(name);
      const toml::node* value = given->get(name);
      if (value == nullptr) continue;
      const auto number = value->value_exact<int64_t>();
      if (!number.has_value() || *number < 1 || *number > 1'000'000'000'000) {
        Fail(LineOf(*value), absl::StrCat(name, " must be a whole number, 1 or more"));
      } else {
        limits.*member = *number;
      }
    }
    CheckKeys(*given, known, "limits");
    return limits;
  }

  // ---- principals

  void ReadPrincipal(const toml::table& table, int line) {
    CheckKeys(table,
              {"name", "certificates", "token_hashes", "roles", "namespaces", "owner", "limits"},
              "[[principals]]");
    const std::string name = Text(table, "name");
    if (!IsName(name))
      return Fail(line,
                  "a principal has no name, or one that is more than a line: write name = "
                  "\"…\"");
    if (name == "anonymous" || name == "system")
      return Fail(line, absl::StrCat("`", name, "` is a name of the daemon's own: choose another"));
    if (!names_.insert(name).second)
      return Fail(line, absl::StrCat("there are two principals with the name `", name, "`"));
    const Grant grant = ReadGrant(table, line, absl::StrCat("the principal `", name, "`"));
    if (!status_.ok()) return;
    const PrincipalPtr principal = policy_->Make(name, grant, grant.owner);
    for (const auto& [identity, identity_line] : Texts(table, "certificates")) {
      if (!IsIdentity(identity)) {
        Fail(
            identity_line,
            absl::StrCat("`", identity,
                         "` is no certificate's identity: write spiffe://DOMAIN/PATH, or dns:HOST, "
                         "in lower case"));
      }
      if (!policy_->by_certificate_.emplace(identity, principal).second)
        Fail(identity_line, absl::StrCat("two principals have the certificate ", identity));
    }
    for (const auto& [hash, hash_line] : Texts(table, "token_hashes"))
      AddToken(hash, hash_line, principal);
    const bool by_socket = name == "local";
    if (by_socket) policy_->local_ = principal;
    if (!by_socket && Texts(table, "certificates").empty() &&
        Texts(table, "token_hashes").empty()) {
      Fail(line, absl::StrCat("nobody can be `", name,
                              "`: give it certificates or token_hashes (`sessiond access token` "
                              "makes a token)"));
    }
    policy_->principals_.push_back(principal);
  }

  void AddToken(absl::string_view hash, int line, const PrincipalPtr& principal) {
    absl::ConsumePrefix(&hash, kHashPrefix);
    const bool hex = std::all_of(hash.begin(), hash.end(), [](unsigned char c) {
      return absl::ascii_isdigit(c) || (c >= 'a' && c <= 'f');
    });
    if (hash.size() != 64 || !hex) {
      return Fail(line,
                  "a token's hash is sha256: and 64 digits of hex, in lower case; `sessiond "
                  "access token` makes a token and its hash");
    }
    if (hash == kHashOfNothing)
      return Fail(line, "this is the hash of an empty token: the script that made it had none");
    if (!policy_->by_token_hash_.emplace(std::string(hash), principal).second)
      Fail(line, "two principals have this token");
  }

  // ---- issuers

  void ReadIssuer(const toml::table& table, int line) {
    CheckKeys(table, {"issuer", "audiences", "jwks_file", "jwks_url", "ca_file", "subjects"},
              "[[issuers]]");
    Issuer issuer{.issuer = Text(table, "issuer"),
                  .jwks_file = Text(table, "jwks_file"),
                  .jwks_url = Text(table, "jwks_url"),
                  .ca_file = Text(table, "ca_file")};
    for (const auto& [audience, audience_line] : Texts(table, "audiences"))
      issuer.audiences.push_back(audience);
    if (issuer.issuer.empty())
      Fail(line, "an issuer has no name: write issuer = \"…\", as its tokens have it in `iss`");
    if (!issuer_names_.insert(issuer.issuer).second)
      Fail(line, absl::StrCat("there are two issuers with the name ", issuer.issuer));
    if (issuer.audiences.empty()) {
      Fail(line,
           "an issuer without audiences: write audiences = [\"sessiond\"], or tokens that "
           "were made for others would be taken");
    }
    if (issuer.jwks_file.empty() == issuer.jwks_url.empty())
      Fail(line, "an issuer's keys come from one of jwks_file and jwks_url");
    if (!issuer.jwks_url.empty() && !absl::StartsWith(issuer.jwks_url, "https://"))
      Fail(line, "jwks_url must begin with https://: keys from elsewhere are anybody's");
    if (!issuer.ca_file.empty() && issuer.jwks_url.empty())
      Fail(line, "ca_file is for jwks_url, and there is none");
    for (const auto& [subject, subject_line] : Tables(table, "subjects"))
      ReadSubject(*subject, subject_line, &issuer);
    if (issuer.subjects.empty()) Fail(line, "nobody is granted anything: add [[issuers.subjects]]");
    policy_->issuers_.push_back(std::move(issuer));
  }

  void ReadSubject(const toml::table& table, int line, Issuer* issuer) {
    CheckKeys(table, {"subject", "roles", "namespaces", "owner", "limits"}, "[[issuers.subjects]]");
    const std::string pattern = Text(table, "subject");
    if (pattern.empty())
      return Fail(line, "whose tokens? write subject = \"…\", as in `sub`, or \"*\" for all");
    if (absl::StrContains(absl::string_view(pattern).substr(0, pattern.size() - 1), '*'))
      return Fail(line, "a `*` stands for the rest of a subject, at its end only");
    for (const Issuer::Subject& other : issuer->subjects) {
      if (other.pattern == pattern)
        return Fail(line, absl::StrCat("the subject `", pattern, "` is there twice"));
    }
    issuer->subjects.push_back(
        {pattern, ReadGrant(table, line, absl::StrCat("the subject `", pattern, "`"))});
  }

  const std::string& path_;
  const MethodTable& methods_;
  std::unique_ptr<Policy> policy_;
  absl::Status status_;
  std::map<std::string, Permissions> roles_;
  std::map<std::string, Table> own_roles_;
  std::set<std::string> names_, issuer_names_;
};

absl::StatusOr<std::shared_ptr<const Policy>> ParseAccessFile(absl::string_view text,
                                                              const std::string& path,
                                                              const MethodTable& methods,
                                                              UsageBook& usages) {
  return PolicyReader(path, methods, usages).Read(WithoutByteOrderMark(text));
}

absl::StatusOr<std::shared_ptr<const Policy>> ReadAccessFile(const std::string& path,
                                                             const MethodTable& methods,
                                                             UsageBook& usages) {
  const auto file = ReadSmallFile("access file", path, kFileBytesMax);
  if (!file.ok()) return file.status();
  if ((file->stat.st_mode & S_IWOTH) != 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        path, ": everybody on this machine may write the access file: chmod o-w ", path));
  }
  return ParseAccessFile(file->text, path, methods, usages);
}

}  // namespace sessiond::access

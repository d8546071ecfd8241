// Short texts with a form: addresses, origins, connection strings, ids, paths of an update. The
// first byte says which.
#include <cstdlib>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "client/cpp/server_address.h"
#include "client/sessionctl/printable.h"
#include "db/connection/conninfo.h"
#include "server/config/address.h"
#include "server/config/config.h"
#include "state_machine/session_id.h"
#include "state_machine/update_mask.h"
#include "tests/fuzz/fuzz.h"

namespace sessiond {
namespace {

using fuzz::Expect;

void CheckAddresses(absl::string_view text) {
  const auto addresses = ParseAddresses(text);
  if (!addresses.ok()) return fuzz::ExpectSentence(addresses.status());
  const std::string printed = ToString(*addresses);
  const auto again = ParseAddresses(printed);
  Expect(again.ok() && ToString(*again) == printed, "An address is the same after it was printed.",
         text);
}

void CheckConnInfo(const std::string& text) {
  const auto conninfo = db::ParseConnInfo(text);
  if (conninfo.ok()) return;
  fuzz::ExpectSentence(conninfo.status());
  // A password may be anywhere in it: no word of it is repeated.
  constexpr absl::string_view kSecret = "s3cr3t";
  Expect(!absl::StrContains(conninfo.status().message(), kSecret), "No part of it is shown.", text);
}

void CheckMask(absl::string_view text) {
  google::protobuf::FieldMask mask;
  for (const absl::string_view path : absl::StrSplit(text, '\n')) mask.add_paths(std::string(path));
  const auto paths = ParseUpdateMask(mask);
  if (!paths.ok()) return fuzz::ExpectRefusal(paths.status());
  google::protobuf::FieldMask printed;
  for (const UpdatePath& path : *paths)
    printed.add_paths(path.key.empty() ? path.path : UpdatePathOf(path.field, path.key));
  const auto again = ParseUpdateMask(printed);
  Expect(again.ok() && again->size() == paths->size(), "Its paths are paths.", text);
  for (std::size_t i = 0; i < paths->size(); ++i) {
    Expect((*again)[i].field == (*paths)[i].field && (*again)[i].key == (*paths)[i].key,
           "They are the same paths.", text);
  }
}

void CheckServer(absl::string_view text) {
  const auto server = ParseServerAddress(text);
  if (server.ok()) {
    Expect(!server->target.empty(), "An address leads somewhere.", text);
  } else {
    fuzz::ExpectReadable(ctl::Printable(server.status().message()));
  }
}

}  // namespace

FUZZ_INPUT(input) {
  const uint8_t kind = input.Byte();
  const absl::string_view text = input.Rest();
  switch (kind % 7) {
    case 0:
      CheckAddresses(text);
      break;
    case 1:
      if (IsOrigin(text)) {
        Expect(absl::StrContains(text, "://"), "An origin has a scheme.", text);
        fuzz::ExpectReadable(text);
      }
      break;
    case 2:
      CheckServer(text);
      break;
    case 3:
      CheckConnInfo(std::string(text));
      break;
    case 4:
      if (const auto settings = ParsePgSettings(text); settings.has_value()) {
        for (const auto& [name, value] : *settings)
          Expect(!name.empty() && !value.empty(), "A setting has a name and a value.", text);
      }
      break;
    case 5:
      if (const absl::Status id = CheckSessionId(text); id.ok()) {
        fuzz::ExpectReadable(text);
        Expect(IsSessionId(text), "It is an id.", text);
      } else {
        fuzz::ExpectRefusal(id);
      }
      break;
    default:
      CheckMask(text);
  }
}

}  // namespace sessiond

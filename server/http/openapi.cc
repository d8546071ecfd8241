#include "server/http/openapi.h"

#include <algorithm>
#include <tuple>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "google/rpc/error_details.pb.h"
#include "server/http/connect_protocol.h"
#include "server/http/json_schema.h"
#include "server/http/json_writer.h"
#include "server/http/proto_comments.h"
#include "sessiond/v1/error_reason.pb.h"
#include "sessiond/v1/rules.pb.h"

namespace sessiond::http {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::MethodDescriptor;
using google::protobuf::MethodOptions;
using google::protobuf::ServiceDescriptor;

using Names = std::vector<absl::string_view>;
using Methods = std::vector<const MethodDescriptor*>;

// In Markdown, where a line break is a space.
constexpr absl::string_view kAbout =
    R"(Tracks sessions: where each one is, the task that runs for it, what went wrong and who can
fix it.

The methods are those of the gRPC contract `sessiond.v1`, in the [Connect
protocol](https://connectrpc.com/docs/protocol) over HTTP. A call is a POST of JSON; one without
side effects may be a GET, too. `application/proto` in the place of `application/json` carries
the same messages in Protobuf's binary form, and `application/connect+proto` in the place of
`application/connect+json` the same streams.

JSON is [Proto3's](https://protobuf.dev/programming-guides/json/). A field without a value may
be left out, of requests and of answers. The schemas describe the canonical form. Requests may
also have a field's name as it is in the contract (`session_id`), `null` for no value, and
numbers for enums; names of no field are refused.

Limits of texts are in bytes of UTF-8, where `maxLength` counts characters: what is longer than
its `maxLength` is refused, and what is not may be, if it is not ASCII. Texts have no NUL
characters. An object without a schema of its own has at most 64 KiB as JSON and 16 levels.

A change with a `requestId` takes effect once, however often it is sent.)";

// Those that refusals may have (state_machine/refusal.h).
std::vector<const Descriptor*> DetailsOfErrors() {
  return {google::rpc::ErrorInfo::descriptor(), google::rpc::BadRequest::descriptor(),
          google::rpc::PreconditionFailure::descriptor(), google::rpc::ResourceInfo::descriptor(),
          google::rpc::RetryInfo::descriptor()};
}

bool Streams(const MethodDescriptor& method) {
  return method.client_streaming() || method.server_streaming();
}

// Connect's GET is for calls that may be cached, and sent again by anybody.
bool HasGet(const MethodDescriptor& method) {
  return !Streams(method) && method.options().idempotency_level() == MethodOptions::NO_SIDE_EFFECTS;
}

Methods Sorted(absl::Span<const MethodDescriptor* const> methods) {
  Methods sorted(methods.begin(), methods.end());
  std::sort(sorted.begin(), sorted.end(), [](const auto* a, const auto* b) {
    return std::make_tuple(a->service()->full_name(), a->index()) <
           std::make_tuple(b->service()->full_name(), b->index());
  });
  return sorted;
}

void WriteText(absl::string_view key, absl::string_view text, JsonWriter& out) {
  if (!text.empty()) out.Text(key, text);
}

void WriteSchemaRef(absl::string_view full_name, JsonWriter& out) {
  out.Object("schema", [&] { out.Text("$ref", SchemaPath(full_name)); });
}

// -------------------------------------------------------------------------------------------------
// operations

// How a message travels: by itself, or in the envelopes of a stream, which schemas cannot say.
void WriteContent(const Descriptor& type, bool streams, JsonWriter& out) {
  out.Object("content", [&] {
    if (!streams) {
      out.Object("application/json", [&] { WriteSchemaRef(type.full_name(), out); });
      return;
    }
    out.Object("application/connect+json", [&] {
      out.Object("schema", [&] {
        out.Text("description",
                 absl::StrCat("Envelopes, each a byte of flags (0), four bytes of length "
                              "(big-endian) and so much JSON: `",
                              type.full_name(), "`."));
        out.Text("contentMediaType", "application/json");
        out.Object("contentSchema", [&] { out.Text("$ref", SchemaPath(type.full_name())); });
      });
    });
  });
}

constexpr absl::string_view kParameters = "#/components/parameters/";

void WriteParameterRef(absl::string_view name, JsonWriter& out) {
  out.Object([&] { out.Text("$ref", absl::StrCat(kParameters, name)); });
}

void WriteMessageParameter(const Descriptor& request, JsonWriter& out) {
  out.Object([&] {
    out.Text("name", "message");
    out.Text("in", "query");
    out.Flag("required", true);
    out.Text("description", "The request, in the encoding named; see `base64`.");
    out.Object("content", [&] {
      out.Object("application/json", [&] { WriteSchemaRef(request.full_name(), out); });
    });
  });
}

std::string DescriptionOf(const MethodDescriptor& method, const std::string& rest) {
  std::string description = rest;
  const auto add = [&](absl::string_view paragraph) {
    absl::StrAppend(&description, description.empty() ? "" : "\n\n", paragraph);
  };
  const v1::MethodAccess::Role role = method.options().GetExtension(v1::access).role();
  add(role == v1::MethodAccess::ANY
          ? std::string("Takes any role.")
          : absl::StrCat("Takes the role ", v1::MethodAccess::Role_Name(role), " at least."));
  if (Streams(method))
    add(absl::StrCat(method.client_streaming() ? "Requests and answers come"
                                               : "The request and its answers come",
                     " in envelopes. The last answer has the flag 2, is a `connect.EndOfStream` "
                     "and says how the stream ended: the status of HTTP is 200 even when that was "
                     "an error."));
  return description;
}

// An error of a stream is in its end.
void WriteResponses(const MethodDescriptor& method, const ProtoComments& comments,
                    JsonWriter& out) {
  const Descriptor& type = *method.output_type();
  out.Object("responses", [&] {
    out.Object("200", [&] {
      const std::string summary = Summarize(comments.Of(type)).sentence;
      out.Text("description", summary.empty() ? type.name() : summary);
      WriteContent(type, Streams(method), out);
    });
    if (!Streams(method))
      out.Object("default", [&] { out.Text("$ref", "#/components/responses/Error"); });
  });
}

// `get`: by GET, else by POST.
void WriteOperation(const MethodDescriptor& method, bool get, const ProtoComments& comments,
                    JsonWriter& out) {
  const Summary summary = Summarize(comments.Of(method));
  const Descriptor& request = *method.input_type();
  out.Texts("tags", Names{method.service()->name()});
  WriteText("summary", summary.sentence, out);
  out.Text("description", DescriptionOf(method, summary.rest));
  out.Text("operationId",
           absl::StrCat(method.service()->name(), "_", method.name(), get ? "_get" : ""));
  if (method.options().deprecated()) out.Flag("deprecated", true);
  out.List("parameters", [&] {
    if (get) {
      for (const auto name : {"Connect", "Encoding", "Base64"}) WriteParameterRef(name, out);
      WriteMessageParameter(request, out);
    } else {
      WriteParameterRef("ConnectProtocolVersion", out);
    }
    WriteParameterRef("ConnectTimeoutMs", out);
  });
  if (!get)
    out.Object("requestBody", [&] {
      out.Flag("required", true);
      WriteContent(request, Streams(method), out);
    });
  WriteResponses(method, comments, out);
}

void WritePaths(const Methods& methods, const ProtoComments& comments, JsonWriter& out) {
  out.Object("paths", [&] {
    for (const MethodDescriptor* method : methods) {
      const std::string path =
          absl::StrCat("/", method->service()->full_name(), "/", method->name());
      out.Object(path, [&] {
        if (HasGet(*method))
          out.Object("get", [&] { WriteOperation(*method, /*get=*/true, comments, out); });
        out.Object("post", [&] { WriteOperation(*method, /*get=*/false, comments, out); });
      });
    }
  });
}

void WriteTags(const Methods& methods, const ProtoComments& comments, JsonWriter& out) {
  out.List("tags", [&] {
    const ServiceDescriptor* last = nullptr;
    for (const MethodDescriptor* method : methods) {
      if (method->service() == last) continue;
      last = method->service();
      out.Object([&] {
        out.Text("name", last->name());
        WriteText("description", comments.Of(*last), out);
      });
    }
  });
}

// -------------------------------------------------------------------------------------------------
// what all operations share

// clang-format off
constexpr absl::string_view kParametersAndResponses = R"({
  "parameters": {
    "Base64": {
      "name": "base64", "in": "query", "required": false,
      "description": "1: `message` is in base64, URL-safe, with or without padding, as binary messages have to be.",
      "schema": {"type": "string", "enum": ["0", "1"]}
    },
    "Connect": {
      "name": "connect", "in": "query", "required": false,
      "description": "The protocol's version.",
      "schema": {"type": "string", "const": "v1"}
    },
    "ConnectProtocolVersion": {
      "name": "Connect-Protocol-Version", "in": "header", "required": false,
      "description": "The protocol's version.",
      "schema": {"type": "string", "const": "1"}
    },
    "ConnectTimeoutMs": {
      "name": "Connect-Timeout-Ms", "in": "header", "required": false,
      "description": "How long the caller waits, in milliseconds. Past it the call ends as deadline_exceeded.",
      "schema": {"type": "integer", "minimum": 0, "maximum": 9999999999}
    },
    "Encoding": {
      "name": "encoding", "in": "query", "required": true,
      "description": "What `message` is, and what the answer will be.",
      "schema": {"type": "string", "enum": ["json", "proto"]}
    }
  },
  "responses": {
    "Error": {
      "description": "The call was refused, or failed.",
      "content": {"application/json": {"schema": {"$ref": "#/components/schemas/connect.Error"}}}
    }
  }
})";

// The schemas that are not of the contract. In place of CODES come the names of all codes; `debug`
// is the same message as in `value`, one of DetailsOfErrors.
constexpr absl::string_view kConnectSchemas = R"({
  "connect.EndOfStream": {
    "type": "object",
    "description": "The last envelope of a stream: the one with the flag 2.",
    "properties": {
      "error": {
        "$ref": "#/components/schemas/connect.Error",
        "description": "Why it ended. Left out where it ended well."
      },
      "metadata": {
        "type": "object",
        "description": "What unary calls have in headers.",
        "additionalProperties": {"type": "array", "items": {"type": "string"}}
      }
    }
  },
  "connect.Error": {
    "type": "object",
    "description": "Why a call was refused. One of its details is a google.rpc.ErrorInfo, whose reason is one of [sessiond.v1.ErrorReason](#/components/schemas/sessiond.v1.ErrorReason).",
    "properties": {
      "code": {"type": "string", "description": "What kind of error it is.", "enum": ["CODES"]},
      "message": {"type": "string", "description": "A sentence that a person can act on."},
      "details": {
        "type": "array",
        "description": "More about it, for programs: messages of google.rpc.",
        "items": {
          "type": "object",
          "properties": {
            "type": {"type": "string", "description": "Its full name, for example `google.rpc.ErrorInfo`."},
            "value": {
              "type": "string",
              "description": "It in Protobuf's binary form, in base64 without padding.",
              "pattern": "^[A-Za-z0-9+/]*={0,2}$"
            },
            "debug": {
              "description": "The same as JSON, for people to read. May be left out.",
              "anyOf": [
                {
                  "$ref": "#/components/schemas/google.rpc.ErrorInfo",
                  "properties": {"reason": {"$ref": "#/components/schemas/sessiond.v1.ErrorReason"}}
                },
                {"$ref": "#/components/schemas/google.rpc.BadRequest"},
                {"$ref": "#/components/schemas/google.rpc.PreconditionFailure"},
                {"$ref": "#/components/schemas/google.rpc.ResourceInfo"},
                {"$ref": "#/components/schemas/google.rpc.RetryInfo"}
              ]
            }
          },
          "required": ["type", "value"]
        }
      }
    },
    "required": ["code"]
  }
})";

constexpr absl::string_view kSecuritySchemes = R"({
  "securitySchemes": {
    "bearer": {
      "type": "http",
      "description": "A token of the access file, or a JWT of an issuer it names.",
      "scheme": "bearer"
    }
  }
})";
// clang-format on

void WriteSchemas(const Methods& methods, const ProtoComments& comments, JsonWriter& out) {
  JsonSchemas schemas(comments);
  for (const MethodDescriptor* method : methods) {
    schemas.AddRequest(*method->input_type());
    schemas.Add(*method->output_type());
  }
  for (const Descriptor* type : DetailsOfErrors()) schemas.Add(*type);
  schemas.Add(*v1::ErrorReason_descriptor());
  out.Object("schemas", [&] {
    const std::string codes = absl::StrJoin(ErrorCodes(), R"(", ")");
    out.Members(absl::StrReplaceAll(kConnectSchemas, {{"CODES", codes}}));
    schemas.Write(out);
  });
}

void WriteComponents(const Methods& methods, const ProtoComments& comments, JsonWriter& out) {
  out.Object("components", [&] {
    out.Members(kParametersAndResponses);
    WriteSchemas(methods, comments, out);
    out.Members(kSecuritySchemes);
  });
}

}  // namespace

std::string OpenApi(absl::Span<const MethodDescriptor* const> methods,
                    absl::string_view descriptor_set) {
  const ProtoComments comments(descriptor_set);
  const Methods sorted = Sorted(methods);
  JsonWriter out;
  out.Object([&] {
    out.Text("openapi", "3.1.0");
    out.Object("info", [&] {
      out.Text("title", "sessiond");
      out.Text("summary", "Tracks long-lived user sessions.");
      out.Text("description", kAbout);
      out.Text("version", SESSIOND_VERSION);
    });
    // A token, or what the connection says of the caller; or nothing, where nobody is asked.
    out.Members(R"({"servers": [{"url": "/"}], "security": [{"bearer": []}, {}]})");
    WriteTags(sorted, comments, out);
    WritePaths(sorted, comments, out);
    WriteComponents(sorted, comments, out);
  });
  return out.Finish();
}

}  // namespace sessiond::http

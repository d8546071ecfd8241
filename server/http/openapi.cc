#include "server/http/openapi.h"

#include <algorithm>
#include <tuple>
#include <vector>

#include "absl/strings/str_cat.h"
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

constexpr absl::string_view kErrorSchema = "connect.Error";
constexpr absl::string_view kEndOfStreamSchema = "connect.EndOfStream";

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
    add(absl::StrCat(
        method.client_streaming() ? "Requests and answers come"
                                  : "The request and its answers come",
        " in envelopes. The last answer has the flag 2, is a `", kEndOfStreamSchema,
        "` and says how the stream ended: the status of HTTP is 200 even when that was an error."));
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

// `schema`: writes its members.
template <class Schema>
void WriteParameter(absl::string_view key, absl::string_view in, absl::string_view name,
                    bool required, absl::string_view description, Schema schema, JsonWriter& out) {
  out.Object(key, [&] {
    out.Text("name", name);
    out.Text("in", in);
    out.Flag("required", required);
    out.Text("description", description);
    out.Object("schema", schema);
  });
}

void WriteParameters(JsonWriter& out) {
  const auto constant = [&](absl::string_view value) {
    return [&out, value] {
      out.Text("type", "string");
      out.Text("const", value);
    };
  };
  out.Object("parameters", [&] {
    WriteParameter(
        "Base64", "query", "base64", false,
        "1: `message` is in base64, URL-safe, with or without padding, as binary messages "
        "have to be.",
        [&] {
          out.Text("type", "string");
          out.Texts("enum", Names{"0", "1"});
        },
        out);
    WriteParameter("Connect", "query", "connect", false, "The protocol's version.", constant("v1"),
                   out);
    WriteParameter("ConnectProtocolVersion", "header", "Connect-Protocol-Version", false,
                   "The protocol's version.", constant("1"), out);
    WriteParameter(
        "ConnectTimeoutMs", "header", "Connect-Timeout-Ms", false,
        "How long the caller waits, in milliseconds. Past it the call ends as deadline_exceeded.",
        [&] {
          out.Text("type", "integer");
          out.Number("minimum", 0);
          out.Number("maximum", 9'999'999'999);
        },
        out);
    WriteParameter(
        "Encoding", "query", "encoding", true, "What `message` is, and what the answer will be.",
        [&] {
          out.Text("type", "string");
          out.Texts("enum", Names{"json", "proto"});
        },
        out);
  });
}

// The same message as in `value`, for people.
void WriteDebug(JsonWriter& out) {
  out.Object("debug", [&] {
    out.Text("description", "The same as JSON, for people to read. May be left out.");
    out.List("anyOf", [&] {
      for (const Descriptor* type : DetailsOfErrors())
        out.Object([&] {
          out.Text("$ref", SchemaPath(type->full_name()));
          if (type != google::rpc::ErrorInfo::descriptor()) return;
          out.Object("properties", [&] {
            out.Object("reason", [&] {
              out.Text("$ref", SchemaPath(v1::ErrorReason_descriptor()->full_name()));
            });
          });
        });
    });
  });
}

void WriteError(JsonWriter& out) {
  out.Text("type", "object");
  out.Text("description",
           "Why a call was refused. One of its details is a google.rpc.ErrorInfo, whose reason is "
           "one of [sessiond.v1.ErrorReason](#/components/schemas/sessiond.v1.ErrorReason).");
  out.Object("properties", [&] {
    out.Object("code", [&] {
      out.Text("type", "string");
      out.Text("description", "What kind of error it is.");
      out.Texts("enum", ErrorCodes());
    });
    out.Object("message", [&] {
      out.Text("type", "string");
      out.Text("description", "A sentence that a person can act on.");
    });
    out.Object("details", [&] {
      out.Text("type", "array");
      out.Text("description", "More about it, for programs: messages of google.rpc.");
      out.Object("items", [&] {
        out.Text("type", "object");
        out.Object("properties", [&] {
          out.Object("type", [&] {
            out.Text("type", "string");
            out.Text("description", "Its full name, for example `google.rpc.ErrorInfo`.");
          });
          out.Object("value", [&] {
            out.Text("type", "string");
            out.Text("description", "It in Protobuf's binary form, in base64 without padding.");
            out.Text("pattern", "^[A-Za-z0-9+/]*={0,2}$");
          });
          WriteDebug(out);
        });
        out.Texts("required", Names{"type", "value"});
      });
    });
  });
  out.Texts("required", Names{"code"});
}

void WriteEndOfStream(JsonWriter& out) {
  out.Text("type", "object");
  out.Text("description", "The last envelope of a stream: the one with the flag 2.");
  out.Object("properties", [&] {
    out.Object("error", [&] {
      out.Text("$ref", SchemaPath(kErrorSchema));
      out.Text("description", "Why it ended. Left out where it ended well.");
    });
    out.Object("metadata", [&] {
      out.Text("type", "object");
      out.Text("description", "What unary calls have in headers.");
      out.Object("additionalProperties", [&] {
        out.Text("type", "array");
        out.Object("items", [&] { out.Text("type", "string"); });
      });
    });
  });
}

void WriteSchemas(const Methods& methods, const ProtoComments& comments, JsonWriter& out) {
  JsonSchemas schemas(comments);
  for (const MethodDescriptor* method : methods) {
    schemas.AddRequest(*method->input_type());
    schemas.Add(*method->output_type());
  }
  for (const Descriptor* type : DetailsOfErrors()) schemas.Add(*type);
  schemas.Add(*v1::ErrorReason_descriptor());
  out.Object("schemas", [&] {
    out.Object(kEndOfStreamSchema, [&] { WriteEndOfStream(out); });
    out.Object(kErrorSchema, [&] { WriteError(out); });
    schemas.Write(out);
  });
}

void WriteComponents(const Methods& methods, const ProtoComments& comments, JsonWriter& out) {
  out.Object("components", [&] {
    WriteParameters(out);
    out.Object("responses", [&] {
      out.Object("Error", [&] {
        out.Text("description", "The call was refused, or failed.");
        out.Object("content", [&] {
          out.Object("application/json", [&] { WriteSchemaRef(kErrorSchema, out); });
        });
      });
    });
    WriteSchemas(methods, comments, out);
    out.Object("securitySchemes", [&] {
      out.Object("bearer", [&] {
        out.Text("type", "http");
        out.Text("description", "A token of the access file, or a JWT of an issuer it names.");
        out.Text("scheme", "bearer");
      });
    });
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
    out.List("servers", [&] { out.Object([&] { out.Text("url", "/"); }); });
    // A token, or what the connection says of the caller; or nothing, where nobody is asked.
    out.List("security", [&] {
      out.Object([&] { out.List("bearer", [] {}); });
      out.Object([] {});
    });
    WriteTags(sorted, comments, out);
    WritePaths(sorted, comments, out);
    WriteComponents(sorted, comments, out);
  });
  return out.Finish();
}

}  // namespace sessiond::http

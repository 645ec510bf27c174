#include "api/http/message.h"

#include <fmt/core.h>

#include <utility>

#include "api/json/ascii.h"

namespace hako::api::http {

std::string_view method_name(Method method) {
    switch (method) {
        case Method::kGet:
            return "GET";
        case Method::kHead:
            return "HEAD";
        case Method::kPut:
            return "PUT";
        case Method::kPost:
            return "POST";
        case Method::kPatch:
            return "PATCH";
        case Method::kDelete:
            return "DELETE";
        case Method::kOther:
            break;
    }
    return "?";
}

std::string_view reason_phrase(Status status) {
    switch (status) {
        case Status::kOk:
            return "OK";
        case Status::kNoContent:
            return "No Content";
        case Status::kBadRequest:
            return "Bad Request";
        case Status::kForbidden:
            return "Forbidden";
        case Status::kNotFound:
            return "Not Found";
        case Status::kMethodNotAllowed:
            return "Method Not Allowed";
        case Status::kRequestTimeout:
            return "Request Timeout";
        case Status::kConflict:
            return "Conflict";
        case Status::kLengthRequired:
            return "Length Required";
        case Status::kContentTooLarge:
            return "Content Too Large";
        case Status::kTooManyRequests:
            return "Too Many Requests";
        case Status::kHeaderTooLarge:
            return "Request Header Fields Too Large";
        case Status::kInternalServerError:
            return "Internal Server Error";
        case Status::kNotImplemented:
            return "Not Implemented";
        case Status::kServiceUnavailable:
            return "Service Unavailable";
        case Status::kVersionNotSupported:
            return "HTTP Version Not Supported";
    }
    return "Unknown";
}

Status status_of(Fault fault) {
    switch (fault) {
        case Fault::kInput:
            return Status::kBadRequest;
        case Fault::kMissing:
            return Status::kNotFound;
        case Fault::kConflict:
            return Status::kConflict;
        case Fault::kBusy:
            return Status::kTooManyRequests;
        // As Cloud Hypervisor answers a call that the VM's state does not allow.
        case Fault::kState:
        case Fault::kHost:
            break;
    }
    return Status::kInternalServerError;
}

Response ok(std::string json) {
    Response response;
    response.status = Status::kOk;
    response.body = std::move(json);
    return response;
}

Response failure(Status status, const std::vector<std::string>& chain) {
    Response response;
    response.status = status;
    response.body.push_back('[');
    for (const std::string& cause : chain) {
        if (response.body.size() > 1) response.body.push_back(',');
        response.body += json::quoted(cause);
    }
    response.body.push_back(']');
    return response;
}

Response failure(const Error& error) {
    return failure(status_of(error.fault()), error.chain());
}

std::string wire_text(const Response& response, bool keep_alive, bool head_only) {
    std::string text = fmt::format("HTTP/1.1 {} {}\r\nServer: hako\r\nConnection: {}\r\n",
                                   std::to_underlying(response.status), reason_phrase(response.status),
                                   keep_alive ? "keep-alive" : "close");
    if (!response.allow.empty()) text += fmt::format("Allow: {}\r\n", response.allow);
    const bool has_body = response.status != Status::kNoContent;
    const bool is_stream = has_body && response.stream;
    if (has_body && (is_stream || !response.body.empty()))
        text += fmt::format("Content-Type: {}\r\n", response.content_type);
    if (is_stream)
        text += "Transfer-Encoding: chunked\r\n";
    else if (has_body)
        text += fmt::format("Content-Length: {}\r\n", response.body.size());
    text += "\r\n";
    if (has_body && !is_stream && !head_only) text += response.body;
    return text;
}

std::string chunk_text(std::string_view piece) {
    return fmt::format("{:x}\r\n{}\r\n", piece.size(), piece);
}

}  // namespace hako::api::http

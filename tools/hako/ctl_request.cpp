#include "tools/hako/ctl_request.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <boost/json/string.hpp>
#include <cerrno>
#include <climits>
#include <filesystem>
#include <limits>

#include "tools/hako/cli_number.h"
#include "vmm/base/fd.h"
#include "vmm/base/read_all.h"
#include "vmm/base/units.h"

namespace hako::cli {
namespace {

namespace js = boost::json;
using Kind = CtlPositional::Kind;

constexpr std::size_t kMaxBody = 4 * 1024 * 1024;

Result<std::string> read_file(const std::string& path) {
    const auto refuse = [&](int error) {
        return fail_input("{}: {}: name a file with the request's JSON", path, errno_text(error));
    };
    const Fd file(path == "-" ? ::fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3)
                              : ::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!file.valid()) return refuse(errno);
    std::string text;
    const int error = read_all(file.get(), kMaxBody, text);
    if (error == EFBIG) return fail_input("{} is longer than {} bytes", path, kMaxBody);
    if (error != 0) return refuse(error);
    return text;
}

js::string to_json_string(std::string_view text) {
    return js::string(text.data(), text.size());
}

/// "3" is a number and "true" a boolean; "abc" and "/a" are texts.
js::value to_json(std::string_view text) {
    boost::system::error_code error;
    js::value value = js::parse(js::string_view(text.data(), text.size()), error);
    if (error) return to_json_string(text);
    return value;
}

Result<js::value> to_json(const CtlPositional& positional, const std::string& word) {
    switch (positional.kind) {
        case Kind::kSize: {
            const auto size = parse_size(word);
            if (!size) return fail_input("{}: a size such as 512M or 2G is wanted", word);
            return js::value(*size);
        }
        case Kind::kSwitch:
            if (word != "on" && word != "off") return fail_input("{}: must be on or off", word);
            return js::value(word == "on");
        case Kind::kFileUrl:
            if (word.starts_with("file://")) return js::value(to_json_string(word));
            return js::value(to_json_string("file://" + std::filesystem::absolute(word).string()));
        case Kind::kText:
        case Kind::kNone:
            break;
    }
    return js::value(to_json_string(word));
}

/// Puts `value` at "a.b.c"; at the end of the list there, for "a.b.c+".
Result<> put(js::object& object, std::string_view key, js::value value) {
    js::object* place = &object;
    for (;;) {
        std::string_view name = key.substr(0, key.find('.'));
        const bool append = name.size() == key.size() && name.ends_with('+');
        if (append) key = name = name.substr(0, name.size() - 1);
        if (name.empty()) return fail_input("{}: a key is wanted before and behind each dot", key);
        js::value& slot = (*place)[js::string_view(name.data(), name.size())];
        if (append) {
            if (!slot.is_array()) slot = js::array();
            slot.get_array().push_back(std::move(value));
            return {};
        }
        if (name.size() == key.size()) {
            slot = std::move(value);
            return {};
        }
        if (!slot.is_object()) slot = js::object();
        place = &slot.get_object();
        key.remove_prefix(name.size() + 1);
    }
}

Result<> add_word(const CtlVerb& verb, const std::string& word, std::size_t& used, js::object& fields,
                  CtlRequest& request) {
    const std::size_t equals = word.find('=');
    // "/a=b" is a path.
    if (equals != std::string::npos && word.find('/') > equals) {
        const std::string key = word.substr(0, equals);
        const std::string value = word.substr(equals + 1);
        if (key == "fd") {
            const auto fd = parse_number(value, 0, std::numeric_limits<int>::max());
            if (!fd) return fail_input("{}: the number of an open descriptor is wanted", word);
            request.fds.push_back(static_cast<int>(*fd));
            return {};
        }
        // The one number that people give as a size.
        const auto size = key == "desired_ram" ? parse_size(value) : std::nullopt;
        return put(fields, key, size ? js::value(*size) : to_json(value));
    }
    if (used >= verb.positionals.size() || verb.positionals[used].kind == Kind::kNone)
        return fail_input("{}: hako ctl {} takes no such argument: {}", word, verb.name, ctl_usage(verb));
    const CtlPositional& positional = verb.positionals[used++];
    js::value value = HAKO_TRY(to_json(positional, word));
    return put(fields, positional.field, std::move(value));
}

Result<std::string> query_of(const CtlVerb& verb, std::span<const std::string> words) {
    std::string query;
    for (const std::string& word : words) {
        if (word.find('=') == std::string::npos || word.find_first_of("&# %") != std::string::npos)
            return fail_input("{}: hako ctl {} takes KEY=VALUE: {}", word, verb.name, ctl_usage(verb));
        query += (query.empty() ? "?" : "&") + word;
    }
    return query;
}

}  // namespace

Result<CtlRequest> build_ctl_request(const CtlVerb& verb, std::span<const std::string> words) {
    CtlRequest request{.method = verb.get ? "GET" : "PUT", .target = std::string(verb.path)};
    switch (verb.body) {
        case CtlVerb::Body::kNone:
            if (!words.empty())
                return fail_input("{}: hako ctl {} takes no argument", words.front(), verb.name);
            return request;
        case CtlVerb::Body::kQuery:
            request.target += HAKO_TRY(query_of(verb, words));
            return request;
        case CtlVerb::Body::kFile:
            if (words.size() != 1) return fail_input("hako ctl {}: one file is wanted", verb.name);
            request.body = HAKO_TRY(read_file(words[0].starts_with('@') ? words[0].substr(1) : words[0]));
            return request;
        case CtlVerb::Body::kObject:
            break;
    }
    if (words.size() == 1 && words[0].starts_with('@')) {
        request.body = HAKO_TRY(read_file(words[0].substr(1)));
        return request;
    }
    js::object fields;
    std::size_t used = 0;
    for (const std::string& word : words)
        HAKO_TRY(add_word(verb, word, used, fields, request));
    request.body = js::serialize(fields);
    return request;
}

}  // namespace hako::cli

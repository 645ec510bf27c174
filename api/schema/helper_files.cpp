#include "api/schema/helper_files.h"

#include <boost/json/object.hpp>
#include <string>

#include "api/json/ascii.h"
#include "api/json/base64.h"
#include "vmm/seed/file_tree.h"
#include "vmm/seed/utf8.h"

namespace hako::api {
namespace {

namespace js = boost::json;

/// Of a path, in a message.
constexpr std::size_t kShownBytes = 60;

std::string_view view(const js::string& text) {
    return {text.data(), text.size()};
}

/// "files["a/b"].mode: …"
std::unexpected<Error> refuse(const json::Place& place, std::string_view path, std::string_view field,
                              std::string_view wanted) {
    const std::string more = path.size() > kShownBytes ? "..." : "";
    return fail_input("{}[{}{}]{}: {} is wanted", place.text(), json::quoted(path.substr(0, kShownBytes)),
                      more, field, wanted);
}

Result<std::string> read_content(const js::object& object, const json::Place& place, std::string_view path) {
    const js::value* const content = object.if_contains("content");
    const js::value* const base64 = object.if_contains("base64");
    const bool has_content = content != nullptr && !content->is_null();
    const bool has_base64 = base64 != nullptr && !base64->is_null();
    if (has_content == has_base64) return refuse(place, path, "", "either content or base64");
    if (has_content) {
        if (!content->is_string()) return refuse(place, path, ".content", "a text");
        return std::string(view(content->get_string()));
    }
    std::optional<std::string> bytes;
    if (base64->is_string()) bytes = json::from_base64(view(base64->get_string()));
    if (!bytes)
        return refuse(place, path, ".base64", "a text in base64, with padding and without line ends,");
    return *std::move(bytes);
}

Result<seed::File> read_file(const js::value& value, const json::Place& place, std::string_view path) {
    seed::File file{.path = std::string(path), .content = {}};
    if (value.is_string()) {
        file.content = view(value.get_string());
        return file;
    }
    if (!value.is_object()) return refuse(place, path, "", "a text or an object");
    const js::object& object = value.get_object();
    file.content = HAKO_TRY(read_content(object, place, path));
    if (const js::value* const mode = object.if_contains("mode"); mode != nullptr && !mode->is_null()) {
        const std::string name = json::quoted(path.substr(0, kShownBytes));
        const json::Place folder{.outer = &place, .name = name};
        const json::Place at{.outer = &folder, .name = "mode"};
        file.mode = static_cast<std::uint32_t>(
            HAKO_TRY(json::read_number(*mode, at, {.min = 0, .max = seed::kMaxMode})));
    }
    return file;
}

}  // namespace

Result<> read(const js::value& value, const json::Place& place, json::Range, HelperFiles& out) {
    if (!value.is_object())
        return fail_input("{}: an object with a field for each path is wanted", place.text());
    const js::object& object = value.get_object();
    if (object.size() > seed::kMaxFiles)
        return fail_input("{}: at most {} files are wanted, not {}", place.text(), seed::kMaxFiles,
                          object.size());
    out.list.clear();
    for (const auto& [path, file] : object)
        out.list.push_back(HAKO_TRY(read_file(file, place, std::string_view(path.data(), path.size()))));
    return {};
}

js::value to_value(const HelperFiles& files) {
    js::object object;
    for (const seed::File& file : files.list) {
        js::object each;
        if (seed::to_utf16(file.content))
            each["content"] = js::string(file.content.data(), file.content.size());
        else
            each["base64"] = json::to_base64(file.content);
        if (file.mode) each["mode"] = *file.mode;
        object[js::string_view(file.path.data(), file.path.size())] = std::move(each);
    }
    return object;
}

}  // namespace hako::api

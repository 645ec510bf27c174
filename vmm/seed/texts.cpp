#include "vmm/seed/texts.h"

#include <algorithm>
#include <array>
#include <utility>

#include "vmm/seed/hash.h"
#include "vmm/seed/yaml.h"

namespace hako::seed {
namespace {

constexpr std::string_view kCloudConfig = "#cloud-config";
constexpr std::string_view kCloudConfigArchive = "#cloud-config-archive";
constexpr std::string_view kCloudConfigJsonp = "#cloud-config-jsonp";

/// cloud-init looks for them at the start, in lower case and after white space. A prefix of another covers
/// it.
constexpr std::array<std::string_view, 8> kHeaders = {
    kCloudConfig,    "#!",           "#include", "#cloud-boothook", "#part-handler", "## template: jinja",
    "content-type:", "mime-version:"};

constexpr std::string_view kGzip = "\x1f\x8b";
/// Within these first bytes cloud-init takes "mime-version:" anywhere for a MIME message.
constexpr std::size_t kMimeWindow = 4096;

std::string lower(std::string_view text) {
    std::string result(text);
    for (char& c : result)
        if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    return result;
}

std::string_view without_leading_space(std::string_view text) {
    const std::size_t begin = text.find_first_not_of(" \t\r\n\v\f");
    return begin == std::string_view::npos ? std::string_view() : text.substr(begin);
}

}  // namespace

Result<> check_user_data(std::string_view text) {
    if (text.starts_with(kGzip)) return {};
    const std::string start = lower(without_leading_space(text).substr(0, kMimeWindow));
    if (start.empty()) return {};
    const bool known =
        std::ranges::any_of(kHeaders, [&](std::string_view header) { return start.starts_with(header); });
    if (!known && start.find("mime-version:") == std::string::npos)
        return fail_input(
            "its first line says nothing to cloud-init: begin it with #cloud-config, with #! for a script, "
            "or "
            "with another of cloud-init's user-data formats");
    if (start.starts_with(kCloudConfig) && !start.starts_with(kCloudConfigArchive) &&
        !start.starts_with(kCloudConfigJsonp))
        HAKO_TRY(parse_mapping(text));
    return {};
}

Result<> check_network_config(std::string_view text) {
    if (!HAKO_TRY(parse_mapping(text)))
        return fail_input("it is empty: leave it out, or give it a YAML mapping");
    return {};
}

Result<std::string> complete_meta_data(std::string_view text, std::string_view instance_id) {
    const auto mapping = HAKO_TRY(parse_mapping(text));
    std::string result(text);
    if (!mapping) {
        if (!result.empty() && !result.ends_with('\n')) result += '\n';
        result += fmt::format("instance-id: {}\n", instance_id);
    } else if (mapping->instance_id) {
        if (mapping->instance_id->empty()) return fail_input("instance-id is empty");
        return result;
    } else if (mapping->flow) {
        // Quoted, so that what was JSON still is.
        result.insert(
            std::min(mapping->begin + 1, result.size()),
            fmt::format("\"instance-id\": \"{}\"{}", instance_id, mapping->keys.empty() ? "" : ", "));
    } else {
        result.insert(std::min(mapping->begin, result.size()),
                      fmt::format("instance-id: {}\n{:{}}", instance_id, "", mapping->column));
    }

    // The text may be stranger than thought: look at the result as the guest will.
    const auto again = parse_mapping(result);
    const std::size_t keys = mapping ? mapping->keys.size() : 0;
    if (!again || !*again || (*again)->instance_id != instance_id || (*again)->keys.size() != keys + 1)
        return fail_input("cannot put an instance-id into it: add a line `instance-id: NAME`");
    return result;
}

std::string derive_instance_id(const Config& config) {
    std::uint64_t hash = fnv1a("");
    const auto add = [&hash](const std::optional<std::string>& text) {
        // Lengths keep the same bytes in other fields apart; absent is not the same as empty.
        hash = fnv1a(text ? fmt::format("{}:", text->size()) : std::string("-:"), hash);
        if (text) hash = fnv1a(*text, hash);
    };
    add(config.user_data);
    add(config.meta_data);
    add(config.network_config);
    add(config.vendor_data);
    return fmt::format("iid-{:016x}", hash);
}

}  // namespace hako::seed

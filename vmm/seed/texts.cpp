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

bool alphanumeric(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

bool instance_id_character(char c) {
    return alphanumeric(c) || c == '.' || c == '_' || c == ':' || c == '-';
}

/// `text` with one key more. `quote`: a value that YAML might take for a number, say.
Result<std::string> insert(std::string_view text, const std::optional<YamlMapping>& mapping,
                           std::string_view key, std::string_view value, bool quote) {
    const std::string plain = fmt::format(fmt::runtime(quote ? "{}: \"{}\"\n" : "{}: {}\n"), key, value);
    std::string result(text);
    if (!mapping) {
        if (!result.empty() && !result.ends_with('\n')) result += '\n';
        result += plain;
    } else if (mapping->flow) {
        // Quoted, so that what was JSON still is.
        result.insert(std::min(mapping->begin + 1, result.size()),
                      fmt::format("\"{}\": \"{}\"{}", key, value, mapping->keys.empty() ? "" : ", "));
    } else {
        result.insert(std::min(mapping->begin, result.size()),
                      fmt::format("{}{:{}}", plain, "", mapping->column));
    }

    // The text may be stranger than thought: look at the result as the guest will.
    const auto again = parse_mapping(result);
    const std::size_t keys = mapping ? mapping->keys.size() : 0;
    const std::string* const there = again && *again ? (*again)->find(std::string(key)) : nullptr;
    if (there == nullptr || *there != value || (*again)->keys.size() != keys + 1)
        return fail_input("cannot put {0} into it: add a line `{0}: NAME`", key);
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
    const auto mapping = HAKO_TRY(parse_mapping(text));
    if (!mapping) return fail_input("it is empty: leave it out, or give it a YAML mapping");
    // cloud-init takes it with and without `network:` around it.
    const bool nested = mapping->find("network") != nullptr && mapping->find("version") == nullptr;
    const std::string around = nested ? "network/" : "";
    const std::string* const version = mapping->find(around + "version");
    const std::string* const config = mapping->find(around + "config");
    if (config != nullptr && *config == "disabled") return {};
    if (version == nullptr || (*version != "1" && *version != "2"))
        return fail_input("`version: 1` or `version: 2` is wanted in it");
    if (*version == "1" && config == nullptr)
        return fail_input("version 1 has a list `config:`, which is missing");
    return {};
}

Result<> check_instance_id(std::string_view text) {
    if (text.empty() || text.size() > kMaxInstanceId || !std::ranges::all_of(text, instance_id_character))
        return fail_input("1 to {} letters, digits, '.', '_', ':' or '-' are wanted", kMaxInstanceId);
    return {};
}

Result<> check_hostname(std::string_view text) {
    // RFC 1123, 2.1
    constexpr std::size_t kMaxLabel = 63;
    bool good = !text.empty() && text.size() <= kMaxHostname;
    for (std::string_view rest = text; good;) {
        const std::string_view label = rest.substr(0, rest.find('.'));
        good = !label.empty() && label.size() <= kMaxLabel && !label.starts_with('-') &&
               !label.ends_with('-') &&
               std::ranges::all_of(label, [](char c) { return alphanumeric(c) || c == '-'; });
        if (label.size() == rest.size()) break;
        rest.remove_prefix(label.size() + 1);
    }
    if (!good) return fail_input("a host name is wanted: letters, digits and '-', in parts between dots");
    return {};
}

Result<std::string> complete_meta_data(std::string_view text, std::string_view instance_id) {
    const auto mapping = HAKO_TRY(parse_mapping(text));
    if (mapping) {
        if (const std::string* const there = mapping->find(std::string(kInstanceId))) {
            if (there->empty()) return fail_input("instance-id is empty");
            return std::string(text);
        }
    }
    return insert(text, mapping, kInstanceId, instance_id, false);
}

Result<std::string> set_meta_data(std::string_view text, std::string_view key, std::string_view value) {
    const auto mapping = HAKO_TRY(parse_mapping(text));
    if (mapping) {
        if (const std::string* const there = mapping->find(std::string(key))) {
            if (*there == value) return std::string(text);
            return fail_input("it has another {} than the one beside it: give one of them", key);
        }
    }
    return insert(text, mapping, key, value, true);
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
    if (config.hostname) add(config.hostname);
    return fmt::format("iid-{:016x}", hash);
}

}  // namespace hako::seed

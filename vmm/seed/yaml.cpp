#include "vmm/seed/yaml.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <cstdint>
#include <map>
#include <sstream>
#include <utility>

namespace hako::seed {
namespace {

constexpr std::size_t kMaxDepth = 100;
constexpr std::uint64_t kMaxNodes = 1'000'000;

constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";

/// Refused by hako rather than by the parser. Thrown through the parser only; never leaves this file.
class Refused : public YAML::Exception {
  public:
    using YAML::Exception::Exception;
};

/// Follows the parser's events without building a tree.
class Watcher final : public YAML::EventHandler {
  public:
    explicit Watcher(std::size_t skipped_bytes) : skipped_bytes_(skipped_bytes) {}

    [[nodiscard]] bool is_mapping() const { return is_mapping_; }
    [[nodiscard]] YamlMapping take() { return std::move(mapping_); }

    void OnDocumentStart(const YAML::Mark&) override {}
    void OnDocumentEnd() override {}

    void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override { leaf(mark, anchor, ""); }
    void OnScalar(const YAML::Mark& mark, const std::string&, YAML::anchor_t anchor,
                  const std::string& value) override {
        leaf(mark, anchor, value);
    }
    void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
        const auto known = anchor_nodes_.find(anchor);
        if (known == anchor_nodes_.end()) throw Refused(mark, "an alias to the very node it is part of");
        add(mark, known->second);
        child("");
    }
    void OnSequenceStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t anchor,
                         YAML::EmitterStyle::value) override {
        enter(mark, anchor);
    }
    void OnSequenceEnd() override { leave(); }
    void OnMapStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t anchor,
                    YAML::EmitterStyle::value style) override {
        if (open_.empty()) {
            is_mapping_ = true;
            mapping_.flow = style == YAML::EmitterStyle::Flow;
            mapping_.begin = skipped_bytes_ + static_cast<std::size_t>(mark.pos);
            mapping_.column = static_cast<std::size_t>(mark.column);
        }
        enter(mark, anchor);
    }
    void OnMapEnd() override { leave(); }

  private:
    struct Open {
        YAML::anchor_t anchor;
        std::uint64_t nodes;  ///< below it, aliases expanded
    };

    void leaf(const YAML::Mark& mark, YAML::anchor_t anchor, const std::string& value) {
        add(mark, 1);
        if (anchor != 0) anchor_nodes_[anchor] = 1;
        child(value);
    }
    void enter(const YAML::Mark& mark, YAML::anchor_t anchor) {
        if (open_.size() >= kMaxDepth) throw Refused(mark, fmt::format("nested deeper than {}", kMaxDepth));
        add(mark, 1);
        child("");
        open_.push_back({anchor, 0});
    }
    void leave() {
        const Open closed = open_.back();
        open_.pop_back();
        if (closed.anchor != 0) anchor_nodes_[closed.anchor] = closed.nodes + 1;
        if (!open_.empty()) open_.back().nodes += closed.nodes;
    }
    void add(const YAML::Mark& mark, std::uint64_t nodes) {
        total_ += nodes;
        // No sum here passes twice the limit, so none overflows.
        if (total_ > kMaxNodes) throw Refused(mark, "too large once its aliases are expanded");
        if (!open_.empty()) open_.back().nodes += nodes;
    }
    /// A node directly in the top-level mapping: keys and values come in turn.
    void child(const std::string& value) {
        if (open_.size() != 1 || !is_mapping_) return;
        if (!expect_value_) {
            mapping_.keys.push_back(value);
        } else if (mapping_.keys.back() == "instance-id") {
            mapping_.instance_id = value;
        }
        expect_value_ = !expect_value_;
    }

    std::size_t skipped_bytes_;
    std::vector<Open> open_;
    std::map<YAML::anchor_t, std::uint64_t> anchor_nodes_;
    std::uint64_t total_ = 0;
    bool is_mapping_ = false;
    bool expect_value_ = false;
    YamlMapping mapping_;
};

/// Bytes of the well-formed UTF-8 sequence at the start of `text` (RFC 3629), 0 if it is none.
std::size_t utf8_length(std::string_view text) {
    const auto byte = [&](std::size_t i) -> unsigned {
        return i < text.size() ? static_cast<unsigned char>(text[i]) : 0U;
    };
    const auto tail = [&](std::size_t i) { return (byte(i) & 0xc0U) == 0x80U; };
    const unsigned first = byte(0);
    if (first < 0x80) return 1;
    if (first >= 0xc2 && first <= 0xdf) return tail(1) ? 2 : 0;
    if (first >= 0xe0 && first <= 0xef) {
        const bool overlong = first == 0xe0 && byte(1) < 0xa0;
        const bool surrogate = first == 0xed && byte(1) > 0x9f;
        return tail(1) && tail(2) && !overlong && !surrogate ? 3 : 0;
    }
    if (first >= 0xf0 && first <= 0xf4) {
        const bool overlong = first == 0xf0 && byte(1) < 0x90;
        const bool too_high = first == 0xf4 && byte(1) > 0x8f;
        return tail(1) && tail(2) && tail(3) && !overlong && !too_high ? 4 : 0;
    }
    return 0;
}

Result<> check_utf8(std::string_view text) {
    std::size_t line = 1;
    for (std::size_t i = 0; i < text.size();) {
        const std::size_t length = utf8_length(text.substr(i));
        if (length == 0) return fail_input("line {}: not UTF-8", line);
        if (text[i] == '\n') ++line;
        i += length;
    }
    return {};
}

}  // namespace

Result<std::optional<YamlMapping>> parse_mapping(std::string_view text) {
    HAKO_TRY(check_utf8(text));
    const std::size_t mark_bytes = text.starts_with(kByteOrderMark) ? kByteOrderMark.size() : 0;
    try {
        std::istringstream stream{std::string(text.substr(mark_bytes))};
        YAML::Parser parser(stream);
        Watcher watcher(mark_bytes);
        if (!parser.HandleNextDocument(watcher)) return std::nullopt;
        Watcher second(0);
        if (parser.HandleNextDocument(second)) return fail_input("more than one YAML document");
        if (!watcher.is_mapping()) return fail_input("not a YAML mapping (key: value)");
        return watcher.take();
    } catch (const YAML::Exception& error) {
        if (error.mark.is_null()) return fail_input("not YAML: {}", error.msg);
        return fail_input("line {}, column {}: {}", error.mark.line + 1, error.mark.column + 1, error.msg);
    } catch (const std::exception& error) {
        // The parser's own bugs are no reason to end a VM.
        return fail_input("not YAML: {}", error.what());
    }
}

}  // namespace hako::seed

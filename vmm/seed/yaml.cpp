#include "vmm/seed/yaml.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <cstdint>
#include <map>
#include <sstream>
#include <utility>

#include "vmm/seed/utf8.h"

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
        enter(mark, anchor, false);
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
        enter(mark, anchor, true);
    }
    void OnMapEnd() override { leave(); }

  private:
    struct Open {
        YAML::anchor_t anchor;
        std::uint64_t nodes;  ///< below it, aliases expanded
        bool mapping;
        bool expect_value = false;  ///< of `key`
        std::string key;            ///< of a mapping, the last one
    };

    void leaf(const YAML::Mark& mark, YAML::anchor_t anchor, const std::string& value) {
        add(mark, 1);
        if (anchor != 0) anchor_nodes_[anchor] = 1;
        child(value);
    }
    void enter(const YAML::Mark& mark, YAML::anchor_t anchor, bool mapping) {
        if (open_.size() >= kMaxDepth) throw Refused(mark, fmt::format("nested deeper than {}", kMaxDepth));
        add(mark, 1);
        child("");
        open_.push_back({.anchor = anchor, .nodes = 0, .mapping = mapping, .expect_value = false, .key = {}});
    }
    void leave() {
        const Open closed = std::move(open_.back());
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
    /// A node in a collection: in a mapping, keys and values come in turn.
    void child(const std::string& value) {
        if (open_.empty() || !open_.back().mapping) return;
        Open& mapping = open_.back();
        mapping.expect_value = !mapping.expect_value;
        if (mapping.expect_value) {
            if (open_.size() == 1) mapping_.keys.push_back(value);
            mapping.key = value;
        } else if (open_.size() == 1) {
            mapping_.values[mapping.key] = value;
        } else if (open_.size() == 2 && is_mapping_ && open_.front().key == "network") {
            mapping_.values["network/" + mapping.key] = value;
        }
    }

    std::size_t skipped_bytes_;
    std::vector<Open> open_;
    std::map<YAML::anchor_t, std::uint64_t> anchor_nodes_;
    std::uint64_t total_ = 0;
    bool is_mapping_ = false;
    YamlMapping mapping_;
};

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

// libFuzzer target: a saved state that anybody may have written.
//
// The first byte says how the rest is read: as it is, or with its checksums and its last section made right,
// so that what lies behind them is reached.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "vmm/base/log.h"
#include "vmm/machine/state.h"

using namespace hako;

namespace {

using Bytes = std::vector<std::byte>;

void require(bool holds, const char* what) {
    if (holds) return;
    std::fprintf(stderr, "broken: %s\n", what);
    std::abort();
}

/// The sections that can be told apart in `bytes`, as a whole state.
Bytes mended(std::span<const std::byte> bytes) {
    state::Writer writer;
    bytes = bytes.subspan(std::min(bytes.size(), state::kFileHeaderBytes));
    while (bytes.size() >= state::kSectionHeaderBytes) {
        const auto header = state::SectionHeader::parse(bytes.first<state::kSectionHeaderBytes>());
        if (!header || header->body_length() > bytes.size() - state::kSectionHeaderBytes) break;
        const auto body = bytes.subspan(state::kSectionHeaderBytes, header->body_length());
        const auto text = [&](std::size_t from, std::size_t length) {
            return std::string_view(reinterpret_cast<const char*>(body.data()) + from, length);
        };
        const std::string_view name = text(0, header->name_length);
        const auto payload = body.last(header->payload_length);
        if (name != "end")
            writer.add_payload(name, text(header->name_length, header->instance_length), header->version,
                               Bytes(payload.begin(), payload.end()), header->need);
        bytes = bytes.subspan(state::kSectionHeaderBytes + header->body_length());
    }
    auto whole = std::move(writer).finish();
    return whole ? *std::move(whole) : Bytes{};
}

void try_state(std::span<const std::byte> bytes) {
    const auto text = describe(bytes);
    const auto state = decode(bytes);
    if (!state) {
        require(state.error().fault() == Fault::kInput, "a bad state is somebody else's fault");
        return;
    }
    require(text.has_value(), "a good state cannot be shown");
    const auto again = encode(*state);
    require(again.has_value(), "what was read cannot be written");
    const auto back = decode(*again);
    require(back.has_value(), "what was written cannot be read");
    require(encode(*back).value() == *again, "a state changes when it is read");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static const bool quiet = (set_log_level(LogLevel::kError), true);
    if (size == 0 || !quiet) return 0;
    const auto bytes = std::as_bytes(std::span(data, size)).subspan(1);
    if (data[0] % 2 == 0)
        try_state(bytes);
    else
        try_state(mended(bytes));
    return 0;
}

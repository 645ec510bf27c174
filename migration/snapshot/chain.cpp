#include "migration/snapshot/chain.h"

#include <sys/stat.h>

#include <algorithm>

#include "migration/snapshot/memory_reader.h"

namespace hako::migration {
namespace {

Result<Layer> open_layer(const std::string& path) {
    const SnapshotFolder folder(path);
    SavedState state = HAKO_TRY(folder.read_state());
    if (state.facts.memory < kMinMemory || state.facts.memory > kMaxMemory)
        return fail_input("{}: no VM has {} of memory", path, format_size(state.facts.memory));
    MemoryFile file = HAKO_TRY(MemoryFile::open(folder.memory_path(), state.facts.memory));
    FileBits pages;
    if (state.base) pages = HAKO_TRY(folder.read_changed(state));
    return Layer{
        .folder = folder, .state = std::move(state), .file = std::move(file), .pages = std::move(pages)};
}

/// `base`: what is taken for the base of `layer`.
Result<> check_base(const Layer& layer, const Layer& base) {
    if (base.state.id != layer.state.base->id)
        return fail_input("{}: is not the snapshot that {} is based on", base.folder.path(),
                          layer.folder.path());
    if (base.state.facts.memory != layer.state.facts.memory)
        return fail_input("{}: has {} of memory, and {}, which is based on it, has {}", base.folder.path(),
                          format_size(base.state.facts.memory), layer.folder.path(),
                          format_size(layer.state.facts.memory));
    return {};
}

}  // namespace

Result<Chain> Chain::open(const std::string& folder) {
    std::vector<Layer> layers;
    layers.push_back(HAKO_TRY(open_layer(folder)));
    while (const std::optional<Base> base = layers.back().state.base) {
        if (layers.size() == kMaxLayers)
            return fail_input(
                "{}: more than {} snapshots are based on one another: `hako snapshot merge` makes "
                "one of them",
                folder, kMaxLayers);
        Layer below = HAKO_TRY_WRAP(
            open_layer(base->folder),
            "{}: its base is not there (if it was moved, `hako snapshot merge BASE {} OUT` makes a full one)",
            layers.back().folder.path(), layers.back().folder.path());
        HAKO_TRY(check_base(layers.back(), below));
        layers.push_back(std::move(below));
    }
    return join(std::move(layers));
}

Result<Chain> Chain::of(std::span<const std::string> folders) {
    if (folders.size() > kMaxLayers)
        return fail_input("{} snapshots are more than {} at a time", folders.size(), kMaxLayers);
    std::vector<Layer> layers;
    for (const std::string& folder : folders) {
        Layer layer = HAKO_TRY(open_layer(folder));
        if (layers.empty() && layer.state.base)
            return fail_input("{}: is no full snapshot: name its base, {}, first", folder,
                              layer.state.base->folder);
        if (!layers.empty()) {
            if (!layer.state.base)
                return fail_input("{}: is a full snapshot: there is nothing to merge into it", folder);
            HAKO_TRY(check_base(layer, layers.back()));
        }
        layers.push_back(std::move(layer));
    }
    std::ranges::reverse(layers);
    return join(std::move(layers));
}

/// Gives each page to the newest that has it.
Result<Chain> Chain::join(std::vector<Layer> newest_first) {
    FileBits free = all_pages(newest_first.front().state.facts.memory);
    for (Layer& layer : newest_first) {
        if (!layer.state.base) layer.pages = free;
        for (std::size_t word = 0; word < free.size(); ++word) {
            layer.pages[word] &= free[word];
            free[word] &= ~layer.pages[word];
        }
    }
    std::ranges::reverse(newest_first);
    return Chain(std::move(newest_first));
}

std::uint64_t Chain::data_bytes() const {
    constexpr std::uint64_t kBlock = 512;  // stat(2)
    std::uint64_t bytes = 0;
    for (const Layer& layer : layers_) {
        struct stat status{};
        if (::fstat(layer.file.fd.get(), &status) == 0)
            bytes += static_cast<std::uint64_t>(status.st_blocks) * kBlock;
    }
    return std::min(bytes, top().state.facts.memory);
}

Result<> Chain::read(GuestMemory& memory) const {
    const PageChecksums checksums = HAKO_TRY(top().folder.read_checksums(top().state.facts));
    for (const Layer& layer : layers_)
        HAKO_TRY(read_memory(layer.file, layer.pages, checksums, memory));
    return {};
}

Result<GuestMemory> Chain::map(const MemoryConfig& config) && {
    GuestMemory memory = HAKO_TRY(GuestMemory::map(config, std::move(layers_.front().file.fd)));
    if (full()) return memory;
    const PageChecksums checksums = HAKO_TRY(top().folder.read_checksums(top().state.facts));
    for (const Layer& layer : std::span(layers_).subspan(1))
        HAKO_TRY(read_memory(layer.file, layer.pages, checksums, memory, Before::kOlderPages));
    return memory;
}

}  // namespace hako::migration

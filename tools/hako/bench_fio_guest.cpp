#include "tools/hako/bench_fio_guest.h"

#include <optional>

#include "tools/hako/bench_fio.h"

namespace hako::bench {

std::chrono::seconds fio_limit(const Command& command) {
    return std::chrono::seconds(60 + command.seconds);
}

Result<Figures> run_fio(Guest& guest, const Command& command, const std::vector<std::string>& words,
                        bool counting) {
    const Meter meter = Meter::start(guest.pid(), counting);
    std::optional<Result<Sample>> begin;
    std::optional<Result<Sample>> end;
    const std::string output =
        HAKO_TRY(guest.run(fio_script(words), fio_limit(command), [&](std::string_view line) {
            if (line.find(kFioBegins) != std::string_view::npos && !begin) begin = meter.sample();
            if (line.find(kFioEnded) != std::string_view::npos) end = meter.sample();
        }));
    const auto result = parse_fio(output);
    if (!result || !begin || !end)
        return fail_host("{}: fio in the guest gave no figures: {}", guest.name(), output);
    const Sample first = HAKO_TRY(std::move(*begin));
    const Sample last = HAKO_TRY(std::move(*end));
    return figures_between(first, last, result->requests, result->seconds);
}

}  // namespace hako::bench

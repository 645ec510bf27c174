#include "tools/hako/bench_table.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <boost/json.hpp>
#include <string_view>

namespace hako::bench {
namespace {

struct Column {
    std::string_view name;  ///< in JSON
    std::string_view head;  ///< in the table
    std::optional<double> (*get)(const Figures&);
};

constexpr std::array<Column, 5> kColumns = {{
    {"rate", "units/s", [](const Figures& f) -> std::optional<double> { return f.rate; }},
    {"cpu_us", "CPU us", [](const Figures& f) { return f.cpu; }},
    {"host_cpu_us", "host CPU us", [](const Figures& f) { return f.overhead; }},
    {"system_calls", "system calls", [](const Figures& f) { return f.system_calls; }},
    {"exits", "exits", [](const Figures& f) { return f.exits; }},
}};
constexpr std::size_t kWidth = 13;

/// Three digits, whatever the size.
std::string number(std::optional<double> value) {
    if (!value) return "-";
    const double size = std::abs(*value);
    return fmt::format("{:.{}f}", *value, size < 1 ? 3 : size < 10 ? 2 : size < 100 ? 1 : 0);
}

std::optional<double> share(std::optional<double> above, std::optional<double> below) {
    if (!above || !below || *below <= 0) return std::nullopt;
    return *above / *below;
}

std::optional<double> get(const Column& column, const std::optional<Figures>& figures) {
    return figures ? column.get(*figures) : std::nullopt;
}

boost::json::object to_json(const Figures& figures) {
    boost::json::object object;
    for (const Column& column : kColumns)
        if (const auto value = column.get(figures)) object[column.name] = *value;
    return object;
}

void append_line(std::string& out, std::string_view job, std::size_t width, std::string_view second,
                 const std::array<std::string, kColumns.size()>& cells, std::string_view last) {
    out += fmt::format("{:<{}}  {:<8}", job, width, second);
    for (const std::string& cell : cells)
        out += fmt::format("{:>{}}", cell, kWidth);
    if (!last.empty()) out += fmt::format("{:>{}}", last, kWidth);
    out += '\n';
}

template <typename Cell>
std::array<std::string, kColumns.size()> cells(const Cell& cell) {
    std::array<std::string, kColumns.size()> result;
    for (std::size_t i = 0; i < kColumns.size(); ++i)
        result[i] = cell(kColumns[i]);
    return result;
}

}  // namespace

double median(std::vector<double> values) {
    std::sort(values.begin(), values.end());
    const std::size_t half = values.size() / 2;
    return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

Figures median(const std::vector<Figures>& rounds) {
    const auto of = [&rounds](std::optional<double> Figures::* field) -> std::optional<double> {
        std::vector<double> values;
        for (const Figures& round : rounds)
            if (round.*field) values.push_back(*(round.*field));
        return values.empty() ? std::nullopt : std::optional(median(std::move(values)));
    };
    std::vector<double> rates;
    for (const Figures& round : rounds)
        rates.push_back(round.rate);
    return {.rate = median(std::move(rates)),
            .cpu = of(&Figures::cpu),
            .overhead = of(&Figures::overhead),
            .system_calls = of(&Figures::system_calls),
            .exits = of(&Figures::exits)};
}

Figures ratio(const std::vector<Figures>& a, const std::vector<Figures>& b) {
    std::vector<Figures> rounds;
    for (std::size_t i = 0; i < std::min(a.size(), b.size()); ++i)
        rounds.push_back({.rate = share(a[i].rate, b[i].rate).value_or(0),
                          .cpu = share(a[i].cpu, b[i].cpu),
                          .overhead = share(a[i].overhead, b[i].overhead),
                          .system_calls = share(a[i].system_calls, b[i].system_calls),
                          .exits = share(a[i].exits, b[i].exits)});
    return median(rounds);
}

Row make_row(std::string name, std::string unit, const std::vector<Figures>& hako,
             const std::vector<Figures>& peer, const std::vector<Figures>& limit) {
    Row row{.name = std::move(name),
            .unit = std::move(unit),
            .hako = median(hako),
            .peer = {},
            .limit = {},
            .of_peer = {},
            .of_limit = {}};
    if (!peer.empty()) {
        row.peer = median(peer);
        row.of_peer = ratio(hako, peer);
    }
    if (!limit.empty()) {
        row.limit = median(limit);
        row.of_limit = ratio(hako, limit);
    }
    return row;
}

std::string table_text(const std::vector<Row>& rows) {
    std::size_t width = 3;
    for (const Row& row : rows)
        width = std::max(width, row.name.size());
    const bool limits =
        std::any_of(rows.begin(), rows.end(), [](const Row& row) { return row.limit.has_value(); });
    const auto heads = cells([](const Column& column) { return std::string(column.head); });
    std::string out = "hako / QEMU: more units a second are better, of all else less\n";
    append_line(out, "job", width, "unit", heads, limits ? "of the host" : "");
    for (const Row& row : rows)
        append_line(out, row.name, width, row.unit,
                    cells([&](const Column& column) { return number(get(column, row.of_peer)); }),
                    limits ? number(get(kColumns.front(), row.of_limit)) : "");
    out += "\nfigures, all but the first for one unit\n";
    append_line(out, "job", width, "by", heads, "");
    const auto append = [&](const Row& row, std::string_view who, const Figures& figures) {
        append_line(out, row.name, width, who,
                    cells([&](const Column& column) { return number(column.get(figures)); }), "");
    };
    for (const Row& row : rows) {
        append(row, "hako", row.hako);
        if (row.peer) append(row, "QEMU", *row.peer);
        if (row.limit) append(row, "host", *row.limit);
    }
    return out;
}

std::string json_text(const std::vector<Row>& rows) {
    boost::json::array list;
    for (const Row& row : rows) {
        boost::json::object object{{"name", row.name}, {"unit", row.unit}, {"hako", to_json(row.hako)}};
        if (row.peer && row.of_peer) {
            object["qemu"] = to_json(*row.peer);
            object["ratio"] = to_json(*row.of_peer);
        }
        if (row.limit) object["host"] = to_json(*row.limit);
        list.push_back(std::move(object));
    }
    return boost::json::serialize(boost::json::object{{"rows", std::move(list)}}) + "\n";
}

}  // namespace hako::bench

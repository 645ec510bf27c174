#include "tools/hako/bench_table.h"

#include <doctest/doctest.h>

#include <sstream>
#include <string>
#include <vector>

using namespace hako::bench;

namespace {

const Figures kHako{.rate = 3000, .cpu = 10, .overhead = 4, .system_calls = 0.5, .exits = {}};
const Figures kQemu{.rate = 2000, .cpu = 20, .overhead = 16, .system_calls = 2, .exits = 0};
const Figures kHost{.rate = 12000, .cpu = {}, .overhead = {}, .system_calls = {}, .exits = {}};

std::vector<std::string> words_of_line(const std::string& text, const std::string& first,
                                       const std::string& second) {
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);) {
        std::istringstream in(line);
        std::vector<std::string> words;
        for (std::string word; in >> word;)
            words.push_back(word);
        if (words.size() > 1 && words[0] == first && words[1] == second) return words;
    }
    return {};
}

}  // namespace

TEST_CASE("the median is the middle of an odd number and the mean of the middle two of an even one") {
    CHECK(median(std::vector<double>{9, 1, 5}) == 5);
    CHECK(median(std::vector<double>{9, 1, 5, 7}) == 6);
    CHECK(median(std::vector<double>{3}) == 3);
}

TEST_CASE("figures that some rounds lack are the median of the others") {
    Figures low = kHako;
    low.rate = 1000;
    low.cpu = std::nullopt;
    const Figures middle = median(std::vector<Figures>{low, kHako, kHako});
    CHECK(middle.rate == 3000);
    CHECK(middle.cpu == 10.0);
    CHECK_FALSE(middle.exits);
}

TEST_CASE("ratios are made round by round, so that a slow minute of the host does not count") {
    std::vector<Figures> hako(3, kHako);
    std::vector<Figures> qemu(3, kQemu);
    for (std::vector<Figures>* one : {&hako, &qemu}) {
        for (std::size_t round = 1; round < one->size(); ++round)
            (*one)[round].rate /= 10;
    }
    qemu[1].rate *= 10;
    const Figures found = ratio(hako, qemu);
    CHECK(found.rate == doctest::Approx(1.5));
    CHECK(found.system_calls == 0.25);
    CHECK_FALSE(found.exits);
}

TEST_CASE("the table shows hako's figures divided by QEMU's, then the figures") {
    const std::string text = table_text({make_row("job-1", "request", {kHako}, {kQemu}, {kHost})});
    using Words = std::vector<std::string>;
    CHECK(words_of_line(text, "job-1", "request") ==
          Words{"job-1", "request", "1.50", "0.500", "0.250", "0.250", "-", "0.250"});
    CHECK(words_of_line(text, "job-1", "hako") ==
          Words{"job-1", "hako", "3000", "10.0", "4.00", "0.500", "-"});
    CHECK(words_of_line(text, "job-1", "QEMU") ==
          Words{"job-1", "QEMU", "2000", "20.0", "16.0", "2.00", "0.000"});
    CHECK(words_of_line(text, "job-1", "host") == Words{"job-1", "host", "12000", "-", "-", "-", "-"});
}

TEST_CASE("without a peer there are no ratios") {
    const Row row = make_row("job-1", "MiB", {kHako}, {}, {});
    CHECK(words_of_line(table_text({row}), "job-1", "MiB") ==
          std::vector<std::string>{"job-1", "MiB", "-", "-", "-", "-", "-"});
    const std::string json = json_text({row});
    CHECK(json.find("ratio") == std::string::npos);
    CHECK(json.find("\"hako\":{\"rate\":3E3") != std::string::npos);
}

TEST_CASE("JSON has what the table has") {
    const std::string json = json_text({make_row("job-1", "request", {kHako}, {kQemu}, {kHost})});
    CHECK(json.find(
              "\"ratio\":{\"rate\":1.5E0,\"cpu_us\":5E-1,\"host_cpu_us\":2.5E-1,\"system_calls\":2.5E-1}") !=
          std::string::npos);
    CHECK(json.find("\"host\":{\"rate\":1.2E4}") != std::string::npos);
    CHECK(json.ends_with("\n"));
}

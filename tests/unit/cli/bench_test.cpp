#include <doctest/doctest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "tests/unit/cli/command_line.h"
#include "tools/hako/bench_fio.h"
#include "tools/hako/bench_guest.h"
#include "tools/hako/bench_meter.h"
#include "tools/hako/bench_usage.h"
#include "tools/hako/bench_vmm.h"

using namespace hako;
using namespace hako::bench;
using hako::cli::test::parse_words;

namespace {

bench::Command bench_command(std::vector<const char*> words) {
    words.insert(words.begin(), "bench");
    const auto command = parse_words(std::move(words));
    REQUIRE_MESSAGE(command, (command ? "" : command.error().text()));
    REQUIRE(std::holds_alternative<bench::Command>(*command));
    return std::get<bench::Command>(*command);
}

std::string bench_error(std::vector<const char*> words) {
    words.insert(words.begin(), "bench");
    const auto command = parse_words(std::move(words));
    return command ? "" : command.error().text();
}

bool contains(const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
}

bool holds(const std::vector<std::string>& words, const std::string& word) {
    return std::find(words.begin(), words.end(), word) != words.end();
}

}  // namespace

TEST_CASE("every option of bench reaches its field") {
    const bench::Command command =
        bench_command({"net",      "--kernel", "k",       "--initrd", "i",  "--cmdline", "c",  "--image",
                       "r",        "--peer",   "q",       "--cpus",   "2",  "--memory",  "2G", "--directory",
                       "/d",       "--size",   "1G",      "--rounds", "5",  "--seconds", "7",  "--job",
                       "tcp-send", "--job",    "ping-64", "--json",   "-v", "--daemon",  "v"});
    CHECK(command.subject == Subject::kNet);
    CHECK(command.kernel == "k");
    CHECK(command.initrd == "i");
    CHECK(command.command_line == "c");
    CHECK(command.image == "r");
    CHECK(command.peer == "q");
    CHECK(command.cpus == 2);
    CHECK(command.memory == 2 * GiB);
    CHECK(command.directory == "/d");
    CHECK(command.file_size == GiB);
    CHECK(command.rounds == 5);
    CHECK(command.seconds == 7);
    CHECK(command.jobs == std::vector<std::string>{"tcp-send", "ping-64"});
    CHECK(command.json);
    CHECK(command.verbose);
    CHECK(command.daemon == "v");
    CHECK(bench_command({"blk", "--kernel", "k"}).subject == Subject::kBlk);
    CHECK(bench_command({"vsock", "--kernel", "k"}).subject == Subject::kVsock);
    CHECK(bench_command({"fs", "--kernel", "k", "--job", "fs-stat"}).subject == Subject::kFs);
}

TEST_CASE("bench says what is wrong with its options") {
    CHECK(contains(bench_error({"--kernel", "k"}), "blk, net, vsock or fs"));
    CHECK(contains(bench_error({"disk", "--kernel", "k"}), "must be blk, net, vsock or fs"));
    CHECK(contains(bench_error({"blk"}), "--kernel is missing"));
    CHECK(contains(bench_error({"blk", "--kernel", "k", "--rounds", "0"}), "from 1 to"));
    CHECK(contains(bench_error({"blk", "--kernel", "k", "--size", "1M"}), "--size 1M"));
    CHECK(contains(bench_error({"blk", "--kernel", "k", "--job", "tcp-send"}), "no such job"));
    CHECK(contains(bench_error({"net", "--kernel", "k", "--job", "tcp-sent"}), "tcp-send"));
}

TEST_CASE("a guest's answer stands between its marks") {
    const std::string console =
        "[    1.0] Linux\r\n# HAKO-BEGIN 7\r\none\r\ntwo\r\nHAKO-END 7 3\r\n# HAKO-BEGIN 8\r\nHAKO-END 8 "
        "0\r\n";
    const auto answer = find_answer(console, 7);
    REQUIRE(answer);
    CHECK(answer->text == "one\ntwo\n");
    CHECK(answer->code == 3);
    REQUIRE(find_answer(console, 8));
    CHECK(find_answer(console, 8)->text.empty());
    CHECK_FALSE(find_answer(console, 9));
    CHECK_FALSE(find_answer("HAKO-BEGIN 7\none\n", 7));
    CHECK_FALSE(find_answer("HAKO-BEGIN 7\none\nHAKO-END 7 3", 7));  // its code may go on
    CHECK_FALSE(find_answer("HAKO-BEGIN 7HAKO-END 7 0\n", 7));
}

TEST_CASE("the echo of a command is not its answer") {
    CHECK_FALSE(find_answer(marked("true", 7) + marked("true", 7), 7));
}

TEST_CASE("CPU times are found behind a name with blanks and brackets") {
    std::string text = "42 (a) b (c) S";
    for (int field = 4; field <= 52; ++field)
        text += " " + std::to_string(field);
    const auto time = parse_stat(text, 100);
    REQUIRE(time);
    CHECK(time->total == std::chrono::milliseconds(10 * (14 + 15)));
    CHECK(time->guest == std::chrono::milliseconds(10 * 43));
    CHECK_FALSE(parse_stat("42 (a) S 1 2", 100));
    CHECK_FALSE(parse_stat("", 100));
}

TEST_CASE("figures are for one unit; a round that counts gives no time") {
    Sample begin{.at = {}, .cpu = {}, .system_calls = {}, .exits = {}};
    Sample end = begin;
    end.cpu = {.total = std::chrono::milliseconds(30), .guest = std::chrono::milliseconds(10)};
    const Figures timed = figures_between(begin, end, 1000, 2);
    CHECK(timed == Figures{.rate = 500, .cpu = 30, .overhead = 20, .system_calls = {}, .exits = {}});
    begin.system_calls = 100;
    end.system_calls = 600;
    const Figures counted = figures_between(begin, end, 1000, 2);
    CHECK(counted == Figures{.rate = 500, .cpu = {}, .overhead = {}, .system_calls = 0.5, .exits = {}});
}

TEST_CASE("fio's terse line gives requests and seconds of either direction") {
    const auto line = [](std::size_t at, const std::string& error) {
        std::vector<std::string> fields(100, "0");
        fields[0] = "3";
        fields[4] = error;
        fields[at] = "4000";
        fields[at + 2] = "500";
        fields[at + 3] = "2000";
        std::string text = "hako : Saving output of prerun in hako.prerun.txt\n";
        for (const std::string& field : fields)
            text += field + ";";
        return text + "\n";
    };
    for (const std::size_t direction : {5U, 46U}) {
        const auto result = parse_fio(line(direction, "0"));
        REQUIRE(result);
        CHECK(result->requests == doctest::Approx(1000));
        CHECK(result->seconds == doctest::Approx(2));
    }
    CHECK_FALSE(parse_fio(line(5, "5")));
    CHECK_FALSE(parse_fio("fio: cannot open\n3;fio-3.33;hako;0;0\n"));
    CHECK_FALSE(parse_fio(""));
}

TEST_CASE("hako and QEMU get the same VM, and paths with commas stay whole") {
    bench::Command command;
    command.kernel = "k";
    command.initrd = "i";
    command.command_line = "console=ttyS0";
    command.image = "r,1";
    command.peer = "qemu";
    command.cpus = 2;
    const auto hako = hako_words("hako", command, {.disk = "/a,b", .tap = {}});
    CHECK(holds(hako, "path=r,,1,readonly,serial=root"));
    CHECK(holds(hako, "path=/a,,b,serial=bench,queues=2,direct=on"));
    const auto qemu = qemu_words(command, {.disk = "/a,b", .tap = {}});
    CHECK(qemu.front() == "qemu");
    CHECK(
        holds(qemu, "if=none,id=data,format=raw,cache=none,aio=io_uring,discard=unmap,file.filename=/a,,b"));
    CHECK(holds(qemu, "virtio-blk-pci,drive=data,serial=bench,iothread=io0,num-queues=2"));
    for (const auto& words : {hako, qemu}) {
        CHECK(holds(words, "k"));
        CHECK(holds(words, "i"));
        CHECK(holds(words, "console=ttyS0"));
        CHECK(holds(words, "2"));
    }
    CHECK(holds(hako_words("hako", command, {.disk = {}, .tap = "t", .vhost = true}),
                "tap=t,mac=02:00:00:00:00:07,queues=2,vhost=on"));
    CHECK(holds(qemu_words(command, {.disk = {}, .tap = "t", .vhost = true}),
                "tap,id=net,ifname=t,script=no,downscript=no,vhost=on,queues=2"));
    CHECK(holds(hako_words("hako", command, {.vsock = "/a,b"}), "cid=3,socket=/a,,b"));
    CHECK(holds(hako_words("hako", command, {.fs = "/a,b"}), "tag=bench,socket=/a,,b"));
    const auto shared = qemu_words(command, {.fs = "/a,b"});
    CHECK(holds(shared, "q35,accel=kvm,memory-backend=memory"));
    CHECK(holds(shared, "memory-backend-memfd,id=memory,size=1073741824,share=on"));
    CHECK(holds(shared, "socket,id=fs,path=/a,,b"));
}

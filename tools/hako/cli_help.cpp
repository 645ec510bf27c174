#include "tools/hako/cli_help.h"

#include <fmt/core.h>
#include <fmt/ranges.h>

#include <iterator>
#include <sstream>
#include <string_view>
#include <vector>

#include "tools/hako/ctl_verbs.h"
#include "tools/hako/exit_code.h"

namespace hako::cli {
namespace {

constexpr std::size_t kColumns = 100;
constexpr std::size_t kNameColumns = 28;

constexpr std::string_view kRunExamples = R"(
Examples:
  Debian's own kernel with a root disk, on this terminal:
    hako run --kernel vmlinuz --initrd initrd.img --cmdline "root=/dev/vda console=ttyS0" \
        --cpus 2 --memory 1G --disk debian.img
  The same, set up by cloud-init, with a second disk that the guest may only read:
    hako run --kernel vmlinuz --initrd initrd.img --cmdline "root=/dev/vda console=ttyS0" \
        --disk path=debian.img,serial=root --disk path=data.img,readonly --cloud-init user-data.yaml
)";

constexpr std::string_view kCtlExamples = R"(
A value is JSON if it looks like it, and else a text; @FILE is a whole body. Examples:
    hako ctl --api-socket vm.sock create vm.json
    hako ctl --api-socket vm.sock add-disk data.img readonly=true id=data
    hako ctl --api-socket vm.sock set-limits data rate_limiter_config.ops.size=100 \
        rate_limiter_config.ops.refill_time=1000

Exit codes:
  0  done
  1  the VMM cannot be reached, or failed (5xx)
  2  bad input (4xx)
)";

constexpr std::string_view kSeedExamples = R"(
Examples:
  Would cloud-init understand it, and what would be on its disk?
    hako seed check --cloud-init user-data.yaml,hostname=web
  An image for another VMM, and what is in one:
    hako seed build --cloud-init user-data.yaml,network-config=net.yaml --output seed.iso
    hako seed show seed.iso
    hako seed show seed.iso meta-data
  A folder as a disk whose files are for root alone:
    hako seed build --helper-disk id=secret,folder=/etc/secret,mode=0400 --output secret.iso
)";

constexpr std::string_view kBenchExamples = R"(
Examples:
  Disks, with Debian's own kernel and an image that has fio on it:
    hako bench blk --kernel vmlinuz --initrd initrd.img --image debian.img \
        --cmdline "root=/dev/vda console=ttyS0 init=/bin/sh" --peer qemu-system-x86_64
  The network, as root: one job, seven times:
    hako bench net --kernel vmlinuz --initrd initrd.img --image debian.img --job tcp-send \
        --cmdline "root=/dev/vda console=ttyS0 init=/bin/sh" --peer qemu-system-x86_64 --rounds 7

System calls and exits are counted where perf_event_open(2) and tracefs allow it: as root.
)";

constexpr std::string_view kCompletionExamples = R"(
Examples:
  bash:  hako completion bash > /etc/bash_completion.d/hako
  zsh:   hako completion zsh > /usr/local/share/zsh/site-functions/_hako
  fish:  hako completion fish > ~/.config/fish/completions/hako.fish
)";

/// "  name    text", the text wrapped under itself; a name that is too long gets a line of its own.
void append_entry(std::string& out, const std::string& name, const std::string& text) {
    std::string line = "  " + name;
    if (line.size() + 2 > kNameColumns) {
        out += line + '\n';
        line.clear();
    }
    line.resize(kNameColumns, ' ');
    std::istringstream words(text);
    bool first = true;
    for (std::string word; words >> word;) {
        if (!first && line.size() + 1 + word.size() > kColumns) {
            out += line + '\n';
            line.assign(kNameColumns, ' ');
            first = true;
        }
        if (!first) line += ' ';
        line += word;
        first = false;
    }
    line.erase(line.find_last_not_of(' ') + 1);
    out += line + '\n';
}

std::string option_name(const OptionView& option) {
    std::string name = option.short_name;
    if (!name.empty() && !option.long_name.empty()) name += ", ";
    name += option.long_name;
    if (!option.value.empty()) name += (name.empty() ? "" : " ") + option.value;
    return name;
}

void append_options(std::string& out, const CLI::App& command) {
    std::vector<OptionView> options = visible_options(command);
    std::vector<std::string> groups;
    // A long list of words is a list of its own.
    std::erase_if(options,
                  [](const OptionView& option) { return option.value.size() > kColumns - kNameColumns; });
    for (const OptionView& option : options)
        if (std::find(groups.begin(), groups.end(), option.group) == groups.end())
            groups.push_back(option.group);
    for (const std::string& group : groups) {
        out += fmt::format("\n{}:\n", group);
        for (const OptionView& option : options)
            if (option.group == group) append_entry(out, option_name(option), option.description);
    }
}

void append_verbs(std::string& out) {
    out += "\nVerbs:\n";
    for (const CtlVerb& verb : ctl_verbs())
        append_entry(out, ctl_usage(verb), std::string(verb.help));
}

void append_exit_codes(std::string& out) {
    out += "\nExit codes:\n";
    for (const ExitCodeText& entry : kExitCodes)
        out += fmt::format("  {}  {}\n", static_cast<int>(entry.code), entry.meaning);
}

}  // namespace

std::string help_text(const App& app, const CLI::App& command) {
    std::string out;
    if (&command == &app.root) {
        out = fmt::format("{}\n\nUsage: hako COMMAND [OPTIONS]\n\nCommands:\n", app.root.get_description());
        for (const CLI::App* entry : commands(app.root))
            append_entry(out, entry->get_name(), entry->get_description());
        append_options(out, command);
        out += "\n`hako COMMAND --help` explains a command.\n";
        return out;
    }
    const char* usage = &command == app.run          ? "--kernel PATH "
                        : &command == app.ctl        ? "--api-socket PATH VERB [ARGUMENT...] "
                        : &command == app.serve      ? "--api-socket PATH "
                        : &command == app.seed       ? "build|check|show [IMAGE [FILE]] "
                        : &command == app.bench      ? "blk|net|vsock|fs --kernel PATH "
                        : &command == app.state      ? "show FILE "
                        : &command == app.snapshot   ? "merge BASE DIFF... OUT "
                        : &command == app.completion ? "bash|zsh|fish "
                                                     : "";
    out = fmt::format("hako {}: {}\n\nUsage: hako {} {}[OPTIONS]\n", command.get_name(),
                      command.get_description(), command.get_name(), usage);
    if (&command == app.ctl) append_verbs(out);
    append_options(out, command);
    if (&command == app.ctl) {
        out += kCtlExamples;
    } else if (&command == app.run) {
        out += kRunExamples;
        append_exit_codes(out);
    } else if (&command == app.serve) {
        out +=
            "\nEnds with exit code 0 after vmm.shutdown or SIGTERM. Installed by the name cloud-hypervisor, "
            "too:\nit then ends when its guest does, with the exit codes of hako run.\n";
    } else if (&command == app.doctor) {
        out +=
            "\nExit codes:\n  0  VMs can run here\n  1  they cannot: see the lines that begin with "
            "\"fail\"\n";
    } else if (&command == app.seed) {
        out += kSeedExamples;
    } else if (&command == app.bench) {
        out += kBenchExamples;
    } else if (&command == app.state) {
        out += "\nExit codes:\n  0  shown\n  2  the file is no state, or a damaged one\n";
    } else if (&command == app.snapshot) {
        out +=
            "\nOUT is made, or has no snapshot in it yet; where the file system can, it shares blocks with "
            "BASE."
            "\n\nExit codes:\n  0  merged\n  1  a file cannot be read or written\n  2  a snapshot is "
            "missing, "
            "damaged, or not the base of the next one\n";
    } else {
        out += kCompletionExamples;
    }
    return out;
}

}  // namespace hako::cli

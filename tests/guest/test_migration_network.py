"""What the network sees of a live migration: a guest that sends back a packet each millisecond. Runs on any KVM."""

from tests.guest.test_migration import TTY, disk, move, poll, server  # noqa: F401 (fixtures)
from tests.support.packet_stream import PacketStream
from tests.support.serve import vm_config


def test_no_packet_is_lost_and_no_two_hosts_answer(server, tmp_path):  # noqa: F811
    source, destination = server(), server()
    with PacketStream(tmp_path / "net.sock") as packets, source.api() as api:
        api.put("vm.create", vm_config("echo", **TTY, net=[{"socket": str(packets.path)}]))
        api.put("vm.boot")
        poll(lambda: len(packets.answers) > 100, "no packet comes back")
        progress = move(source, destination)
        here = len(packets.answers)
        poll(lambda: len(packets.answers) > here + 100, "no packet comes back")
        packets.stop()
        print(f"downtime {progress['downtime_us'] / 1000:.1f} ms as reported, {packets.gap() * 1000:.1f} ms as the network sees it")
        wires = [answer.wire for answer in packets.answers]
        assert wires == sorted(wires) and set(wires) == {0, 1}
        answered = {answer.number for answer in packets.answers}
        # Those of the end are still under way. What the source had received goes with the guest.
        assert answered >= set(range(min(answered), max(answered))), sorted(set(range(max(answered))) - answered)

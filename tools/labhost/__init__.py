"""The lab: real KVM on a machine that has none (see tools/lab)."""


class LabError(Exception):
    """A problem whose message tells the user, in one line, what to do."""

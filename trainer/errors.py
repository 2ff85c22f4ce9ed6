"""What can go wrong, and the exit code that says so.

| code | meaning                                                        | start again? |
|------|----------------------------------------------------------------|--------------|
| 0    | done                                                           |              |
| 1    | a finding or a divergence (parity, diagnose, compare, ...)     | no           |
| 64   | bad input: one sentence named the flag, the value, the way out | no           |
| 70   | halted by policy: a step was not finite                        | no           |
| 75   | saved after a preemption                                       | yes          |

Anything else is a failure worth a bounded number of restarts.
"""

OK = 0
FINDING = 1
BAD_INPUT = 64
HALTED = 70
PREEMPTED = 75


class BadInput(ValueError):
    """A person can mend this: the message names the flag, the value and the way out."""

    exit_code = BAD_INPUT


class Halted(RuntimeError):
    """Training stopped by policy, with nothing changed by the step that was not finite."""

    exit_code = HALTED


class Preempted(RuntimeError):
    """The state is saved; the same command goes on from it."""

    exit_code = PREEMPTED

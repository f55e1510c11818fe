"""Fuzz the readers of foreign bytes: python test/fuzz/fuzz_run.py [--seconds 60] [--seed 0] [TARGET ...]

Inputs are mutations of those in test/fuzz/corpus/<target>/. One that makes a target raise an undocumented error, run
for longer than 10 s or grow the process by more than 512 MB is kept as crash-<hash>: once mended, a regression test.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType

CORPUS = Path(__file__).parent / "corpus"
SECONDS, MEGABYTES, LONGEST = 10, 512, 1 << 16

_NUMBERS = [0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 1 << 62, (1 << 64) - 1]


class CrashError(Exception):
    """A target did what it must not do."""


def corpus(target: str) -> list[bytes]:
    """The kept inputs of a target, in the order of their names."""
    return [path.read_bytes() for path in sorted((CORPUS / target).iterdir())]


def mutations(inputs: Sequence[bytes], seed: object) -> Iterator[bytes]:
    """Changed copies of the inputs, without end; the same for a seed."""
    rng = random.Random(f"{seed}")
    while True:
        data = bytearray(rng.choice(inputs))
        for _ in range(rng.choice((1, 1, 2, 4, 8))):
            rng.choice(_CHANGES)(data, rng, inputs)
        yield bytes(data[:LONGEST])


def run_one(target: Callable[[bytes], None], data: bytes) -> None:
    """Raise CrashError unless the target takes or properly refuses the input, soon and in little memory."""
    before = _peak(forget=True)
    previous = signal.signal(signal.SIGALRM, _too_long)
    signal.alarm(SECONDS)
    try:
        target(data)
    except CrashError:
        raise
    except BaseException as error:
        raise CrashError(f"{type(error).__name__}: {error}") from error
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, previous)
    if _peak() - before > MEGABYTES:
        raise CrashError(f"grew by {_peak() - before:.0f} MB")


def _peak(forget: bool = False) -> float:
    """Most memory of this process, in MB. forget: from now on; what ran before may have needed more."""
    if forget:
        Path("/proc/self/clear_refs").write_text("5")
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def _too_long(_signal: int, _frame: FrameType | None) -> None:
    raise CrashError(f"runs for more than {SECONDS} s")


def _set(data: bytearray, rng: random.Random, _: Sequence[bytes]) -> None:
    if data:
        data[rng.randrange(len(data))] = rng.randrange(256)


def _number(data: bytearray, rng: random.Random, _: Sequence[bytes]) -> None:
    size = rng.choice((1, 2, 4, 8))
    at = rng.randrange(len(data) + 1)
    data[at : at + size] = (rng.choice(_NUMBERS) % (1 << 8 * size)).to_bytes(size, rng.choice(("little", "big")))


def _digits(data: bytearray, rng: random.Random, _: Sequence[bytes]) -> None:
    places = [i for i, byte in enumerate(data[:4096]) if chr(byte).isdigit()]
    if places:
        at = rng.choice(places)
        data[at : at + 1] = rng.choice((b"-1", b"1e400", b".nan", b"99999999999999999999", b"[]", b"null", b'"a"'))


def _cut(data: bytearray, rng: random.Random, _: Sequence[bytes]) -> None:
    at = rng.randrange(len(data) + 1)
    del data[at : at + rng.choice((1, 4, 64, len(data)))]


def _repeat(data: bytearray, rng: random.Random, _: Sequence[bytes]) -> None:
    at, size = rng.randrange(len(data) + 1), rng.choice((1, 8, 100))
    data[at:at] = data[at : at + size] * rng.choice((1, 2, 30))


def _splice(data: bytearray, rng: random.Random, inputs: Sequence[bytes]) -> None:
    other = rng.choice(inputs)
    at = rng.randrange(len(other) + 1)
    data[rng.randrange(len(data) + 1) :] = other[at:]


_CHANGES = (_set, _set, _number, _digits, _cut, _repeat, _splice)


def main(arguments: Sequence[str] | None = None) -> int:
    from fuzz_targets import TARGETS

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", choices=[[], *TARGETS], help="default: all")
    parser.add_argument("--seconds", type=float, default=60.0, help="for each target")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args(arguments)
    crashes = 0
    for name in options.targets or TARGETS:
        start, runs, found = time.monotonic(), 0, set()
        for data in mutations(corpus(name), options.seed):
            if (spent := time.monotonic() - start) > options.seconds:
                break
            runs += 1
            try:
                run_one(TARGETS[name], data)
            except CrashError as crash:
                if str(crash)[:60] not in found:
                    found.add(str(crash)[:60])
                    kept = CORPUS / name / f"crash-{hashlib.sha256(data).hexdigest()[:12]}"
                    kept.write_bytes(data)
                    print(f"{name}: {crash}\n  kept: {kept}", flush=True)
        print(f"{name}: {runs} runs, {runs / spent:.0f} a second, {len(found)} kinds of crash", flush=True)
        crashes += len(found)
    return 1 if crashes else 0


if __name__ == "__main__":
    sys.exit(main())

"""Load a real server with 64 clients, and compare its throughput with the bare encoder's.

One run measures, with a ViT-B/32 of random weights, which are as fast as trained ones:

1. *The bare encoder* in this process, with as many threads and as large batches as the server
   uses: frames a second in full batches and in batches of one. Beside it, what one thread with
   all cores for each product would do.
2. *The server*, a process of its own started by `emoclip-clinical serve`, and its clients, which
   are further processes: each sends a request, waits for the answer and sends the next. Half of
   them send single frames and half 32 frames (npy, 224 by 224 pixels), or all send single frames;
   with batching on, and off (batches of one, no delay). All this and the bare encoder take turns,
   `--rounds` times. Every row of every answer is compared with
   the bare encoder's vector of that very frame; the frames are far from one another.
3. *Memory*: a server with a small tower answers 10,000 requests; what it and its children hold
   after 1,000, 5,000 and 10,000.

Run it alone on the machine: ``python benchmarks/serving_load.py --output benchmarks/results``;
``--check`` takes a small tower and seconds.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx2
import numpy as np
import psutil
import torch

from emoclip_clinical.core.checkpoint import load_checkpoint, save_checkpoint
from emoclip_clinical.core.config import ModelConfig, TemporalConfig, TowerConfig
from emoclip_clinical.core.embedder import Embedder
from emoclip_clinical.core.model import build_model
from emoclip_clinical.core.threads import usable_cores

N_FRAMES = 32
POOL_FRAMES = 256
NEAR = 1e-5
NPY = "application/x-npy"
SMALL = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 64, "patch_size": 32, "layers": 2, "width": 32, "head_width": 16},
    "text_cfg": {
        "context_length": 24, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1
    },
}  # fmt: skip


@dataclass(frozen=True)
class Load:
    """What one run of the clients is to do.

    Attributes
    ----------
    clients : int
        Requests that are under way at any time.
    n_single : int
        How many of the clients send single frames; the others send `N_FRAMES`.
    seconds : float
        When clients send no more; 0: after `requests`.
    requests : int
        How many are sent altogether; 0: until the time is over.
    """

    clients: int
    n_single: int
    seconds: float = 0.0
    requests: int = 0


def make_model(folder: Path, *, small: bool) -> Path:
    tower = TowerConfig(name="small" if small else "ViT-B-32", pretrained="none",
                        definition=SMALL if small else None)  # fmt: skip
    temporal = TemporalConfig(heads=2, head_width=8, mlp_width=64) if small else TemporalConfig()
    config = ModelConfig(name="load", tower=tower, temporal=temporal)
    save_checkpoint(folder, built=build_model(config, seed=0), config=config, card={})
    return folder


def make_frames(side: int) -> np.ndarray:
    """Return pictures that differ in colour and in coarse pattern."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (POOL_FRAMES, 8, 8, 3), dtype=np.uint8)
    tint = rng.integers(0, 256, (POOL_FRAMES, 1, 1, 3), dtype=np.uint8)
    mixed = (coarse.astype(np.uint16) + tint) // 2
    return mixed.astype(np.uint8).repeat(side // 8, axis=1).repeat(side // 8, axis=2)


def bare_rate(
    embedder: Embedder,
    pictures: np.ndarray,
    *,
    batch: int,
    threads: int,
    intra: int,
    seconds: float,
) -> float:
    """Return frames a second of so many threads with a batch each."""
    torch.set_num_threads(intra)
    part = pictures[np.arange(batch) % len(pictures)]
    counts = [0] * threads
    embedder.encode_prepared(part)
    began = time.perf_counter()

    def work(i: int) -> None:
        while time.perf_counter() < began + seconds:
            embedder.encode_prepared(part)
            counts[i] += batch

    running = [threading.Thread(target=work, args=(i,)) for i in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    return sum(counts) / (time.perf_counter() - began)


class Server:
    """`emoclip-clinical serve` in a process of its own."""

    def __init__(self, process: subprocess.Popen[str], url: str) -> None:
        self.url = url
        self._process = psutil.Process(process.pid)

    def mebibytes(self) -> float:
        """Return the memory of the server and its children that is their own or shared by them."""
        found = [self._process, *self._process.children(recursive=True)]
        return sum(one.memory_full_info().pss for one in found) / 2**20

    def batches(self) -> np.ndarray:
        """Return how many pictures and how many batches of them were encoded so far."""
        text = httpx2.get(f"{self.url}/metrics", timeout=60).text
        found = dict(
            re.findall(
                r'^emoclip_batch_items_(sum|count)\{kind="pictures"\} (\S+)$', text, re.MULTILINE
            )
        )
        return np.array([float(found["sum"]), float(found["count"])])


@contextmanager
def server(model: Path, *, device: str, limits: dict[str, float]) -> Iterator[Server]:
    options = [text for key, value in limits.items() for text in ("--limit", f"{key}={value}")]
    command = [sys.executable, "-m", "emoclip_clinical", "serve", "--model", str(model)]
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(
            [*command, "--port", "0", "--device", device, *options],
            stderr=log,
            text=True,
            cwd=model.parent,
        )
        try:
            url = None
            while url is None:
                if process.poll() is not None:
                    log.seek(0)
                    raise SystemExit(f"the server ended: {log.read()}")
                time.sleep(0.2)
                log.seek(0)
                url = re.search(r"ready: (\S+)", log.read())
            yield Server(process, url.group(1))
            process.send_signal(signal.SIGTERM)
            if (code := process.wait(120)) != 0:
                raise SystemExit(f"the server ended with {code}")
        finally:
            if (code := process.poll()) not in (None, 0):
                log.seek(0)
                print(f"the server ended with {code}:\n{log.read()[-4000:]}", file=sys.stderr)
            process.kill()
            process.wait()


def run_clients(
    url: str, load: Load, *, folder: Path, processes: int, seed: int
) -> dict[str, float]:
    """Run the clients in processes of their own and put their figures together."""
    running = []
    for i in range(processes):
        part = Load(
            clients=len(range(i, load.clients, processes)),
            n_single=len(range(i, load.n_single, processes)),
            seconds=load.seconds,
            requests=len(range(i, load.requests, processes)),
        )
        order = {"url": url, "load": asdict(part), "folder": str(folder), "seed": seed + i}
        command = [sys.executable, __file__, "--clients-of", json.dumps(order)]
        running.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
    found = []
    for process in running:
        told, _ = process.communicate()
        if process.returncode != 0:
            raise SystemExit(f"a process of clients ended with {process.returncode}")
        found.append(json.loads(told))
    return _together(found)


def _together(found: list[dict]) -> dict[str, float]:
    seconds = max(one["end"] for one in found) - min(one["begin"] for one in found)
    frames = sum(one["frames"] for one in found)
    result: dict[str, float] = {
        "seconds": seconds,
        "frames": frames,
        "requests": sum(one["requests"] for one in found),
        "requests_per_second": round(sum(one["requests"] for one in found) / seconds, 2),
        "frames_per_second": round(frames / seconds, 2),
        "lost": sum(one["lost"] for one in found),
        "of_another": sum(one["wrong"] for one in found),
        "refused_and_repeated": sum(one["refused"] for one in found),
        "largest_difference": max(one["largest_difference"] for one in found),
    }
    for kind in ("1", str(N_FRAMES)):
        took = np.array([t for one in found for t in one["latencies"][kind]])
        if len(took):
            result[f"p50_ms_{kind}_frames"] = round(1e3 * float(np.percentile(took, 50)))
            result[f"p99_ms_{kind}_frames"] = round(1e3 * float(np.percentile(took, 99)))
    return result


class Clients:
    """The clients of one process: as many requests at once as there are of them."""

    def __init__(self, url: str, load: Load, *, folder: Path, seed: int) -> None:
        self._url = f"{url}/v1/embeddings/video?unit=frame"
        self._load = load
        self._frames = np.load(folder / "frames.npy", mmap_mode="r")
        self._expected = np.load(folder / "expected.npy")
        self._rng = np.random.default_rng(seed)
        self._n_left = load.requests
        self.figures = {"requests": 0, "frames": 0, "lost": 0, "wrong": 0, "refused": 0}
        self.largest_difference = 0.0
        self.latencies: dict[str, list[float]] = {"1": [], str(N_FRAMES): []}

    async def run(self) -> dict[str, object]:
        limits = httpx2.Limits(max_connections=None)
        async with httpx2.AsyncClient(timeout=600, limits=limits) as http:
            begin = time.time()
            sizes = [1 if i < self._load.n_single else N_FRAMES for i in range(self._load.clients)]
            await asyncio.gather(*(self._client(http, size, begin) for size in sizes))
            end = time.time()
        return {
            **self.figures,
            "begin": begin,
            "end": end,
            "latencies": self.latencies,
            "largest_difference": self.largest_difference,
        }

    async def _client(self, http: httpx2.AsyncClient, size: int, begin: float) -> None:
        while self._goes_on(begin):
            chosen = self._rng.integers(0, POOL_FRAMES, size)
            body = io.BytesIO()
            np.save(body, self._frames[chosen])
            sent = time.perf_counter()
            answer = await self._answer(http, body.getvalue())
            self.latencies[str(size)].append(time.perf_counter() - sent)
            self.figures["requests"] += 1
            if answer is None:
                self.figures["lost"] += 1
                continue
            self._check(np.load(io.BytesIO(answer)), chosen)

    def _goes_on(self, begin: float) -> bool:
        if self._load.requests:
            self._n_left -= 1
            return self._n_left >= 0
        return time.time() < begin + self._load.seconds

    async def _answer(self, http: httpx2.AsyncClient, body: bytes) -> bytes | None:
        headers = {"Content-Type": NPY, "Accept": NPY}
        while True:
            try:
                response = await http.post(self._url, content=body, headers=headers)
            except httpx2.HTTPError as error:
                print(f"lost: {error!r}", file=sys.stderr)
                return None
            if response.status_code == 200:
                return response.content
            if response.status_code != 429:
                print(f"lost: {response.status_code} {response.text}", file=sys.stderr)
                return None
            self.figures["refused"] += 1
            await asyncio.sleep(float(response.headers["Retry-After"]))

    def _check(self, rows: np.ndarray, chosen: np.ndarray) -> None:
        expected = self._expected[chosen]
        difference = float(np.abs(rows - expected).max()) if rows.shape == expected.shape else 1e9
        self.figures["frames"] += len(chosen)
        self.figures["wrong"] += difference > NEAR
        self.largest_difference = max(self.largest_difference, difference)


def write_pool(folder: Path, embedder: Embedder) -> tuple[np.ndarray, float]:
    """Write frames and their vectors; return them prepared, and how far two of them are apart."""
    frames = make_frames(embedder.image_size_pixels)
    prepared = np.stack([embedder.prepare(frame) for frame in frames])
    expected = np.concatenate(
        [embedder.encode_prepared(part) for part in np.split(prepared, POOL_FRAMES // N_FRAMES)]
    )
    np.save(folder / "frames.npy", frames)
    np.save(folder / "expected.npy", expected)
    apart = np.abs(expected[:, None] - expected[None]).max(axis=2)
    nearest = float(apart[~np.eye(POOL_FRAMES, dtype=bool)].min())
    if nearest < 10 * NEAR:
        raise SystemExit(f"two frames are only {nearest:g} apart: nothing could be told")
    return prepared, nearest


def measure_bare(
    embedder: Embedder, prepared: np.ndarray, *, batch: int, seconds: float
) -> dict[str, float]:
    threads = embedder.batches_at_once
    common = {"threads": threads, "intra": 1, "seconds": seconds}
    return {
        "batch": bare_rate(embedder, prepared, batch=batch, **common),
        "one": bare_rate(embedder, prepared, batch=1, **common),
        "batch_one_thread_all_cores": bare_rate(
            embedder, prepared, batch=batch, threads=1, intra=usable_cores(), seconds=seconds
        ),
    }


def measure_throughput(folder: Path, arguments: argparse.Namespace) -> dict[str, object]:
    model = make_model(folder / "model", small=arguments.check)
    embedder = Embedder(
        load_checkpoint(model), device=arguments.device, batch_frames=arguments.batch_frames
    )
    torch.set_num_threads(1)
    prepared, nearest = write_pool(folder, embedder)
    limits = {
        "on": {"max_batch_frames": arguments.batch_frames},
        "off": {"max_batch_frames": 1, "max_delay_seconds": 0},
    }
    clients = arguments.clients
    bare: list[dict[str, float]] = []
    runs: dict[str, list[dict[str, float]]] = {}
    with ExitStack() as servers:
        running = {
            name: servers.enter_context(
                server(model, device=arguments.device, limits={**wanted, "request_seconds": 3600})
            )
            for name, wanted in limits.items()
        }
        # In turns: a machine that grows slower does so for all of them.
        for turn in range(arguments.rounds):
            bare.append(
                measure_bare(
                    embedder,
                    prepared,
                    batch=arguments.batch_frames,
                    seconds=arguments.bare_seconds,
                )
            )
            for mix, n_single in (("mixed", clients // 2), ("single", clients)):
                load = Load(clients, n_single, seconds=arguments.seconds)
                for name, one in running.items():
                    before = one.batches()
                    found = run_clients(
                        one.url, load, folder=folder, processes=arguments.processes, seed=turn
                    )
                    items, batches = one.batches() - before
                    found["mean_batch"] = items / batches
                    runs.setdefault(f"{mix}_{name}", []).append(found)
    return _compared(bare, runs, embedder) | {"nearest_frames_apart": nearest}


def _compared(
    bare: list[dict[str, float]], runs: dict[str, list[dict[str, float]]], embedder: Embedder
) -> dict[str, object]:
    mean = {key: float(np.mean([one[key] for one in bare])) for key in bare[0]}
    rate = {
        name: sum(turn["frames"] for turn in turns) / sum(turn["seconds"] for turn in turns)
        for name, turns in runs.items()
    }
    on_gpu = embedder.device.type == "cuda"
    gain = mean["batch"] / mean["one"]
    return {
        "device": torch.cuda.get_device_name() if on_gpu else f"{usable_cores()} cores",
        "encoder_threads": embedder.batches_at_once,
        "bare_frames_per_second": {key: round(value, 2) for key, value in mean.items()},
        "bare_batch_to_one": round(gain, 3),
        "frames_per_second": {name: round(value, 2) for name, value in rate.items()},
        "share_of_bare": {
            mix: round(rate[f"{mix}_on"] / mean["batch"], 3) for mix in ("mixed", "single")
        },
        "share_of_bare_wanted": 0.8,
        "on_to_off": {
            mix: round(rate[f"{mix}_on"] / rate[f"{mix}_off"], 3) for mix in ("mixed", "single")
        },
        "on_to_off_wanted": round(4.0 if on_gpu else 0.8 * gain, 3),
        "bare_rounds": bare,
        "rounds": runs,
    }


def measure_memory(folder: Path, arguments: argparse.Namespace) -> dict[str, object]:
    model = make_model(folder / "model", small=True)
    embedder = Embedder(load_checkpoint(model), device=arguments.device)
    write_pool(folder, embedder)
    steps, before = [], 0
    with server(model, device=arguments.device, limits={"request_seconds": 600}) as running:
        for upto in (arguments.requests // 10, arguments.requests // 2, arguments.requests):
            load = Load(arguments.clients, arguments.clients * 3 // 4, requests=upto - before)
            found = run_clients(
                running.url, load, folder=folder, processes=arguments.processes, seed=before
            )
            before = upto
            steps.append({"after_requests": upto, "mebibytes": round(running.mebibytes(), 1),
                          **found})  # fmt: skip
    return {
        "steps": steps,
        "lost": sum(int(step["lost"]) for step in steps),
        "of_another": sum(int(step["of_another"]) for step in steps),
        "growth_mebibytes": round(steps[-1]["mebibytes"] - steps[0]["mebibytes"], 1),
    }


def markdown(result: dict) -> str:
    load, memory = result["throughput"], result["memory"]
    rate, bare = load["frames_per_second"], load["bare_frames_per_second"]
    lines = [
        "# Serving under load",
        "",
        f"{load['device']}, {load['encoder_threads']} encoding threads, {result['clients']} "
        f"clients, batches of {result['batch_frames']}, {len(load['bare_rounds'])} rounds.",
        "",
        "| bare encoder | frames/s |",
        "|---|---:|",
        f"| full batches | {bare['batch']} |",
        f"| batches of one | {bare['one']} |",
        f"| full batches, one thread with all cores | {bare['batch_one_thread_all_cores']} |",
        "",
        "| clients, batching | frames/s | requests/s | pictures a batch | p50, p99 of 1 frame (ms) "
        f"| p50, p99 of {N_FRAMES} frames (ms) | lost | another's |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name, turns in load["rounds"].items():
        requests = sum(turn["requests"] for turn in turns) / sum(turn["seconds"] for turn in turns)
        lines.append(
            f"| {name.replace('_', ', ')} | {rate[name]} | {requests:.2f} "
            f"| {np.mean([turn['mean_batch'] for turn in turns]):.1f} "
            f"| {_latency(turns, 1)} | {_latency(turns, N_FRAMES)} "
            f"| {sum(turn['lost'] for turn in turns)} "
            f"| {sum(turn['of_another'] for turn in turns)} |"
        )
    lines += [
        "",
        f"Share of the bare encoder's rate: {load['share_of_bare']} (wanted: "
        f"{load['share_of_bare_wanted']}). On to off: {load['on_to_off']} (wanted: "
        f"{load['on_to_off_wanted']}; the bare encoder's own: {load['bare_batch_to_one']}).",
        "",
        "Memory of a server with a small tower, with its children: "
        + "; ".join(
            f"{step['mebibytes']} MiB after {step['after_requests']} requests"
            for step in memory["steps"]
        )
        + f". Lost: {memory['lost']}, answered with another's: {memory['of_another']}.",
    ]
    return "\n".join(lines) + "\n"


def _latency(turns: list[dict], frames: int) -> str:
    """Return the middle over rounds of the middle, and the largest of the 99th percentiles."""
    if f"p50_ms_{frames}_frames" not in turns[0]:
        return ""
    middle = np.median([turn[f"p50_ms_{frames}_frames"] for turn in turns])
    return f"{middle:.0f}, {max(turn[f'p99_ms_{frames}_frames'] for turn in turns)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--processes", type=int, default=0, help="of clients; 0: 1, 6 on a GPU")
    parser.add_argument("--seconds", type=float, default=30.0, help="of each run")
    parser.add_argument("--rounds", type=int, default=2, help="of the bare encoder and four runs")
    parser.add_argument("--bare-seconds", type=float, default=20.0)
    parser.add_argument("--batch-frames", type=int, default=32)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--output", type=Path, help="folder for serving_load_<device>.json and .md")
    parser.add_argument("--check", action="store_true", help="a small tower, a few seconds")
    parser.add_argument("--clients-of", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.clients_of:
        order = json.loads(arguments.clients_of)
        clients = Clients(
            order["url"], Load(**order["load"]), folder=Path(order["folder"]), seed=order["seed"]
        )
        print(json.dumps(asyncio.run(clients.run())))
        return
    if arguments.check:
        arguments.seconds, arguments.bare_seconds, arguments.requests = 4.0, 2.0, 1000
    if arguments.processes == 0:
        on_gpu = arguments.device != "cpu" and torch.cuda.is_available()
        arguments.processes = min(6, usable_cores() // 2) if on_gpu else 1
    os.environ["PYTHONUNBUFFERED"] = "1"
    with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:
        result = {
            "clients": arguments.clients,
            "client_processes": arguments.processes,
            "batch_frames": arguments.batch_frames,
            "throughput": measure_throughput(Path(first), arguments),
            "memory": measure_memory(Path(second), arguments),
        }
    print(json.dumps(result, indent=2))
    print(markdown(result))
    if arguments.output is not None:
        arguments.output.mkdir(parents=True, exist_ok=True)
        device = "gpu" if "cores" not in str(result["throughput"]["device"]) else "cpu"
        target = arguments.output / f"serving_load_{device}"
        target.with_suffix(".json").write_text(json.dumps(result, indent=2) + "\n")
        target.with_suffix(".md").write_text(markdown(result))


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: Apache-2.0
"""A stand-in for the engine that speaks the protocol with numpy alone: quick, and it misbehaves on request.

    python fake_engine.py [misbehaviour]

Misbehaviours: old (another protocol), mute (never answers), garbage (a login greeting first), deaf (answers hello, then
nothing), lanes (tells none), die (ends when a job is half done), slow (jobs take long), crawl (training takes half a
minute), late (heads take a second), busy (late, and training crawls), noface (tracking fails with a sentence).
Photographs: cats have no face, owls are doubtful, slow ones take ten seconds. The job "mirror" sends every frame back,
turned, until it is cancelled. The job "bake" makes three shapes of its own of whatever heads come. The job "live" films
until it is told to stop (a file: for a fifth of a second); away: nobody is seen; gone: the camera is pulled out; other:
its head is another. The job "reenact" makes the same performance of every capture, and refuses files of other heads.
"""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import os
import queue
import shutil
import struct
import sys
import threading
import time
from pathlib import Path

import numpy as np
import synthetic_fit

import synthetic

_HEADER = struct.Struct("<IQ")
LANES = {"train": "train", "live": "train", "track": "work", "mirror": "live"}
_lock = threading.Lock()
_cancelled: set[str] = set()
_frames: dict[str, queue.Queue] = {}  # what "mirror" jobs were sent
_ids = itertools.count(1)


def send(body: dict, arrays: dict[str, np.ndarray] | None = None) -> None:
    arrays = {name: np.ascontiguousarray(array) for name, array in (arrays or {}).items()}
    if arrays:
        body = body | {
            "attachments": [{"name": n, "dtype": a.dtype.name, "shape": list(a.shape)} for n, a in arrays.items()]
        }
    text, payload = json.dumps({"jsonrpc": "2.0", **body}).encode(), b"".join(a.tobytes() for a in arrays.values())
    with _lock:
        sys.stdout.buffer.write(_HEADER.pack(len(text), len(payload)) + text + payload)
        sys.stdout.buffer.flush()


def receive() -> tuple[dict, dict[str, np.ndarray]] | None:
    header = sys.stdin.buffer.read(_HEADER.size)
    if len(header) < _HEADER.size:
        return None
    json_size, size = _HEADER.unpack(header)
    body, payload = json.loads(sys.stdin.buffer.read(json_size)), sys.stdin.buffer.read(size)
    arrays, offset = {}, 0
    for item in body.get("attachments", []):
        count = int(np.prod(item["shape"], dtype=int))
        arrays[item["name"]] = np.frombuffer(payload, item["dtype"], count, offset).reshape(item["shape"])
        offset += arrays[item["name"]].nbytes
    return body, arrays


def splat(params: dict, a: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Every Gaussian as one opaque pixel, the nearest in front: enough to see whether cameras and rows are right."""
    width, height = params["width"], params["height"]
    camera = a["means"] @ a["viewmat"][:3, :3].T + a["viewmat"][:3, 3]
    pixels = camera @ a["K"].T
    xy = np.floor(pixels[:, :2] / pixels[:, 2:]).astype(int)
    inside = (camera[:, 2] > 0) & (xy >= 0).all(1) & (xy < [width, height]).all(1)
    order = np.argsort(-camera[:, 2])
    order = order[inside[order]]
    image, alpha, depth = (np.zeros((height, width, c), np.float32) for c in (3, 1, 1))
    x, y = xy[order].T
    image[y, x], alpha[y, x, 0], depth[y, x, 0] = a["colors"][order], 1, camera[order, 2]
    return {"image": image, "alpha": alpha, "depth": depth}


def run_job(kind: str, job: str, params: dict, bad: str) -> None:
    directory = Path(params.get("directory", "."))
    checkpoint = Path(params.get("output", "x").removesuffix(".avatar.npz") + ".checkpoint.safetensors")
    done = int(checkpoint.read_text()) if kind == "train" and checkpoint.exists() else 0
    total = 100 if bad in ("slow", "die", "crawl") or (bad == "busy" and kind == "train") else 10
    if any("slow" in Path(image).name for image in params.get("images", ())):
        total = 2000
    while done < total:
        if job in _cancelled:
            finish(job, kind, "cancelled")
            return
        slow = 0.3 if kind == "train" else 0.05
        time.sleep({"slow": 0.05, "crawl": slow, "busy": slow}.get(bad, 0.005))
        done += 1
        if kind == "train":
            checkpoint.parent.mkdir(parents=True, exist_ok=True)
            checkpoint.write_text(str(done))
            send({"method": "job.preview", "params": {"job": job}}, {"image": np.full((32, 48, 3), done * 2, np.uint8)})
        send({"method": "job.progress", "params": {
            "job": job, "kind": kind, "stage": "working", "done": done, "total": total, "message": f"step {done}",
            "eta_s": 1.0,
            "figures": {"loss": 1 / done, "psnr": 24 + 8 * done / total}}})  # fmt: skip
        if bad == "die" and done == total // 2 and not (directory / "died").exists():
            directory.mkdir(parents=True, exist_ok=True)
            (directory / "died").write_text("once")
            os._exit(137)
    if bad == "noface" and kind == "track":
        told = {"code": "no-face", "sentence": "No face was found in the clip.", "detail": "looked at 20 frames"}
        finish(job, kind, "failed", error=told)
        return
    if kind == "fit_image":
        finish_fit(job, directory, params)
        return
    if kind == "reenact":
        reenact(job, params)
        return
    if kind == "train":
        checkpoint.write_text("0")  # the engine's stays as well; here training again begins anew
    write_results(kind, directory, params)
    result = {"directory": str(directory)}
    finish(job, kind, "done", result | {"notes": ["Two people."]} if bad == "remark" else result)


def reenact(job: str, params: dict) -> None:
    """A capture becomes a performance of the made-up head; one of another head cannot be laid onto it."""
    path = Path(params["performance"])
    if path.suffix == ".npz":
        with np.load(path) as archive:
            meta, count = json.loads(archive["meta"].tobytes()), archive["expression"].shape[1]
        told = f"The head {meta.get('head')!r} ({count} expressions, model {meta.get('head_model') or 'unknown'})"
        error = {"code": "input", "sentence": f"{told} cannot be laid onto the avatar's.", "detail": ""}
        finish(job, "reenact", "failed", error=error)
        return
    synthetic.write_performance(Path(params["output"]), fps=params.get("fps", 60.0), seed=6)
    Path(params["output"]).with_suffix(".json").write_text(json.dumps(params))
    finish(job, "reenact", "done", {"output": params["output"], "frames": 20, "notes": ["It has no column for x."]})


def live(job: str, params: dict, bad: str) -> None:
    """A face that comes nearer; pictures, Gaussians and figures of it, fifty times a second."""
    directory, seen, stopped, paused = Path(params["directory"]), 0, False, False
    total = 10 if params["source"].endswith(".mp4") else 0
    (directory / "live-journal").mkdir(parents=True)
    (directory / "live-journal" / "take.json").write_text("{}")
    places = synthetic.grid_head()[1]["rig.template"]
    said = {"away": "no face in the picture", "gone": "The camera 0 has sent nothing for 4 seconds."}.get(bad, "live")
    while not (stopped or job in _cancelled or (total and seen >= total)):
        with contextlib.suppress(queue.Empty):
            info = _frames[job].get(timeout=0.02)[0]
            stopped, paused = stopped or bool(info.get("stop")), info.get("pause", paused)
        seen += not paused
        figures = {"dropped": 3, "tracked": seen, "fps": 14.5, "local": 5, "long_term": 7, "images": 40 * seen,
                   "rate": 97.0, "new_psnr": 27.25, "seconds": seen / 50, "face": float(bad != "away")}  # fmt: skip
        send({"method": "job.progress", "params": {
            "job": job, "kind": "live", "stage": "live", "done": seen, "total": total,
            "message": "paused" if paused else said, "eta_s": None, "figures": figures}})  # fmt: skip
        send({"method": "job.preview", "params": {"job": job}}, {"image": np.full((16, 48, 3), seen % 256, np.uint8)})
        if bad != "away":
            send({"method": "job.frame", "params": {
                "job": job, "info": {"splats": len(places), "frame": seen, "seconds": seen / 50}}}, {
                "position": places + np.float32([0, 0, 0.001 * (seen % 60)]), "scale": np.full_like(places, 0.004),
                "rotation": np.tile(np.float32([1, 0, 0, 0]), (len(places), 1)),
                "opacity": np.full(len(places), 0.8, np.float32), "color": np.full_like(places, 0.25)})  # fmt: skip
        if params.get("drive"):
            one = synthetic.performance_arrays(frames=60, seed=6)
            told = ("expression", "root_pose", "neck_pose", "jaw_pose", "eyes_pose", "eyelids", "translation")
            arrays = {name: one[name][[0 if seen < 40 else 30]] for name in told}  # rests, then does something
            model = "another" if bad == "other" else ""
            send({"method": "job.frame", "params": {"job": job, "info": {"head": model, "frame": seen}}}, arrays)
        if bad == "die" and seen > 8:
            os._exit(137)
    if bad == "away":
        shutil.rmtree(directory)
        told = {"code": "no-face", "sentence": "No face was seen in the camera 0.", "detail": ""}
        return finish(job, "live", "failed", error=told)
    shutil.rmtree(directory / "live-journal")
    write_results("import", directory, params)
    write_results("track", directory, params)
    if not params.get("learn", True):
        left = {"avatar": None, "directory": str(directory), "notes": []}
        return finish(job, "live", *(["cancelled"] if job in _cancelled else ["done", left]))
    synthetic.write_avatar(Path(params["output"]), training={"preset": "live", "images": 40 * seen})
    Path(params["output"].replace(".avatar.npz", ".live.safetensors")).write_text("what training goes on from")
    if job in _cancelled:
        return finish(job, "live", "cancelled")
    notes = ["The camera 0 was gone for 2 seconds."] if bad == "gone" else []
    result = {"directory": str(directory), "avatar": params["output"], "frames": seen, "notes": notes}
    finish(job, "live", "done", result)


def mirror(job: str) -> None:
    """Every frame comes back from right to left, with its number; and is the job's picture."""
    while job not in _cancelled:
        try:
            info, arrays = _frames[job].get(timeout=0.02)
        except queue.Empty:
            continue
        send({"method": "job.preview", "params": {"job": job}}, {"image": arrays["image"]})
        send({"method": "job.frame", "params": {"job": job, "info": info}}, {"image": arrays["image"][:, ::-1]})
    finish(job, "mirror", "cancelled")


def bake(job: str, params: dict) -> None:
    """Three shapes that brighten and darken, weighed by waves, on the file's Gaussians."""
    read = 0
    while read < params["frames"] and job not in _cancelled:
        send({"method": "job.progress", "params": {"job": job, "stage": "reading", "done": read,
              "total": params["frames"], "message": f"frame {read}"}})  # fmt: skip
        with contextlib.suppress(queue.Empty):
            read += len(_frames[job].get(timeout=0.02)[1]["vertices"])
    if job in _cancelled:
        return finish(job, "bake", "cancelled")
    a = synthetic.read(Path(params["avatar"]))
    count, rng = len(a["triangle"]), np.random.default_rng(2)
    mean = {name: a[name] for name in ("positions", "log_scales", "quats", "barycentrics")}
    mean |= {"opacities": np.full(count, 0.9, np.float32), "colors": np.full((count, 3), 0.5, np.float32)}
    mean["corners"] = a["rig.faces"][a["triangle"]].astype(np.int32)
    mean["weights"] = np.sin(np.arange(read)[:, None] * [0.2, 0.5, 1.0]).astype(np.float32)
    send({"method": "job.frame", "params": {"job": job, "info": {"keys": 3}}}, mean)
    for key in range(3):
        still = {name: np.zeros_like(mean[name]) for name in ("positions", "log_scales", "quats", "opacities")}
        colors = rng.normal(0, 0.2, (count, 3)).astype(np.float32)
        send({"method": "job.frame", "params": {"job": job, "info": {"key": key}}}, still | {"colors": colors})
    figures = {"error": 0.04, "psnr": 50.0, "lowest_psnr": 45.0, "lowest_frame": read - 1}
    finish(job, "bake", "done", {"keys": 3, "frames": read, "gaussians": count} | figures)


def drive(params: dict, a: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """A grey Gaussian on each of the head's vertices, the brighter the more of the avatar is shown; without vertices on
    those of a head that its expression moves."""
    means = a.get("vertices", _moved(a["expression"]))
    grey = {"full": 0.9, "base": 0.6, "residual": 0.3}[params["shown"]]
    ones = np.ones(means.shape[:2], np.float32)
    quats = np.tile(np.array([1, 0, 0, 0], np.float32), (*means.shape[:2], 1))
    scales = np.full_like(means, 0.002)
    return {"means": means, "quats": quats, "scales": scales, "opacities": ones, "colors": np.full_like(means, grey)}


def _moved(expression: np.ndarray) -> np.ndarray:
    places = synthetic.grid_head()[1]["rig.template"]
    return (places + 0.01 * (expression @ np.sin(np.arange(expression.shape[1])))[:, None, None]).astype(np.float32)


def finish_fit(job: str, directory: Path, params: dict) -> None:
    """Fit every photograph but those of cats; those of owls are doubtful."""
    images = [Path(image) for image in params["images"]]
    fits, failed = [], []
    for number, image in enumerate(images):
        if "cat" in image.name:
            failed.append({"image": str(image), "sentence": f"No face was found in {image.name}."})
            continue
        folder = directory if len(images) == 1 else directory / image.stem
        warnings = ["The mouth cannot be seen well: its shape is a guess."] if "owl" in image.name else []
        synthetic.write_fit(folder, image, warnings, person=0 if params.get("same_person") else number)
        fits.append({"image": str(image), "directory": str(folder), "method": "landmarks", "warnings": warnings,
                     "landmark_error": 0.01})  # fmt: skip
    if not fits:
        finish(job, "fit_image", "failed", error={"code": "no-face", "sentence": failed[0]["sentence"], "detail": ""})
    else:
        finish(job, "fit_image", "done", {"fits": fits, "failed": failed})


def write_results(kind: str, directory: Path, params: dict) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    if kind == "import":
        times = [frame / 25 for frame in range(20)]
        told = {"timestamps": times, "width": 256, "height": 256, "source": params.get("video", "")}
        (directory / "clip.json").write_text(json.dumps({"params": params, **told}))
    elif kind == "track":
        synthetic.write_performance(directory / "tracking.npz")
        (directory / "track.json").write_text(json.dumps({"params": params}))
    elif kind == "correct":
        correct(directory, params)
    elif kind == "train":
        record = {"preset": params.get("preset", "draft"), "figures": {"psnr": 31.0}}
        synthetic.write_avatar(Path(params["output"]), training=record)
    elif kind == "evaluate":
        write_measured(Path(params["output"]), params)
    elif kind == "export_head":
        Path(params["output"]).write_text(json.dumps(params))


def write_measured(folder: Path, params: dict) -> None:
    """The files of a measurement, the picture a single red pixel."""
    folder.mkdir(parents=True, exist_ok=True)
    sides = {"from_left": {"holes": 0.01}, "from_front": {"holes": 0.0}, "from_right": {"holes": 0.17}}
    figures = {"psnr": 30.0, "mouth_psnr": 26.5, "eyes_psnr": 29.2, "sides": sides, "steadiness": {"tremble": 0.5}}
    (folder / "summary.json").write_text(json.dumps(figures | {"settings": params}))
    pixel = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC"
    (folder / "sheet.png").write_bytes(base64.b64decode(pixel))


def correct(directory: Path, params: dict) -> None:
    """The corrected frames as they were put, nothing around them; the file moves in."""
    arrays = synthetic.read(directory / "tracking.npz")
    uncorrected = directory / "uncorrected.npz"
    arrays = synthetic.read(uncorrected) if uncorrected.exists() else arrays
    synthetic.write_tracking(uncorrected, arrays)
    told = synthetic.read(Path(params.get("corrections") or directory / "corrections.npz"))
    keep = told["frames"] != params.get("forget", -1)
    told = {name: array[keep] for name, array in told.items()}
    for name in ("neck_pose", "translation", "jaw_pose", "eyes_pose", "eyelids", "expression"):
        arrays[name][told["frames"]] = told[name]
    arrays["valid"][told["frames"]] = True
    synthetic.write(directory / "corrections.npz", {"format": "blendsplat-corrections", "version": 1}, told)
    synthetic.write_tracking(directory / "tracking.npz", arrays)


def finish(job: str, kind: str, state: str, result: dict | None = None, error: dict | None = None) -> None:
    send(
        {
            "method": "job.finished",
            "params": {"job": job, "kind": kind, "state": state, "result": result, "error": error},
        }
    )


def answer(body: dict, arrays: dict[str, np.ndarray], bad: str) -> tuple[dict, dict[str, np.ndarray]]:
    method, params = body["method"], body.get("params", {})
    if method == "hello":
        presets = [
            {"name": "draft", "title": "Draft", "description": "quick"},
            {"name": "full", "title": "Full", "description": "slow"},
        ]
        return {
            "protocol": 99 if bad == "old" else 1, "version": "fake", "python": "3", "torch": None, "log": None,
            "presets": presets,
            "devices": [{"id": "cpu", "name": "a stand-in"}], "kernels": {"cpu": True, "cuda": False},
            "heads": ["human"], **({} if bad == "lanes" else {"lanes": LANES}),
        }, {}  # fmt: skip
    if method == "camera.list":
        found = {"/dev/video0": "Built-in", "/dev/video2": "Ü-Cam"}
        return {"cameras": [{"source": source, "name": name} for source, name in found.items()]}, {}
    if method == "weights.describe":
        if params["weights"] == "auto":
            return {"usable": True, "sentence": "A stand-in network.", "licence": "CC0", "folder": None}, {}
        raise ValueError(f"{params['weights']} has no model.safetensors")
    if method == "head.rig":
        fitted = params.get("identity", False)
        return synthetic_fit.head_rig(params["directory"]) if fitted else synthetic.grid_head()
    if method == "avatar.drive":
        if not Path(params["path"]).is_file():
            raise ValueError(f"{params['path']} does not exist.")
        return {}, drive(params, arrays)
    if method == "render.gaussians":
        return {}, splat(params, arrays)
    if method == "job.start":
        job = f"job-{next(_ids)}"
        work, words = run_job, (params["kind"], job, params["params"], bad)
        if params["kind"] == "live":
            _frames[job] = queue.Queue()
            work, words = live, (job, params["params"], bad)
        elif params["kind"] == "mirror":
            _frames[job] = queue.Queue()
            work, words = mirror, (job,)
        elif params["kind"] == "bake":
            _frames[job] = queue.Queue()
            work, words = bake, (job, params["params"])
        threading.Thread(target=work, args=words, daemon=True).start()
        return {"job": job}, {}
    if method == "job.frame":
        accepted = params["job"] in _frames
        if accepted:
            _frames[params["job"]].put((params["info"], arrays))
        return {"accepted": accepted}, {}
    if method == "job.cancel":
        _cancelled.add(params["job"])
        return {"state": "cancelling"}, {}
    return {"time": 0, "jobs": []}, {}


def main() -> None:
    bad = sys.argv[1] if len(sys.argv) > 1 else ""
    if bad == "garbage":
        print("Welcome to gpu-box! Last login: yesterday", flush=True)
    while (message := receive()) is not None:
        body, arrays = message
        if bad == "mute" or (bad == "deaf" and body["method"] != "hello"):
            continue
        if bad in ("late", "busy") and body["method"] == "head.rig":
            threading.Timer(1.0, respond, (body, arrays, bad)).start()
        else:
            respond(body, arrays, bad)


def respond(body: dict, arrays: dict[str, np.ndarray], bad: str) -> None:
    try:
        result, attachments = answer(body, arrays, bad)
        send({"id": body["id"], "result": result}, attachments)
    except Exception as error:
        told = {"code": -32000, "message": f"It broke: {error}", "data": {"code": "error", "detail": ""}}
        send({"id": body["id"], "error": told})


if __name__ == "__main__":
    main()

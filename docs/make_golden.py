#!/usr/bin/env python3
"""Records what the published implementation answers, for `internvl verify MODEL OUT`.

    python3 docs/make_golden.py InternViT-300M-448px golden/
    python3 docs/make_golden.py InternViT-6B-224px golden/ --photos cat.jpg dog.jpg --layers 0,23,47
    internvl verify InternViT-6B-224px golden/

MODEL is a folder as downloaded (or a name on the hub) that transformers can open: the code beside the
weights is run (trust_remote_code). OUT becomes a folder with

    pixel_values.npy     [N, 3, H, W]        the input, normalised
    embeddings.npy       [N, tokens, C]      patches + CLS + positions
    block_<i>.npy        [N, tokens, C]      output of block i, counted from 0 (all, or those of --layers)
    pooler_output.npy    [N, C]              CLS row of the last block
    fp64_errors.json     for each array its shape, peak and rms, and how far the recorded float32 run is
                         from a float64 one (max_abs_err), from which `verify` derives its bounds

all float32. Two runs are made, in float32 and in float64. Weights are widened to float64 one block at a
time, so that the memory needed is that of the model in float32 (300M: 1.2 GB, 6B: 24 GB) and a block.
On a CPU a picture takes seconds (300M) to minutes (6B).

Needs numpy, and for the runs torch (1.13 or newer) and transformers; for some checkpoints timm, einops;
for --photos Pillow. NVIDIA's apex and flash-attention must not be used by the published code: the former
is refused, the latter switched off, as neither computes in float64.
"""

import argparse
import contextlib
import json
import pathlib
import sys

import numpy as np

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def fail(text):
    sys.exit(f"make_golden.py: {text}")


# ---- pictures ---------------------------------------------------------------------------------


def random_pixels(images, size, seed):
    """Noise with the spread of normalised photographs: [images, 3, size, size] float32."""
    generator = np.random.default_rng(seed)
    return generator.standard_normal((images, 3, size, size), dtype=np.float32)


def normalise(rgb, mean, std):
    """uint8 [H, W, 3] to float32 [3, H, W]."""
    scaled = rgb.astype(np.float32) / np.float32(255)
    scaled = (scaled - np.asarray(mean, np.float32)) / np.asarray(std, np.float32)
    return np.ascontiguousarray(scaled.transpose(2, 0, 1), dtype=np.float32)


def crop_box(width, height, size):
    """The short side becomes `size`; answers the resized width and height and the centre square."""
    short = min(width, height)
    resized = (int(size * width / short), int(size * height / short))
    left = round((resized[0] - size) / 2)
    top = round((resized[1] - size) / 2)
    return resized, (left, top, left + size, top + size)


def photo_pixels(paths, size, mean, std):
    from PIL import Image

    pictures = []
    for path in paths:
        with Image.open(path) as image:
            rgb = image.convert("RGB")
        resized, box = crop_box(*rgb.size, size)
        rgb = rgb.resize(resized, Image.BICUBIC).crop(box)
        pictures.append(normalise(np.asarray(rgb), mean, std))
    return np.stack(pictures)


def mean_and_std(model):
    """Of preprocessor_config.json beside the weights, else ImageNet's."""
    path = pathlib.Path(model) / "preprocessor_config.json"
    if not path.is_file():
        return IMAGENET_MEAN, IMAGENET_STD
    config = json.loads(path.read_text())
    return config.get("image_mean", IMAGENET_MEAN), config.get("image_std", IMAGENET_STD)


# ---- arrays and their errors ------------------------------------------------------------------


def errors_of(single, double):
    """One entry of fp64_errors.json: the float32 run against the float64 one."""
    difference = np.abs(single.astype(np.float64) - double)
    rms = float(np.sqrt(np.mean(np.square(double))))
    worst = float(difference.max())
    return {
        "shape": list(single.shape),
        "peak": float(np.abs(double).max()),
        "rms": rms,
        "max_abs_err": worst,
        "max_abs_err_over_rms": worst / rms if rms else 0.0,
    }


def selected_blocks(text, blocks):
    """--layers: "all", or block numbers from 0; negative ones count from the end."""
    if text == "all":
        return list(range(blocks))
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        fail(f"--layers {text}: must be 'all' or block numbers, 0 to {blocks - 1}, with commas between")
    for number in numbers:
        if not -blocks <= number < blocks:
            fail(f"--layers: there is no block {number}; the model has blocks 0 to {blocks - 1}")
    return sorted({number % blocks for number in numbers})


def check_out(out):
    """A folder with older arrays would mix two recordings."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        fail(f"'{out}' is there already and not an empty folder; name another or remove it")


def write_folder(out, pixels, single, errors):
    """Arrays first, fp64_errors.json last: without it `verify` refuses a folder that is half there."""
    out.mkdir(parents=True, exist_ok=True)
    np.save(out / "pixel_values.npy", pixels.astype("<f4"))
    for name, values in single.items():
        np.save(out / f"{name}.npy", np.ascontiguousarray(values, dtype="<f4"))
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(entry)}" for name, entry in errors.items())
    (out / "fp64_errors.json").write_text("{\n" + lines + "\n}\n")


# ---- the published model ----------------------------------------------------------------------


def find_tower(model):
    """The vision tower, and its blocks, in a tower's or a composite model's class."""
    for path in ("", "vision_model", "vision_tower", "model.vision_tower"):
        tower = model
        for part in filter(None, path.split(".")):
            tower = getattr(tower, part, None)
        encoder = getattr(tower, "encoder", None)
        blocks = getattr(encoder, "layers", None) or getattr(encoder, "layer", None)
        if blocks is not None and hasattr(tower, "embeddings"):
            return tower, blocks
    fail(f"{type(model).__name__} has no vision tower with embeddings and encoder.layers")


def open_model(name, device):
    import torch
    from transformers import AutoConfig, AutoModel

    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    config = AutoConfig.from_pretrained(name, trust_remote_code=True)
    for part in (config, getattr(config, "vision_config", None)):
        if hasattr(part, "use_flash_attn"):
            part.use_flash_attn = False
    model = AutoModel.from_pretrained(name, config=config, torch_dtype=torch.float32, trust_remote_code=True)
    tower, blocks = find_tower(model)
    if any("apex" in type(module).__module__ for module in tower.modules()):
        fail("the published code uses NVIDIA's apex for its norms; run this where apex is not installed")
    return tower.eval().to(device), blocks


def first_of(output):
    """What a module answers; some answer it with other things behind it."""
    return output[0] if isinstance(output, (tuple, list)) else output


@contextlib.contextmanager
def widened():
    """Where the published code asks for float32 in the middle (norms, position tables), it gets float64."""
    import torch

    to, single = torch.Tensor.to, torch.Tensor.float

    def wide(value):
        return torch.float64 if value is torch.float32 else value

    def to_wide(tensor, *arguments, **options):
        return to(tensor, *map(wide, arguments), **{key: wide(value) for key, value in options.items()})

    torch.Tensor.to, torch.Tensor.float = to_wide, torch.Tensor.double
    try:
        yield
    finally:
        torch.Tensor.to, torch.Tensor.float = to, single


def run(tower, modules, pixels, device, double):
    """Runs the tower; answers the outputs of modules (by name), and pooler_output, as numpy arrays."""
    import torch

    results = {}
    handles = []

    def widen(module, inputs):
        module.double()
        return tuple(x.double() if torch.is_tensor(x) and x.is_floating_point() else x for x in inputs)

    def narrow(module, _inputs, _output):
        module._apply(lambda x: x.type(torch.float32) if x.is_floating_point() else x)

    def record(name):
        def hook(_module, _inputs, output):
            results[name] = first_of(output).detach().cpu().numpy()
            if name.startswith("block_"):
                results["pooler_output"] = results[name][:, 0].copy()

        return hook

    wanted = {module: name for name, module in modules["recorded"].items()}
    for module in modules["all"]:
        if double:
            handles.append(module.register_forward_pre_hook(widen))
            handles.append(module.register_forward_hook(narrow))
        if module in wanted:
            handles.append(module.register_forward_hook(record(wanted[module])))
    try:
        with torch.no_grad(), widened() if double else contextlib.nullcontext():
            tower(pixel_values=torch.from_numpy(pixels).to(device))
    finally:
        for handle in handles:
            handle.remove()
    return results


def record(tower, blocks, pixels, layers, device):
    """Both runs: the float32 arrays, and their entries of fp64_errors.json."""
    chosen = selected_blocks(layers, len(blocks))
    last = len(blocks) - 1
    recorded = {"embeddings": tower.embeddings}
    recorded.update((f"block_{i}", blocks[i]) for i in sorted({*chosen, last}))
    modules = {"all": [tower.embeddings, *blocks], "recorded": recorded}
    single = run(tower, modules, pixels, device, double=False)
    double = run(tower, modules, pixels, device, double=True)
    if last not in chosen:
        del single[f"block_{last}"]
    for name, values in single.items():
        if not np.isfinite(values).all() or double[name].dtype != np.float64:
            fail(f"{name} is not finite, or was not computed in float64; is this an InternViT?")
    return single, {name: errors_of(values, double[name]) for name, values in single.items()}


# ---- command line -----------------------------------------------------------------------------


def arguments():
    parser = argparse.ArgumentParser(
        description="Records what the published implementation answers, for `internvl verify MODEL OUT`.",
        epilog="Needs torch and transformers; see the head of this file.",
    )
    parser.add_argument("model", metavar="MODEL", help="folder of the checkpoint, or its name on the hub")
    parser.add_argument("out", metavar="OUT", type=pathlib.Path, help="folder to be made")
    parser.add_argument("--photos", nargs="+", metavar="FILE", help="pictures to record; default: random values")
    parser.add_argument("--images", type=int, default=2, metavar="N", help="how many random pictures (2)")
    parser.add_argument("--seed", type=int, default=0, help="of the random pictures (0)")
    parser.add_argument("--size", type=int, metavar="PIXELS", help="side of the pictures (the model's own)")
    parser.add_argument("--layers", default="all", metavar="L[,L...]", help="blocks to record, from 0 (all)")
    parser.add_argument("--device", default="cpu", help="torch's device; it must know float64 (cpu)")
    return parser.parse_args()


def main():
    options = arguments()
    check_out(options.out)
    tower, blocks = open_model(options.model, options.device)
    size = options.size or tower.config.image_size
    size = size if isinstance(size, int) else size[0]
    if options.photos:
        pixels = photo_pixels(options.photos, size, *mean_and_std(options.model))
    else:
        pixels = random_pixels(options.images, size, options.seed)
    single, errors = record(tower, blocks, pixels, options.layers, options.device)
    write_folder(options.out, pixels, single, errors)
    print(f"{len(single)} arrays of {len(pixels)} pictures -> {options.out}")


if __name__ == "__main__":
    main()

"""The models and recipes of the paper (Jaegle et al. 2021, arXiv 2103.03206v2): options under the user's own.

"chosen" means that the paper does not say.
"""

PRESETS: dict[str, dict[str, bool | int | float | str]] = {
    # Sec. 4.1: 50,176 pixels x 261 channels, 8 cross-attends, 48 latent layers, 44,912,254 parameters.
    "imagenet": {
        "model.latents": 512,
        "model.width": 1024,
        "model.blocks": 8,
        "model.layers": 6,
        "model.bands": 64,
        "model.image.patch": 1,
        "train.epochs": 120,
        "train.optimizer": "lamb",
        "train.rate": 0.004,
        "train.schedule": "step",
        "train.image.area": 0.08,
        "train.image.flip": 0.5,
        "train.image.operations": 2,
        "train.image.magnitude": 9.0,
    },
    # Sec. 4.2: 32 frames in 2x8x8 blocks and 61,440 samples in 480 x 128, 16 clips when evaluated; bands from
    # Perceiver IO's code. That videos are cropped, mirrored and coloured is the paper's, how much is chosen.
    "audioset": {
        "model.latents": 512,
        "model.width": 1024,
        "model.blocks": 2,
        "model.layers": 8,
        "model.sharing": "none",
        "model.audio.patch": 128,
        "model.audio.bands": 192,
        "model.video.bands": 32,
        "model.video.frames": 2,
        "model.video.patch": 8,
        "model.views": 16,
        "train.epochs": 100,
        "train.optimizer": "lamb",
        "train.video.area": 0.3,
        "train.video.flip": 0.5,
        "train.video.brightness": 0.2,
        "train.video.contrast": 0.2,
        "train.video.saturation": 0.2,
        "train.video.drop": 0.3,
    },
    # Sec. 4.3: about 2,000 points, at most 50,000 steps of 512.
    "modelnet40": {
        "model.latents": 512,
        "model.width": 1024,
        "model.blocks": 2,
        "model.layers": 6,
        "model.mesh.bands": 64,
        "model.mesh.max-frequency": 1120,
        "train.steps": 50_000,
        "train.batch": 512,
        "train.optimizer": "lamb",
        "train.rate": 0.001,
        "train.schedule": "constant",
        "train.mesh.stretch": 0.01,
    },
}
"""Options that a preset puts in front of the user's own, keyed as in the run file."""

# Flash attention takes heads of up to 256 channels: 62 bands give 3 + 2 x 125 = 253, 42 give 3 x 85 = 255.
PRESETS["imagenet-flash"] = {**PRESETS["imagenet"], "model.bands": 62, "train.precision": "bfloat16"}
PRESETS["modelnet40-flash"] = {**PRESETS["modelnet40"], "model.mesh.bands": 42, "train.precision": "bfloat16"}

"""The published graph in Keras, with the weights of ``programs.py``, which starts this.

    PYTHON benchmarks/programs_keras.py FOLDER GROUPS NAME

Needs TensorFlow and NumPy, nothing of live-restore. Channels last, as the published program has
them; the whole stack as one tile, as there with a tile that holds it.
"""

import sys
import time
from pathlib import Path

import numpy as np
import tensorflow as tf

BLOCKS = 3


def main() -> None:
    """Build it, run it once, then once per line on standard input."""
    folder, groups, name = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    weights = np.load(folder / "weights.npz")
    layers = tf.keras.layers
    kept = []

    def convolved(x, which, activation=None):
        kernel, bias = weights[f"{which}.weight"], weights[f"{which}.bias"]
        layer = layers.Conv3D(
            kernel.shape[0], kernel.shape[2:], padding="same", activation=activation
        )
        kept.append((layer, [kernel.transpose(2, 3, 4, 1, 0), bias]))
        return layer(x)

    entry = tf.keras.Input((None, None, None, 1))
    head = y = convolved(2.0 * entry - 1.0, "head")
    for group in range(groups):
        into = y
        for block in range(BLOCKS):
            which = f"groups.{group}.blocks.{block}"
            z = convolved(convolved(y, f"{which}.conv1", "relu"), f"{which}.conv2")
            pooled = layers.GlobalAveragePooling3D(keepdims=True)(z)
            squeezed = convolved(pooled, f"{which}.attention.squeeze", "relu")
            y = y + z * convolved(squeezed, f"{which}.attention.excite", "sigmoid")
        y = into + convolved(y, f"groups.{group}.tail")
    y = convolved(head + convolved(y, "body"), "tail")
    model = tf.keras.Model(entry, 0.5 * y + 0.5)
    for layer, values in kept:
        layer.set_weights(values)
    run = tf.function(model, jit_compile=False)
    tile = np.moveaxis(np.load(folder / "tile.npy"), 1, -1)
    np.save(folder / f"{name}.npy", np.moveaxis(run(tile).numpy(), -1, 1))
    print("warm", flush=True)
    for _ in sys.stdin:
        began = time.perf_counter()
        run(tile).numpy()
        print(time.perf_counter() - began, flush=True)


if __name__ == "__main__":
    main()

"""What ONNX Runtime's CUDA provider is asked for: the one place, as data. Pure.

``FORMS`` are in the order in which they are expected to be fast; none but ``PLAIN`` has run on a
GPU yet. Nothing rests on that expectation: each is opened on the computer itself, asked the known
answer, and timed (``device/forms.py``).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from live_restore.inference.backends.backend import Limits, ModelSource


@dataclass(frozen=True)
class CudaForm:
    """A way to run a network.

    Parameters
    ----------
    name
        For tables.
    options
        Of the provider, besides those of all forms.
    static
        Whether the graph is given the shape of its tiles: its shape nodes then vanish, as a CUDA
        graph asks for.
    """

    name: str
    options: dict[str, int | str] = field(default_factory=dict)
    static: bool = False

    @property
    def graph(self) -> bool:
        """Whether a run is recorded as a CUDA graph, and repeated."""
        return "enable_cuda_graph" in self.options


# By ONNX Runtime's source ``prefer_nhwc`` covers 3-D convolutions in float32 and float16, and
# ``fuse_conv_bias`` adds the bias inside cuDNN's kernel.
_CHANNELS_LAST: dict[str, int | str] = {"prefer_nhwc": 1, "fuse_conv_bias": 1}
FORMS = (
    CudaForm("channels last, CUDA graph", {**_CHANNELS_LAST, "enable_cuda_graph": 1}, static=True),
    CudaForm("channels last, static", _CHANNELS_LAST, static=True),
    CudaForm("channels last", _CHANNELS_LAST),
    CudaForm("CUDA graph", {"enable_cuda_graph": 1}, static=True),
    CudaForm("plain"),
)
PLAIN = FORMS[-1]


def provider_options(
    source: ModelSource, precision: str, index: int, limits: Limits, form: CudaForm = PLAIN
) -> dict[str, int | str]:
    """Return what the CUDA provider is asked for.

    Parameters
    ----------
    source, precision
        The model, and what a float32 one is to be computed in.
    index, limits
        Which GPU, and how much of it.
    form
        How it is run.
    """
    half = source.precision != "fp32"
    options: dict[str, int | str] = {
        "device_id": index,
        # Ampere and later would round float32 products to 10 bits without being asked. The option
        # says more than its name: 0 takes all tensor cores away, those of float16 and bfloat16 too.
        "use_tf32": int(precision == "tf32" or half),
        # cuDNN's second heuristic since ONNX Runtime 1.20; it does not search any more.
        "cudnn_conv_algo_search": "EXHAUSTIVE",
        "cudnn_conv_use_max_workspace": "1",
        # Growing in powers of two would take up to twice what the tile needs.
        "arena_extend_strategy": "kSameAsRequested",
        **form.options,
    }
    if limits.gpu_memory_gb is not None:
        options["gpu_mem_limit"] = int(limits.gpu_memory_gb * 1e9)
    return options

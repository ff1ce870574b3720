"""The torch ports of the 3D RCAN: their key names, in one table.

Names are facts about files in the wild; graphs are described in ``docs/how-to/own-models.md``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

# (regular expression of a module path, our path). Weight and bias follow their module.
Rule = tuple[str, str]


@dataclass(frozen=True)
class Port:
    """One way to name the weights of a 3D RCAN.

    Parameters
    ----------
    name
        Whose code, for people.
    signature
        A module path that only this port has.
    rules
        How its module paths become ours; the first that matches counts.
    options
        What its graph differs in from the paper's.
    note
        What no file of this port records.
    """

    name: str
    signature: str
    rules: tuple[Rule, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""

    def rename(self, names: list[str]) -> dict[str, str]:
        """Return {their name: our name}, without the names that it does not know."""
        renamed = {}
        for name in names:
            module, _, kind = name.rpartition(".")
            for pattern, ours in self.rules:
                match = re.fullmatch(pattern, module)
                if match and kind in ("weight", "bias"):
                    renamed[name] = f"{match.expand(ours)}.{kind}"
                    break
        return renamed


_OURS = (
    (r"head|body|tail", r"\g<0>"),
    (r"groups\.\d+\.(?:tail|blocks\.\d+\.(?:conv[12]|attention\.(?:squeeze|excite)))", r"\g<0>"),
)

PORTS: tuple[Port, ...] = (
    Port("live-restore", "groups.0.blocks.0.attention.squeeze", _OURS),
    Port(
        "gently-deabe",
        "groups.0.blocks.0.attn.conv1",
        (
            (r"head_conv", "head"),
            (r"body_conv", "body"),
            (r"tail_conv", "tail"),
            (r"groups\.(\d+)\.tail_conv", r"groups.\1.tail"),
            (r"groups\.(\d+)\.blocks\.(\d+)\.(conv[12])", r"groups.\1.blocks.\2.\3"),
            (
                r"groups\.(\d+)\.blocks\.(\d+)\.attn\.conv1",
                r"groups.\1.blocks.\2.attention.squeeze",
            ),
            (r"groups\.(\d+)\.blocks\.(\d+)\.attn\.conv2", r"groups.\1.blocks.\2.attention.excite"),
        ),
    ),
    Port(
        "HD2Net (BasicSR)",
        "residual_groups.0.blocks.0.channel_attention.fc1.conv",
        (
            (r"conv1\.conv", "head"),
            (r"conv2\.conv", "body"),
            (r"conv3\.conv", "tail"),
            (r"residual_groups\.(\d+)\.conv\.conv", r"groups.\1.tail"),
            (r"residual_groups\.(\d+)\.blocks\.(\d+)\.(conv[12])\.conv", r"groups.\1.blocks.\2.\3"),
            (
                r"residual_groups\.(\d+)\.blocks\.(\d+)\.channel_attention\.fc1\.conv",
                r"groups.\1.blocks.\2.attention.squeeze",
            ),
            (
                r"residual_groups\.(\d+)\.blocks\.(\d+)\.channel_attention\.fc2\.conv",
                r"groups.\1.blocks.\2.attention.excite",
            ),
        ),
    ),
    Port(
        "fluoresfm",
        "res_groups.0.blocks.0.cab.block.0.conv",
        (
            (r"conv_head\.conv", "head"),
            (r"conv_rr\.conv", "body"),
            (r"conv_tail\.conv", "tail"),
            # The group's tail convolution is the last entry of the same list as its blocks.
            (r"res_groups\.(\d+)\.blocks\.\d+\.conv", r"groups.\1.tail"),
            (r"res_groups\.(\d+)\.blocks\.(\d+)\.(conv[12])\.conv", r"groups.\1.blocks.\2.\3"),
            (
                r"res_groups\.(\d+)\.blocks\.(\d+)\.cab\.block\.0\.conv",
                r"groups.\1.blocks.\2.attention.squeeze",
            ),
            (
                r"res_groups\.(\d+)\.blocks\.(\d+)\.cab\.block\.2\.conv",
                r"groups.\1.blocks.\2.attention.excite",
            ),
        ),
        note="assumed that its enable_standardize was on (--no-standardise where it was off) "
        "and pos_out off",
    ),
    Port(
        "sim_denoising",
        "rcab_list.0.channel_attention_block_list.0.conv_1.0",
        (
            (r"conv_input", "head"),
            (r"conv_output", "tail"),
            (r"conv_list\.(\d+)", r"groups.\1.tail"),  # the last one is the body, see below
            (r"rcab_list\.(\d+)\.conv_list\.(\d+)\.0", r"groups.\1.blocks.\2.conv1"),
            (r"rcab_list\.(\d+)\.conv_list\.(\d+)\.2", r"groups.\1.blocks.\2.conv2"),
            (
                r"rcab_list\.(\d+)\.channel_attention_block_list\.(\d+)\.conv_1\.0",
                r"groups.\1.blocks.\2.attention.squeeze",
            ),
            (
                r"rcab_list\.(\d+)\.channel_attention_block_list\.(\d+)\.conv_2\.0",
                r"groups.\1.blocks.\2.attention.excite",
            ),
        ),
        options={"block_skip": "last"},
    ),
)


def find_port(names: list[str]) -> Port | None:
    """Return the port that names its weights so, or ``None``."""
    modules = {name.rpartition(".")[0] for name in names}
    return next((port for port in PORTS if port.signature in modules), None)


def rename_state(port: Port, names: list[str]) -> dict[str, str]:
    """Return {their name: our name} for the weights that the port's graph uses.

    In sim_denoising ``conv_list`` holds one convolution per group and then the body's. With a
    single group its forward pass leaves the group before the group's own convolution, so that
    ``conv_list.0`` is trained by nobody and belongs to no graph.
    """
    renamed = port.rename(names)
    if port.name != "sim_denoising":
        return renamed
    groups = 1 + max(int(m[1]) for m in (re.match(r"rcab_list\.(\d+)\.", n) for n in names) if m)
    body = f"groups.{groups}.tail."
    renamed = {
        theirs: ours.replace(body, "body.") if ours.startswith(body) else ours
        for theirs, ours in renamed.items()
    }
    if groups == 1:
        renamed = {t: o for t, o in renamed.items() if not o.startswith("groups.0.tail.")}
    return renamed

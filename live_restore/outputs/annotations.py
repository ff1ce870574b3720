"""The numbers of a report as OME map annotations, so that they travel with the image. Pure.

The schema: https://www.openmicroscopy.org/Schemas/Documentation/Generated/OME-2016-06/ome.html.
Texts in it come from files of anybody: they are escaped, and lose what XML cannot hold.
"""

from __future__ import annotations

import html
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from live_restore.outputs.recorded import xml_text
from live_restore.trust.digits import ratio_in_words

NAMESPACE = "urn:live-restore:report:1"
MOST_STACKS = 1000
"""Stacks of an image whose numbers are annotated, at some 500 bytes each; reports have all."""
_LONGEST = 1000

Pairs = Sequence[tuple[str, str]]
"""Keys and values of one map annotation."""


def about_the_result(
    software: str, recipe: str, units: str, models: Mapping[str, Mapping[str, Any]]
) -> list[tuple[str, str]]:
    """Return what holds for every stack of a result.

    Parameters
    ----------
    software, recipe, units, models
        As in the report.
    """
    found = [("software", software), ("recipe", recipe), ("units", units)]
    for name, model in models.items():
        text = f"{model.get('version')} (sha256 {model.get('sha256')})"
        doi = model.get("doi")
        found.append((f"model {name}", f"{text}, doi:{doi}" if doi else text))
    return found


def about_stacks(lines: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Return what a report's lines say about the stacks of one image.

    Examples
    --------
    >>> line = {"time": 0, "channel": 1, "restored": True, "model": "fast", "doubts": ["dark"]}
    >>> about_stacks([line])
    [('model', 'fast'), ('doubts', 'dark')]
    >>> about_stacks([line, {**line, "channel": 2}])[0]
    ('t0 c1 model', 'fast')
    """
    found = []
    for line in lines[:MOST_STACKS]:
        label = f"t{line.get('time')} c{line.get('channel')} " if len(lines) > 1 else ""
        found += [(f"{label}{key}", value) for key, value in _about(line)]
    if len(lines) > MOST_STACKS:
        found.append(("not annotated", f"{len(lines) - MOST_STACKS} further stacks; see reports"))
    return found


def _about(line: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if line.get("restored") is not True:
        yield "restored", f"no: {line.get('reason')}"
        return
    yield "model", str(line.get("model"))
    snr = line.get("signal_to_noise")
    if isinstance(snr, dict) and isinstance(snr.get("ratio"), int | float):
        yield "signal-to-noise ratio", ratio_in_words(snr["ratio"])
    for key, value in line.items():  # every estimate says in words what it is
        if isinstance(value, dict) and "in_words" in value:
            yield key.replace("_", " "), str(value["in_words"])
    camera = line.get("camera")
    if isinstance(camera, dict):
        yield "camera", _camera(camera)
    doubts = line.get("doubts")
    yield "doubts", "; ".join(map(str, doubts)) if isinstance(doubts, list) and doubts else "none"


def _camera(camera: Mapping[str, Any]) -> str:
    if "not_known_because" in camera:
        return f"not known: {camera['not_known_because']}"
    return (
        f"{camera.get('used')}: {camera.get('gain_adu_per_e')} ADU/e-, offset "
        f"{camera.get('offset_adu')} ADU, read noise {camera.get('read_noise_e')} e-"
    )


def annotated(xml: str, of_images: Sequence[Pairs]) -> str:
    """Return OME-XML with a map annotation for each of its images, in order.

    Parameters
    ----------
    xml
        Without annotations, as tifffile writes it.
    of_images
        An image without pairs gets none.

    Examples
    --------
    >>> xml = '<OME><Image ID="Image:0"><Pixels/></Image></OME>'
    >>> print(annotated(xml, [[("a", "<b>")]]).replace("><", ">\\n<"))
    <OME>
    <Image ID="Image:0">
    <Pixels/>
    <AnnotationRef ID="Annotation:live-restore-0"/>
    </Image>
    <StructuredAnnotations>
    <MapAnnotation ID="Annotation:live-restore-0" Namespace="urn:live-restore:report:1">
    <Value>
    <M K="a">&lt;b&gt;</M>
    </Value>
    </MapAnnotation>
    </StructuredAnnotations>
    </OME>
    """
    end = "</Image>"
    parts = xml.split(end)
    annotations = []
    for number, pairs in enumerate(itertools.islice(of_images, len(parts) - 1)):
        if pairs:
            name = f"Annotation:live-restore-{number}"
            parts[number] += f'<AnnotationRef ID="{name}"/>'
            values = "".join(f'<M K="{_text(key)}">{_text(value)}</M>' for key, value in pairs)
            annotations.append(
                f'<MapAnnotation ID="{name}" Namespace="{NAMESPACE}"><Value>{values}</Value>'
                "</MapAnnotation>"
            )
    if not annotations:
        return xml
    structured = f"<StructuredAnnotations>{''.join(annotations)}</StructuredAnnotations>"
    head, closing, tail = end.join(parts).rpartition(end)
    return f"{head}{closing}{structured}{tail}"


def _text(text: str) -> str:
    return html.escape(xml_text(text[:_LONGEST]))

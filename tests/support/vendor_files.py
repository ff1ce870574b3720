"""Files as microscopes' own programs write them, as far as somebody can write them here."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import tifffile
from numpy.typing import NDArray

HEIGHT, WIDTH, DEPTH, TIMES, CHANNELS = 12, 16, 4, 2, 2


def truth(positions: int = 1, times: int = TIMES, channels: int = CHANNELS) -> NDArray[np.uint16]:
    """Return an image (positions, times, channels, Z, Y, X); no two planes are the same."""
    shape = (positions, times, channels, DEPTH, HEIGHT, WIDTH)
    return np.random.default_rng(11).integers(1, 4000, shape, dtype=np.uint16)


def _letters(text: str) -> NDArray[Any]:
    return np.frombuffer(text.encode(), "S1")


def write_imaris(path: Path) -> NDArray[Any]:
    """Write an Imaris 5 file: padded to whole blocks, attributes as single characters."""
    image = truth()
    with h5py.File(path, "w") as file:
        for time in range(TIMES):
            for channel in range(CHANNELS):
                group = file.create_group(
                    f"DataSet/ResolutionLevel 0/TimePoint {time}/Channel {channel}"
                )
                for axis, size in zip("ZYX", image.shape[3:], strict=True):
                    group.attrs[f"ImageSize{axis}"] = _letters(str(size))
                padded = np.zeros((8, 16, 16), np.uint16)
                padded[:DEPTH, :HEIGHT, :WIDTH] = image[0, time, channel]
                group.create_dataset("Data", data=padded, chunks=(4, 8, 8), compression="gzip")
        attributes = file.create_group("DataSetInfo/Image").attrs
        attributes["Unit"] = _letters("um")
        for axis, extent in enumerate((WIDTH * 0.1, HEIGHT * 0.1, DEPTH * 0.5)):
            attributes[f"ExtMin{axis}"] = _letters("0")
            attributes[f"ExtMax{axis}"] = _letters(f"{extent:.3f}")
        for channel, name in enumerate(("DAPI", "GFP")):
            file.create_group(f"DataSetInfo/Channel {channel}").attrs["Name"] = _letters(name)
    return image


def write_big_data_viewer(path: Path) -> NDArray[Any]:
    """Write a BigDataViewer file: two setups, grey values beyond 32767 as negative numbers."""
    image = truth(2, TIMES, 1)
    image += 40000
    with h5py.File(path, "w") as file:
        for setup in range(2):
            file[f"s{setup:02}/resolutions"] = np.ones((1, 3))
            for time in range(TIMES):
                name = f"t{time:05}/s{setup:02}/0/cells"
                file[name] = image[setup, time, 0].view(np.int16)
    return image


def write_stk(path: Path) -> NDArray[Any]:
    """Write a MetaMorph stack: one directory, planes one behind the other, UIC tags."""
    image = truth(1, 1, 1)
    planes = image[0, 0, 0]
    # For each plane the distance in z (a fraction), and dates and times of which nothing depends.
    per_plane = np.tile(np.array([3, 10, 2455000, 0, 2455000, 0], "<u4"), DEPTH).tobytes()
    wavelengths = np.tile(np.array([525, 1], "<u4"), DEPTH).tobytes()
    entries = [
        (256, 3, 1, WIDTH), (257, 3, 1, HEIGHT), (258, 3, 1, 16), (259, 3, 1, 1), (262, 3, 1, 1),
        (273, 4, 1, 0), (277, 3, 1, 1), (278, 3, 1, HEIGHT), (279, 4, 1, planes[0].nbytes),
        (33628, 4, 1, 0), (33629, 5, DEPTH, 0), (33630, 5, DEPTH, 0),
    ]  # fmt: skip
    behind = 8 + 2 + 12 * len(entries) + 4
    places = {33629: behind, 33630: behind + len(per_plane)}
    places[33628] = places[33630] + len(wavelengths)
    auto_scale = struct.pack("<II", 0, 1)
    places[273] = places[33628] + len(auto_scale)
    data = struct.pack("<2sHI", b"II", 42, 8) + struct.pack("<H", len(entries))
    for code, kind, count, value in entries:
        data += struct.pack("<HHII", code, kind, count, places.get(code, value))
    path.write_bytes(data + bytes(4) + per_plane + wavelengths + auto_scale + planes.tobytes())
    return image


def write_lsm(path: Path) -> NDArray[Any]:
    """Write a Zeiss LSM: channels in one directory, and CZ_LSMINFO."""
    image = truth(1, TIMES, 3)  # two channels have a BitsPerSample of their own making
    info = bytearray(512)
    struct.pack_into("<Iiiiiiiiii", info, 0, 0x400494C, 512, WIDTH, HEIGHT, DEPTH, 3, TIMES,
                     2, 0, 0)  # fmt: skip
    struct.pack_into("<ddd", info, 40, 1e-7, 1e-7, 5e-7)
    struct.pack_into("<H", info, 88, 6)  # the type of scan: z-stacks over time
    with tifffile.TiffWriter(path, byteorder="<") as writer:
        for time in range(TIMES):
            for z in range(DEPTH):
                first = time == z == 0
                writer.write(
                    image[0, time, :, z], photometric="minisblack", planarconfig="separate",
                    metadata=None, contiguous=False,
                    extratags=[(34412, 1, 512, bytes(info), True)] if first else [],
                )  # fmt: skip
                # A thumbnail behind each, as Zeiss writes them.
                writer.write(
                    np.zeros((3, 4, 4), np.uint8), photometric="rgb", planarconfig="separate",
                    metadata=None, contiguous=False, subfiletype=1,
                )  # fmt: skip
    return image


def write_lif(path: Path) -> NDArray[Any]:
    """Write a Leica file: two z-stacks over time of one size, and an overview that is left out."""
    image = truth(2)
    overview = np.ones((HEIGHT, WIDTH), np.uint16)
    elements, blocks = [], []
    for number, (name, data) in enumerate(
        [("cell 1", image[0]), ("overview", overview), ("cell 2", image[1])]
    ):
        elements.append(_lif_element(name, f"MemBlock_{number}", data))
        blocks.append((f"MemBlock_{number}", data.tobytes()))
    xml = (
        '<LMSDataContainerHeader Version="2"><Element Name="day" Visibility="1"><Data/>'
        f'<Memory Size="0" MemoryBlockID=""/><Children>{"".join(elements)}</Children>'
        "</Element></LMSDataContainerHeader>"
    )
    text = xml.encode("utf-16-le")
    data = struct.pack("<IIBI", 0x70, 5 + len(text), 0x2A, len(xml)) + text
    for name, content in blocks:
        label = name.encode("utf-16-le")
        data += struct.pack("<IIBQBI", 0x70, 14 + len(label), 0x2A, len(content), 0x2A, len(name))
        data += label + content
    path.write_bytes(data)
    return image


def _lif_element(name: str, block: str, data: NDArray[Any]) -> str:
    """Return the XML of one image: (T, C, Z, Y, X), or (Y, X)."""
    channels = data.shape[1] if data.ndim == 5 else 1
    steps = dict(zip("TCZYX", (1,) * (5 - data.ndim) + data.strides, strict=False))
    if data.ndim == 2:
        steps = dict(zip("YX", data.strides, strict=True))
    sizes = dict(zip("TCZYX"[5 - data.ndim :], data.shape, strict=True))
    lengths = {
        "X": 1e-7 * (WIDTH - 1),
        "Y": 1e-7 * (HEIGHT - 1),
        "Z": 5e-7 * (DEPTH - 1),
        "T": 30.0,
    }
    described = "".join(
        f'<ChannelDescription DataType="0" ChannelTag="0" Resolution="12" '
        f'BytesInc="{n * steps.get("C", 0)}" LUTName="Green" NameOfMeasuredQuantity="" Min="0" '
        f'Max="1" Unit="" IsLUTInverted="0" BitInc="0"/>'
        for n in range(channels)
    )
    dimensions = "".join(
        f'<DimensionDescription DimID="{number}" NumberOfElements="{sizes[axis]}" Origin="0" '
        f'Length="{lengths[axis]}" Unit="{"s" if axis == "T" else "m"}" BytesInc="{steps[axis]}" '
        'BitInc="0"/>'
        for number, axis in ((1, "X"), (2, "Y"), (3, "Z"), (4, "T"))
        if axis in sizes
    )
    return (
        f'<Element Name="{name}" Visibility="1"><Data><Image><ImageDescription><Channels>'
        f"{described}</Channels><Dimensions>{dimensions}</Dimensions></ImageDescription></Image>"
        f'</Data><Memory Size="{data.nbytes}" MemoryBlockID="{block}"/></Element>'
    )


_ND2_MAGIC = 0x0ABECEDA


def write_nd2(path: Path) -> NDArray[Any]:
    """Write a Nikon file of version 3: chunks, a map of them, and settings as tagged values."""
    image = truth(1)
    chunks: dict[bytes, int] = {}
    data = _nd2_chunk(b"ND2 FILE SIGNATURE CHUNK NAME01!", b"Ver3.0".ljust(64, b"\0"), 32)

    def add(name: bytes, content: bytes, reserved: int = 0) -> None:
        nonlocal data
        chunks[name] = len(data)
        data += _nd2_chunk(name, content, reserved or len(name))

    frames = image[0].transpose(0, 2, 3, 4, 1)  # time, z, y, x, channel
    for number, frame in enumerate(frames.reshape(-1, *frames.shape[2:])):
        pixels = struct.pack("<d", 100.0 * number) + np.ascontiguousarray(frame).tobytes()
        add(b"ImageDataSeq|%d!" % number, pixels, 4072)
    attributes = {
        "uiWidth": WIDTH, "uiWidthBytes": WIDTH * CHANNELS * 2, "uiHeight": HEIGHT,
        "uiComp": CHANNELS, "uiBpcInMemory": 16, "uiBpcSignificant": 12,
        "uiSequenceCount": TIMES * DEPTH, "eCompression": 2,
    }  # fmt: skip
    add(b"ImageAttributesLV!", _nd2_value("SLxImageAttributes", attributes))
    planes = {
        f"a{n}": {
            "sDescription": name,
            "uiCompCount": 1,
            "uiSampleIndex": n,
            "uiColor": 255,
            "pFluorescentProbe": {"m_sName": name},
        }
        for n, name in enumerate(("DAPI", "GFP"))
    }
    picture = {
        "bCalibrated": True, "dCalibration": 0.1, "dObjectiveMag": 60.0,
        "sPicturePlanes": {"uiCount": CHANNELS, "sPlaneNew": planes},
    }  # fmt: skip
    add(b"ImageMetadataSeqLV|0!", _nd2_value("SLxPictureMetadata", picture))
    z_loop = {"eType": 4, "uLoopPars": {"uiCount": DEPTH, "dZStep": 0.5, "dZLow": 0.0}}
    time_loop = {
        "eType": 1,
        "uLoopPars": {"uiCount": TIMES, "dStart": 0.0, "dPeriod": 30000.0, "dDuration": 60000.0},
        "ppNextLevelEx": {"i0000000000": z_loop},
    }
    add(b"ImageMetadataLV!", _nd2_value("SLxExperiment", time_loop))
    add(b"ImageTextInfoLV!", _nd2_value("SLxImageTextInfo", {"SLxImageTextInfo": "none"}))
    where = len(data)
    table = b"".join(name + struct.pack("<QQ", at, 0) for name, at in chunks.items())
    end = b"ND2 CHUNK MAP SIGNATURE 0000001!"
    data += _nd2_chunk(b"ND2 FILEMAP SIGNATURE NAME 0001!", table + end + bytes(8), 32)
    path.write_bytes(data + end + struct.pack("<Q", where))
    return image


def _nd2_chunk(name: bytes, content: bytes, reserved: int) -> bytes:
    header = struct.pack("<IIQ", _ND2_MAGIC, reserved, len(content))
    return header + name.ljust(reserved, b"\0") + content


def _nd2_value(name: str, value: Any) -> bytes:
    """Return a value as Nikon's "lite variant" has it: type, name, and what it is."""
    label = f"{name}\0".encode("utf-16-le")
    if isinstance(value, bool):
        return struct.pack("<BB", 1, len(label) // 2) + label + struct.pack("<?", value)
    if isinstance(value, int):
        return struct.pack("<BB", 3, len(label) // 2) + label + struct.pack("<I", value)
    if isinstance(value, float):
        return struct.pack("<BB", 6, len(label) // 2) + label + struct.pack("<d", value)
    if isinstance(value, str):
        return struct.pack("<BB", 8, len(label) // 2) + label + f"{value}\0".encode("utf-16-le")
    inside = b"".join(_nd2_value(key, each) for key, each in value.items())
    length = 2 + len(label) + 12 + len(inside)
    head = struct.pack("<BB", 11, len(label) // 2) + label + struct.pack("<IQ", len(value), length)
    return head + inside + bytes(8 * len(value))


def write_oif(path: Path) -> NDArray[Any]:
    """Write an Olympus OIF: what an OIB holds in one file, as a file and a folder."""
    image = truth(1)
    axes = {"X": WIDTH, "Y": HEIGHT, "C": CHANNELS, "Z": DEPTH, "T": TIMES}
    ends = {"X": 1.6, "Y": 1.2, "Z": 1500.0}
    lines = ["[ProfileSaveInfo]", 'Name="OIF"', 'Version="1.0"', "[Axis Parameter Common]",
             'AxisOrder="XYCZT"', "[Reference Image Parameter]", "ValidBitCounts=12"]  # fmt: skip
    for number, axis in enumerate("XYCZTLPB"):
        lines += [f"[Axis {number} Parameters Common]", f'AxisCode="{axis}"',
                  f"MaxSize={axes.get(axis, 0)}"]  # fmt: skip
        if axis in ends:
            unit = "nm" if axis == "Z" else "um"
            lines += ["StartPosition=0", f"EndPosition={ends[axis]}", f'UnitName="{unit}"']
    text = "\r\n".join(lines)
    path.write_bytes(b"\xff\xfe" + text.encode("utf-16-le"))
    folder = path.with_name(f"{path.name}.files")
    folder.mkdir()
    for time in range(TIMES):
        for channel in range(CHANNELS):
            for z in range(DEPTH):
                name = f"s_C{channel + 1:03}Z{z + 1:03}T{time + 1:03}.tif"
                tifffile.imwrite(folder / name, image[0, time, channel, z],
                                 photometric="minisblack", metadata=None)  # fmt: skip
    return image


def write_czi(path: Path) -> NDArray[Any]:
    """Write a Zeiss CZI: a subblock for each plane, a directory of them, and metadata."""
    image = truth(1)
    metadata = (
        b"<ImageDocument><Metadata><Scaling><Items>"
        b'<Distance Id="X"><Value>1e-07</Value></Distance>'
        b'<Distance Id="Y"><Value>2e-07</Value></Distance>'
        b'<Distance Id="Z"><Value>5e-07</Value></Distance></Items></Scaling>'
        b"<Information><Image><Dimensions><Channels>"
        b'<Channel Id="Channel:0" Name="DAPI"/><Channel Id="Channel:1" Name="GFP"/>'
        b"</Channels></Dimensions></Image></Information></Metadata></ImageDocument>"
    )
    data = bytes(32 + 512)  # the header, written last
    entries = []
    for time in range(TIMES):
        for channel in range(CHANNELS):
            for z in range(DEPTH):
                pixels = image[0, time, channel, z].tobytes()
                entry = _czi_entry({"X": (0, WIDTH), "Y": (0, HEIGHT), "Z": (z, 1),
                                    "C": (channel, 1), "T": (time, 1)}, len(data))  # fmt: skip
                entries.append(entry)
                head = struct.pack("<iiq", 0, 0, len(pixels)) + entry
                data += _czi_segment(b"ZISRAWSUBBLOCK", head.ljust(256, b"\0") + pixels)
    directory = len(data)
    count = struct.pack("<i", len(entries)).ljust(128, b"\0")
    data += _czi_segment(b"ZISRAWDIRECTORY", count + b"".join(entries))
    where = len(data)
    sizes = struct.pack("<ii", len(metadata), 0).ljust(256, b"\0")
    data += _czi_segment(b"ZISRAWMETADATA", sizes + metadata)
    header = struct.pack(
        "<iiii16s16siqqiq", 1, 0, 0, 0, bytes(16), bytes(16), 0, directory, where, 0, 0
    )
    path.write_bytes(_czi_segment(b"ZISRAWFILE", header.ljust(512, b"\0")) + data[544:])
    return image


def _czi_segment(name: bytes, content: bytes) -> bytes:
    content += bytes(-len(content) % 32)
    return struct.pack("<16sqq", name, len(content), len(content)) + content


def _czi_entry(dimensions: dict[str, tuple[int, int]], at: int) -> bytes:
    entry = struct.pack("<2siqiiB5si", b"DV", 1, at, 0, 0, 0, bytes(5), len(dimensions))
    for name, (start, size) in dimensions.items():
        entry += struct.pack("<4siifi", name.encode(), start, size, 0.0, size)
    return entry

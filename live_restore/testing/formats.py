"""Compliance suites for formats: what each has to keep, our own and those of plug-ins.

Subclass one in a test module, name it ``Test...``, and give it the format and samples; pytest does
the rest::

    from live_restore.testing.formats import FileFormatCompliance, FileSample

    class TestCzi(FileFormatCompliance):
        def make_format(self):
            return CziFormat()

        def samples(self):
            return [FileSample("small.czi", write_small, truth=small_image)]

Samples should be small, as each is cut, damaged and read some hundred times: kilobytes, planes of
some hundred pixels, none of them all zero. A suite says nothing about speed. It needs pytest.
"""

from live_restore.testing.acquisition_format import AcquisitionFormatCompliance, AcquisitionSample
from live_restore.testing.file_format import FileFormatCompliance, FileSample

__all__ = [
    "AcquisitionFormatCompliance",
    "AcquisitionSample",
    "FileFormatCompliance",
    "FileSample",
]

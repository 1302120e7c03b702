"""Detectors of other projects. `readers` get names and tensors out of files of any kind; one file per origin says what
they mean (whose file it is, which numbers belong to it, its weights under detzoo's names); `recognise` asks them all.
"""

from .origin import Foreign, Imported, Reading
from .recognise import ORIGINS, choose, convert, foreign_in, import_file, readings_of

__all__ = ["ORIGINS", "Foreign", "Imported", "Reading", "choose", "convert", "foreign_in", "import_file", "readings_of"]

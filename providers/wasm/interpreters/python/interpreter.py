"""CPython as a code interpreter: runs model-written Python, keeps its globals, captures what it says.

What is imported here is frozen into the component with its state, and nothing else can be imported when it runs:
this list is the interpreter's whole library (docs/code-interpreter.md). Files live in a dictionary.
"""

# ruff: noqa: F401
import _colorize
import abc
import array
import ast
import base64
import binascii
import bisect
import builtins
import calendar
import cmath
import codecs
import collections
import collections.abc
import colorsys
import configparser
import contextlib
import copy
import csv
import dataclasses
import datetime
import decimal
import difflib
import enum
import errno
import fnmatch
import fractions
import functools
import graphlib
import hashlib
import heapq
import hmac
import html
import html.parser
import inspect
import io
import ipaddress
import itertools
import json
import keyword
import linecache
import locale
import math
import numbers
import operator
import os
import pathlib
import pprint
import queue
import random
import re
import secrets
import shlex
import statistics
import string
import struct
import sys
import textwrap
import time
import tokenize
import traceback
import types
import typing
import unicodedata
import urllib.parse
import uuid
import warnings
import weakref
import xml.etree.ElementTree
import zlib
import zoneinfo

try:
    import sqlite3
except ImportError:
    pass

import wit_world.exports
from wit_world.exports import language

import codecs as _codecs
import encodings.ascii
import encodings.idna
import encodings.latin_1
import encodings.punycode
import encodings.utf_16
import encodings.utf_32
import encodings.utf_8_sig
import _strptime

ROOT = "/work"
FILES = {}
CHANGED = {}


def _name(path):
    """The plain name of a path inside the working folder."""
    path = os.fspath(path)
    if isinstance(path, bytes):
        path = path.decode()
    for lead in (ROOT + "/", "/mnt/data/", "./"):
        if path.startswith(lead):
            path = path[len(lead):]
    if not path or path in (".", "..") or "/" in path or "\0" in path:
        raise FileNotFoundError(errno.ENOENT, "only plain names in the working folder can be used", path)
    return path


def _is_root(path):
    return os.fspath(path) in (".", "", ROOT, ROOT + "/", "/mnt/data", "/mnt/data/")


class _Written(io.BytesIO):
    """A file open for writing: its bytes are the file's when it is flushed or closed."""

    def __init__(self, name, start, end):
        super().__init__(start)
        self.name = name
        if end:
            self.seek(0, io.SEEK_END)

    def flush(self):
        super().flush()
        self._keep()

    def close(self):
        if not self.closed:
            self._keep()
        super().close()

    def _keep(self):
        FILES[self.name] = self.getvalue()
        CHANGED[self.name] = None


def _open(file, mode="r", buffering=-1, encoding=None, errors=None, newline=None, closefd=True, opener=None):
    if isinstance(file, int):
        raise OSError(errno.EBADF, "there are no file descriptors here")
    if set(mode) - set("rwxabt+") or len(mode) != len(set(mode)) or sum(mode.count(c) for c in "rwxa") != 1:
        raise ValueError(f"invalid mode: {mode!r}")
    if "b" in mode and "t" in mode:
        raise ValueError("can't have text and binary mode at once")
    name = _name(file)
    if "r" in mode and name not in FILES:
        raise FileNotFoundError(errno.ENOENT, "No such file or directory", name)
    if "x" in mode and name in FILES:
        raise FileExistsError(errno.EEXIST, "File exists", name)
    if mode.replace("t", "").replace("b", "") == "r":
        raw = io.BytesIO(FILES[name])
        raw.name = name
    else:
        raw = _Written(name, b"" if "w" in mode else FILES.get(name, b""), "a" in mode)
        raw._keep()
    if "b" in mode:
        return raw
    text = io.TextIOWrapper(raw, encoding or "utf-8", errors, newline, write_through=True)
    text.mode = mode
    return text


def _listdir(path="."):
    if not _is_root(path):
        raise FileNotFoundError(errno.ENOENT, "No such file or directory", os.fspath(path))
    return sorted(FILES)


def _remove(path, *, dir_fd=None):
    name = _name(path)
    if name not in FILES:
        raise FileNotFoundError(errno.ENOENT, "No such file or directory", name)
    del FILES[name]
    CHANGED.pop(name, None)


def _rename(src, dst, *, src_dir_fd=None, dst_dir_fd=None):
    old, new = _name(src), _name(dst)
    if old not in FILES:
        raise FileNotFoundError(errno.ENOENT, "No such file or directory", old)
    FILES[new] = FILES.pop(old)
    CHANGED.pop(old, None)
    CHANGED[new] = None


def _stat(path, *, dir_fd=None, follow_symlinks=True):
    if not isinstance(path, int):
        if _is_root(path):
            return os.stat_result((0o040755, 0, 0, 1, 0, 0, 0, 0, 0, 0))
        name = _name(path)
        if name in FILES:
            return os.stat_result((0o100644, 0, 0, 1, 0, 0, len(FILES[name]), 0, 0, 0))
    raise FileNotFoundError(errno.ENOENT, "No such file or directory", path)


def _found(kind):
    def look(path):
        try:
            mode = _stat(path).st_mode
        except (OSError, TypeError, ValueError):
            return False
        return kind == 0 or mode & 0o170000 == kind

    return look


def _makedirs(name, mode=0o777, exist_ok=False):
    if not _is_root(name):
        raise OSError(errno.ENOSYS, "there is one working folder and no others", os.fspath(name))


builtins.open = io.open = _open
os.listdir, os.remove, os.unlink, os.rename, os.replace = _listdir, _remove, _remove, _rename, _rename
os.stat = os.lstat = _stat
os.path.exists, os.path.isfile, os.path.isdir = _found(0), _found(0o100000), _found(0o040000)
os.path.lexists = os.path.exists
os.getcwd = lambda: ROOT
os.makedirs = _makedirs


class Capped(io.TextIOBase):
    """What is printed, up to a number of characters; what is more is dropped and said so."""

    def __init__(self, cap):
        self.cap, self.length, self.parts, self.truncated = cap, 0, [], False

    def writable(self):
        return True

    def write(self, text):
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        piece = text[: self.cap - self.length]
        self.truncated |= len(piece) < len(text)
        if piece:
            self.parts.append(piece)
            self.length += len(piece)
        return len(text)

    def text(self):
        return "".join(self.parts)


def _utf8(text):
    """A text may hold lone surrogates, which cannot leave."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _fault(error, code, cap):
    kind = type(error).__name__
    try:
        message = str(error)
    except BaseException:
        message = "(its message cannot be shown)"
    try:
        # The frames of this file are nobody's business; the code's own lines are shown.
        linecache.cache["<code>"] = (len(code), None, code.splitlines(True), "<code>")
        frames = [f for f in traceback.extract_tb(error.__traceback__, 50) if f.filename == "<code>"]
        lines = traceback.format_list(frames) + traceback.format_exception_only(error)
        trace = ("Traceback (most recent call last):\n" if frames else "") + "".join(lines)
    except BaseException:
        trace = f"{kind}: {message}"
    if len(trace) > cap:
        trace = trace[: cap // 2] + "\n...\n" + trace[-(cap // 2) :]
    return language.Fault(_utf8(kind), _utf8(message[:cap]), _utf8(trace))


GLOBALS = {"__name__": "__main__", "__builtins__": builtins}


class Language(wit_world.exports.Language):
    def run(self, code, stdin, files, max_output, max_files):
        for file in files:
            FILES[file.name] = file.content
        CHANGED.clear()
        out, err = Capped(max_output), Capped(max_output)
        saved = sys.stdout, sys.stderr, sys.stdin
        sys.stdout, sys.stderr, sys.stdin = out, err, io.StringIO(stdin)
        value = fault = None
        truncated = False
        try:
            tree = ast.parse(code, "<code>")
            last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
            exec(compile(tree, "<code>", "exec"), GLOBALS)
            if last is not None:
                shown = eval(compile(ast.Expression(last.value), "<code>", "eval"), GLOBALS)
                if shown is not None:
                    text = repr(shown)
                    truncated = len(text) > max_output
                    value = _utf8(text[:max_output])
        except BaseException as error:
            fault = _fault(error, code, max_output)
        finally:
            sys.stdout, sys.stderr, sys.stdin = saved
        changed, left, room = [], [], max_files
        for name in CHANGED:
            content = FILES.get(name)
            if content is None:
                continue
            if len(content) > room:
                truncated = True
                left.append(f"{name} ({len(content)} bytes)")
                continue
            room -= len(content)
            changed.append(language.File(_utf8(name), content))
        truncated |= out.truncated or err.truncated
        said = err.text()
        if left:
            said += f"not kept, since the files of a run may have {max_files} bytes together: {', '.join(left)}\n"[:max_output]
        return language.Output(_utf8(out.text()), _utf8(said), value, truncated, changed, fault)

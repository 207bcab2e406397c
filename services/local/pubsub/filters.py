"""The filter language of subscriptions: https://cloud.google.com/pubsub/docs/subscription-message-filter.

filter     = term {"AND" term} | term {"OR" term}
term       = ("NOT" | "-") term | "(" filter ")" | comparison
comparison = "attributes" ":" key
           | "attributes" "." key ("=" | "!=") string
           | "hasPrefix" "(" "attributes" "." key "," string ")"
key        = word | string
"""

import ast
import re
from collections.abc import Callable, Mapping

from services.local.pubsub.errors import InvalidArgumentError

type Filter = Callable[[Mapping[str, str]], bool]

MAX_BYTES = 256
_TOKEN = re.compile(
    r"""\s*(?P<token>
        [A-Za-z0-9_][A-Za-z0-9_-]*
      | != | [-:.=(),]
      | "(?: [^"\\\n] | \\[abfnrtv\\'"] | \\[0-7]{1,3} | \\x[0-9A-Fa-f]{2}
          | \\u[0-9A-Fa-f]{4} | \\U[0-9A-Fa-f]{8} )*"
    )\s*""",
    re.VERBOSE | re.ASCII,
)
_WORD = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)


def compile_filter(text: str) -> Filter:
    """Turn a filter into a function of a message's attributes; an empty one lets everything pass.

    Raises:
        InvalidArgumentError: the text is not a filter, or has more than 256 bytes.

    """
    if len(text.encode()) > MAX_BYTES:
        raise InvalidArgumentError(f"Invalid filter: longer than {MAX_BYTES} bytes")
    return _Parser(text).parse() if text else lambda attributes: True


class _Parser:
    def __init__(self, text: str) -> None:
        self._tokens: list[str] = []
        position = 0
        while position < len(text):
            match = _TOKEN.match(text, position)
            if match is None:
                raise InvalidArgumentError(f"Invalid filter: unexpected character at {text[position:]!r}")
            self._tokens.append(match["token"])
            position = match.end()
        self._tokens.reverse()

    def parse(self) -> Filter:
        result = self._filter()
        if self._tokens:
            raise InvalidArgumentError(f"Invalid filter: unexpected {self._tokens[-1]!r}")
        return result

    def _next(self) -> str:
        if not self._tokens:
            raise InvalidArgumentError("Invalid filter: it ends too early")
        return self._tokens.pop()

    def _at(self, *tokens: str) -> bool:
        return bool(self._tokens) and self._tokens[-1] in tokens

    def _expect(self, *tokens: str) -> str:
        token = self._next()
        if token not in tokens:
            raise InvalidArgumentError(f"Invalid filter: {' or '.join(tokens)} expected, not {token!r}")
        return token

    def _filter(self) -> Filter:
        terms = [self._term()]
        if not self._at("AND", "OR"):
            return terms[0]
        operator = self._tokens[-1]
        while self._at("AND", "OR"):
            if self._next() != operator:
                raise InvalidArgumentError("Invalid filter: AND and OR can only be combined with parentheses")
            terms.append(self._term())
        combine = all if operator == "AND" else any
        return lambda attributes: combine(term(attributes) for term in terms)

    def _term(self) -> Filter:
        if self._at("NOT", "-"):
            self._next()
            negated = self._term()
            return lambda attributes: not negated(attributes)
        if self._at("("):
            self._next()
            inner = self._filter()
            self._expect(")")
            return inner
        return self._comparison()

    def _comparison(self) -> Filter:
        if self._expect("attributes", "hasPrefix") == "hasPrefix":
            self._expect("(")
            self._expect("attributes")
            self._expect(".")
            key = self._key()
            self._expect(",")
            value = self._string(self._next())
            self._expect(")")
            return lambda attributes: key in attributes and attributes[key].startswith(value)
        if self._expect(":", ".") == ":":
            key = self._key()
            return lambda attributes: key in attributes
        key = self._key()
        operator = self._expect("=", "!=")
        value = self._string(self._next())
        # A protobuf map must be asked with `in` first: reading a missing key would add it.
        if operator == "=":
            return lambda attributes: key in attributes and attributes[key] == value
        return lambda attributes: key not in attributes or attributes[key] != value

    def _key(self) -> str:
        token = self._next()
        return token if _WORD.fullmatch(token) and token != "-" else self._string(token)  # noqa: S105

    def _string(self, token: str) -> str:
        if not token.startswith('"'):
            raise InvalidArgumentError(f"Invalid filter: a quoted string expected, not {token!r}")
        try:
            return str(ast.literal_eval(token))
        except (SyntaxError, ValueError) as error:
            raise InvalidArgumentError(f"Invalid filter: {token} is not a string") from error

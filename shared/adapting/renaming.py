"""A use case's texts under another name: code, README, other files."""

from __future__ import annotations

import re
from dataclasses import dataclass

ADAPTING = "Adapting it"  # the README's section that copies keep: the rest is about the template's own data


@dataclass(frozen=True)
class Names:
    """What a use case is called: on the command line, where it is imported, for people."""

    name: str
    package: str
    title: str

    @property
    def words(self) -> str:
        """The name as words: `credit_default` is "credit default"."""
        return self.name.replace("_", " ")


def text(content: str, old: Names, new: Names) -> str:
    """What holds in all kinds of files: packages, commands, folders named after the use case, its name where it is no word.

    A name of one word, such as `chatbot`, may be that word: it is left alone everywhere else.
    """
    name = re.escape(old.name)
    if "." in old.package:
        content = re.sub(rf"\b{re.escape(old.package)}\b", new.package, content)
    content = re.sub(rf"\b(usecases\s+[a-z]+\s+){name}\b", rf"\g<1>{new.name}", content)
    content = re.sub(rf"\b((?:runs|usecases)/){name}\b", rf"\g<1>{new.name}", content)
    if "_" in old.name:
        content = re.sub(rf"\b{name}\b", new.name, content)
        content = re.sub(rf"\b{re.escape(old.words)}\b", new.words, content)
        content = re.sub(rf"\b{re.escape(old.words.capitalize())}\b", new.title, content)
    return content


def code(content: str, old: Names, new: Names) -> str:
    """A module of the copy.

    A string that is the name, as in `NAME = "chatbot"`, is the new one, but for `own("chatbot")`, a folder of our sample data.
    """
    content = re.sub(rf"^(\s*(?:from|import)\s+){re.escape(old.package)}(?=[.\s])", rf"\g<1>{new.package}", content, flags=re.M)
    content = re.sub(rf"(?<!\bown\()([\"']){re.escape(old.name)}\1", rf"\g<1>{new.name}\g<1>", content)
    content = re.sub(rf"(?<=\()([\"']){re.escape(old.package)}\1", rf"\g<1>{new.package}\g<1>", content)
    titles = "|".join(re.escape(title) for title in (old.title, old.words.capitalize()))
    content = re.sub(rf"(\btitle=f?\")(?:{titles})(?=\"| on )", rf"\g<1>{new.title}", content)
    return text(content, old, new)


def front(content: str, old: Names, new: Names) -> str:
    """The copy's `__init__.py`: it and the summary say what the copy was made from, for nobody knows yet what it is for."""
    content = re.sub(r'(\bsummary=)"(?:Made from \w+: )?', rf'\g<1>"Made from {old.name}: " "', code(content, old, new), count=1)
    return re.sub(r'\A""".*?"""', f'"""{new.title}. Made from {old.name} by `usecases new`."""', content, count=1, flags=re.S)


def guide(content: str, old: Names, new: Names) -> str:
    """What a README's section on adapting says of "my metric", "my model" and the like; "my data" differs in every copy."""
    _, _, section = content.partition(f"\n## {ADAPTING}\n")
    points = re.findall(r"^- \*\*My (?!data\*\*).*\n(?:  .*\n)*", section.partition("\n## ")[0] + "\n", flags=re.M)
    return text("".join(points), old, new).rstrip()

"""Python reads this before an example: its clients check every answer and every event against the package's own types.

The examples are run as they were published; this is how their package is told to be strict, as the other suites tell it.
"""

import openai


def strict(client):
    begin = client.__init__

    def __init__(self, *arguments, **options):
        options.setdefault("_strict_response_validation", True)
        begin(self, *arguments, **options)

    client.__init__ = __init__


strict(openai.OpenAI)
strict(openai.AsyncOpenAI)

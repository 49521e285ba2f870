"""The table of providers: every row is sound, and every client finds its own."""

from __future__ import annotations

import copy
import pickle
from importlib import import_module

import pytest

from stopping_core import find_provider
from stopping_core.completeness.finish import is_truncated
from stopping_core.providers import PROVIDERS, Provider, read_providers

GENERAL = """
[[provider]]
name = "openai"
[[provider]]
name = "openai-compatible"
[[provider]]
name = "unknown"
"""


MARKS = {
    "ERROR_LIMIT",
    "MAX_TOKENS",
    "incomplete",
    "length",
    "limit",
    "max_completion_tokens",
    "max_length",
    "max_new_tokens",
    "max_output_tokens",
    "max_tokens",
    "model_context_window_exceeded",
    "model_length",
    "token_limit",
    "truncated",
}


def test_every_word_for_a_limit_is_known() -> None:
    """As the providers spell them, whichever row they stand in, and no word more."""
    assert MARKS == {mark for row in PROVIDERS for mark in row.truncation_marks}
    assert dict.fromkeys(MARKS, True) == {mark: is_truncated(mark) for mark in MARKS}
    assert not is_truncated("stop")


@pytest.mark.parametrize("row", PROVIDERS, ids=lambda row: f"{row.name}-{row.budget_keyword}")
def test_every_row_is_sound(row: Provider) -> None:
    """It names a keyword and a mark, says where it is documented, and claims nothing twice over."""
    assert row.budget_keyword
    assert "" not in row.budget_keyword.split(".")
    assert row.truncation_marks
    assert row.prefill or not row.prefill_kwargs
    assert row.source.startswith("https://") or row.name == "unknown"
    assert all(host == host.lower() and "/" not in host for host in row.hosts)


def test_the_providers_of_the_trade_are_there() -> None:
    """A provider that is missing would silently be taken for one that stops on a hang-up."""
    expected = {
        "anthropic",
        "azure",
        "bedrock",
        "billed-to-the-end",
        "cohere",
        "deepseek",
        "fireworks",
        "google",
        "groq",
        "huggingface",
        "llama.cpp",
        "mistral",
        "ollama",
        "openai",
        "openai-compatible",
        "openrouter",
        "perplexity",
        "sambanova",
        "together",
        "unknown",
        "vllm",
        "xai",
    }
    assert expected == {row.name for row in PROVIDERS}


@pytest.mark.parametrize("row", PROVIDERS, ids=lambda row: f"{row.name}-{row.budget_keyword}")
def test_every_class_finds_its_row(row: Provider) -> None:
    """By its own name, and by that of a base where a user derived a class from it."""
    for name in row.classes:
        assert row == find_provider([name])
        assert row == find_provider(["MyOwn", name, "BaseChatModel", "object"])


@pytest.mark.parametrize("row", PROVIDERS, ids=lambda row: f"{row.name}-{row.budget_keyword}")
def test_every_host_finds_its_provider(row: Provider) -> None:
    """An OpenAI client with that base URL: the host's facts, the client's own keywords."""
    for host in row.hosts:
        there = host.replace("*", "eu-west-1")
        for url in (f"https://{there}/v1", f"https://a.b.{there}:443/openai/v1", f"{there}/v1"):
            found = find_provider(["ChatOpenAI", "BaseChatOpenAI"], url)
            assert row.name == found.name
            assert row.hang_up_ends_bill == found.hang_up_ends_bill
            assert ("max_tokens", "timeout") == (found.budget_keyword, found.timeout_keyword)


@pytest.mark.parametrize(
    ("classes", "base_url", "expected"),
    [
        (["ChatOpenAI"], None, "openai"),
        (["ChatOpenAI"], "http://127.0.0.1:8080/v1", "openai-compatible"),
        (["ChatOpenAI"], "localhost:8000/v1", "openai-compatible"),
        (["ChatOpenAI"], "https://api.openai.com.example.org/v1", "openai-compatible"),
        (["ChatOpenAI"], "https://notapi.openai.com/v1", "openai-compatible"),
        (["ChatOpenAI"], "https://US-central1-aiplatform.GoogleApis.com/v1", "google"),
        (["ChatOpenAI"], "https://ec2-1-2-3-4.compute.amazonaws.com/v1", "openai-compatible"),
        (["ChatOpenAI"], "http://[::1", "openai-compatible"),
        (["ChatOpenAI"], "", "openai-compatible"),
        (["OpenAILike", "OpenAI"], None, "openai-compatible"),
        (["OpenAILike", "OpenAI"], "https://api.openai.com/v1", "openai"),
        (["Groq", "OpenAILike", "OpenAI"], "https://api.groq.com/openai/v1", "groq"),
        (["AzureChatOpenAI", "BaseChatOpenAI"], "https://gateway.example.org", "azure"),
        (["ChatAnthropic"], "https://gateway.example.org", "anthropic"),
        (["ChatDeepSeek", "BaseChatOpenAI"], "https://proxy.example.org", "deepseek"),
        ([], "https://api.groq.com", "unknown"),
        (["FakeChatModel"], None, "unknown"),
    ],
)
def test_what_a_client_is_taken_for(
    classes: list[str], base_url: str | None, expected: str
) -> None:
    """The nearest class that is known; its host only for the general clients of the protocol."""
    assert expected == find_provider(classes, base_url).name


def test_the_responses_client_keeps_its_keyword_at_another_host() -> None:
    """The keyword belongs to the client, and the rest to the host."""
    found = find_provider(["OpenAIResponses"], "https://api.groq.com/openai/v1")
    assert ("groq", "max_output_tokens", False) == (
        found.name,
        found.budget_keyword,
        found.hang_up_ends_bill,
    )


@pytest.mark.parametrize(
    "url",
    [
        "https://dashscope.aliyuncs.com/compatible-mode/v1",
        "https://dashscope-intl.aliyuncs.com/compatible-mode/v1",
        "https://ws-1.cn-beijing.maas.aliyuncs.com/compatible-mode/v1",
        "https://api.studio.nebius.com/v1",
        "https://api.tokenfactory.nebius.com/v1",
        "https://api.ai21.com/studio/v1",
        "https://api.minimax.io/v1",
        "https://api.featherless.ai/v1",
        "https://api.inference.net/v1",
        "https://api.lambda.ai/v1",
        "https://somebody--serve.modal.run/v1",
        "https://openai-proxy.replicate.com/v1",
    ],
)
def test_a_host_that_goes_on_is_known(url: str) -> None:
    """OpenRouter names its provider among those that a hang-up does not stop."""
    assert not find_provider(["ChatOpenAI"], url).hang_up_ends_bill


@pytest.mark.parametrize(
    "name",
    [
        "ChatTongyi",
        "ChatAI21",
        "MiniMaxChat",
        "Replicate",
        "DashScope",
        "NebiusLLM",
        "ChatNebius",
        "Gemini",
        "Bedrock",
    ],
)
def test_a_client_of_one_that_goes_on_is_known(name: str) -> None:
    """Whatever protocol it speaks."""
    assert not find_provider([name, "BaseChatOpenAI"]).hang_up_ends_bill


def test_a_row_cannot_be_changed_and_can_be_copied() -> None:
    """All requests share it; a wrapper that holds one is copied and pickled."""
    kwargs = {"extra_body": {"continue_final_message": True}}
    row = Provider("x", prefill=True, prefill_kwargs=kwargs)
    kwargs["more"] = {}
    with pytest.raises(TypeError, match="mappingproxy"):
        row.prefill_kwargs["x"] = 1  # type: ignore[index]  # the mistake
    with pytest.raises(TypeError, match="mappingproxy"):
        find_provider(["ChatOpenAI"]).prefill_kwargs["x"] = 1  # type: ignore[index]  # the mistake
    assert {"extra_body": {"continue_final_message": True}} == row.prefill_kwargs
    assert row == copy.deepcopy(row) == pickle.loads(pickle.dumps(row))


def test_the_installed_clients_are_known() -> None:
    """The names in the table are those of the classes that these packages have."""
    for module, name in (
        ("langchain_openai", "ChatOpenAI"),
        ("langchain_openai", "AzureChatOpenAI"),
        ("llama_index.llms.openai", "OpenAI"),
        ("llama_index.llms.openai", "OpenAIResponses"),
        ("llama_index.llms.openai_like", "OpenAILike"),
    ):
        bases = [base.__name__ for base in getattr(import_module(module), name).__mro__]
        assert "unknown" != find_provider(bases).name


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ('classes = ["A"]', "provider 4: name must be a non-empty string, got None"),
        ('name = "openai"', "provider 4: the name 'openai' is there twice"),
        ('name = "x"\nprefil = true', r"x: no such entry: \['prefil'\]"),
        ('name = "x"\nprefill = "yes"', "x: prefill must be a bool, got 'yes'"),
        ('name = "x"\nhosts = "a.b"', "x: hosts must be a list of strings, got 'a.b'"),
        ('name = "x"\nbudget_keyword = 3', "x: budget_keyword must be a str, got 3"),
        ('name = "x"\nprefill_kwargs = []', r"x: prefill_kwargs must be a dict, got \[\]"),
        (
            'name = "x"\nclients = [{ classes = ["A"] }, { classes = ["A"] }]',
            "x: the class 'A' is x's already",
        ),
    ],
)
def test_a_mistake_in_the_table_is_named(entry: str, message: str) -> None:
    """With the provider, the entry and its value."""
    with pytest.raises(ValueError, match=message):
        read_providers(f"{GENERAL}[[provider]]\n{entry}\n")


def test_the_general_rows_have_to_be_there() -> None:
    """What is not known has to be taken for something."""
    with pytest.raises(ValueError, match="there must be a row 'unknown'"):
        read_providers(GENERAL.replace('"unknown"', '"other"'))


def test_a_client_entry_says_only_what_differs() -> None:
    """The rest is the provider's."""
    rows = read_providers(
        GENERAL
        + """
[[provider]]
name = "x"
prefill = true
clients = [{ classes = ["A"] }, { classes = ["B"], budget_keyword = "n", prefill = false }]
"""
    )
    assert [Provider("x", ("A",), prefill=True), Provider("x", ("B",), budget_keyword="n")] == [
        row for row in rows if row.name == "x"
    ]

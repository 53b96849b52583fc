"""Drives `tenantry lsp` with the client of pygls, which refuses every message that is not as the protocol says.

Arguments: the command, the repository. Prints one line for each thing that holds; ends with 1 at the first that
does not.
"""

import asyncio
import pathlib
import sys

from lsprotocol import types as lsp
from pygls.lsp.client import BaseLanguageClient


def expect(what, holds, shown=""):
    if not holds:
        sys.exit(f"not so: {what} {shown}")
    print(f"ok: {what}")


def apply(text, edits):
    lines = text.split("\n")

    def at(position):
        before = sum(len(line) + 1 for line in lines[: position.line])
        units = lines[position.line].encode("utf-16-le")[: position.character * 2]
        return before + len(units.decode("utf-16-le"))

    for edit in sorted(edits, key=lambda edit: at(edit.range.start), reverse=True):
        text = text[: at(edit.range.start)] + edit.new_text + text[at(edit.range.end) :]
    return text


async def main(command, repository):
    client = BaseLanguageClient("editor", "1")
    published = {}
    news = asyncio.Event()

    @client.feature(lsp.TEXT_DOCUMENT_PUBLISH_DIAGNOSTICS)
    def publish(params):
        published[params.uri] = params
        news.set()

    async def judged(uri, version):
        while uri not in published or published[uri].version != version:
            news.clear()
            await asyncio.wait_for(news.wait(), 60)
        return published[uri].diagnostics

    await client.start_io(command, "lsp")
    root = pathlib.Path(repository)
    answer = await client.initialize_async(
        lsp.InitializeParams(
            process_id=None,
            root_uri=root.as_uri(),
            workspace_folders=[lsp.WorkspaceFolder(uri=root.as_uri(), name="work")],
            capabilities=lsp.ClientCapabilities(
                text_document=lsp.TextDocumentClientCapabilities(
                    publish_diagnostics=lsp.PublishDiagnosticsClientCapabilities(related_information=True)
                )
            ),
        )
    )
    expect("columns are UTF-16 where nothing is agreed", answer.capabilities.position_encoding == "utf-16")
    client.initialized(lsp.InitializedParams())

    uri = (root / "tenants/acme/workflows/sync.yaml").as_uri()
    text = (
        'description: "😀"\nsteps:\n  pull: { script: "true" }\n'
        '  load: { script: "😀", timout: 5m, needs: [pull] }\n'
    )
    document = lsp.TextDocumentItem(uri=uri, language_id="yaml", version=1, text=text)
    client.text_document_did_open(lsp.DidOpenTextDocumentParams(text_document=document))
    found = await judged(uri, 1)
    expect("one finding", [one.code for one in found] == ["S101"], found)
    start = found[0].range.start
    expect("its column is counted in UTF-16", (start.line, start.character) == (3, 24), start)

    identifier = lsp.TextDocumentIdentifier(uri=uri)
    actions = await client.text_document_code_action_async(
        lsp.CodeActionParams(
            text_document=identifier,
            range=found[0].range,
            context=lsp.CodeActionContext(diagnostics=found, only=[lsp.CodeActionKind.QuickFix]),
        )
    )
    expect("one fix", [action.title for action in actions] == ["write `timeout`"], actions)
    text = apply(text, actions[0].edit.changes[uri])
    client.text_document_did_change(
        lsp.DidChangeTextDocumentParams(
            text_document=lsp.VersionedTextDocumentIdentifier(uri=uri, version=2),
            content_changes=[lsp.TextDocumentContentChangeWholeDocument(text=text)],
        )
    )
    found = await judged(uri, 2)
    expect("nothing is found after the fix", not found, found)

    def place(needle):
        before = text[: text.index(needle)]
        line = before.split("\n")[-1]
        return lsp.Position(line=before.count("\n"), character=len(line.encode("utf-16-le")) // 2 + 1)

    items = await client.text_document_completion_async(
        lsp.CompletionParams(text_document=identifier, position=place("pull]"))
    )
    expect("a step is offered", [item.label for item in items.items] == ["pull"], items)
    hover = await client.text_document_hover_async(
        lsp.HoverParams(text_document=identifier, position=place("timeout"))
    )
    expect("a field has its words", "The time of one attempt" in hover.contents.value, hover)
    target = await client.text_document_definition_async(
        lsp.DefinitionParams(text_document=identifier, position=place("pull]"))
    )
    expect("a step is found", (target.uri, target.range.start.line) == (uri, 2), target)
    symbols = await client.text_document_document_symbol_async(
        lsp.DocumentSymbolParams(text_document=identifier)
    )
    steps = next(symbol for symbol in symbols if symbol.name == "steps")
    expect("steps are listed", [step.name for step in steps.children] == ["pull", "load"], steps)

    await client.shutdown_async(None)
    client.exit(None)
    server = client._server
    expect("it ends with 0", await asyncio.wait_for(server.wait(), 60) == 0)


asyncio.run(main(sys.argv[1], sys.argv[2]))

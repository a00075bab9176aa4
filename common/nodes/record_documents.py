"""Writes small documents and records what Dify's engine makes of them.

    python3 common/nodes/record_documents.py

Needs graphon 0.8.0 with the optional packages of its document-extractor node. The documents and
`recorded.json` go to tests/fixtures/documents; each document is below 20 KB. Whether a sentence is
narrative text is decided by a language model that is not at hand; it only chooses a label which
nobody sees, so it is always answered with no.
"""

import datetime
import io
import json
import pathlib
import zipfile

import openpyxl
import unstructured.partition.html.parser as html_parser
import unstructured.partition.pptx as pptx_partition
import unstructured.partition.text as text_partition
from graphon.nodes.document_extractor import node
from graphon.nodes.document_extractor.entities import UnstructuredApiConfig

for module in (html_parser, pptx_partition, text_partition):
    for name in ("is_possible_narrative_text", "is_possible_title"):
        if hasattr(module, name):
            setattr(module, name, lambda *args, **kwargs: False)

OUT = pathlib.Path(__file__).parent / "tests/fixtures/documents"
CASES = {}


def case(name, content):
    if isinstance(content, str):
        content = content.encode()
    assert len(content) < 20_000, (name, len(content))
    (OUT / name).write_bytes(content)
    try:
        text = node._extract_text_by_file_extension(
            file_content=content,
            file_extension=pathlib.Path(name).suffix,
            unstructured_api_config=UnstructuredApiConfig(),
        )
        CASES[name] = {"text": text}
    except Exception as error:
        CASES[name] = {"error": str(error)}


def archive(parts):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as zipped:
        for name, text in parts.items():
            info = zipfile.ZipInfo(name, (2024, 1, 1, 0, 0, 0))
            info.compress_type = zipfile.ZIP_DEFLATED
            zipped.writestr(info, text)
    return out.getvalue()


REL = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
PKG = "http://schemas.openxmlformats.org/package/2006"
DECL = "<?xml version='1.0' encoding='UTF-8' standalone='yes'?>\n"


def rels(*entries):
    text = "".join(
        f'<Relationship Id="{id}" Type="{REL}/{kind}" Target="{target}"/>'
        for id, kind, target in entries
    )
    return f'{DECL}<Relationships xmlns="{PKG}/relationships">{text}</Relationships>'


def types(**overrides):
    text = "".join(
        f'<Override PartName="/{name}" ContentType="{kind}"/>' for name, kind in overrides.items()
    )
    return (
        f'{DECL}<Types xmlns="{PKG}/content-types">'
        '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        f'<Default Extension="xml" ContentType="application/xml"/>{text}</Types>'
    )


WORD = "application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"


def docx(body, slash="/"):
    w = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
    return archive({
        "[Content_Types].xml": types(**{"word/document.xml": WORD}),
        f"_rels{slash}.rels": rels(("rId1", "officeDocument", "word/document.xml")),
        f"word{slash}document.xml": f'{DECL}<w:document xmlns:w="{w}" xmlns:r="{REL}"><w:body>{body}</w:body></w:document>',
    })


def p(text):
    return f'<w:p><w:r><w:t xml:space="preserve">{text}</w:t></w:r></w:p>'


def tc(*paragraphs, properties=""):
    return f"<w:tc><w:tcPr>{properties}</w:tcPr>{''.join(map(p, paragraphs))}</w:tc>"


def tbl(*rows):
    rows = "".join(f"<w:tr>{''.join(row)}</w:tr>" for row in rows)
    return f"<w:tbl><w:tblPr/><w:tblGrid/>{rows}</w:tbl>"


def record_docx():
    case("text.docx", docx(
        p("Title &amp; more") + "<w:p/>"
        + '<w:p><w:r><w:t>a</w:t><w:tab/><w:t>b</w:t><w:br/><w:t>c</w:t><w:br w:type="page"/><w:cr/>'
        '<w:noBreakHyphen/><w:t>ö</w:t></w:r><w:hyperlink r:id="x"><w:r><w:t> link</w:t></w:r></w:hyperlink>'
        "<w:ins><w:r><w:t>not seen</w:t></w:r></w:ins></w:p>"
        + "<w:sdt><w:sdtContent>" + p("hidden") + "</w:sdtContent></w:sdt>"
        + tbl([tc("h1"), tc("h2", "second")], [tc("1"), tc("")])
        + tbl([tc(""), tc(" ")])
        + p("after")
        + tbl(
            [tc("wide", properties='<w:gridSpan w:val="2"/>'), tc("down", properties='<w:vMerge w:val="restart"/>')],
            [tc("x"), tc("y"), tc("", properties="<w:vMerge/>")],
        )
        + "<w:sectPr/>"
    ))
    case("backslash.docx", docx(p("from Windows"), slash="\\"))
    case("junk.docx", b"junk")
    case("empty.docx", archive({"a": "b"}))


def sheet(*sheets):
    book = openpyxl.Workbook()
    book.remove(book.active)
    for name, rows in sheets:
        page = book.create_sheet(name)
        for y, row in enumerate(rows, 1):
            for x, value in enumerate(row, 1):
                if value is not None:
                    page.cell(y, x, value)
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def record_xlsx():
    day = datetime.datetime
    case("plain.xlsx", sheet(
        ("people", [["name", "age"], ["Ann", 30], ["Bob", 41]]),
        ("empty", []),
        ("header only", [["a", "b"]]),
    ))
    case("numbers.xlsx", sheet(
        ("ints", [["a", "b"], [1, 2], [3, 4]]),
        ("ints and floats", [["a", "b"], [1, 2.5], [3, 4]]),
        ("blanks", [["a", "b"], [1, None], [None, None], [None, 4]]),
        ("one column", [["a"], [1], [None], [2]]),
        ("large", [["a", "b"], [1e20, 1e-7], [123456789012, 0.1]]),
        ("text numbers", [["a", "b"], ["007", "x"], ["8", "9"]]),
        ("mixed", [["a", "b"], [1, "x"], ["y", 2.5], [3.0, None]]),
        ("ints, text", [["a", "b"], [1, "x"], [None, "y"]]),
        ("floats, text", [["a", "b"], [1.5, "x"], [2, "y"]]),
    ))
    case("kinds.xlsx", sheet(
        ("bools", [["a", "b"], [True, 1], [False, 2]]),
        ("only bools", [["a"], [True], [False]]),
        ("bools and blanks", [["a", "b"], [True, 1], [None, 2]]),
        ("dates", [["d", "n"], [day(2024, 2, 29), 1], [day(2023, 1, 2, 3, 4, 5), 2]]),
        ("dates and blanks", [["d", "n"], [day(2024, 2, 29), "x"], [None, "y"]]),
        ("only dates", [["d"], [day(2024, 2, 29, 12)], [day(2024, 3, 1)]]),
        ("dates and text", [["d", "n"], [day(2024, 2, 29), "x"], ["later", "y"]]),
        ("times", [["t", "n"], [datetime.time(1, 2, 3), 1], [datetime.time(23, 0), 2]]),
        ("durations", [["t", "n"], [datetime.timedelta(hours=30, minutes=1), "x"]]),
        ("missing words", [["a", "b"], ["NA", "x"], ["n/a", "null"], ["None", "nan"], ["", "keep"]]),
        ("truth in words", [["a", "b"], ["True", "x"], ["FALSE", "y"]]),
        ("errors", [["a", "b"], ["=1/0", 1], ["#N/A", 2]]),
    ))
    case("headers.xlsx", sheet(
        ("blank", [["a", None, "c"], [1, 2, 3]]),
        ("twice", [["a", "a", "a", "b"], [1, 2, 3, 4]]),
        ("numbers", [[1, 2.5, True], ["x", "y", "z"]]),
        ("dates", [[day(2024, 1, 1), "b"], [1, 2]]),
        ("breaks", [["a\nb", "c"], ["x\ny  z", "w"]]),
        ("wide row", [["a"], [1, 2, 3], [4]]),
        ("late", [[None, None], [None, None], [None, "h"], [None, 5]]),
        ("nan header", [["NA", "b"], [1, 2]]),
    ))
    case("junk.xlsx", b"junk")


def slide(*shapes):
    a = "http://schemas.openxmlformats.org/drawingml/2006/main"
    ns = "http://schemas.openxmlformats.org/presentationml/2006/main"
    return (
        f'{DECL}<p:sld xmlns:a="{a}" xmlns:r="{REL}" xmlns:p="{ns}"><p:cSld><p:spTree><p:nvGrpSpPr>'
        '<p:cNvPr id="1" name=""/><p:cNvGrpSpPr/><p:nvPr/></p:nvGrpSpPr><p:grpSpPr/>'
        + "".join(shapes) + "</p:spTree></p:cSld></p:sld>"
    )


def shape(id, x, y, *paragraphs, placeholder=""):
    text = "".join(f"<a:p>{paragraph}</a:p>" for paragraph in paragraphs)
    return (
        f'<p:sp><p:nvSpPr><p:cNvPr id="{id}" name="s{id}"/><p:cNvSpPr/><p:nvPr>{placeholder}</p:nvPr></p:nvSpPr>'
        f'<p:spPr><a:xfrm><a:off x="{x}" y="{y}"/><a:ext cx="10" cy="10"/></a:xfrm></p:spPr>'
        f"<p:txBody><a:bodyPr/>{text}</p:txBody></p:sp>"
    )


def r(text):
    return f"<a:r><a:t>{text}</a:t></a:r>"


def grid(id, x, y, *rows):
    rows = "".join(
        "<a:tr h='1'>" + "".join(f"<a:tc><a:txBody><a:bodyPr/><a:p>{cell}</a:p></a:txBody></a:tc>" for cell in row) + "</a:tr>"
        for row in rows
    )
    return (
        f'<p:graphicFrame><p:nvGraphicFramePr><p:cNvPr id="{id}" name="t"/><p:cNvGraphicFramePr/><p:nvPr/></p:nvGraphicFramePr>'
        f'<p:xfrm><a:off x="{x}" y="{y}"/><a:ext cx="1" cy="1"/></p:xfrm><a:graphic><a:graphicData uri="http://schemas.openxmlformats.org/drawingml/2006/table">'
        f"<a:tbl><a:tblPr/><a:tblGrid><a:gridCol w='1'/><a:gridCol w='1'/></a:tblGrid>{rows}</a:tbl></a:graphicData></a:graphic></p:graphicFrame>"
    )


def record_pptx():
    main = "application/vnd.openxmlformats-officedocument.presentationml"
    ns = "http://schemas.openxmlformats.org/presentationml/2006/main"
    group = (
        '<p:grpSp><p:nvGrpSpPr><p:cNvPr id="20" name="g"/><p:cNvGrpSpPr/><p:nvPr/></p:nvGrpSpPr><p:grpSpPr/>'
        + shape(21, 5, 900, r("in a group")) + "</p:grpSp>"
    )
    case("slides.pptx", archive({
        "[Content_Types].xml": types(**{
            "ppt/presentation.xml": f"{main}.presentation.main+xml",
            "ppt/slides/slide1.xml": f"{main}.slide+xml",
            "ppt/slides/slide2.xml": f"{main}.slide+xml",
        }),
        "_rels/.rels": rels(("rId1", "officeDocument", "ppt/presentation.xml")),
        "ppt/presentation.xml": f'{DECL}<p:presentation xmlns:r="{REL}" xmlns:p="{ns}"><p:sldIdLst><p:sldId id="256" r:id="rId2"/><p:sldId id="257" r:id="rId1"/></p:sldIdLst></p:presentation>',
        "ppt/_rels/presentation.xml.rels": rels(("rId1", "slide", "slides/slide2.xml"), ("rId2", "slide", "slides/slide1.xml")),
        "ppt/slides/slide1.xml": slide(
            shape(2, 10, 500, r("second") + "<a:br/>" + r("line"), "", r("  third "), "<a:fld id='{0}' type='slidenum'><a:t>7</a:t></a:fld>"),
            shape(3, 10, 5, r("First ") + r("title"), placeholder='<p:ph type="title"/>'),
            group,
            shape(4, -5, 600, r("off the slide")),
            grid(5, 10, 700, [r("a"), r("b  c")], ["", r("d") + "<a:br/>" + r("e")]),
        ),
        "ppt/slides/slide2.xml": slide(shape(2, 1, 1, "<a:pPr><a:buChar char='•'/></a:pPr>" + r("bullet"), r("• typed"))),
    }))
    case("junk.pptx", b"junk")


PAGE = """<?xml version="1.0"?><!DOCTYPE html><html xmlns="http://www.w3.org/1999/xhtml"><head><title>T</title>
<style>p { color: red }</style></head><body><h1>Chapter  one</h1><p>Some <b>bold</b> text,
over lines.<br/>After a break.</p>loose text<div>in a div <p>nested</p> tail</div>
<ul><li>first</li><li>second <i>it</i></li></ul><script>var x = "<p>no</p>";</script>
<table><caption>cap</caption><tr><th>a</th><th>b</th></tr><tr><td>1</td><td> 2 <p>3</p></td></tr></table>
<pre>
keep
  this
</pre><p>x</p><h2>y</h2><p>&amp; &eacute; &#8212; &nbsp; end</p><nav>gone</nav>tail of nav
<img src="a.png" alt="picture"/><hr/><blockquote>quoted</blockquote><p>• bullet</p><form>f</form><label>l</label></body></html>"""


def record_epub():
    case("book.epub", archive({
        "mimetype": "application/epub+zip",
        "META-INF/container.xml": '<?xml version="1.0"?><container xmlns="urn:oasis:names:tc:opendocument:xmlns:container" version="1.0"><rootfiles><rootfile full-path="OEBPS/content.opf" media-type="application/oebps-package+xml"/></rootfiles></container>',
        "OEBPS/content.opf": '<?xml version="1.0"?><package xmlns="http://www.idpf.org/2007/opf"><manifest><item id="c1" href="text/one.xhtml"/><item id="c2" href="text/two%20b.xhtml#frag"/></manifest><spine><itemref idref="c1"/><itemref idref="nope"/><itemref idref="c2"/></spine></package>',
        "OEBPS/text/one.xhtml": PAGE,
        "OEBPS/text/two b.xhtml": "<html><body><p>The second chapter.</p></body></html>",
    }))
    case("junk.epub", b"junk")


def odt(body):
    ns = 'xmlns:office="urn:oasis:names:tc:opendocument:xmlns:office:1.0" xmlns:text="urn:oasis:names:tc:opendocument:xmlns:text:1.0" xmlns:table="urn:oasis:names:tc:opendocument:xmlns:table:1.0" xmlns:draw="urn:oasis:names:tc:opendocument:xmlns:drawing:1.0" xmlns:xlink="http://www.w3.org/1999/xlink" xmlns:dc="http://purl.org/dc/elements/1.1/"'
    kind = "application/vnd.oasis.opendocument.text"
    return archive({
        "mimetype": kind,
        "META-INF/manifest.xml": f'<?xml version="1.0"?><manifest:manifest xmlns:manifest="urn:oasis:names:tc:opendocument:xmlns:manifest:1.0"><manifest:file-entry manifest:full-path="/" manifest:media-type="{kind}"/><manifest:file-entry manifest:full-path="content.xml" manifest:media-type="text/xml"/></manifest:manifest>',
        "content.xml": f'<?xml version="1.0"?><office:document-content {ns} office:version="1.2"><office:body><office:text>{body}</office:text></office:body></office:document-content>',
    })


def record_odt():
    case("text.odt", odt(
        '<text:h text:outline-level="1">Heading</text:h><text:p>One <text:span>span</text:span><text:s text:c="3"/>x<text:tab/>y<text:line-break/>z</text:p>'
        "<text:p/><text:p>a  b\n c</text:p>"
        '<text:p>See <text:a xlink:href="http://x.test">link</text:a>.</text:p>'
        "<text:list><text:list-item><text:p>one</text:p></text:list-item><text:list-item><text:p>two</text:p><text:list><text:list-item><text:p>deep</text:p></text:list-item></text:list></text:list-item></text:list>"
        "<text:section><text:p>in a section</text:p></text:section><text:p>last</text:p>"
    ))
    case("table.odt", odt(
        "<text:p>before</text:p><table:table table:name='T'><table:table-column table:number-columns-repeated='2'/><table:table-row><table:table-cell><text:p>a</text:p></table:table-cell><table:table-cell><text:p>b</text:p></table:table-cell></table:table-row><table:table-row><table:table-cell><text:p>long cell</text:p></table:table-cell><table:table-cell/></table:table-row></table:table><text:p>after</text:p>"
    ))
    case("notes.odt", odt(
        '<text:p>Text<text:note text:note-class="footnote"><text:note-citation>1</text:note-citation><text:note-body><text:p>The note.</text:p></text:note-body></text:note> goes on.</text:p><text:p>next</text:p>'
    ))
    case("junk.odt", b"junk")


def record_eml():
    case("plain.eml", "From: a@x.test\r\nTo: b@x.test\r\nSubject: Hello\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nDear B=C3=B6b,\r\n\r\nthis is a longer line that goes\r\non here in the next line.\r\n\r\n* one point\r\n* another\r\n\r\nBye\r\n")
    case("html.eml", 'From: a@x.test\r\nTo: b@x.test\r\nMIME-Version: 1.0\r\nContent-Type: multipart/alternative; boundary="B"\r\n\r\n--B\r\nContent-Type: text/plain\r\n\r\nplain text\r\n--B\r\nContent-Type: text/html; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n<html><body><h1>Caf=E9</h1><p>rich <b>text</b></p><p>second</p></body></html>\r\n--B--\r\n')
    case("attachment.eml", 'From: a@x.test\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="B"\r\n\r\n--B\r\nContent-Type: text/plain\r\n\r\nthe body itself\r\n--B\r\nContent-Type: text/plain; name=a.txt\r\nContent-Disposition: attachment; filename=a.txt\r\n\r\nattached\r\n--B--\r\n')
    case("nobody.eml", "From: a@x.test\r\nSubject: x\r\nContent-Type: application/pdf\r\n\r\nabc\r\n")


def pdf(*pages, font="/Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding"):
    count = len(pages)
    kids = " ".join(f"{4 + 2 * at} 0 R" for at in range(count))
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {count} >>",
        f"<< {font} >>",
    ]
    for at, content in enumerate(pages):
        objects.append(
            "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Resources << /Font << /F1 3 0 R >> >> "
            f"/Contents {5 + 2 * at} 0 R >>"
        )
        objects.append(f"<< /Length {len(content.encode('latin-1'))} >>\nstream\n{content}\nendstream")
    out = b"%PDF-1.4\n"
    offsets = []
    for number, text in enumerate(objects, 1):
        offsets.append(len(out))
        out += f"{number} 0 obj\n{text}\nendobj\n".encode("latin-1")
    start = len(out)
    out += f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n".encode()
    for offset in offsets:
        out += f"{offset:010} 00000 n \n".encode()
    out += f"trailer\n<< /Size {len(objects) + 1} /Root 1 0 R >>\nstartxref\n{start}\n%%EOF\n".encode()
    return out


def record_pdf():
    case("lines.pdf", pdf(
        "BT /F1 12 Tf 72 720 Td (Hello world) Tj 0 -14 Td (Second line, caf\\351) Tj ET\n"
        "BT /F1 12 Tf 72 600 Td [(Ker) -20 (ned) -400 (apart)] TJ ET",
        "BT /F1 24 Tf 72 720 Td (Page two) Tj ET",
    ))
    case("columns.pdf", pdf(
        "BT /F1 10 Tf 1 0 0 1 72 700 Tm (left) Tj 1 0 0 1 300 700 Tm (right) Tj 1 0 0 1 72 686 Tm (below) Tj ET"
    ))
    case("blank.pdf", pdf(""))
    case("junk.pdf", b"junk")


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    for record in (record_docx, record_xlsx, record_pptx, record_epub, record_odt, record_eml, record_pdf):
        record()
    text = json.dumps(CASES, indent=1, ensure_ascii=False, sort_keys=True)
    (OUT / "recorded.json").write_text(text + "\n")


main()

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { dispositionOf } from '../src/adapters/disposition.ts'

test('the name of a file is written anew, in one spelling', () => {
  const rows: readonly (readonly [string, string])[] = [
    ['attachment; filename="a b.pdf"', 'attachment; filename="a b.pdf"'],
    ['ATTACHMENT;filename=a.pdf', 'attachment; filename="a.pdf"'],
    // Nobody is told to show it.
    ['inline; FileName="a.pdf"', 'attachment; filename="a.pdf"'],
    [`attachment; filename="x.pdf"; filename*=UTF-8''a.pdf`, 'attachment; filename="a.pdf"'],
    [
      `attachment; filename*=utf-8''%C3%9Cbersicht%20%281%29.pdf`,
      `attachment; filename*=UTF-8''%C3%9Cbersicht%20%281%29.pdf`,
    ],
    // The same name in two forms of Unicode.
    [`attachment; filename*=UTF-8''U%CC%88.pdf`, `attachment; filename*=UTF-8''%C3%9C.pdf`],
  ]
  for (const [given, expected] of rows) assert.equal(dispositionOf(given), expected, given)
})

test('whatever has another reading, or leads elsewhere, is left out', () => {
  for (const given of [
    undefined,
    '',
    'attachment',
    'inline',
    'form-data; filename="a.pdf"',
    'attachments; filename="a.pdf"',
    'attachment filename="a.pdf"',
    'attachment; filename="a.pdf"; filename="b.pdf"',
    'attachment; filename="a.pdf"; size=1',
    'attachment; filename="a.pdf";',
    'attachment; filename="a.pdf" x',
    'attachment; filename = "a.pdf"',
    'attachment; filename="a\\"b.pdf"',
    'attachment; filename="../a.pdf"',
    'attachment; filename="a/b.pdf"',
    'attachment; filename="a\\b.pdf"',
    'attachment; filename="C:a.pdf"',
    'attachment; filename=".profile"',
    'attachment; filename="-rf"',
    'attachment; filename="~a"',
    'attachment; filename="a."',
    'attachment; filename=" a"',
    'attachment; filename="a%2Fb.pdf"',
    'attachment; filename="<a>.pdf"',
    'attachment; filename=""',
    'attachment; filename="\u00c3\u009c.pdf"',
    `attachment; filename="${'a'.repeat(256)}"`,
    `attachment; filename*=UTF-8''`,
    `attachment; filename*=UTF-8''%FF.pdf`,
    `attachment; filename*=UTF-8'en'a.pdf`,
    `attachment; filename*=ISO-8859-1''a.pdf`,
    `attachment; filename*="a.pdf"`,
    `attachment; filename*=UTF-8''a%2Fb.pdf`,
    `attachment; filename*=UTF-8''a%00b.pdf`,
    `attachment; filename*=UTF-8''a%0D%0Ab.pdf`,
    // Written from right to left, `fdp.exe` looks like another type.
    `attachment; filename*=UTF-8''a%E2%80%AEfdp.exe`,
    // Which of the two counts, nobody says.
    `attachment; filename="a.pdf"; filename*=UTF-8''%FF`,
    '\nattachment; filename="a.pdf"',
    'attachment; filename="a.pdf"\r\nx: y',
  ]) {
    assert.equal(dispositionOf(given), undefined, given)
  }
})

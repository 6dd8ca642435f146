import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { describe, it } from 'node:test'
import type { InputMember, InputType } from '@sallyport/network'
import { boundaryOf, readParts, writeParts } from '../src/adapters/parts.ts'

const member = (schema: InputType): InputMember => ({ schema, required: false })
const text: InputType = { type: 'string', maxLength: 100 }
const FILE: InputType = { type: 'record', members: { name: member(text) } }
const MEMBERS: Readonly<Record<string, InputMember>> = {
  file: member(FILE),
  pages: member({ type: 'set', items: FILE, maxItems: 5 }),
  note: member(text),
  count: member({ type: 'long', minimum: 0, maximum: 9 }),
  tag: member({ type: 'set', items: text, maxItems: 5 }),
  more: member({ type: 'record', members: { a: member(text) } }),
}
const FILES = ['file', 'pages']
const sha256 = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex')
const read = (body: string | Buffer) =>
  readParts(Buffer.isBuffer(body) ? body : Buffer.from(body, 'latin1'), 'B', MEMBERS, FILES)

const part = (head: string, content = 'x'): string =>
  `--B\r\nContent-Disposition: form-data; ${head}\r\n\r\n${content}\r\n`
const END = '--B--\r\n'
const NOTE = part('name="note"')
const PDF = part('name="file"; filename="a.pdf"\r\nContent-Type: application/pdf', '%PDF')

describe('bodies of parts', () => {
  it('are typed as they are declared; of files, what they are and their digest', () => {
    const body =
      part('name="note"', 'h\xc3\xa9') +
      part('name="count"\r\ncontent-type: text/plain; charset=UTF-8', '7') +
      part('name="tag"', 'a') +
      part('name="tag"', 'b') +
      part('name="more"\r\nContent-Type: application/json', '{"a":"1"}') +
      PDF +
      part('name="pages"; filename="1 (a).png"\r\nContent-Type: image/PNG', '\x00\r\n--C\xff') +
      part('name="pages"; filename="empty"', '') +
      END
    const { value, files } = read(body)
    const pdf = {
      name: 'a.pdf',
      type: 'application/pdf',
      size: 4,
      sha256: sha256(Buffer.from('%PDF')),
    }
    const png = Buffer.from('\x00\r\n--C\xff', 'latin1')
    const empty = { name: 'empty', type: 'application/octet-stream', size: 0 }
    assert.deepEqual(value, {
      ...{ note: 'hé', count: 7, tag: ['a', 'b'], more: { a: '1' }, file: pdf },
      pages: [
        { name: '1 (a).png', type: 'image/png', size: 7, sha256: sha256(png) },
        { ...empty, sha256: sha256(Buffer.alloc(0)) },
      ],
    })
    assert.deepEqual(files.get(sha256(png)), png)
  })

  it('go on written anew, and say the same', () => {
    const { value, files } = read(NOTE + PDF + part('name="tag"', 'a') + END)
    const isFile = (name: string): boolean => FILES.includes(name)
    const written = writeParts(value as never, isFile, files)
    const boundary = boundaryOf(written.type)
    assert.ok(boundary !== undefined)
    assert.deepEqual(readParts(written.body, boundary, MEMBERS, FILES), { value, files })
    // Nobody can have written it into a file beforehand.
    assert.notEqual(writeParts(value as never, isFile, files).type, written.type)
    const other = { ...value, file: { name: 'a', type: 'a/b', size: 1, sha256: '0'.repeat(64) } }
    assert.throws(() => writeParts(other, isFile, files), { code: 'SP_INPUT_VALUE' })
  })

  const bad: Readonly<Record<string, string>> = {
    'something before': `x\r\n${NOTE}${END}`,
    'an empty line before': `\r\n${NOTE}${END}`,
    'something behind': `${NOTE}${END}x`,
    'another body behind': `${NOTE}${END}${NOTE}${END}`,
    'no end': NOTE,
    'an end that is cut': `${NOTE}--B-`,
    'no parts that are whole': '--B\r\n',
    'another boundary': NOTE.replaceAll('--B', '--b') + END,
    'a boundary with blanks behind it': NOTE.replace('--B\r', '--B \r') + END,
    'a boundary that goes on': `${part('name="note"', 'x\r\n--Bx')}${END}`,
    'a content that begins with the boundary': part('name="note"', '--B') + END,
    'a content with the boundary in it': part('name="note"', 'x--B') + END,
    'a part without a content':
      '--B\r\nContent-Disposition: form-data; name="note"\r\n\r\n--B--\r\n',
    'bare line feeds': `${NOTE}${END}`.replaceAll('\r\n', '\n'),
    'a name twice': NOTE + NOTE + END,
    'a file twice': PDF + PDF + END,
    'a text as a file': part('name="note"; filename="x"') + END,
    'a file as a text': part('name="file"') + END,
    'a name that is another in a lax reader': part('name="note"; name="count"') + END,
    'a name without quotes': part('name=note') + END,
    'a name with an escape': part('name="no\\"te"') + END,
    'a file name in another charset': part(`name="file"; filename*=utf-8''a`) + END,
    'two file names': part(`name="file"; filename="a"; filename="b"`) + END,
    'a file name with a path': part('name="file"; filename="../a"') + END,
    'a file name of Windows': part('name="file"; filename="C:\\a"') + END,
    'a file name of dots': part('name="file"; filename=".."') + END,
    'a file name without an end': part('name="file"; filename="') + END,
    'a file name that turns around': part('name="file"; filename="a\xe2\x80\xaefdp.exe"') + END,
    'a file name that is escaped': part('name="file"; filename="a%22b"') + END,
    'a type with parameters': part('name="file"; filename="a"\r\nContent-Type: a/b; c=d') + END,
    'another disposition': NOTE.replace('form-data', 'attachment') + END,
    'no disposition': '--B\r\nContent-Type: text/plain\r\n\r\nx\r\n--B--\r\n',
    'no head': '--B\r\n\r\nx\r\n--B--\r\n',
    'two dispositions': part('name="note"\r\nContent-Disposition: form-data; name="x"') + END,
    'another header': part('name="note"\r\nContent-Transfer-Encoding: base64', 'eA==') + END,
    'a folded header': part('name="note"\r\n ; filename="a"') + END,
    'a text of another type': part('name="note"\r\nContent-Type: text/html') + END,
    'a text in another charset':
      part('name="note"\r\nContent-Type: text/plain; charset=utf-7') + END,
    'a text that is no UTF-8': part('name="note"', '\xff') + END,
    'an object that is no JSON': part('name="more"', 'a') + END,
    'a head without an end': `--B\r\nContent-Disposition: form-data; name="note${'x'.repeat(9000)}`,
  }
  for (const [what, body] of Object.entries(bad)) {
    it(`are refused for ${what}`, () => {
      assert.throws(() => read(body), { code: 'SP_REQUEST_PARTS' })
    })
  }
  it('are refused for what is not declared or of another type', () => {
    for (const name of ['other', '__proto__', 'constructor', 'Note', 'note[]']) {
      assert.throws(() => read(part(`name="${name}"`) + END), { code: 'SP_INPUT_UNKNOWN' })
    }
    assert.throws(() => read(part('name="count"', '07') + END), { code: 'SP_INPUT_TYPE' })
    const twice = part('name="more"\r\nContent-Type: application/json', '{"a":1,"a":2}') + END
    assert.throws(() => read(twice), { code: 'SP_JSON_DUPLICATE_KEY' })
  })
  it('are bounded in number', () => {
    assert.ok(Array.isArray(read(part('name="tag"').repeat(100) + END).value['tag']))
    assert.throws(() => read(part('name="tag"').repeat(101) + END), { code: 'SP_REQUEST_PARTS' })
  })

  it('are known by a plain boundary, and by no other type', () => {
    assert.equal(boundaryOf('multipart/form-data; boundary=aB-9'), 'aB-9')
    assert.equal(boundaryOf('Multipart/Form-Data;boundary="a:b/c"'), 'a:b/c')
    for (const type of [
      undefined,
      'multipart/form-data',
      'multipart/mixed; boundary=a',
      'multipart/form-data; boundary=',
      'multipart/form-data; boundary=a; boundary=b',
      'multipart/form-data; charset=utf-8; boundary=a',
      `multipart/form-data; boundary=${'a'.repeat(71)}`,
      'multipart/form-data; boundary="a b "',
      'multipart/form-data; boundary="a',
      'multipart/form-data; boundary=a b',
    ]) {
      assert.equal(boundaryOf(type), undefined, type)
    }
  })
})

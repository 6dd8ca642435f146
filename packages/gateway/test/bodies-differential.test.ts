import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { SallyportError } from '@sallyport/base'
import type { InputMember } from '@sallyport/network'
import { readForm } from '../src/adapters/forms.ts'
import { readParts } from '../src/adapters/parts.ts'

const member = (schema: InputMember['schema']): InputMember => ({
  schema,
  required: false,
})
const text = { type: 'string', maxLength: 1000 } as const
const list = { type: 'set', items: text, maxItems: 100 } as const

/** What is read; undefined where it is refused. */
function read<T>(reading: () => T): T | undefined {
  try {
    return reading()
  } catch (error) {
    if (error instanceof SallyportError) return undefined
    throw error
  }
}

describe('bodies, and another parser of them', () => {
  it('a form that is read is read alike by the one of browsers', () => {
    const pieces = [
      'a',
      'b',
      '=',
      '&',
      '=',
      '&',
      '+',
      '%',
      '%20',
      '%26',
      '%3D',
      '%C3%A9',
      '%FF',
      '1',
    ]
    const soup = fc.array(fc.constantFrom(...pieces, '[', ']', ';', '?', ' ', 'é', '\0', '%00'), {
      maxLength: 16,
    })
    let accepted = 0
    fc.assert(
      fc.property(soup, (parts) => {
        const form = `a=${parts.join('')}`
        const given = read(() =>
          readForm(Buffer.from(form), { a: member(list), b: member(list) }, []),
        )
        if (given === undefined) return
        accepted++
        const other = new URLSearchParams(form)
        const names = [...new Set(other.keys())]
        assert.deepEqual(given, Object.fromEntries(names.map((name) => [name, other.getAll(name)])))
      }),
      { numRuns: 3000 },
    )
    assert.ok(accepted > 50, String(accepted))
  })

  it('parts that are read are read alike by the one of `fetch`', async () => {
    const head = (name: string): string => `Content-Disposition: form-data; name="${name}"`
    const pieces = [
      ...['--B', '--B', '\r\n', '\r\n', '\r\n\r\n', '--', '\n', 'x', 'y', '"', '; filename="f"'],
      ...[
        head('a'),
        head('b'),
        `${head('f')}; filename="n"`,
        'Content-Type: text/plain',
        ':',
        '\0',
      ],
    ]
    // Mostly nothing, so that some are read at all.
    const soup = fc.oneof(
      { weight: 3, arbitrary: fc.constant<readonly string[]>([]) },
      {
        weight: 2,
        arbitrary: fc.array(fc.constantFrom(...pieces), { maxLength: 3 }),
      },
    )
    const part = fc.tuple(
      fc.constantFrom(head('a'), head('b'), `${head('f')}; filename="n"`),
      soup,
      soup,
    )
    let accepted = 0
    await fc.assert(
      fc.asyncProperty(fc.array(part, { minLength: 1, maxLength: 3 }), soup, async (parts, end) => {
        const body = Buffer.from(
          `${parts.map(([h, more, x]) => `--B\r\n${h}${more.join('')}\r\n\r\n${x.join('')}\r\n`).join('')}--B--${end.join('')}`,
        )
        const members = { a: member(list), b: member(list), f: member(list) }
        const given = read(() => readParts(body, 'B', members, ['f']))
        if (given === undefined) return
        accepted++
        const headers = { 'content-type': 'multipart/form-data; boundary=B' }
        const other = await new Response(body, { headers }).formData()
        const expected: Record<string, unknown[]> = {}
        for (const [name, value] of other) {
          const one =
            typeof value === 'string'
              ? value
              : createHash('sha256')
                  .update(Buffer.from(await value.arrayBuffer()))
                  .digest('hex')
          ;(expected[name] ??= []).push(one)
        }
        const digests = Object.entries(given.value).map(([name, values]) => [
          name,
          // Lists, as they are declared.
          (values as readonly unknown[]).map((one) =>
            typeof one === 'string' ? one : (one as { readonly sha256: string }).sha256,
          ),
        ])
        assert.deepEqual(Object.fromEntries(digests), expected)
      }),
      { numRuns: 3000 },
    )
    assert.ok(accepted > 50, String(accepted))
  })
})

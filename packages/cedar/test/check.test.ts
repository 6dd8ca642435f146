import assert from 'node:assert/strict'
import { after, describe, it } from 'node:test'
import { checkPolicies, closeCedar, splitPolicies } from '../src/index.ts'
import { boundAll } from '../src/check.ts'
import { POLICY_LIMITS } from '../src/lex.ts'

after(closeCedar)

const when = (body: string): string => `permit(principal, action, resource) when { ${body} };`
const SCHEMA = 'entity U; action a appliesTo { principal: U, resource: U, context: { n: Long } };'
const policy = (source: string, id = 'p') => ({ id, source })

describe('checking policies', () => {
  it('finds nothing in what is right', async () => {
    assert.deepEqual(
      await checkPolicies({ policies: [policy(when('context.n == 1'))], schema: SCHEMA }),
      {
        ok: true,
        diagnostics: [],
      },
    )
    assert.deepEqual(await checkPolicies({ policies: [policy(when('context.x'))] }), {
      ok: true,
      diagnostics: [],
    })
  })

  it('says of each policy what the parser minds, and where, in UTF-16 units', async () => {
    const source = 'permit(principal, action, resource) when { "é😀" == };'
    const { ok, diagnostics } = await checkPolicies({
      policies: [policy('permit(', 'a'), policy(when('true'), 'b'), policy(source, 'c')],
      templates: [policy(when('true'), 't')],
      schema: SCHEMA,
    })
    assert.equal(ok, false)
    assert.deepEqual(
      diagnostics.map(({ policyId, severity }) => [policyId, severity]),
      [
        ['a', 'error'],
        ['c', 'error'],
        ['t', 'error'],
      ],
    )
    const [open, odd] = diagnostics
    assert.match(open?.message ?? '', /^failed to parse policy.*unexpected end of input/)
    assert.deepEqual([open?.start, open?.end], [7, 7])
    assert.equal(source.slice(odd?.start, odd?.end), '}')
    // What the parser expected there is part of what it says.
    assert.match(odd?.message ?? '', / \(expected .*\)$/)
  })

  it('points at what does not fit the schema, and gives the advice there is', async () => {
    const source = when('"é😀" == "x" || context.m == 1')
    const { ok, diagnostics } = await checkPolicies({ policies: [policy(source)], schema: SCHEMA })
    assert.equal(ok, false)
    const [first] = diagnostics
    assert.equal(first?.policyId, 'p')
    assert.equal(first.severity, 'error')
    assert.match(first.message, /attribute `m`/)
    assert.equal(source.slice(first.start, first.end), 'context.m')
    assert.match(first.help ?? '', /did you mean `n`/)
    const typed = await checkPolicies({
      policies: [policy(when('context.n == "x"'))],
      schema: SCHEMA,
    })
    assert.equal(typed.ok, false)
    const none = await checkPolicies({ policies: [policy(when('1 + true == 1'))], schema: SCHEMA })
    assert.ok(!('help' in (none.diagnostics[0] ?? { help: '' })))
  })

  it('says of a template and its links too', async () => {
    const templates = [
      policy('permit(principal == ?principal, action, resource) when { context.m == 1 };', 't'),
    ]
    const links = [{ id: 'l', templateId: 't', principal: { type: 'X', id: 'a' } }]
    const { ok, diagnostics } = await checkPolicies({
      policies: [],
      templates,
      links,
      schema: SCHEMA,
    })
    assert.equal(ok, false)
    assert.ok(
      diagnostics.some(({ policyId, message }) => policyId === 't' && message.includes('`m`')),
    )
    const right = await checkPolicies({
      policies: [],
      templates: [policy('permit(principal == ?principal, action, resource == ?resource);', 't')],
      links: [
        {
          id: 'l',
          templateId: 't',
          principal: { type: 'U', id: 'a' },
          resource: { type: 'U', id: 'b' },
        },
      ],
      schema: SCHEMA,
    })
    assert.deepEqual(right, { ok: true, diagnostics: [] })
  })

  it('passes what is only warned of', async () => {
    const { ok, diagnostics } = await checkPolicies({
      policies: [policy(when('false'))],
      schema: SCHEMA,
    })
    assert.equal(ok, true)
    assert.deepEqual(
      diagnostics.map(({ severity, policyId }) => [severity, policyId]),
      [['warning', 'p']],
    )
  })

  it('finds fault with a schema that is none, of no policy', async () => {
    const { ok, diagnostics } = await checkPolicies({
      policies: [policy(when('true'))],
      schema: 'entity',
    })
    assert.equal(ok, false)
    assert.deepEqual([diagnostics[0]?.severity, diagnostics[0]?.policyId], ['error', undefined])
    // Where it points, it points into the schema.
    assert.equal(diagnostics[0]?.start, 'entity'.length)
  })
})

describe('bounds of a set', () => {
  const refused = (given: Parameters<typeof boundAll>[0], code: string, message: string) =>
    assert.rejects(boundAll(given), { code, message })

  it('gives each policy, then each template, with its large integers lifted', async () => {
    const most = Number.MAX_SAFE_INTEGER
    assert.deepEqual(
      await boundAll({
        policies: [policy('a 9007199254740993', 'p'), policy('b', 'q')],
        templates: [policy('c', 't')],
        links: [{ id: 'l', templateId: 't' }],
      }),
      [
        { source: `a ${most}`, integers: new Map([[most, 9_007_199_254_740_993n]]) },
        { source: 'b', integers: new Map() },
        { source: 'c', integers: new Map() },
        { source: '', integers: new Map() },
      ],
    )
  })

  it('counts policies, templates and links: 20,000 and no more', async () => {
    const many = (count: number) => Array.from({ length: count }, (_, i) => policy('', `p${i}`))
    const links = [{ id: 'l', templateId: 't' }]
    await boundAll({ policies: many(19_998), templates: [policy('', 't')], links })
    await refused(
      { policies: many(19_999), templates: [policy('', 't')], links },
      'SP_CEDAR_LIMIT',
      'there are 20001 policies',
    )
  })

  it('counts all characters: 16,777,216 and no more', async () => {
    const text = ' '.repeat(POLICY_LIMITS.policyLength)
    const policies = Array.from({ length: 256 }, (_, i) => policy(text, `p${i}`))
    assert.equal((await boundAll({ policies })).length, 256)
    await refused(
      { policies, templates: [policy(' ', 't')] },
      'SP_CEDAR_LIMIT',
      'the policies have 16777217 characters',
    )
  })

  it('bounds the schema and each policy', async () => {
    await refused(
      { policies: [], schema: '('.repeat(41) },
      'SP_CEDAR_LIMIT',
      'the schema nests deeper than 40',
    )
    await refused(
      { policies: [policy('('.repeat(41))] },
      'SP_CEDAR_LIMIT',
      'policy `p` nests deeper than 40',
    )
    await refused(
      { policies: [], templates: [policy('('.repeat(41), 't')] },
      'SP_CEDAR_LIMIT',
      'policy `t` nests deeper than 40',
    )
  })

  for (const id of [
    '',
    '__proto__',
    'a\nb',
    'a\u0000',
    '\u001fa',
    'a\u007f',
    'a'.repeat(257),
    '\ud800',
  ]) {
    it(`refuses the id ${JSON.stringify(id.slice(0, 20))}`, async () => {
      const message = `\`${id.slice(0, 60)}\` cannot be a policy id`
      await refused({ policies: [policy('', id)] }, 'SP_CEDAR_SYNTAX', message)
      await refused({ policies: [], links: [{ id, templateId: 't' }] }, 'SP_CEDAR_SYNTAX', message)
    })
  }
  for (const id of ['a', ' ', 'a b', '😀', 'a'.repeat(256), '__proto', 'toString']) {
    it(`takes the id ${JSON.stringify(id.slice(0, 20))}`, async () => {
      assert.equal((await boundAll({ policies: [policy('', id)] })).length, 1)
    })
  }

  it('refuses an id twice, wherever it stands', async () => {
    const message = 'two policies have the id `p`'
    await refused({ policies: [policy(''), policy('')] }, 'SP_CEDAR_SYNTAX', message)
    await refused({ policies: [policy('')], templates: [policy('')] }, 'SP_CEDAR_SYNTAX', message)
    await refused(
      { policies: [policy('')], links: [{ id: 'p', templateId: 't' }] },
      'SP_CEDAR_SYNTAX',
      message,
    )
  })
})

describe('a file of policies', () => {
  const PERMIT = 'permit(principal, action, resource);'
  const wrong = async (text: string, line: number, column: number, message: RegExp | string) => {
    await assert.rejects(splitPolicies(text, 'dir/x.cedar'), (error: Record<string, unknown>) => {
      assert.equal(error['code'], 'SP_CEDAR_SYNTAX')
      assert.deepEqual(error['span'], { file: 'dir/x.cedar', line, column })
      if (typeof message === 'string') assert.equal(error['message'], message)
      else assert.match(String(error['message']), message)
      return true
    })
  }

  it('is cut into policies with ids, lines and the comments before them', async () => {
    const text = `\n// first ;\n@id("one")\n${PERMIT}\n\n  // second\n  ${PERMIT} ${when('context.s == ";"')} // end\n`
    assert.deepEqual(await splitPolicies(text, 'dir/sub.dir/x.cedar'), [
      {
        id: 'one',
        source: `// first ;\n@id("one")\n${PERMIT}`,
        file: 'dir/sub.dir/x.cedar',
        line: 3,
      },
      { id: 'x.policy1', source: `// second\n  ${PERMIT}`, file: 'dir/sub.dir/x.cedar', line: 7 },
      { id: 'x.policy2', source: when('context.s == ";"'), file: 'dir/sub.dir/x.cedar', line: 7 },
    ])
  })

  it('may hold none, and names it as it is called', async () => {
    assert.deepEqual(await splitPolicies('', 'x.cedar'), [])
    assert.deepEqual(await splitPolicies('// ;\n', 'x.cedar'), [])
    assert.equal((await splitPolicies(PERMIT, 'x.cedar.txt'))[0]?.id, 'x.cedar.txt.policy0')
    assert.equal((await splitPolicies(PERMIT, 'a.cedar/b'))[0]?.id, 'b.policy0')
  })

  it('says where it is wrong', async () => {
    await wrong(`${PERMIT}\n\n  permit(é, action, resource);`, 3, 10, /failed to parse/)
    await wrong('é😀 permit', 1, 1, /./)
    await wrong(
      `// é😀\n${PERMIT} permit(principal, action, resource) when { "é😀" == };`,
      2,
      90,
      /unexpected token/,
    )
    await wrong('permit(principal, action, resource)', 1, 36, /./)
    await wrong(`@id("a") ${PERMIT}\n @id("a") ${PERMIT}`, 2, 2, 'two policies have the id `a`')
  })

  it('is bounded before it is cut', async () => {
    await assert.rejects(splitPolicies(' '.repeat(POLICY_LIMITS.totalLength + 1), 'x'), {
      code: 'SP_CEDAR_LIMIT',
      message: '`x` has 16777217 characters',
    })
    await assert.rejects(splitPolicies(`${PERMIT} ${'('.repeat(41)}`, 'y/x.cedar'), {
      code: 'SP_CEDAR_LIMIT',
      message: 'policy `x.policy1` nests deeper than 40',
    })
  })
})

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { describe, it } from 'node:test'
import { parseNetwork } from '@sallyport/network'
import { ledgerDeclared, PROTO } from './support/grpc.ts'
import { compile } from './support/proto.ts'

const fixture = (name: string): Buffer =>
  readFileSync(new URL(`./fixtures/grpc/${name}`, import.meta.url))
const YAML = fixture('network.yaml').toString()
const { set } = compile(PROTO)

const problemsOf = (text: string, bytes: Uint8Array | undefined = set): string[] =>
  parseNetwork(text, {
    ...{ file: 'network.yaml', readFile: () => '' },
    ...(bytes.length > 0 && { readBytes: () => bytes }),
  }).problems.map(({ code, message }) => `${code} ${message}`)

describe('a system that speaks gRPC', () => {
  it('is declared by its descriptor set', async () => {
    assert.deepEqual(fixture('ledger.binpb'), set)
    const { network } = await ledgerDeclared()
    const [system] = network.systems
    assert.deepEqual(
      system?.operations.map(({ name, binding }) => [
        name,
        binding.kind === 'grpc' && binding.path,
      ]),
      [
        ['get-account', '/ledger.v1.Ledger/GetAccount'],
        ['watch', '/ledger.v1.Ledger/Watch'],
        ['Transfer', '/ledger.v1.Ledger/Transfer'],
        ['Batch', '/ledger.v1.Ledger/Batch'],
        ['Ask', '/ledger.v1.Ledger/Ask'],
      ],
    )
    // Only what its operations reach travels to gateways.
    assert.deepEqual(Object.keys(system?.grpc?.messages ?? {}).includes('ledger.v1.Party'), true)
    assert.deepEqual(Object.keys(system?.grpc?.enums ?? {}), ['ledger.v1.Status'])
    assert.deepEqual(problemsOf(YAML), [])
  })

  const transfer = 'returns: { id: public } }'
  const RETURNS: Readonly<Record<string, readonly [string, RegExp]>> = {
    'no such field': ['returns: { it: public } }', /there is no field `it`/],
    'a list that is none': ["returns: { 'id[]': public } }", /`id` is no list/],
    'a single value as records': ['returns: { id: accounts } }', /is no message/],
  }
  for (const [what, [given, expected]] of Object.entries(RETURNS)) {
    it(`is refused where it returns ${what}`, () => {
      const [problem = '', ...more] = problemsOf(YAML.replace(transfer, given))
      assert.match(problem, /^SP_NETWORK_RETURNS /)
      assert.match(problem, expected)
      assert.deepEqual(more, [])
    })
  }

  it('is refused where it returns a list without saying so, an Any, or a message as public', () => {
    const watch = (path: string): string =>
      problemsOf(
        YAML.replace(
          'from: ledger.v1.Ledger/Watch, returns: { $: accounts }',
          `from: ledger.v1.Ledger/Watch, returns: { ${path} }`,
        ),
      ).join('\n')
    assert.equal(watch('$: accounts'), '')
    assert.match(watch('entries: entries'), /`entries` is repeated/)
    assert.match(watch('extra: times'), /never passed on/)
    assert.match(watch('opened: public'), /only single values are `public`/)
    assert.equal(watch("'entries[]': entries"), '')
  })

  it('is refused where its methods cannot be called here', () => {
    const twice = YAML.replace(
      'watch: {',
      'again: { kind: read, from: GetAccount }\n      watch: {',
    )
    assert.match(problemsOf(twice).join('\n'), /is the same method as/)
    const unknown = YAML.replace('Ledger/Watch', 'Ledger/Wach')
    assert.match(problemsOf(unknown).join('\n'), /has no operation `ledger.v1.Ledger\/Wach`/)
    const any = compile(PROTO.replace('Transfer(TransferRequest)', 'Transfer(google.protobuf.Any)'))
    assert.match(problemsOf(YAML, any.set).join('\n'), /SP_NETWORK_GRPC .*google.protobuf.Any/)
    const outside = "upstream: { url: 'https://x.example/base', serverName: x.example }"
    const based = YAML.replace('upstream: { service: ledger, port: 7301 }', outside)
    assert.match(problemsOf(based).join('\n'), /without a path/)
    assert.deepEqual(problemsOf(based.replace('/base', '')), [])
  })

  it('is refused where its descriptor set is none, or not whole', () => {
    for (const bytes of [
      Buffer.from('syntax = "proto3";'),
      Buffer.from([0xff]),
      set.subarray(0, -3),
    ]) {
      assert.match(problemsOf(YAML, bytes).join('\n'), /SP_NETWORK_GRPC .*no descriptor set/)
    }
    assert.match(problemsOf(YAML, Buffer.alloc(0)).join('\n'), /SP_NETWORK_FILE/)
    // Without what it imports.
    const lone = set.subarray(set.indexOf('ledger/v1.proto') - 5)
    const alone = Buffer.from(lone)
    const report = problemsOf(YAML, alone).join('\n')
    assert.match(report, /SP_NETWORK_GRPC/)
  })

  it('is refused where options of its fields cannot be meant', () => {
    const id = '[(sallyport.token_of) = "accounts.id"]'
    const any = '[(sallyport.any_of) = "ledger.v1.Fee"]'
    const problems = (from: string, to: string): string => {
      assert.ok(PROTO.includes(from))
      return problemsOf(YAML, compile(PROTO.replace(from, to)).set).join('\n')
    }
    assert.match(problems(id, id.replace('accounts.id', 'accounts.none')), /is no field of a data/)
    assert.match(problems('uint64 amount = 2;', `uint64 amount = 2 ${id};`), /is no text/)
    assert.match(problems(any, any.replace('Fee', 'None')), /is not described/)
    assert.match(problems('string memo = 4;', `string memo = 4 ${any};`), /is no `google/)
    const twice = '[(sallyport.any_of) = "ledger.v1.Fee", (sallyport.any_of) = "ledger.v1.Fee"]'
    assert.match(problems(any, twice), /names a type twice/)
    const itself = any.replace('ledger.v1.Fee', 'google.protobuf.Any')
    assert.match(problems(any, itself), /names a type twice, or no type/)
  })

  it('types what policies read', () => {
    const two = compile(`syntax = "proto2"; package ledger.v1;
      service Ledger { rpc GetAccount(Ask) returns (Ask); rpc Transfer(Ask) returns (Ask); rpc Watch(Ask) returns (stream Ask);
        rpc Batch(stream Ask) returns (Ask); rpc Ask(stream Ask) returns (stream Ask); }
      message Ask { required string account_id = 1; optional uint64 amount = 2 [default = 5]; optional bool sure = 3; repeated Kind kinds = 4; optional string id = 5;
        message Inner { optional Ask again = 1; optional bytes raw = 2; } optional Inner inner = 6; }
      enum Kind { A = 0; B = 1; }`)
    const { network, problems } = parseNetwork(YAML.replaceAll('$: accounts', 'id: public'), {
      ...{ file: 'network.yaml', readFile: () => '', readBytes: () => two.set },
    })
    assert.deepEqual(problems, [])
    const text = { type: 'string', maxLength: 65_536 }
    assert.deepEqual(network?.systems[0]?.operations[0]?.input.members, {
      account_id: { schema: text, required: true },
      amount: {
        schema: { type: 'long', minimum: 0, maximum: Number.MAX_SAFE_INTEGER },
        required: true,
      },
      sure: { schema: { type: 'boolean' }, required: false },
      kinds: {
        schema: {
          ...{ type: 'set', maxItems: 1000 },
          items: { type: 'string', maxLength: 256, enum: ['A', 'B'] },
        },
        required: true,
      },
      id: { schema: text, required: false },
      // Not `again`: a message inside itself has no end.
      inner: {
        schema: { type: 'record', members: { raw: { schema: text, required: false } } },
        required: false,
      },
    })
  })
})

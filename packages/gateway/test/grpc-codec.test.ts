import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { MalformedWire, parseNetwork } from '@sallyport/network'
import type { GrpcSystem } from '@sallyport/network'
import type protobuf from 'protobufjs'
import { readMessage } from '../src/grpc/read.ts'
import { writeMessage } from '../src/grpc/write.ts'
import { compile } from './support/proto.ts'

const BODY = `
  message All {
    LABEL double a = 1; LABEL float b = 2; LABEL int32 c = 3; LABEL int64 d = 4;
    LABEL uint32 e = 5; LABEL uint64 f = 6; LABEL sint32 g = 7; LABEL sint64 h = 8;
    LABEL fixed32 i = 9; LABEL fixed64 j = 10; LABEL sfixed32 k = 11; LABEL sfixed64 l = 12;
    LABEL bool m = 13; LABEL string n = 14; LABEL bytes o = 15; LABEL Kind p = 16; LABEL Part q = 17;
    repeated double ra = 21; repeated float rb = 22; repeated int32 rc = 23; repeated int64 rd = 24;
    repeated uint32 re = 25; repeated uint64 rf = 26; repeated sint32 rg = 27; repeated sint64 rh = 28;
    repeated fixed32 ri = 29; repeated fixed64 rj = 30; repeated sfixed32 rk = 31;
    repeated sfixed64 rl = 32; repeated bool rm = 33; repeated string rn = 34; repeated bytes ro = 35;
    repeated Kind rp = 36; repeated Part rq = 37; repeated int32 rr = 38 [packed = false];
    map<string, Part> ma = 41; map<int32, string> mb = 42; map<bool, Kind> mc = 43;
    map<uint64, double> md = 44; map<sint32, bytes> me = 45;
    oneof one { string oa = 51; int32 ob = 52; Part oc = 53; Kind od = 54; }
    LABEL int32 far = 536870911;
  }
  message Part { LABEL string s = 1; LABEL sint32 n = 2; repeated Part more = 3; }
  enum Kind { ZERO = 0; ONE = 1; BELOW = -5; }
  service S { rpc Ask(All) returns (All); }`
const FILES = {
  proto3: `syntax = "proto3"; package t; ${BODY.replaceAll('LABEL', '')}`,
  'proto3 with presence': `syntax = "proto3"; package t; ${BODY.replaceAll('LABEL', 'optional')}`,
  proto2: `syntax = "proto2"; package t; ${BODY.replaceAll('LABEL', 'optional')}`,
}

/** The messages that a descriptor set comes to. */
function typesOf(set: Buffer): GrpcSystem {
  const { network, problems } = parseNetwork(
    `name: t
trustDomain: t.example
quorum: 1
segments: { s: { owner: us } }
agents: {}
operators: { ann: { displayName: Ann, roles: [admin] } }
systems:
  t: { owner: us, segment: s, protocol: grpc, descriptors: t.binpb, upstream: { url: 'https://t.example', serverName: t.example }, operations: { Ask: { kind: read } } }
flows: []
`,
    { file: 'network.yaml', readFile: () => '', readBytes: () => set },
  )
  const grpc = network?.systems[0]?.grpc
  assert.ok(grpc, JSON.stringify(problems))
  return grpc
}

const KINDS = ['ZERO', 'ONE', 'BELOW']
const text = fc.string({ unit: 'binary', maxLength: 20 }).filter((one) => one.isWellFormed())
const bytes = fc.uint8Array({ maxLength: 20 }).map((one) => Buffer.from(one).toString('base64'))
const part: fc.Arbitrary<object> = fc.letrec<{ part: object }>((tie) => ({
  part: fc.record(
    {
      s: text,
      n: fc.integer(),
      more: fc.array(tie('part'), { maxLength: 2, depthIdentifier: 'part' }),
    },
    { requiredKeys: [] },
  ),
})).part
const signed = fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }).map(String)
const unsigned = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }).map(String)
const SCALARS: Readonly<Record<string, fc.Arbitrary<unknown>>> = {
  a: fc.double({ noNaN: true, noDefaultInfinity: true }),
  b: fc.float({ noNaN: true, noDefaultInfinity: true }),
  c: fc.integer(),
  d: signed,
  e: fc.nat({ max: 0xffff_ffff }),
  f: unsigned,
  g: fc.integer(),
  h: signed,
  i: fc.nat({ max: 0xffff_ffff }),
  j: unsigned,
  k: fc.integer(),
  l: signed,
  m: fc.boolean(),
  n: text,
  o: bytes,
  p: fc.constantFrom(...KINDS),
  q: part,
}
const maps = {
  ma: fc.dictionary(
    text.filter((key) => key !== '__proto__'),
    part,
    { maxKeys: 3 },
  ),
  mb: fc.dictionary(fc.integer().map(String), text, { maxKeys: 3 }),
  // protobufjs writes the key false as true.
  mc: fc.dictionary(fc.constant('true'), fc.constantFrom(...KINDS)),
  me: fc.dictionary(fc.integer().map(String), bytes, { maxKeys: 3 }),
}
const oneof = fc.oneof(
  fc.constant({}),
  fc.record({ oa: text }),
  fc.record({ ob: fc.integer() }),
  fc.record({ oc: part }),
  fc.record({ od: fc.constantFrom(...KINDS) }),
)
const message = fc
  .tuple(
    fc.record({ ...SCALARS, far: fc.integer() }, { requiredKeys: [] }),
    fc.record(
      Object.fromEntries(
        Object.entries(SCALARS).map(([name, value]) => [
          `r${name}`,
          fc.array(value, { maxLength: 3 }),
        ]),
      ),
      { requiredKeys: [] },
    ),
    fc.record({ rr: fc.array(fc.integer(), { maxLength: 3 }), ...maps }, { requiredKeys: [] }),
    oneof,
  )
  .map((parts) => Object.assign({}, ...parts) as object)

/** @param defaults where what was not sent and what is the default are the same */
const plain = (type: protobuf.Type, from: Uint8Array, defaults = false): object =>
  type.toObject(type.decode(from), { longs: String, enums: String, bytes: String, defaults })

for (const [syntax, proto] of Object.entries(FILES)) {
  describe(`messages of ${syntax}`, () => {
    const { set, root } = compile(proto)
    const types = typesOf(set)
    const all = root.lookupType('t.All')
    const implicit = syntax === 'proto3'
    const written = (value: object): Uint8Array => all.encode(all.fromObject(value)).finish()

    for (const reading of ['request', 'answer'] as const) {
      it(`are read and written as protobufjs does (${reading})`, () => {
        fc.assert(
          fc.property(message, (value) => {
            const given = written(value)
            const again = writeMessage(types, 't.All', readMessage(types, 't.All', given, reading))
            assert.deepEqual(plain(all, again, implicit), plain(all, given, implicit))
          }),
          { numRuns: 300 },
        )
      })
    }

    it('are refused, or read as protobufjs reads them, whatever is changed in them', () => {
      let accepted = 0
      let refused = 0
      fc.assert(
        fc.property(
          message,
          fc.array(fc.tuple(fc.nat(), fc.nat({ max: 255 })), { minLength: 1, maxLength: 3 }),
          fc.nat(),
          (value, changes, cut) => {
            const given = Buffer.from(written(value))
            for (const [at, byte] of changes) if (given.length > 0) given[at % given.length] = byte
            const bytes = cut % 4 === 0 ? given.subarray(0, cut % (given.length + 1)) : given
            let members
            try {
              members = readMessage(types, 't.All', bytes, 'request')
            } catch (error) {
              assert.ok(error instanceof MalformedWire, String(error))
              refused++
              return
            }
            accepted++
            const again = writeMessage(types, 't.All', members)
            assert.deepEqual(plain(all, again, implicit), plain(all, bytes, implicit))
          },
        ),
        { numRuns: 800 },
      )
      assert.ok(accepted > 20 && refused > 20, `${accepted} accepted, ${refused} refused`)
    })
  })
}

describe('what is read', () => {
  const { set, root } = compile(FILES.proto3)
  const types = typesOf(set)
  const all = root.lookupType('t.All')
  const read = (given: number[], as: 'request' | 'answer' = 'request'): object =>
    readMessage(types, 't.All', Buffer.from(given), as)

  it('has defaults where a request does not say', () => {
    const { a, d, n, p, q, rc, ma, oa } = read([]) as Record<string, unknown>
    assert.deepEqual({ a, d, n, p, rc, ma }, { a: '0', d: 0, n: '', p: 'ZERO', rc: [], ma: [] })
    assert.deepEqual([q, oa], [undefined, undefined])
    assert.deepEqual(read([], 'answer'), {})
  })

  it('keeps numbers of 64 bits whole', () => {
    const given = all.encode(
      all.fromObject({ d: '-9223372036854775808', f: '18446744073709551615' }),
    )
    const { d, f } = readMessage(types, 't.All', given.finish(), 'request')
    assert.deepEqual([d, f], ['-9223372036854775808', '18446744073709551615'])
  })

  it('keeps of a text every byte, a byte order mark too', () => {
    assert.equal((read([0x72, 3, 0xef, 0xbb, 0xbf]) as { n: string }).n, '\ufeff')
  })

  // Numbers of fields times 8, and the kind: c is 0x18, n 0x72, q 0x8a 0x01, oa 0x9a 0x03, ob 0xa0 0x03.
  const REFUSED: Readonly<Record<string, number[]>> = {
    'a field that is not declared': [0xf8, 0x3e, 1],
    'a field twice': [0x18, 1, 0x18, 1],
    'a message twice': [0x8a, 0x01, 0, 0x8a, 0x01, 0],
    'two of a oneof': [0x9a, 0x03, 1, 0x61, 0xa0, 0x03, 1],
    'one of a oneof twice': [0xa0, 0x03, 1, 0xa0, 0x03, 2],
    'the key of a map twice': [0xd2, 0x02, 2, 0x08, 7, 0xd2, 0x02, 2, 0x08, 7],
    'the key of a map twice, once unsaid': [0xd2, 0x02, 2, 0x08, 0, 0xd2, 0x02, 0],
    'a text that is not UTF-8': [0x72, 2, 0xc3, 0x28],
    'a text with half a surrogate pair': [0x72, 3, 0xed, 0xa0, 0x80],
    'a text in overlong UTF-8': [0x72, 2, 0xc0, 0x80],
    'a field of another kind': [0x1d, 1, 0, 0, 0],
    'a number of more than 32 bits': [0x18, 0xff, 0xff, 0xff, 0xff, 0x1f],
    'a number of more than 64 bits': [0x20, ...Array<number>(9).fill(0xff), 2],
    'a number without an end': [0x20, ...Array<number>(11).fill(0x80)],
    'a bool of 2': [0x68, 2],
    'an enum value without a name': [0x80, 0x01, 9],
    'a number that is none': [0x09, 0, 0, 0, 0, 0, 0, 0xf8, 0x7f],
    'an infinite number': [0x15, 0, 0, 0x80, 0x7f],
    'a group': [0x1b, 0x1c],
    'the end of a group': [0x1c],
    'a field without a number': [0x00, 1],
    'a tag of more than 32 bits': [0x98, 0x80, 0x80, 0x80, 0x10, 1],
    'a length beyond the message': [0x72, 0xff, 0xff, 0xff, 0xff, 0x0f],
    'a length of 64 bits': [0x72, ...Array<number>(9).fill(0xff), 1],
    'a message that ends within a number': [0x18, 0x80],
    'packed numbers that end within one': [0xba, 0x01, 1, 0x80],
  }
  for (const [what, given] of Object.entries(REFUSED)) {
    it(`refuses ${what}`, () => {
      assert.throws(() => read(given), MalformedWire)
    })
  }

  it('leaves out of an answer what nobody declared', () => {
    assert.deepEqual(read([0xf8, 0x3e, 1, 0x18, 5, 0x80, 0x01, 9], 'answer'), { c: 5 })
    assert.throws(() => read([0x18, 1, 0x18, 1], 'answer'), MalformedWire)
  })

  it('refuses what nests too deep, and what holds too many values', () => {
    let nested: number[] = []
    const sized = (length: number): number[] =>
      length < 128 ? [length] : [(length & 127) | 128, length >> 7]
    for (let depth = 0; depth < 33; depth++) nested = [0x1a, ...sized(nested.length), ...nested]
    const deep = [0x8a, 0x01, ...sized(nested.length), ...nested]
    assert.throws(() => read(deep), /too deep/)
    // `rm` is 0x8a 0x02: a hundred thousand bools and one.
    const packed = Buffer.concat([
      Buffer.from([0x8a, 0x02, 0xa1, 0x8d, 0x06]),
      Buffer.alloc(100_001, 1),
    ])
    assert.throws(() => readMessage(types, 't.All', packed, 'answer'), /too many values/)
    const fits = Buffer.concat([
      Buffer.from([0x8a, 0x02, 0xa0, 0x8d, 0x06]),
      Buffer.alloc(100_000, 1),
    ])
    const { rm } = readMessage(types, 't.All', fits, 'answer') as { rm: readonly boolean[] }
    assert.equal(rm.length, 100_000)
  })

  it('writes no value that is none of its field', () => {
    const wrong = {
      c: '***',
      d: '12x',
      e: -1,
      i: 2 ** 32,
      m: 'true',
      n: 5,
      o: '***',
      p: 'NONE',
      q: '***',
      rc: [1, '***', 2],
      unknown: 1,
    }
    assert.deepEqual(plain(all, writeMessage(types, 't.All', wrong)), { rc: [1, 2] })
  })

  it('reads what a proto2 system takes where nothing was sent', () => {
    const two = compile(`syntax = "proto2"; package t;
      message Ask { required string id = 1; optional int32 limit = 2 [default = 500]; optional Kind kind = 3 [default = B]; optional bool no = 4; }
      enum Kind { A = 0; B = 1; }
      service S { rpc Ask(Ask) returns (Ask); }`)
    const own = typesOf(two.set)
    assert.deepEqual(readMessage(own, 't.Ask', Buffer.alloc(0), 'request'), {
      limit: 500,
      kind: 'B',
    })
    assert.deepEqual(readMessage(own, 't.Ask', Buffer.alloc(0), 'answer'), {})
  })
})

import { createHash } from 'node:crypto'
import { MalformedWire, parseNetwork } from '@sallyport/network'
import type { GrpcSystem, InputMember } from '@sallyport/network'
import { readParts } from '../../../src/adapters/parts.ts'
import { framed, Frames } from '../../../src/grpc/frames.ts'
import { readMessage } from '../../../src/grpc/read.ts'
import { writeMessage } from '../../../src/grpc/write.ts'
import { compile } from '../proto.ts'
import { changed, changedBytes, cut, demandSame, orRefused, pick } from './reading.ts'
import type { Kind } from './reading.ts'

const PROTO = `syntax = "proto3"; package t;
  message All {
    double a = 1; float b = 2; int32 c = 3; int64 d = 4; uint32 e = 5; sint64 h = 8; fixed32 i = 9; bool m = 13;
    string n = 14; bytes o = 15; Kind p = 16; Part q = 17; repeated int32 rc = 23; repeated string rn = 34;
    repeated Part rq = 37; map<string, Part> ma = 41; map<int32, string> mb = 42;
    oneof one { string oa = 51; int32 ob = 52; Part oc = 53; }
  }
  message Part { string s = 1; sint32 n = 2; repeated Part more = 3; }
  enum Kind { ZERO = 0; ONE = 1; BELOW = -5; }
  service S { rpc Ask(All) returns (All); }`
const { set, root } = compile(PROTO)
const all = root.lookupType('t.All')

function typesOf(): GrpcSystem {
  const { network } = parseNetwork(
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
  if (!grpc) throw new TypeError('the descriptor set is not read')
  return grpc
}
const types = typesOf()

const PART = { s: 'p', n: -3, more: [{ n: 1 }] }
const MESSAGES = [
  {},
  { a: 1.5, b: -2, c: -1, d: '-9', e: 7, h: '-3', i: 4, m: true, n: 'é', o: 'AAE=', p: 'ONE' },
  { q: PART, rc: [1, -2, 300], rn: ['', 'x'], rq: [PART, {}], ma: { k: PART }, mb: { 5: 'v' } },
  { n: 'text', oa: 'one', p: 'BELOW' },
  { oc: PART, c: 2_147_483_647, d: '9007199254740993' },
].map((value) => Buffer.from(all.encode(all.fromObject(value)).finish()))

const plain = (bytes: Uint8Array): unknown =>
  all.toObject(all.decode(bytes), { longs: String, enums: String, bytes: String, defaults: true })

/** The frames of a whole stream; undefined where one of them is none. */
function framesOf(bytes: Buffer, most: number): Buffer[] | undefined {
  const frames: Buffer[] = []
  for (let at = 0; at < bytes.length;) {
    const length = at + 5 > bytes.length ? Infinity : bytes.readUInt32BE(at + 1)
    if (bytes[at] !== 0 || length > most || at + 5 + length > bytes.length) return undefined
    frames.push(bytes.subarray(at + 5, at + 5 + length))
    at += 5 + length
  }
  return frames
}

const list = { type: 'set', items: { type: 'string', maxLength: 1000 }, maxItems: 100 } as const
const member: InputMember = { schema: list, required: false }
const head = (name: string): string => `Content-Disposition: form-data; name="${name}"`
const PARTS = [
  `--xBOUNDx\r\n${head('a')}\r\n\r\nx\r\n--xBOUNDx\r\n${head('f')}; filename="n"\r\nContent-Type: text/plain\r\n\r\ny\r\n--xBOUNDx--\r\n`,
  `--xBOUNDx\r\n${head('a')}\r\n\r\nx\r\n--xBOUNDx\r\n${head('b')}\r\n\r\n\r\n--xBOUNDx--`,
]
const PART_PIECES = [
  ...[
    '--xBOUNDx',
    '\r\n',
    '\r\n\r\n',
    '\n',
    '\r',
    '--',
    '"',
    ';',
    ':',
    ' ',
    '\t',
    '\0',
    'é',
    '--xBOUNDx--',
  ],
  ...['; filename="f"', "; filename*=UTF-8''x", '; name="b"', 'name=b', `\r\n${head('b')}`, '%22'],
  ...[
    'Content-Type: text/plain\r\n',
    'Content-Transfer-Encoding: base64\r\n',
    '\r\n--xBOUNDx\r\n',
    '\\',
  ],
]

export const binary: readonly Kind[] = [
  {
    name: 'messages of gRPC, beside protobufjs',
    share: 20,
    read: (chance) => {
      const bytes = changedBytes(pick(chance, MESSAGES), chance)
      const ours = orRefused(() => readMessage(types, 't.All', bytes, 'request'), MalformedWire)
      if (!ours) return 'refused'
      // It stumbles over an entry of a map that has no value.
      const theirs = orRefused(() => plain(bytes), TypeError)
      if (theirs === undefined) return 'alone'
      const again = writeMessage(types, 't.All', ours)
      demandSame('message of gRPC', bytes.toString('hex'), plain(again), theirs)
      return 'same'
    },
  },
  {
    name: 'frames of gRPC in pieces, beside the whole',
    share: 15,
    read: (chance) => {
      const given = Array.from({ length: chance(4) }, () => framed(pick(chance, MESSAGES)))
      const bytes = changedBytes(Buffer.concat(given), chance)
      const reader = new Frames(200, () => new MalformedWire('a frame'))
      const ours = orRefused(() => {
        const frames = cut(bytes, chance).flatMap((piece) => reader.push(piece))
        reader.end()
        return frames.map((frame) => frame.toString('hex'))
      }, MalformedWire)
      const theirs = framesOf(bytes, 200)?.map((frame) => frame.toString('hex'))
      demandSame('frames', bytes.toString('hex'), ours ?? null, theirs ?? null)
      return ours !== undefined && ours.length > 0 ? 'same' : 'refused'
    },
  },
  {
    name: 'bodies of parts, beside those of `fetch`',
    share: 4,
    read: async (chance) => {
      const body = Buffer.from(changed(pick(chance, PARTS), PART_PIECES, chance, 3))
      const ours = orRefused(() =>
        readParts(body, 'xBOUNDx', { a: member, b: member, f: member }, ['f']),
      )
      if (!ours) return 'refused'
      const headers = { 'content-type': 'multipart/form-data; boundary=xBOUNDx' }
      const theirs: Record<string, string[]> = {}
      // It takes a boundary without its dashes for one, and then refuses the whole.
      const form = await new Response(body, { headers }).formData().catch(() => undefined)
      if (!form) return 'alone'
      for (const [name, value] of form) {
        const one =
          typeof value === 'string'
            ? value
            : createHash('sha256')
                .update(Buffer.from(await value.arrayBuffer()))
                .digest('hex')
        ;(theirs[name] ??= []).push(one)
      }
      const read = Object.entries(ours.value).map(([name, values]) => [
        name,
        // Each is declared as a list, of texts or of files.
        (values as readonly (string | { readonly sha256: string })[]).map((one) =>
          typeof one === 'string' ? one : one.sha256,
        ),
      ])
      demandSame('parts', body.toString('latin1'), Object.fromEntries(read), theirs)
      return 'same'
    },
  },
]

import type { RedRow } from './types.ts'

const RAW = 'packages/gateway/src/adapters/raw.ts'
const UPLOAD = 'packages/gateway/src/serve/upload.ts'
const HTTP = 'packages/gateway/src/serve/http.ts'
const BYTES = 'packages/gateway/src/serve/bytes.ts'
const UPLOADS = 'packages/gateway/test/uploads.test.ts'
const DOWNLOADS = 'packages/gateway/test/downloads.test.ts'
const POINTS = {
  test: 'packages/gateway/test/points.test.ts',
  name: 'are neither sent nor had by way of it, whatever else it can do',
}

/** Threats that the list has no number for: bodies and answers that are handed on unread. */
export const BODIES: readonly RedRow[] = [
  {
    id: 'up.digest',
    threat: 'a system has the end of other bytes than those that were authorised',
    file: UPLOAD,
    from: `    this.#demandDigest(held)
`,
    to: '',
    test: UPLOADS,
    name: 'never end at the system where they are not what their digest states',
  },
  {
    id: 'up.spelling',
    threat: 'a digest that another reader reads otherwise is authorised',
    file: RAW,
    from: ` || bytes.toString('base64') !== text`,
    to: '',
    test: UPLOADS,
    name: 'need a length, and one plain digest or none',
  },
  {
    id: 'up.approval',
    threat: 'an approval is asked for, and then good for any bytes',
    file: 'packages/gateway/src/calls/pipeline.ts',
    from: `if (raw && raw.sha256 === undefined) throw unbound()`,
    to: `void raw`,
    test: UPLOADS,
    name: 'are denied by type, by size and for want of a digest before a byte is read',
  },
  {
    id: 'up.other-approval',
    threat: 'an approval of one body lets another go',
    file: RAW,
    from: `sha256 === undefined ? { type, size } : { type, size, sha256 }`,
    to: `{ type, size, sha256: sha256 && 'a'.repeat(64) }`,
    test: UPLOADS,
    name: 'are approved by their digest, and no others are by that',
  },
  {
    id: 'up.service',
    threat: 'a call token of a service is good for any bytes',
    file: HTTP,
    from: `stated.sha256 === undefined && system.upstream.kind === 'service'`,
    to: `stated.sha256 === undefined && system.upstream.kind === 'program'`,
    test: UPLOADS,
    name: 'need a digest, for their call token is for one request',
  },
  {
    id: 'up.early',
    threat: 'a success is believed that a system said of half a body',
    file: HTTP,
    from: `      if (upload && !upload.isWhole) throw early(answer)
`,
    to: '',
    test: UPLOADS,
    name: 'end where the system answers before they do',
  },
  {
    id: 'up.declaration',
    threat: 'a body goes on to where a declaration that is no longer in force sent it',
    file: 'packages/gateway/src/calls/declared.ts',
    from: `found: same ? found : undefined`,
    to: `found`,
    test: UPLOADS,
    name: 'go on with another declaration, unless it is one that they were not decided by',
  },
  {
    id: 'up.places',
    threat: 'one instance takes every place for bodies',
    file: HTTP,
    from: `const leave = this.#uploads.enter(caller.session)`,
    to: `const leave = (): void => undefined`,
    test: UPLOADS,
    name: 'have so many places at once, which they give back',
  },
  {
    id: 'up.point',
    threat: 'bytes are let through by way of an enforcement point that saw none of them',
    file: 'packages/gateway/src/points/checks.ts',
    from: `if (binding.body) throw cannot('the body is not JSON')`,
    to: '',
    ...POINTS,
  },
  {
    id: 'down.point',
    threat: 'bytes are had by way of an enforcement point that holds them to nothing',
    file: 'packages/decide/src/abilities.ts',
    from: `operation.binding.kind === 'http' && operation.binding.bytes`,
    to: `operation.binding.kind === 'mcp'`,
    ...POINTS,
  },
  {
    id: 'down.partial',
    threat: 'an answer leaves whole of which policies let only a part, or less, leave',
    file: 'packages/decide/src/fields.ts',
    from: `treatments.length > 0 && treatments.every((treatment) => treatment === 'whole')`,
    to: `treatments.length > 0`,
    test: DOWNLOADS,
    name: 'are denied where all of it may not leave whole, before the system is asked',
  },
  {
    id: 'down.labels',
    threat: 'bytes leave, and the session does not have their labels',
    file: BYTES,
    from: `    await pipeline.answers.commitReleased(grant, ALL)
`,
    to: `    void ALL
`,
    test: DOWNLOADS,
    name: 'put the labels of their field on the session before the first byte',
  },
  {
    id: 'down.type',
    threat: 'an answer of a type that nobody declared is handed on',
    file: BYTES,
    from: `!types.some((type) => covers(type, contentType))`,
    to: `types.length === 0`,
    test: DOWNLOADS,
    name: 'have a type that is declared, and no other',
  },
  {
    id: 'down.part',
    threat: 'a part of an answer is taken for the whole',
    file: BYTES,
    from: `status === 206 || headers['content-range'] !== undefined`,
    to: `headers['content-range'] === 'x'`,
    test: DOWNLOADS,
    name: 'are whole, and as they were asked for',
  },
  {
    id: 'down.encoded',
    threat:
      'an answer that is encoded is decoded by whatever it becomes, and its digest is of something else',
    file: BYTES,
    from: `coding !== undefined && single(coding)?.trim().toLowerCase() !== 'identity'`,
    to: `coding === ''`,
    test: DOWNLOADS,
    name: 'are whole, and as they were asked for',
  },
  {
    id: 'down.end',
    threat:
      'an answer that ends with its connection is taken for whole, though it may have been broken off',
    file: BYTES,
    from: `length === undefined && coding?.toLowerCase() === 'chunked'`,
    to: `length === undefined`,
    test: DOWNLOADS,
    name: 'say where they end, and are as long as they say',
  },
  {
    id: 'down.size',
    threat: 'an answer grows past what is declared',
    file: BYTES,
    from: `nextPiece(answer.body, stated.most)`,
    to: `nextPiece(answer.body, Number.MAX_SAFE_INTEGER)`,
    test: DOWNLOADS,
    name: 'end where they grow past the largest size',
  },
  {
    id: 'down.last',
    threat: 'the end of an answer leaves by a decision that does not hold any more',
    file: BYTES,
    from: `    if (!this.#parts.streams.confirm(stream)) return
`,
    to: '',
    test: DOWNLOADS,
    name: 'have no end that a decision which does not hold any more lets out',
  },
  {
    id: 'down.declaration',
    threat: 'an answer goes on under another declaration than it was decided by',
    file: BYTES,
    from: `(stream) => this.#pump(stream, stated))`,
    to: `(stream) => this.#pump(stream, stated), { isFixed: false })`,
    test: DOWNLOADS,
    name: 'are cut by another declaration',
  },
  {
    id: 'down.slow',
    threat: 'a caller that does not read holds a place, and what waits for it, for ever',
    file: BYTES,
    from: `const patience = setTimeout(() => res.destroy(), `,
    to: `const patience = setTimeout(() => undefined, `,
    test: DOWNLOADS,
    name: 'wait for a caller, who has to take them in time',
  },
  {
    id: 'down.name',
    threat: 'the name of a file leads to another place',
    file: 'packages/gateway/src/adapters/disposition.ts',
    from: `UNFIT.test(name) || `,
    to: '',
    test: 'packages/gateway/test/disposition.test.ts',
    name: 'whatever has another reading, or leads elsewhere, is left out',
  },
]
